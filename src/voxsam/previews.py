"""What one slice of an object would look like: drawn, propagated, or asked of the model."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from voxsam.answers import corrected_slice
from voxsam.cuts import cut_prompts
from voxsam.errors import Superseded
from voxsam.geometry import Plane, PlaneAxes
from voxsam.overlaps import yields_to
from voxsam.predict import predict_slice
from voxsam.prompts import Prompt
from voxsam.seeds import is_prompted, main_indices
from voxsam.segment import Workspace
from voxsam.session import ObjectState, Preview, SessionState
from voxsam.views import OUTSIDE_LOGIT
from voxsam.walk import drawn_logits

__all__ = ["LatestWins", "prompts_since", "settled_preview", "slice_answer"]

FloatArray = npt.NDArray[np.float32]


class LatestWins:
    """Lets one caller in at a time, and sends those away that a newer one has overtaken.

    Examples
    --------
    >>> latest = LatestWins()
    >>> with latest.turn() as still_wanted:
    ...     before = still_wanted()
    ...     _ = latest.supersede()
    ...     before, still_wanted()
    (True, False)
    """

    def __init__(self) -> None:
        self._count, self._lock, self._busy = 0, threading.Lock(), threading.Lock()

    def supersede(self) -> int:
        """Send away whoever is in or waits."""
        with self._lock:
            self._count += 1
            return self._count

    @contextmanager
    def turn(self) -> Iterator[Callable[[], bool]]:
        """Wait for one's turn; yields what says whether one is still the newest."""
        mine = self.supersede()
        with self._busy:
            yield lambda: self._count == mine


def prompts_since(item: ObjectState) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Return what was said since the mask was made, and what was taken back."""
    answered, asked = Counter(item.answered), Counter(item.prompts)
    said: list[Prompt] = []
    for prompt in item.prompts:
        if answered[prompt] > 0:
            answered[prompt] -= 1
        else:
            said.append(prompt)
    taken_back = [prompt for prompt in dict.fromkeys(item.answered) if Counter(item.answered)[prompt] > asked[prompt]]
    return tuple(said), tuple(taken_back)


def slice_answer(
    workspace: Workspace,
    item: ObjectState,
    plane: Plane,
    index: int,
    *,
    extra: Prompt | None = None,
    multimask: bool = False,
    wanted: Callable[[], bool] = lambda: True,
) -> Preview:
    """Show one slice of an object, as if it were alone.

    Parameters
    ----------
    workspace : Workspace
    item : ObjectState
    plane : {"axial", "coronal", "sagittal"}
    index : int
    extra : Prompt, optional
        Said for this time alone.
    multimask : bool
        Ask the model for alternatives too.
    wanted : callable
        Asked between the steps; False ends the work.

    Returns
    -------
    Preview

    Raises
    ------
    PromptError
        If nothing is known about this slice.
    Superseded
        If it is not wanted any more.
    """
    geometry = workspace.volume.geometry
    prompts = item.prompts if extra is None else (*item.prompts, extra)
    view = workspace.stack.view(plane, index, workspace.windows_for(item.prompts or prompts))
    workspace.stack.frame(view)  # a slice that the scan does not have is refused here
    said, taken_back = prompts_since(replace(item, prompts=prompts))
    shown = None
    if item.mask is not None:
        shown = item.mask.slice_of(geometry.axes_of(plane), index)
        if not multimask and not is_prompted((*said, *taken_back), geometry, plane, index):
            return Preview(plane, index, drawn_logits(shown), None)
    cut = cut_prompts(prompts, geometry, plane, index)
    if cut.given is not None and not multimask and not cut.boxes and not len(cut.points_zyx):
        return Preview(plane, index, drawn_logits(cut.given), None)  # what was drawn stays as it was drawn
    earlier = None
    if shown is not None and shown.any() and index not in main_indices(prompts, geometry, plane):
        earlier = drawn_logits(shown) if not is_prompted(taken_back, geometry, plane, index) else None
    _require(wanted)
    if not cut.is_empty or earlier is not None:
        workspace.store.get(view)
        _require(wanted)
    if earlier is not None and item.mask is not None and not multimask:
        answer = corrected_slice(workspace.store, view, prompts, item.mask, earlier)
    else:
        answer = predict_slice(workspace.store, view, prompts, mask_logits=earlier, multimask=multimask)
    _require(wanted)
    return Preview(plane, index, answer.logits, answer.score, tuple(each.logits for each in answer.candidates))


def settled_preview(found: Preview, state: SessionState, item: ObjectState, axes: PlaneAxes) -> Preview:
    """Show what would be written: other objects and the protected region keep what is theirs."""
    others = yields_to(state, item.id)
    if not others and state.protected is None:
        return found
    shut = np.zeros(found.logits.shape, bool)
    for mask in others:
        shut |= mask.slice_of(axes, found.index)
    kept = np.zeros_like(shut)
    if state.protected is not None and item.mask is not None:
        kept = item.mask.slice_of(axes, found.index) & state.protected.slice_of(axes, found.index)
    logits = _without(found.logits, shut & ~kept)
    logits[kept] = np.maximum(logits[kept], -OUTSIDE_LOGIT)
    return replace(found, logits=logits, candidates=tuple(_without(each, shut) for each in found.candidates))


def _without(logits: FloatArray, shut: npt.NDArray[np.bool_]) -> FloatArray:
    return np.where(shut, np.float32(OUTSIDE_LOGIT), logits)


def _require(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise Superseded("a newer preview, or an edit, took the place of this one")
