"""SAM's mask decoder: prompt tokens and image features look at one another; masks and their quality come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.layers import LayerNorm2d, PerceptronHead
from voxsam.models.products import linear, row_products
from voxsam.models.two_way import TwoWayTransformer

__all__ = ["MaskDecoder"]

ALTERNATIVES = 3  # masks for an ambiguous prompt, beside the one for a clear prompt


class MaskDecoder(nn.Module):
    """Decode masks from image features and encoded prompts.

    Parameters
    ----------
    channels : int
        Of tokens and image features.
    depth : int
        Two-way blocks.
    heads : int
    hidden : int
        Of the feed-forward in each block.

    Examples
    --------
    >>> import torch
    >>> decoder = MaskDecoder(channels=16, heads=2, hidden=32)
    >>> features, positions, maps = torch.zeros(3, 1, 16, 4, 4)
    >>> masks, scores = decoder(features, positions, torch.zeros(1, 2, 16), maps, multimask=True)
    >>> masks.shape, scores.shape
    (torch.Size([1, 3, 16, 16]), torch.Size([1, 3]))
    """

    def __init__(self, *, channels: int = 256, depth: int = 2, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(channels, depth=depth, heads=heads, hidden=hidden)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(1 + ALTERNATIVES, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            PerceptronHead(channels, channels, channels // 8, depth=3) for _ in range(1 + ALTERNATIVES)
        )
        self.iou_prediction_head = PerceptronHead(channels, channels, 1 + ALTERNATIVES, depth=3)

    def forward(
        self, features: Tensor, positions: Tensor, tokens: Tensor, maps: Tensor, *, multimask: bool | None
    ) -> tuple[Tensor, Tensor]:
        """Answer B sets of prompts on one image.

        Parameters
        ----------
        features : (1 or B, C, h, w) tensor
            Of the image.
        positions : (1, C, h, w) tensor
            Where each feature is.
        tokens : (B, N, C) tensor
        maps : (B, C, h, w) tensor
            From the prompt encoder.
        multimask : bool or None
            True: three alternatives for an ambiguous prompt. False: one answer. None: first that one, then those.

        Returns
        -------
        masks : (B, 1, 3 or 4, 4 * h, 4 * w) tensor
            Logits.
        scores : (B, 1, 3 or 4) tensor
            Predicted IoU.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])  # (5, C)
        tokens = torch.cat([own.expand(len(tokens), -1, -1), tokens], dim=1)
        image = features + maps
        grid = image.shape[2:]
        chosen = range(1 if multimask else 0, 1 if multimask is False else 1 + ALTERNATIVES)
        tokens, image = self.transformer(tokens, cells_of(image), cells_of(positions), answers=1 + chosen.stop)
        filters = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in chosen], dim=1)
        scores = self.iou_prediction_head(tokens[:, 0])
        return self._masks(image, filters, grid), scores[:, chosen.start : chosen.stop]

    def _masks(self, image: Tensor, filters: Tensor, grid: Sequence[int]) -> Tensor:
        """Enlarge cells ``(B, h * w, C)`` four times, and see where filters ``(B, M, C / 8)`` respond.

        A transposed convolution whose steps are as wide as its kernel is a matrix product for each cell. What becomes
        of a cell stays in one row until there is one number a mask and pixel, and only these are put in their places.
        """
        first, second = (cast("nn.ConvTranspose2d", self.output_upscaling[i]) for i in (0, 3))
        norm = cast("LayerNorm2d", self.output_upscaling[1])
        x = F.layer_norm(enlarged(first, image), norm.weight.shape, norm.weight, norm.bias, norm.eps)
        x = F.gelu(enlarged(second, F.gelu(x)))  # (B, h * w * 16, C / 8)
        responses = row_products(x, filters)
        (B, M, _), (h, w) = filters.shape, grid
        masks = responses.view(B, h, w, 2, 2, 2, 2, M).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return masks.reshape(B, M, 4 * h, 4 * w)


def cells_of(image: Tensor) -> Tensor:
    """Lay the cells of ``(B, C, h, w)`` in a row, ``(B, h * w, C)``; channels-last maps lie so already."""
    return image.flatten(2).transpose(1, 2).contiguous()


def enlarged(step: nn.ConvTranspose2d, cells: Tensor) -> Tensor:
    """Give each of ``(B, N, C)`` cells four, ``(B, 4 * N, c)``: a 2 x 2 transposed convolution with stride 2.

    Examples
    --------
    >>> step = nn.ConvTranspose2d(3, 5, kernel_size=2, stride=2)
    >>> one = torch.randn(1, 3, 1, 1)
    >>> torch.allclose(enlarged(step, one.view(1, 1, 3)).mT.view(1, 5, 2, 2), step(one), atol=1e-6)
    True
    """
    B, N, C = cells.shape
    weight = step.weight.permute(2, 3, 1, 0).reshape(-1, C)  # (4 * c, C)
    bias = None if step.bias is None else step.bias.repeat(4)
    return linear(cells, weight, bias).view(B, 4 * N, -1)
