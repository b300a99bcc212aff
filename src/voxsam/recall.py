"""What a tracking model is shown of other slices while a mask is carried on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.embeddings import EmbeddingStore
from voxsam.models.base import Memory, SliceLogits, SlicePrompts
from voxsam.views import Region, View

__all__ = ["Known", "Recall"]

#: Memories that are kept ready; those of another region of the same slice count anew.
_KEPT = 24


@dataclass(frozen=True, eq=False)
class Known:
    """A slice whose answer is known.

    Parameters
    ----------
    index : int
    logits : (rows, columns) float32 array
        In array order; positive inside.
    prompted : bool
        A user said so.
    pointer : Any
        `SliceLogits.pointer` of the answer, where it was not changed.
    """

    index: int
    logits: npt.NDArray[np.float32]
    prompted: bool
    pointer: Any = None


class Recall:
    """Memories of the slices that led to the present one.

    Parameters
    ----------
    store : EmbeddingStore
        Of a model that tracks.
    prompted : iterable of Known
        Slices that the user spoke about; shown on every slice.
    """

    def __init__(self, store: EmbeddingStore, prompted: Iterable[Known]) -> None:
        self._store = store
        self._prompted = tuple(prompted)
        self._walked: list[Known] = []
        self._made: OrderedDict[tuple[int, Region | None], Memory] = OrderedDict()

    def add(self, known: Known) -> None:
        """Take in the slice that was answered last."""
        self._walked = [*self._walked, known][-max(1, self._store.memory_slots) :]

    def ask(self, view: View, prompts: SlicePrompts | None = None) -> SliceLogits:
        """Ask the model about a view of the next slice, from what the slices before it showed.

        Parameters
        ----------
        view : View
        prompts : SlicePrompts, optional
            What else is known about it.

        Returns
        -------
        SliceLogits
        """
        memories = [(known.index - view.index, self._memory_of(known, view)) for known in self._shown(view.index)]
        return self._store.track(self._store.get(view), memories, prompts)

    def _shown(self, index: int) -> list[Known]:
        """Choose the prompted slices, nearest first, then the last of the others, as far as there is room."""
        slots = max(1, self._store.memory_slots)
        room = 1 if self._walked else 0  # the last slice always has a place
        prompted = sorted(self._prompted, key=lambda known: abs(known.index - index))[: slots - room]
        held = {known.index for known in prompted}
        walked = [known for known in reversed(self._walked) if known.index not in held]
        return [*prompted, *walked[: slots - len(prompted)]]

    def _memory_of(self, known: Known, view: View) -> Memory:
        key = (known.index, view.region)
        if key not in self._made:
            there = replace(view, index=known.index)
            logits = self._store.stack.frame(there).slice_to_view(known.logits)
            embedding = self._store.get(there)
            pointer = known.pointer
            self._made[key] = self._store.remember(embedding, logits, prompted=known.prompted, pointer=pointer)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return self._made[key]
