"""The plain vision transformer that encodes a view in SAM: windows, a few global blocks, relative positions."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from voxsam.models.layers import FeedForward, LayerNorm2d, PatchEmbed
from voxsam.models.windows import join_windows, split_windows

__all__ = ["ImageEncoder"]

#: Attention scores held at once. 6 Mi floats are 24 MiB: glibc keeps blocks under 32 MiB, and gives larger ones back
#: to the kernel, which then faults every page in anew (twice the time). Elsewhere, fewer and larger steps are better.
SCORES_AT_ONCE_CPU = 6 * 2**20
SCORES_AT_ONCE = 2**28


class ImageEncoder(nn.Module):
    """Encode a square image into a grid of features.

    Most blocks attend within windows; a few attend over the whole grid. Parameters are named as in the published
    ``sam_vit_*`` files, so their state dicts load as they are.

    Parameters
    ----------
    input_size : int
        Side of the image in pixels.
    patch : int
        Side of a patch in pixels.
    width : int
        Of a token.
    depth : int
        Blocks.
    heads : int
        Attention heads in each block.
    global_blocks : collection of int
        The blocks that attend over the whole grid.
    window : int
        Side of a window in patches.
    channels : int
        Of the result.

    Examples
    --------
    >>> import torch
    >>> encoder = ImageEncoder(input_size=64, width=32, depth=2, heads=2, global_blocks=(1,), window=3, channels=16)
    >>> encoder(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 16, 4, 4])
    """

    def __init__(
        self,
        *,
        input_size: int = 1024,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        global_blocks: Collection[int] = (2, 5, 8, 11),
        window: int = 14,
        channels: int = 256,
    ) -> None:
        super().__init__()
        self.grid = grid = input_size // patch  # side of the result
        self.patch_embed = PatchEmbed(patch, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        self.blocks = nn.ModuleList(
            EncoderBlock(width, heads, grid=grid, window=0 if index in global_blocks else window)
            for index in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, channels, kernel_size=1, bias=False),
            LayerNorm2d(channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode ``(B, 3, input_size, input_size)`` into ``(B, channels, grid, grid)``."""
        x = self.patch_embed(image) + self.pos_embed  # (B, grid, grid, width)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return features


class EncoderBlock(nn.Module):
    """Attention and a feed-forward, each normalised before and added after; `window` 0 attends over the whole grid."""

    def __init__(self, width: int, heads: int, *, grid: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = GridAttention(width, heads, side=window or grid)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window:
            return self.attn(x)  # type: ignore[no-any-return]
        return join_windows(self.attn(split_windows(x, self.window)), (x.shape[1], x.shape[2]))


class GridAttention(nn.Module):
    """Multi-head self-attention on a square grid, with a learnt term for each relative row and column."""

    def __init__(self, width: int, heads: int, *, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        qkv = self.qkv(x).reshape(B, H * W, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, B * self.heads, H * W, C // self.heads)
        row_terms = torch.einsum("brcd,rkd->brck", q.view(-1, H, W, q.shape[-1]), relative(self.rel_pos_h, H))
        column_terms = torch.einsum("brcd,ckd->brck", q.view(-1, H, W, q.shape[-1]), relative(self.rel_pos_w, W))
        mixed = self._mix(q, k, v, row_terms, column_terms)  # (B * heads, H * W, C / heads)
        mixed = mixed.view(B, self.heads, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, C)
        return self.proj(mixed)  # type: ignore[no-any-return]

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, row_terms: Tensor, column_terms: Tensor) -> Tensor:
        """Softmax attention, a few rows of queries at a time: all scores of a 64 x 64 grid would be 64 MiB a head."""
        N, H, W, _ = row_terms.shape
        k = (k * k.shape[-1] ** -0.5).transpose(-2, -1)  # (N, C / heads, H * W)
        at_once = SCORES_AT_ONCE_CPU if q.device.type == "cpu" else SCORES_AT_ONCE
        rows = max(1, at_once // (N * W * H * W))
        parts = []
        for start in range(0, H, rows):
            chunk = slice(start, start + rows)
            scores = (q[:, start * W : (start + rows) * W] @ k).view(N, -1, W, H, W)  # (N, rows, W, H, W)
            scores += row_terms[:, chunk, :, :, None]
            scores += column_terms[:, chunk, :, None, :]
            parts.append(scores.view(N, -1, H * W).softmax(-1) @ v)
        return torch.cat(parts, dim=1)


def relative(positions: Tensor, side: int) -> Tensor:
    """Take the vectors of all pairs of a query's and a key's place, ``(side, side, C)``, from ``(2 * side - 1, C)``."""
    places = torch.arange(side, device=positions.device)
    return positions[places[:, None] - places[None, :] + side - 1]
