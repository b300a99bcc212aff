"""What a click says holds, whatever a model answers: there, and around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["Click", "obeyed"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

#: Row and column in array order, and whether the object is wanted there.
Click = tuple[int, int, bool]

#: Of the way from a disobeyed click to the border of the mask: all within this share of it changes with the click.
_CORE = 0.5
#: Within this share of it: what hangs together with the click, and the model finds no less likely than the click.
_REACH = 1.5
#: How sure the changed pixels are.
_LOGIT = 1.0


def obeyed(logits: FloatArray, clicks: Sequence[Click], spacing_mm: tuple[float, float]) -> FloatArray:
    """Change an answer where it disobeys clicks, near them alone.

    A click that is disobeyed lies at some distance from the border of the mask, and the border is wrong by about as
    much. A disc of half that radius around the click is given to it, and beyond, up to half as far again as the border,
    what the model thinks at least as likely as the clicked pixel. No change comes nearer to a click that wants the
    opposite than to the click itself.

    Parameters
    ----------
    logits : (rows, columns) float32 array
        Positive inside.
    clicks : sequence of (row, column, wanted)
        In the order they were made; where two contradict each other on one pixel, the later counts.
    spacing_mm : (float, float)
        Between pixels, down the rows and along the columns.

    Returns
    -------
    (rows, columns) float32 array
        The same array where every click was obeyed, or the mask is empty: what is not there cannot be corrected.

    Examples
    --------
    >>> answer = np.tile(np.float32(2.5) - np.arange(8, dtype=np.float32), (8, 1))
    >>> (obeyed(answer, [(4, 5, True)], (1.0, 1.0)) > 0).astype(int)[4:]
    array([[1, 1, 1, 1, 1, 1, 1, 0],
           [1, 1, 1, 1, 1, 1, 1, 0],
           [1, 1, 1, 1, 1, 1, 0, 0],
           [1, 1, 1, 1, 1, 1, 0, 0]])
    """
    mask = logits > 0
    if not mask.any():
        return logits
    for row, column, wanted in clicks:
        if mask[row, column] != wanted:
            opposed = [(r, c) for r, c, other in clicks if other != wanted]
            changed = _surroundings(logits if wanted else -logits, mask, (row, column), opposed, spacing_mm)
            logits = np.where(changed, np.maximum(logits, _LOGIT) if wanted else np.minimum(logits, -_LOGIT), logits)
            mask = logits > 0
    return logits


def _surroundings(
    wanted: FloatArray,
    mask: BoolArray,
    click: tuple[int, int],
    opposed: Sequence[tuple[int, int]],
    spacing_mm: tuple[float, float],
) -> BoolArray:
    """Choose what changes with a click; `wanted` is larger where the model would sooner agree with it."""
    border_mm = _distance_mm(np.argwhere(mask != mask[click]), click, spacing_mm)
    if not np.isfinite(border_mm):  # the mask is everywhere
        border_mm = 0.0
    limit_mm = _distance_mm(np.array(opposed, int).reshape(-1, 2), click, spacing_mm) / 2
    rows, columns = (np.arange(n) for n in mask.shape)
    down_mm, across_mm = (rows - click[0]) * spacing_mm[0], (columns - click[1]) * spacing_mm[1]
    from_click_mm = np.hypot(down_mm[:, None], across_mm)
    changed = from_click_mm <= min(_CORE * border_mm, limit_mm)
    changed |= (from_click_mm <= min(_REACH * border_mm, limit_mm)) & (wanted >= wanted[click])
    parts, _ = ndimage.label(changed)  # the click is at no distance from itself, so it is in
    return np.asarray(parts == parts[click])


def _distance_mm(places: npt.NDArray[np.int64], click: tuple[int, int], spacing_mm: tuple[float, float]) -> float:
    """From a click to the nearest of (N, 2) pixels; infinite where there are none."""
    steps_mm = (places - np.array(click)) * np.array(spacing_mm)
    return float(np.hypot(steps_mm[:, 0], steps_mm[:, 1]).min(initial=np.inf))
