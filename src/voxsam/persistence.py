"""What the last slice says about shape: where an image leaves a border open, an object goes on as it was."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxsam.zoom import Bounds

__all__ = ["settled"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

#: The last shape's say is the intersection over union that an answer is expected to lack, but not more than this.
_MOST = 0.75
#: How far a border may have moved unseen, as a share of the object's radius.
_SOFT_SHARE = 0.1
_SURE = 1e-4


def settled(logits: FloatArray, quality: float, last: BoolArray, bounds: Bounds) -> FloatArray:
    """Blend an answer, as probabilities, with the mask of the slice before: the less sure it is, the more.

    Where the model is sure of its answer, nothing changes. On faint structures, where an answer would wander from slice
    to slice, the last shape settles the border.

    Parameters
    ----------
    logits : (rows, columns) float32 array
        Positive inside.
    quality : float
        The intersection over union that the model expects of it.
    last : (rows, columns) bool array
        The mask of the slice before.
    bounds : Bounds
        Of that mask.

    Returns
    -------
    (rows, columns) float32 array
        Logits again.

    Examples
    --------
    >>> last = np.zeros((9, 9), bool); last[2:7, 2:7] = True
    >>> bool(settled(np.full((9, 9), -0.3, np.float32), 0.5, last, (2, 7, 2, 7))[4, 4] > 0)
    True
    """
    say = min(_MOST, 1 - quality)
    if say <= 0:
        return logits
    soft_px = max(1.0, _SOFT_SHARE * float(np.sqrt(np.count_nonzero(last) / np.pi)))
    crop, before = _softened(last, bounds, soft_px)
    chance: FloatArray = np.exp(-logits.clip(-20, 20), dtype=np.float32)
    chance += 1
    np.divide(1 - say, chance, out=chance)
    chance[crop] += say * before
    chance.clip(_SURE, 1 - _SURE, out=chance)
    chance /= 1 - chance
    return np.log(chance, out=chance)


def _softened(mask: BoolArray, bounds: Bounds, soft_px: float) -> tuple[tuple[slice, slice], FloatArray]:
    """Do what `scipy.ndimage.gaussian_filter` does, by products of small matrices: the mask is empty but for `bounds`.

    Returns what else is not empty, and it.
    """
    row, row_stop, column, column_stop = bounds
    rows, of_rows = _weights(row, row_stop, mask.shape[0], soft_px)
    columns, of_columns = _weights(column, column_stop, mask.shape[1], soft_px)
    return (rows, columns), of_rows @ mask[row:row_stop, column:column_stop].astype(np.float32) @ of_columns.T


def _weights(start: int, stop: int, length: int, soft_px: float) -> tuple[slice, FloatArray]:
    """Say along one axis which voxels get something of those from `start` to `stop`, and how much: (got, given)."""
    reach = int(4 * soft_px + 0.5)
    taps = np.exp(-0.5 * (np.arange(reach + 2) / soft_px) ** 2)
    taps[-1] = 0.0  # and beyond
    taps = (taps / (2 * taps.sum() - taps[0])).astype(np.float32)
    got, given = np.arange(max(0, start - reach), min(length, stop + reach)), np.arange(start, stop)
    shown = [given]
    if start < reach:
        shown.append(-1 - given)  # the edge mirrors
    if length - stop < reach:
        shown.append(2 * length - 1 - given)
    weights: FloatArray = sum(taps[np.minimum(np.abs(got[:, None] - at), reach + 1)] for at in shown)
    return slice(int(got[0]), int(got[-1]) + 1), weights
