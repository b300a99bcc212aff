"""Saving masks and sessions: off the GUI thread, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from voxsam.session import Session
from voxsam_napari.controller import Controller
from voxsam_napari.worker import Job

__all__ = ["Saver"]


class Saver(QObject):
    """Writes what a session holds, and remembers where.

    Parameters
    ----------
    controller : Controller

    Signals
    -------
    changed : ()
    """

    changed = Signal()

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.mask_path = self.session_path = self.busy = ""
        self._controller = controller

    def save_masks(self, path: str) -> None:
        """Write every mask, on the scan's own grid."""
        ids = [item.id for item in self._controller.state.objects if item.mask is not None]

        def write(session: Session) -> None:
            session.save_masks(path, object_ids=ids)

        def done(_: Any) -> None:
            self.mask_path = path
            self._told(f"saved {len(ids)} object{'s' * (len(ids) != 1)} to {Path(path).name}")

        if not ids:
            self._controller.said.emit("there is no mask to save yet: propagate first", "warn")
        else:
            self._write(write, done, path)

    def save_session(self, path: str) -> None:
        """Write the session: prompts, masks, settings and the way there."""

        def done(_: Any) -> None:
            self.session_path = path
            self._told(f"saved the session to {Path(path).name}")

        self._write(lambda session: session.save(path), done, path)

    def forget(self) -> None:
        """Another scan is worked on."""
        self.mask_path = self.session_path = self.busy = ""

    def _write(self, write: Any, done: Any, path: str) -> None:
        session = self._controller.session
        if session is None:
            self._controller.said.emit("there is nothing to save: open an image first", "warn")
            return

        def failed(error: Exception) -> None:
            self.busy = ""
            self._controller.tell(error)
            self.changed.emit()

        self.busy = f"writing {Path(path).name} …"
        self._controller.worker.edit(Job(lambda _: write(session), done, failed, name="save"))
        self.changed.emit()

    def _told(self, text: str) -> None:
        self.busy = ""
        self._controller.said.emit(text, "info")
        self.changed.emit()
