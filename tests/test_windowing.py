"""Windows: what becomes black and white, chosen by name, by numbers, from the volume, or from prompts."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxsam.errors import WindowError
from voxsam.geometry import Geometry
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from voxsam.volume import Mask, Volume
from voxsam.windowing import MULTI, PRESETS, Window, automatic_window, choose_window, sample_of, window_around


def _volume(array: np.ndarray, modality: str = "") -> Volume:
    return Volume(array, Geometry.from_spacing(array.shape), modality=modality)


def _ct(seed: int = 0) -> np.ndarray:
    """Air around a body of soft tissue with a little bone."""
    values = np.full((8, 64, 64), -1000, np.int16)
    values[:, 10:54, 10:54] = np.random.default_rng(seed).normal(40, 20, (8, 44, 44))
    values[:, 40:46, 20:26] = 900
    return values


@given(
    width=st.floats(1e-3, 1e5),
    level=st.floats(-1e5, 1e5),
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
)
def test_grey_rises_from_black_at_low_to_white_at_high(width: float, level: float, values: list[float]) -> None:
    window = Window(width, level)
    grey = window.apply(np.sort(np.array(values)))
    assert grey.dtype == np.float32
    assert (np.diff(grey) >= 0).all()
    assert ((grey >= 0) & (grey <= 1)).all()
    assert window.apply(np.array([window.low - width, window.high + width])).tolist() == [0.0, 1.0]


def test_windowing_leaves_its_input_and_takes_what_is_not_finite() -> None:
    values = np.array([np.nan, -np.inf, np.inf, 40.0])
    assert Window(400, 40).apply(values).tolist() == [0.0, 0.0, 1.0, 0.5]
    assert np.isnan(values[0])


def test_integers_near_their_limits_do_not_wrap() -> None:
    assert Window(400, 40).apply(np.array([-32768, 32767], np.int16)).tolist() == [0.0, 1.0]
    assert Window(100, 50).apply(np.array([0, 255], np.uint8)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("width", "level"), [(0, 1), (-3, 1), (np.nan, 1), (np.inf, 0), (1, np.nan)])
def test_an_impossible_window_is_refused(width: float, level: float) -> None:
    with pytest.raises(WindowError, match="width above 0"):
        Window(width, level)


def test_every_preset_has_its_name_its_use_and_its_source() -> None:
    wanted = {"abdomen", "angio", "bone", "brain", "liver", "lung", "mediastinum", "pelvis", "soft-tissue", "spine"}
    assert wanted | {"stroke", "subdural", "temporal-bone", "neck"} == set(PRESETS)
    for name, preset in PRESETS.items():
        assert preset.name == preset.window.name == name
        assert preset.shows
        assert len(preset.source) > 20
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["lung"]  # type: ignore[index]


@pytest.mark.parametrize("spec", ["soft-tissue", "Soft Tissue", "soft_tissue", " soft-tissue "])
def test_a_preset_is_found_by_its_name_however_it_is_spaced(spec: str) -> None:
    assert choose_window(_volume(_ct(), "CT"), spec) == (Window(400, 40),)


def test_multi_is_three_ct_windows() -> None:
    windows = choose_window(_volume(_ct(), "CT"), "multi")
    assert tuple(window.name for window in windows) == MULTI


@pytest.mark.parametrize(("spec", "window"), [("400,40", Window(400, 40)), (" 1e3, -2.5 ", Window(1000, -2.5))])
def test_numbers_make_a_window(spec: str, window: Window) -> None:
    assert choose_window(_volume(_ct(), "MR"), spec) == (window,)


def test_windows_pass_as_they_are() -> None:
    scan, window = _volume(_ct()), Window(3, 4)
    assert choose_window(scan, window) == (window,)
    assert choose_window(scan, [window, window, window]) == (window,) * 3
    with pytest.raises(WindowError, match="or three"):
        choose_window(scan, [window, window])


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("abdomne", "did you mean 'abdomen'"),
        ("zzzz", "no window 'zzzz'. Known: auto, multi, WIDTH,LEVEL, abdomen"),
        ("400,40,3", "WIDTH,LEVEL, such as 400,40"),
        ("wide,40", "WIDTH,LEVEL, such as 400,40"),
        ("0,40", "width above 0"),
        ("local", "enhancement"),
    ],
)
def test_an_unknown_window_says_what_is_known(spec: str, says: str) -> None:
    with pytest.raises(WindowError, match=says):
        choose_window(_volume(_ct(), "CT"), spec)


@pytest.mark.parametrize("spec", ["liver", "multi"])
def test_a_ct_window_is_refused_on_mr_and_taken_where_the_modality_is_unknown(spec: str) -> None:
    with pytest.raises(WindowError, match="this scan is MR"):
        choose_window(_volume(_ct(), "MR"), spec)
    assert choose_window(_volume(_ct(), ""), spec)


def test_automatic_ct_is_the_soft_tissue_window_whatever_surrounds_the_patient() -> None:
    values = _ct()
    assert automatic_window(_volume(values, "CT")) == PRESETS["soft-tissue"].window
    values[values == -1000] = -3024  # a scanner's padding
    values[0, 0, :5] = 30000  # metal
    assert automatic_window(_volume(values, "CT")) == PRESETS["soft-tissue"].window


@pytest.mark.parametrize(("hu", "name"), [(900, "bone"), (-300, "lung"), (-900, "lung")])
def test_automatic_ct_of_nothing_but_bone_or_lung_shows_it(hu: int, name: str) -> None:
    values = np.random.default_rng(0).normal(hu, 30, (4, 32, 32)).astype(np.int16)
    values[0, 0, 0] = -1000
    assert automatic_window(_volume(values, "CT")).name == name


def test_ct_stored_with_an_offset_is_windowed_by_percentiles() -> None:
    values = np.maximum(_ct() + 1000, 0).astype(np.int16)
    window = automatic_window(_volume(values, "CT"))
    assert window.low < 1040 < window.high
    assert window.name.startswith("percentiles")


def test_automatic_mr_spans_the_percentiles_of_what_is_not_zero() -> None:
    values = np.zeros((10, 20, 20), np.float32)
    values[:, 5:15, 5:15] = np.linspace(100, 1100, 1000).reshape(10, 10, 10)
    window = automatic_window(_volume(values, "MR"))
    assert (window.low, window.high) == pytest.approx((105, 1095), abs=0.1)


def test_one_bright_voxel_does_not_darken_an_mr() -> None:
    values = np.random.default_rng(0).uniform(100, 200, (10, 20, 20)).astype(np.float32)
    calm = automatic_window(_volume(values.copy(), "MR"))
    values[3, 3, 3] = 1e7
    assert automatic_window(_volume(values, "MR")).high == pytest.approx(calm.high, rel=0.01)


@pytest.mark.parametrize("value", [0, 7, -3])
def test_a_volume_of_one_value_still_has_a_window(value: int) -> None:
    window = automatic_window(_volume(np.full((2, 3, 4), value, np.int16), "MR"))
    assert (window.width, window.level) == (1.0, value)


def test_a_nearly_constant_volume_shows_what_else_there_is() -> None:
    values = np.full((20, 20, 20), 5.0, np.float32)
    values[0, 0, 0] = 9.0
    window = automatic_window(_volume(values, "MR"))
    assert (window.low, window.high) == (5.0, 9.0)


def test_nan_does_not_reach_the_window() -> None:
    values = np.random.default_rng(0).uniform(1, 2, (4, 16, 16)).astype(np.float32)
    values[0], values[1, 0, 0] = np.nan, np.inf
    window = automatic_window(_volume(values, "MR"))
    assert 1 <= window.low < window.high <= 2


def test_sampling_is_even_deterministic_and_close_to_the_whole() -> None:
    values = np.random.default_rng(0).normal(100, 20, (40, 90, 90)).astype(np.float32)
    sample = sample_of(values, size=5000)
    assert 1500 < sample.size <= 5000
    assert np.array_equal(sample, sample_of(values, size=5000))
    assert sample.mean() == pytest.approx(values.mean(), abs=2)


def test_sampling_finds_a_finite_voxel_between_its_steps() -> None:
    values = np.full((3, 30, 30), np.nan, np.float32)
    values[1, 1, 1] = 3.0
    assert sample_of(values, size=50).tolist() == [3.0]
    with pytest.raises(WindowError, match="no finite value"):
        sample_of(np.full((3, 3), np.nan))


def _faint_lesion() -> tuple[Volume, np.ndarray]:
    """A liver at 110 HU with a lesion 25 HU darker, noise 8 HU, lung on one side."""
    random = np.random.default_rng(0)
    values = random.normal(110, 8, (20, 80, 80))
    z, y, x = np.indices(values.shape)
    lesion = ((z - 10) * 3.0) ** 2 + (y - 40) ** 2 + (x - 40) ** 2 < 100
    values[lesion] -= 25
    values[:, :, 70:] = -850
    geometry = Geometry.from_spacing(values.shape, spacing_mm=(3.0, 1.0, 1.0))
    return Volume(values.astype(np.int16), geometry, modality="CT"), lesion


@pytest.mark.parametrize("kind", ["point", "box", "flat box", "scribble", "mask", "with a negative"])
def test_a_window_around_prompts_stretches_the_contrast_of_a_faint_lesion(kind: str) -> None:
    scan, lesion = _faint_lesion()
    point = Point((10, 40, 40))
    prompts = {
        "point": [point],
        "box": [Box((7, 31, 31), (13, 49, 49))],
        "flat box": [Box((10, 31, 31), (10, 49, 49))],
        "scribble": [Scribble([(10, 36, 36), (10, 44, 44)])],
        "mask": [MaskPrompt(Mask(lesion, scan.geometry))],
        "with a negative": [point, Point((10, 40, 76), positive=False)],
    }[kind]
    window = window_around(scan, prompts)
    assert window.level == pytest.approx(85, abs=8)
    assert 60 < window.width < 200
    contrast = [
        np.abs(np.diff([w.apply(scan.array)[lesion].mean(), w.apply(scan.array)[5:15, 20:60, 55:65].mean()]))[0]
        for w in (window, automatic_window(scan))
    ]
    assert contrast[0] > 2 * contrast[1]


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_a_large_prompt_is_sampled_and_says_the_same(kind: str) -> None:
    random = np.random.default_rng(2)
    values = random.normal(60, 10, (160, 160, 160)).astype(np.int16)
    scan = _volume(values, "MR")
    inside = np.zeros(values.shape, bool)
    inside[10:150, 10:150, 10:150] = True
    large: Prompt = Box((0, 0, 0), (159, 159, 159)) if kind == "box" else MaskPrompt(Mask(inside, scan.geometry))
    tracemalloc.start()
    window = window_around(scan, [large])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert window.level == pytest.approx(60, abs=1)
    assert peak < 60e6  # every voxel meant, as (z, y, x), would take 96 MB


def test_air_all_around_does_not_widen_it_beyond_the_automatic_window() -> None:
    values = np.full((20, 60, 60), -900, np.int16)
    values[8:12, 28:32, 28:32] = 30
    values[0] = 40  # so that the scan is not all lung
    values[1:6] = 40
    scan = _volume(values, "CT")
    assert window_around(scan, [Point((10, 30, 30))]) == Window(400, 30)


def test_only_negative_prompts_are_better_than_none() -> None:
    scan, _ = _faint_lesion()
    assert window_around(scan, [Point((10, 20, 20), positive=False)]).level == pytest.approx(110, abs=8)
    with pytest.raises(WindowError, match="there is none"):
        window_around(scan, [])


def test_flat_or_empty_surroundings_fall_back_to_the_automatic_width() -> None:
    values = np.full((40, 64, 64), 50.0, np.float32)
    values[0, :, :] = np.linspace(0, 100, 64)
    scan = _volume(values, "MR")
    window = window_around(scan, [Point((35, 30, 30))], margin_mm=5)
    assert (window.level, window.width) == (50, automatic_window(scan).width)
    holed = values.copy()
    holed[33:38] = np.nan
    assert window_around(_volume(holed, "MR"), [Point((35, 30, 30))], margin_mm=5) == automatic_window(
        _volume(holed, "MR")
    )


def test_the_guide_lists_every_preset_as_it_is() -> None:
    guide = (Path(__file__).parents[1] / "docs" / "windowing.md").read_text("utf-8")
    for name, preset in PRESETS.items():
        assert f"| `{name}` | {preset.window.width:g} | {preset.window.level:g} | {preset.shows} |" in guide


@pytest.mark.realdata
def test_the_guides_pictures_can_be_made(data_dir: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "docs" / "examples" / "windowing_pictures.py"
    subprocess.run(
        [sys.executable, script, tmp_path], check=True, env={**os.environ, "VOXSAM_DATA": str(data_dir)}, timeout=120
    )
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"presets.jpg", "low-contrast-ct.jpg", "low-contrast-mr.jpg"}
