"""Clean up a mask in 3D, in millimetres: components, holes, islands, smoothing, gaps.

Every function returns a new mask on the same grid. A label map is cleaned label by label; what a label gains, it
gains from the background, never from another label. The work is done inside the mask's box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.errors import InputError
from voxsam.geometry import Geometry, Plane
from voxsam.prompts import Point, Prompt, Scribble
from voxsam.volume import Mask

__all__ = ["close_gaps", "fill_holes", "keep_largest", "keep_touching", "remove_islands", "smooth"]

BoolArray = npt.NDArray[np.bool_]
#: Changes one label, cropped to its box; gets the box's lowest voxel.
_Work: TypeAlias = Callable[[BoolArray, tuple[int, int, int]], BoolArray]

_TOUCHING = np.ones((3, 3, 3), bool)  # voxels that share a face, an edge or a corner are one component


def keep_largest(mask: Mask, *, count: int = 1) -> Mask:
    """Keep the largest component, or the `count` largest.

    Parameters
    ----------
    mask : Mask
    count : int

    Returns
    -------
    Mask

    Raises
    ------
    InputError
        If `count` is below 1.

    Examples
    --------
    >>> array = np.zeros((1, 1, 9), bool)
    >>> array[..., [0, 1, 2, 5]] = True
    >>> int(keep_largest(Mask(array, Geometry.from_spacing(array.shape))).array.sum())
    3
    """
    if count < 1:
        raise InputError(f"expected 1 component or more to keep, got {count}")

    def work(inside: BoolArray, _: tuple[int, int, int]) -> BoolArray:
        components, sizes = _components(inside)
        return np.isin(components, 1 + np.argsort(sizes, kind="stable")[::-1][:count])

    return _each_label(mask, work)


def keep_touching(mask: Mask, prompts: Sequence[Prompt], *, reach_mm: float = 2.0) -> Mask:
    """Keep the components that positive points or scribbles touch.

    Parameters
    ----------
    mask : Mask
    prompts : sequence of Prompt
        Boxes, masks and negative prompts do not choose a component.
    reach_mm : float
        A component this near to a click is touched, so that a click beside the border counts.

    Returns
    -------
    Mask
        Unchanged where no component is touched: better too much than nothing.

    Examples
    --------
    >>> array = np.zeros((1, 1, 9), bool)
    >>> array[..., [0, 1, 2, 6]] = True
    >>> kept = keep_touching(Mask(array, Geometry.from_spacing(array.shape)), [Point((0, 0, 6))])
    >>> np.flatnonzero(kept.array)
    array([6])
    """
    clicks = [
        prompt.voxels_zyx() if isinstance(prompt, Scribble) else np.floor(np.array([prompt.zyx]) + 0.5).astype(np.int64)
        for prompt in prompts
        if isinstance(prompt, Point | Scribble) and prompt.positive
    ]
    if not clicks:
        return mask
    near = _near(np.concatenate(clicks), mask.geometry, reach_mm)

    def work(inside: BoolArray, low: tuple[int, int, int]) -> BoolArray:
        components, _ = _components(inside)
        local = near - np.asarray(low)
        local = local[((local >= 0) & (local < inside.shape)).all(axis=1)]
        touched = np.unique(components[tuple(local.T)])
        touched = touched[touched > 0]
        return np.isin(components, touched) if touched.size else inside

    return _each_label(mask, work)


def remove_islands(mask: Mask, *, smaller_than_mm3: float) -> Mask:
    """Remove components below a volume.

    Parameters
    ----------
    mask : Mask
    smaller_than_mm3 : float

    Returns
    -------
    Mask
        Empty if every component is smaller.

    Raises
    ------
    InputError
        If the volume is negative.

    Examples
    --------
    >>> array = np.zeros((1, 1, 9), bool)
    >>> array[..., [0, 1, 2, 6]] = True
    >>> grid = Geometry.from_spacing(array.shape, spacing_mm=(2.0, 1.0, 1.0))
    >>> np.flatnonzero(remove_islands(Mask(array, grid), smaller_than_mm3=3.0).array)
    array([0, 1, 2])
    """
    _require_not_negative(smaller_than_mm3, "mm3")

    def work(inside: BoolArray, _: tuple[int, int, int]) -> BoolArray:
        components, sizes = _components(inside)
        volumes = sizes * mask.geometry.voxel_volume_mm3
        return np.isin(components, 1 + np.flatnonzero(volumes >= smaller_than_mm3 * (1 - 1e-9)))

    return _each_label(mask, work)


def fill_holes(mask: Mask, *, plane: Plane | None = None, up_to_mm3: float | None = None) -> Mask:
    """Fill what the mask encloses.

    Parameters
    ----------
    mask : Mask
    plane : {"axial", "coronal", "sagittal"}, optional
        Fill holes of every slice of this plane, even where they are open in 3D. Without it, only cavities closed
        on all sides.
    up_to_mm3 : float, optional
        Leave larger holes open (in a slice: its area times the slice distance).

    Returns
    -------
    Mask

    Raises
    ------
    InputError
        If the volume is negative.

    Examples
    --------
    >>> array = np.ones((3, 3, 3), bool)
    >>> array[1, 1, 1] = False
    >>> bool(fill_holes(Mask(array, Geometry.from_spacing(array.shape))).array.all())
    True
    """
    _require_not_negative(0.0 if up_to_mm3 is None else up_to_mm3, "mm3")
    structure = ndimage.generate_binary_structure(3, 1)
    if plane is not None:
        blind = mask.geometry.axes_of(plane).normal
        structure[tuple([0, 2] if axis == blind else slice(None) for axis in range(3))] = False

    def work(inside: BoolArray, _: tuple[int, int, int]) -> BoolArray:
        padding = [(0, 0) if plane is not None and axis == blind else (1, 1) for axis in range(3)]
        outside = ~np.pad(inside, padding)
        components, count = ndimage.label(outside, structure)
        border = np.ones(outside.shape, bool)
        core = tuple(slice(a, n - b) for (a, b), n in zip(padding, outside.shape, strict=True))
        border[core] = False
        closed = np.ones(count + 1, bool)
        closed[components[border]] = closed[0] = False
        if up_to_mm3 is not None:
            voxels = sum(np.bincount(layer.ravel(), minlength=count + 1) for layer in components)  # a layer is small
            closed &= voxels * mask.geometry.voxel_volume_mm3 <= up_to_mm3 * (1 + 1e-9)
        filled: BoolArray = inside | closed[components[core]]
        return filled

    return _each_label(mask, work)


def smooth(mask: Mask, *, sigma_mm: float, keep_volume: bool = True) -> Mask:
    """Round the surface: a Gaussian over the signed distance to it, cut where the volume stays as it was.

    Parameters
    ----------
    mask : Mask
    sigma_mm : float
        Standard deviation; details finer than about this are smoothed away. 0 leaves the mask as it is.
    keep_volume : bool
        False: cut at distance zero, which shrinks what is convex.

    Returns
    -------
    Mask

    Raises
    ------
    InputError
        If `sigma_mm` is negative.

    Examples
    --------
    >>> z, y, x = np.indices((20, 20, 20)) - 10
    >>> ball = z**2 + y**2 + x**2 < 49
    >>> ball[10, 10, 18:20] = True  # a spike
    >>> smoothed = smooth(Mask(ball, Geometry.from_spacing(ball.shape)), sigma_mm=2.0)
    >>> bool(smoothed.array[10, 10, 19]), abs(int(smoothed.array.sum()) - int(ball.sum())) < 30
    (False, True)
    """
    _require_not_negative(sigma_mm, "mm")
    if sigma_mm == 0:
        return mask
    spacing = mask.geometry.spacing_mm
    margin = [int(np.ceil(3 * sigma_mm / mm)) + 1 for mm in spacing]

    def work(inside: BoolArray, _: tuple[int, int, int]) -> BoolArray:
        distance = ndimage.distance_transform_edt(inside, spacing)
        distance -= ndimage.distance_transform_edt(~inside, spacing)
        rounded = ndimage.gaussian_filter(distance, [sigma_mm / mm for mm in spacing], truncate=3.0, mode="nearest")
        if not keep_volume:
            return np.asarray(rounded > 0)
        count = int(np.count_nonzero(inside))
        cut = np.partition(rounded, rounded.size - count, axis=None)[rounded.size - count]
        return np.asarray(rounded >= cut)

    return _each_label(mask, work, margin)


def close_gaps(mask: Mask, *, gap_mm: float) -> Mask:
    """Close clefts and gaps that are narrower than a width (morphological closing with an ellipsoid).

    Parameters
    ----------
    mask : Mask
    gap_mm : float
        Gaps up to this width are closed; voxels being what they are, perhaps one voxel wider. An axis along which
        a voxel is larger than this is left alone.

    Returns
    -------
    Mask
        Holds all that `mask` holds.

    Raises
    ------
    InputError
        If `gap_mm` is negative.

    Examples
    --------
    >>> array = np.ones((3, 3, 12), bool)
    >>> array[..., 5:7] = False
    >>> bool(close_gaps(Mask(array, Geometry.from_spacing(array.shape)), gap_mm=2.0).array[1, 1].all())
    True
    """
    _require_not_negative(gap_mm, "mm")
    wide = [int(gap_mm / mm + 1e-9) for mm in mask.geometry.spacing_mm]
    radius = [-(-n // 2) for n in wide]
    if not any(radius):
        return mask
    unit = [1.0 / n if n else 1e6 for n in radius]  # the ellipsoid is the unit ball
    margin = [n + 1 for n in radius]

    def work(inside: BoolArray, _: tuple[int, int, int]) -> BoolArray:
        padded = np.pad(inside, [(n, n) for n in margin])  # beyond the scan too, or its edge would erode
        grown = ndimage.distance_transform_edt(~padded, unit) <= 1 + 1e-6
        closed = ndimage.distance_transform_edt(grown, unit) > 1 + 1e-6
        return np.asarray(closed[tuple(slice(n, -n) for n in margin)] | inside)

    return _each_label(mask, work)


def _each_label(mask: Mask, work: _Work, margin: Sequence[int] = (0, 0, 0)) -> Mask:
    """Apply `work` to every label inside its box grown by `margin` voxels."""
    if mask.array.dtype == np.bool_:
        result: npt.NDArray[np.bool_] = np.zeros(mask.array.shape, bool)
        box = _box_of(mask.array, margin)
        if box is not None:
            result[box] = work(mask.array[box], _low(box))
        return replace(mask, array=result)
    array = mask.array.copy()
    for value in mask.values:
        box = _box_of(mask.array == value, margin)
        if box is None:
            continue
        before = mask.array[box] == value
        after = work(before, _low(box))
        part = array[box]
        part[before & ~after] = 0
        part[after & (part == 0)] = value
    return replace(mask, array=array)


def _box_of(inside: BoolArray, margin: Sequence[int]) -> tuple[slice, slice, slice] | None:
    """Return the smallest box around what is inside, grown by `margin` but within the array; None if empty."""
    sides = []
    for axis in range(3):
        held = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        if not held.size:
            return None
        sides.append(slice(max(0, int(held[0]) - margin[axis]), int(held[-1]) + 1 + margin[axis]))
    return sides[0], sides[1], sides[2]


def _low(box: tuple[slice, slice, slice]) -> tuple[int, int, int]:
    return box[0].start, box[1].start, box[2].start


def _components(inside: BoolArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Give each component a number from 1; return them with their sizes in voxels."""
    components = np.empty(inside.shape, np.int32)
    ndimage.label(inside, _TOUCHING, output=components)
    return components, np.bincount(components.ravel())[1:]


def _near(voxels_zyx: npt.NDArray[np.int64], geometry: Geometry, reach_mm: float) -> npt.NDArray[np.int64]:
    """Return the voxels (N, 3) within reach of the given ones."""
    spacing = np.asarray(geometry.spacing_mm)
    reach = (reach_mm / spacing).astype(int).tolist()
    offsets = np.array(list(product(*(range(-n, n + 1) for n in reach))))
    offsets = offsets[np.linalg.norm(offsets * spacing, axis=1) <= reach_mm]
    return np.unique((voxels_zyx[:, None, :] + offsets[None, :, :]).reshape(-1, 3), axis=0)


def _require_not_negative(value: float, unit: str) -> None:
    if not value >= 0:
        raise InputError(f"expected 0 {unit} or more, got {value}")
