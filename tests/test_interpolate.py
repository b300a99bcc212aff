from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxsam.errors import InputError
from voxsam.interpolate import interpolate_signed_distance, signed_distance_mm


def disc(radius: float, centre: tuple[float, float] = (20.0, 20.0), shape: tuple[int, int] = (41, 41)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(rows - centre[0], columns - centre[1]) <= radius)


def test_a_cone_is_filled_evenly() -> None:
    filled = interpolate_signed_distance({0: disc(4), 4: disc(16)})
    assert list(filled) == [1, 2, 3]
    for index, mask in filled.items():
        radius = np.sqrt(mask.sum() / np.pi)
        assert radius == pytest.approx(4 + 3 * index, abs=0.6)


def test_a_shift_in_millimetres_is_half_way_in_the_middle() -> None:
    filled = interpolate_signed_distance(
        {10: disc(9, (20, 18)), 12: disc(9, (20, 22))}, spacing_mm=(2.0, 0.5), indices=[11]
    )
    rows, columns = np.nonzero(filled[11])
    assert rows.mean() == pytest.approx(20, abs=0.3)
    assert columns.mean() == pytest.approx(20, abs=0.3)


def test_an_empty_slice_ends_the_shape_half_way() -> None:
    filled = interpolate_signed_distance({0: disc(10), 8: np.zeros((41, 41), bool)})
    areas = [int(mask.sum()) for mask in filled.values()]
    assert areas == sorted(areas, reverse=True)
    assert areas[2] > 0
    assert areas[4:] == [0, 0, 0]


def test_two_empty_slices_leave_nothing() -> None:
    empty = np.zeros((5, 5), bool)
    assert not interpolate_signed_distance({0: empty, 2: empty})[1].any()


def test_drawn_slices_and_those_outside_are_left_alone() -> None:
    drawn = {2: disc(5), 5: disc(6), 6: disc(5)}
    assert list(interpolate_signed_distance(drawn)) == [3, 4]
    assert list(interpolate_signed_distance(drawn, indices=range(20))) == [3, 4]
    assert interpolate_signed_distance({2: disc(5)}) == {}


def test_nothing_drawn_and_unlike_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="got none"):
        interpolate_signed_distance({})
    with pytest.raises(InputError, match="differ in shape"):
        interpolate_signed_distance({0: np.ones((3, 3), bool), 1: np.ones((3, 4), bool)})


@settings(deadline=None, max_examples=40)
@given(st.floats(1, 12), st.floats(1, 12), st.integers(2, 9))
def test_nested_shapes_stay_nested(one: float, other: float, gap: int) -> None:
    inner, outer = disc(min(one, other)), disc(max(one, other))
    masks = [inner, *interpolate_signed_distance({0: inner, gap: outer}).values(), outer]
    for smaller, larger in pairwise(masks):
        assert not (smaller & ~larger).any()


def test_distance_counts_from_the_border_in_millimetres() -> None:
    mask = np.zeros((1, 7), bool)  # the object goes on beyond the picture
    mask[0, 2:5] = True
    assert signed_distance_mm(mask, (1.0, 2.0)).tolist() == [[-3.5, -1.5, 1.5, 3.5, 1.5, -1.5, -3.5]]
