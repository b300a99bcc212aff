"""What a model-free method is given: a picture as a model would see it, and the user's marks on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.evaluate.clicks import SimulatedBox

__all__ = ["Asked", "Region"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Asked:
    """A slice or a volume with the marks a user made on it.

    Parameters
    ----------
    pixels : (rows, columns) or (Z, Y, X) float32 array in 0..1
        The windowed image.
    spacing_mm : tuple of float
        One number per axis.
    positive, negative : tuple of index tuples
        Clicks, in the order they were made.
    box : SimulatedBox or None
    box_flat_axis : int or None
        In 3D: the axis across which the box was drawn on one slice only; `box` then spans that axis whole.
    box_centre : index tuple
        Centre of the box as it was drawn.
    drawn : mapping of int to bool array
        In 3D: slices that the user drew, by index along `drawn_axis`.
    drawn_axis : int
    """

    pixels: FloatArray
    spacing_mm: tuple[float, ...]
    positive: tuple[tuple[int, ...], ...] = ()
    negative: tuple[tuple[int, ...], ...] = ()
    box: SimulatedBox | None = None
    box_flat_axis: int | None = None
    box_centre: tuple[int, ...] = ()
    drawn: Mapping[int, BoolArray] = field(default_factory=dict)
    drawn_axis: int = 0

    @property
    def box_slices(self) -> tuple[slice, ...]:
        """The box as slices of `pixels`; everything where there is no box."""
        if self.box is None:
            return tuple(slice(0, n) for n in self.pixels.shape)
        return tuple(slice(low, high + 1) for low, high in zip(self.box.low, self.box.high, strict=True))


class Region:
    """The part of a slice that a slow method works on, made small, with the seeds that the marks give.

    Without a box it is the whole slice and its frame is background; with one it is the box and a margin of a
    quarter, and all outside the box is background. It is shrunk until its longest side is at most `longest_side`.
    Clicks become discs; a box seeds a third of its ellipse.

    Parameters
    ----------
    asked : Asked
        On a slice.
    longest_side : int

    Attributes
    ----------
    pixels : (h, w) float32 array
    foreground, background : (h, w) bool array
        Seeds; disjoint.
    """

    def __init__(self, asked: Asked, *, longest_side: int = 128) -> None:
        self._shape = asked.pixels.shape
        self._crop = _with_margin(asked)
        crop = asked.pixels[self._crop]
        self._scale = min(1.0, longest_side / max(crop.shape))
        small_shape = tuple(max(2, round(n * self._scale)) for n in crop.shape)
        self.pixels = _resized(crop, small_shape)
        self._full = crop.shape
        rows, columns = np.indices(small_shape)
        inside = self._ellipse_of(asked, 1.0 / 3.0)
        outside = self._outside_of(asked)
        radius = max(1.0, 0.02 * max(small_shape))
        for marks, seeds in ((asked.positive, inside), (asked.negative, outside)):
            for mark in marks:
                row, column = self._small(mark)
                seeds |= np.hypot(rows - row, columns - column) <= radius
        for mark in asked.positive:  # a positive click on the frame or beside the box holds all the same
            row, column = (min(n - 1, max(0, round(at))) for at, n in zip(self._small(mark), small_shape, strict=True))
            outside[row, column], inside[row, column] = False, True
        self.foreground: BoolArray = inside & ~outside
        self.background: BoolArray = outside

    def restore(self, inside: npt.NDArray[np.generic]) -> BoolArray:
        """Bring a small answer, a mask or a probability, back to the slice."""
        whole = np.zeros(self._shape, bool)
        whole[self._crop] = _resized(np.asarray(inside, np.float32), self._full) > 0.5
        return whole

    def _small(self, mark: tuple[int, ...]) -> tuple[float, float]:
        row, column = (
            (at - piece.start + 0.5) * small / full - 0.5
            for at, piece, small, full in zip(mark, self._crop, self.pixels.shape, self._full, strict=True)
        )
        return row, column

    def _outside_of(self, asked: Asked) -> BoolArray:
        outside = np.ones(self.pixels.shape, bool)
        if asked.box is None:
            outside[1:-1, 1:-1] = False
            return outside
        low, high = self._small(asked.box.low), self._small(asked.box.high)
        inner = tuple(slice(max(0, round(a)), max(0, round(b)) + 1) for a, b in zip(low, high, strict=True))
        outside[inner] = False
        return outside

    def _ellipse_of(self, asked: Asked, share: float) -> BoolArray:
        if asked.box is None:
            return np.zeros(self.pixels.shape, bool)
        low, high = np.array(self._small(asked.box.low)), np.array(self._small(asked.box.high))
        centre, reach = (low + high) / 2.0, np.maximum(share * (high - low + 1.0) / 2.0, 0.75)
        grid = np.moveaxis(np.indices(self.pixels.shape), 0, -1)
        return np.asarray((((grid - centre) / reach) ** 2).sum(axis=-1) <= 1.0)


def _with_margin(asked: Asked) -> tuple[slice, ...]:
    if asked.box is None:
        return asked.box_slices
    marks = [*asked.positive, *asked.negative, asked.box.low, asked.box.high]  # a click beside the box widens it
    low, high = np.min(marks, axis=0), np.max(marks, axis=0)
    margin = np.maximum(2, (0.25 * (high - low + 1)).astype(int))
    starts = np.maximum(0, low - margin).tolist()
    stops = np.minimum(asked.pixels.shape, high + margin + 1).tolist()
    return tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))


def _resized(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Resample to a shape by lines; averaged first where it shrinks."""
    if array.shape == tuple(shape):
        return np.asarray(array, np.float32)
    factors = [small / full for small, full in zip(shape, array.shape, strict=True)]
    blur = [max(0.0, 0.5 * (1.0 / factor - 1.0)) for factor in factors]
    smooth = ndimage.gaussian_filter(array, blur) if any(blur) else array
    where = [(np.arange(n) + 0.5) / factor - 0.5 for n, factor in zip(shape, factors, strict=True)]
    grid = np.meshgrid(*where, indexing="ij")
    return np.asarray(ndimage.map_coordinates(smooth, grid, order=1, mode="nearest"), np.float32)
