"""What is asked of a method: one structure on one slice, or in the whole scan."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.evaluate.clicks import largest_component
from voxsam.geometry import Geometry, Plane, PlaneAxes
from voxsam.views import slice_of
from voxsam.volume import Mask

__all__ = ["SlicePlace", "SliceTarget", "seed_of", "slice_targets"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SlicePlace:
    """A slice of a grid as a 2D array: rows and columns in array order, as the voxels lie.

    Parameters
    ----------
    geometry : Geometry
    plane : str
    index : int

    Examples
    --------
    >>> place = SlicePlace(Geometry.from_spacing((4, 5, 6)), "axial", 2)
    >>> place.to_zyx((3, 1))
    (2, 3, 1)
    """

    geometry: Geometry
    plane: Plane
    index: int

    @property
    def axes(self) -> PlaneAxes:
        """Which array axes the slice shows."""
        return self.geometry.axes_of(self.plane)

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Between pixel centres, down the rows and along the columns."""
        return self.geometry.spacing_mm[self.axes.row], self.geometry.spacing_mm[self.axes.column]

    def cut(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the slice of a (Z, Y, X) array as a (rows, columns) view."""
        return slice_of(array, self.axes, self.index)

    def to_zyx(self, row_column: Sequence[int]) -> tuple[int, int, int]:
        """Turn a pixel (row, column) into its voxel."""
        axes, voxel = self.axes, [0, 0, 0]
        voxel[axes.normal], voxel[axes.row], voxel[axes.column] = self.index, int(row_column[0]), int(row_column[1])
        return voxel[0], voxel[1], voxel[2]


@dataclass(frozen=True, eq=False)
class SliceTarget:
    """One structure on one slice: the largest component of a label there."""

    place: SlicePlace
    label: int
    truth: BoolArray

    @property
    def area_mm2(self) -> float:
        """Area of the target."""
        row_mm, column_mm = self.place.spacing_mm
        return float(np.count_nonzero(self.truth) * row_mm * column_mm)


def slice_targets(
    mask: Mask,
    label: int,
    *,
    plane: Plane,
    count: int,
    seed: int,
    minimum_pixels: int = 40,
) -> tuple[SliceTarget, ...]:
    """Draw slices on which a label is worth asking for.

    A slice is a candidate if the largest component of the label on it has at least `minimum_pixels` native pixels.
    The candidates, in order, are cut into `count` runs of like length, and one is drawn from each.

    Parameters
    ----------
    mask : Mask
    label : int
    plane : str
    count : int
        Slices to draw; all candidates where there are fewer, and for 0.
    seed : int
        The same seed draws the same slices.
    minimum_pixels : int

    Examples
    --------
    >>> block = np.zeros((9, 20, 20), np.uint8)
    >>> block[2:8, 5:12, 5:12] = 3
    >>> mask = Mask(block, Geometry.from_spacing(block.shape))
    >>> [target.place.index for target in slice_targets(mask, 3, plane="axial", count=2, seed=0)]
    [4, 6]
    """
    normal = mask.geometry.axes_of(plane).normal
    chosen = mask.array == label
    pixels = np.count_nonzero(chosen, axis=tuple(axis for axis in range(3) if axis != normal))
    candidates: list[SliceTarget] = []
    for index in np.flatnonzero(pixels >= minimum_pixels):
        place = SlicePlace(mask.geometry, plane, int(index))
        truth = largest_component(np.ascontiguousarray(place.cut(chosen), dtype=bool))
        if np.count_nonzero(truth) >= minimum_pixels:
            candidates.append(SliceTarget(place, label, truth))
    if count <= 0 or len(candidates) <= count:
        return tuple(candidates)
    generator = np.random.default_rng(seed)
    edges = np.linspace(0, len(candidates), count + 1).astype(int)
    return tuple(candidates[generator.integers(a, b)] for a, b in pairwise(edges))


def seed_of(*names: object) -> int:
    """Derive a seed from names, so that each target has its own whatever ran before it.

    Examples
    --------
    >>> seed_of(0, "case01", "liver") == seed_of(0, "case01", "liver") != seed_of(1, "case01", "liver")
    True
    """
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
