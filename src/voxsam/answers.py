"""A slice that is corrected: asked with its mask, and from what the other prompted slices show; both are heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.cropped import CroppedMask
from voxsam.cuts import SliceCut, cut_prompts, indices_of
from voxsam.embeddings import EmbeddingStore
from voxsam.obeyed import Click
from voxsam.predict import SlicePrediction, clicks_on, held_to_clicks, predict_cut, to_pixels
from voxsam.prompts import Box, Prompt
from voxsam.recall import Known, Recall
from voxsam.seeds import main_indices
from voxsam.views import View
from voxsam.walk import CarryRules, drawn_logits
from voxsam.zoom import ZoomRules, bounds_of, union_of

__all__ = ["corrected_slice"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

#: Around what is corrected, as a share of its longer side, where the model looks from nearer.
_ROOM = 1.0


def corrected_slice(
    store: EmbeddingStore, view: View, prompts: Sequence[Prompt], mask: CroppedMask, earlier: FloatArray
) -> SlicePrediction:
    """Correct one slice of a mask by the prompts on it.

    The model is asked with the mask that is there and, where it remembers slices, from the other prompted ones; the
    mean of its answers counts. Clicks that add take nothing away; clicks that take away add nothing, and change no
    more than the part that they lie on. A box with an extent says nothing here about how wide the object is, only its
    middle slice does.

    Parameters
    ----------
    store : EmbeddingStore
    view : View
        The whole slice.
    prompts : sequence of Prompt
        Of the object.
    mask : CroppedMask
        Of the object, as it is.
    earlier : (rows, columns) float32 array
        The mask of this slice as logits.

    Returns
    -------
    SlicePrediction
    """
    geometry = store.stack.volume.geometry
    axes, frame = geometry.axes_of(view.plane), store.stack.frame(view)
    here = [prompt for prompt in prompts if not (isinstance(prompt, Box) and prompt.flat_axis is None)]
    cut = cut_prompts(prompts, geometry, view.plane, view.index, extents=False)
    if cut.given is not None or not len(cut.points_zyx):
        return predict_cut(store, view, cut, earlier)
    asked = predict_cut(store, view, cut, earlier, obey=False)
    old, clicks = earlier > 0, clicks_on(cut, frame)
    refuted = [(row, column) for row, column, wanted in clicks if old[row, column] != wanted]
    removes = bool(refuted) and all(old[at] for at in refuted)
    answers = [(asked.logits, asked.score)]
    held = {index for prompt in here for index in indices_of(prompt, geometry, view.plane)}
    held |= set(main_indices(prompts, geometry, view.plane))
    shapes = {each: mask.slice_of(axes, each) for each in sorted(held - {view.index})}
    known = [Known(each, drawn_logits(shape), prompted=True) for each, shape in shapes.items() if shape.any()]
    if store.memory_slots and known:
        answers += _remembered(store, view, cut, known, earlier if removes else None, old)
    obedient = [each for each in answers if _obeys(each[0], clicks)] or answers[:1]
    logits = _mean([logits for logits, _ in obedient])
    if removes:
        logits = _within_part(np.minimum(logits, earlier), old, refuted)
    elif refuted and not any(old[at] for at in refuted):
        logits = np.maximum(logits, earlier)
    logits = held_to_clicks(logits, store, view, cut)
    return replace(asked, logits=logits, score=float(np.mean([score for _, score in obedient])))


def _remembered(
    store: EmbeddingStore, view: View, cut: SliceCut, known: Sequence[Known], earlier: FloatArray | None, old: BoolArray
) -> list[tuple[FloatArray, float]]:
    """Ask from memory: with the clicks and, where it is given, the earlier mask too."""
    recall = Recall(store, known)
    frame = store.stack.frame(view)
    corners = [(row, row + 1, column, column + 1) for row, column, wanted in clicks_on(cut, frame) if wanted]
    bounds = bounds_of(old)
    for corner in corners:
        bounds = union_of(bounds, corner)
    if bounds is not None:
        rules = ZoomRules(below_share=CarryRules().near_share)
        view = replace(view, region=rules.region_around(bounds, frame, margin=_ROOM))
        frame = store.stack.frame(view)
    answers = []
    for shown in (None,) if earlier is None else (None, earlier):
        answer = recall.ask(view, to_pixels(cut, frame, shown))
        answers.append((frame.view_to_slice(answer.logits[answer.best]), float(answer.scores[answer.best])))
    return answers


def _obeys(logits: FloatArray, clicks: Sequence[Click]) -> bool:
    row, column, wanted = clicks[-1]
    return bool(logits[row, column] > 0) == wanted


def _mean(answers: Sequence[FloatArray]) -> FloatArray:
    """Return the logits of the mean probability."""
    if len(answers) == 1:
        return answers[0]
    chance = np.mean([1.0 / (1.0 + np.exp(-np.clip(each, -10.0, 10.0))) for each in answers], axis=0)
    return np.asarray(np.log(chance / (1.0 - chance)), np.float32)


def _within_part(logits: FloatArray, old: BoolArray, refuted: Sequence[tuple[int, int]]) -> FloatArray:
    """Keep what changes to the connected parts of the difference that clicks lie on."""
    parts, count = ndimage.label((logits > 0) != old)
    held = np.zeros(count + 1, bool)
    held[[parts[at] for at in refuted]] = True
    held[0] = False
    return np.where(held[parts], logits, drawn_logits(old))
