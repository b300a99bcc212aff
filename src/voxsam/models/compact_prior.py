"""What a box says of its answer: it reaches all four sides. A decoder's masks and the ellipse are weighed by that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LOOSE", "TIGHT", "BoxRules", "InBox", "answer_in_box", "ellipse_in", "reach_of", "steadiness_of"]

#: How much more one mask counts than another that is trusted less: ``exp(SHARPNESS * difference)``.
SHARPNESS = 12.0
#: Every click that a mask disobeys takes so much of its trust.
DISOBEYED = 0.5
SLOPE = 8.0
SURE = 1e-4


@dataclass(frozen=True)
class BoxRules:
    """How far a box is believed.

    Parameters
    ----------
    reach_power : float
        Of a mask's reach, in its trust: 0 does not ask whether it reaches the sides.
    ellipse_trust : float
        What the ellipse in the box is trusted with. Even in tight boxes less than the intersection over union that it
        comes to (0.6): hands draw boxes a little too large, and there it is far off.
    least_chance : float
        That a pixel belongs to the object, for the answer to hold it. The expected Dice is highest at half of the Dice
        that can be hoped for; in a loose box the masks are too large already.
    """

    reach_power: float
    ellipse_trust: float
    least_chance: float


#: A box drawn around the object on this slice.
TIGHT = BoxRules(reach_power=2.0, ellipse_trust=0.4, least_chance=0.4)
#: A box drawn through many slices: on most of them the object is smaller.
LOOSE = BoxRules(reach_power=0.0, ellipse_trust=0.3, least_chance=0.5)


@dataclass(frozen=True, eq=False)
class InBox:
    """An answer to a box.

    Parameters
    ----------
    logits : (h, w) tensor
        The masks' weighted mean, as probabilities; positive where the chance is at least `BoxRules.least_chance`.
    score : () tensor
        The intersection over union to expect: the mean of the best mask's trust, times its reach in a tight box, and
        the answer's own steadiness.
    """

    logits: Tensor
    score: Tensor


def answer_in_box(
    logits: Tensor,
    scores: Tensor,
    box_xyxy: Tensor,
    points_xy: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    rules: BoxRules = TIGHT,
) -> InBox:
    """Weigh the masks of a decoder, and the ellipse in the box, by what the box says.

    A mask is trusted by the mean of its score and its steadiness, times a power of how well it reaches the sides of
    the box (`reach_of`); the ellipse reaches them, and has a fixed trust. So a bright core gives way to the whole
    structure, and where no mask fits the box the ellipse is left.

    Parameters
    ----------
    logits : (M, h, w) tensor
        At half the resolution of the input.
    scores : (M,) tensor
        Predicted intersections over union.
    box_xyxy : (4,) tensor
        Outer pixel centres in pixels of the input.
    points_xy : (N, 2) tensor, optional
        Clicks, in pixels of the input.
    labels : (N,) tensor, optional
        1: inside, 0: outside, -1: no click.
    rules : BoxRules

    Returns
    -------
    InBox

    Examples
    --------
    >>> undecided, box = torch.zeros(1, 8, 8), torch.tensor([2.0, 2.0, 13.0, 13.0])
    >>> (answer_in_box(undecided, torch.ones(1), box).logits > 0).sum(1).tolist()
    [0, 4, 6, 6, 6, 6, 4, 0]
    """
    steadiness = steadiness_of(logits)
    chances = torch.cat([logits.sigmoid(), ellipse_in(box_xyxy, logits.shape[-2:])[None]])
    reach = reach_of(chances[:-1] > 0.5, box_xyxy)
    trust = torch.cat([(scores.clamp(0, 1) + steadiness) / 2, scores.new_tensor([rules.ellipse_trust])])
    if points_xy is not None and labels is not None:
        trust = trust * DISOBEYED ** _disobeyed(chances > 0.5, points_xy, labels)
    reached = torch.cat([reach**rules.reach_power, reach.new_ones(1)])
    weights = torch.softmax(SHARPNESS * reached * trust, 0)
    chance = torch.einsum("m,mhw->hw", weights, chances)
    answer = torch.logit(chance, eps=SURE) - torch.logit(chance.new_tensor(rules.least_chance))
    expected = (reach ** min(rules.reach_power, 1.0) * trust[:-1]).max()
    return InBox(answer, (expected + steadiness_of(answer[None])[0]) / 2)


def ellipse_in(box_xyxy: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Return the ellipse in a box as chances (h, w), at half the resolution of the input."""
    left, top, right, bottom = _cells_of(box_xyxy)
    columns = torch.arange(shape[1], device=box_xyxy.device) + 0.25  # cell centres in half-resolution pixels
    rows = torch.arange(shape[0], device=box_xyxy.device) + 0.25
    across = (columns - (left + right) / 2) / ((right - left) / 2).clamp_min(0.5)
    down = (rows - (top + bottom) / 2) / ((bottom - top) / 2).clamp_min(0.5)
    return torch.sigmoid(SLOPE * (1 - torch.sqrt(across.square() + down.square().unsqueeze(-1))))


def reach_of(masks: Tensor, box_xyxy: Tensor) -> Tensor:
    """Say how well masks reach the sides of a box: 1 where rows and columns with mask are those of the box.

    Parameters
    ----------
    masks : (M, h, w) bool tensor
        At half the resolution of the input.
    box_xyxy : (4,) tensor
        In pixels of the input.

    Returns
    -------
    (M,) tensor
        The intersection over union along the rows times that along the columns.

    Examples
    --------
    >>> masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    >>> masks[0, 1:7, 1:7], masks[1, 1:7, 1:4] = True, True
    >>> reach_of(masks, torch.tensor([2.0, 2.0, 13.0, 13.0])).tolist()
    [1.0, 0.5]
    """
    left, top, right, bottom = _cells_of(box_xyxy)
    reach = torch.ones(len(masks), device=masks.device)
    for low, high, along in ((left, right, -2), (top, bottom, -1)):
        held = masks.any(along).float()
        starts = torch.arange(held.shape[-1], device=masks.device) - 0.25
        boxed = (torch.minimum(starts + 1, high) - torch.maximum(starts, low)).clamp(0, 1)
        reach = reach * torch.minimum(held, boxed).sum(-1) / torch.maximum(held, boxed).sum(-1).clamp_min(SURE)
    return reach


def steadiness_of(logits: Tensor) -> Tensor:
    """Say how little each of (M, h, w) masks changes when its threshold moves: 1 for not at all."""
    loose = (logits > -1).flatten(1).sum(1)
    return (logits > 1).flatten(1).sum(1) / loose.clamp_min(1)


def _cells_of(box_xyxy: Tensor) -> tuple[Tensor, ...]:
    """Return the outer edges of a box in half-resolution pixels."""
    return ((box_xyxy + box_xyxy.new_tensor([-0.5, -0.5, 0.5, 0.5])) / 2).unbind()


def _disobeyed(masks: Tensor, points_xy: Tensor, labels: Tensor) -> Tensor:
    """Count the clicks that each of (M, h, w) masks disobeys."""
    given = labels >= 0
    cells = ((points_xy[given] + 0.5) / 2).floor().long()
    columns, rows = cells[:, 0].clamp(0, masks.shape[-1] - 1), cells[:, 1].clamp(0, masks.shape[-2] - 1)
    return (masks[:, rows, columns] != (labels[given] == 1)).sum(1)
