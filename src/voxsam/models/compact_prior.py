"""What a box alone says about shape: where an image leaves a border open, structures end roundly inside their box."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["with_ellipse"]

#: The ellipse's say against the network's. On faint structures, where the network is undecided, it settles the border;
#: where the network is sure (a chance under 0.2 or over 0.8), it changes nothing.
WEIGHT = 0.35
SLOPE = 8.0
SURE = 1e-4


def with_ellipse(logits: Tensor, box_xyxy: Tensor) -> Tensor:
    """Blend an answer to a box with the ellipse in the box, as probabilities.

    Parameters
    ----------
    logits : (h, w) tensor
        At half the resolution of the input.
    box_xyxy : (4,) tensor
        Outer pixel centres in pixels of the input.

    Returns
    -------
    (h, w) tensor
        Logits again.

    Examples
    --------
    >>> undecided = torch.zeros(8, 8)
    >>> (with_ellipse(undecided, torch.tensor([2.0, 2.0, 13.0, 13.0])) > 0).sum(1).tolist()
    [0, 4, 6, 6, 6, 6, 4, 0]
    """
    h, w = logits.shape
    left, top, right, bottom = ((box_xyxy + box_xyxy.new_tensor([-0.5, -0.5, 0.5, 0.5])) / 2).unbind()
    columns = torch.arange(w, device=logits.device) + 0.25  # cell centres in half-resolution pixels
    rows = torch.arange(h, device=logits.device) + 0.25
    across = (columns - (left + right) / 2) / ((right - left) / 2).clamp_min(0.5)
    down = (rows - (top + bottom) / 2) / ((bottom - top) / 2).clamp_min(0.5)
    radius = torch.sqrt(across.square() + down.square().unsqueeze(-1))
    chance = (1 - WEIGHT) * logits.sigmoid() + WEIGHT * torch.sigmoid(SLOPE * (1 - radius))
    return torch.logit(chance, eps=SURE)
