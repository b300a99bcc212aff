"""LocalSession: a session on a model in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxsam.corrections import Part, correct, plane_of
from voxsam.cropped import CroppedMask
from voxsam.edited_session import EditedSession
from voxsam.edits import Edit, Reach, Segmented, check_reach
from voxsam.errors import SessionError, Superseded
from voxsam.geometry import Plane
from voxsam.history import History
from voxsam.models.runtime import facts_of
from voxsam.previews import LatestWins, prompts_since, settled_preview, slice_answer
from voxsam.prompts import Box, Prompt, check_prompt
from voxsam.reach import joined, joined_report, span_of, stops_within
from voxsam.report import Report
from voxsam.segment import OnProgress, PlaneChoice, Workspace, choose_plane, package_versions
from voxsam.session import ObjectState, Preview, SessionState
from voxsam.session_journal import Restored, SessionJournal
from voxsam.stops import StopRules

if TYPE_CHECKING:
    from voxsam.measure import Measurements

__all__ = ["LocalSession", "facts_of_session"]


class LocalSession(EditedSession):
    """A `Session` on a model in this process.

    Parameters
    ----------
    workspace : Workspace
    plane : {"auto", "axial", "coronal", "sagittal"}
        Across which masks are propagated; ``"auto"`` decides for each object by its prompts.
    history_mb : float
        Budget for undo and redo, where nothing is gone on with.
    begun : Restored, optional
        Where to go on.
    journal : SessionJournal, optional
        Gets every edit before it is acknowledged.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        plane: PlaneChoice = "auto",
        history_mb: float = 256,
        begun: Restored | None = None,
        journal: SessionJournal | None = None,
    ) -> None:
        choose_plane(plane, (), workspace.volume.geometry)  # an unknown plane is refused now, not at the first prompt
        self._work: Workspace | None = workspace
        self._plane = plane
        self._latest = LatestWins()
        self._running: dict[int, object] = {}
        super().__init__(
            workspace.volume,
            facts=lambda: facts_of_session(workspace, plane),
            begun=begun or Restored(History(SessionState(), budget_mb=history_mb)),
            journal=journal,
        )

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

    def picture(
        self, *, plane: Plane | None = None, index: int, object_id: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Show one slice as the model sees it: through its window, enhanced.

        Parameters
        ----------
        plane : {"axial", "coronal", "sagittal"}, optional
            The session's own unless given.
        index : int
            Of the slice.
        object_id : int, optional
            Whose prompts a window is fitted to, where the session fits one.

        Returns
        -------
        (rows, columns) or (rows, columns, 3) float32 array in 0..1
            The whole slice in array order; three channels where the session looks through three windows.

        Raises
        ------
        GeometryError
            If the scan has no such slice.
        SessionError
            If there is no such object.
        """
        with self._lock:
            workspace = self._workspace
            prompts = () if object_id is None else self.state.object(object_id).prompts
        stack = workspace.stack
        plane = plane or choose_plane(self._plane, prompts, workspace.volume.geometry)
        view = stack.view(plane, index, workspace.windows_for(prompts))
        frame, pixels = stack.frame(view), stack.pixels(view)
        if len(view.windows) == 1:
            return frame.view_to_slice(pixels[..., 0])
        return np.stack([frame.view_to_slice(channel) for channel in np.moveaxis(pixels, -1, 0)], axis=-1)

    def prepare(self, *, plane: Plane | None = None, index: int) -> None:
        """Encode one slice ahead, so that the first preview there is a quick one.

        Raises
        ------
        GeometryError
            If the scan has no such slice.
        """
        with self._lock:
            workspace = self._workspace
        plane = plane or choose_plane(self._plane, (), workspace.volume.geometry)
        view = workspace.stack.view(plane, index, workspace.windows_for(()))
        workspace.stack.frame(view)  # a slice that the scan does not have is refused here
        workspace.store.get(view)

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
        aside = [prompt for prompt in item.prompts if plane_of(prompt, geometry, plane) != plane]
        first = Part(0, 2, watch) if aside else watch
        result = workspace.segment(item.prompts, plane=plane, stops=rules, on_progress=first)
        array = np.asarray(result.mask.array)
        if aside:  # what was drawn on other planes corrects what was found across this one
            heard = tuple(prompt for prompt in item.prompts if prompt not in aside)
            made = replace(item, mask=CroppedMask.of(array), answered=heard)
            array = correct(workspace, made, aside, plane, on_progress=Part(1, 2, watch)).mask.to_array()
        found = joined(item.mask, array, span, geometry.axes_of(plane))
        report = joined_report(item.report, result.report, span, found.voxels * geometry.voxel_volume_mm3 / 1000)
        step = Segmented(object_id, "propagate", reach, asdict(stops) if stops else None, found, report)
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
        step = Segmented(object_id, "refine", found=found.mask, report=report)
        return self._finished(step, item, token)

    def measurements(self, object_id: int) -> Measurements:
        """Measure an object: volume, diameters, and the scan's values inside.

        Raises
        ------
        SessionError
            If there is no such object, or it has no mask yet.
        """
        from voxsam.measure import measure

        return measure(self.mask(object_id), self.volume)

    def perform(self, edit: Edit, *, on_progress: OnProgress | None = None) -> None:
        """Take an edit as a journal or a session file has it; what a model has to find is found anew.

        Parameters
        ----------
        edit : Edit
        on_progress : callable, optional
            As for `propagate`.

        Raises
        ------
        VoxsamError
            As the verb that made the edit does.
        """
        if not isinstance(edit, Segmented) or edit.found is not None:
            self._edit(edit, getattr(edit, "object_id", None))
        elif edit.way == "refine":
            self.refine(edit.object_id, on_progress=on_progress)
        else:
            stops = None if edit.stops is None else StopRules(**edit.stops)
            self.propagate(edit.object_id, reach=edit.reach, stops=stops, on_progress=on_progress)

    def _is_unchanged(self, item: ObjectState) -> bool:
        """Say whether an object still has the prompts and the mask that work began with."""
        now = next((each for each in self.state.objects if each.id == item.id), None)
        return self._work is not None and now is not None and now.prompts == item.prompts and now.mask is item.mask

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

    def close(self) -> None:
        """Let the scan and the model go; a second time does nothing."""
        with self._lock:
            self._work = None
            self._latest.supersede()
        super().close()

    @property
    def _workspace(self) -> Workspace:
        self._require_open()
        assert self._work is not None  # noqa: S101 - it goes when the session is closed
        return self._work


def facts_of_session(workspace: Workspace, plane: PlaneChoice) -> dict[str, Mapping[str, Any]]:
    """Say how a scan is looked at, and by which versions: what it takes to look at it so again."""
    settings = {
        "model": facts_of(workspace.store.model),
        "plane": plane,
        "windows": [asdict(window) for window in workspace.windows],
        "enhance": [*workspace.stack.enhance, *(["local"] if workspace.fits_window else [])],
    }
    return {"settings": settings, "versions": package_versions()}
