"""The way of an edit: queued, done on the worker's thread, read back as an update; one long one can be cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from qtpy.QtCore import QObject, Signal

from voxsam.errors import Cancelled
from voxsam.session import Session
from voxsam_napari.update import Reader, Update
from voxsam_napari.worker import Job, OnProgress, Worker

__all__ = ["EditQueue"]

Verb: TypeAlias = Callable[[Session], Any]
Then: TypeAlias = Callable[[Any], None]


class EditQueue(QObject):
    """Edits of one session, in the order they came.

    Parameters
    ----------
    worker : Worker

    Signals
    -------
    took : object, object
        An edit is done: its `Update`, and what is to be called with what it returned, or None.
    refused : object
        An edit failed, and changed nothing: its error.
    cancelled : str
        The long edit of this name was cancelled, and changed nothing.
    progressed : int, int
        Steps done and in all of the long edit.
    long_changed : ()
        A long edit began or ended.
    """

    took = Signal(object, object)
    refused = Signal(object)
    cancelled = Signal(str)
    progressed = Signal(int, int)
    long_changed = Signal()

    def __init__(self, worker: Worker, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.reader: Reader | None = None
        self.long_work = ""
        self._worker = worker
        self._long: Job | None = None

    def begin(self, reader: Reader) -> None:
        """Take edits of a session."""
        self.end()
        self.reader = reader

    def end(self) -> None:
        """Take none any longer; what comes back of earlier ones is passed over, and a long one is cancelled."""
        self.cancel()
        self.reader = None
        self._end_of_long(self._long)

    def add(self, name: str, verb: Verb, *, then: Then | None = None) -> bool:
        """Queue an edit; says whether there is a session to edit."""
        reader = self.reader
        if reader is None:
            return False

        def done(update: Update) -> None:
            if self.reader is reader:
                self.took.emit(update, then)

        def failed(error: Exception) -> None:
            if self.reader is reader:
                self.refused.emit(error)

        self._worker.edit(Job(lambda _: reader.read(verb(reader.session)), done, failed, name=name))
        return True

    def add_long(self, name: str, verb: Callable[[Session, OnProgress], Any], *, then: Then | None = None) -> bool:
        """Queue an edit that takes long, in place of the one that runs; says whether there is a session to edit."""
        reader = self.reader
        if reader is None:
            return False
        self.cancel()

        def done(update: Update) -> None:
            self._end_of_long(job)
            if self.reader is reader:
                self.took.emit(update, then)

        def failed(error: Exception) -> None:
            self._end_of_long(job)
            if self.reader is not reader:
                return
            if isinstance(error, Cancelled):
                self.cancelled.emit(name)
            else:
                self.refused.emit(error)

        def run(tick: OnProgress) -> Update:
            return reader.read(verb(reader.session, tick))

        job = Job(run, done, failed, progress=self.progressed.emit, name=name)
        self._long, self.long_work = job, name
        self._worker.edit(job)
        self.long_changed.emit()
        return True

    def cancel(self) -> None:
        """Stop the long edit that goes on; the session stays as it was before."""
        if self._long is not None:
            self._worker.cancel(self._long)

    def _end_of_long(self, job: Job | None) -> None:
        if job is not None and self._long is job:
            self._long, self.long_work = None, ""
            self.long_changed.emit()
