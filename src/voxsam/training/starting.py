"""A run that starts from shipped weights: what folding merged is taken apart again, so that training can go on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from voxsam.models.compact_encoder import ConvNorm
from voxsam.models.compact_network import CompactNetwork
from voxsam.models.weights import load_state, read_state

__all__ = ["network_from_weights"]


@torch.no_grad()
def network_from_weights(path: Path, images: Iterable[Tensor]) -> CompactNetwork:
    """Build a network that can be trained on from a file that ships.

    In such a file every batch normalisation lies inside its convolution. Each gets one again whose statistics are those
    of `images` and whose scale and shift take them back out: the network answers as before, and can learn.

    Parameters
    ----------
    path : Path
        As ``python -m voxsam.training export`` wrote it.
    images : iterable of (B, 3, S, S) tensors
        A few batches of the kind that training will show.

    Returns
    -------
    CompactNetwork

    Raises
    ------
    WeightsError
        If the file cannot be read safely, or is of another model.
    """
    network = CompactNetwork().eval().fold()
    load_state(network, read_state(path), source=path, model="compact")
    seen: dict[ConvNorm, list[tuple[Tensor, Tensor]]] = {}
    layers = [module for module in network.modules() if isinstance(module, ConvNorm)]

    def watch(layer: ConvNorm) -> None:
        seen[layer] = []
        layer.conv.register_forward_hook(
            lambda _module, _inputs, out: seen[layer].append((out.mean((0, 2, 3)), out.square().mean((0, 2, 3))))
        )

    for layer in layers:
        watch(layer)
    for batch in images:
        network.encoder(batch)
    for layer, moments in seen.items():
        layer.conv._forward_hooks.clear()
        _unfold(layer, torch.stack([m for m, _ in moments]).mean(0), torch.stack([s for _, s in moments]).mean(0))
    return network


def _unfold(layer: ConvNorm, mean: Tensor, mean_square: Tensor) -> None:
    bias = layer.conv.bias
    norm = nn.BatchNorm2d(layer.conv.out_channels)
    if bias is None or norm.running_mean is None or norm.running_var is None:
        return
    variance = (mean_square - mean.square()).clamp_min(1e-6)
    norm.running_mean.copy_(mean - bias)
    norm.running_var.copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(mean)
    layer.conv.bias = None
    layer.norm = norm
