from __future__ import annotations

import pytest
import torch
from torch import Tensor

from voxsam.models.two_way import CrossAttention, TwoWayTransformer

torch.set_num_threads(1)


def test_attention_is_that_of_the_definition() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(8, 4, heads=2)
    query, key, value = torch.randn(1, 3, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    q, k, v = attention.q_proj(query)[0], attention.k_proj(key)[0], attention.v_proj(value)[0]
    heads = [(q[:, part] @ k[:, part].T / 2**0.5).softmax(-1) @ v[:, part] for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(attention(query, key, value)[0], attention.out_proj(torch.cat(heads, dim=1)))


@pytest.fixture
def attention() -> CrossAttention:
    torch.manual_seed(0)
    return CrossAttention(32, 16, heads=2).requires_grad_(False)


def sequences(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(3, tokens, 32), torch.randn(3, 20, 32), torch.randn(3, 20, 32)


@pytest.mark.parametrize("count", [1, 7, 8, 30])  # from 8 tokens on, the definition is the shorter way
def test_a_look_is_the_attention_of_the_definition(attention: CrossAttention, count: int) -> None:
    tokens, placed, image = sequences(count)
    torch.testing.assert_close(
        attention.look(tokens, placed, image), attention(tokens, placed, image), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("count", [1, 7, 8, 30])
def test_what_is_shown_is_added_to_the_image(attention: CrossAttention, count: int) -> None:
    tokens, placed, image = sequences(count)
    keys = tokens.flip(0)
    torch.testing.assert_close(
        attention.show(image, placed, keys, tokens), image + attention(placed, keys, tokens), atol=1e-5, rtol=1e-5
    )


def test_large_scores_overflow_nowhere(attention: CrossAttention) -> None:
    tokens, placed, image = sequences(2)
    assert bool(attention.look(1e4 * tokens, 1e4 * placed, image).isfinite().all())
    assert bool(attention.show(image, 1e4 * placed, 1e4 * tokens, tokens).isfinite().all())


def test_tokens_that_nobody_asks_for_change_nothing_in_the_others() -> None:
    torch.manual_seed(0)
    transformer = TwoWayTransformer(32, depth=2, heads=2, hidden=64).requires_grad_(False)
    tokens, image, positions = torch.randn(1, 6, 32), torch.randn(1, 20, 32), torch.randn(1, 20, 32)
    every, shown = transformer(tokens, image, positions)
    some, same = transformer(tokens, image, positions, answers=2)
    torch.testing.assert_close(some, every[:, :2])
    assert torch.equal(shown, same)
