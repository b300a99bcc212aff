"""The simulated user clicks and draws where it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from voxsam.errors import InputError
from voxsam.evaluate.clicks import (
    challenge_box,
    challenge_click,
    corrective_click,
    first_click,
    jittered_box,
    largest_component,
    tight_box,
)

masks_2d = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=24))


@settings(max_examples=60, deadline=None)
@given(mask=masks_2d.filter(np.any))
def test_the_first_click_is_inside_and_nowhere_is_deeper(mask: np.ndarray) -> None:
    click = first_click(mask, (1.0, 1.0))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    assert mask[click.position]
    assert depth[click.position] == depth.max()


def test_depth_is_measured_in_millimetres() -> None:
    """In 5 mm rows a flat bar is deeper than a square that has more pixels across."""
    target = np.zeros((40, 60), bool)
    target[2:5, 2:58] = True  # 15 mm high
    target[20:30, 20:30] = True  # 50 mm by 10 mm: 5 mm deep
    assert first_click(target, (5.0, 1.0)).position[0] == 3
    assert first_click(target, (1.0, 1.0)).position[0] >= 20


def test_a_target_on_the_border_is_clicked_inside_and_not_on_the_edge() -> None:
    target = np.zeros((20, 20), bool)
    target[:, :9] = True
    row, column = first_click(target, (1.0, 1.0)).position
    assert column == 4
    assert 4 <= row <= 15


def test_the_larger_error_is_clicked_and_its_kind_is_told() -> None:
    truth, found = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    truth[2:8, 2:8] = True
    found[15:25, 15:25] = True
    surplus = corrective_click(truth, found, (1.0, 1.0))
    assert surplus is not None
    assert (surplus.positive, found[surplus.position]) == (False, True)
    missed = corrective_click(truth, found & False, (1.0, 1.0))
    assert missed is not None
    assert (missed.positive, truth[missed.position]) == (True, True)


def test_touching_errors_of_two_kinds_are_two_errors() -> None:
    truth, found = np.zeros((10, 30), bool), np.zeros((10, 30), bool)
    truth[:, 10:16], found[:, 16:21] = True, True
    click = corrective_click(truth, found, (1.0, 1.0))
    assert click is not None
    assert click.positive


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_correction_always_lies_on_an_error_of_its_kind(data: st.DataObject) -> None:
    truth = data.draw(masks_2d)
    found = data.draw(hnp.arrays(bool, truth.shape))
    click = corrective_click(truth, found, (1.0, 2.0))
    if click is None:
        assert np.array_equal(truth, found)
    else:
        assert truth[click.position] == click.positive
        assert found[click.position] != click.positive


def test_an_empty_target_cannot_be_clicked_or_boxed() -> None:
    empty = np.zeros((4, 4), bool)
    for ask in (lambda: first_click(empty, (1, 1)), lambda: tight_box(empty)):
        with pytest.raises(InputError, match="empty"):
            ask()
    with pytest.raises(InputError, match="empty"):
        challenge_box(np.zeros((2, 4, 4), bool), np.random.RandomState(0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), fraction=st.floats(0.0, 0.5))
def test_a_jittered_box_stays_near_and_in_the_picture(seed: int, fraction: float) -> None:
    target = np.zeros((50, 40), bool)
    target[10:30, 0:25] = True
    box = jittered_box(target, np.random.default_rng(seed), fraction=fraction)
    for axis, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
        start, stop = (10, 29) if axis == 0 else (0, 24)
        reach = max(1, round(fraction * (stop - start + 1)))
        assert 0 <= low <= high < target.shape[axis]
        assert abs(low - start) <= reach
        assert abs(high - stop) <= reach


def test_the_same_seed_draws_the_same_box() -> None:
    target = np.pad(np.ones((20, 20), bool), 10)
    one, same, other = (jittered_box(target, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_components_share_faces_unless_corners_are_asked_for() -> None:
    steps = np.zeros((6, 6), bool)
    steps[0:2, 0:2] = steps[2:4, 2:4] = steps[5, 5] = True
    assert largest_component(steps).sum() == 4
    assert largest_component(steps, connectivity=2).sum() == 8


def ball(centre: tuple[int, int, int], radius: float, shape: tuple[int, int, int] = (20, 64, 64)) -> np.ndarray:
    grid = np.indices(shape)
    return np.asarray(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2)


def test_the_challenge_box_is_exact_in_z_and_grows_by_one_shift_in_the_plane() -> None:
    mask = ball((10, 20, 30), 6.0, (20, 128, 256))
    seen = set()
    for seed in range(40):
        box = challenge_box(mask, np.random.RandomState(seed))
        assert (box.low[0], box.high[0]) == (4, 16)
        grown_y, grown_x = 14 - box.low[1], 24 - box.low[2]
        assert box.high[1:] == (26 + grown_y, 36 + grown_x)
        assert grown_y == grown_x // 2  # int(s * 128 / 256), int(s * 256 / 256)
        seen.add(grown_x)
    assert seen == set(range(6))


def test_the_challenge_box_takes_the_middle_of_the_slices_that_hold_the_structure() -> None:
    mask = np.zeros((9, 20, 20), bool)
    mask[[1, 2, 8], 5:8, 5:8] = True
    mask[2, 5:12, 5:15] = True  # slices 1, 2, 8: the second of three
    box = challenge_box(mask, np.random.RandomState(0))
    assert (box.low, box.high) == ((1, 5, 5), (8, 11, 14))


def test_the_challenge_click_joins_errors_that_touch_by_a_corner() -> None:
    truth, found = np.zeros((8, 40, 40), bool), np.zeros((8, 40, 40), bool)
    truth[1:4, 2:10, 2:10] = True
    found[4:7, 10:20, 10:20] = True  # touches by one corner: one component of 192 + 300 voxels
    truth[1:6, 25:34, 25:34] = True  # 405 voxels by itself
    click = challenge_click(truth, found)
    assert click is not None
    assert click.positive == truth[click.position]
    assert click.position[1] < 21


def test_the_challenge_click_ignores_spacing_and_draws_among_equals_with_seed_42() -> None:
    truth = np.zeros((3, 9, 20), bool)
    truth[1, 4, 2:18] = True  # a line: every voxel is as deep
    click = challenge_click(truth, np.zeros_like(truth))
    expected = np.argwhere(truth)[np.random.RandomState(42).choice(16)]
    assert click is not None
    assert click.position == tuple(expected)


def test_the_challenge_click_halves_large_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxsam.evaluate import clicks

    truth = ball((10, 30, 30), 8.0)
    fine = challenge_click(truth, np.zeros_like(truth))
    monkeypatch.setattr(clicks, "_CHALLENGE_LARGE_VOXELS", 100)
    coarse = challenge_click(truth, np.zeros_like(truth))
    assert fine is not None
    assert coarse is not None
    assert truth[coarse.position]
    assert np.abs(np.subtract(fine.position, coarse.position)).max() <= 2


def test_nothing_wrong_needs_no_click() -> None:
    truth = ball((10, 30, 30), 5.0)
    assert challenge_click(truth, truth) is None
    assert corrective_click(truth[10], truth[10], (1.0, 1.0)) is None
