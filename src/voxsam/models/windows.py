"""Square windows of a grid of tokens, which attention is limited to in most blocks of the image encoders."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["join_windows", "split_windows"]


def split_windows(x: Tensor, window: int) -> Tensor:
    """Cut ``(B, H, W, C)`` into ``(B * windows, window, window, C)``, with zeros beyond the right and bottom edge."""
    B, H, W, C = x.shape
    x = F.pad(x, (0, 0, 0, -W % window, 0, -H % window))
    down, across = x.shape[1] // window, x.shape[2] // window
    x = x.view(B, down, window, across, window, C).transpose(2, 3)
    return x.reshape(-1, window, window, C)


def join_windows(windows: Tensor, shape: tuple[int, int]) -> Tensor:
    """Undo `split_windows`: ``(B * windows, window, window, C)`` back to ``(B, H, W, C)`` with ``(H, W) = shape``."""
    _, window, _, C = windows.shape
    # rounded up with positive numbers alone: ONNX rounds quotients towards zero
    down, across = (shape[0] + window - 1) // window, (shape[1] + window - 1) // window
    x = windows.view(-1, down, across, window, window, C).transpose(2, 3)
    return x.reshape(-1, down * window, across * window, C)[:, : shape[0], : shape[1]]
