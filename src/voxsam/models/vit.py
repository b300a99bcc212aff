"""The plain vision transformer that encodes a view in SAM: windows, a few global blocks, relative positions."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from voxsam.models.layers import FeedForward, LayerNorm2d, PatchEmbed
from voxsam.models.products import Linear, PixelLinear, row_products
from voxsam.models.windows import join_windows, split_windows

__all__ = ["ImageEncoder"]

#: Attention scores held at once: on a CPU what its caches hold, elsewhere larger steps are better.
SCORES_AT_ONCE_CPU = 2**20
SCORES_AT_ONCE = 2**28
#: The same where a graph is written, which has every step in it.
SCORES_AT_ONCE_TRACED = 6 * 2**20


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
            PixelLinear(width, channels, kernel_size=1, bias=False),
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
        shape = x.shape  # (B, H, W, C)
        x = x.flatten(1, 2)  # runtimes take four axes for a picture's, and would reorder them around each normalisation
        x = x + self._attend(self.norm1(x).view(shape)).flatten(1, 2)
        x = x + self.mlp(self.norm2(x))
        return x.view(shape)

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window:
            return self.attn(x)  # type: ignore[no-any-return]
        return self.attn.within_windows(x, self.window)


class GridAttention(nn.Module):
    """Multi-head self-attention on a square grid, with a learnt term for each relative row and column."""

    def __init__(self, width: int, heads: int, *, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the whole of ``(B, H, W, C)``."""
        return self.proj(self._attend(self.qkv(x)))  # type: ignore[no-any-return]

    def within_windows(self, x: Tensor, window: int) -> Tensor:
        """Attend within windows of ``(B, H, W, C)``; those at the right and bottom edge see zeros beyond it.

        Zeros have the bias as their query, key and value: nothing needs to be multiplied for them.
        """
        _, H, W, _ = x.shape
        qkv = self.qkv(x)
        beyond = self.qkv.bias.expand(qkv.shape[0], H, -W % window, -1)
        qkv = torch.cat([qkv, beyond], dim=2)
        below = self.qkv.bias.expand(qkv.shape[0], -H % window, qkv.shape[2], -1)
        mixed = self._attend(split_windows(torch.cat([qkv, below], dim=1), window))
        return self.proj(join_windows(mixed, (H, W)))  # type: ignore[no-any-return]

    def _attend(self, qkv: Tensor) -> Tensor:
        """Mix ``(B, H, W, 3 * C)`` queries, keys and values to ``(B, H, W, C)``."""
        B, H, W, _ = qkv.shape
        split = qkv.view(B, H * W, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4).contiguous().view(3, B * self.heads, H * W, -1)
        grid = q.view(-1, H, W, q.shape[-1])
        row_terms = grid @ relative(self.rel_pos_h, H).transpose(1, 2)  # (B * heads, H, W, H)
        column_terms = (grid.transpose(1, 2) @ relative(self.rel_pos_w, W).transpose(1, 2)).transpose(1, 2)
        mixed = mix(q, k, v, row_terms, column_terms)  # (B * heads, H * W, C / heads)
        return mixed.view(B, self.heads, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, -1)


def mix(q: Tensor, k: Tensor, v: Tensor, row_terms: Tensor, column_terms: Tensor) -> Tensor:
    """Softmax attention over a grid, a few heads and rows of queries at a time.

    All scores of a 64 x 64 grid would be 64 MiB a head. A part that stays in the cache is also passed over faster.

    Parameters
    ----------
    q, k, v : (N, H * W, C) tensor
        Of each head and image.
    row_terms : (N, H, W, H) tensor
        Added to the scores of each query for each row of keys.
    column_terms : (N, H, W, W) tensor
        Likewise for each column.

    Returns
    -------
    (N, H * W, C) tensor
    """
    N, H, W, _ = row_terms.shape
    k = k * k.shape[-1] ** -0.5
    at_once = scores_at_once(q.device)
    rows = min(H, max(1, at_once // (W * H * W)))
    heads = min(N, max(1, at_once // (rows * W * H * W)))
    mixed = []
    for head in range(0, N, heads):
        part = slice(head, head + heads)
        steps = [(part, slice(row, row + rows)) for row in range(0, H, rows)]
        done = [_mix_part(q, k, v, row_terms, column_terms, *step) for step in steps]
        mixed.append(torch.cat(done, dim=1) if len(done) > 1 else done[0])
    return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


def _mix_part(
    q: Tensor, k: Tensor, v: Tensor, row_terms: Tensor, column_terms: Tensor, heads: slice, rows: slice
) -> Tensor:
    n, _, W, H = row_terms[heads].shape
    queries = q[heads].view(n, H, W, -1)[:, rows].flatten(1, 2)  # (n, rows * W, C)
    scores = row_products(queries, k[heads]).view(n, -1, W, H, W)  # (n, rows, W, H, W)
    scores += row_terms[heads, rows, :, :, None]
    scores += column_terms[heads, rows, :, None, :]
    return row_products(scores.view(n, -1, H * W).softmax(-1), v[heads].transpose(1, 2))


def scores_at_once(device: torch.device) -> int:
    """Say how many attention scores to hold at a time."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return SCORES_AT_ONCE_TRACED
    return SCORES_AT_ONCE_CPU if device.type == "cpu" else SCORES_AT_ONCE


def relative(positions: Tensor, side: int) -> Tensor:
    """Take the vectors of all pairs of a query's and a key's place, ``(side, side, C)``, from ``(2 * side - 1, C)``."""
    places = torch.arange(side, device=positions.device)
    return positions[places[:, None] - places[None, :] + side - 1]
