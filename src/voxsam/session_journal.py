"""A session's own journal: which edits it keeps, and how they become the session again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from voxsam.edit_json import Codec, scan_to_json
from voxsam.edits import AddObject, Edit
from voxsam.errors import InputError, SessionError
from voxsam.history import History
from voxsam.journal import Journal, Records, journals_of, new_journal_path, read_journal
from voxsam.session_file import SessionDocument, edits_from_document, state_from_document
from voxsam.state import SessionState
from voxsam.volume import Volume

__all__ = ["Restored", "SessionJournal", "begun_from", "find_journal", "next_id_of", "require_scan", "restored"]


@dataclass(frozen=True, eq=False)
class Restored:
    """A session as its journal or file has it.

    Parameters
    ----------
    history : History
    next_id : int
        Of the next object.
    problems : tuple of str
        What could not be restored, a line each.
    """

    history: History
    next_id: int = 1
    problems: tuple[str, ...] = ()


class SessionJournal:
    """Writes edits to a journal, which begins to exist with the first of them unless it was opened before.

    Parameters
    ----------
    volume : Volume
    facts : callable
        Called once, for what the header says beside the scan: model, settings, versions.
    journal : Journal, optional
        To go on with.
    path : Path, optional
        To begin at; a new one in the user's folder of sessions where neither is given.
    start : callable, optional
        Called once, for the session's document that the edits come after.
    """

    def __init__(
        self,
        volume: Volume,
        facts: Callable[[], Mapping[str, Any]],
        *,
        journal: Journal | None = None,
        path: Path | None = None,
        start: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self._volume, self._facts, self._codec = volume, facts, Codec(volume)
        self._journal, self._path, self._start = journal, path, start

    @property
    def path(self) -> Path | None:
        """Where it is; None before the first edit."""
        return self._journal.path if self._journal else self._path

    def write(self, edit: Edit | Literal["undo", "redo"]) -> None:
        """Bring an edit to the disk.

        Raises
        ------
        SessionError
            If it cannot be written.
        """
        document = {"edit": edit} if isinstance(edit, str) else self._codec.edit_to_json(edit)
        if self._journal is None:
            path = self._path or new_journal_path(self._volume.fingerprint)
            start = {} if self._start is None else {"start": dict(self._start())}
            self._journal = Journal.create(path, {"scan": scan_to_json(self._volume), **self._facts(), **start})
        self._journal.append(document)

    def close(self) -> None:
        """Let the file go."""
        if self._journal is not None:
            self._journal.close()


def find_journal(volume: Volume) -> Path | None:
    """Find the last journal of a scan in the user's folder of sessions that no session has open.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    Path or None
        For ``open_session(volume, journal=path)``, which goes on where it ends.

    Examples
    --------
    >>> Path(find_journal(scan).name)  # doctest: +SKIP
    PosixPath('3f0c9a…-20261121-093011-4242.voxsam-journal')
    """
    return next(iter(journals_of(volume.fingerprint)), None)


def restored(path: Path, volume: Volume, *, history_mb: float) -> tuple[Restored, Records]:
    """Read a journal back into a session, undo and redo included.

    Raises
    ------
    SessionError
        If it is no journal, or of another scan.
    """
    records = read_journal(path)
    require_scan(records.header.get("scan"), volume, str(path))
    codec, begun = Codec(volume), Restored(History(SessionState(), budget_mb=history_mb))
    if isinstance(records.header.get("start"), Mapping):
        begun = begun_from(SessionDocument(path.name, records.header["start"]), volume, history_mb=history_mb)
    history, next_id, problems = begun.history, begun.next_id, list(begun.problems)
    problems += [records.problem] if records.problem else []
    for number, record in enumerate(records.edits, start=1):
        try:
            _take(record, codec, history)
        except (SessionError, InputError) as error:
            problems.append(f"edit {number} of {path.name} and those after it were left out: {error}")
            break
        if record.get("edit") == "add_object":
            next_id = max(next_id, int(record["object"]) + 1)
    return Restored(history, next_id, tuple(problems)), records


def begun_from(document: SessionDocument, volume: Volume, *, history_mb: float) -> Restored:
    """Put a session's document back together; undo does not go back beyond it."""
    state, problems = state_from_document(document, volume)
    edits, more = edits_from_document(document, Codec(volume))
    ids = (next_id_of(edits), *(item.id + 1 for item in state.objects))
    return Restored(History(state, budget_mb=history_mb, edits=edits), max(ids), (*problems, *more))


def require_scan(scan: Any, volume: Volume, where: str) -> None:
    """Raise `SessionError` unless a document is about this very scan."""
    fingerprint = scan.get("fingerprint") if isinstance(scan, Mapping) else None
    if fingerprint == volume.fingerprint:
        return
    shape = scan.get("shape") if isinstance(scan, Mapping) else None
    raise SessionError(
        f"{where} belongs to another scan: expected fingerprint {volume.fingerprint[:12]}, shape "
        f"{list(volume.geometry.shape)}; got {str(fingerprint)[:12]}, shape {shape}. Open its own scan"
    )


def next_id_of(edits: tuple[Edit, ...]) -> int:
    """Return an id that no object had.

    Examples
    --------
    >>> next_id_of((AddObject(4, "liver", (1.0, 0.0, 0.0)),))
    5
    """
    return max((edit.object_id for edit in edits if isinstance(edit, AddObject)), default=0) + 1


def _take(record: Mapping[str, Any], codec: Codec, history: History) -> None:
    kind = record.get("edit")
    if kind == "undo":
        history.undo()
    elif kind == "redo":
        history.redo()
    else:
        edit = codec.edit_from_json(record)
        history.push(edit.apply(history.now), edit)
