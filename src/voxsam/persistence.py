"""What the last slice says about shape: where an image leaves a border open, an object goes on as it was."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

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
    crop = _around(bounds, int(4 * soft_px) + 1)
    before = np.zeros(logits.shape, np.float32)
    before[crop] = ndimage.gaussian_filter(last[crop].astype(np.float32), soft_px)
    chance = (1 - say) / (1 + np.exp(-logits.clip(-20, 20))) + say * before
    chance = chance.clip(_SURE, 1 - _SURE)
    blended: FloatArray = np.log(chance / (1 - chance)).astype(np.float32)
    return blended


def _around(bounds: Bounds, margin: int) -> tuple[slice, slice]:
    row, row_stop, column, column_stop = bounds
    return slice(max(0, row - margin), row_stop + margin), slice(max(0, column - margin), column_stop + margin)
