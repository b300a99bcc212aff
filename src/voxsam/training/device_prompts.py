"""Targets, prompts and corrections as tensors, a whole batch at once; see `device_scenes`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from voxsam.models.compact_prompts import PromptBatch
from voxsam.training.device_scenes import Dice

__all__ = ["boxes_of", "connected_to", "corrected_on_device", "deep_points", "depth_of", "first_prompts", "jittered"]

DEEPEST = 24
CLICK, BOX, BOX_AND_CLICK, MASK, MEMORY = 0, 1, 2, 3, 5  # as in `prompts.KINDS`


def depth_of(masks: Tensor, *, deepest: int = DEEPEST) -> Tensor:
    """Count how often (..., h, w) masks can be eroded by a pixel until each pixel is gone; the border is an edge."""
    left = masks.flatten(0, -3)[:, None].float()
    depth = torch.zeros_like(left)
    for turn in range(deepest):
        depth = depth + left
        flat = F.pad(1 - left, (1, 1, 1, 1), value=1.0)
        if turn % 2:  # squares and crosses in turn make octagons, nearly discs
            left = 1 - F.max_pool2d(flat, 3, 1)
        else:
            rows, columns = F.max_pool2d(flat[..., 1:-1], (3, 1), 1), F.max_pool2d(flat[..., 1:-1, :], (1, 3), 1)
            left = 1 - torch.maximum(rows, columns)
    return depth.view(masks.shape)


def deep_points(dice: Dice, depth: Tensor, *, anywhere: float) -> Tensor:
    """Draw a pixel (..., 2), row and column, for each (..., h, w) depth: a deep one, or in a share `anywhere`."""
    flat = depth.flatten(-2)
    lead = flat.shape[:-1]
    least = torch.where(
        dice.below(anywhere, *lead, 1),
        torch.full_like(flat[..., :1], 0.5),
        flat.amax(-1, keepdim=True) * dice.uniform(*lead, 1, low=0.6),
    )
    weight = (flat >= least.clamp_min(0.5)).float() + 1e-9
    picked = torch.multinomial(weight.flatten(0, -2), 1, generator=dice.generator).view(lead)
    return torch.stack([picked // depth.shape[-1], picked % depth.shape[-1]], -1)


def connected_to(masks: Tensor, points: Tensor, *, rounds: int = 96) -> Tensor:
    """Keep what of (N, h, w) masks is connected with a pixel (N, 2); exact where the way is no longer than `rounds`."""
    seed = torch.zeros_like(masks).flatten(1)
    at = points[:, 0] * masks.shape[-1] + points[:, 1]
    seed.scatter_(1, at.unsqueeze(1), True)
    grown = (seed.view_as(masks) & masks).float()[:, None]
    allowed = masks.float()[:, None]
    for _ in range(rounds):
        grown = F.max_pool2d(grown, 3, 1, 1) * allowed
    return grown[:, 0] > 0


def boxes_of(masks: Tensor) -> Tensor:
    """Outer pixels (..., 4) of (..., h, w) masks as left, top, right, bottom; of an empty mask all zeros."""
    h, w = masks.shape[-2:]
    rows, columns = masks.any(-1).float(), masks.any(-2).float()
    first_row, first_column = rows.argmax(-1), columns.argmax(-1)
    last_row, last_column = h - 1 - rows.flip(-1).argmax(-1), w - 1 - columns.flip(-1).argmax(-1)
    boxes = torch.stack([first_column, first_row, last_column, last_row], -1).float()
    return boxes * masks.any(-1).any(-1).unsqueeze(-1)


def jittered(dice: Dice, boxes: Tensor, size: int) -> Tensor:
    """Draw boxes as people do: mostly close, sometimes loose."""
    sides = (boxes[..., 2:] - boxes[..., :2] + 1).repeat(1, 1, 2)
    lead = boxes.shape[:-1]
    close = (0.05 * dice.uniform(*lead, 4, low=-1)) * sides
    outward = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=boxes.device)
    loose = dice.uniform(*lead, 4) * dice.uniform(*lead, 1, high=1.0) * sides * outward
    drawn = (boxes + torch.where(dice.below(0.2, *lead, 1), loose, close)).clamp(0, size - 1)
    one, other = drawn[..., :2], drawn[..., 2:]
    return torch.cat([torch.minimum(one, other), torch.maximum(one, other)], -1)


def first_prompts(dice: Dice, targets: Tensor, others: Tensor) -> tuple[PromptBatch, Tensor, Tensor, Tensor]:
    """Draw what is known before the first answer.

    Parameters
    ----------
    dice : Dice
    targets : (B, P, S, S) bool tensor
    others : (B, P, S, S) bool tensor
        The same structures in the image's partner.

    Returns
    -------
    PromptBatch
        Without its memory.
    kinds : (B, P) int64 tensor
    memory_logits : (B, P, S / 2, S / 2) float tensor
    has_memory : (B, P) bool tensor
    """
    B, P, size = targets.shape[:3]
    half, there = targets[..., ::2, ::2], others[..., ::2, ::2]
    shares = torch.tensor([0.29, 0.33, 0.06, 0.10, 0.0, 0.22], device=targets.device).expand(B * P, -1)
    kinds = torch.multinomial(shares, 1, generator=dice.generator).view(B, P)
    known = there.any(-1).any(-1)
    gone = ~half.any(-1).any(-1)
    kinds = torch.where(~known & (kinds >= MASK), torch.full_like(kinds, BOX), kinds)
    kinds = torch.where(gone, torch.full_like(kinds, MEMORY), kinds)
    points = deep_points(dice, depth_of(half), anywhere=0.5)
    clicked = (kinds == CLICK) | (kinds == BOX_AND_CLICK)
    xy = torch.where(clicked[..., None], 2.0 * points.flip(-1), 0.0)[:, :, None]
    labels = torch.where(clicked, 1, -1)[:, :, None]
    boxes = jittered(dice, boxes_of(targets), size)
    logits = _answer_like(dice, there)
    prompts = PromptBatch(
        xy,
        labels,
        boxes,
        (kinds == BOX) | (kinds == BOX_AND_CLICK),
        logits * (kinds == MASK)[..., None, None],
        kinds == MASK,
    )
    has_memory = known & ((kinds == MEMORY) | ((kinds == MASK) & dice.below(0.7, B, P)))
    return prompts, kinds, _answer_like(dice, there), has_memory


def corrected_on_device(
    dice: Dice, prompts: PromptBatch, logits: Tensor, scores: Tensor, targets: Tensor
) -> PromptBatch:
    """Feed an answer back with a click in its deepest error; as `loop.corrected` does, without leaving the device."""
    B, P = prompts.has_box.shape
    picked = 1 + scores[..., 1:].argmax(-1)
    index = torch.where(dice.below(0.5, B, P), picked, torch.zeros_like(picked))
    answers = logits.float().gather(2, index[..., None, None, None].expand(-1, -1, 1, *logits.shape[3:]))[:, :, 0]
    truth = targets > 0.5
    wrong = truth != (answers > 0)
    point = deep_points(dice, depth_of(wrong), anywhere=0.0)
    at = (point[..., 0] * wrong.shape[-1] + point[..., 1]).unsqueeze(-1)
    label = truth.flatten(2).gather(2, at)[..., 0].long()
    label = torch.where(wrong.any(-1).any(-1), label, torch.full_like(label, -1))
    xy = 2.0 * point.flip(-1).float() + dice.whole(2, B, P, 2)
    return replace(
        prompts,
        points_xy=torch.cat([prompts.points_xy, xy[:, :, None]], 2),
        point_labels=torch.cat([prompts.point_labels, label[..., None]], 2),
        mask_logits=answers.clamp(-20, 20),
        has_mask=torch.ones_like(prompts.has_mask),
    )


def _answer_like(dice: Dice, masks: Tensor) -> Tensor:
    """Logits of (B, P, h, w) masks as an answer leaves them: sloped at the edge, and somewhat rough."""
    B, P, h, _ = masks.shape
    depth = depth_of(masks, deepest=12) - depth_of(~masks, deepest=12)
    rough = dice.uniform(B * P, 1, 1, high=2.0) * dice.fields(B * P, h, scale_px=6.0)
    sharp = dice.log_uniform(B, P, 1, 1, low=0.6, high=4.0)
    return ((depth + rough.view_as(depth)) * sharp).clamp(-12, 12)
