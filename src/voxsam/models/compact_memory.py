"""The slice memory of the embedded default: what a neighbouring view shows of an object, as maps for the decoder.

A remembered view is compared with the present one cell by cell: where a cell looks like remembered cells near by, it
takes over what these were, object or not. Besides, the mean looks of the remembered object and of its surroundings are
compared with every cell, wherever it lies; these still tell something a few centimetres away, where places do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.compact_encoder import MATCH_HEADS, double

__all__ = ["MEMORY_MAPS", "CompactMemory", "MemoryBatch", "looks_of"]

MEMORY_MAPS = 3 * MATCH_HEADS + 2  # taken over by place; likeness to object, to surroundings; the mask; a flag
START_REACH_CELLS = (1.5, 3.0, 6.0, 12.0)  # of 8 pixels
START_SHARPNESS = 10.0


@dataclass(frozen=True, eq=False)
class MemoryBatch:
    """Memories for B images with P prompt sets each; cells span 4 input pixels.

    Parameters
    ----------
    match : (B, C, h, w) tensor
        The match features of the nearest remembered view.
    inside : (B, P, h, w) tensor
        Probability of the object there.
    object_looks, surrounding_looks : (B, P, C) tensor
        As `looks_of` returns them, of one view or of several.
    given : (B, P) bool tensor
    """

    match: Tensor
    inside: Tensor
    object_looks: Tensor
    surrounding_looks: Tensor
    given: Tensor


def looks_of(match: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean match features of an object and of the ring around it.

    Parameters
    ----------
    match : (B, C, h, w) tensor
    inside : (B, P, h, w) tensor
        Probability of the object.

    Returns
    -------
    (B, P, C) tensor, (B, P, C) tensor
        Of the object, of its surroundings.
    """
    ring = (F.max_pool2d(inside, 9, 1, 4) - inside).clamp_min(0)
    weights = torch.cat([inside, ring], 1).flatten(2)  # (B, 2 * P, h*w)
    means = weights @ match.float().flatten(2).transpose(1, 2) / weights.sum(-1, keepdim=True).clamp_min(1e-3)
    P = inside.shape[1]
    return means[:, :P], means[:, P:]


class CompactMemory(nn.Module):
    """Memories to maps at 1/4.

    Every head has a sharpness (how alike two cells must look) and a reach (how far apart they may lie), both learned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.full((MATCH_HEADS,), START_SHARPNESS).log())
        self.log_reach = nn.Parameter(torch.tensor(START_REACH_CELLS).log())

    def forward(self, match: Tensor, memory: MemoryBatch) -> Tensor:
        """Compare views.

        Parameters
        ----------
        match : (B, C, h, w) tensor
            The match features of the present view, of the memory's shape.
        memory : MemoryBatch

        Returns
        -------
        (B * P, MEMORY_MAPS, h, w) tensor
            Zero where no memory is given.
        """
        B, P, h, w = memory.inside.shape
        taken = double(self._taken_over(match, memory).flatten(0, 1))  # (B*P, heads, h, w)
        looks = torch.cat([memory.object_looks, memory.surrounding_looks], 2).view(B, 2 * P, -1)
        keys = match.float().view(B, MATCH_HEADS, -1, h * w)
        queries = looks.view(B, 2 * P, MATCH_HEADS, -1).transpose(1, 2)
        likeness = (queries @ keys).transpose(1, 2).reshape(B * P, 2 * MATCH_HEADS, h, w)
        inside = memory.inside.flatten(0, 1).unsqueeze(1)
        maps = torch.cat([taken, likeness, inside, torch.ones_like(inside)], 1)
        return maps * memory.given.flatten()[:, None, None, None].to(maps.dtype)

    def _taken_over(self, match: Tensor, memory: MemoryBatch) -> Tensor:
        """(B, P, heads, h / 2, w / 2): what alike cells of the remembered view were, at 1/8."""
        B, P = memory.inside.shape[:2]
        here, there = (F.avg_pool2d(view.float(), 2) for view in (match, memory.match))
        _, C, h, w = here.shape
        queries, keys = (view.view(B, MATCH_HEADS, C // MATCH_HEADS, h * w) for view in (here, there))
        queries, keys = self._placed(queries.transpose(-1, -2), keys.transpose(-1, -2), (h, w))
        scores = queries @ keys.transpose(-1, -2)  # (B, heads, L, L)
        was = F.avg_pool2d(memory.inside, 2).view(B, 1, P, h * w).transpose(-1, -2)  # (B, 1, L, P)
        taken = scores.softmax(-1) @ was.expand(-1, MATCH_HEADS, -1, -1)  # (B, heads, L, P)
        return taken.permute(0, 3, 1, 2).reshape(B, P, MATCH_HEADS, h, w)

    def _placed(self, queries: Tensor, keys: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Give cells (B, heads, L, c) their places, so that products tell likeness less distance, but for a constant.

        ``-|p - q|^2 / (2 r^2)`` is ``p q / r^2 - |q|^2 / (2 r^2)`` less a term of p alone, which a softmax over q does
        not see: three more channels instead of arithmetic on all L x L pairs.
        """
        rows, columns = (torch.arange(n, device=keys.device, dtype=torch.float32) - (n - 1) / 2 for n in shape)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)  # (L, 2)
        tightness = (-2 * self.log_reach).exp()[:, None, None]  # (heads, 1, 1)
        here = places * tightness  # (heads, L, 2)
        far = -0.5 * tightness * places.square().sum(-1, keepdim=True)  # (heads, L, 1)
        queries = queries * self.log_sharpness.exp()[:, None, None]
        B = len(keys)
        placed = torch.cat([here, torch.ones_like(far)], -1), torch.cat([places.expand_as(here), far], -1)
        return (
            torch.cat([queries, placed[0].expand(B, -1, -1, -1)], -1),
            torch.cat([keys, placed[1].expand(B, -1, -1, -1)], -1),
        )
