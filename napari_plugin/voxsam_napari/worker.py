"""One thread that does all the work, so that the window never waits: edits in order, of the rest the newest."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from qtpy.QtCore import QObject, Signal

from voxsam.errors import Cancelled, VoxsamError

__all__ = ["PRIORITY", "Job", "Worker", "line_of"]

OnProgress: TypeAlias = Callable[[int, int], None]

#: Kinds of work of which only the newest is wanted, those that a user waits for first.
PRIORITY = ("preview", "picture", "prepare", "measure", "surface")

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One piece of work.

    Parameters
    ----------
    run : callable
        Called on the worker's thread as ``run(on_progress)``.
    done : callable, optional
        Called on the GUI thread with what `run` returned.
    failed : callable, optional
        Called on the GUI thread with the error, `Cancelled` included; the worker's own signal tells it otherwise.
    progress : callable, optional
        Called on the GUI thread as ``progress(done, total)``.
    name : str
        For messages.
    """

    run: Callable[[OnProgress], Any]
    done: Callable[[Any], None] | None = None
    failed: Callable[[Exception], None] | None = None
    progress: OnProgress | None = None
    name: str = ""
    cancelled: bool = False

    def on_progress(self, done: int, total: int) -> None:  # noqa: ARG002 - what a callback is given
        """Raise `Cancelled` where the work is no longer wanted."""
        if self.cancelled:
            raise Cancelled(f"{self.name or 'the work'} was cancelled")


class Worker(QObject):
    """A thread for a session: edits run in the order they came; of each other kind of work only the newest waits.

    Everything that a job hands back arrives on the thread that made the worker.

    Signals
    -------
    failed : str, object
        A job without its own handler failed: its name, and the error.
    idle : bool
        True when nothing is left to do.
    """

    failed = Signal(str, object)
    idle = Signal(bool)
    _deliver = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._edits: deque[Job] = deque()
        self._newest: dict[str, Job] = {}
        self._running: Job | None = None
        self._wake = threading.Condition()
        self._stopping = False
        self._deliver.connect(lambda call: call())
        self._thread = threading.Thread(target=self._work, name="voxsam", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    @property
    def is_busy(self) -> bool:
        """Something runs or waits."""
        with self._wake:
            return bool(self._running or self._edits or self._newest)

    def edit(self, job: Job) -> Job:
        """Queue work that must happen, after all that came before it."""
        with self._wake:
            if not self._stopping:
                self._edits.append(job)
                self._wake.notify()
        return job

    def newest(self, kind: str, job: Job) -> Job:
        """Queue work of which only the newest is wanted, after the edits; it replaces an older one of its kind.

        Kinds that come first in `PRIORITY` run first.
        """
        with self._wake:
            if not self._stopping:
                self._newest[kind] = job
                self._wake.notify()
        return job

    def drop(self, kind: str) -> None:
        """Forget the work of a kind that waits."""
        with self._wake:
            self._newest.pop(kind, None)

    def cancel(self, job: Job) -> None:
        """Stop a job: at its next step where it runs, at once where it waits."""
        with self._wake:
            job.cancelled = True
            if job in self._edits:
                self._edits.remove(job)
                self._hand_over(job, Cancelled(f"{job.name or 'the work'} was cancelled"))

    def stop(self, *, last: Callable[[], None] | None = None, timeout_s: float = 30.0) -> bool:
        """End the thread: what runs is cancelled, edits that wait are done, then `last`; nothing is delivered.

        Returns
        -------
        bool
            The thread ended within `timeout_s`.
        """
        with self._wake:
            if not self._stopping:
                self._stopping = True
                self._newest.clear()
                for job in (self._running, *self._edits):
                    if job is not None and job.progress is not None:
                        job.cancelled = True  # long work; short edits are let through, so that none is lost
                if last is not None:
                    self._edits.append(Job(lambda _: last(), name="close"))
                self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                outcome = job.run(job.on_progress if job.progress is None else self._relayed(job))
            except VoxsamError as error:
                outcome = error
            except Exception as error:  # noqa: BLE001 - the thread must live on, and the fault must reach the user
                _LOG.exception("voxsam: %s failed", job.name or "work")
                outcome = error
            self._hand_over(job, outcome)

    def _next(self) -> Job | None:
        with self._wake:
            self._running = None
            if not self._has_work:
                self._emit(lambda: self.idle.emit(not self.is_busy))
            while not self._has_work:
                self._wake.wait()
            if self._edits:
                self._running = self._edits.popleft()
            elif self._newest:
                self._running = self._newest.pop(min(self._newest, key=PRIORITY.index))
            return self._running

    @property
    def _has_work(self) -> bool:
        return bool(self._edits or self._newest or self._stopping)

    def _relayed(self, job: Job) -> OnProgress:
        def on_progress(done: int, total: int) -> None:
            job.on_progress(done, total)
            self._emit(lambda: None if job.cancelled or job.progress is None else job.progress(done, total))

        return on_progress

    def _hand_over(self, job: Job, outcome: Any) -> None:
        done, failed = job.done, job.failed
        if isinstance(outcome, Exception):
            if failed is not None:
                self._emit(lambda: failed(outcome))
            elif not isinstance(outcome, Cancelled):
                self._emit(lambda: self.failed.emit(job.name, outcome))
        elif done is not None:
            self._emit(lambda: done(outcome))

    def _emit(self, call: Callable[[], None]) -> None:
        if not self._stopping:
            self._deliver.emit(call)


def line_of(error: Exception) -> str:
    """Word an error in one line for the user.

    Examples
    --------
    >>> line_of(OSError(28, "No space left on device", "/out/mask.nii.gz"))
    'No space left on device: /out/mask.nii.gz; nothing was lost'
    """
    if isinstance(error, VoxsamError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}; nothing was lost"
    else:
        text = f"this should not happen: {type(error).__name__}: {error}; your work is kept"
    return " ".join(text.split())
