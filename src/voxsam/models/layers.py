"""Building blocks that the encoders and decoders of the SAM family share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.products import Linear

__all__ = ["FeedForward", "LayerNorm2d", "PatchEmbed", "PerceptronHead"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class LayerNorm2d(nn.Module):
    """Normalise the channels of each pixel of a channels-first map.

    Parameters
    ----------
    channels : int
    eps : float
        Added to the variance.

    Examples
    --------
    >>> import torch
    >>> pixels = LayerNorm2d(8)(torch.arange(32.0).reshape(1, 8, 2, 2))
    >>> pixels.shape, bool(pixels.mean(dim=1).abs().max() < 1e-6)
    (torch.Size([1, 8, 2, 2]), True)
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)`` over C."""
        channels_last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class FeedForward(nn.Module):
    """The two linear layers of a transformer block.

    Parameters
    ----------
    width : int
        Of the tokens.
    hidden : int
        Between the layers.
    activation : {"gelu", "relu"}

    Examples
    --------
    >>> import torch
    >>> FeedForward(8, 32, activation="relu")(torch.zeros(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, width: int, hidden: int, *, activation: str = "gelu") -> None:
        super().__init__()
        self.lin1 = Linear(width, hidden)
        self.lin2 = Linear(hidden, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., width)`` to the same shape."""
        result: Tensor = self.lin2(self.activation(self.lin1(x)))
        return result


class PerceptronHead(nn.Module):
    """Linear layers with ReLU between them, from one token to an answer.

    Parameters
    ----------
    inputs, hidden, outputs : int
    depth : int
        Linear layers in all.

    Examples
    --------
    >>> import torch
    >>> PerceptronHead(8, 16, 4, depth=3)(torch.zeros(2, 8)).shape
    torch.Size([2, 4])
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, depth: int) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (depth - 1), outputs]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., inputs)`` to ``(..., outputs)``."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        result: Tensor = self.layers[-1](x)
        return result


class PatchEmbed(nn.Module):
    """Cut an image into square patches, one token each.

    Parameters
    ----------
    patch : int
        Side in pixels.
    width : int
        Of a token.
    channels : int
        Of the image.

    Examples
    --------
    >>> import torch
    >>> PatchEmbed(16, 8)(torch.zeros(1, 3, 64, 32)).shape
    torch.Size([1, 4, 2, 8])
    """

    def __init__(self, patch: int, width: int, *, channels: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, H / patch, W / patch, width)``."""
        tokens: Tensor = self.proj(x)
        return tokens.permute(0, 2, 3, 1)
