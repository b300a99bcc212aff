"""The mask decoder's own claims; `test_sam.py` compares it with an independent implementation."""

from __future__ import annotations

import pytest
import torch

from voxsam.models.mask_decoder import CrossAttention, MaskDecoder

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


def test_attention_is_that_of_the_definition() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(8, 4, heads=2)
    query, key, value = torch.randn(1, 3, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    q, k, v = attention.q_proj(query)[0], attention.k_proj(key)[0], attention.v_proj(value)[0]
    heads = [(q[:, part] @ k[:, part].T / 2**0.5).softmax(-1) @ v[:, part] for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(attention(query, key, value)[0], attention.out_proj(torch.cat(heads, dim=1)))
