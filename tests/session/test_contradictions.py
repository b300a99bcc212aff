"""Clicks on a first answer that was wrong: each helps where it was made, and none does harm elsewhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from fakes import FloodFillModel
from phantoms import dice, paint
from voxsam.evaluate.clicks import challenge_click
from voxsam.geometry import Geometry
from voxsam.local import open_session
from voxsam.prompts import Box, Point
from voxsam.volume import Volume

BoolArray = npt.NDArray[np.bool_]

#: Two blocks with ground between them, as ventricles or the halves of a jaw.
TWO_PARTS = np.zeros((20, 44, 52), bool)
TWO_PARTS[4:16, 14:30, 6:16] = True
TWO_PARTS[4:16, 14:30, 34:44] = True
#: A column that is wider half way up, as a vessel at a branch.
COLUMN = np.zeros((20, 44, 52), bool)
COLUMN[2:18, 14:26, 10:22] = True
COLUMN[8:12, 14:26, 10:34] = True


def scan_of(truth: BoolArray) -> Volume:
    return paint(truth, Geometry.from_spacing(truth.shape, (2.0, 1.0, 1.0)), noise_hu=0)


def dice_after_clicks(truth: BoolArray, box: Box, clicks: int) -> list[float]:
    """Propagate from a box, then click where the largest error is deepest, refining after each click."""
    session = open_session(scan_of(truth), model=FloodFillModel(), plane="axial")
    organ = session.add_object("organ")
    session.add_prompt(organ, box)
    session.propagate(organ)
    values = []
    for _ in range(clicks + 1):
        found = np.asarray(session.mask(organ).array)
        values.append(dice(found, truth))
        click = challenge_click(truth, found)
        if click is None:
            break
        z, y, x = click.position
        session.add_prompt(organ, Point((z, y, x), positive=click.positive))
        session.refine(organ)
    return values


@pytest.mark.parametrize(
    ("truth", "box"),
    [
        (TWO_PARTS, Box((4, 14, 6), (15, 29, 43))),  # the gap between the parts is taken for the object
        (TWO_PARTS, Box((4, 12, 4), (15, 31, 18))),  # one of the parts is found
        (COLUMN, Box((2, 14, 10), (17, 25, 21))),  # it is found without its branch
    ],
)
def test_no_click_lowers_dice_by_more_than_a_hundredth(truth: BoolArray, box: Box) -> None:
    values = dice_after_clicks(truth, box, clicks=5)
    assert len(values) > 1
    assert min(after - before for before, after in pairwise(values)) > -0.01
    assert values[-1] > values[0] + 0.03


def test_what_is_missing_is_found_by_one_click() -> None:
    values = dice_after_clicks(COLUMN, Box((2, 14, 10), (17, 25, 21)), clicks=1)
    assert values[0] < 0.95
    assert values[1] > 0.99


def test_what_a_click_takes_away_is_near_it() -> None:
    session = open_session(scan_of(COLUMN | np.roll(COLUMN, 24, axis=2)), model=FloodFillModel(), plane="axial")
    organ = session.add_object("organ")
    session.add_prompt(organ, Point((3, 20, 15)))
    session.propagate(organ)
    session.add_prompt(organ, Point((15, 20, 15), positive=False))
    before = np.array(session.mask(organ).array)
    session.refine(organ)
    after = np.asarray(session.mask(organ).array)
    assert not after[15, 20, 15]
    assert np.array_equal(after[:8], before[:8])  # nearer to the slice where the object was clicked


@pytest.mark.parametrize("how", ["box", "reach"])
def test_a_correction_keeps_to_the_slices_that_the_object_was_given(how: str) -> None:
    truth = np.zeros((20, 44, 52), bool)
    truth[:, 14:26, 10:22] = True  # goes on through the whole scan
    session = open_session(scan_of(truth), model=FloodFillModel(), plane="axial")
    organ = session.add_object("organ")
    if how == "box":
        session.add_prompt(organ, Box((5, 16, 12), (14, 24, 20)))
        session.propagate(organ)
    else:
        session.add_prompt(organ, Box((9, 16, 12), (9, 24, 20)))
        session.propagate(organ, reach=(5, 14))
    session.add_prompt(organ, Point((11, 15, 11)))
    session.refine(organ)
    after = np.asarray(session.mask(organ).array)
    assert np.flatnonzero(after.any(axis=(1, 2))).tolist() == list(range(5, 15))
    assert after[13, 15, 11]
    session.add_prompt(organ, Point((16, 20, 15)))  # beyond them: they were drawn too tight
    session.refine(organ)
    assert np.asarray(session.mask(organ).array)[16:].any(axis=(1, 2)).all()
