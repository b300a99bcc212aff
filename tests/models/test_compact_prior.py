"""The ellipse in a box: it settles what an answer leaves open, and nothing else."""

from __future__ import annotations

import torch

from voxsam.models.compact_prior import with_ellipse

BOX = torch.tensor([10.0, 14.0, 41.0, 45.0])
INSIDE = with_ellipse(torch.zeros(32, 32), BOX) > 0


def test_an_undecided_answer_becomes_the_ellipse() -> None:
    area = torch.pi / 4 * 16 * 16  # cells of two pixels
    assert abs(int(INSIDE.sum()) - area) < 0.05 * area
    rows, columns = INSIDE.any(1).nonzero()[:, 0], INSIDE.any(0).nonzero()[:, 0]
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (7, 22, 5, 20)


def test_an_answer_that_is_sure_stays() -> None:
    sure = torch.full((32, 32), -3.0)
    sure[:10, :10] = 3.0  # beside the ellipse, mostly
    assert torch.equal(with_ellipse(sure, BOX) > 0, sure > 0)


def test_a_box_of_one_pixel_and_huge_logits_stay_finite() -> None:
    logits = torch.full((8, 8), 400.0)
    assert with_ellipse(logits, torch.tensor([4.0, 4.0, 4.0, 4.0])).isfinite().all()
