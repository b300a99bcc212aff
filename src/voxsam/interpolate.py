"""Shapes between drawn slices, from their signed distances: no model, no look at the picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.errors import InputError
from voxsam.zoom import bounds_of, union_of

__all__ = ["interpolate_signed_distance", "signed_distance_mm"]

BoolArray = npt.NDArray[np.bool_]


def interpolate_signed_distance(
    slices: Mapping[int, BoolArray],
    *,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    indices: Iterable[int] | None = None,
) -> dict[int, BoolArray]:
    """Fill the slices between drawn ones: the border moves evenly from each shape to the next.

    Parameters
    ----------
    slices : mapping of int to (rows, columns) bool array
        Drawn slices by their index, one or more.
    spacing_mm : tuple of float
        Between voxels down the rows and along the columns.
    indices : iterable of int, optional
        Which slices to fill; all between the first and the last drawn one unless given. Those outside stay out.

    Returns
    -------
    dict of int to (rows, columns) bool array
        The filled slices, in order; not the drawn ones. An empty drawn slice ends the shape half way to it.

    Raises
    ------
    InputError
        If no slice was drawn, or shapes differ.

    Examples
    --------
    >>> small, large = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    >>> small[4, 4] = large[1:8, 1:8] = True
    >>> filled = interpolate_signed_distance({10: small, 12: large})
    >>> list(filled), int(filled[11].sum())
    ([11], 9)
    """
    if not slices:
        raise InputError("expected one drawn slice or more to interpolate between, got none")
    if len({drawn.shape for drawn in slices.values()}) > 1:
        raise InputError(f"drawn slices differ in shape: {sorted({drawn.shape for drawn in slices.values()})}")
    drawn = sorted(slices)
    wanted = range(drawn[0], drawn[-1] + 1) if indices is None else sorted(indices)
    filled: dict[int, BoolArray] = {}
    for low, high in pairwise(drawn):
        between = [index for index in wanted if low < index < high]
        if between:
            filled.update(_between(slices[low], slices[high], low, high, between, spacing_mm))
    return filled


def signed_distance_mm(mask: BoolArray, spacing_mm: tuple[float, float] = (1.0, 1.0)) -> npt.NDArray[np.float32]:
    """Return the distance of each pixel to the border of a 2D mask: positive inside, negative outside.

    Examples
    --------
    >>> signed_distance_mm(np.array([[False, True, True, True, False]]))
    array([[-0.5,  0.5,  1.5,  0.5, -0.5]], dtype=float32)
    """
    if not mask.any() or mask.all():  # no border in sight
        return np.full(mask.shape, np.float32(1e6 if mask.any() else -1e6))
    half = min(spacing_mm) / 2  # the border runs between two voxels, not through their centres
    inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return np.where(mask, inside - half, half - outside).astype(np.float32)


def _between(
    below: BoolArray, above: BoolArray, low: int, high: int, indices: Iterable[int], spacing_mm: tuple[float, float]
) -> dict[int, BoolArray]:
    bounds = union_of(bounds_of(below), bounds_of(above))
    if bounds is None:
        return {index: np.zeros(below.shape, bool) for index in indices}
    rows, columns = (bounds[0], bounds[1]), (bounds[2], bounds[3])  # between two shapes nothing leaves their box
    crop = tuple(slice(max(0, start - 1), stop + 1) for start, stop in (rows, columns))
    distances = [signed_distance_mm(mask[crop], spacing_mm) for mask in (below, above)]
    for k in (0, 1):
        if not (below, above)[k].any():  # shrink to the deepest point of the other shape half way
            distances[k] = np.full_like(distances[k], -distances[1 - k].max())
    filled = {}
    for index in indices:
        share = (index - low) / (high - low)
        whole = np.zeros(below.shape, bool)
        whole[crop] = (1 - share) * distances[0] + share * distances[1] > 0
        filled[index] = whole
    return filled
