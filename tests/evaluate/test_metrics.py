"""Dice and surface Dice, held against MONAI and against shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxsam.errors import InputError
from voxsam.evaluate.metrics import area_under_clicks, clicks_needed, dice, surface_dice

SPACINGS_MM = [(1.0, 1.0, 1.0), (5.0, 0.7, 0.9)]


def blob(seed: int, shape: tuple[int, int, int] = (12, 20, 18)) -> np.ndarray:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return np.asarray(noise > np.quantile(noise, 0.8))


def test_dice_is_twice_the_shared_over_what_is_held() -> None:
    truth, found = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    truth[:2], found[1:3] = True, True
    assert dice(truth, found) == pytest.approx(0.5)


def test_two_empty_masks_agree_and_an_empty_answer_does_not() -> None:
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    assert dice(empty, empty) == 1.0
    assert dice(full, empty) == 0.0
    assert surface_dice(empty, empty, (1, 1, 1)) == 1.0
    assert surface_dice(full, empty, (1, 1, 1)) == 0.0


def test_masks_on_two_grids_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(2, 2\), the found \(3, 3\)"):
        dice(np.ones((2, 2)), np.ones((3, 3)))
    with pytest.raises(InputError, match="3D"):
        surface_dice(np.ones((2, 2)), np.ones((2, 2)), (1, 1))


@settings(max_examples=30, deadline=None)
@given(seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_dice_is_symmetric_and_within_bounds(seeds: tuple[int, int]) -> None:
    one, other = map(blob, seeds)
    assert dice(one, other) == dice(other, one)
    assert 0.0 <= dice(one, other) <= 1.0
    assert dice(one, one) == 1.0


@pytest.mark.parametrize("shift_voxels", [1, 2, 3])
def test_a_shifted_slab_leaves_the_tolerance_at_its_width(shift_voxels: int) -> None:
    slab = np.zeros((40, 40, 40), bool)
    slab[10:20, 2:38, 2:38] = True
    shifted = np.roll(slab, shift_voxels, axis=0)
    nsd = surface_dice(slab, shifted, (1.0, 1.0, 1.0), tolerance_mm=2.0)
    assert (nsd == 1.0) == (shift_voxels <= 2)


def test_surface_dice_knows_millimetres() -> None:
    slab = np.zeros((40, 20, 20), bool)
    slab[10:20, 2:18, 2:18] = True
    shifted = np.roll(slab, 1, axis=0)
    assert surface_dice(slab, shifted, (1.0, 1.0, 1.0)) == 1.0
    assert surface_dice(slab, shifted, (5.0, 1.0, 1.0)) < 0.9


# Computed once with MONAI 1.6.1, `compute_surface_dice(..., use_subvoxels=True)`, on `blob(1)` against `blob(2)` and
# on `blob(1)` against itself moved by two voxels along y.
MONAI_VALUES = {
    ((1.0, 1.0, 1.0), "other"): 0.6700156,
    ((5.0, 0.7, 0.9), "other"): 0.6081785,
    ((1.0, 1.0, 1.0), "moved"): 0.9782908,
    ((5.0, 0.7, 0.9), "moved"): 0.9758378,
}


def partner(kind: str) -> np.ndarray:
    return blob(2) if kind == "other" else np.roll(blob(1), 2, axis=1)


@pytest.mark.parametrize(("spacing_mm", "kind"), MONAI_VALUES)
def test_surface_dice_is_what_monai_computed(spacing_mm: tuple[float, float, float], kind: str) -> None:
    assert surface_dice(blob(1), partner(kind), spacing_mm) == pytest.approx(MONAI_VALUES[spacing_mm, kind], abs=1e-6)


@pytest.mark.filterwarnings("ignore")  # another project's deprecations are not ours to fix
@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("tolerance_mm", [1.0, 2.0])
def test_surface_dice_is_what_monai_computes(spacing_mm: tuple[float, float, float], tolerance_mm: float) -> None:
    metrics = pytest.importorskip("monai.metrics", reason="the independent implementation is not installed")
    torch = pytest.importorskip("torch")
    for seed in range(4):
        truth, found = blob(seed), blob(seed + 10)
        tensors = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (found, truth)]
        expected = metrics.compute_surface_dice(
            *tensors, [tolerance_mm], include_background=True, spacing=spacing_mm, use_subvoxels=True
        )
        own = surface_dice(truth, found, spacing_mm, tolerance_mm=tolerance_mm)
        assert own == pytest.approx(float(expected), abs=1e-5)


def test_clicks_needed_counts_one_more_where_it_is_never_reached() -> None:
    assert clicks_needed([0.5, 0.85, 0.8], 0.80) == 2
    assert clicks_needed([0.5, 0.6], 0.80) == 3


def test_a_perfect_row_of_five_clicks_has_an_area_of_four() -> None:
    assert area_under_clicks([1.0] * 5) == 4.0
