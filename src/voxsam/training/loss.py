"""What an answer costs: one mask always, the nearest of three alternatives, and an honest quality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Losses", "answer_losses", "iou"]

QUALITY_WEIGHT = 3.0


@dataclass(frozen=True)
class Losses:
    """Costs of one round, and what was reached.

    Parameters
    ----------
    total : scalar tensor
    reached : (B, P, 4) tensor
        IoU of each mask with its target, without gradient.
    """

    total: Tensor
    reached: Tensor


def iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of (B, P, M, h, w) logits, cut at 0, with (B, P, h, w) targets, cut at one half: (B, P, M)."""
    answer, truth = logits > 0, (targets > 0.5).unsqueeze(2)
    both = (answer & truth).sum((-1, -2)).float()
    either = (answer | truth).sum((-1, -2)).float()
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))


def mask_costs(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal cross-entropy, stronger for small targets, plus soft Dice, for every mask: (B, P, M)."""
    truth = targets.unsqueeze(2).expand_as(logits)
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    chance = logits.sigmoid()
    missed = (chance - truth).abs()
    area = targets.mean((-1, -2)).unsqueeze(-1)  # (B, P, 1)
    focal = (cross * missed).mean((-1, -2)) * 0.25 / (area + 0.05)
    overlap = (chance * truth).sum((-1, -2))
    dice = 1 - (2 * overlap + 1) / (chance.sum((-1, -2)) + truth.sum((-1, -2)) + 1)
    return 2 * focal + dice


def answer_losses(logits: Tensor, scores: Tensor, targets: Tensor) -> Losses:
    """Cost of one round of answers.

    Parameters
    ----------
    logits : (B, P, 4, h, w) tensor
    scores : (B, P, 4) tensor
        Predicted IoU.
    targets : (B, P, h, w) tensor
        Covered share of each pixel.
    """
    costs = mask_costs(logits.float(), targets)
    three = costs[..., 1:]
    reached = iou(logits.detach(), targets)
    mask_cost = costs[..., 0].mean() + three.amin(-1).mean() + 0.05 * three.mean()
    return Losses(mask_cost + QUALITY_WEIGHT * F.mse_loss(scores.float(), reached), reached)
