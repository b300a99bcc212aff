from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from voxsam.obeyed import Click, obeyed

ISOTROPIC = (1.0, 1.0)


def slope(columns: int = 40, border: float = 9.5) -> npt.NDArray[np.float32]:
    """Logits that fall from left to right: the object is left of the border."""
    return np.tile(np.float32(border) - np.arange(columns, dtype=np.float32), (columns, 1))


def test_an_answer_that_obeys_is_not_touched() -> None:
    answer = slope()
    assert obeyed(answer, [(20, 5, True), (20, 30, False)], ISOTROPIC) is answer


def test_a_click_outside_brings_what_lies_between_it_and_the_mask() -> None:
    before = slope() > 0
    after = obeyed(slope(), [(20, 19, True)], ISOTROPIC) > 0
    assert after[20, :20].all()
    assert not (before & ~after).any()
    rows, columns = np.nonzero(after & ~before)
    assert np.hypot(rows - 20, columns - 19).max() <= 15.5


def test_a_click_inside_takes_away_as_much() -> None:
    before = slope(border=30.5) > 0
    after = obeyed(slope(border=30.5), [(20, 21, False)], ISOTROPIC) > 0
    assert not after[20, 21:].any()
    assert after[20, :16].all()
    assert not (after & ~before).any()


def test_distances_are_in_millimetres() -> None:
    """Slices of a coarse scan: rows four times as far apart as columns."""
    after = obeyed(slope(), [(20, 19, True)], (4.0, 1.0)) > 0
    changed = after & (slope() <= 0)
    rows, columns = np.nonzero(changed)
    assert np.hypot(4.0 * (rows - 20), columns - 19).max() <= 15.5
    assert np.ptp(rows) < np.ptp(columns)


def test_a_change_keeps_away_from_a_click_that_wants_the_opposite() -> None:
    after = obeyed(slope(), [(20, 23, False), (20, 19, True)], ISOTROPIC) > 0
    assert after[20, 19]
    assert not after[20, 22:].any()


def test_of_two_clicks_on_one_pixel_the_later_counts() -> None:
    for last in (True, False):
        answer = obeyed(slope(), [(20, 15, not last), (20, 15, last)], ISOTROPIC)
        assert (answer[20, 15] > 0) == last


def test_an_empty_mask_stays_empty() -> None:
    empty = np.full((8, 8), -3.0, np.float32)
    assert obeyed(empty, [(4, 4, True)], ISOTROPIC) is empty


def test_a_mask_that_is_everywhere_loses_the_clicked_pixel() -> None:
    assert (obeyed(np.full((8, 8), 3.0, np.float32), [(4, 4, False)], ISOTROPIC) <= 0).sum() == 1


@settings(deadline=None, max_examples=200)
@given(
    arrays(np.float32, (12, 9), elements=st.floats(-6, 6, width=16)),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8), st.booleans()), max_size=5, unique_by=lambda c: c[:2]),
    st.tuples(st.floats(0.3, 6.0), st.floats(0.3, 6.0)),
)
def test_every_click_is_obeyed(
    answer: npt.NDArray[np.float32], clicks: list[Click], spacing_mm: tuple[float, float]
) -> None:
    changed = obeyed(answer.copy(), clicks, spacing_mm)
    assert np.isfinite(changed).all()
    if (answer > 0).any():
        assert [changed[row, column] > 0 for row, column, _ in clicks] == [wanted for _, _, wanted in clicks]


@pytest.mark.parametrize("wanted", [True, False])
def test_far_from_the_click_nothing_changes(wanted: bool) -> None:
    answer = slope(60, border=30.5)
    at = 38 if wanted else 22
    changed = obeyed(answer, [(30, at, wanted)], ISOTROPIC)
    rows, columns = np.nonzero(changed != answer)
    assert len(rows)
    assert np.hypot(rows - 30, columns - at).max() <= 1.5 * 9
