"""SAM's mask decoder: prompt tokens and image features look at one another; masks and their quality come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.layers import FeedForward, LayerNorm2d, PerceptronHead

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
        self, features: Tensor, positions: Tensor, tokens: Tensor, maps: Tensor, *, multimask: bool
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
        multimask : bool
            True: three alternatives for an ambiguous prompt. False: one answer.

        Returns
        -------
        masks : (B, 1 or 3, 4 * h, 4 * w) tensor
            Logits.
        scores : (B, 1 or 3) tensor
            Predicted IoU.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])  # (5, C)
        tokens = torch.cat([own.expand(len(tokens), -1, -1), tokens], dim=1)
        image = features + maps
        B, C, H, W = image.shape
        tokens, image = self.transformer(tokens, image.flatten(2).transpose(1, 2), positions.flatten(2).transpose(1, 2))
        upscaled = self.output_upscaling(image.transpose(1, 2).reshape(B, C, H, W))  # (B, C / 8, 4 * H, 4 * W)
        chosen = range(1, 1 + ALTERNATIVES) if multimask else range(1)
        filters = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in chosen], dim=1)
        masks = (filters @ upscaled.flatten(2)).view(B, len(chosen), 4 * H, 4 * W)
        scores = self.iou_prediction_head(tokens[:, 0])
        return masks, scores[:, chosen.start : chosen.stop]


class TwoWayTransformer(nn.Module):
    """Blocks in which tokens look at the image and the image looks at the tokens, then a last look at the image."""

    def __init__(self, width: int, *, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, heads=heads, hidden=hidden, first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = CrossAttention(width, width // 2, heads=heads)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, image: Tensor, image_positions: Tensor) -> tuple[Tensor, Tensor]:
        token_positions = tokens  # what a token was asked goes with it all the way
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_positions, image_positions)
        looked = self.final_attn_token_to_image(tokens + token_positions, image + image_positions, image)
        return self.norm_final_attn(tokens + looked), image


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens to image, feed-forward on tokens, image to tokens."""

    def __init__(self, width: int, *, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = CrossAttention(width, width, heads=heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = CrossAttention(width, width // 2, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, hidden, activation="relu")
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = CrossAttention(width, width // 2, heads=heads)

    def forward(
        self, tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # tokens are still their own positions: neither add them, nor keep what was there
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_positions
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        placed_image = image + image_positions
        looked = self.cross_attn_token_to_image(tokens + token_positions, placed_image, image)
        tokens = self.norm2(tokens + looked)
        tokens = self.norm3(tokens + self.mlp(tokens))
        shown = self.cross_attn_image_to_token(placed_image, tokens + token_positions, tokens)
        return tokens, self.norm4(image + shown)


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another, in an inner width of its own."""

    def __init__(self, width: int, inner: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = self._split(self.q_proj(query)), self._split(self.k_proj(key)), self._split(self.v_proj(value))
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, inner / heads)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        return x.view(B, N, self.heads, C // self.heads).transpose(1, 2)
