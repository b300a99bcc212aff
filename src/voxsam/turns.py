"""RecentTurns: what a model answered to the first clicks on a view, so that one click more asks it once more."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from voxsam.models.base import Embedding, SlicePrompts

__all__ = ["RecentTurns"]

FloatArray = npt.NDArray[np.float32]
Key = tuple[int, bytes]


class RecentTurns:
    """Remembers low-resolution answers by what was asked; a model answers the same prompts the same way.

    Parameters
    ----------
    count : int
        At most so many; what was not used for longest goes first.

    Examples
    --------
    >>> seen = Embedding({}, image_shape=(4, 4))
    >>> clicked = SlicePrompts(points_xy=np.array([[1.0, 2.0]]), point_labels=np.array([1]))
    >>> turns = RecentTurns()
    >>> turns.put(turns.key(seen, clicked), seen, np.ones((2, 2), np.float32))
    >>> turns.get(turns.key(seen, clicked)).shape
    (2, 2)
    """

    def __init__(self, count: int = 32) -> None:
        self._count = count
        self._held: OrderedDict[Key, tuple[Embedding, FloatArray]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, embedding: Embedding, prompts: SlicePrompts) -> Key:
        """Name what is asked."""
        digest = hashlib.blake2b(digest_size=16)
        arrays = (prompts.points_xy, prompts.point_labels, prompts.box_xyxy, prompts.mask_logits)
        for array in (*arrays, prompts.low_res_logits):
            digest.update(b"none" if array is None else f"{array.dtype}{array.shape}".encode())
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        digest.update(bytes([prompts.box_is_tight]))
        return id(embedding), digest.digest()

    def get(self, key: Key) -> FloatArray | None:
        """Return the answer, where it is remembered."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            self._held.move_to_end(key)
            return held[1]

    def put(self, key: Key, embedding: Embedding, low_res_logits: FloatArray) -> None:
        """Remember an answer, (h, w); the embedding is kept with it, so that its id is not given again."""
        with self._lock:
            self._held[key] = (embedding, low_res_logits)
            self._held.move_to_end(key)
            while len(self._held) > self._count:
                self._held.popitem(last=False)
