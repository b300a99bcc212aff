"""EditedSession: everything of a session that needs no model, from objects to journal and files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

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
    RemoveObject,
    RemovePrompt,
    SetOverlap,
    checked_color,
)
from voxsam.errors import SessionError
from voxsam.events import Event, EventKind, Subscribers
from voxsam.geometry import Plane
from voxsam.history import History
from voxsam.label_maps import chosen_objects, write_label_maps
from voxsam.prompts import MaskPrompt, Prompt, check_prompt
from voxsam.session_file import session_to_json, write_session
from voxsam.session_journal import Restored, SessionJournal
from voxsam.state import COLORS_RGB, OverlapPolicy, SessionState
from voxsam.terminology import Code
from voxsam.volume import Label, Mask, Volume

__all__ = ["EditedSession"]

Self = TypeVar("Self", bound="EditedSession")


class EditedSession:
    """Objects, prompts, drawings, undo, events, a journal and files; what a model does comes on top of it.

    Edits from several threads are taken one at a time.

    Parameters
    ----------
    volume : Volume
    facts : callable
        Called for what files say of how the scan is looked at: settings and versions.
    begun : Restored
        Where to go on.
    journal : SessionJournal, optional
        Gets every edit before it is acknowledged.
    """

    def __init__(
        self,
        volume: Volume,
        *,
        facts: Callable[[], Mapping[str, Any]],
        begun: Restored,
        journal: SessionJournal | None = None,
    ) -> None:
        self._scan: Volume | None = volume
        self._facts = facts
        self._history, self._next_id, self._problems = begun.history, begun.next_id, begun.problems
        self._journal = journal
        self._lock = threading.RLock()
        self._subscribers = Subscribers()

    @property
    def volume(self) -> Volume:
        """The scan; `SessionError` once the session is closed."""
        return self._require_open()

    @property
    def state(self) -> SessionState:
        """The present snapshot."""
        return self._history.now

    @property
    def problems(self) -> tuple[str, ...]:
        """What of a journal or file could not be restored, a line each."""
        return self._problems

    @property
    def journal_path(self) -> Path | None:
        """Where the edits are kept as they are made; None without a journal, and before the first edit."""
        return None if self._journal is None else self._journal.path

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
            check_prompt(drawn, self.volume.geometry)
        with self._lock:
            self._require_open()
            object_id = self._next_id
            color = checked_color(color_rgb or COLORS_RGB[(object_id - 1) % len(COLORS_RGB)])
            self._commit(AddObject(object_id, name or f"object {object_id}", color, code, drawn))
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
        color = None if color_rgb is None else checked_color(color_rgb)
        self._edit(ChangeObject(object_id, name, color, code, locked, visible), object_id)

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
        geometry = self.volume.geometry
        self.state.object(object_id)
        check_prompt(prompt, geometry)
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
        step = AcceptSlice.drawn(object_id, np.asarray(drawn, bool), self.volume.geometry, plane, index)
        self._edit(step, object_id)

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
            self.volume.geometry.require_same(mask.geometry, "the protected region")
        self._edit(Protect(None if mask is None else CroppedMask.of(np.asarray(mask.array != 0))), None)

    def mask(self, object_id: int) -> Mask:
        """Return an object's mask, on the scan's grid.

        Raises
        ------
        SessionError
            If there is no such object, or it has no mask yet.
        """
        with self._lock:
            volume, item = self.volume, self.state.object(object_id)
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
            if self.can_undo and self._journal is not None:
                self._journal.write("undo")
            state = self._history.undo()
        self._tell("changed", None)
        return state

    def redo(self) -> SessionState:
        """Do again what was undone.

        Raises
        ------
        SessionError
            If there is nothing.
        """
        with self._lock:
            self._require_open()
            if self.can_redo and self._journal is not None:
                self._journal.write("redo")
            state = self._history.redo()
        self._tell("changed", None)
        return state

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back after everything that happens, in the thread that did it.

        Returns
        -------
        callable
            Stops that; a second call does nothing.
        """
        return self._subscribers.add(callback)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the session as JSON: objects, prompts, masks, settings, and the edits that lead there.

        Parameters
        ----------
        path : path-like
            `load_session` opens it again, `voxsam.replay.replay` repeats it.

        Raises
        ------
        SessionError
            If the file cannot be written; an old one is then as it was.
        """
        with self._lock:
            volume, state, edits, facts = self.volume, self.state, self._history.edits, self._facts()
        write_session(path, session_to_json(volume, state, edits, **facts))
        self._tell("saved", None)

    def save_masks(self, path: str | os.PathLike[str], *, object_ids: Iterable[int] | None = None) -> None:
        """Write the objects' masks on the scan's own grid.

        Parameters
        ----------
        path : path-like
            ``.nii.gz``, ``.nrrd`` or ``.seg.nrrd``: one label map, in which each object has its id as value. A folder
            that exists: a ``.nii.gz`` for each object.
        object_ids : iterable of int, optional
            Which; all that have a mask unless given.

        Raises
        ------
        SessionError
            If objects overlap that were to go into one label map, or one has no mask.
        FormatError
            If the file cannot be written; an old one is then as it was.
        """
        with self._lock:
            volume, state = self.volume, self.state
        items = chosen_objects(state, None if object_ids is None else tuple(object_ids))
        write_label_maps(items, volume, path)
        self._tell("saved", None)

    def close(self) -> None:
        """Let the scan and the model go; a second time does nothing."""
        with self._lock:
            was_open, self._scan = self._scan is not None, None
            last, self._history = self.state, History(SessionState())
            if self._journal is not None:
                self._journal.close()
        if was_open:
            self._subscribers.tell(Event("closed", None, last))

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _edit(self, edit: Edit, object_id: int | None) -> None:
        with self._lock:
            self._require_open()
            self._commit(edit)
        self._tell("changed", object_id)

    def _commit(self, edit: Edit) -> None:
        """Take an edit: worked out, then on the disk, then the present state."""
        state = edit.apply(self.state)
        if self._journal is not None:
            self._journal.write(edit)
        self._history.push(state, edit)
        if isinstance(edit, AddObject):
            self._next_id = max(self._next_id, edit.object_id + 1)

    def _tell(self, kind: EventKind, object_id: int | None) -> None:
        self._subscribers.tell(Event(kind, object_id, self.state))

    def _require_open(self) -> Volume:
        if self._scan is None:
            raise SessionError("the session is closed; open the scan again with open_session")
        return self._scan
