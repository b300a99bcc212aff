"""A batch as the network takes it, on its device; what arrays from worker processes become."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxsam.models.compact_memory import MemoryBatch, looks_of
from voxsam.models.compact_prompts import PromptBatch
from voxsam.training.batches import Batch
from voxsam.training.prompts import correction_click

__all__ = ["TensorBatch", "corrected", "remembered", "to_tensors"]


@dataclass(frozen=True, eq=False)
class TensorBatch:
    """B images with P targets and first prompts each.

    Parameters
    ----------
    images : (B, 3, S, S) float tensor in 0..1
    targets : (B, P, S / 2, S / 2) float tensor
        Covered share of each cell.
    prompts : PromptBatch
        Without its memory.
    kinds : (B, P) int64 tensor
        Index into `prompts.KINDS`.
    sources : (B,) int64 tensor
        Index into `drawings.SOURCES`.
    partners : (B,) int64 tensor
        The image of a slice near by; an image without one is its own.
    memory_logits : (B, P, S / 2, S / 2) float tensor
        The answer on the partner.
    has_memory : (B, P) bool tensor
    """

    images: Tensor
    targets: Tensor
    prompts: PromptBatch
    kinds: Tensor
    sources: Tensor
    partners: Tensor
    memory_logits: Tensor
    has_memory: Tensor


def to_tensors(batch: Batch) -> TensorBatch:
    """Take arrays over as tensors."""
    prompts = PromptBatch(
        torch.from_numpy(batch.points_xy),
        torch.from_numpy(batch.point_labels),
        torch.from_numpy(batch.boxes_xyxy),
        torch.from_numpy(batch.has_box),
        torch.from_numpy(batch.mask_logits).float(),
        torch.from_numpy(batch.has_mask),
    )
    return TensorBatch(
        (torch.from_numpy(batch.images).float() / 255).contiguous(memory_format=torch.channels_last),
        F.avg_pool2d(torch.from_numpy(batch.targets).float(), 2),
        prompts,
        torch.from_numpy(batch.kinds),
        torch.from_numpy(batch.sources),
        torch.from_numpy(batch.partners),
        torch.from_numpy(batch.memory_logits).float(),
        torch.from_numpy(batch.has_memory),
    )


def remembered(match: Tensor, batch: TensorBatch) -> MemoryBatch | None:
    """Remember the partner of each image with its answer; None if no prompt set of the batch has a memory."""
    if not batch.has_memory.any():
        return None
    there = match[batch.partners]
    inside = F.avg_pool2d(batch.memory_logits.sigmoid(), 2)
    return MemoryBatch(there, inside, *looks_of(there, inside), batch.has_memory)


def corrected(
    prompts: PromptBatch, logits: Tensor, scores: Tensor, targets: Tensor, rng: np.random.Generator
) -> PromptBatch:
    """Feed an answer back with a click in its deepest error.

    Half of the sets get the one answer back, the others the alternative with the best score, so that either works.
    """
    B, P = prompts.has_box.shape
    picked = 1 + scores[..., 1:].argmax(-1)  # (B, P)
    index = torch.where(torch.from_numpy(rng.random((B, P)) < 0.5), picked, torch.zeros_like(picked))
    answers = logits.float().gather(2, index[..., None, None, None].expand(-1, -1, 1, *logits.shape[3:]))[:, :, 0]
    xy, labels = prompts.points_xy.new_zeros(B, P, 1, 2), prompts.point_labels.new_full((B, P, 1), -1)
    truth, said = (targets > 0.5).numpy(), (answers > 0).numpy()
    for b in range(B):
        for p in range(P):
            click = correction_click(truth[b, p], said[b, p], rng)
            if click is not None:
                xy[b, p, 0] = torch.tensor(click[:2])
                labels[b, p, 0] = click[2]
    return replace(
        prompts,
        points_xy=torch.cat([prompts.points_xy, xy], 2),
        point_labels=torch.cat([prompts.point_labels, labels], 2),
        mask_logits=answers.clamp(-20, 20),
        has_mask=torch.ones_like(prompts.has_mask),
    )
