"""History: old snapshots under a byte budget, and the edits that led from one to the next."""

from __future__ import annotations

from collections.abc import Iterator

from voxsam.cropped import CroppedMask
from voxsam.edits import Edit
from voxsam.errors import SessionError
from voxsam.prompts import MaskPrompt
from voxsam.state import SessionState

__all__ = ["History"]


class History:
    """Old snapshots under a byte budget: undo and redo are two lists.

    Parameters
    ----------
    now : SessionState
    budget_mb : float
        For what the snapshots hold beyond the present one. The oldest goes first; what several snapshots share
        counts once. The number of steps has no limit of its own.
    edits : sequence of Edit
        What led to `now`, where that is known.

    Examples
    --------
    >>> from voxsam.state import ObjectState
    >>> history = History(SessionState())
    >>> history.push(SessionState((ObjectState(1, "liver", (0.9, 0.6, 0.0)),)))
    >>> history.undo().objects
    ()
    >>> history.redo().objects[0].name
    'liver'
    """

    def __init__(self, now: SessionState, *, budget_mb: float = 256, edits: tuple[Edit, ...] = ()) -> None:
        self.now = now
        self._past: list[SessionState] = []
        self._future: list[SessionState] = []
        self._budget = int(budget_mb * 2**20)
        self._edits: list[Edit | None] = list(edits)
        self._undone: list[Edit | None] = []
        self._held = _Held()

    def push(self, state: SessionState, edit: Edit | None = None) -> None:
        """Make `state` the present one; `edit` is what led to it."""
        for closed in self._future:  # a new edit closes the branch that undo left open
            self._held.drop(closed)
        self._future.clear()
        self._undone.clear()
        self._past.append(self.now)
        self._held.add(self.now)
        self._edits.append(edit)
        self.now = state
        dropped = 0
        while dropped < len(self._past) and self.nbytes > self._budget:
            self._held.drop(self._past[dropped])
            dropped += 1
        del self._past[:dropped]

    def undo(self) -> SessionState:
        """Go back one step.

        Raises
        ------
        SessionError
            If there is none.
        """
        if not self._past:
            raise SessionError("nothing to undo: this is the first state that the session remembers")
        self._turn(self._past, self._future)
        self._undone.append(self._edits.pop())
        return self.now

    def redo(self) -> SessionState:
        """Go forward again.

        Raises
        ------
        SessionError
            If nothing was undone since the last edit.
        """
        if not self._future:
            raise SessionError("nothing to redo: no step was undone since the last edit")
        self._turn(self._future, self._past)
        self._edits.append(self._undone.pop())
        return self.now

    @property
    def can_undo(self) -> bool:
        """There is a step to go back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """There is a step to go forward."""
        return bool(self._future)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What led to the present, also from before the oldest snapshot; undone steps are not in it."""
        return tuple(edit for edit in self._edits if edit is not None)

    @property
    def nbytes(self) -> int:
        """Memory that past and future take beyond the present."""
        return self._held.nbytes - self._held.shared_with(self.now)

    def _turn(self, origin: list[SessionState], onto: list[SessionState]) -> None:
        onto.append(self.now)
        self._held.add(self.now)
        self.now = origin.pop()
        self._held.drop(self.now)


class _Held:
    """Counts what several snapshots hold together, each part once however many share it."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._parts: dict[int, tuple[CroppedMask, int]] = {}  # the part is kept, so that its id is not given again

    def add(self, state: SessionState) -> None:
        for part in _heavy_parts(state):
            _, count = self._parts.get(id(part), (part, 0))
            self._parts[id(part)] = (part, count + 1)
            if not count:
                self.nbytes += part.nbytes

    def drop(self, state: SessionState) -> None:
        for part in _heavy_parts(state):
            _, count = self._parts.pop(id(part))
            if count > 1:
                self._parts[id(part)] = (part, count - 1)
            else:
                self.nbytes -= part.nbytes

    def shared_with(self, state: SessionState) -> int:
        parts = {id(part): part for part in _heavy_parts(state)}
        return sum(part.nbytes for key, part in parts.items() if key in self._parts)


def _heavy_parts(state: SessionState) -> Iterator[CroppedMask]:
    if state.protected is not None:
        yield state.protected
    for item in state.objects:
        if item.mask is not None:
            yield item.mask
        yield from (prompt.packed for prompt in (*item.prompts, *item.answered) if isinstance(prompt, MaskPrompt))
