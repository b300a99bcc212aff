"""LocalSession: a session on a model in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from voxsam.errors import SessionError
from voxsam.geometry import Plane
from voxsam.models.base import PromptableModel
from voxsam.predict import predict_slice
from voxsam.prompts import Prompt, check_prompts
from voxsam.propagate import StopRules
from voxsam.report import Report
from voxsam.seeds import is_prompted, main_indices
from voxsam.segment import OnProgress, PlaneChoice, WindowChoice, Workspace, choose_plane
from voxsam.session import (
    COLORS_RGB,
    CroppedMask,
    History,
    ObjectState,
    Preview,
    SessionState,
    without_prompt,
)
from voxsam.volume import Label, Mask, Volume
from voxsam.walk import drawn_logits

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
    history_mb: float = 256,
) -> LocalSession:
    """Open a scan to work on.

    Parameters
    ----------
    volume : Volume
        Never written to.
    model : PromptableModel or str
        A model, or the name of one to load.
    window, plane, enhance, cache_dir, device
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
    workspace = Workspace.open(volume, model=model, window=window, enhance=enhance, cache_dir=cache_dir, device=device)
    return LocalSession(workspace, plane=plane, history_mb=history_mb)


class LocalSession:
    """A `Session` on a model in this process.

    Edits from several threads are taken one at a time.

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

    def add_object(self, name: str = "", *, color_rgb: tuple[float, float, float] | None = None) -> int:
        """Begin an object.

        Parameters
        ----------
        name : str
            ``"object N"`` unless given.
        color_rgb : tuple of float, optional
            In 0..1; the next of a series unless given.

        Returns
        -------
        int
            Its id.
        """
        with self._lock:
            self._require_open()
            object_id, self._next_id = self._next_id, self._next_id + 1
            color = color_rgb or COLORS_RGB[(object_id - 1) % len(COLORS_RGB)]
            self._push(ObjectState(object_id, name or f"object {object_id}", color))
            return object_id

    def remove_object(self, object_id: int) -> None:
        """Take an object away, with its prompts and mask.

        Raises
        ------
        SessionError
            If there is none with this id.
        """
        with self._lock:
            self._require_open()
            self._history.push(self.state.without_object(object_id))

    def add_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Say something about an object.

        Raises
        ------
        PromptError
            If it lies outside the scan.
        SessionError
            If there is no such object.
        """
        with self._lock:
            volume, item = self._workspace.volume, self.state.object(object_id)
            check_prompts([prompt], volume.geometry)
            self._push(replace(item, prompts=(*item.prompts, prompt)))

    def remove_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Take something back that was said, wherever it came in the order.

        Raises
        ------
        SessionError
            If there is no such object or prompt.
        """
        with self._lock:
            self._require_open()
            self._push(without_prompt(self.state.object(object_id), prompt))

    def preview(self, object_id: int, *, plane: Plane | None = None, index: int, multimask: bool = False) -> Preview:
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

        Returns
        -------
        Preview
            From the prompts on this slice, correcting the propagated mask where these came later; from the propagated
            mask alone where no prompt lies here.

        Raises
        ------
        PromptError
            If nothing is known about this slice.
        SessionError
            If there is no such object.
        """
        with self._lock:
            workspace, item = self._workspace, self.state.object(object_id)
        geometry = workspace.volume.geometry
        plane = plane or choose_plane(self._plane, item.prompts, geometry)
        view = workspace.stack.view(plane, index, workspace.windows_for(item.prompts))
        workspace.stack.frame(view)  # a slice that the scan does not have is refused here
        earlier = None
        if item.mask is not None and index not in main_indices(item.prompts, geometry, plane):
            found = item.mask.slice_of(geometry.axes_of(plane), index)
            if not is_prompted(item.prompts, geometry, plane, index):
                return Preview(plane, index, drawn_logits(found), None)
            earlier = drawn_logits(found) if found.any() else None
        answer = predict_slice(workspace.store, view, item.prompts, mask_logits=earlier, multimask=multimask)
        candidates = tuple(candidate.logits for candidate in answer.candidates)
        return Preview(plane, index, answer.logits, answer.score, candidates)

    def propagate(
        self, object_id: int, *, stops: StopRules | None = None, on_progress: OnProgress | None = None
    ) -> Report:
        """Segment the object in 3D from all its prompts.

        Parameters
        ----------
        object_id : int
        stops : StopRules, optional
            Such as a last slice or a distance.
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
        SessionError
            If there is no such object, or its prompts changed meanwhile.
        """
        with self._lock:
            workspace, item = self._workspace, self.state.object(object_id)
        result = workspace.segment(item.prompts, plane=self._plane, stops=stops, on_progress=on_progress)
        with self._lock:
            self._require_open()
            if self.state.object(object_id).prompts != item.prompts:
                raise SessionError(f"the prompts of {item.name} changed while it was propagated; propagate again")
            mask = CroppedMask.of(np.asarray(result.mask.array))
            now = self.state.object(object_id)
            self._push(replace(now, mask=mask, report=result.report, answered=item.prompts))
        return result.report

    def mask(self, object_id: int) -> Mask:
        """Return what the last `propagate` found, on the scan's grid.

        Raises
        ------
        SessionError
            If there is no such object, or it was not propagated yet.
        """
        with self._lock:
            volume, item = self._workspace.volume, self.state.object(object_id)
        if item.mask is None:
            raise SessionError(f"object {object_id} ({item.name}) has no mask yet; call propagate({object_id}) first")
        labels = {1: Label(item.name, item.color_rgb)}
        return Mask(item.mask.to_array(), volume.geometry, labels, header=volume.header)

    def undo(self) -> SessionState:
        """Take back the last edit.

        Raises
        ------
        SessionError
            If there is none.
        """
        with self._lock:
            self._require_open()
            return self._history.undo()

    def redo(self) -> SessionState:
        """Do again what was undone.

        Raises
        ------
        SessionError
            If there is nothing.
        """
        with self._lock:
            self._require_open()
            return self._history.redo()

    def close(self) -> None:
        """Let the scan and the model go; a second time does nothing."""
        with self._lock:
            self._open = None
            self._history = History(SessionState())

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

    def _push(self, changed: ObjectState) -> None:
        self._history.push(self.state.with_object(changed))
