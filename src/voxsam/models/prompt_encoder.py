"""SAM's prompt encoder: points, boxes and masks become tokens and a map of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from voxsam.models.layers import LayerNorm2d

__all__ = ["PromptEncoder"]

BACKGROUND, FOREGROUND, BOX_LOW, BOX_HIGH = range(4)  # rows of point_embeddings
PADDING = -1  # the label of a point that is not there


class PromptEncoder(nn.Module):
    """Encode prompts given in the pixels of the model's input.

    Parameters
    ----------
    input_size : int
        Side of the model's square input in pixels.
    grid : int
        Side of the image features.
    channels : int
        Of tokens and image features.
    mask_channels : int
        Between the convolutions that shrink a mask prompt.

    Examples
    --------
    >>> import torch
    >>> encoder = PromptEncoder(input_size=64, grid=4, channels=16)
    >>> clicks, labels = torch.tensor([[[10.0, 20.0]]]), torch.tensor([[1]])
    >>> tokens, maps = encoder(points=clicks, labels=labels)
    >>> tokens.shape, maps.shape  # the click and, as there is no box, a padding point
    (torch.Size([1, 2, 16]), torch.Size([1, 16, 4, 4]))
    """

    def __init__(self, *, input_size: int = 1024, grid: int = 64, channels: int = 256, mask_channels: int = 16) -> None:
        super().__init__()
        self.input_size = input_size
        self.grid = grid
        self.channels = channels
        self.pe_layer = PositionEncoding(channels // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, kernel_size=1),
        )

    @property
    def mask_side(self) -> int:
        """Side of a mask prompt, and of the decoder's masks."""
        return 4 * self.grid

    def forward(
        self,
        *,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode B sets of prompts; give any of them.

        Parameters
        ----------
        points : (B, N, 2) float tensor, optional
            x, y; whole numbers are pixel centres.
        labels : (B, N) int tensor, with `points`
            1 foreground, 0 background, -1 padding.
        boxes : (B, 4) float tensor, optional
            x, y of the low and the high corner.
        masks : (B, 1, mask_side, mask_side) float tensor, optional
            Logits.

        Returns
        -------
        tokens : (B, N, channels) tensor
        maps : (B, channels, grid, grid) tensor
        """
        tokens = []
        if points is not None and labels is not None:
            tokens.append(self._encode_points(points, labels, pad=boxes is None))
        if boxes is not None:
            tokens.append(self._encode_boxes(boxes))
        if masks is not None:
            maps: Tensor = self.mask_downscaling(masks)
        else:
            maps = self.no_mask_embed.weight[:, :, None, None].expand(-1, -1, self.grid, self.grid)
        batch = len(tokens[0]) if tokens else len(maps)
        empty = self.no_mask_embed.weight.new_zeros(batch, 0, self.channels)
        return torch.cat([*tokens, empty], dim=1), maps.expand(batch, -1, -1, -1)

    def image_positions(self) -> Tensor:
        """Encode the centre of every cell of the image features, ``(1, channels, grid, grid)``."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        centres = (torch.arange(self.grid, device=matrix.device, dtype=matrix.dtype) + 0.5) / self.grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        encoded: Tensor = self.pe_layer(torch.stack([x, y], dim=-1))  # (grid, grid, channels)
        return encoded.permute(2, 0, 1)[None]

    def _encode_points(self, points: Tensor, labels: Tensor, *, pad: bool) -> Tensor:
        if pad:  # a lone point comes with a point that is not there; a box needs none
            B = len(points)
            points = torch.cat([points, points.new_zeros(B, 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((B, 1), PADDING)], dim=1)
        tokens = self._encode_positions(points)  # (B, N, channels)
        kinds = torch.cat(
            [
                self.not_a_point_embed.weight,
                self._kind(BACKGROUND),
                self._kind(FOREGROUND),
            ]
        )
        there = (labels != PADDING)[..., None]
        return torch.where(there, tokens, 0.0) + kinds[labels + 1]

    def _encode_boxes(self, boxes: Tensor) -> Tensor:
        corners = self._encode_positions(boxes.view(-1, 2, 2))  # (B, 2, channels)
        return corners + torch.cat([self._kind(BOX_LOW), self._kind(BOX_HIGH)])

    def _kind(self, index: int) -> Tensor:
        weight: Tensor = self.point_embeddings.get_parameter(f"{index}.weight")
        return weight  # (1, channels)

    def _encode_positions(self, positions_xy: Tensor) -> Tensor:
        # half a pixel: whole numbers are pixel centres, and the unit square spans pixel edges
        encoded: Tensor = self.pe_layer((positions_xy + 0.5) / self.input_size)
        return encoded


class PositionEncoding(nn.Module):
    """Sines and cosines of random frequencies of a place in the unit square."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, frequencies))

    def forward(self, places_xy: Tensor) -> Tensor:
        """Encode ``(..., 2)`` places in 0..1 as ``(..., 2 * frequencies)``."""
        angles = 2 * math.pi * ((2 * places_xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
