"""A simulated user: where it clicks and how it draws a box, given the truth and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.errors import InputError

__all__ = [
    "SimulatedBox",
    "SimulatedClick",
    "challenge_box",
    "challenge_click",
    "challenge_slice",
    "corrective_click",
    "first_click",
    "jittered_box",
    "largest_component",
    "tight_box",
]

BoolArray = npt.NDArray[np.bool_]

#: Above this many voxels the challenge takes its distance transform at half resolution.
_CHALLENGE_LARGE_VOXELS = 60_000_000


@dataclass(frozen=True)
class SimulatedClick:
    """One click: array indices (of a slice or a volume), and whether it adds or removes."""

    position: tuple[int, ...]
    positive: bool


@dataclass(frozen=True)
class SimulatedBox:
    """A box by its inclusive low and high corner, in array indices."""

    low: tuple[int, ...]
    high: tuple[int, ...]


def largest_component(mask: BoolArray, *, connectivity: int = 1) -> BoolArray:
    """Keep the largest connected component; the first in array order of several that are alike.

    Parameters
    ----------
    mask : bool array
    connectivity : int
        1: neighbours share a face; ``mask.ndim``: corners count too (8 in 2D, 26 in 3D).

    Examples
    --------
    >>> largest_component(np.array([True, False, True, True])).tolist()
    [False, False, True, True]
    """
    structure = ndimage.generate_binary_structure(mask.ndim, connectivity)
    labelled, count = ndimage.label(mask, structure)
    if count < 2:
        return np.asarray(mask, bool)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    return np.asarray(labelled == int(sizes.argmax()))


def first_click(target: BoolArray, spacing_mm: Sequence[float]) -> SimulatedClick:
    """Click where the target is deepest: the maximum of its distance transform in mm.

    The image border counts as an edge, as it does to a user's eye.

    Raises
    ------
    InputError
        If the target is empty.

    Examples
    --------
    >>> first_click(np.pad(np.ones((3, 5), bool), 4), (1.0, 1.0)).position
    (5, 5)
    """
    if not target.any():
        raise InputError("a click needs a target, and this one is empty")
    return SimulatedClick(_deepest(target, spacing_mm), positive=True)


def corrective_click(truth: BoolArray, found: BoolArray, spacing_mm: Sequence[float]) -> SimulatedClick | None:
    """Click where the largest error is deepest.

    Missed and surplus parts are told apart: an error component is of one kind, its voxels share faces, and the
    largest by voxel count is clicked at the maximum of its distance transform in mm.

    Returns
    -------
    SimulatedClick or None
        Positive on a missed part, negative on a surplus one; None where nothing is wrong.

    Examples
    --------
    >>> truth = np.zeros((9, 9), bool)
    >>> truth[2:7, 2:7] = True
    >>> corrective_click(truth, np.zeros_like(truth), (1.0, 1.0))
    SimulatedClick(position=(4, 4), positive=True)
    """
    missed, surplus = largest_component(truth & ~found), largest_component(found & ~truth)
    positive = bool(np.count_nonzero(missed) >= np.count_nonzero(surplus))
    error = missed if positive else surplus
    return SimulatedClick(_deepest(error, spacing_mm), positive) if error.any() else None


def tight_box(target: BoolArray) -> SimulatedBox:
    """Return the smallest box that holds the target.

    Raises
    ------
    InputError
        If the target is empty.

    Examples
    --------
    >>> tight_box(np.pad(np.ones((3, 5), bool), 4))
    SimulatedBox(low=(4, 4), high=(6, 8))
    """
    if not target.any():
        raise InputError("a box needs a target, and this one is empty")
    slices = ndimage.find_objects(target.astype(np.uint8))[0]
    return SimulatedBox(tuple(int(s.start) for s in slices), tuple(int(s.stop) - 1 for s in slices))


def jittered_box(target: BoolArray, generator: np.random.Generator, *, fraction: float = 0.1) -> SimulatedBox:
    """Draw the box as a hand does: each side off by up to a share of the box's length, never less than a pixel.

    Parameters
    ----------
    target : bool array
    generator : numpy.random.Generator
    fraction : float
        Each side moves by a whole number drawn evenly from ``-reach..reach``, where ``reach`` is this share of the
        box along that axis, and at least 1; the box is cut at the image border.

    Examples
    --------
    >>> jittered_box(np.pad(np.ones((30, 50), bool), 9), np.random.default_rng(0)).low
    (11, 9)
    """
    tight = tight_box(target)
    low, high = [], []
    for start, stop, size in zip(tight.low, tight.high, target.shape, strict=True):
        reach = max(1, round(fraction * (stop - start + 1)))
        moved = sorted((start + _within(generator, reach), stop + _within(generator, reach)))
        low.append(max(0, min(size - 1, moved[0])))
        high.append(max(0, min(size - 1, moved[1])))
    return SimulatedBox(tuple(low), tuple(high))


def challenge_box(target: BoolArray, generator: np.random.RandomState) -> SimulatedBox:
    """Draw the box of the CVPR 2025 challenge: tight on the middle slice, grown outward, exact in z.

    Parameters
    ----------
    target : (Z, Y, X) bool array
    generator : numpy.random.RandomState
        Gives one whole number s in 0..5; both in-plane sides grow by ``int(s * size / 256)``.

    Examples
    --------
    >>> ball = np.zeros((9, 64, 64), bool)
    >>> ball[2:7, 20:30, 22:40] = True
    >>> challenge_box(ball, np.random.RandomState(2025))
    SimulatedBox(low=(2, 20, 22), high=(6, 29, 39))
    """
    plane = tight_box(target[challenge_slice(target)])
    held = np.flatnonzero(target.any(axis=(1, 2)))
    shift = int(generator.randint(0, 6))
    grow = [int(shift * size / 256) for size in target.shape[1:]]
    low = [max(0, start - by) for start, by in zip(plane.low, grow, strict=True)]
    high = [min(size - 1, stop + by) for stop, by, size in zip(plane.high, grow, target.shape[1:], strict=True)]
    return SimulatedBox((int(held[0]), low[0], low[1]), (int(held[-1]), high[0], high[1]))


def challenge_slice(target: BoolArray) -> int:
    """Return the slice on which the challenge draws its box: the middle one of those that hold a (Z, Y, X) target.

    Examples
    --------
    >>> target = np.zeros((9, 4, 4), bool)
    >>> target[[1, 2, 8]] = True
    >>> challenge_slice(target)
    2
    """
    held = np.flatnonzero(target.any(axis=(1, 2)))
    if not len(held):
        raise InputError("a box needs a target, and this one is empty")
    return int(held[len(held) // 2])


def challenge_click(truth: BoolArray, found: BoolArray) -> SimulatedClick | None:
    """Click as the CVPR 2025 challenge does.

    Missed and surplus voxels form one error mask; its largest 26-connected component is clicked at the maximum of
    its distance transform in voxels (spacing ignored), one of equals drawn with the seed 42 each time.

    Parameters
    ----------
    truth, found : (Z, Y, X) bool array

    Returns
    -------
    SimulatedClick or None
        None where nothing is wrong.

    Examples
    --------
    >>> truth = np.zeros((5, 9, 9), bool)
    >>> truth[1:4, 2:7, 2:7] = True
    >>> challenge_click(truth, np.zeros_like(truth)).positive
    True
    """
    error = truth != found
    if not error.any():
        return None
    component = largest_component(error, connectivity=3)
    origin = tight_box(component)
    crop = component[tuple(slice(a, b + 1) for a, b in zip(origin.low, origin.high, strict=True))]
    padding = [max(1, int(n * 0.25)) for n in crop.shape]
    padded = np.pad(crop, [(p, p) for p in padding])
    depth = _challenge_depth(padded)
    highest = np.argwhere(depth == depth.max())
    drawn = highest[np.random.RandomState(42).choice(len(highest))]
    z, y, x = (int(d) - p + o for d, p, o in zip(drawn, padding, origin.low, strict=True))
    return SimulatedClick((z, y, x), positive=bool(truth[z, y, x]))


def _challenge_depth(padded: BoolArray) -> npt.NDArray[np.float64]:
    """Distance transform in voxels; at half resolution where the array is large, as the challenge does."""
    if padded.size <= _CHALLENGE_LARGE_VOXELS:
        return np.asarray(ndimage.distance_transform_edt(padded))
    even = np.pad(padded, [(0, n % 2) for n in padded.shape])
    blocks = even.reshape(*(n for size in even.shape for n in (size // 2, 2)))
    halved = blocks.max(axis=(1, 3, 5))
    doubled = np.asarray(ndimage.distance_transform_edt(halved)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    depth = doubled[tuple(slice(0, n) for n in padded.shape)] * padded
    return depth if depth.any() else padded.astype(np.float64)


def _deepest(mask: BoolArray, spacing_mm: Sequence[float]) -> tuple[int, ...]:
    if not mask.any():
        return ()
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask[box], 1), sampling=tuple(spacing_mm)))
    inner = np.unravel_index(int(depth.argmax()), depth.shape)
    return tuple(int(i) - 1 + int(s.start) for i, s in zip(inner, box, strict=True))


def _within(generator: np.random.Generator, reach: int) -> int:
    return int(generator.integers(-reach, reach + 1))
