"""SAM as ONNX graphs, under the names of the export published with it, so that programs made for that run these."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from voxsam.models.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from voxsam.models.sam import Sam

__all__ = ["SamDecoderGraph", "SamEncoderGraph", "sam_graphs"]

SEVERAL = 1000.0  # more than any score: decides between the one answer and the alternatives


def sam_graphs(sam: Sam, *, resize: str, single_mask: bool) -> dict[str, OnnxGraph]:
    """Describe the graphs of a network.

    Parameters
    ----------
    sam : Sam
    resize : {"longest_side", "squash"}
        How views are brought to the model's size.
    single_mask : bool
        Return one mask, the three alternatives' best where one point asked.

    Returns
    -------
    dict of str to OnnxGraph
        ``"encoder"`` and ``"decoder"``.
    """
    side, grid, channels = sam.input_size, sam.prompt_encoder.grid, sam.prompt_encoder.channels
    free = {} if resize == "squash" else {"image": {2: "height", 3: "width"}}
    image = torch.zeros(1, 3, side, side if resize == "squash" else side - 16)
    asked = {
        "image_embeddings": torch.zeros(1, channels, grid, grid),
        "point_coords": torch.tensor([[[side / 2, side / 3], [side / 4, side / 4], [0.0, 0.0]]]),
        "point_labels": torch.tensor([[1.0, 0.0, -1.0]]),
        "mask_input": torch.zeros(1, 1, 4 * grid, 4 * grid),
        "has_mask_input": torch.ones(1),
        "orig_im_size": torch.tensor([float(side // 2), float(side)]),
    }
    outputs = ["masks", "iou_predictions", "low_res_masks"]
    axes = {"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}}
    out_axes = {"masks": {2: "height", 3: "width"}}
    return {
        "encoder": OnnxGraph(SamEncoderGraph(sam), {"image": image}, ["image_embeddings"], free),
        "decoder": OnnxGraph(
            SamDecoderGraph(sam, resize=resize, single_mask=single_mask), asked, outputs, {**axes, **out_axes}
        ),
    }


class SamEncoderGraph(nn.Module):
    """An image of 0..255, resized as the checkpoint has it, to its embedding.

    Parameters
    ----------
    sam : Sam
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> Tensor:
        """Normalise (1, 3, h, w), pad it to the square, and encode it."""
        features: Tensor = self.sam.image_encoder(self.sam.preprocess(image))
        return features


class SamDecoderGraph(nn.Module):
    """An embedding and prompts to masks on the image's own pixels.

    Parameters
    ----------
    sam : Sam
    resize : {"longest_side", "squash"}
    single_mask : bool
    """

    positions: Tensor

    def __init__(self, sam: Sam, *, resize: str, single_mask: bool) -> None:
        super().__init__()
        self.sam = sam
        self.resize = resize
        self.single_mask = single_mask
        self.register_buffer("positions", sam.prompt_encoder.image_positions().detach())

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Answer one set of prompts.

        Parameters
        ----------
        image_embeddings : (1, C, h, w) tensor
        point_coords : (1, N, 2) tensor
            x, y in pixels of the model's input: positions on the image times the scale it was resized by.
        point_labels : (1, N) tensor
            1 foreground, 0 background, 2 and 3 the low and high corner of a box, -1 padding; prompts without a box
            end with a padding point.
        mask_input : (1, 1, 4 h, 4 w) tensor
            Earlier ``low_res_masks``.
        has_mask_input : (1,) tensor
            1 if that counts, else 0.
        orig_im_size : (2,) tensor
            Height and width of the image.

        Returns
        -------
        masks : (1, M, H, W) tensor
            Logits; the one answer and the three alternatives, or one mask.
        iou_predictions : (1, M) tensor
        low_res_masks : (1, M, 4 h, 4 w) tensor
        """
        tokens = self._tokens(point_coords, point_labels)
        prompts = self.sam.prompt_encoder
        drawn = prompts.mask_downscaling(mask_input) - prompts.no_mask_embed.weight[:, :, None, None]
        maps = prompts.no_mask_embed.weight[:, :, None, None] + has_mask_input * drawn
        masks, scores = self.sam.mask_decoder(image_embeddings, self.positions, tokens, maps, multimask=None)
        if self.single_mask:
            masks, scores = self._best(masks, scores, point_coords.shape[1])
        full = self.sam.postprocess(masks, resized=sides(self._resized(orig_im_size)), image_shape=sides(orig_im_size))
        return full, scores, masks

    def _tokens(self, coords: Tensor, labels: Tensor) -> Tensor:
        prompts = self.sam.prompt_encoder
        kinds = torch.cat([prompts.not_a_point_embed.weight, *prompts.point_embeddings.parameters()])
        places: Tensor = prompts.pe_layer((coords + 0.5) / prompts.input_size)
        there = (labels != -1).to(places.dtype)[..., None]
        return places * there + kinds[labels.long() + 1]

    @staticmethod
    def _best(masks: Tensor, scores: Tensor, points: int) -> tuple[Tensor, Tensor]:
        """Take the one answer where several points asked, else the best alternative; a padding point counts."""
        first = torch.zeros_like(scores)
        first[:, 0] = SEVERAL
        best = (scores + (points - 2.5) * first).argmax(1)
        return masks[:, best], scores[:, best]

    def _resized(self, size: Tensor) -> Tensor:
        side = self.sam.input_size
        if self.resize == "squash":
            return torch.full_like(size, side).long()
        return torch.floor(size * (side / size.max()) + 0.5).long()


def sides(shape: Tensor) -> tuple[int, int]:
    """Return height and width; while a graph is written they stand for what will be given to it."""
    height, width = shape.long().unbind()
    return cast("int", height), cast("int", width)
