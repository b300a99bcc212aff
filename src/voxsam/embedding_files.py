"""Embeddings on disk: one folder per model, scan and preprocessing, one file per view."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from voxsam.errors import StoreError
from voxsam.folders import user_cache_dir
from voxsam.io.atomic import atomic_write
from voxsam.models.base import Embedding
from voxsam.views import View

__all__ = ["EmbeddingFiles", "default_cache_dir"]

_log = logging.getLogger(__name__)

SCHEMA = "voxsam-embeddings/2"
KEY_FILE = "key.json"
SUFFIX = ".safetensors"
_STALE_S = 3600.0  # a temporary file this old belongs to nobody any more
_AT_ONCE = 2**18  # bytes; a call that writes a megabyte takes Linux ten times as long, for finding pages that size


def default_cache_dir() -> Path:
    """Return where caches live on this system: ``$VOXSAM_CACHE``, else the user's own cache folder."""
    if os.environ.get("VOXSAM_CACHE"):
        return Path(os.environ["VOXSAM_CACHE"])
    return user_cache_dir() / "embeddings"


class EmbeddingFiles:
    """The folder of one key, within a cache folder that other keys share.

    The key is written first and compared at every opening, so that files of another model or scan are never read.
    A view's file appears by a rename, so a kill leaves it whole or not at all. The disk is not waited for, as what is
    lost can be made anew: after a power failure, a checksum tells a file that the disk did not get from a whole one.

    Parameters
    ----------
    cache_dir : Path
        Made where it does not exist.
    key : mapping
        Everything that an embedding depends on, apart from the view; JSON values.
    budget_mb : float
        For the whole of `cache_dir`; views that were not used for longest go first.
    private : bool
        Nobody but the user may look into the folder: embeddings show what the scan shows.

    Raises
    ------
    StoreError
        If the folder cannot be made or written to.
    """

    def __init__(self, cache_dir: Path, key: Mapping[str, Any], *, budget_mb: float, private: bool = False) -> None:
        self.cache_dir = Path(cache_dir)
        self._budget = int(budget_mb * 2**20)
        self._counting = threading.Lock()
        document = json.dumps({"schema": SCHEMA, **key}, indent=1, sort_keys=True)
        self.folder = self.cache_dir / hashlib.sha256(document.encode()).hexdigest()[:32]
        try:
            self.folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
            self._open(document)
            self._held = sum(size for _, size, _ in _view_files(self.cache_dir))
        except OSError as error:
            raise StoreError(
                f"expected a cache folder to write embeddings to, got {self.cache_dir}: {error.strerror or error}; "
                "name another folder, or work without a cache"
            ) from error

    def _open(self, document: str) -> None:
        key_file = self.folder / KEY_FILE
        if not key_file.exists() or key_file.read_text(encoding="utf-8") != document:
            for path in self.folder.glob(f"*{SUFFIX}"):  # of nobody knows which scan
                _log.warning("removing %s: its folder had another key", path)
                path.unlink(missing_ok=True)
            with atomic_write(key_file, error=StoreError) as temporary:
                temporary.write_text(document, encoding="utf-8")
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(13, "Permission denied", str(self.folder))
        for path in self.folder.glob(".*"):  # left by a kill
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink(missing_ok=True)

    def path_of(self, view: View) -> Path:
        """Return where a view's file is, or would be."""
        digest = hashlib.sha256(view.key.encode()).hexdigest()[:16]
        return self.folder / f"{view.plane}-{view.index:05d}-{digest}{SUFFIX}"

    def has(self, view: View) -> bool:
        """Say whether the view is on disk."""
        return self.path_of(view).exists()

    def read(self, view: View) -> Embedding | None:
        """Read a view; None where it is not on disk, or what is there is not it."""
        path = self.path_of(view)
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            height, width = (int(n) for n in metadata["image_shape"].split(","))
            _check_whole(arrays, int(metadata["crc32"]))
            os.utime(path)  # used now: the last to go
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            _log.warning("embedding %s cannot be read and is made anew: %s", path, error)
            return None
        if metadata.get("view") != view.key:
            return None
        return Embedding(arrays, (height, width))

    def write(self, view: View, arrays: Mapping[str, npt.NDArray[Any]], image_shape: tuple[int, int]) -> None:
        """Write a view, then make room where the budget is spent.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata = {
            "view": view.key,
            "image_shape": f"{image_shape[0]},{image_shape[1]}",
            "crc32": str(_checksum(whole)),
        }
        data = save(whole, metadata)
        with atomic_write(self.path_of(view), error=StoreError, durable=False) as temporary:
            _write(temporary, data)
        with self._counting:
            self._held += len(data)
            if self._held > self._budget:
                self._held = self._make_room()

    def _make_room(self) -> int:
        """Remove the views used longest ago, down to nine tenths of the budget; return what is held then."""
        files = sorted(_view_files(self.cache_dir))
        held = sum(size for _, size, _ in files)
        for _, size, path in files[:-1]:  # the newest stays, however small the budget
            if held <= 0.9 * self._budget:
                break
            path.unlink(missing_ok=True)
            held -= size
        return held


def _write(path: Path, data: bytes) -> None:
    view = memoryview(data)
    with path.open("wb") as file:
        for start in range(0, len(data), _AT_ONCE):
            file.write(view[start : start + _AT_ONCE])


def _checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    crc = 0
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].data, crc)
    return crc


def _check_whole(arrays: Mapping[str, npt.NDArray[Any]], crc: int) -> None:
    if _checksum(arrays) != crc:
        raise ValueError("its bytes are not those that were written")


def _view_files(cache_dir: Path) -> Iterator[tuple[float, int, Path]]:
    """Yield (time of last use, bytes, path) of every view of every key."""
    for path in cache_dir.glob(f"*/*{SUFFIX}"):
        if path.name.startswith("."):
            continue
        try:
            status = path.stat()
        except FileNotFoundError:  # another process made room
            continue
        yield status.st_mtime, status.st_size, path
