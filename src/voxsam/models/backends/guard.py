"""A model on a GPU that runs out of memory: smaller batches first, then the CPU."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from voxsam.models.backends.structure import with_tensors
from voxsam.models.base import (
    Embedding,
    FloatArray,
    Memory,
    ModelCard,
    PromptableModel,
    SliceLogits,
    SlicePrompts,
    TrackingModel,
)
from voxsam.models.runtime import Runtime, runtime_of

__all__ = ["GuardedModel", "GuardedTracker", "guarded"]


def guarded(model: PromptableModel, on_cpu: Callable[[], PromptableModel]) -> GuardedModel:
    """Return the model with a way out when its device is out of memory.

    Parameters
    ----------
    model : PromptableModel
    on_cpu : callable
        Builds the same model on the CPU.
    """
    return (GuardedTracker if isinstance(model, TrackingModel) else GuardedModel)(model, on_cpu)


class GuardedModel:
    """A model that goes on on the CPU, with a warning and a remark in `runtime`, when its device is out of memory.

    Parameters
    ----------
    model : PromptableModel
    on_cpu : callable
        Builds the same model on the CPU.
    """

    def __init__(self, model: PromptableModel, on_cpu: Callable[[], PromptableModel]) -> None:
        self._model, self._on_cpu = model, on_cpu
        self._remark = ""
        self.batch_size: int = getattr(model, "batch_size", 1)

    @property
    def model(self) -> PromptableModel:
        """The model that answers now."""
        return self._model

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        return self._model.card

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights in use."""
        return self._model.weights_sha256

    @property
    def runtime(self) -> Runtime:
        """What the model computes with now."""
        return replace(runtime_of(self._model), remark=self._remark)

    def encode(self, pixels: FloatArray) -> Embedding:
        """Run the image encoder; see `PromptableModel.encode`."""
        embedding: Embedding = self._answer(lambda model: model.encode(pixels))
        return embedding

    def encode_batch(self, views: Sequence[FloatArray]) -> list[Embedding]:
        """Encode several views, in smaller batches from then on if the memory does not suffice for these.

        Parameters
        ----------
        views : sequence of (H, W, 3) float32 array

        Returns
        -------
        list of Embedding
        """
        encoded: list[Embedding] = []
        while len(encoded) < len(views):
            together = views[len(encoded) : len(encoded) + self.batch_size]
            if len(together) == 1:
                encoded.append(self.encode(together[0]))
                continue
            try:
                encoded += self._model.encode_batch(together)  # type: ignore[attr-defined]  # its batch size says so
            except torch.OutOfMemoryError:
                self.batch_size = len(together) // 2
                self._remark = f"batches of {self.batch_size}: {self.runtime.device} was out of memory for more"
            if self._remark:
                release_memory()
        return encoded

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        """Answer prompts on an encoded view; see `PromptableModel.decode`."""
        answer: SliceLogits = self._answer(
            lambda model: model.decode(self._reachable(embedding), prompts, multimask=multimask)
        )
        return answer

    def _answer(self, ask: Callable[[Any], Any]) -> Any:
        try:
            return ask(self._model)
        except torch.OutOfMemoryError:
            if runtime_of(self._model).device == "cpu":
                raise
        self._go_on_on_the_cpu()
        return ask(self._model)

    def _go_on_on_the_cpu(self) -> None:
        device = runtime_of(self._model).device
        self._model = self._on_cpu()  # the other one goes, and its memory with it
        self.batch_size = 1
        self._remark = f"went on on the CPU: {device} was out of memory"
        release_memory()
        warnings.warn(
            f"{device} is out of memory, so {self.card.name} goes on on the CPU, which is slower; "
            "close what else uses the GPU, or take a smaller model",
            stacklevel=4,
        )

    def _reachable(self, embedding: Embedding) -> Embedding:
        """Bring what was encoded before the move to where the model is now."""
        return replace(embedding, features=self._moved(embedding.features)) if self._remark else embedding

    def _moved(self, features: Any) -> Any:
        device = runtime_of(self._model).device
        return with_tensors(features, lambda tensor: tensor.to(device))


class GuardedTracker(GuardedModel):
    """A `GuardedModel` of a model that tracks."""

    _model: TrackingModel

    @property
    def memory_slots(self) -> int:
        """How many memories `track` makes use of."""
        return self._model.memory_slots

    def remember(self, embedding: Embedding, mask_logits: FloatArray, *, prompted: bool, pointer: Any = None) -> Memory:
        """Make a memory of a view and its answer; see `TrackingModel.remember`."""
        memory: Memory = self._answer(
            lambda model: model.remember(
                self._reachable(embedding), mask_logits, prompted=prompted, pointer=self._here(pointer)
            )
        )
        return memory

    def track(
        self, embedding: Embedding, memories: Sequence[tuple[int, Memory]], prompts: SlicePrompts | None = None
    ) -> SliceLogits:
        """Find on a view what the memories show; see `TrackingModel.track`."""
        answer: SliceLogits = self._answer(
            lambda model: model.track(
                self._reachable(embedding),
                [(distance, replace(memory, features=self._here(memory.features))) for distance, memory in memories],
                prompts,
            )
        )
        return answer

    def _here(self, features: Any) -> Any:
        return self._moved(features) if self._remark else features


def release_memory() -> None:
    """Give back what torch keeps of a GPU's memory; nothing where there is none."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
