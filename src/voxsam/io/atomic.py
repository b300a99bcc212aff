"""Writing a file whole or not at all: a temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from voxsam.errors import FormatError, VoxsamError

__all__ = ["atomic_write"]

_PREFIX = ".voxsam-"

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
        yield temporary
        if durable:
            _sync(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
        if durable:
            _sync(target.parent)
    except OSError as fault:
        reason = _REASONS.get(fault.errno or 0, fault.strerror or str(fault))
        raise error(f"cannot write {path}: {reason}") from fault
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Ask the system to bring a file, or a folder's list of names, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder, and needs no such call
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
