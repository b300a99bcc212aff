"""How near a found mask is to the true one: overlap, surfaces, and what a row of clicks adds up to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.errors import InputError
from voxsam.evaluate.extras import require

__all__ = ["area_under_clicks", "clicks_needed", "dice", "surface_dice"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


def dice(truth: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Return the Dice overlap of two masks: twice what they share over what they hold.

    Parameters
    ----------
    truth, found : bool array_like
        Of one shape, in any number of dimensions.

    Returns
    -------
    float
        0..1; 1 where both are empty.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> dice([True, True, False], [True, False, False])
    0.6666666666666666
    """
    true, got = _same_shape(truth, found)
    held = np.count_nonzero(true) + np.count_nonzero(got)
    return float(2.0 * np.count_nonzero(true & got) / held) if held else 1.0


def surface_dice(
    truth: npt.ArrayLike,
    found: npt.ArrayLike,
    spacing_mm: Sequence[float],
    *,
    tolerance_mm: float = 2.0,
) -> float:
    """Return the share of both surfaces that lies within a tolerance of the other one (NSD).

    The surface passes between the voxels: each cube of eight neighbouring voxel centres holds the piece that
    marching cubes would draw, and counts with its area in mm². Distances are taken between such cubes. This is
    the definition of Nikolov et al. (2018), as the CVPR 2025 challenge uses it.

    Parameters
    ----------
    truth, found : (Z, Y, X) bool array_like
    spacing_mm : sequence of float
        Between voxel centres, along (z, y, x).
    tolerance_mm : float

    Returns
    -------
    float
        0..1; 1 where both are empty, 0 where only one is.

    Raises
    ------
    InputError
        If the shapes differ, or are not 3D.

    Examples
    --------
    >>> cube = np.zeros((12, 12, 12), bool)
    >>> cube[3:8, 3:8, 3:8] = True
    >>> surface_dice(cube, np.roll(cube, 1, axis=0), (1.0, 1.0, 1.0))
    1.0
    """
    true, got = _same_shape(truth, found)
    if true.ndim != 3:
        raise InputError(f"a surface is that of a 3D mask (Z, Y, X), got shape {true.shape}")
    if not true.any() or not got.any():
        return float(true.any() == got.any())
    region = _box_of(true | got)
    codes_true, codes_found = (_neighbour_codes(np.pad(mask[region], 1)) for mask in (true, got))
    areas_mm2 = _surface_areas_mm2((float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2])))
    within = whole = 0.0
    for own, other in ((codes_true, codes_found), (codes_found, codes_true)):
        distance_mm = ndimage.distance_transform_edt(~_is_surface(other), sampling=tuple(spacing_mm))
        area_mm2 = areas_mm2[own]
        whole += float(area_mm2.sum())
        within += float(area_mm2[np.asarray(distance_mm) <= tolerance_mm].sum())
    return min(1.0, within / whole)


def clicks_needed(dice_after_clicks: Sequence[float], threshold: float) -> int:
    """Count the clicks until a Dice is reached (NoC); one more than were given where it never is.

    Examples
    --------
    >>> clicks_needed([0.6, 0.82, 0.91], 0.80), clicks_needed([0.6, 0.82, 0.91], 0.95)
    (2, 4)
    """
    reached = (number for number, value in enumerate(dice_after_clicks, start=1) if value >= threshold)
    return next(reached, len(dice_after_clicks) + 1)


def area_under_clicks(values: Sequence[float]) -> float:
    """Integrate a score over the clicks by the trapezoid rule with unit steps (AUC; five clicks: 4 at most).

    Examples
    --------
    >>> area_under_clicks([0.5, 0.7, 0.9, 0.9, 0.9])
    3.2
    """
    steps = np.asarray(values, np.float64)
    return float(np.round(((steps[1:] + steps[:-1]) / 2.0).sum(), 12))


def _same_shape(truth: npt.ArrayLike, found: npt.ArrayLike) -> tuple[BoolArray, BoolArray]:
    true, got = np.asarray(truth, bool), np.asarray(found, bool)
    if true.shape != got.shape:
        raise InputError(f"masks to compare lie on one grid: the truth has shape {true.shape}, the found {got.shape}")
    return true, got


def _box_of(mask: BoolArray) -> tuple[slice, ...]:
    box: tuple[slice, ...] = ndimage.find_objects(mask.astype(np.uint8))[0]
    return box


def _neighbour_codes(padded: BoolArray) -> npt.NDArray[np.uint8]:
    """Name for each cube of 2 x 2 x 2 voxels which of the eight are inside, as one byte."""
    corners = [slice(None, -1), slice(1, None)]
    codes = np.zeros([n - 1 for n in padded.shape], np.uint8)
    for bit in range(8):
        corner = padded[corners[bit >> 2 & 1], corners[bit >> 1 & 1], corners[bit & 1]]
        codes |= corner.astype(np.uint8) << np.uint8(7 - bit)
    return codes


def _is_surface(codes: npt.NDArray[np.uint8]) -> BoolArray:
    return np.asarray((codes != 0) & (codes != 255))


@lru_cache(maxsize=32)
def _surface_areas_mm2(spacing_mm: tuple[float, float, float]) -> FloatArray:
    """Area of the surface within a cube of eight voxel centres, by its code.

    An ambiguous cube is drawn from whichever side has fewer corners, so that a mask and its complement have
    one and the same surface.
    """
    measure = require("skimage.measure")
    areas = np.zeros(256)
    for code in range(1, 255):
        bits = np.array([code >> (7 - bit) & 1 for bit in range(8)], np.float64).reshape(2, 2, 2)
        fewer = bits if bits.sum() <= 4 else 1.0 - bits
        vertices, faces, _, _ = measure.marching_cubes(fewer, 0.5, spacing=spacing_mm, method="lorensen")
        areas[code] = measure.mesh_surface_area(vertices, faces)
    return areas
