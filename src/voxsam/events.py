"""Events: what happened to a session, told to whoever asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from voxsam.state import SessionState

__all__ = ["Event", "EventKind", "Subscribers"]

#: changed: an edit, an undo or a redo took place. saved: a file was written. closed: nothing comes after it.
EventKind: TypeAlias = Literal["changed", "saved", "closed"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a session.

    Parameters
    ----------
    kind : {"changed", "saved", "closed"}
    object_id : int or None
        Whom it concerns; None where it concerns several, or the session.
    state : SessionState
        After it.
    """

    kind: EventKind
    object_id: int | None
    state: SessionState


class Subscribers:
    """Calls back, in the order of subscription, in the thread that tells.

    Examples
    --------
    >>> heard = []
    >>> subscribers = Subscribers()
    >>> unsubscribe = subscribers.add(lambda event: heard.append(event.kind))
    >>> subscribers.tell(Event("changed", 1, SessionState()))
    >>> unsubscribe()
    >>> subscribers.tell(Event("closed", None, SessionState()))
    >>> heard
    ['changed']
    """

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[Event], None]] = {}
        self._count, self._lock = 0, threading.Lock()

    def add(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Begin to call back; returns what ends it, and does nothing a second time."""
        with self._lock:
            self._count += 1
            number = self._count
            self._callbacks[number] = callback

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks.pop(number, None)

        return unsubscribe

    def tell(self, event: Event) -> None:
        """Call everyone back."""
        with self._lock:
            callbacks = tuple(self._callbacks.values())
        for callback in callbacks:
            callback(event)
