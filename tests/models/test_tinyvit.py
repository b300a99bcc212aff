"""TinyViT's own claims; `test_parity.py` compares it with an independent implementation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from contracts.model_contract import PromptableModelContract
from independent_sam import random_weights
from sam_reference import TINY, card_of
from voxsam.models.base import Preprocessing, PromptableModel
from voxsam.models.sam import Sam, SamModel
from voxsam.models.tinyvit import ConvNorm, TinyViT, distances, fold_norms, mix_at_once, mix_by_head

torch.set_num_threads(1)

SIZES = {"widths": (8, 8, 16, 16), "depths": (1, 1, 2, 1), "heads": (1, 1, 2, 2), "windows": (3, 3, 5, 3)}


def tiny(input_size: int = 64, stem: int = 4) -> TinyViT:
    encoder = TinyViT(input_size=input_size, stem=stem, channels=32, **SIZES)  # type: ignore[arg-type]
    encoder.load_state_dict(random_weights(encoder.state_dict()))
    return encoder.eval()


@pytest.mark.parametrize(("input_size", "stem", "grid"), [(64, 4, 4), (128, 4, 8), (32, 1, 8), (1024, 4, 64)])
def test_the_result_lies_on_the_grid_that_is_told(input_size: int, stem: int, grid: int) -> None:
    encoder = tiny(input_size, stem)
    assert encoder.grid == grid
    if input_size <= 128:
        assert encoder(torch.zeros(2, 3, input_size, input_size)).shape == (2, 32, grid, grid)


def test_distances_are_numbered_by_rows_and_columns_apart() -> None:
    numbers = distances(3)
    assert numbers[0].tolist() == list(range(9))
    assert numbers[4].tolist() == [4, 3, 4, 1, 0, 1, 4, 3, 4]
    assert torch.equal(numbers, numbers.T)


def test_attention_is_the_same_by_head_and_at_once_and_that_of_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(5, 9, 2, 3, 4, generator=generator)
    terms = torch.randn(2, 9, 9, generator=generator)
    expected = torch.empty(5, 9, 2, 4)
    for window in range(5):
        for head in range(2):
            q, k, v = qkv[window, :, head].unbind(1)
            expected[window, :, head] = (q @ k.T / 4**0.5 + terms[head]).softmax(-1) @ v
    for mix in (mix_by_head, mix_at_once):
        torch.testing.assert_close(mix(qkv, terms), expected.flatten(2), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_folding_changes_nothing_but_the_names() -> None:
    encoder, image = tiny(), torch.randn(1, 3, 64, 64)
    before, names = encoder(image), encoder.state_dict().keys()
    fold_norms(encoder)
    torch.testing.assert_close(encoder(image), before, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(module, ConvNorm) for module in encoder.modules())
    assert not any("bn" in name for name in encoder.state_dict())
    fold_norms(encoder)  # nothing is left to fold
    assert any("bn" in name for name in names)


@torch.no_grad()
def test_a_batch_is_encoded_as_its_images_are() -> None:
    encoder, images = tiny(), torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(encoder(images), torch.cat([encoder(image[None]) for image in images]))


def test_it_can_be_trained_through() -> None:
    encoder = tiny()
    encoder(torch.randn(1, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in encoder.parameters())


def model_of(preprocessing: Preprocessing, stem: int = 4) -> SamModel:
    sam = Sam(preprocessing, encoder="tiny-vit", stem=stem, channels=32, **SIZES)
    sam.load_state_dict(random_weights(sam.state_dict()))
    fold_norms(sam)
    return SamModel(card_of(preprocessing), sam)


class TestTinyMobileSam(PromptableModelContract):
    """A small relative of mobile-sam."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        return model_of(TINY)


class TestTinyLiteMedSam(PromptableModelContract):
    """A small relative of lite-medsam."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        return model_of(Preprocessing(32, resampling="area", stretch="input", whole_prompts=True), stem=1)


class TestTinyMobileSamStretched(PromptableModelContract):
    """The same network, each channel of its views stretched as micro-sam does it."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        return model_of(replace(TINY, stretch="view"))
