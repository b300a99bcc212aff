"""The prompt encoder's own claims; `test_sam.py` compares it with an independent implementation."""

from __future__ import annotations

import pytest
import torch

from voxsam.models.prompt_encoder import PromptEncoder

torch.set_num_threads(1)


@pytest.fixture
def encoder() -> PromptEncoder:
    torch.manual_seed(0)
    return PromptEncoder(input_size=64, grid=4, channels=16).requires_grad_(False)


def test_each_kind_of_prompt_gives_its_tokens_and_maps(encoder: PromptEncoder) -> None:
    points, labels = torch.rand(2, 3, 2) * 64, torch.tensor([[1, 0, 1], [0, 0, 1]])
    boxes, masks = torch.rand(2, 4) * 64, torch.randn(2, 1, 16, 16)
    for given, count in (
        ({"points": points, "labels": labels}, 4),  # and one padding point
        ({"boxes": boxes}, 2),
        ({"points": points, "labels": labels, "boxes": boxes}, 5),
        ({"masks": masks}, 0),
        ({"points": points, "labels": labels, "boxes": boxes, "masks": masks}, 5),
    ):
        tokens, maps = encoder(**given)
        assert tokens.shape == (2, count, 16)
        assert maps.shape == (2, 16, 4, 4)


def test_no_mask_is_one_vector_everywhere(encoder: PromptEncoder) -> None:
    _, maps = encoder(boxes=torch.zeros(1, 4))
    assert torch.equal(maps, encoder.no_mask_embed.weight[:, :, None, None].expand(1, 16, 4, 4))


def test_a_padding_point_is_the_same_wherever_it_lies(encoder: PromptEncoder) -> None:
    tokens, _ = encoder(points=torch.tensor([[[3.0, 9.0], [50.0, 2.0]]]), labels=torch.tensor([[-1, -1]]))
    for token in tokens[0]:
        torch.testing.assert_close(token, encoder.not_a_point_embed.weight[0])


def test_a_box_is_its_two_corners(encoder: PromptEncoder) -> None:
    corners = torch.tensor([[[3.0, 9.0], [50.0, 60.0]]])
    tokens, _ = encoder(boxes=corners.view(1, 4))
    points, _ = encoder(points=corners, labels=torch.tensor([[0, 1]]))
    kinds = [embedding.weight[0] for embedding in encoder.point_embeddings]
    torch.testing.assert_close(tokens[0, 0] - kinds[2], points[0, 0] - kinds[0])
    torch.testing.assert_close(tokens[0, 1] - kinds[3], points[0, 1] - kinds[1])


def test_a_click_at_the_centre_of_a_cell_has_the_cells_own_position(encoder: PromptEncoder) -> None:
    # cells are 16 pixels wide, so the centre of the second column's is the edge between pixels 23 and 24
    tokens, _ = encoder(points=torch.tensor([[[23.5, 39.5]]]), labels=torch.tensor([[1]]))
    position = tokens[0, 0] - encoder.point_embeddings[1].weight[0]
    torch.testing.assert_close(position, encoder.image_positions()[0, :, 2, 1], atol=1e-5, rtol=1e-5)


def test_prompts_of_a_batch_do_not_mix(encoder: PromptEncoder) -> None:
    masks = torch.randn(3, 1, 16, 16)
    boxes = torch.rand(3, 4) * 64
    tokens, maps = encoder(boxes=boxes, masks=masks)
    for i in range(3):
        alone = encoder(boxes=boxes[i : i + 1], masks=masks[i : i + 1])
        torch.testing.assert_close(tokens[i : i + 1], alone[0])
        torch.testing.assert_close(maps[i : i + 1], alone[1])
