"""Scans whose right answer can be computed, on upright and on awkward grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxsam.geometry import Geometry
from voxsam.volume import Mask, Volume

#: HU of the object and of what surrounds it, far enough apart for any abdominal window.
OBJECT_HU, GROUND_HU = 120, -60


@dataclass(frozen=True, eq=False)
class Phantom:
    """A scan, the mask that a perfect user would draw, and a voxel deep inside the object."""

    volume: Volume
    truth: Mask
    inside_zyx: tuple[int, int, int]


def rotation(*degrees_about_ras: float) -> npt.NDArray[np.float64]:
    """Rotate about R, then A, then S."""
    total = np.eye(3)
    for axis, degrees in enumerate(degrees_about_ras):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        total = turn @ total
    return total


def awkward_geometry(
    shape: tuple[int, int, int] = (20, 48, 40), spacing_mm: tuple[float, float, float] = (4.0, 0.9, 1.4)
) -> Geometry:
    """Anisotropic in all three axes, tilted about two, left-handed, and far from the origin."""
    upright = Geometry.from_spacing(shape, spacing_mm)
    affine = upright.affine.copy()
    affine[:3, :3] = rotation(14.0, -9.0, 0.0) @ np.diag((-1.0, 1.0, 1.0)) @ affine[:3, :3]
    affine[:3, 3] = (-123.4, 57.0, 812.25)
    return Geometry(shape, affine)


def left_is_right_geometry() -> Geometry:
    """As `awkward_geometry`, of the other handedness, with the axes in another order."""
    tilted = awkward_geometry()
    return Geometry((40, 20, 48), tilted.affine[:, (2, 0, 1, 3)] @ np.diag((1.0, -1.0, 1.0, 1.0)))


GEOMETRIES: dict[str, Geometry] = {
    "isotropic": Geometry.from_spacing((32, 40, 44)),
    "thick-slices": Geometry.from_spacing((14, 64, 64), (5.0, 0.8, 0.8)),
    "awkward": awkward_geometry(),
    "permuted": left_is_right_geometry(),
}


def paint(inside: npt.NDArray[np.bool_], geometry: Geometry, *, noise_hu: float = 3.0, seed: int = 0) -> Volume:
    """Make a CT of a mask, with a little noise."""
    array = np.where(inside, OBJECT_HU, GROUND_HU) + np.random.default_rng(seed).normal(0, noise_hu, geometry.shape)
    return Volume(np.rint(array).astype(np.int16), geometry, modality="CT", name="phantom")


def phantom(inside: npt.NDArray[np.bool_], geometry: Geometry, inside_zyx: npt.ArrayLike, **options: float) -> Phantom:
    z, y, x = np.rint(np.asarray(inside_zyx)).astype(int).tolist()
    assert inside[z, y, x]
    return Phantom(paint(inside, geometry, **options), Mask(inside, geometry), (z, y, x))  # type: ignore[arg-type]


def middle_zyx(geometry: Geometry) -> npt.NDArray[np.float64]:
    return (np.asarray(geometry.shape) - 1) // 2 * 1.0


def world_offsets(geometry: Geometry, centre_zyx: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(Z, Y, X, 3) millimetres from a voxel to every voxel."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1)
    return (grid - np.asarray(centre_zyx)) @ geometry.affine[:3, :3].T


def sphere(geometry: Geometry, radius_mm: float = 12.0, **options: float) -> Phantom:
    centre = middle_zyx(geometry)
    return phantom(np.linalg.norm(world_offsets(geometry, centre), axis=-1) <= radius_mm, geometry, centre, **options)


def ellipsoid(geometry: Geometry, radii_mm: tuple[float, float, float] = (16.0, 9.0, 12.0)) -> Phantom:
    """Axes along R, A, S."""
    centre = middle_zyx(geometry)
    return phantom(((world_offsets(geometry, centre) / radii_mm) ** 2).sum(-1) <= 1, geometry, centre)


def tube(geometry: Geometry, radius_mm: float = 5.0) -> Phantom:
    """Runs through the whole scan along its coarsest axis and bends: each slice is a shifted disc."""
    axis = int(np.argmax(geometry.spacing_mm))
    centre = middle_zyx(geometry)
    offsets = world_offsets(geometry, centre)
    along, across = offsets @ geometry.directions[:, axis], geometry.directions[:, (axis + 1) % 3]
    bend = 4.0 * np.sin(along / 20.0)[..., None] * across
    rest = offsets - along[..., None] * geometry.directions[:, axis] - bend
    return phantom(np.linalg.norm(rest, axis=-1) <= radius_mm, geometry, centre)


def branching(geometry: Geometry) -> Phantom:
    """One trunk that becomes two branches half way along the coarsest axis."""
    axis = int(np.argmax(geometry.spacing_mm))
    centre = middle_zyx(geometry)
    offsets = world_offsets(geometry, centre)
    across = geometry.directions[:, (axis + 1) % 3]
    along = offsets @ geometry.directions[:, axis]
    spread = np.clip(along, 0.0, None) * 0.5
    rest = offsets - along[..., None] * geometry.directions[:, axis]
    arms = [np.linalg.norm(rest + sign * spread[..., None] * across, axis=-1) <= 6.0 for sign in (-1, 1)]
    return phantom(arms[0] | arms[1], geometry, centre)


def two_touching(geometry: Geometry, radius_mm: float = 9.0) -> Phantom:
    """Two spheres of slightly different value that touch; the truth is the first."""
    axis = 2 - int(np.argmin(geometry.spacing_mm[::-1]))
    centre = middle_zyx(geometry)
    offsets = world_offsets(geometry, centre)
    apart = geometry.directions[:, axis] * radius_mm
    first = np.linalg.norm(offsets + apart, axis=-1) <= radius_mm
    second = (np.linalg.norm(offsets - apart, axis=-1) <= radius_mm) & ~first
    array = np.where(first, OBJECT_HU, np.where(second, OBJECT_HU - 70, GROUND_HU)).astype(np.int16)
    inside = centre - np.eye(3)[axis] * round(radius_mm / geometry.spacing_mm[axis])
    z, y, x = inside.astype(int).tolist()
    return Phantom(Volume(array, geometry, modality="CT", name="two"), Mask(first, geometry), (z, y, x))


def organ_that_ends(geometry: Geometry, radius_mm: float = 10.0) -> Phantom:
    """A cylinder along the coarsest axis that ends abruptly; beyond it lies a wide field of almost its value."""
    axis = int(np.argmax(geometry.spacing_mm))
    centre = middle_zyx(geometry)
    offsets = world_offsets(geometry, centre)
    along = offsets @ geometry.directions[:, axis]
    radius = np.linalg.norm(offsets - along[..., None] * geometry.directions[:, axis], axis=-1)
    half_mm = geometry.shape[axis] * geometry.spacing_mm[axis] * 0.25
    inside = (radius <= radius_mm) & (abs(along) <= half_mm)
    beyond = (abs(along) > half_mm) & (radius <= 2.2 * radius_mm)
    array = np.where(inside, OBJECT_HU, np.where(beyond, OBJECT_HU - 15, GROUND_HU)).astype(np.int16)
    z, y, x = centre.astype(int).tolist()
    return Phantom(Volume(array, geometry, modality="CT", name="organ"), Mask(inside, geometry), (z, y, x))


PHANTOMS: dict[str, Callable[[Geometry], Phantom]] = {
    "sphere": sphere,
    "ellipsoid": ellipsoid,
    "tube": tube,
    "branching": branching,
    "two-touching": two_touching,
    "organ-that-ends": organ_that_ends,
}


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / total if total else 1.0
