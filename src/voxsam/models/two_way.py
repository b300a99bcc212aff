"""Tokens and image look at one another: the transformer in SAM's mask decoder.

A prompt is a few tokens, the image a few thousand cells. Attention projects queries, keys and values before it compares
and mixes them; products of matrices may be taken in another order, and here the projections of the image are taken to
the tokens' side, where they cost next to nothing. The result is the same but for rounding, in half the arithmetic.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.layers import FeedForward
from voxsam.models.products import Linear, row_products

__all__ = ["CrossAttention", "TwoWayTransformer"]


class TwoWayTransformer(nn.Module):
    """Blocks in which tokens look at the image and the image looks at the tokens, then a last look at the image.

    Parameters
    ----------
    width : int
        Of tokens and cells.
    depth : int
        Blocks.
    heads : int
    hidden : int
        Of the feed-forward in each block.
    """

    def __init__(self, width: int, *, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, heads=heads, hidden=hidden, first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = CrossAttention(width, width // 2, heads=heads)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, image: Tensor, image_positions: Tensor, *, answers: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Let tokens and image look at one another.

        Parameters
        ----------
        tokens : (B, T, C) tensor
        image : (B, L, C) tensor
        image_positions : (1, L, C) tensor
        answers : int, optional
            How many of the first tokens are of use afterwards; the last look is theirs alone.

        Returns
        -------
        tokens : (B, answers, C) tensor
        image : (B, L, C) tensor
        """
        token_positions = tokens  # what a token was asked goes with it all the way
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_positions, image_positions)
        tokens, token_positions = tokens[:, :answers], token_positions[:, :answers]
        placed = tokens + token_positions
        looked = self.final_attn_token_to_image.look(placed, image + image_positions, image)
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
        looked = self.cross_attn_token_to_image.look(tokens + token_positions, placed_image, image)
        tokens = self.norm2(tokens + looked)
        tokens = self.norm3(tokens + self.mlp(tokens))
        shown = self.cross_attn_image_to_token.show(image, placed_image, tokens + token_positions, tokens)
        return tokens, self.norm4(shown)


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another, in an inner width of its own.

    `forward` is the definition. `look` and `show` give the same for a few tokens and a large image.

    Parameters
    ----------
    width : int
        Of both sequences.
    inner : int
        Of queries, keys and values, heads together.
    heads : int

    Examples
    --------
    >>> import torch
    >>> attention = CrossAttention(8, 4, heads=2)
    >>> tokens, image = torch.randn(1, 1, 8), torch.randn(1, 5, 8)
    >>> torch.allclose(attention.look(tokens, image, image), attention(tokens, image, image), atol=1e-6)
    True
    >>> shown = image + attention(image, tokens, tokens)
    >>> torch.allclose(attention.show(image, image, tokens, tokens), shown, atol=1e-6)
    True
    """

    def __init__(self, width: int, inner: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(width, inner)
        self.k_proj = Linear(width, inner)
        self.v_proj = Linear(width, inner)
        self.out_proj = Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Mix values ``(B, L, C)`` for each query ``(B, N, C)``, by the likeness of its keys ``(B, L, C)``."""
        q, k, v = self._split(self.q_proj(query)), self._split(self.k_proj(key)), self._split(self.v_proj(value))
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, inner / heads)
        return self._joined(mixed)

    def look(self, tokens: Tensor, placed_image: Tensor, image: Tensor) -> Tensor:
        """Do what ``forward(tokens, placed_image, image)`` does.

        Parameters
        ----------
        tokens : (B, T, C) tensor
        placed_image : (B, L, C) tensor
            Its cells with their positions added.
        image : (B, L, C) tensor

        Returns
        -------
        (B, T, C) tensor
        """
        if not self._are_few(tokens):
            return self.forward(tokens, placed_image, image)
        B, T, C = tokens.shape
        asked = self._split(self.q_proj(tokens)) * self._scale @ self._by_head(self.k_proj)  # (B, heads, T, C)
        # the keys' bias would add the same to all scores of a row, which softmax takes out again
        shares = row_products(asked.flatten(1, 2), placed_image).softmax(-1)  # (B, heads * T, L)
        seen = row_products(shares, image.transpose(1, 2)).view(B, self.heads, T, C)
        mixed = seen @ self._by_head(self.v_proj).transpose(1, 2) + self.v_proj.bias.view(self.heads, 1, -1)
        return self._joined(mixed)

    def show(self, image: Tensor, placed_image: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Do what ``image + forward(placed_image, keys, values)`` does.

        Parameters
        ----------
        image : (B, L, C) tensor
        placed_image : (B, L, C) tensor
            Its cells with their positions added.
        keys, values : (B, T, C) tensor

        Returns
        -------
        (B, L, C) tensor
        """
        if not self._are_few(keys):
            return image + self.forward(placed_image, keys, values)
        B, T, C = keys.shape
        k = self._split(self.k_proj(keys)) * self._scale  # (B, heads, T, inner / heads)
        # tokens before heads: softmax then runs over the outermost axis, along rows that lie side by side
        known = (k @ self._by_head(self.q_proj)).transpose(1, 2).reshape(B, -1, C)  # (B, T * heads, C)
        offsets = (k @ self.q_proj.bias.view(self.heads, -1, 1)).transpose(1, 2).reshape(B, -1, 1)
        scores = offsets + row_products(known, placed_image)  # (B, T * heads, L)
        shares = scores.view(B, T, -1).softmax(1).view_as(scores)
        told = self._split(self.v_proj(values)) @ self._out_by_head() + self.out_proj.bias / self.heads
        told = told.transpose(1, 2).reshape(B, -1, C)  # (B, T * heads, C)
        return image + row_products(shares.transpose(1, 2), told.transpose(1, 2))

    @property
    def _scale(self) -> float:
        return float((self.q_proj.out_features // self.heads) ** -0.5)

    def _are_few(self, tokens: Tensor) -> bool:
        """Say whether the heads' tokens are fewer than the channels that they would be compared in."""
        return self.heads * tokens.shape[1] < self.q_proj.out_features

    def _split(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        return x.view(B, N, self.heads, C // self.heads).transpose(1, 2)

    def _joined(self, mixed: Tensor) -> Tensor:
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _by_head(self, projection: Linear) -> Tensor:
        """Weights ``(heads, inner / heads, C)``."""
        return projection.weight.view(self.heads, -1, projection.in_features)

    def _out_by_head(self) -> Tensor:
        """Weights ``(heads, inner / heads, C)``."""
        return self.out_proj.weight.view(self.out_proj.out_features, self.heads, -1).permute(1, 2, 0)
