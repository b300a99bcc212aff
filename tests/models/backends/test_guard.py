"""A device that runs out of memory: smaller batches, then the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from contracts.model_contract import click, disc_logits, view
from sam_reference import random_model
from voxsam.geometry import Geometry
from voxsam.models.backends.guard import GuardedTracker, guarded
from voxsam.models.base import Embedding, FloatArray, Memory, PromptableModel, SliceLogits, SlicePrompts, TrackingModel
from voxsam.models.registry import load_model
from voxsam.models.runtime import Runtime, facts_of, runtime_of
from voxsam.prompts import Box
from voxsam.segment import segment_volume
from voxsam.volume import Volume


class SmallDevice:
    """A model on a device that holds so many views at once, and breaks down after so many calls."""

    def __init__(self, model: Any, *, views: int = 1, calls: int = 10**6) -> None:
        self.model, self.views, self.calls = model, views, calls
        self.batch_size = 8
        self.runtime = Runtime(precision="bf16", device="cuda:0")
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @property
    def card(self) -> Any:
        return self.model.card

    @property
    def weights_sha256(self) -> str:
        return str(self.model.weights_sha256)

    def _use(self, views: int = 0) -> None:
        self.calls -= 1
        if self.calls < 0 or views > self.views:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    def encode(self, pixels: FloatArray) -> Embedding:
        self._use(1)
        return self.model.encode(pixels)  # type: ignore[no-any-return]

    def encode_batch(self, views: Sequence[FloatArray]) -> list[Embedding]:
        self.batches.append(len(views))
        self._use(len(views))
        return [self.model.encode(pixels) for pixels in views]

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        self._use()
        return self.model.decode(embedding, prompts, multimask=multimask)  # type: ignore[no-any-return]


class SmallTracker(SmallDevice):
    @property
    def memory_slots(self) -> int:
        return int(self.model.memory_slots)

    def remember(self, *args: Any, **kwargs: Any) -> Memory:
        self._use()
        return self.model.remember(*args, **kwargs)  # type: ignore[no-any-return]

    def track(self, *args: Any, **kwargs: Any) -> SliceLogits:
        self._use()
        return self.model.track(*args, **kwargs)  # type: ignore[no-any-return]


def refuse() -> PromptableModel:
    raise AssertionError("there was no need for the CPU")


def test_smaller_batches_come_first_and_stay() -> None:
    device = SmallDevice(random_model(), views=3)
    model = guarded(device, refuse)
    views = [view(seed=seed) for seed in range(9)]
    for _ in range(2):
        encoded = model.encode_batch(views)
    assert device.batches == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert model.batch_size == 2
    for pixels, embedding in zip(views, encoded, strict=True):
        np.testing.assert_array_equal(device.model.encode(pixels).to_arrays()["image"], embedding.to_arrays()["image"])
    assert runtime_of(model).remark == "batches of 2: cuda:0 was out of memory for more"


def test_then_it_goes_on_on_the_cpu_with_a_warning_and_says_so() -> None:
    on_cpu = random_model()
    model = guarded(SmallDevice(random_model(), views=0), lambda: on_cpu)
    assert facts_of(model)["device"] == "cuda:0"
    with pytest.warns(UserWarning, match="cuda:0 is out of memory, so tiny-sam goes on on the CPU, which is slower"):
        (embedding,) = model.encode_batch([view()])
    np.testing.assert_array_equal(embedding.to_arrays()["image"], on_cpu.encode(view()).to_arrays()["image"])
    facts = facts_of(model)
    assert (facts["device"], facts["precision"]) == ("cpu", "fp32")
    assert facts["remark"] == "went on on the CPU: cuda:0 was out of memory"
    assert model.model is on_cpu
    assert model.decode(embedding, click()).logits.shape == (1, 60, 80)  # without another warning


@pytest.mark.filterwarnings("ignore:cuda")
def test_a_decoder_without_memory_answers_all_the_same() -> None:
    on_cpu = random_model()
    device = SmallDevice(random_model(), calls=1)
    model = guarded(device, lambda: on_cpu)
    embedding = model.encode(view())
    np.testing.assert_array_equal(model.decode(embedding, click()).logits, on_cpu.decode(embedding, click()).logits)


@pytest.mark.filterwarnings("ignore:cuda")
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_model_that_tracks_goes_on_wherever_it_broke_down(calls: int) -> None:
    compact = load_model("compact", device="cpu")
    assert isinstance(compact, TrackingModel)
    model = guarded(SmallTracker(compact, calls=calls), lambda: compact)
    assert isinstance(model, TrackingModel)
    assert isinstance(model, GuardedTracker)
    assert model.memory_slots == compact.memory_slots
    embedding = model.encode(view())
    memory = model.remember(embedding, disc_logits(), prompted=True)
    found = model.track(embedding, [(1, memory)])
    np.testing.assert_array_equal(found.logits, compact.track(embedding, [(1, memory)]).logits)


def test_a_cpu_without_memory_is_no_case_for_the_cpu() -> None:
    device = SmallDevice(random_model(), views=0)
    device.runtime = Runtime()
    with pytest.raises(torch.OutOfMemoryError):
        guarded(device, refuse).encode(view())


@pytest.mark.filterwarnings("ignore:cuda")
def test_the_report_of_a_segmentation_says_where_it_went_on() -> None:
    array = np.full((5, 40, 40), -100, np.int16)
    array[1:4, 12:28, 12:28] = 80
    volume = Volume(array, Geometry.from_spacing(array.shape, (5.0, 1.0, 1.0)), modality="CT")
    model = guarded(SmallDevice(random_model(), calls=2), random_model)
    found = segment_volume(volume, [Box((2, 10, 10), (2, 29, 29))], model=model)
    assert found.report.to_json()["model"]["remark"] == "went on on the CPU: cuda:0 was out of memory"
    assert found.report.to_json()["model"]["device"] == "cpu"
