"""The embedded default as ONNX graphs, asked as the published export of SAM is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.compact_network import CompactNetwork
from voxsam.models.compact_prompts import PromptBatch
from voxsam.models.onnx_graph import OnnxGraph

__all__ = ["CompactDecoderGraph", "CompactEncoderGraph", "compact_graphs"]

LOGIT_LIMIT = 20.0  # as in training


def compact_graphs(network: CompactNetwork, *, input_size: int, single_mask: bool) -> dict[str, OnnxGraph]:
    """Describe the graphs of a network.

    Parameters
    ----------
    network : CompactNetwork
    input_size : int
        To which the longer side of a view is resized.
    single_mask : bool
        Return the one answer alone.

    Returns
    -------
    dict of str to OnnxGraph
        ``"encoder"`` and ``"decoder"``.
    """
    encoder = CompactEncoderGraph(network)
    image = torch.zeros(1, 3, input_size, input_size - 64)
    with torch.no_grad():
        features = network.encoder(image)
    named = {f"image_embeddings.{name}": feature for name, feature in features.items()}
    axes = {name: {2: f"{name}.height", 3: f"{name}.width"} for name in named}
    size = input_size / 2
    asked = {
        **named,
        "point_coords": torch.tensor([[[size, size], [size / 2, size / 2], [0.0, 0.0]]]),
        "point_labels": torch.tensor([[1.0, 0.0, -1.0]]),
        "mask_input": torch.zeros(1, 1, *(2 * side for side in features["quarter"].shape[2:])),
        "has_mask_input": torch.ones(1),
        "orig_im_size": torch.tensor([float(2 * input_size), float(2 * input_size - 128)]),
    }
    count, mask = {1: "num_points"}, {2: "mask_height", 3: "mask_width"}
    free = {
        **axes,
        "point_coords": count,
        "point_labels": count,
        "mask_input": mask,
        "masks": {2: "height", 3: "width"},
        "low_res_masks": mask,
    }
    decoder = CompactDecoderGraph(network, tuple(features), input_size=input_size, single_mask=single_mask)
    return {
        "encoder": OnnxGraph(encoder, {"image": image}, list(named), {"image": {2: "height", 3: "width"}, **axes}),
        "decoder": OnnxGraph(decoder, asked, ["masks", "iou_predictions", "low_res_masks"], free),
    }


class CompactEncoderGraph(nn.Module):
    """An image of 0..1 to the maps of its embedding, in the order of `CompactNetwork.encoder`.

    Parameters
    ----------
    network : CompactNetwork
    """

    def __init__(self, network: CompactNetwork) -> None:
        super().__init__()
        self.encoder = network.encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode (1, 3, h, w), resized, and padded with zeros to multiples of 16."""
        return tuple(self.encoder(image).values())


class CompactDecoderGraph(nn.Module):
    """An embedding and prompts to masks on the image's own pixels.

    Parameters
    ----------
    network : CompactNetwork
    names : sequence of str
        Of the embedding's maps, in the order in which they are given.
    input_size : int
    single_mask : bool
    """

    def __init__(self, network: CompactNetwork, names: Sequence[str], *, input_size: int, single_mask: bool) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(names)
        self.input_size = input_size
        self.single_mask = single_mask

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer one set of prompts.

        Parameters
        ----------
        *inputs : tensor
            The maps of the embedding, then ``point_coords``, ``point_labels``, ``mask_input``, ``has_mask_input`` and
            ``orig_im_size`` as `sam_export.SamDecoderGraph` takes them; a mask has half the sides of the input.

        Returns
        -------
        masks : (1, M, H, W) tensor
        iou_predictions : (1, M) tensor
        low_res_masks : (1, M, h / 2, w / 2) tensor
        """
        features = dict(zip(self.names, inputs, strict=False))
        coords, labels, mask, has_mask, size = inputs[len(self.names) :]
        scale = self.input_size / size.max()
        centres = coords + (scale - 1) / 2  # where whole numbers are pixel centres before and after resizing
        kinds = labels.long()
        low, high = ((centres * (kinds == corner)[..., None]).sum(1) for corner in (2, 3))
        asked = PromptBatch(
            points_xy=centres[:, None],
            point_labels=torch.where((kinds == 0) | (kinds == 1), kinds, torch.full_like(kinds, -1))[:, None],
            boxes_xyxy=torch.cat([low, high], -1)[:, None],
            has_box=(kinds == 2).any(1)[:, None],
            mask_logits=mask.clamp(-LOGIT_LIMIT, LOGIT_LIMIT),
            has_mask=(has_mask > 0)[:, None],
        )
        answers, scores = self.network.decode(features, asked)
        low_res, quality = answers[:, 0].float(), scores[:, 0].float()
        if self.single_mask:
            low_res, quality = low_res[:, :1], quality[:, :1]
        resized = torch.floor(size * scale + 0.5).long().clamp_min(1)
        full = F.interpolate(low_res, scale_factor=2.0, mode="bilinear", align_corners=False)
        shape = (size[0].long(), size[1].long())
        cut = full[..., : resized[0], : resized[1]]
        masks = F.interpolate(cut, shape, mode="bilinear", align_corners=False)  # type: ignore[arg-type]  # traced
        return masks, quality, low_res
