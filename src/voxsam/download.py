"""Fetching a published file: with progress, resumed where it broke off, its hash verified before it gets its name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voxsam.errors import FormatError, VoxsamError

if TYPE_CHECKING:
    from requests import Response

__all__ = ["download", "file_digest"]

CHUNK_BYTES = 2**16  # what is lost at most where a connection breaks off
TIMEOUT_S = 30  # for an answer, not for the whole file
TRIES = 5  # of a connection that breaks off after it has brought something

OnProgress = Callable[[int, int], None]


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size_mb: float | None = None,
    on_progress: OnProgress | None = None,
    error: type[VoxsamError] = FormatError,
    advice: str = "",
) -> Path:
    """Fetch `url` to `path`, unless the right file is there already.

    The file appears under its name only when it is whole and its hash is right. What came before a download broke off
    waits beside it, as ``.part``, and the next call goes on from there, if the server can and its file is the same.

    Parameters
    ----------
    url : str
    path : Path
        Its folder is made where it is missing.
    sha256, md5 : str or None
        As published; where there is neither, any content will do.
    size_mb : float, optional
        For the message.
    on_progress : callable, optional
        Called with (bytes done, bytes in all); raising `Cancelled` in it stops the work.
    error : type of VoxsamError
        What a failure becomes.
    advice : str
        What the user can do instead; ends the message.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    VoxsamError
        Of type `error`: no network, a refusal, no room, no permission, or another file than the published one.
    """
    digest = f"sha256:{sha256}" if sha256 else f"md5:{md5}" if md5 else None
    size = f" ({size_mb:.0f} MB)" if size_mb else ""
    try:
        if path.is_file() and (digest is None or file_digest(path, digest) == digest):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _Partial(path)
        _fetch(url, partial, on_progress, known=digest is not None)
        found = digest and file_digest(partial.file, digest)
        if found != digest:
            partial.discard()
            wrong = f"{url} gave another file than the published one (expected {_named(digest)}, got {_named(found)})"
            raise error(f"{wrong}; try again later. {advice}".strip())
        partial.keep()
    except OSError as fault:  # no network, a refusal by the server, no room, no permission
        raise error(f"could not download {url}{size} to {path}: {reason_of(fault)}. {advice}".strip()) from fault
    return path


def file_digest(path: Path, like: str) -> str:
    """Hash a file by the same function as a known hash.

    Parameters
    ----------
    path : Path
    like : str
        ``"sha256:…"`` or ``"md5:…"``.

    Returns
    -------
    str
        Of the same form.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (path := Path(folder) / "empty").touch()
    ...     file_digest(path, like="md5:?")
    'md5:d41d8cd98f00b204e9800998ecf8427e'
    """
    kind = like.partition(":")[0]
    state = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            state.update(chunk)
    return f"{kind}:{state.hexdigest()}"


def reason_of(fault: OSError) -> str:
    """Say in a few words why a download failed."""
    import requests

    if isinstance(fault, requests.Timeout):
        return "the server does not answer"
    if isinstance(fault, requests.HTTPError):
        return f"the server says {fault}"
    if isinstance(fault, requests.exceptions.ChunkedEncodingError | _EndedEarlyError):
        return "the connection broke off; try again to go on from there"
    if isinstance(fault, requests.ConnectionError):
        return "no connection (is this computer offline?)"
    return fault.strerror or str(fault).split("\n")[0] or type(fault).__name__


class _EndedEarlyError(OSError):
    """The server closed the connection before the end, without a word."""


@dataclass(frozen=True)
class _Partial:
    """What has come of a file, and the mark by which the server knows the file again."""

    path: Path

    @property
    def file(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def mark(self) -> Path:
        return self.path.with_name(self.path.name + ".part.mark")

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    def ask(self, *, known: bool) -> dict[str, str]:
        """Return the headers that ask for the rest of the same file, or for all of it.

        Without a mark the rest is asked for only where the file's hash is known, and so would tell a mixture.
        """
        headers = {"Accept-Encoding": "identity"}  # a length in bytes of the file itself
        mark = self.mark.read_text(encoding="utf-8") if self.mark.is_file() else ""
        if self.size and (mark or known):
            headers["Range"] = f"bytes={self.size}-"
            if mark:
                headers["If-Range"] = mark
        return headers

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def keep(self) -> None:
        """Give the file its name."""
        os.replace(self.file, self.path)  # noqa: PTH105 - over a file of that name, on every system
        self.mark.unlink(missing_ok=True)


def _fetch(url: str, partial: _Partial, on_progress: OnProgress | None, *, known: bool) -> None:
    """Bring a partial file to its end; a connection that broke off is taken up again as long as each brings more."""
    import requests

    broken = (requests.exceptions.ChunkedEncodingError, requests.ConnectionError, requests.Timeout, _EndedEarlyError)
    for tries_left in reversed(range(TRIES)):
        before = partial.size
        try:
            return _fetch_once(url, partial, on_progress, known=known)
        except broken:
            if not tries_left or partial.size <= before:
                raise
    return None


def _fetch_once(url: str, partial: _Partial, on_progress: OnProgress | None, *, known: bool) -> None:
    with _opened(url, partial, known=known) as response:
        done, total = _span(response, partial.size)
        partial.mark.write_text(_mark_of(response), encoding="utf-8")
        with partial.file.open("ab" if done else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                if on_progress is not None:
                    on_progress(done, max(done, total))
    if done < total:
        raise _EndedEarlyError


@contextmanager
def _opened(url: str, partial: _Partial, *, known: bool) -> Iterator[Response]:
    """Ask for the rest, or for the whole where the server cannot go on from what is here."""
    import requests

    with requests.get(url, headers=partial.ask(known=known), stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code != requests.codes.requested_range_not_satisfiable:
            response.raise_for_status()
            yield response
            return
    partial.discard()
    with requests.get(url, headers=partial.ask(known=known), stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        yield response


def _span(response: Response, here: int) -> tuple[int, int]:
    """Return where an answer goes on from, and the length of the file; 0 where it is not told."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status_code == 206 and span and int(span[1]) == here:
        return here, int(span[2])
    if response.status_code == 206:
        raise OSError(f"the server gave another part than was asked for ({response.headers.get('Content-Range')})")
    return 0, int(response.headers.get("Content-Length", 0))


def _mark_of(response: Response) -> str:
    """Return what tells this very file from a later one; a weak tag does not."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _named(digest: str | None) -> str:
    return (digest or "").replace(":", " ")
