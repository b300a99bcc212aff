"""Checkpoints that survive a kill, and the moving average of the weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voxsam.models.compact_network import CompactNetwork

__all__ = ["MovingAverage", "load_checkpoint", "save_checkpoint"]


class MovingAverage:
    """An exponential moving average of a network's parameters.

    Parameters
    ----------
    network : CompactNetwork
    decay : float
    """

    def __init__(self, network: CompactNetwork, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step; early on the average is short, so that it does not remember the start."""
        keep = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - keep)

    @torch.no_grad()
    def settle(self, images: Iterable[Tensor]) -> None:
        """Measure the batch statistics anew: those of the trained weights do not fit their average.

        Parameters
        ----------
        images : iterable of (B, 3, H, W) tensors
        """
        encoder = self.network.encoder
        norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        encoder.train()
        for batch in images:
            encoder(batch)
        encoder.eval()


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; a kill at any moment leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; tensors and plain values only."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
