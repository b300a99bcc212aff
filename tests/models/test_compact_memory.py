"""The slice memory of the embedded default: what it compares, and what a model does with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contracts.model_contract import SHAPE, disc_logits, view
from contracts.tracking_contract import TrackingModelContract
from voxsam.errors import ModelError, PromptError
from voxsam.models.base import SlicePrompts, TrackingModel
from voxsam.models.compact import CompactModel
from voxsam.models.compact_encoder import CHANNELS, MATCH_HEADS, unit_heads
from voxsam.models.compact_memory import CompactMemory, MemoryBatch, looks_of
from voxsam.models.registry import load_model

SIDE = 16


def match_of(looks: torch.Tensor) -> torch.Tensor:
    """Match features (1, C, h, w) of a map of looks 0..1: an angle in every head."""
    angle = looks * torch.pi / 2
    maps = torch.zeros(1, CHANNELS["match"], *looks.shape)
    for head in range(MATCH_HEADS):
        first = head * CHANNELS["match"] // MATCH_HEADS
        maps[0, first], maps[0, first + 1] = angle.cos(), angle.sin()
    return unit_heads(maps)


def square(top: int, left: int, side: int = 6) -> torch.Tensor:
    mask = torch.zeros(SIDE, SIDE)
    mask[top : top + side, left : left + side] = 1
    return mask


def memory_of(mask: torch.Tensor) -> MemoryBatch:
    match, inside = match_of(mask), mask[None, None]
    return MemoryBatch(match, inside, *looks_of(match, inside), torch.ones(1, 1, dtype=torch.bool))


@torch.no_grad()
def test_cells_take_over_what_alike_cells_near_by_were() -> None:
    module = CompactMemory()
    module.log_sharpness.fill_(4.0)
    taken = module(match_of(square(5, 6)), memory_of(square(4, 4)))[0, :MATCH_HEADS]
    moved = square(5, 6) > 0
    middle, far = taken[:, 7:9, 8:10].mean(), taken[:, 13:, :3].mean()
    assert middle > 0.9  # the object has moved here, and is recognised
    assert far < 0.05
    assert taken[:, ~moved].mean() < taken[:, moved].mean() - 0.5


@torch.no_grad()
def test_looks_tell_the_object_from_its_surroundings_wherever_it_is() -> None:
    maps = CompactMemory()(match_of(square(9, 9)), memory_of(square(1, 1)))[0]
    like_object, like_surroundings = maps[MATCH_HEADS : 2 * MATCH_HEADS], maps[2 * MATCH_HEADS : 3 * MATCH_HEADS]
    there = square(9, 9) > 0
    assert (like_object[:, there] > 0.99).all()
    assert (like_surroundings[:, there] < 0.01).all()
    assert (like_surroundings[:, ~there] > 0.99).all()


@torch.no_grad()
def test_no_memory_is_given_as_zeros() -> None:
    memory = memory_of(square(1, 1))
    nothing = MemoryBatch(
        memory.match, memory.inside, memory.object_looks, memory.surrounding_looks, torch.zeros(1, 1, dtype=torch.bool)
    )
    assert not CompactMemory()(match_of(square(9, 9)), nothing).any()


class TestCompactTracks(TrackingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> CompactModel:
        model = load_model("compact")
        assert isinstance(model, CompactModel)
        return model


@pytest.fixture(scope="module")
def compact() -> CompactModel:
    model = load_model("compact")
    assert isinstance(model, CompactModel)
    return model


def test_the_embedded_model_tracks(compact: CompactModel) -> None:
    assert isinstance(compact, TrackingModel)


def test_a_disc_is_found_again_from_memory_alone(compact: CompactModel) -> None:
    embedding = compact.encode(view())
    memory = compact.remember(embedding, disc_logits(), prompted=True)
    answer = compact.track(embedding, [(-1, memory)])
    found, truth = answer.logits[0] > 0, disc_logits() > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_prompts_may_come_with_a_memory(compact: CompactModel) -> None:
    embedding = compact.encode(view())
    memory = compact.remember(embedding, disc_logits(), prompted=False)
    answer = compact.track(embedding, [(2, memory), (-4, memory)], SlicePrompts(mask_logits=disc_logits()))
    assert answer.logits.shape == (1, *SHAPE)
    assert np.isfinite(answer.logits).all()


def test_tracking_without_a_memory_is_refused(compact: CompactModel) -> None:
    with pytest.raises(ModelError, match="without a memory"):
        compact.track(compact.encode(view()), [])


def test_a_memory_of_another_region_is_refused(compact: CompactModel) -> None:
    memory = compact.remember(compact.encode(view()), disc_logits(), prompted=True)
    wide = compact.encode(np.zeros((32, 128, 3), np.float32))
    with pytest.raises(ModelError, match="same region"):
        compact.track(wide, [(1, memory)])


def test_a_mask_of_another_shape_is_refused(compact: CompactModel) -> None:
    with pytest.raises(PromptError):
        compact.remember(compact.encode(view()), np.zeros((3, 4), np.float32), prompted=True)
