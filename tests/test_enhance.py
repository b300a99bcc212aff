"""Enhancements: what they must change, what they must leave, and how they report and stop."""

from collections.abc import Callable

import numpy as np
import pytest

from voxsam.enhance import ENHANCEMENTS, check_enhancements, clahe, correct_bias, denoise, enhance_volume
from voxsam.errors import Cancelled, WindowError
from voxsam.geometry import Geometry
from voxsam.volume import Volume


def _noise(shape: tuple[int, ...], mean: float = 0.5, sigma: float = 0.05, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sigma, shape).astype(np.float32)


def _head(shape: tuple[int, int, int] = (16, 48, 48), spacing: tuple[float, float, float] = (2.5, 2.0, 2.0)):
    """A head of two tissues, its shading, and the grid."""
    z, y, x = (
        axis / (n - 1) * 2 - 1 if n > 1 else axis * 0.0 for axis, n in zip(np.indices(shape), shape, strict=True)
    )
    tissue = np.where(z**2 + y**2 + x**2 < 0.8, 300.0, 0.0)
    tissue[(z**2 + y**2 + x**2) < 0.3] = 450.0
    shading = np.exp(0.35 * x - 0.25 * y + 0.2 * x * y)
    return tissue.astype(np.float32), shading.astype(np.float32), Geometry.from_spacing(shape, spacing)


# ── names ────────────────────────────────────────────────────────────────────


def test_names_are_sorted_into_the_order_of_work_and_kept_once() -> None:
    assert check_enhancements(["local", "clahe", "denoise", "n4", "clahe"]) == ("n4", "denoise", "clahe", "local")
    assert check_enhancements("clahe") == ("clahe",)
    assert set(check_enhancements(ENHANCEMENTS)) == set(ENHANCEMENTS)


@pytest.mark.parametrize(("name", "says"), [("Clahe", "'clahe'"), ("denoize", "'denoise'"), ("zzz", "Known: clahe")])
def test_an_unknown_name_says_what_is_known(name: str, says: str) -> None:
    with pytest.raises(WindowError, match=says):
        check_enhancements([name])


# ── CLAHE ────────────────────────────────────────────────────────────────────


def test_clahe_with_slope_one_leaves_the_picture() -> None:
    grey = np.clip(_noise((60, 70), sigma=0.2), 0, 1)
    np.testing.assert_allclose(clahe(grey, max_slope=1.0), grey, atol=1e-5)


def test_clahe_raises_the_contrast_of_a_faint_lesion_but_not_beyond_its_slope() -> None:
    grey = _noise((128, 128), sigma=0.02)
    y, x = np.indices(grey.shape)
    lesion = (y - 64) ** 2 + (x - 64) ** 2 < 100
    grey[lesion] += 0.04
    before = grey.copy()
    after = clahe(grey, max_slope=3.0)
    assert np.array_equal(grey, before)
    gained = (after[lesion].mean() - after[~lesion].mean()) / (grey[lesion].mean() - grey[~lesion].mean())
    assert 2.0 < gained <= 3.01


def test_clahe_keeps_black_white_and_the_order_of_greys_within_a_tile() -> None:
    grey = np.clip(_noise((40, 40), sigma=0.3), 0, 1)
    grey[0, 0], grey[0, 1] = 0.0, 1.0
    after = clahe(grey, tile_mm=100)
    assert (after[0, 0], after[0, 1]) == (0.0, 1.0)
    order = np.argsort(grey, axis=None)
    assert (np.diff(after.ravel()[order]) >= -1e-6).all()
    assert after.dtype == np.float32
    assert (after.min(), after.max()) == (0.0, 1.0)


def test_clahe_has_no_seams_between_tiles() -> None:
    grey = np.tile(np.linspace(0.2, 0.8, 160, dtype=np.float32), (160, 1))
    after = clahe(grey, tile_mm=40)
    assert np.abs(np.diff(after, axis=0)).max() < 0.02
    assert np.diff(after, axis=1).max() < 0.02


def test_clahe_tiles_are_square_in_the_patient() -> None:
    fine = clahe(_noise((120, 120), sigma=0.1), pixel_mm=(1.0, 1.0))
    stretched = clahe(np.repeat(_noise((120, 120), sigma=0.1), 2, axis=0), pixel_mm=(0.5, 1.0))
    assert np.abs(stretched[1::2] - fine).mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (17, 5)])
def test_clahe_takes_slices_of_any_shape(shape: tuple[int, int]) -> None:
    after = clahe(_noise(shape))
    assert after.shape == shape
    assert np.isfinite(after).all()


@pytest.mark.parametrize("options", [{"tile_mm": 0}, {"max_slope": 0.5}, {"bins": 1}, {"pixel_mm": (0.0, 1.0)}])
def test_clahe_refuses_impossible_numbers(options: dict[str, object]) -> None:
    with pytest.raises(WindowError, match="CLAHE needs"):
        clahe(np.zeros((8, 8), np.float32), **options)
    with pytest.raises(WindowError, match="one slice"):
        clahe(np.zeros((8, 8, 8), np.float32))


# ── N4 ───────────────────────────────────────────────────────────────────────


def test_n4_takes_out_most_of_the_shading_and_keeps_the_brightness() -> None:
    tissue, shading, grid = _head()
    shaded = Volume(tissue * shading + _noise(tissue.shape, 0, 3), grid, modality="MR", name="head")
    flat = correct_bias(shaded)
    for value in (300.0, 450.0):
        inside = tissue == value
        before = shaded.array[inside].std() / shaded.array[inside].mean()
        after = flat.array[inside].std() / flat.array[inside].mean()
        assert after < 0.35 * before
    patient = tissue > 0
    assert np.log(flat.array[patient]).mean() == pytest.approx(np.log(shaded.array[patient]).mean(), abs=0.02)
    assert (flat.geometry, flat.modality, flat.name, flat.array.dtype) == (grid, "MR", "head", np.float32)


@pytest.mark.parametrize("shape", [(1, 40, 40), (3, 40, 40), (4, 5, 40)])
def test_n4_takes_thin_scans(shape: tuple[int, int, int]) -> None:
    tissue, shading, grid = _head(shape)
    flat = correct_bias(Volume(tissue * shading + 1, grid))
    assert flat.array.shape == shape
    assert np.isfinite(flat.array).all()


def test_n4_takes_values_below_zero_and_nan() -> None:
    tissue, shading, grid = _head()
    values = (tissue * shading - 200) / 100
    values[0, 0, 0] = np.nan
    before = values.copy()
    flat = correct_bias(Volume(values, grid, modality="MR"))
    assert np.isfinite(flat.array).all()
    assert np.array_equal(values, before, equal_nan=True)
    inside = tissue == 300
    assert flat.array[inside].std() < 0.5 * values[inside].std()


def test_n4_gives_one_answer_for_one_scan() -> None:
    tissue, shading, grid = _head((8, 24, 24))
    scan = Volume(tissue * shading, grid, modality="MR")
    answers = [correct_bias(scan, iterations=(5,)).array for _ in range(6)]
    assert all(np.array_equal(answers[0], answer) for answer in answers)


def test_n4_is_refused_where_it_makes_no_sense() -> None:
    scan = Volume(np.ones((4, 4, 4), np.int16), Geometry.from_spacing((4, 4, 4)), modality="CT")
    with pytest.raises(WindowError, match="a CT has none"):
        correct_bias(scan)
    with pytest.raises(WindowError, match="more than one value"):
        correct_bias(Volume(scan.array, scan.geometry))


# ── denoising ────────────────────────────────────────────────────────────────


def test_denoising_smooths_flat_tissue_and_keeps_the_edge() -> None:
    clean = np.where(np.arange(60) < 30, 40.0, 140.0) * np.ones((12, 60, 60))
    noisy = (clean + _noise(clean.shape, 0, 15)).astype(np.float32)
    before = noisy.copy()
    calm = denoise(Volume(noisy, Geometry.from_spacing(noisy.shape, (2.5, 0.8, 0.8)))).array
    assert np.array_equal(noisy, before)
    assert calm[:, :, 5:25].std() < 0.4 * noisy[:, :, 5:25].std()
    profile = calm.mean(axis=(0, 1))
    assert profile[32] - profile[27] > 0.9 * 100


def test_denoising_is_measured_in_millimetres() -> None:
    noisy = _noise((16, 32, 32), 0, 15)
    stds = [
        denoise(Volume(noisy, Geometry.from_spacing(noisy.shape, (mm, mm, mm))), smoothing_mm=1.0).array.std()
        for mm in (0.5, 2.0)
    ]
    assert stds[0] < 0.7 * stds[1]  # a millimetre is two voxels here, and half a voxel there


def test_denoising_more_smooths_more() -> None:
    scan = Volume(_noise((8, 32, 32), 0, 15), Geometry.from_spacing((8, 32, 32)))
    stds = [denoise(scan, smoothing_mm=mm).array.std() for mm in (0.3, 0.7, 1.5)]
    assert stds == sorted(stds, reverse=True)


@pytest.mark.parametrize("shape", [(1, 24, 24), (2, 3, 24)])
def test_denoising_takes_thin_scans_and_nan(shape: tuple[int, int, int]) -> None:
    values = _noise(shape)
    values[0, 0, 0] = np.nan
    calm = denoise(Volume(values, Geometry.from_spacing(shape)))
    assert np.isfinite(calm.array).all()


@pytest.mark.parametrize("options", [{"smoothing_mm": 0}, {"conductance": -1}])
def test_denoising_refuses_impossible_numbers(options: dict[str, float]) -> None:
    with pytest.raises(WindowError, match="positive"):
        denoise(Volume(np.zeros((4, 4, 4)), Geometry.from_spacing((4, 4, 4))), **options)


# ── progress and cancel ──────────────────────────────────────────────────────


@pytest.mark.parametrize("work", [correct_bias, denoise], ids=["n4", "denoise"])
def test_long_work_reports_and_can_be_stopped(work: Callable[..., Volume]) -> None:
    tissue, shading, grid = _head()
    scan = Volume(tissue * shading, grid, modality="MR")
    seen: list[tuple[int, int]] = []
    work(scan, on_progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]

    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        work(scan, on_progress=stop)


def test_enhance_volume_does_n4_first_then_denoising_and_nothing_else() -> None:
    tissue, shading, grid = _head()
    scan = Volume(tissue * shading, grid, modality="MR")
    expected = denoise(correct_bias(scan))
    assert np.array_equal(enhance_volume(scan, ["clahe", "denoise", "n4"]).array, expected.array)
    assert enhance_volume(scan, ["clahe", "local"]) is scan
