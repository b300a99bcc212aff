"""CroppedMask: one object's voxels kept small, so that hundreds of them fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from voxsam.geometry import PlaneAxes

__all__ = ["CroppedMask"]

BoolArray = npt.NDArray[np.bool_]
Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A bool mask kept small: cropped to its box, eight voxels a byte.

    Parameters
    ----------
    shape : tuple of int, (Z, Y, X)
        Of the whole mask.
    low_zyx : tuple of int
        First voxel of the box.
    box_shape : tuple of int
    packed : uint8 array

    Examples
    --------
    >>> whole = np.zeros((4, 64, 64), bool)
    >>> whole[2, 10:20, 10:20] = True
    >>> small = CroppedMask.of(whole)
    >>> small.nbytes, bool((small.to_array() == whole).all())
    (13, True)
    """

    shape: Triple
    low_zyx: Triple
    box_shape: Triple
    packed: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, array: BoolArray) -> CroppedMask:
        """Crop and pack a (Z, Y, X) bool array."""
        z, y, x = array.shape
        return cls.placed(array, (0, 0, 0), (z, y, x))

    @classmethod
    def placed(cls, part: BoolArray, low_zyx: Triple, shape: Triple) -> CroppedMask:
        """Crop and pack a (z, y, x) bool array that begins at `low_zyx` of a mask of `shape` and is all it holds.

        Examples
        --------
        >>> CroppedMask.placed(np.ones((1, 2, 2), bool), (3, 0, 5), (9, 9, 9)).high_zyx
        (4, 2, 7)
        """
        low = list(low_zyx)
        for axis in range(3):  # slices first: the next axes look at less and less
            held = np.flatnonzero(part.any(axis=tuple({0, 1, 2} - {axis})))
            first, stop = (int(held[0]), int(held[-1]) + 1) if held.size else (0, 0)
            part = part[(slice(None),) * axis + (slice(first, stop),)]
            low[axis] = low[axis] + first if held.size else 0
        packed = np.packbits(part)
        packed.flags.writeable = False
        depth, height, width = part.shape
        return cls(shape, (low[0], low[1], low[2]), (depth, height, width), packed)

    @classmethod
    def of_slice(cls, drawn: BoolArray, shape: Triple, axes: PlaneAxes, index: int) -> CroppedMask:
        """Make a mask that holds one slice: (rows, columns) bool in array order, as `slice_of` returns it.

        Examples
        --------
        >>> from voxsam.geometry import Geometry
        >>> axes = Geometry.from_spacing((4, 5, 6)).axes_of("coronal")
        >>> CroppedMask.of_slice(np.ones((4, 6), bool), (4, 5, 6), axes, 2).low_zyx
        (0, 2, 0)
        """
        part = np.moveaxis(drawn[None], (0, 1, 2), (axes.normal, axes.row, axes.column))
        low = [0, 0, 0]
        low[axes.normal] = index
        return cls.placed(part, (low[0], low[1], low[2]), shape)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self.packed.nbytes)

    @property
    def high_zyx(self) -> Triple:
        """One after the last voxel of the box."""
        (z, y, x), (depth, height, width) = self.low_zyx, self.box_shape
        return z + depth, y + height, x + width

    @cached_property
    def voxels(self) -> int:
        """How many voxels it holds."""
        return int(np.count_nonzero(self.box))

    @property
    def box(self) -> BoolArray:
        """What lies in the box: a (depth, height, width) bool array of one's own."""
        depth, height, width = self.box_shape
        inside: BoolArray = np.unpackbits(self.packed, count=depth * height * width).reshape(self.box_shape).view(bool)
        return inside

    def to_array(self) -> BoolArray:
        """Return the whole mask, (Z, Y, X) bool."""
        array = np.zeros(self.shape, bool)
        self.draw_on(array, (0, 0, 0))
        return array

    def draw_on(self, part: BoolArray, low_zyx: Triple) -> None:
        """Add its voxels to a part of the scan that begins at `low_zyx`."""
        low = np.maximum(self.low_zyx, low_zyx)
        high = np.minimum(self.high_zyx, np.add(low_zyx, part.shape))
        if (low >= high).any():
            return
        there = tuple(slice(a, b) for a, b in zip(low - low_zyx, high - low_zyx, strict=True))
        here = tuple(slice(a, b) for a, b in zip(low - self.low_zyx, high - self.low_zyx, strict=True))
        part[there] |= self.box[here]

    def part(self, low_zyx: Triple, high_zyx: Triple) -> BoolArray:
        """Return what of it lies between two corners, the second one exclusive: a bool array of one's own."""
        z, y, x = (b - a for a, b in zip(low_zyx, high_zyx, strict=True))
        found = np.zeros((z, y, x), bool)
        self.draw_on(found, low_zyx)
        return found

    def slice_of(self, axes: PlaneAxes, index: int) -> BoolArray:
        """Return one slice as `voxsam.views.slice_of` does, without unpacking the others: (rows, columns) bool."""
        whole = np.zeros((self.shape[axes.row], self.shape[axes.column]), bool)
        at = index - self.low_zyx[axes.normal]
        if not 0 <= at < self.box_shape[axes.normal]:
            return whole
        row, column = self.low_zyx[axes.row], self.low_zyx[axes.column]
        rows, columns = self.box_shape[axes.row], self.box_shape[axes.column]
        inside = self._along_first(at) if axes.normal == 0 else self._picked(axes, at)
        whole[row : row + rows, column : column + columns] = inside.T if axes.normal == 0 and axes.row == 2 else inside
        return whole

    def _along_first(self, at: int) -> npt.NDArray[np.uint8]:
        """Unpack one (y, x) slice of the box, whose bits lie together."""
        _, height, width = self.box_shape
        first, stop = at * height * width, (at + 1) * height * width
        bits = np.unpackbits(self.packed[first >> 3 : (stop + 7) >> 3])
        return bits[first & 7 : (first & 7) + height * width].reshape(height, width)

    def _picked(self, axes: PlaneAxes, at: int) -> npt.NDArray[np.uint8]:
        """Pick one slice of the box bit by bit: (rows, columns)."""
        _, height, width = self.box_shape
        strides = (height * width, width, 1)
        rows, columns = np.arange(self.box_shape[axes.row]), np.arange(self.box_shape[axes.column])
        bits = at * strides[axes.normal] + rows[:, None] * strides[axes.row] + columns * strides[axes.column]
        picked: npt.NDArray[np.uint8] = (self.packed[bits >> 3] >> (7 - (bits & 7))) & 1
        return picked

    def with_slice(self, drawn: BoolArray, axes: PlaneAxes, index: int) -> CroppedMask:
        """Return a mask in which one slice is replaced: (rows, columns) bool in array order."""
        fresh = CroppedMask.of_slice(drawn, self.shape, axes, index)
        low, high = union_box(self, fresh)
        part = self.part(low, high)
        at = index - low[axes.normal]
        if 0 <= at < part.shape[axes.normal]:
            part[(slice(None),) * axes.normal + (at,)] = False
        fresh.draw_on(part, low)
        return CroppedMask.placed(part, low, self.shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CroppedMask):
            return NotImplemented
        if self is other:
            return True
        here, there = (self.shape, self.low_zyx, self.box_shape), (other.shape, other.low_zyx, other.box_shape)
        return here == there and np.array_equal(self.packed, other.packed)

    def __hash__(self) -> int:
        return hash((self.shape, self.low_zyx, self.box_shape))


def union_box(one: CroppedMask, other: CroppedMask) -> tuple[Triple, Triple]:
    """Return the corners of the box around two masks, the second one exclusive; an empty mask adds nothing."""
    if not one.packed.size or not other.packed.size:
        held = other if not one.packed.size else one
        return held.low_zyx, held.high_zyx
    low = np.minimum(one.low_zyx, other.low_zyx).tolist()
    high = np.maximum(one.high_zyx, other.high_zyx).tolist()
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
