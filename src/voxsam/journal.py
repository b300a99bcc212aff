"""Journal: every edit of a session on the disk before it is acknowledged.

One line a record: a checksum, a space, JSON. The first record says which scan it is about. A kill or a power cut can
tear no more than the last line, which nobody was told about.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from voxsam.errors import SessionError
from voxsam.folders import user_cache_dir
from voxsam.io.atomic import reason_of, write_through

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "SCHEMA",
    "Journal",
    "Records",
    "default_sessions_dir",
    "journals_of",
    "new_journal_path",
    "plain",
    "read_journal",
]

SCHEMA = "voxsam-journal/1"
SUFFIX = ".voxsam-journal"

#: What a network folder says that knows no locks: two sessions on one journal are then for the user to avoid.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
#: Of a scan's fingerprint, what a file name carries.
_DIGITS = 24


@dataclass(frozen=True)
class Records:
    """What a journal holds.

    Parameters
    ----------
    header : mapping
    edits : tuple of mapping
        In their order, as far as they are whole.
    size : int
        Bytes of what is whole.
    problem : str
        What is not whole; empty where a kill tore the last line, which was never acknowledged.
    """

    header: Mapping[str, Any]
    edits: tuple[Mapping[str, Any], ...]
    size: int
    problem: str = ""


class Journal:
    """An open journal, locked against other sessions; use `create` or `reopen`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "work.voxsam-journal"
    >>> with Journal.create(path, {"scan": {"fingerprint": "ab12"}}) as journal:
    ...     journal.append({"edit": "undo"})
    >>> read_journal(path).edits
    ({'edit': 'undo'},)
    """

    def __init__(self, path: Path, file: FileIO, size: int) -> None:
        self.path = path
        self._file: FileIO | None = file
        self._size = size

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Journal:
        """Begin one; its folder is made, for the user alone.

        Raises
        ------
        SessionError
            If it exists already, or cannot be written.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as fault:
            raise _unwritable(path, fault) from fault
        journal = cls(path, FileIO(descriptor, "r+"), 0)
        _lock(journal._file, path)
        journal.append({"schema": SCHEMA, **header})
        write_through(path.parent)
        return journal

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """Open one that exists, and keep others out; read it then, and `go_on_after` what is whole of it.

        Raises
        ------
        SessionError
            If another session writes to it, or it cannot be written.
        """
        try:
            file = FileIO(path, "r+")
        except OSError as fault:
            raise _unwritable(path, fault) from fault
        _lock(file, path)
        return cls(path, file, 0)

    def go_on_after(self, records: Records) -> None:
        """Cut off what was torn; where more is damaged than a kill does, the file is copied first.

        Raises
        ------
        SessionError
            If it cannot be written.
        """
        assert self._file is not None  # noqa: S101 - it was just opened
        try:
            if records.problem:
                self.path.with_name(self.path.name + ".damaged").write_bytes(self.path.read_bytes())
            self._file.truncate(records.size)
            self._file.seek(records.size)
        except OSError as fault:
            raise _unwritable(self.path, fault) from fault
        self._size = records.size

    def append(self, record: Mapping[str, Any]) -> None:
        """Bring a record to the disk; when this returns, it is there.

        Raises
        ------
        SessionError
            If it cannot be written; the journal is then as it was.
        """
        if self._file is None:
            raise SessionError(f"the journal {self.path} is closed")
        line = _line_of(record)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError as fault:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise _unwritable(self.path, fault) from fault
        self._size += len(line)

    def close(self) -> None:
        """Let the file and its lock go; a second time does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path) -> Records:
    """Read what is whole.

    Raises
    ------
    SessionError
        If the file is missing or no journal, or of a newer voxsam.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise SessionError(f"cannot read the journal {path}: {reason_of(fault)}") from fault
    records: list[Mapping[str, Any]] = []
    size, problem = 0, ""
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines):
        record = _record_of(line)
        if record is None:
            left = len(lines) - number
            if left > 1 or line.endswith(b"\n"):  # no kill does this: a kill tears off the end
                problem = (
                    f"record {number} of {path.name} is damaged: the {max(number - 1, 0)} edits before it were taken, "
                    f"{left} were left out; the whole file is kept as {path.name}.damaged"
                )
            break
        records.append(record)
        size += len(line)
    if not records or records[0].get("schema") != SCHEMA:
        came = records[0].get("schema") if records else "something else"
        raise SessionError(f"{path} is no journal that this voxsam can read: expected {SCHEMA!r}, got {came!r}")
    return Records(records[0], tuple(records[1:]), size, problem)


def default_sessions_dir() -> Path:
    """Return where sessions save themselves: ``$VOXSAM_SESSIONS``, else in the user's own cache folder."""
    named = os.environ.get("VOXSAM_SESSIONS")
    return Path(named) if named else user_cache_dir() / "sessions"


def new_journal_path(fingerprint: str) -> Path:
    """Return a name that no journal has: the scan's fingerprint, the time, the process; nothing of the patient."""
    folder, stamp = default_sessions_dir(), time.strftime("%Y%m%d-%H%M%S")
    path = folder / f"{fingerprint[:_DIGITS]}-{stamp}-{os.getpid()}{SUFFIX}"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{fingerprint[:_DIGITS]}-{stamp}-{os.getpid()}-{number}{SUFFIX}"
    return path


def journals_of(fingerprint: str) -> tuple[Path, ...]:
    """Return the journals of a scan that no session has open, the last one written first."""
    paths = default_sessions_dir().glob(f"{fingerprint[:_DIGITS]}-*{SUFFIX}")
    return tuple(path for path in sorted(paths, key=_written_at, reverse=True) if not _is_locked(path))


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process took it away
        return 0.0


def plain(value: Any) -> Any:
    """Turn a number of numpy's into one that JSON knows.

    Examples
    --------
    >>> import numpy
    >>> json.dumps({"index": numpy.int64(7)}, default=plain)
    '{"index": 7}'
    """
    if isinstance(value, np.generic):
        return value.item()
    raise SessionError(f"a session keeps numbers, text and masks, got {type(value).__name__}")


def _line_of(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), allow_nan=False, default=plain).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _record_of(line: bytes) -> Mapping[str, Any] | None:
    """Read a line; None where it is not whole."""
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _lock(file: FileIO | None, path: Path) -> None:
    """Keep other sessions out for as long as the file is open."""
    assert file is not None  # noqa: S101 - just opened
    try:
        if sys.platform == "win32":
            file.seek(2**30)  # beyond what is written: others may read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        if fault.errno in _NO_LOCKS:
            return
        file.close()
        if fault.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise SessionError(f"another session is at work on {path}; close it first, or begin a new one") from fault
        raise _unwritable(path, fault) from fault


def _is_locked(path: Path) -> bool:
    try:
        file = FileIO(path, "r+")
    except OSError:
        return True
    try:
        _lock(file, path)
    except SessionError:
        return True
    file.close()
    return False


def _unwritable(path: Path, fault: OSError) -> SessionError:
    return SessionError(f"cannot write the journal {path}: {reason_of(fault)}; the edit was not taken")
