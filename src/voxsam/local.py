"""LocalSession: a session on a model in this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voxsam.corrections import correct
from voxsam.cropped import CroppedMask
from voxsam.edits import (
    KEEP,
    AcceptSlice,
    AddObject,
    AddPrompt,
    ChangeObject,
    Color,
    Edit,
    Keep,
    Protect,
    Reach,
    RemoveObject,
    RemovePrompt,
    Segmented,
    SetOverlap,
    check_reach,
)
from voxsam.errors import PromptError, SessionError, Superseded
from voxsam.geometry import Plane
from voxsam.models.base import PromptableModel
from voxsam.previews import LatestWins, prompts_since, settled_preview, slice_answer
from voxsam.prompts import Box, MaskPrompt, Prompt, check_prompt
from voxsam.reach import joined, joined_report, span_of, stops_within
from voxsam.report import Report
from voxsam.segment import OnProgress, PlaneChoice, WindowChoice, Workspace, choose_plane
from voxsam.session import (
    COLORS_RGB,
    Event,
    EventKind,
    History,
    ObjectState,
    OverlapPolicy,
    Preview,
    SessionState,
)
from voxsam.terminology import Code
from voxsam.volume import Label, Mask, Volume
from voxsam.walk import StopRules

if TYPE_CHECKING:
    from pathlib import Path

    from voxsam.measure import Measurements

__all__ = ["LocalSession", "open_session"]


def open_session(
    volume: Volume,
    *,
    model: PromptableModel | str = "compact",
    window: WindowChoice = "auto",
    plane: PlaneChoice = "auto",
    enhance: Iterable[str] = (),
    cache_dir: Path | str | None = None,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    history_mb: float = 256,
) -> LocalSession:
    """Open a scan to work on.

    Parameters
    ----------
    volume : Volume
        Never written to.
    model : PromptableModel or str
        A model, or the name of one to load.
    window, plane, enhance, cache_dir, device, backend, precision
        As `voxsam.segment.segment_volume` takes them.
    history_mb : float
        Budget for undo and redo.

    Returns
    -------
    LocalSession

    Raises
    ------
    WindowError, ModelError, StoreError
        If a window, an enhancement or a model is unknown, or a named cache cannot be written.

    Examples
    --------
    >>> session = open_session(scan, model="compact")  # doctest: +SKIP
    >>> liver = session.add_object("liver")  # doctest: +SKIP
    >>> session.add_prompt(liver, voxsam.Point((42, 210, 180)))  # doctest: +SKIP
    >>> report = session.propagate(liver)  # doctest: +SKIP
    >>> session.mask(liver).volume_ml()  # doctest: +SKIP
    1432.7
    """
    workspace = Workspace.open(
        volume,
        model=model,
        window=window,
        enhance=enhance,
        cache_dir=cache_dir,
        device=device,
        backend=backend,
        precision=precision,
    )
    return LocalSession(workspace, plane=plane, history_mb=history_mb)


class LocalSession:
    """A `Session` on a model in this process.

    Parameters
    ----------
    workspace : Workspace
    plane : {"auto", "axial", "coronal", "sagittal"}
        Across which masks are propagated; ``"auto"`` decides for each object by its prompts.
    history_mb : float
        Budget for undo and redo.
    """

    def __init__(self, workspace: Workspace, *, plane: PlaneChoice = "auto", history_mb: float = 256) -> None:
        choose_plane(plane, (), workspace.volume.geometry)  # an unknown plane is refused now, not at the first prompt
        self._open: Workspace | None = workspace
        self._plane = plane
        self._history = History(SessionState(), budget_mb=history_mb)
        self._next_id = 1
        self._lock = threading.RLock()
        self._latest = LatestWins()
        self._running: dict[int, object] = {}
        self._callbacks: list[Callable[[Event], None]] = []

    @property
    def volume(self) -> Volume:
        """The scan."""
        return self._workspace.volume

    @property
    def state(self) -> SessionState:
        """The present snapshot."""
        return self._history.now

    @property
    def can_undo(self) -> bool:
        """There is a step to go back."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """There is a step to go forward."""
        return self._history.can_redo

    def add_object(
        self, name: str = "", *, color_rgb: Color | None = None, code: Code | None = None, mask: Mask | None = None
    ) -> int:
        """Begin an object.

        Parameters
        ----------
        name : str
            ``"object N"`` unless given.
        color_rgb : tuple of float, optional
            In 0..1; the next of a series unless given.
        code : Code, optional
            What it is, in the words of a terminology.
        mask : Mask, optional
            On the scan's grid, with one label; becomes the object's mask, and counts as drawn on each of its slices.

        Returns
        -------
        int
            Its id.

        Raises
        ------
        GeometryError, PromptError
            If the mask is on another grid, is empty, or holds several labels.
        """
        drawn = None if mask is None else MaskPrompt(mask)
        if drawn is not None:
            check_prompt(drawn, self._workspace.volume.geometry)
        with self._lock:
            self._require_open()
            object_id = self._next_id
            color = color_rgb or COLORS_RGB[(object_id - 1) % len(COLORS_RGB)]
            self._commit(AddObject(object_id, name or f"object {object_id}", color, code, drawn))
            self._next_id += 1
        self._tell("changed", object_id)
        return object_id

    def change_object(
        self,
        object_id: int,
        *,
        name: str | None = None,
        color_rgb: Color | None = None,
        code: Code | Keep | None = KEEP,
        locked: bool | None = None,
        visible: bool | None = None,
    ) -> None:
        """Rename, colour, code, lock or hide an object; what is not given stays.

        Raises
        ------
        SessionError
            If there is none with this id.
        """
        self._edit(ChangeObject(object_id, name, color_rgb, code, locked, visible), object_id)

    def remove_object(self, object_id: int) -> None:
        """Take an object away, with its prompts and mask.

        Raises
        ------
        SessionError
            If there is none with this id, or it is locked.
        """
        self._edit(RemoveObject(object_id), object_id)

    def add_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Say something about an object.

        Raises
        ------
        PromptError
            If it lies outside the scan.
        SessionError
            If there is no such object, or it is locked.
        """
        self.state.object(object_id)
        check_prompt(prompt, self._workspace.volume.geometry)
        self._edit(AddPrompt(object_id, prompt), object_id)

    def remove_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Take something back that was said, wherever it came in the order.

        Raises
        ------
        SessionError
            If there is no such object or prompt, or the object is locked.
        """
        self._edit(RemovePrompt(object_id, prompt), object_id)

    def accept_slice(self, object_id: int, drawn: npt.ArrayLike, *, plane: Plane, index: int) -> None:
        """Take a hand-drawn slice as the object's mask and prompt there.

        Parameters
        ----------
        object_id : int
        drawn : (rows, columns) bool array
            The whole slice in array order, see `voxsam.views.slice_of`.
        plane : {"axial", "coronal", "sagittal"}
        index : int
            Of the slice. What was said on it before gives way to the drawing.

        Raises
        ------
        PromptError
            If nothing is drawn.
        GeometryError
            If the slice does not have this shape, or the scan does not have this slice.
        SessionError
            If there is no such object, or it is locked.
        """
        workspace = self._workspace
        geometry = workspace.volume.geometry
        frame = workspace.stack.frame(workspace.stack.view(plane, index, workspace.windows))
        array = np.asarray(drawn, bool)
        if array.shape != frame.slice_shape:
            raise PromptError(
                f"a drawn {plane} slice has shape {frame.slice_shape} (rows, columns) in array order, got {array.shape}"
            )
        if not array.any():
            raise PromptError(
                f"nothing is drawn on {plane} slice {index}: expected at least one voxel; to leave the object out "
                f"here, propagate it again with a reach that ends before"
            )
        packed = CroppedMask.of_slice(array, geometry.shape, frame.axes, index)
        self._edit(AcceptSlice(object_id, MaskPrompt.of_packed(packed, geometry), plane, index), object_id)

    def set_overlap(self, policy: OverlapPolicy) -> None:
        """Say who keeps a voxel that two objects want, in masks written from now on.

        Parameters
        ----------
        policy : {"keep", "overwrite", "allow"}
            The object that has it; the one that is written; both. Locked objects are never changed.

        Raises
        ------
        InputError
            If the policy is unknown.
        """
        self._edit(SetOverlap(policy), None)

    def protect(self, mask: Mask | None) -> None:
        """Say where no mask may change; None for nowhere.

        Raises
        ------
        GeometryError
            If the mask is on another grid.
        """
        if mask is not None:
            self._workspace.volume.geometry.require_same(mask.geometry, "the protected region")
        self._edit(Protect(None if mask is None else CroppedMask.of(np.asarray(mask.array != 0))), None)

    def preview(
        self,
        object_id: int,
        *,
        plane: Plane | None = None,
        index: int,
        multimask: bool = False,
        extra: Prompt | None = None,
    ) -> Preview:
        """Show one slice as the prompts so far would have it.

        Parameters
        ----------
        object_id : int
        plane : {"axial", "coronal", "sagittal"}, optional
            The session's own unless given.
        index : int
            Of the slice.
        multimask : bool
            Return the model's alternatives too.
        extra : Prompt, optional
            Said for this time alone, such as where the pointer is.

        Returns
        -------
        Preview
            From the prompts on this slice, correcting the mask where these came later; from the mask alone where
            nothing was said here since. Other objects and the protected region keep what is theirs.

        Raises
        ------
        PromptError
            If nothing is known about this slice, or `extra` lies outside the scan.
        SessionError
            If there is no such object.
        Superseded
            If a newer preview was asked for meanwhile, or the object changed.
        """
        with self._lock:
            workspace, state = self._workspace, self.state
            item = state.object(object_id)
        geometry = workspace.volume.geometry
        if extra is not None:
            check_prompt(extra, geometry)
        said = item.prompts if extra is None else (*item.prompts, extra)
        plane = plane or choose_plane(self._plane, said, geometry)
        with self._latest.turn() as still_newest:

            def wanted() -> bool:
                return still_newest() and self._is_unchanged(item)

            found = slice_answer(workspace, item, plane, index, extra=extra, multimask=multimask, wanted=wanted)
        return settled_preview(found, state, item, geometry.axes_of(plane))

    def propagate(
        self,
        object_id: int,
        *,
        reach: Reach = "whole",
        stops: StopRules | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Segment the object in 3D from all its prompts.

        Parameters
        ----------
        object_id : int
        reach : {"whole", "up", "down"} or (first, last)
            Which slices may change, by their index: all; from the lowest prompted one upward; from the highest
            downward; a range. Beyond it the earlier mask stays.
        stops : StopRules, optional
            Such as a distance.
        on_progress : callable, optional
            Called as ``on_progress(done, total)``; raising `Cancelled` in it stops, and the state stays as it was.

        Returns
        -------
        Report
            With a line for every slice.

        Raises
        ------
        PromptError
            If no prompt says where the object is.
        InputError
            If there is no such reach.
        SessionError
            If there is no such object, or it is locked.
        Superseded
            If the object changed meanwhile, or was propagated again: the newer one wins.
        """
        workspace, item, token = self._begun(object_id)
        geometry = workspace.volume.geometry
        plane = choose_plane(self._plane, item.prompts, geometry)
        check_reach(reach, geometry, plane)
        span = span_of(reach, item.prompts, geometry, plane)
        rules = stops_within(stops, span, geometry, plane)
        watch = self._watched(item, token, on_progress)
        result = workspace.segment(item.prompts, plane=plane, stops=rules, on_progress=watch)
        found = joined(item.mask, np.asarray(result.mask.array), span, geometry.axes_of(plane))
        report = joined_report(item.report, result.report, span, found.voxels * geometry.voxel_volume_mm3 / 1000)
        step = Segmented(object_id, "propagate", reach, stops, item.prompts, found, report)
        return self._finished(step, item, token)

    def refine(self, object_id: int, *, on_progress: OnProgress | None = None) -> Report:
        """Let the prompts that came after the last propagation correct the mask near where they are.

        Slices elsewhere stay as they are, to the voxel. An object without a mask, one of whose prompts was taken
        back, or that got a box with an extent, is propagated.

        Parameters
        ----------
        object_id : int
        on_progress : callable, optional
            As for `propagate`.

        Returns
        -------
        Report

        Raises
        ------
        SessionError
            If there is no such object, it is locked, or nothing was said since.
        Superseded
            If the object changed meanwhile.
        """
        workspace, item, token = self._begun(object_id)
        said, taken_back = prompts_since(item)
        if not said and not taken_back and item.mask is not None:
            raise SessionError(f"nothing to refine: nothing was said of {item.name} since its mask was made")
        whole = any(isinstance(prompt, Box) and prompt.flat_axis is None for prompt in said)
        if item.mask is None or taken_back or whole:
            return self.propagate(object_id, on_progress=on_progress)
        geometry = workspace.volume.geometry
        plane = choose_plane(self._plane, item.answered or item.prompts, geometry)
        watch = self._watched(item, token, on_progress)
        found = correct(workspace, item, said, plane, on_progress=watch)
        report = found.described(item, workspace.volume, plane)
        step = Segmented(object_id, "refine", answered=item.prompts, found=found.mask, report=report)
        return self._finished(step, item, token)

    def mask(self, object_id: int) -> Mask:
        """Return an object's mask, on the scan's grid.

        Raises
        ------
        SessionError
            If there is no such object, or it has no mask yet.
        """
        with self._lock:
            volume, item = self._workspace.volume, self.state.object(object_id)
        if item.mask is None:
            raise SessionError(f"object {object_id} ({item.name}) has no mask yet; call propagate({object_id}) first")
        labels = {1: Label(item.name, item.color_rgb)}
        return Mask(item.mask.to_array(), volume.geometry, labels, header=volume.header)

    def measurements(self, object_id: int) -> Measurements:
        """Measure an object: volume, diameters, and the scan's values inside.

        Raises
        ------
        SessionError
            If there is no such object, or it has no mask yet.
        """
        from voxsam.measure import measure

        return measure(self.mask(object_id), self.volume)

    def undo(self) -> SessionState:
        """Take back the last edit.

        Raises
        ------
        SessionError
            If there is none.
        """
        return self._turned(History.undo)

    def redo(self) -> SessionState:
        """Do again what was undone.

        Raises
        ------
        SessionError
            If there is nothing.
        """
        return self._turned(History.redo)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back after everything that happens, in the thread that did it.

        Returns
        -------
        callable
            Stops that; a second call does nothing.
        """
        with self._lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return unsubscribe

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the session as JSON."""

    def save_masks(self, path: str | os.PathLike[str], *, object_ids: Iterable[int] | None = None) -> None:
        """Write the objects as a label map."""

    def close(self) -> None:
        """Let the scan and the model go; a second time does nothing."""
        with self._lock:
            was_open, self._open = self._open is not None, None
            self._latest.supersede()
            last, self._history = self.state, History(SessionState())
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks if was_open else ():
            callback(Event("closed", None, last))

    def __enter__(self) -> LocalSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _workspace(self) -> Workspace:
        return self._require_open()

    def _require_open(self) -> Workspace:
        if self._open is None:
            raise SessionError("the session is closed; open the scan again with open_session")
        return self._open

    def _edit(self, edit: Edit, object_id: int | None) -> None:
        with self._lock:
            self._require_open()
            self._commit(edit)
        self._tell("changed", object_id)

    def _commit(self, edit: Edit) -> None:
        """Take an edit: the next state is worked out before anything changes."""
        self._history.push(edit.apply(self.state), edit)

    def _turned(self, turn: Callable[[History], SessionState]) -> SessionState:
        with self._lock:
            self._require_open()
            state = turn(self._history)
        self._tell("changed", None)
        return state

    def _tell(self, kind: EventKind, object_id: int | None) -> None:
        for callback in tuple(self._callbacks):
            callback(Event(kind, object_id, self.state))

    def _is_unchanged(self, item: ObjectState) -> bool:
        """Say whether an object still has the prompts and the mask that work began with."""
        now = next((each for each in self.state.objects if each.id == item.id), None)
        return self._open is not None and now is not None and now.prompts == item.prompts and now.mask is item.mask

    def _begun(self, object_id: int) -> tuple[Workspace, ObjectState, object]:
        """Begin work in 3D on an object; what was under way for it is not wanted any more."""
        with self._lock:
            workspace, item = self._workspace, self.state.object(object_id)
            item.require_unlocked()
            token = self._running[object_id] = object()
            return workspace, item, token

    def _watched(self, item: ObjectState, token: object, on_progress: OnProgress | None) -> OnProgress:
        def watch(done: int, total: int) -> None:
            self._require_wanted(item, token)
            if on_progress is not None:
                on_progress(done, total)

        return watch

    def _require_wanted(self, item: ObjectState, token: object) -> None:
        if self._running.get(item.id) is not token or not self._is_unchanged(item):
            raise Superseded(f"{item.name} changed, or was begun anew, while it was segmented; the newer one wins")

    def _finished(self, step: Segmented, item: ObjectState, token: object) -> Report:
        with self._lock:
            self._require_open()
            self._require_wanted(item, token)
            self._commit(step)
            report = self.state.object(item.id).report
        self._tell("changed", item.id)
        assert report is not None  # noqa: S101 - the step has one
        return report
