"""Soft implicit shapes in world millimetres (RAS), and a painter that lays them over one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float32]


class Noise:
    """A smooth random field over the patient: mean 0, deviation 1, features about `wavelength_mm` wide.

    It repeats every 420 mm, so that it has a value everywhere. `plus` adds a wider field with a weight.
    """

    def __init__(self, rng: np.random.Generator, wavelength_mm: float, plus: tuple[Noise, float] | None = None) -> None:
        n = round(420.0 / wavelength_mm * 5)
        self.step_mm = 420.0 / n
        field = ndimage.gaussian_filter(rng.standard_normal((n, n, n)), 1.6, mode="wrap")
        field = (field / field.std()).astype(np.float32)
        if plus:
            wider, weight = plus
            grid = np.stack(np.meshgrid(*[np.arange(n) * self.step_mm] * 3, indexing="ij")).astype(np.float32)
            field = field + np.float32(weight) * wider(grid)
        self.field: Array = field

    def __call__(self, points: Array) -> Array:
        """Sample at points (3, ...), in mm."""
        at = points / np.float32(self.step_mm)
        return ndimage.map_coordinates(self.field, at, order=1, mode="grid-wrap", output=np.float32)


def ellipsoid(points: Array, centre: Sequence[float], radii: Sequence[float], turn_deg: float = 0.0) -> Array:
    """Signed distance to an ellipsoid (about); `turn_deg` turns it about the superior axis."""
    x, y, z = (points[k] - np.float32(centre[k]) for k in range(3))
    if turn_deg:
        c, s = np.float32(np.cos(np.radians(turn_deg))), np.float32(np.sin(np.radians(turn_deg)))
        x, y = c * x + s * y, c * y - s * x
    a, b, c = (np.float32(r) for r in radii)
    k0 = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2) + np.float32(1e-6)
    k1 = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2) + np.float32(1e-9)
    return k0 * (k0 - 1) / k1


def tube(points: Array, path: Sequence[Sequence[float]]) -> Array:
    """Signed distance to a tube through (x, y, z, radius) stations."""
    nearest = np.full(points.shape[1:], np.float32(1e6))
    for one, two in pairwise(path):
        a = np.asarray(one, np.float32)
        b = np.asarray(two, np.float32)
        along = b[:3] - a[:3]
        offset = [points[k] - a[k] for k in range(3)]
        t = sum(offset[k] * along[k] for k in range(3)) / np.float32(along @ along)
        t = np.clip(t, 0, 1)
        squared = sum((offset[k] - t * along[k]) ** 2 for k in range(3))
        nearest = np.minimum(nearest, np.sqrt(squared) - (a[3] + t * (b[3] - a[3])))
    return nearest


def union(one: Array, other: Array, blend_mm: float = 6.0) -> Array:
    """Join two shapes, rounding the seam."""
    k = np.float32(blend_mm)
    h = np.maximum(k - np.abs(one - other), 0) / k
    return np.minimum(one, other) - h * h * k / 4


class Painter:
    """One thin slice under work: shapes laid over one another with soft edges.

    Parameters
    ----------
    points : (3, H, W) array
        World position of each pixel, after the patient's own deformation.
    value : (H, W) array
        What has been painted so far; changed in place.
    label : (H, W) uint8 array
        The label that covers most of each pixel; changed in place.
    edge_mm : float
        Width of an edge: the pixel.
    noise : mapping of str to array
        Textures on the same pixels, cut along with them.
    """

    def __init__(
        self, points: Array, value: Array, label: npt.NDArray[np.uint8], edge_mm: float, noise: Mapping[str, Array]
    ) -> None:
        self.points, self.value, self.label, self.edge_mm, self.noise = points, value, label, edge_mm, noise

    def around(self, centre: Sequence[float], reach: Sequence[float]) -> Painter | None:
        """Look only at the pixels within `reach` of `centre` along x, y and z; None where there are none."""
        near = np.ones(self.value.shape, bool)
        for k in range(3):
            near &= np.abs(self.points[k] - np.float32(centre[k])) < reach[k]
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        if not len(rows):
            return None
        cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        noise = {name: field[cut] for name, field in self.noise.items()}
        return Painter(self.points[:, cut[0], cut[1]], self.value[cut], self.label[cut], self.edge_mm, noise)

    def paint(self, distance: Array, value: Array | float, label: int = 0, edge_mm: float | None = None) -> None:
        """Lay a shape (negative distance inside) over what is there."""
        alpha = np.clip(np.float32(0.5) - distance / np.float32(edge_mm or self.edge_mm), 0, 1)
        self.value += alpha * (np.asarray(value, np.float32) - self.value)
        self.label[alpha >= 0.5] = label


@dataclass(frozen=True)
class Grid:
    """A NIfTI grid: shape (i, j, k) and affine to RAS millimetres."""

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

    def plane(self, k: float) -> Array:
        """World positions (3, J, I) of the slice at (fractional) index k."""
        j, i = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[0]), indexing="ij")
        index = np.stack([i, j, np.full(i.shape, k)]).astype(np.float64)
        world = np.tensordot(self.affine[:3, :3], index, axes=1) + self.affine[:3, 3][:, None, None]
        return world.astype(np.float32)


def tilted_grid(
    shape: tuple[int, int, int], spacing_mm: Sequence[float], directions: str, turns_deg: Sequence[float]
) -> Grid:
    """Make a grid centred on the patient: `directions` such as ``"LPS"`` for (i, j, k), then turned about x, y, z."""
    columns = np.zeros((3, 3))
    for axis, letter in enumerate(directions):
        world, sign = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}[letter]
        columns[world, axis] = sign
    for axis, degrees in enumerate(turns_deg):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        columns = turn @ columns
    affine = np.eye(4)
    affine[:3, :3] = columns * np.asarray(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, np.round(affine, 6))


def majority(thin: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Label of a thick slice from three thin ones: what two agree on, else what the middle one says."""
    below, middle, above = thin
    return np.where(below == above, below, middle)
