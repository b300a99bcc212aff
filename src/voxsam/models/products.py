"""Matrix products in single precision, by the library that uses the whole width of the processor.

torch multiplies float32 matrices with MKL, which on processors of other makers than Intel leaves their AVX-512 units
idle. oneDNN, which torch ships too and uses for convolutions, does not: the same products, rounded as well as MKL's,
take half the time there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Linear", "PixelLinear", "linear", "row_products"]

_Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do what `torch.nn.functional.linear` does, as fast as this processor can.

    Parameters
    ----------
    x : (..., K) tensor
    weight : (N, K) tensor
        Need not be contiguous: ``linear(a, b.T)`` is ``a @ b``.
    bias : (N,) tensor, optional

    Returns
    -------
    (..., N) tensor

    Examples
    --------
    >>> linear(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1))
    tensor([[4.],
            [4.]])
    """
    product = F.linear if _needs_torch(x, weight, bias) else _product()
    return product(x, weight, bias)


def row_products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply each row of one matrix with each row of the other, ``a @ b.transpose(1, 2)``, for a batch of matrices.

    Parameters
    ----------
    a : (B, M, K) tensor
    b : (B, N, K) tensor

    Returns
    -------
    (B, M, N) tensor

    Examples
    --------
    >>> row_products(torch.ones(1, 2, 3), torch.ones(1, 4, 3)).shape
    torch.Size([1, 2, 4])
    """
    return linear(a[0], b[0])[None] if len(a) == 1 else a @ b.transpose(1, 2)


class Linear(nn.Linear):
    """A linear layer that multiplies with `linear`.

    Examples
    --------
    >>> layer = Linear(3, 2)
    >>> sorted(layer.state_dict()), layer(torch.zeros(5, 3)).shape
    (['bias', 'weight'], torch.Size([5, 2]))
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is the base class's
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        return linear(input, self.weight, self.bias)


class PixelLinear(nn.Conv2d):
    """A 1 x 1 convolution that multiplies with `linear`; best for channels-last maps, which it then need not copy.

    Examples
    --------
    >>> layer = PixelLinear(3, 2, kernel_size=1)
    >>> x = torch.ones(1, 3, 4, 5)
    >>> layer(x).shape, torch.allclose(layer(x), F.conv2d(x, layer.weight, layer.bias))
    (torch.Size([1, 2, 4, 5]), True)
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is the base class's
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        if _needs_torch(input, self.weight, self.bias):
            return super().forward(input)
        return linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _needs_torch(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Say whether someone watches, for a gradient or a graph, or the numbers are not single precision on a CPU."""
    return (
        x.device.type != "cpu"
        or x.dtype != torch.float32
        or weight.dtype != torch.float32
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
        or (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias)))
    )


@lru_cache(maxsize=1)
def _product() -> _Product:
    """Choose once: oneDNN where torch has it and it answers as torch does."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return F.linear
    probe = (torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3), torch.arange(4.0))
    try:
        same = torch.equal(_onednn(*probe), F.linear(*probe))
    except (AttributeError, RuntimeError):  # the operator is not a public one: another torch may have none such
        return F.linear
    return _onednn if same else F.linear


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not weight.T.is_contiguous():
        weight = weight.contiguous()  # rows with gaps between them would go through a kernel a hundred times slower
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")
    return result
