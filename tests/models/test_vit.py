"""The image encoder's own claims; `test_sam.py` compares it with an independent implementation."""

from __future__ import annotations

import pytest
import torch

from voxsam.models import vit
from voxsam.models.vit import GridAttention, ImageEncoder, relative

torch.set_num_threads(1)


def test_relative_positions_depend_on_the_difference_of_places_only() -> None:
    vectors = relative(torch.arange(7.0)[:, None], 4)[..., 0]
    assert vectors.shape == (4, 4)
    places = torch.arange(4)
    assert torch.equal(vectors, (places[:, None] - places[None, :] + 3).float())


@pytest.fixture
def attention() -> GridAttention:
    torch.manual_seed(0)
    block = GridAttention(24, 3, side=6)
    torch.nn.init.normal_(block.rel_pos_h)
    torch.nn.init.normal_(block.rel_pos_w)
    return block


def test_attention_is_that_of_the_definition(attention: GridAttention) -> None:
    x = torch.randn(2, 6, 6, 24)
    expected = torch.empty(2, 6, 6, 24)
    q, k, v = attention.qkv(x).reshape(2, 36, 3, 3, 8).unbind(2)  # each (B, H * W, heads, 8)
    for b in range(2):
        for head in range(3):
            scores = q[b, :, head] @ k[b, :, head].T / 8**0.5
            for i in range(36):
                for j in range(36):
                    rows, columns = i // 6 - j // 6 + 5, i % 6 - j % 6 + 5
                    scores[i, j] += q[b, i, head] @ (attention.rel_pos_h[rows] + attention.rel_pos_w[columns])
            expected[b].view(36, 3, 8)[:, head] = scores.softmax(-1) @ v[b, :, head]
    torch.testing.assert_close(attention(x), attention.proj(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 6])
def test_attention_does_not_depend_on_how_many_rows_are_done_at_once(
    attention: GridAttention, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 6, 6, 24)
    whole = attention(x)
    monkeypatch.setattr(vit, "SCORES_AT_ONCE_CPU", rows * 2 * 3 * 6 * 36)
    torch.testing.assert_close(attention(x), whole, atol=1e-6, rtol=1e-6)


def test_attention_can_be_trained_through(attention: GridAttention, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "SCORES_AT_ONCE_CPU", 1)
    attention(torch.randn(1, 6, 6, 24)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in attention.parameters())


def test_only_global_blocks_see_beyond_their_window() -> None:
    def reach(global_blocks: tuple[int, ...]) -> torch.Tensor:
        torch.manual_seed(0)
        encoder = ImageEncoder(
            input_size=128, width=16, depth=1, heads=2, global_blocks=global_blocks, window=4, channels=8
        ).eval()
        encoder.neck = torch.nn.Identity()  # type: ignore[assignment]
        image = torch.zeros(1, 3, 128, 128)
        changed = image.clone()
        changed[..., :16, :16] = 1  # the first patch
        with torch.no_grad():
            return (encoder(changed) - encoder(image)).abs().amax(dim=1)[0] > 1e-7

    within = torch.zeros(8, 8, dtype=torch.bool)
    within[:4, :4] = True
    assert torch.equal(reach(()), within)
    assert bool(reach((0,)).all())


def test_a_batch_is_encoded_as_its_images_are() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(input_size=64, width=16, depth=2, heads=2, global_blocks=(1,), window=3, channels=8).eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), torch.cat([encoder(image[None]) for image in images]))
