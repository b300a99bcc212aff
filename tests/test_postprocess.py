"""Clean-up: what is removed, filled, rounded and closed is measured in millimetres, on any grid."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxsam.errors import InputError
from voxsam.geometry import Geometry
from voxsam.postprocess import close_gaps, fill_holes, keep_largest, keep_touching, remove_islands, smooth
from voxsam.prompts import Box, Point, Scribble
from voxsam.volume import Label, Mask

CLEAN_UPS: dict[str, Callable[[Mask], Mask]] = {
    "keep_largest": keep_largest,
    "keep_touching": lambda mask: keep_touching(mask, [Point((3, 3, 3))]),
    "remove_islands": lambda mask: remove_islands(mask, smaller_than_mm3=30),
    "fill_holes": fill_holes,
    "fill_holes per slice": lambda mask: fill_holes(mask, plane="coronal"),
    "smooth": lambda mask: smooth(mask, sigma_mm=1.0),
    "close_gaps": lambda mask: close_gaps(mask, gap_mm=2.0),
}


def _mask(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Mask:
    return Mask(array, Geometry.from_spacing(array.shape, spacing), {1: Label("liver")}, {"kept": 1})


def _three_bars() -> np.ndarray:
    """Bars of 12, 8 and 2 voxels."""
    array = np.zeros((6, 8, 20), bool)
    array[1, 1, 2:14] = array[3, 4, 2:10] = array[5, 7, 18:20] = True
    return array


def _ball(shape: tuple[int, int, int], radius_mm: float, spacing: tuple[float, float, float]) -> np.ndarray:
    axes = [(np.arange(n) - n // 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z**2 + y**2 + x**2 <= radius_mm**2


@pytest.mark.parametrize("clean_up", CLEAN_UPS.values(), ids=CLEAN_UPS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9999), density=st.floats(0, 1), spacing=st.tuples(*[st.floats(0.5, 5)] * 3))
def test_grid_labels_header_and_input_stay(
    clean_up: Callable[[Mask], Mask], seed: int, density: float, spacing: tuple[float, float, float]
) -> None:
    array = np.random.default_rng(seed).random((6, 7, 8)) < density
    mask = _mask(array.copy(), spacing)
    cleaned = clean_up(mask)
    assert cleaned.geometry is mask.geometry
    assert (cleaned.labels, cleaned.header, cleaned.array.dtype) == (mask.labels, mask.header, np.bool_)
    assert np.array_equal(mask.array, array)


@pytest.mark.parametrize("clean_up", CLEAN_UPS.values(), ids=CLEAN_UPS)
@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_an_empty_mask_stays_empty(clean_up: Callable[[Mask], Mask], dtype: type) -> None:
    assert not clean_up(_mask(np.zeros((4, 5, 6), dtype))).array.any()


@pytest.mark.parametrize("name", sorted(CLEAN_UPS.keys() - {"keep_touching"}))  # its click does not move along
@pytest.mark.parametrize("shift", [(0, 0, 0), (9, 4, 11)])
def test_the_same_thing_in_a_larger_scan_is_cleaned_the_same_way(name: str, shift: tuple[int, int, int]) -> None:
    clean_up = CLEAN_UPS[name]
    small = np.zeros((24, 24, 24), bool)
    small[7:17, 7:17, 7:17] = np.random.default_rng(0).random((10, 10, 10)) < 0.5
    large = np.zeros((40, 40, 40), bool)
    place = tuple(slice(s, s + 24) for s in shift)
    large[place] = small
    assert np.array_equal(clean_up(_mask(large)).array[place], clean_up(_mask(small)).array)


@pytest.mark.parametrize("clean_up", CLEAN_UPS.values(), ids=CLEAN_UPS)
def test_no_label_takes_from_another(clean_up: Callable[[Mask], Mask]) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (8, 9, 10)).astype(np.int16)
    cleaned = clean_up(_mask(labels))
    assert cleaned.array.dtype == np.int16
    for value in (1, 2, 3):
        before, after = labels == value, cleaned.array == value
        alone = clean_up(_mask(labels).of_label(value)).array
        assert not (after & ~alone).any()  # a label gets no more than it would alone
        assert not (after & ~before & (labels != 0) & _kept_by_their_own_label(clean_up, labels)).any()


def _kept_by_their_own_label(clean_up: Callable[[Mask], Mask], labels: np.ndarray) -> np.ndarray:
    kept = np.zeros(labels.shape, bool)
    for value in (1, 2, 3):
        kept |= (labels == value) & clean_up(_mask(labels).of_label(value)).array
    return kept


# ── components ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("count", "voxels"), [(1, 12), (2, 20), (3, 22), (9, 22)])
def test_the_largest_components_are_kept(count: int, voxels: int) -> None:
    assert keep_largest(_mask(_three_bars()), count=count).array.sum() == voxels


def test_voxels_that_share_a_corner_are_one_component() -> None:
    array = np.zeros((3, 3, 3), bool)
    array[0, 0, 0] = array[1, 1, 1] = array[2, 2, 2] = True
    assert keep_largest(_mask(array)).array.sum() == 3


def test_clicked_components_are_kept_whatever_their_size() -> None:
    mask = _mask(_three_bars())
    assert keep_touching(mask, [Point((5, 7, 18))]).array.sum() == 2
    assert keep_touching(mask, [Point((5, 7, 18)), Scribble([(3, 4, 3), (3, 4, 5)])]).array.sum() == 10


def test_a_click_beside_the_border_counts_within_reach() -> None:
    mask = _mask(_three_bars(), (3.0, 1.0, 1.0))
    beside = [Point((5, 5, 18))]
    assert keep_touching(mask, beside, reach_mm=2.0).array.sum() == 2
    assert keep_touching(mask, beside, reach_mm=1.0).array.sum() == 22  # touches none: all stay
    assert keep_touching(mask, [Point((4, 7, 18))], reach_mm=2.0).array.sum() == 22  # a slice is 3 mm away


def test_negative_points_boxes_and_clicks_far_outside_choose_nothing() -> None:
    mask = _mask(_three_bars())
    for prompts in ([], [Point((5, 7, 18), positive=False)], [Box((0, 0, 0), (0, 3, 3))], [Point((0, 0, 19))]):
        assert np.array_equal(keep_touching(mask, prompts).array, mask.array)


@pytest.mark.parametrize(("limit", "voxels"), [(0, 22), (4 - 1e-9, 22), (4, 22), (4.01, 20), (16.01, 12), (99, 0)])
def test_islands_are_measured_in_cubic_millimetres(limit: float, voxels: int) -> None:
    mask = _mask(_three_bars(), (2.0, 1.0, 1.0))
    assert remove_islands(mask, smaller_than_mm3=limit).array.sum() == voxels


# ── holes ────────────────────────────────────────────────────────────────────


def _block_with_cavity_and_tunnel() -> np.ndarray:
    array = np.zeros((9, 12, 12), bool)
    array[1:8, 1:11, 1:11] = True
    array[3:5, 3:5, 3:5] = False  # a cavity of 8 voxels
    array[:, 7:9, 7:9] = False  # a tunnel along z, 7 slices
    return array


def test_a_cavity_is_filled_and_a_tunnel_is_not() -> None:
    array = _block_with_cavity_and_tunnel()
    assert fill_holes(_mask(array)).array.sum() == array.sum() + 8


def test_per_slice_filling_closes_tunnels_across_the_plane_only() -> None:
    array = _block_with_cavity_and_tunnel()
    assert fill_holes(_mask(array), plane="axial").array.sum() == array.sum() + 8 + 28
    assert fill_holes(_mask(array), plane="sagittal").array.sum() == array.sum() + 8


def test_per_slice_filling_follows_anatomy_not_array_axes() -> None:
    array = _block_with_cavity_and_tunnel()
    turned = Geometry(array.shape, Geometry.from_spacing((12, 9, 12)).affine[:, [1, 0, 2, 3]])
    assert turned.axes_of("coronal").normal == 0
    assert fill_holes(Mask(array, turned), plane="coronal").array.sum() == array.sum() + 8 + 28


@pytest.mark.parametrize(("limit", "filled"), [(15.9, 0), (16.0, 8), (1e9, 8)])
def test_large_holes_may_stay_open(limit: float, filled: int) -> None:
    array = _block_with_cavity_and_tunnel()
    assert fill_holes(_mask(array, (2.0, 1.0, 1.0)), up_to_mm3=limit).array.sum() == array.sum() + filled


def test_a_bay_at_the_edge_of_the_scan_is_not_a_hole() -> None:
    array = np.ones((3, 5, 5), bool)
    array[:, :2, 2] = False
    assert np.array_equal(fill_holes(_mask(array)).array, array)


# ── smoothing ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.0, 2.0, 0.7)])
def test_smoothing_keeps_the_volume_of_a_rough_ball_and_comes_nearer_to_it(
    spacing: tuple[float, float, float],
) -> None:
    shape = tuple(int(40 / mm) for mm in spacing)
    truth = _ball(shape, 12.0, spacing)
    border = _ball(shape, 14.0, spacing) & ~_ball(shape, 10.0, spacing)
    rough = truth ^ (border & (np.random.default_rng(0).random(shape) < 0.25))
    smoothed = smooth(_mask(rough, spacing), sigma_mm=2.0).array
    assert smoothed.sum() == pytest.approx(rough.sum(), rel=0.01)
    assert (smoothed ^ truth).sum() < 0.6 * (rough ^ truth).sum()


def test_smoothing_without_keeping_the_volume_shrinks_what_is_convex() -> None:
    ball = _ball((31, 31, 31), 8.0, (1.0, 1.0, 1.0))
    kept, shrunk = (smooth(_mask(ball), sigma_mm=3.0, keep_volume=keep).array.sum() for keep in (True, False))
    assert shrunk < 0.97 * ball.sum()
    assert kept == pytest.approx(ball.sum(), rel=0.03)


def test_smoothing_by_nothing_changes_nothing() -> None:
    mask = _mask(_three_bars())
    assert np.array_equal(smooth(mask, sigma_mm=0.0).array, mask.array)


def test_a_mask_that_fills_the_scan_stays() -> None:
    assert smooth(_mask(np.ones((5, 6, 7), bool)), sigma_mm=2.0).array.all()


# ── gaps ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("missing", "gap_mm", "closes"), [(1, 2.0, True), (1, 1.9, False), (2, 4.0, True), (3, 4.0, False)]
)
def test_a_gap_between_slices_is_measured_in_millimetres(missing: int, gap_mm: float, closes: bool) -> None:
    array = np.zeros((11, 9, 9), bool)
    array[2:9, 2:7, 2:7] = True
    array[5 : 5 + missing] = False
    closed = close_gaps(_mask(array, (2.0, 1.0, 1.0)), gap_mm=gap_mm).array
    assert closed[2:9, 4, 4].all() == closes
    assert closed[array].all()
    assert not closed[:2].any()
    assert not closed[9:].any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), gap=st.floats(0, 5), spacing=st.tuples(*[st.floats(0.5, 4)] * 3))
def test_closing_adds_only_and_twice_is_once(seed: int, gap: float, spacing: tuple[float, float, float]) -> None:
    mask = _mask(np.random.default_rng(seed).random((6, 8, 9)) < 0.2, spacing)
    once = close_gaps(mask, gap_mm=gap)
    assert once.array[mask.array].all()
    assert np.array_equal(close_gaps(once, gap_mm=gap).array, once.array)


def test_closing_does_not_eat_or_grow_at_the_edge_of_the_scan() -> None:
    array = np.zeros((6, 6, 6), bool)
    array[:, :3] = True
    assert np.array_equal(close_gaps(_mask(array), gap_mm=4.0).array, array)


@pytest.mark.parametrize(
    "call",
    [
        lambda mask: keep_largest(mask, count=0),
        lambda mask: remove_islands(mask, smaller_than_mm3=-1),
        lambda mask: fill_holes(mask, up_to_mm3=-1),
        lambda mask: smooth(mask, sigma_mm=float("nan")),
        lambda mask: close_gaps(mask, gap_mm=-1),
    ],
)
def test_impossible_numbers_are_refused(call: Callable[[Mask], Mask]) -> None:
    with pytest.raises(InputError, match="or more"):
        call(_mask(_three_bars()))
