"""Writing a file whole or not at all: a temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from voxsam.errors import FormatError, VoxsamError

__all__ = ["atomic_write", "reason_of", "write_through"]

_PREFIX = ".voxsam-"
_STALE_S = 3600.0

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EACCES: "no permission to write there; choose another folder, or ask for permission",
    errno.EPERM: "no permission to write there; choose another folder, or ask for permission",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENOENT: "its folder does not exist; make it first",
    errno.ENOTDIR: "its folder is a file; choose another folder",
    errno.EISDIR: "it is a folder; give a file name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], *, error: type[VoxsamError] = FormatError, durable: bool = True
) -> Iterator[Path]:
    """Lend a temporary path; what is written there replaces `path` when the block ends well.

    Until then, and after any failure or a kill, `path` is as it was. The temporary file lies in the same
    folder and ends in the same suffixes, so a writer that looks at the name is at home. A link is followed:
    the file that it points to is replaced.

    Parameters
    ----------
    path : path-like
        File to write.
    error : type of VoxsamError
        What an `OSError` becomes: full disk, no permission, no folder.
    durable : bool
        Wait until the disk has it. False: a kill still leaves the old file or the whole new one, but when the power
        fails within the next half minute or so, the new file may be there without all of its bytes.

    Raises
    ------
    VoxsamError
        Of type `error`, on one line.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_write(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{target.name[-100:]}")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the umask has its say
        if durable:
            _sweep(target.parent)
        yield temporary
        if durable:
            write_through(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
        if durable:
            write_through(target.parent)
    except OSError as fault:
        raise error(f"cannot write {path}: {reason_of(fault)}") from fault
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed saves left in a folder: their process is gone, and nothing was written for an hour.

    An hour, because the folder may be shared, and the process at work on another machine.
    """
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError, ValueError):
            process = int(left.name[len(_PREFIX) :].split("-", 1)[0])
            if time.time() - left.stat().st_mtime > _STALE_S and not _is_running(process):
                left.unlink()


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return False  # asking would end it; the hour has to do
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, and is someone else's
        return True
    return True


def reason_of(fault: OSError) -> str:
    """Say in words why something cannot be written, and the way out.

    Examples
    --------
    >>> reason_of(OSError(errno.EROFS, "Read-only file system"))
    'the disk is read-only; choose another folder'
    """
    return _REASONS.get(fault.errno or 0, fault.strerror or str(fault))


def write_through(path: Path) -> None:
    """Ask the system to bring a file, or a folder's list of names, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder, and needs no such call
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
