"""Windows of a grid of tokens."""

from __future__ import annotations

import pytest
import torch

from voxsam.models.windows import join_windows, split_windows


@pytest.mark.parametrize(("height", "width", "window"), [(4, 4, 2), (5, 7, 3), (3, 3, 14), (64, 64, 14), (1, 6, 2)])
def test_windows_come_apart_and_together_again(height: int, width: int, window: int) -> None:
    x = torch.randn(2, height, width, 5)
    windows = split_windows(x, window)
    assert windows.shape == (2 * -(-height // window) * -(-width // window), window, window, 5)
    assert torch.equal(join_windows(windows, (height, width)), x)


def test_windows_are_cut_row_by_row_and_padded_with_zeros() -> None:
    x = torch.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    windows = split_windows(x, 2)[..., 0]
    assert windows.tolist() == [[[1, 2], [4, 5]], [[3, 0], [6, 0]], [[7, 8], [0, 0]], [[9, 0], [0, 0]]]
