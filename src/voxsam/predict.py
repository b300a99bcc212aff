"""predict_slice: prompts in voxels become a mask on one slice. The only way from zyx to a model's xy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from voxsam.cuts import SliceCut, cut_prompts, indices_of
from voxsam.embeddings import EmbeddingStore
from voxsam.errors import PromptError
from voxsam.models.base import SliceLogits, SlicePrompts
from voxsam.obeyed import Click, obeyed
from voxsam.prompts import Box, Prompt
from voxsam.views import OUTSIDE_LOGIT, Region, View, ViewFrame
from voxsam.zoom import Bounds, ZoomRules, bounds_of, stability, union_of

__all__ = [
    "GIVEN_LOGIT",
    "SlicePrediction",
    "ask",
    "ask_in_turns",
    "clicks_on",
    "held_to_clicks",
    "overlap_of",
    "predict_cut",
    "predict_slice",
    "to_pixels",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

#: How sure a drawn mask is when it is shown to a model as logits.
GIVEN_LOGIT = 8.0


@dataclass(frozen=True, eq=False)
class SlicePrediction:
    """A model's answer on one slice.

    Parameters
    ----------
    view : View
        Of the whole slice.
    logits : (rows, columns) float32 array
        Of the whole slice in array order (see `voxsam.views.slice_of`); positive inside.
    score : float
        The model's own estimate of its intersection over union.
    zoomed_to : Region or None
        Where the model looked from nearer.
    candidates : tuple of SlicePrediction
        What else could be meant, as the model orders it; empty unless asked for.
    """

    view: View
    logits: FloatArray
    score: float
    zoomed_to: Region | None = None
    candidates: tuple[SlicePrediction, ...] = field(default=(), repr=False)

    @property
    def mask(self) -> BoolArray:
        """(rows, columns) bool array: where the logits are positive."""
        return self.logits > 0


def predict_slice(
    store: EmbeddingStore,
    view: View,
    prompts: Sequence[Prompt],
    *,
    mask_logits: FloatArray | None = None,
    auto_zoom: bool = True,
    multimask: bool = False,
    zoom: ZoomRules | None = None,
) -> SlicePrediction:
    """Segment one slice from the prompts that lie on it.

    Parameters
    ----------
    store : EmbeddingStore
        Of the scan and the model.
    view : View
        The slice. With a region of its own it is looked at as it is, without auto-zoom.
    prompts : sequence of Prompt
        Of one object; those off this slice say nothing. Boxes with an extent are cut.
    mask_logits : (rows, columns) float32 array, optional
        An earlier answer for this slice, to be corrected by the prompts.
    auto_zoom : bool
        Look again from nearer where the object is small in the view.
    multimask : bool
        Return the model's alternatives as `SlicePrediction.candidates` too.
    zoom : ZoomRules, optional

    Returns
    -------
    SlicePrediction
        Empty where negative clicks alone lie on the slice: nothing is wanted here.

    Raises
    ------
    PromptError
        If nothing lies on this slice, and there is no earlier answer.

    Examples
    --------
    >>> predict_slice(store, stack.view("axial", 42, windows), [Point((42, 210, 180))]).mask.sum()  # doctest: +SKIP
    1204
    """
    geometry = store.stack.volume.geometry
    cut = cut_prompts(prompts, geometry, view.plane, view.index)
    if cut.is_empty and mask_logits is None:
        held = sorted({index for prompt in prompts for index in indices_of(prompt, geometry, view.plane)})
        raise PromptError(_nothing_here(view, held))
    return predict_cut(store, view, cut, mask_logits, auto_zoom=auto_zoom, multimask=multimask, zoom=zoom)


def predict_cut(
    store: EmbeddingStore,
    view: View,
    cut: SliceCut,
    mask_logits: FloatArray | None = None,
    *,
    auto_zoom: bool = True,
    multimask: bool = False,
    zoom: ZoomRules | None = None,
    obey: bool = True,
) -> SlicePrediction:
    """Do as `predict_slice`, for prompts that were cut already; without `obey` the answer is the model's alone."""
    if not cut.wants_something and mask_logits is None:
        shape = store.stack.frame(replace(view, region=None)).slice_shape
        return SlicePrediction(view, np.full(shape, OUTSIDE_LOGIT, np.float32), 1.0)
    zoom = zoom or ZoomRules()
    parts = [_predict_part(store, view, part, mask_logits, zoom if auto_zoom else None) for part in cut.by_box()]
    best = max(parts, key=lambda part: part.score)
    logits = np.maximum.reduce([part.logits for part in parts]) if len(parts) > 1 else best.logits
    if obey:
        logits = held_to_clicks(logits, store, view, cut)
    candidates = _candidates(store, view, cut, mask_logits) if multimask else ()
    return replace(best, logits=logits, candidates=candidates)


def ask(
    store: EmbeddingStore, view: View, cut: SliceCut, mask_logits: FloatArray | None = None, *, multimask: bool = False
) -> SliceLogits:
    """Ask the model about one view; the answer is on the view's own pixels.

    Parameters
    ----------
    store : EmbeddingStore
    view : View
    cut : SliceCut
        With at most one box.
    mask_logits : (rows, columns) float32 array, optional
        An earlier answer in array order; goes before the cut's own mask.
    multimask : bool

    Returns
    -------
    SliceLogits
    """
    prompts = to_pixels(cut, store.stack.frame(view), mask_logits)
    return store.decode(store.get(view), prompts, multimask=multimask)


def ask_in_turns(
    store: EmbeddingStore, view: View, cut: SliceCut, mask_logits: FloatArray | None = None
) -> SliceLogits:
    """Ask the model about one view, click after click, each time with its last answer.

    Models are trained to be corrected so; shown at once, the same clicks help much less. Turns that were asked before
    are remembered, so one click more costs one answer more.
    """
    frame, embedding = store.stack.frame(view), store.get(view)
    *earlier, last = cut.in_turns(after_mask=mask_logits is not None)
    low_res: FloatArray | None = None
    for turn in earlier:
        prompts = _after(low_res, to_pixels(turn, frame, mask_logits))
        key = store.recent.key(embedding, prompts)
        low_res = store.recent.get(key)
        if low_res is None:
            low_res = _best_low_res(store.decode(embedding, prompts))
            store.recent.put(key, embedding, low_res)
    prompts = _after(low_res, to_pixels(last, frame, mask_logits))
    answer = store.decode(embedding, prompts)
    store.recent.put(store.recent.key(embedding, prompts), embedding, _best_low_res(answer))
    return answer


def _after(low_res: FloatArray | None, prompts: SlicePrompts) -> SlicePrompts:
    """Show the model its last answer beside the prompts, instead of an earlier mask."""
    return prompts if low_res is None else replace(prompts, mask_logits=None, low_res_logits=low_res)


def _best_low_res(answer: SliceLogits) -> FloatArray:
    best: FloatArray = answer.low_res_logits[answer.best]
    return best


def to_pixels(cut: SliceCut, frame: ViewFrame, mask_logits: FloatArray | None = None) -> SlicePrompts:
    """Bring prompts from voxels to the pixels of a view; clicks that the view does not show are left out."""
    points_xy = frame.to_xy(cut.points_zyx)
    height, width = frame.shape
    shown = ((points_xy > -0.5) & (points_xy < (width - 0.5, height - 0.5))).all(axis=1)
    if mask_logits is None and cut.given is not None:
        mask_logits = np.where(cut.given, np.float32(GIVEN_LOGIT), np.float32(-GIVEN_LOGIT))
    return SlicePrompts(
        points_xy=points_xy[shown].astype(np.float32),
        point_labels=cut.point_labels[shown],
        box_xyxy=_box_xyxy(cut.boxes[0], frame) if cut.boxes else None,
        box_is_tight=not cut.loose.intersection(cut.boxes[:1]),
        mask_logits=None if mask_logits is None else frame.slice_to_view(mask_logits),
    )


def _box_xyxy(box: Box, frame: ViewFrame) -> FloatArray:
    """Return the outer pixel centres of a box: its voxels' outer edges, half a pixel inwards."""
    edges = np.stack([np.asarray(box.low_zyx) - 0.5, np.asarray(box.high_zyx) + 0.5])
    corners = frame.to_xy(edges)
    low, high = corners.min(axis=0) + 0.5, corners.max(axis=0) - 0.5
    last = np.array([frame.shape[1] - 1, frame.shape[0] - 1])
    return np.concatenate([np.clip(low, 0, last), np.clip(high, 0, last)]).astype(np.float32)


def _predict_part(
    store: EmbeddingStore, view: View, cut: SliceCut, mask_logits: FloatArray | None, zoom: ZoomRules | None
) -> SlicePrediction:
    first = _best(store, view, cut, mask_logits)
    if zoom is None or view.region is not None:
        return first
    frame = store.stack.frame(view)
    region = _region_for(cut, first, mask_logits is not None, frame, zoom)
    if region is None:
        return first
    nearer = _nearer(store, replace(view, region=region), cut, first.logits)
    if not _confirmed(nearer, first, cut, frame, zoom.least_agreement):
        return first
    return replace(nearer, view=view, zoomed_to=region)


def _best(store: EmbeddingStore, view: View, cut: SliceCut, mask_logits: FloatArray | None) -> SlicePrediction:
    return _on_slice(store, view, ask_in_turns(store, view, cut, mask_logits))


def _nearer(store: EmbeddingStore, view: View, cut: SliceCut, first_logits: FloatArray) -> SlicePrediction:
    """Ask about a region with all that was said; the first answer has heard every click already."""
    return _on_slice(store, view, ask(store, view, cut, first_logits))


def _on_slice(store: EmbeddingStore, view: View, answer: SliceLogits) -> SlicePrediction:
    best, frame = answer.best, store.stack.frame(view)
    return SlicePrediction(view, frame.view_to_slice(answer.logits[best]), float(answer.scores[best]))


def _candidates(
    store: EmbeddingStore, view: View, cut: SliceCut, mask_logits: FloatArray | None
) -> tuple[SlicePrediction, ...]:
    answer = ask(store, view, cut.by_box()[0], mask_logits, multimask=True)
    frame = store.stack.frame(view)
    return tuple(
        SlicePrediction(view, frame.view_to_slice(logits), float(score))
        for logits, score in zip(answer.logits, answer.scores, strict=True)
    )


def _region_for(
    cut: SliceCut, first: SlicePrediction, had_mask: bool, frame: ViewFrame, zoom: ZoomRules
) -> Region | None:
    """Choose where to look from nearer; only what can be trusted chooses: a box, several clicks, a stable mask."""
    clicked = _bounds_of_points(cut.positive_zyx, frame)
    if cut.boxes:
        corners = np.array([cut.boxes[0].low_zyx, cut.boxes[0].high_zyx])
        bounds = union_of(_bounds_of_points(corners, frame), clicked)
    else:
        trusted = had_mask or cut.given is not None or len(cut.positive_zyx) > 1
        if not trusted and stability(first.logits) < zoom.least_stability:
            return None
        bounds = union_of(bounds_of(first.mask), clicked)
    return zoom.region_around(bounds, frame) if bounds else None


def _confirmed(
    nearer: SlicePrediction, first: SlicePrediction, cut: SliceCut, frame: ViewFrame, least_agreement: float
) -> bool:
    """Say whether the nearer look obeys the clicks at least as well as the first, and agrees with it.

    Where a box said where to look, a nearer look need not agree if the model is surer of it: the first look may have
    missed the object.
    """
    near, far = nearer.mask, first.mask
    surer = bool(cut.boxes) and nearer.score > first.score
    agreed = surer or overlap_of(near, far) >= least_agreement
    return agreed and _clicks_met(near, cut, frame) >= _clicks_met(far, cut, frame)


def overlap_of(one: BoolArray, other: BoolArray) -> float:
    """Return the intersection over the union of two masks; 1 where both are empty.

    Examples
    --------
    >>> overlap_of(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 1.0


def clicks_on(cut: SliceCut, frame: ViewFrame) -> list[Click]:
    """Return the clicks of a slice as row and column in array order, and whether the object is wanted there."""
    places = _rows_columns(cut.points_zyx, frame).T.tolist()
    return [(row, column, label == 1) for (row, column), label in zip(places, cut.point_labels.tolist(), strict=True)]


def held_to_clicks(logits: FloatArray, store: EmbeddingStore, view: View, cut: SliceCut) -> FloatArray:
    """Change a whole slice's logits near the clicks that they disobey, see `obeyed`."""
    geometry, frame = store.stack.volume.geometry, store.stack.frame(view)
    spacing_mm = (geometry.spacing_mm[frame.axes.row], geometry.spacing_mm[frame.axes.column])
    return obeyed(logits, clicks_on(cut, frame), spacing_mm)


def _clicks_met(mask: BoolArray, cut: SliceCut, frame: ViewFrame) -> int:
    """Count the clicks that a mask obeys."""
    return sum(bool(mask[row, column]) == wanted for row, column, wanted in clicks_on(cut, frame))


def _rows_columns(points_zyx: npt.NDArray[np.float64], frame: ViewFrame) -> npt.NDArray[np.int64]:
    """(2, N): the row and column in array order of each point, within the slice."""
    nearest = np.floor(points_zyx[:, (frame.axes.row, frame.axes.column)] + 0.5)
    return np.asarray(np.clip(nearest, 0, np.array(frame.slice_shape) - 1).astype(np.int64).T)


def _bounds_of_points(points_zyx: npt.NDArray[np.float64], frame: ViewFrame) -> Bounds | None:
    if not len(points_zyx):
        return None
    rows, columns = _rows_columns(points_zyx, frame)
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def _nothing_here(view: View, held: Sequence[int]) -> str:
    expected = f"no prompt lies on {view.plane} slice {view.index}, and there is no earlier answer to show"
    if not held:
        return f"{expected}; no prompt lies on any {view.plane} slice (boxes drawn on another plane do not count)"
    nearest = min(held, key=lambda index: abs(index - view.index))
    return f"{expected}; the nearest prompted slice is {nearest}. Prompt this slice, or propagate first"
