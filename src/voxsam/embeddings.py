"""EmbeddingStore: each view of a scan goes through the image encoder once; from memory afterwards, else from disk."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.embedding_files import EmbeddingFiles, default_cache_dir
from voxsam.errors import ModelError, StoreError
from voxsam.models.base import Embedding, FloatArray, Memory, PromptableModel, SliceLogits, SlicePrompts, TrackingModel
from voxsam.models.runtime import runtime_of
from voxsam.threads import each_in_threads
from voxsam.turns import RecentTurns
from voxsam.views import SliceStack, View
from voxsam.volume import Volume

__all__ = ["EmbeddingStore", "default_cache_dir"]

_log = logging.getLogger(__name__)

_LARGEST_HALF = float(np.finfo(np.float16).max)

OnProgress = Callable[[int, int], None]


class EmbeddingStore:
    """Embeddings of one scan by one model: memory first, then disk, else the encoder.

    Embeddings are kept in half precision wherever they are, so that a mask does not depend on what was cached.
    One thread may fill the store in the background (`precompute`) while another asks for views; the one that asks
    goes first.

    Parameters
    ----------
    model : PromptableModel
    stack : SliceStack or Volume
    cache_dir : Path, "auto" or None
        Where to keep embeddings between runs. ``"auto"``: `default_cache_dir`, readable by the user alone, and memory
        alone where that cannot be written to. None: memory alone; nothing of the patient is left on the disk.
    memory_mb, disk_mb : float
        Budgets. What was not used for longest goes first.

    Raises
    ------
    StoreError
        If a named `cache_dir` cannot be written to.

    Examples
    --------
    >>> store = EmbeddingStore(model, stack, cache_dir=None)  # doctest: +SKIP
    >>> store.get(stack.view("axial", 42, windows)).image_shape  # doctest: +SKIP
    (512, 512)
    """

    def __init__(
        self,
        model: PromptableModel,
        stack: SliceStack | Volume,
        *,
        cache_dir: Path | str | None = None,
        memory_mb: float = 1024,
        disk_mb: float = 8192,
    ) -> None:
        self.model = model
        self.stack = stack if isinstance(stack, SliceStack) else SliceStack(stack)
        self._memory: OrderedDict[str, Embedding] = OrderedDict()
        self._memory_held, self._memory_budget = 0, int(memory_mb * 2**20)
        self._memory_lock = threading.Lock()
        self._turns = _Turns()
        self.recent = RecentTurns()
        self._named = cache_dir not in (None, "auto")
        self._files: EmbeddingFiles | None = None
        if cache_dir is not None:
            self._files = self._opened(default_cache_dir() if cache_dir == "auto" else Path(cache_dir), disk_mb)

    @property
    def key(self) -> dict[str, Any]:
        """Everything that an embedding depends on, apart from the view (whose key names the rest)."""
        card, runtime = self.model.card, runtime_of(self.model)
        exact = (runtime.backend, runtime.precision) == ("torch", "fp32")
        return {
            **({} if exact else {"backend": runtime.backend, "precision": runtime.precision}),
            "model": card.name,
            "weights_sha256": self.model.weights_sha256,
            "preprocessing": repr(card.preprocessing),
            "scan_fingerprint": self.stack.volume.fingerprint,
            "scan_shape": list(self.stack.volume.geometry.shape),
        }

    @property
    def folder(self) -> Path | None:
        """Where this scan's embeddings lie on disk; None where they are kept in memory alone."""
        return self._files.folder if self._files else None

    def get(self, view: View) -> Embedding:
        """Return a view's embedding: from memory, from disk, else by the encoder.

        Parameters
        ----------
        view : View

        Returns
        -------
        Embedding
            In half precision.

        Raises
        ------
        StoreError
            If a named cache folder cannot be written to any more.
        """
        return self._found(view) or self._encoded(view, first=True)

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        """Ask the model, while no other thread does."""
        with self._turns.first():
            return self.model.decode(embedding, prompts, multimask=multimask)

    def track(
        self, embedding: Embedding, memories: Sequence[tuple[int, Memory]], prompts: SlicePrompts | None = None
    ) -> SliceLogits:
        """Ask a model that tracks, while no other thread does; see `TrackingModel.track`."""
        with self._turns.first():
            return self._tracker.track(embedding, memories, prompts)

    def remember(self, embedding: Embedding, mask_logits: FloatArray, *, prompted: bool, pointer: Any = None) -> Memory:
        """Have a model that tracks remember an answer; see `TrackingModel.remember`."""
        with self._turns.first():
            return self._tracker.remember(embedding, mask_logits, prompted=prompted, pointer=pointer)

    @property
    def memory_slots(self) -> int:
        """How many memories the model can be shown; 0 if it does not track."""
        return self.model.memory_slots if isinstance(self.model, TrackingModel) else 0

    @property
    def _tracker(self) -> TrackingModel:
        if not isinstance(self.model, TrackingModel):
            raise ModelError(f"{self.model.card.name} does not track; ask it with decode")
        return self.model

    def precompute(
        self,
        views: Iterable[View],
        *,
        on_progress: OnProgress | None = None,
        nearest_to: int | None = None,
        threads: int = 1,
    ) -> int:
        """Encode views ahead of their use.

        Parameters
        ----------
        views : iterable of View
        on_progress : callable, optional
            Called as ``on_progress(done, total)``; raising `Cancelled` in it stops. What is done is kept.
        nearest_to : int, optional
            Slice index to begin at, the nearest first.
        threads : int
            Views to encode at the same time; more than one only where the model may be asked so.

        Returns
        -------
        int
            How many views went through the encoder. Without a disk, it ends where the memory is full.
        """
        ordered = list(views)
        if nearest_to is not None:
            ordered.sort(key=lambda view: abs(view.index - nearest_to))
        if threads > 1:
            return self._precompute_in_threads(ordered, threads, on_progress or _unseen)
        encoded, batch = 0, list[View]()
        for done, view in enumerate(ordered):
            if on_progress is not None:
                on_progress(done, len(ordered))
            if self._holds(view):
                continue
            if self._is_full(len(batch) + 1):
                break  # going on would throw out the nearest slices again
            batch.append(view)
            if len(batch) >= getattr(self.model, "batch_size", 1):
                encoded += self._encode_batch(batch)
                batch = []
        encoded += self._encode_batch(batch)
        if on_progress is not None:
            on_progress(len(ordered), len(ordered))
        return encoded

    def _precompute_in_threads(self, ordered: Sequence[View], threads: int, on_progress: OnProgress) -> int:
        held = 0

        def missing() -> Iterator[View]:
            nonlocal held
            for view in ordered:
                if self._holds(view):
                    held += 1
                elif self._is_full(threads + 1):
                    return
                else:
                    yield view

        def encode(view: View) -> None:
            self._encoded(view, first=False, at_once=threads)

        on_progress(0, len(ordered))
        encoded = each_in_threads(
            encode, missing(), threads=threads, on_done=lambda done: on_progress(held + done, len(ordered))
        )
        on_progress(len(ordered), len(ordered))
        return encoded

    def _is_full(self, more: int) -> bool:
        """Say whether so many more views would throw others out; never where there is a disk."""
        return self._files is None and self._memory_held + self._mean_size() * more > self._memory_budget

    def _opened(self, cache_dir: Path, disk_mb: float) -> EmbeddingFiles | None:
        try:
            return EmbeddingFiles(cache_dir, self.key, budget_mb=disk_mb, private=not self._named)
        except StoreError as error:
            if self._named:
                raise
            _log.warning("embeddings stay in memory: %s", error)
            return None

    def _holds(self, view: View) -> bool:
        with self._memory_lock:
            if self._key_of(view) in self._memory:
                return True
        files = self._files
        return files is not None and files.has(self.stack.resolve(view))

    def _key_of(self, view: View) -> str:
        return self.stack.resolve(view).key

    def _found(self, view: View) -> Embedding | None:
        key = self._key_of(view)
        with self._memory_lock:
            embedding = self._memory.get(key)
            if embedding is not None:
                self._memory.move_to_end(key)
                return embedding
        files = self._files  # another thread may give the disk up meanwhile
        if files is not None:
            embedding = files.read(self.stack.resolve(view))
            if embedding is not None:
                self._remember(key, embedding)
        return embedding

    def _encoded(self, view: View, *, first: bool, at_once: int = 1) -> Embedding:
        pixels = self.stack.pixels(view)
        with self._turns.first() if first else self._turns.last(at_once):
            embedding = self._found(view)  # another thread may just have made it
            if embedding is None:
                embedding = self._keep(view, self.model.encode(pixels))
        return embedding

    def _encode_batch(self, views: Sequence[View]) -> int:
        if len(views) < 2:
            for view in views:
                self._encoded(view, first=False)
            return len(views)
        pixels = [self.stack.pixels(view) for view in views]
        model: Any = self.model  # its batch size says that it takes several
        with self._turns.last():
            for view, fresh in zip(views, model.encode_batch(pixels), strict=True):
                self._keep(view, fresh)
        return len(views)

    def _keep(self, view: View, fresh: Embedding) -> Embedding:
        embedding = Embedding(_in_half_precision(fresh.features), fresh.image_shape)
        self._remember(self._key_of(view), embedding)
        self._write(view, embedding)
        return embedding

    def _remember(self, key: str, embedding: Embedding) -> None:
        with self._memory_lock:
            if key not in self._memory:
                self._memory[key] = embedding
                self._memory_held += _size_of(embedding)
            while self._memory_held > self._memory_budget and len(self._memory) > 1:
                _, oldest = self._memory.popitem(last=False)
                self._memory_held -= _size_of(oldest)

    def _write(self, view: View, embedding: Embedding) -> None:
        files = self._files
        if files is None:
            return
        try:
            files.write(self.stack.resolve(view), embedding.to_arrays(), embedding.image_shape)
        except StoreError as error:
            if self._named:
                raise
            _log.warning("embeddings stay in memory from here: %s", error)
            self._files = None

    def _mean_size(self) -> float:
        return self._memory_held / max(1, len(self._memory))


class _Turns:
    """A lock that background work gives way at: whoever waits for an answer goes first, and is alone with the model."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._busy = 0  # of them, in the background, there may be several
        self._waiting = 0
        self._alone = False

    @contextmanager
    def first(self) -> Iterator[None]:
        with self._condition:
            self._waiting += 1
            try:
                self._condition.wait_for(lambda: not self._busy)
            finally:
                self._waiting -= 1  # Ctrl-C while waiting must not hold up the background for good
            self._busy, self._alone = 1, True
        yield from self._held()

    @contextmanager
    def last(self, at_once: int = 1) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: self._busy < at_once and not self._alone and not self._waiting)
            self._busy += 1
        yield from self._held()

    def _held(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._condition:
                self._busy -= 1
                self._alone = False
                self._condition.notify_all()


def _unseen(_done: int, _total: int) -> None:
    """Take the place of a progress callback that nobody gave."""


def _in_half_precision(features: Mapping[str, Any]) -> dict[str, Any]:
    """Round floating features to half precision, on the device where they are; numbers too large for it stay."""
    return {name: _halved(value) for name, value in features.items()}


def _halved(value: Any) -> Any:
    if hasattr(value, "is_floating_point"):  # a tensor, perhaps on a GPU
        half = value.half() if value.is_floating_point() else value
        return half if _is_finite(half) else value
    array: npt.NDArray[Any] = np.asarray(value)
    if array.dtype.kind != "f":
        return array
    largest = float(np.abs(array).max(initial=0.0))
    return array.astype(np.float16) if largest <= _LARGEST_HALF else array


def _is_finite(tensor: Any) -> bool:
    """Ask the least and the largest number alone, which takes a quarter of the time of asking each."""
    return not tensor.numel() or all(bool(extreme.isfinite()) for extreme in tensor.aminmax())


def _size_of(embedding: Embedding) -> int:
    return sum(int(value.nbytes) for value in embedding.features.values())
