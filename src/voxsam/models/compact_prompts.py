"""The prompt encoder of the embedded default: prompts to maps (where, and what looks like it) and to tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.compact_encoder import CHANNELS, MATCH_HEADS
from voxsam.models.compact_memory import MemoryBatch

__all__ = ["PROMPT_MAPS", "CompactPromptEncoder", "PromptBatch"]

CLICK_WIDTHS_PX = (3.0, 10.0, 32.0)
DENSE_MAPS = 2 * len(CLICK_WIDTHS_PX) + 3 + 2 + 4  # clicks, box, earlier answer, flags
SIMILARITY_MAPS = 5 * MATCH_HEADS  # positive, negative, box core, box ring, earlier answer
PROMPT_MAPS = DENSE_MAPS + SIMILARITY_MAPS


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts for B images with P prompt sets each, in input pixels.

    Parameters
    ----------
    points_xy : (B, P, N, 2) float tensor
    point_labels : (B, P, N) integer tensor
        1 for foreground, 0 for background, -1 for padding.
    boxes_xyxy : (B, P, 4) float tensor
    has_box : (B, P) bool tensor
    mask_logits : (B, P, H / 2, W / 2) float tensor
        An earlier answer.
    has_mask : (B, P) bool tensor
    memory : MemoryBatch, optional
        What neighbouring views show.
    recalled : (B * P, C, H / 4, W / 4) tensor, optional
        What `CompactMaskDecoder.recalled` makes of the memory, where the same memory is asked more than once.
    """

    points_xy: Tensor
    point_labels: Tensor
    boxes_xyxy: Tensor
    has_box: Tensor
    mask_logits: Tensor
    has_mask: Tensor
    memory: MemoryBatch | None = None
    recalled: Tensor | None = None


class CompactPromptEncoder(nn.Module):
    """Prompts to maps at 1/4 (where the prompt is, what looks like it) and to tokens.

    Parameters
    ----------
    width : int
        Length of a token.
    """

    frequencies: Tensor

    def __init__(self, width: int = CHANNELS["sixteenth"]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", torch.randn(2, width // 2, generator=generator))
        self.kinds = nn.Embedding(4, width)  # negative click, positive click, first corner, last corner
        self.appearance = nn.Linear(CHANNELS["eighth"], width)

    def positions(self, xy: Tensor, height: int, width: int) -> Tensor:
        """Fourier features (..., C) of pixel positions (..., 2) in an image of `height` x `width`."""
        x, y = xy.unbind(-1)  # one by one: a tensor of the two sides would be a constant in an exported graph
        unit = torch.stack([(x + 0.5) / width, (y + 0.5) / height], -1) * 2 - 1
        phase = 2 * torch.pi * unit @ self.frequencies
        return torch.cat([phase.sin(), phase.cos()], -1)

    def forward(self, features: dict[str, Tensor], prompts: PromptBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Encode prompts.

        Returns
        -------
        maps : (B * P, PROMPT_MAPS, H / 4, W / 4) tensor
        tokens : (B * P, N + 2, width) tensor
        present : (B * P, N + 2) bool tensor
            False where a token stands for a missing prompt.
        """
        match = features["match"]
        B, C, h, w = match.shape
        P, N = prompts.point_labels.shape[1:]
        keys = match.float().flatten(2)  # (B, C, h*w)
        centres_x, centres_y = cell_centres(w, match), cell_centres(h, match)
        discs, click_maps = self._clicks(prompts, centres_x, centres_y)
        box_maps, box_weights = self._boxes(prompts, centres_x, centres_y)
        earlier = F.avg_pool2d(prompts.mask_logits.flatten(0, 1).unsqueeze(1).float(), 2)[:, 0]  # (B*P, h, w)
        known = prompts.has_mask.flatten()[:, None, None].float()
        inside = earlier.sigmoid() * known
        weights = torch.cat([discs, box_weights, inside[:, None]], 1).view(B, P * (N + 3), h * w)
        pooled = (weights @ keys.transpose(1, 2)) / weights.sum(-1, keepdim=True).clamp_min(1e-3)  # (B, P*(N+3), C)
        likeness = head_products(pooled, keys).reshape(B * P, N + 3, MATCH_HEADS, h, w)
        similarity = self._similarity(likeness, prompts)
        labels = prompts.point_labels.flatten(0, 1)
        flags = torch.stack(
            [(labels == 1).any(1), (labels == 0).any(1), prompts.has_box.flatten(), prompts.has_mask.flatten()], 1
        )
        flag_maps = flags.float()[:, :, None, None].expand(-1, -1, h, w)
        earlier_maps = torch.stack([inside, (earlier / 8).clamp(-1, 1) * known], 1)
        maps = torch.cat([click_maps, box_maps, earlier_maps, flag_maps, similarity], 1)
        tokens, present = self._tokens(features["eighth"], prompts, discs, (4 * h, 4 * w))
        return maps, tokens, present

    @staticmethod
    def _clicks(prompts: PromptBatch, centres_x: Tensor, centres_y: Tensor) -> tuple[Tensor, Tensor]:
        xy = prompts.points_xy.flatten(0, 1).float()  # (B*P, N, 2)
        labels = prompts.point_labels.flatten(0, 1)
        x2, y2 = (centres_x - xy[..., :1]) ** 2, (centres_y - xy[..., 1:]) ** 2  # (B*P, N, w), (B*P, N, h)
        maps = []
        for width in CLICK_WIDTHS_PX:
            across, down = torch.exp(-x2 / (2 * width**2)), torch.exp(-y2 / (2 * width**2))
            for sign in (1, 0):
                wanted = (labels == sign).float().unsqueeze(-1)
                maps.append(((down * wanted).transpose(1, 2) @ across).clamp_max(1))  # (B*P, h, w)
        near = 2 * CLICK_WIDTHS_PX[0] ** 2
        given = (labels >= 0).float().unsqueeze(-1)
        discs = (torch.exp(-y2 / near) * given).unsqueeze(-1) * torch.exp(-x2 / near).unsqueeze(-2)
        return discs, torch.stack(maps, 1)

    @staticmethod
    def _boxes(prompts: PromptBatch, centres_x: Tensor, centres_y: Tensor) -> tuple[Tensor, Tensor]:
        left, top, right, bottom = prompts.boxes_xyxy.flatten(0, 1).float().unsqueeze(-1).unbind(1)  # (B*P, 1) each
        given = prompts.has_box.flatten()[:, None, None].float()

        def filled(margin_x: Tensor | float, margin_y: Tensor | float) -> Tensor:
            across = coverage(centres_x, left - margin_x, right + margin_x)
            down = coverage(centres_y, top - margin_y, bottom + margin_y)
            return down.unsqueeze(2) * across.unsqueeze(1) * given  # (B*P, h, w)

        half_x, half_y = (right - left) / 2 + 0.5, (bottom - top) / 2 + 0.5
        radius = ((centres_x - (left + right) / 2) / half_x).square().unsqueeze(1)
        radius = radius + ((centres_y - (top + bottom) / 2) / half_y).square().unsqueeze(2)
        fill = filled(0.0, 0.0)
        edge = (filled(2.0, 2.0) - filled(-2.0, -2.0)).clamp_min(0)
        ellipse = (1 - radius).clamp(-1, 1) * given
        ring = filled(0.3 * half_x + 2, 0.3 * half_y + 2) - fill
        core = torch.exp(-2 * radius.clamp_max(20)) * given
        return torch.stack([fill, edge, ellipse], 1), torch.stack([core, ring], 1)

    @staticmethod
    def _similarity(likeness: Tensor, prompts: PromptBatch) -> Tensor:
        labels = prompts.point_labels.flatten(0, 1)[:, :, None, None, None]  # (B*P, N, 1, 1, 1)
        N = labels.shape[1]
        clicks = likeness[:, :N]
        maps = []
        for sign in (1, 0):
            best = clicks.masked_fill(labels != sign, -2).amax(1)  # (B*P, heads, h, w)
            maps.append(torch.where(best < -1.5, torch.zeros_like(best), best))
        return torch.cat([*maps, likeness[:, N:].flatten(1, 2)], 1)

    def _tokens(
        self, eighth: Tensor, prompts: PromptBatch, discs: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        B, P, N = prompts.point_labels.shape
        coarse = F.avg_pool2d(discs, 2).view(B, P * N, -1)
        seen = (coarse @ eighth.float().flatten(2).transpose(1, 2)) / coarse.sum(-1, keepdim=True).clamp_min(1e-3)
        labels = prompts.point_labels.flatten(0, 1)
        clicks = self.positions(prompts.points_xy.flatten(0, 1).float(), *shape)
        clicks = clicks + self.kinds(labels.clamp_min(0)) + self.appearance(seen.view(B * P, N, -1))
        corners = self.positions(prompts.boxes_xyxy.flatten(0, 1).float().view(B * P, 2, 2), *shape)
        corners = corners + self.kinds.weight[2:]
        has_box = prompts.has_box.flatten()[:, None].expand(-1, 2)
        return torch.cat([clicks, corners], 1), torch.cat([labels >= 0, has_box], 1)


def head_products(queries: Tensor, keys: Tensor) -> Tensor:
    """Per-head products of queries (B, Q, C) with keys (B, C, L): (B, Q, heads, L)."""
    B, Q, C = queries.shape
    q = queries.view(B, Q, MATCH_HEADS, C // MATCH_HEADS).transpose(1, 2)
    k = keys.view(B, MATCH_HEADS, C // MATCH_HEADS, -1)
    return (q @ k).transpose(1, 2)  # (B, Q, heads, L)


def cell_centres(count: int, like: Tensor) -> Tensor:
    """Input-pixel positions of the centres of `count` cells of 4 pixels."""
    return torch.arange(count, device=like.device, dtype=torch.float32) * 4 + 1.5


def coverage(centres: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Share of each 4-pixel cell between the pixels `low` and `high`, both included: (B, cells)."""
    overlap = torch.minimum(centres + 2, high + 0.5) - torch.maximum(centres - 2, low - 0.5)
    return (overlap / 4).clamp(0, 1)
