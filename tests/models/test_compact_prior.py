"""What a box says: its answer reaches its sides, and obeys the clicks in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from voxsam.models.base import SlicePrompts
from voxsam.models.compact_prior import LOOSE, InBox, answer_in_box, ellipse_in, reach_of, steadiness_of
from voxsam.models.registry import load_model

SIDE = 48
BOX = torch.tensor([16.0, 20.0, 79.0, 67.0])  # in cells of two pixels: columns 8 to 39, rows 10 to 33
CENTRE = torch.tensor([[47.5, 43.5]])
ALL = torch.tensor([0.9, 0.9, 0.9, 0.9])


def ring(outer: float, inner: float = 0.0) -> Tensor:
    """A shape around the middle of the box, as shares of the ellipse in it."""
    columns, rows = (torch.arange(SIDE) + 0.5 - 24) / 16, (torch.arange(SIDE) + 0.5 - 22) / 12
    radius = torch.sqrt(columns.square() + rows.square().unsqueeze(-1))
    return (radius <= outer) & (radius >= inner)


def sure(*masks: Tensor, logit: float = 6.0) -> Tensor:
    return torch.stack([torch.where(mask, logit, -logit) for mask in masks])


def iou(answer: InBox, truth: Tensor) -> float:
    found = answer.logits > 0
    return int((found & truth).sum()) / int((found | truth).sum())


ELLIPSE = ring(1.0)
LEFT_HALF = ELLIPSE & (torch.arange(SIDE) < 24)
QUARTER = LEFT_HALF & (torch.arange(SIDE) < 22)[:, None]


def test_a_ring_that_reaches_the_sides_is_taken_and_not_the_cavity_in_it() -> None:
    wall, cavity = ring(1.0, 0.6), ring(0.6)
    assert iou(answer_in_box(sure(cavity, cavity, wall, cavity), ALL, BOX), wall) > 0.95


def test_a_bright_core_gives_way_to_the_whole() -> None:
    core, whole = ring(0.5), ring(1.0)
    assert iou(answer_in_box(sure(core, whole, core, core), torch.tensor([0.95, 0.8, 0.95, 0.95]), BOX), whole) > 0.95


@pytest.mark.parametrize("wrong", [ring(0.5), QUARTER], ids=["core", "quarter"])
def test_where_no_mask_fits_the_box_the_ellipse_is_left(wrong: Tensor) -> None:
    assert iou(answer_in_box(sure(wrong, wrong, wrong, wrong), ALL, BOX), ELLIPSE) > 0.9


def test_in_a_box_through_many_slices_a_smaller_object_stays_small() -> None:
    core = ring(0.5)
    assert iou(answer_in_box(sure(core, core, core, core), ALL, BOX, rules=LOOSE), core) > 0.95


def test_undecided_masks_leave_the_ellipse() -> None:
    assert iou(answer_in_box(torch.zeros(4, SIDE, SIDE), torch.zeros(4), BOX), ELLIPSE) > 0.9


def test_a_mask_that_fits_the_box_stays_as_it_is() -> None:
    diamond = (torch.arange(SIDE) + 0.5 - 24).abs() / 16 + ((torch.arange(SIDE) + 0.5 - 22).abs() / 12)[:, None] <= 1
    assert iou(answer_in_box(sure(diamond, diamond, diamond, diamond), ALL, BOX), diamond) == 1


def test_clicks_choose_between_masks_that_fit() -> None:
    wall, whole = ring(1.0, 0.6), ring(1.0)
    masks = sure(whole, whole, whole, wall)
    for label, meant in ((0, wall), (1, whole)):
        assert iou(answer_in_box(masks, ALL, BOX, CENTRE, torch.tensor([label])), meant) > 0.95
    padded = answer_in_box(masks, ALL, BOX, torch.zeros(1, 2), torch.tensor([-1]))
    assert torch.equal(padded.logits, answer_in_box(masks, ALL, BOX).logits)


def test_a_click_that_every_shape_disobeys_decides_nothing() -> None:
    far = torch.tensor([[1.0, 1.0]])
    whole = ring(1.0)
    assert iou(answer_in_box(sure(whole, whole, whole, whole), ALL, BOX, far, torch.tensor([1])), whole) == 1


def test_more_is_expected_of_masks_that_are_sure_and_fit() -> None:
    whole, core = ring(1.0), ring(0.5)
    fits, small, faint = (
        float(answer_in_box(logits, ALL[:2], BOX).score)
        for logits in (sure(whole, whole), sure(core, core), sure(whole, whole, logit=0.5))
    )
    assert 1 >= fits > small > 0
    assert fits > faint


def test_reach_counts_rows_and_columns_on_both_sides_of_the_boxs_edge() -> None:
    reach = reach_of(torch.stack([ring(1.0), ring(0.5), ring(2.0), ring(0.0)]), BOX)
    assert reach.tolist() == pytest.approx([1.0, 0.25, 0.33, 0.0], abs=0.06)


def test_steadiness_is_of_the_area() -> None:
    assert steadiness_of(torch.stack([sure(ring(1.0))[0], torch.zeros(SIDE, SIDE)])).tolist() == [1, 0]


def test_the_ellipse_touches_the_sides_of_the_box() -> None:
    inside = ellipse_in(BOX, (SIDE, SIDE)) > 0.5
    rows, columns = inside.any(1).nonzero()[:, 0].tolist(), inside.any(0).nonzero()[:, 0].tolist()
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 33, 8, 39)


def test_a_box_of_one_pixel_and_huge_logits_stay_finite() -> None:
    answer = answer_in_box(torch.full((4, 8, 8), 400.0), ALL, torch.tensor([4.0, 4.0, 4.0, 4.0]))
    assert answer.logits.isfinite().all()
    assert 0 <= float(answer.score) <= 1


def test_the_shipped_model_fills_a_tight_box_rather_than_a_loose_one() -> None:
    rows, columns = np.mgrid[:256, :256]
    radius = np.hypot((rows - 120) / 40, (columns - 130) / 40)
    pixels = np.where(radius <= 0.6, 0.9, np.where(radius <= 1, 0.5, 0.45)).astype(np.float32)
    model = load_model("compact", device="cpu", precision="fp32")
    embedding = model.encode(np.repeat(pixels[..., None], 3, axis=2))
    tight, loose = (
        int(
            (model.decode(embedding, SlicePrompts(box_xyxy=[90, 80, 170, 160], box_is_tight=is_tight)).logits > 0).sum()
        )
        for is_tight in (True, False)
    )
    core = int((radius <= 0.6).sum())
    assert tight > 1.2 * loose > 1.2 * 0.8 * core


@pytest.mark.parametrize("inner", [0.2, 0.8], ids=["dark core", "bright core"])
def test_the_shipped_model_answers_a_box_with_what_fills_it(inner: float) -> None:
    rows, columns = np.mgrid[:256, :256]
    radius = np.hypot((rows - 120) / 40, (columns - 130) / 56)
    pixels = np.where(radius <= 0.5, inner, np.where(radius <= 1, 0.5, 0.1)).astype(np.float32)
    model = load_model("compact", device="cpu", precision="fp32")
    embedding = model.encode(np.repeat(pixels[..., None], 3, axis=2))
    answer = model.decode(embedding, SlicePrompts(box_xyxy=[74, 80, 186, 160]))
    found = answer.logits[0] > 0
    assert np.flatnonzero(found.any(1))[[0, -1]].tolist() == pytest.approx([80, 160], abs=6)
    assert np.flatnonzero(found.any(0))[[0, -1]].tolist() == pytest.approx([74, 186], abs=6)
    assert (found & (radius <= 1)).sum() > 0.75 * (found | (radius <= 1)).sum()
    assert len(answer.scores) == 1
