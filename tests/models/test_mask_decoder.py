"""The mask decoder's own claims; `test_sam.py` compares it with an independent implementation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from voxsam.models.mask_decoder import MaskDecoder, enlarged
from voxsam.models.two_way import CrossAttention

torch.set_num_threads(1)


@pytest.fixture
def decoder() -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(channels=32, heads=4, hidden=64).eval().requires_grad_(False)


@pytest.fixture
def image() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 32, 5, 6, generator=generator), torch.randn(1, 32, 5, 6, generator=generator)


Image = tuple[torch.Tensor, torch.Tensor]


def test_one_answer_and_three_alternatives_are_four_masks(decoder: MaskDecoder, image: Image) -> None:
    tokens, maps = torch.randn(1, 3, 32), torch.randn(1, 32, 5, 6)
    one, one_score = decoder(*image, tokens, maps, multimask=False)
    three, three_scores = decoder(*image, tokens, maps, multimask=True)
    assert one.shape == (1, 1, 20, 24)
    assert three.shape == (1, 3, 20, 24)
    assert one_score.shape == (1, 1)
    assert three_scores.shape == (1, 3)
    every = torch.cat([one, three], dim=1)[0]
    assert all(not torch.equal(every[a], every[b]) for a in range(4) for b in range(a))


def test_several_prompts_on_one_image_are_answered_as_each_alone(decoder: MaskDecoder, image: Image) -> None:
    tokens, maps = torch.randn(4, 3, 32), torch.randn(4, 32, 5, 6)
    masks, scores = decoder(*image, tokens, maps, multimask=True)
    for i in range(4):
        alone = decoder(*image, tokens[i : i + 1], maps[i : i + 1], multimask=True)
        torch.testing.assert_close(masks[i : i + 1], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(scores[i : i + 1], alone[1], atol=1e-5, rtol=1e-5)


def test_no_prompt_tokens_at_all_is_still_an_answer(decoder: MaskDecoder, image: Image) -> None:
    masks, _ = decoder(*image, torch.zeros(1, 0, 32), torch.randn(1, 32, 5, 6), multimask=False)
    assert bool(masks.isfinite().all())


def test_the_order_of_clicks_does_not_matter(decoder: MaskDecoder, image: Image) -> None:
    tokens, maps = torch.randn(1, 3, 32), torch.randn(1, 32, 5, 6)
    forward, _ = decoder(*image, tokens, maps, multimask=True)
    backward, _ = decoder(*image, tokens.flip(1), maps, multimask=True)
    torch.testing.assert_close(forward, backward, atol=1e-5, rtol=1e-5)


def test_the_image_is_not_changed(decoder: MaskDecoder, image: Image) -> None:
    before = [tensor.clone() for tensor in image]
    decoder(*image, torch.randn(2, 3, 32), torch.randn(2, 32, 5, 6), multimask=True)
    assert all(torch.equal(a, b) for a, b in zip(before, image, strict=True))


@pytest.mark.parametrize("multimask", [False, True])
def test_masks_are_those_of_the_published_order_of_operations(
    decoder: MaskDecoder, image: Image, multimask: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, maps = torch.randn(2, 2, 32), torch.randn(2, 32, 5, 6)
    masks, scores = decoder(*image, tokens, maps, multimask=multimask)
    monkeypatch.setattr(CrossAttention, "_are_few", lambda self, tokens: False)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(2, -1, -1)
    cells, positions = ((part + 0 * maps).flatten(2).mT for part in (image[0] + maps, image[1]))
    tokens, cells = decoder.transformer(torch.cat([own, tokens], 1), cells, positions)
    upscaled = decoder.output_upscaling(cells.mT.reshape(2, 32, 5, 6))
    chosen = (1, 2, 3) if multimask else (0,)
    filters = torch.stack([decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in chosen], 1)
    expected = (filters @ upscaled.flatten(2)).view(masks.shape)
    torch.testing.assert_close(masks, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores, decoder.iou_prediction_head(tokens[:, 0])[:, chosen], atol=1e-5, rtol=1e-5)


def test_a_step_without_bias_is_enlarged_too() -> None:
    step = nn.ConvTranspose2d(3, 5, kernel_size=2, stride=2, bias=False)
    one = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(enlarged(step, one.view(1, 1, 3)).mT.view(1, 5, 2, 2), step(one))
