"""Fetching a published file: with progress, whole or not at all, its hash verified."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from voxsam.errors import FormatError, VoxsamError

__all__ = ["download"]

CHUNK_BYTES = 2**20
TIMEOUT_S = 30  # for an answer, not for the whole file


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None,
    size_mb: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    error: type[VoxsamError] = FormatError,
    advice: str = "",
) -> Path:
    """Fetch `url` to `path`, unless the right file is there already.

    The file appears under its name only when it is whole and its hash is right.

    Parameters
    ----------
    url : str
    path : Path
        Its folder is made where it is missing.
    sha256 : str or None
        None where the publisher gives none; then any content will do.
    size_mb : float, optional
        For the message.
    on_progress : callable, optional
        Called with (bytes done, bytes in all); raising `Cancelled` in it stops the work and leaves nothing behind.
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
    import pooch

    opened = ExitStack()  # pooch leaves the connection of a broken download open

    def close_later(response: Any, **_: Any) -> None:
        opened.callback(response.close)

    downloader = pooch.HTTPDownloader(
        progressbar=_Progress(on_progress) if on_progress else False,
        chunk_size=CHUNK_BYTES,
        timeout=TIMEOUT_S,
        hooks={"response": close_later},
    )
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # progress is the caller's to show
    known_hash = sha256 and f"sha256:{sha256}"
    try:
        pooch.retrieve(url, known_hash=known_hash, fname=path.name, path=path.parent, downloader=downloader)
    except ValueError as fault:  # what pooch says of a wrong hash
        wrong = f"{url} gave another file than the published one (expected sha256 {sha256}); try again later"
        raise error(f"{wrong}. {advice}".strip()) from fault
    except OSError as fault:  # no network, a refusal by the server, no room, no permission
        size = f" ({size_mb:.0f} MB)" if size_mb else ""
        raise error(f"could not download {url}{size} to {path}: {reason_of(fault)}. {advice}".strip()) from fault
    finally:
        opened.close()
        logger.setLevel(level)
    return path


def reason_of(fault: OSError) -> str:
    """Say in a few words why a download failed."""
    import requests

    if isinstance(fault, requests.Timeout):
        return "the server does not answer"
    if isinstance(fault, requests.HTTPError):
        return f"the server says {fault}"
    if isinstance(fault, requests.ConnectionError):
        return "no connection; is this computer offline?"
    return fault.strerror or str(fault).split("\n")[0] or type(fault).__name__


class _Progress:
    """What pooch calls while it downloads, in its own terms."""

    def __init__(self, on_progress: Callable[[int, int], None]) -> None:
        self.total = 0
        self._done = 0
        self._on_progress = on_progress

    def update(self, size: int) -> None:
        self._done += size
        if self.total:  # the last chunk counts as a whole one, and the end as the whole file once more
            self._done = min(self._done, self.total)
        self._on_progress(self._done, max(self._done, self.total))

    def reset(self) -> None:
        """Keep the count: it ends at the total."""

    def close(self) -> None:
        """Nothing to close."""
