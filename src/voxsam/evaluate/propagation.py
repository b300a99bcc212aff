"""How far a mask is carried: the seed slice of a structure, its extent, and where the answer leaves the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxsam.errors import InputError
from voxsam.evaluate.metrics import dice
from voxsam.evaluate.targets import SlicePlace
from voxsam.geometry import Geometry, Plane

__all__ = ["Carried", "carried", "middle_slice", "outer_slices", "true_slices_of"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Carried:
    """How far an answer holds.

    Parameters
    ----------
    distance_mm : float
        From the seed slice to the last slice that holds, mean of both ways.
    share : float
        Of the slices to the structure's ends, those that were reached, both ways together; 1 where there are none.
    """

    distance_mm: float
    share: float


def middle_slice(truth: BoolArray, geometry: Geometry, plane: Plane) -> SlicePlace:
    """Return the middle one of the slices that hold a structure.

    Examples
    --------
    >>> block = np.zeros((9, 4, 4), bool)
    >>> block[2:7] = True
    >>> middle_slice(block, Geometry.from_spacing(block.shape), "axial").index
    4
    """
    held = _held(truth, geometry.axes_of(plane).normal)
    return SlicePlace(geometry, plane, int(held[len(held) // 2]))


def outer_slices(found: BoolArray, truth: BoolArray, place: SlicePlace) -> BoolArray:
    """Cut an answer at the first and last slice of the truth, as a user does who marks a structure's ends."""
    held = _held(truth, place.axes.normal)
    kept = np.zeros_like(found)
    span = [slice(None)] * 3
    span[place.axes.normal] = slice(int(held[0]), int(held[-1]) + 1)
    kept[tuple(span)] = found[tuple(span)]
    return kept


def true_slices_of(truth: BoolArray, place: SlicePlace, count: int) -> BoolArray:
    """Keep some true slices: the seed slice alone, or `count` evenly spread from the first to the last.

    Examples
    --------
    >>> block = np.zeros((9, 4, 4), bool)
    >>> block[2:7] = True
    >>> kept = true_slices_of(block, SlicePlace(Geometry.from_spacing(block.shape), "axial", 4), 3)
    >>> np.flatnonzero(kept.any(axis=(1, 2))).tolist()
    [2, 4, 6]
    """
    held = _held(truth, place.axes.normal)
    chosen = [place.index] if count == 1 else held[np.linspace(0, len(held) - 1, count).round().astype(int)].tolist()
    kept = np.zeros_like(truth)
    along, source = np.moveaxis(kept, place.axes.normal, 0), np.moveaxis(truth, place.axes.normal, 0)
    along[chosen] = source[chosen]
    return kept


def carried(truth: BoolArray, found: BoolArray, place: SlicePlace, *, least_dice: float = 0.8) -> Carried:
    """Walk from the seed slice to both ends of a structure until a slice's Dice falls below a limit.

    Parameters
    ----------
    truth, found : (Z, Y, X) bool array
    place : SlicePlace
        The seed slice.
    least_dice : float

    Examples
    --------
    >>> block = np.zeros((9, 4, 4), bool)
    >>> block[1:8] = True
    >>> found = block.copy()
    >>> found[6:] = False
    >>> grid = Geometry.from_spacing(block.shape, spacing_mm=(5.0, 1.0, 1.0))
    >>> carried(block, found, SlicePlace(grid, "axial", 4))
    Carried(distance_mm=10.0, share=0.6666666666666666)
    """
    normal = place.axes.normal
    true, got = np.moveaxis(truth, normal, 0), np.moveaxis(found, normal, 0)
    held = _held(truth, normal)
    reached = possible = 0
    for step, end in ((1, int(held[-1])), (-1, int(held[0]))):
        ahead = range(place.index + step, end + step, step)
        possible += len(ahead)
        for index in ahead:
            if dice(true[index], got[index]) < least_dice:
                break
            reached += 1
    spacing_mm = place.geometry.spacing_mm[normal]
    return Carried(reached * spacing_mm / 2.0, reached / possible if possible else 1.0)


def _held(truth: BoolArray, normal: int) -> npt.NDArray[np.intp]:
    held = np.flatnonzero(truth.any(axis=tuple(axis for axis in range(3) if axis != normal)))
    if not len(held):
        raise InputError("a structure to propagate needs a voxel, and the truth holds none")
    return held
