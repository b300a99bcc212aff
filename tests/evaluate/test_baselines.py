"""What tools without a model make of prompts, on pictures whose answer is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage

from voxsam.errors import InputError
from voxsam.evaluate.asked import Asked, Region
from voxsam.evaluate.baselines import BASELINES, baseline, copied, filled_ellipse, interpolated
from voxsam.evaluate.clicks import SimulatedBox, first_click, tight_box
from voxsam.evaluate.extras import require
from voxsam.evaluate.metrics import dice

SLICE_BASELINES = [name for name, entry in BASELINES.items() if 2 in entry.dimensions]
SEEDED = [name for name in SLICE_BASELINES if "click" in BASELINES[name].prompts]


def disc(shape: tuple[int, int] = (120, 140), centre: tuple[int, int] = (55, 80), radius: float = 20.0) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.asarray(np.hypot(rows - centre[0], columns - centre[1]) <= radius)


def picture(truth: np.ndarray, noise: float = 0.02) -> np.ndarray:
    bright = np.where(truth, 0.7, 0.35) + np.random.default_rng(0).normal(0, noise, truth.shape)
    return np.clip(ndimage.gaussian_filter(bright, 0.7), 0, 1).astype(np.float32)


def boxed(truth: np.ndarray, **options: object) -> Asked:
    box = tight_box(truth)
    middle = tuple((a + b) // 2 for a, b in zip(box.low, box.high, strict=True))
    return Asked(picture(truth), (1.0,) * truth.ndim, box=box, box_centre=middle, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SEEDED)
def test_a_bright_disc_is_found_from_one_click(name: str) -> None:
    truth = disc()
    asked = Asked(picture(truth), (1.0, 1.0), positive=(first_click(truth, (1.0, 1.0)).position,))
    found = BASELINES[name].run(asked)
    assert found.dtype == bool
    assert dice(truth, found) > 0.9


@pytest.mark.parametrize("name", SLICE_BASELINES)
def test_a_bright_disc_is_found_from_its_box(name: str) -> None:
    truth = disc()
    assert dice(truth, BASELINES[name].run(boxed(truth))) > (0.85 if name == "filled-box" else 0.9)


@pytest.mark.parametrize("name", SEEDED)
def test_a_negative_click_takes_its_part_away(name: str) -> None:
    truth, other = disc(centre=(55, 50), radius=18.0), disc(centre=(55, 100), radius=16.0)
    bridge = np.zeros_like(truth)
    bridge[50:60, 60:90] = True
    pixels = picture(truth | other | bridge)
    found = BASELINES[name].run(Asked(pixels, (1.0, 1.0), positive=((55, 50),), negative=((55, 100),)))
    assert found[55, 50]
    assert not found[55, 100]


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("corner", [(0, 0), (119, 139), (0, 70)])
def test_a_click_on_the_frame_is_answered(name: str, corner: tuple[int, int]) -> None:
    found = BASELINES[name].run(Asked(picture(disc()), (1.0, 1.0), positive=(corner,)))
    assert found.shape == (120, 140)


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("prompts", ["click", "box", "negative", "tiny", "box and click"])
def test_an_even_picture_and_odd_prompts_break_nothing(name: str, prompts: str) -> None:
    shape = (3, 2) if prompts == "tiny" else (40, 30)
    asked = {
        "click": Asked(np.full(shape, 0.5, np.float32), (1.0, 1.0), positive=((20, 10),)),
        "box": Asked(
            np.zeros(shape, np.float32), (1.0, 1.0), box=SimulatedBox((5, 5), (6, 20)), box_centre=(5, 12)
        ),
        "negative": Asked(np.zeros(shape, np.float32), (1.0, 1.0), negative=((20, 10),)),
        "tiny": Asked(np.zeros(shape, np.float32), (1.0, 1.0), positive=((1, 1),)),
        "box and click": Asked(
            np.zeros(shape, np.float32), (1.0, 1.0), positive=((39, 29),), box=SimulatedBox((5, 5), (9, 20)),
            box_centre=(7, 12),
        ),
    }[prompts]  # fmt: skip
    found = BASELINES[name].run(asked)
    assert (found.shape, found.dtype) == (shape, bool)


def test_a_box_on_one_slice_becomes_a_cylinder_and_an_extent_an_ellipsoid() -> None:
    pixels = np.zeros((10, 20, 20), np.float32)
    box = SimulatedBox((0, 5, 5), (9, 14, 14))
    cylinder = filled_ellipse(Asked(pixels, (1.0, 1.0, 1.0), box=box, box_flat_axis=0))
    ellipsoid = filled_ellipse(Asked(pixels, (1.0, 1.0, 1.0), box=box))
    assert np.array_equal(cylinder[0], cylinder[5])
    assert ellipsoid[0].sum() < ellipsoid[5].sum()
    assert ellipsoid.sum() == pytest.approx(np.pi / 6 * 1000, rel=0.06)


def test_flood_fill_works_in_a_volume_and_stays_in_its_box() -> None:
    truth = np.zeros((12, 40, 40), bool)
    truth[3:9, 10:25, 12:30] = True
    pixels = np.where(truth, 0.7, 0.3).astype(np.float32)
    flood = baseline("flood").run
    assert dice(truth, flood(Asked(pixels, (1.0, 1.0, 1.0), positive=((5, 15, 20),)))) == 1.0
    box = SimulatedBox((3, 10, 12), (5, 24, 29))
    assert flood(Asked(pixels, (1.0, 1.0, 1.0), box=box, box_centre=(4, 17, 20))).sum() == 3 * 15 * 18


def test_copy_repeats_the_nearest_drawn_slice_along_any_axis() -> None:
    drawn = np.zeros((6, 5), bool)
    drawn[2:4, 1:3] = True
    pixels = np.zeros((6, 9, 5), np.float32)
    found = copied(Asked(pixels, (1.0, 2.0, 1.0), drawn={4: drawn}, drawn_axis=1))
    assert all(np.array_equal(found[:, k], drawn) for k in range(9))


def test_interpolation_keeps_the_drawn_slices_and_grows_between_them() -> None:
    small, large = disc((40, 40), (20, 20), 4.0), disc((40, 40), (20, 20), 12.0)
    pixels = np.zeros((9, 40, 40), np.float32)
    found = interpolated(Asked(pixels, (2.0, 1.0, 1.0), drawn={1: small, 7: large}, drawn_axis=0))
    assert np.array_equal(found[1], small)
    assert np.array_equal(found[7], large)
    areas = found.sum(axis=(1, 2))
    assert areas[0] == areas[8] == 0
    assert (np.diff(areas[1:8]) > 0).all()


def test_a_region_is_small_and_its_answer_comes_back_at_full_size() -> None:
    truth = disc((600, 500), (300, 260), 100.0)
    region = Region(Asked(picture(truth), (1.0, 1.0), positive=((300, 260),)), longest_side=128)
    assert max(region.pixels.shape) == 128
    assert not (region.foreground & region.background).any()
    assert dice(truth, region.restore(region.pixels > 0.5)) > 0.97


def test_an_unknown_baseline_names_its_neighbour() -> None:
    with pytest.raises(InputError, match="did you mean 'flood'"):
        baseline("flod")


def test_a_missing_package_is_one_line_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.delitem(sys.modules, "skimage.segmentation", raising=False)
    with pytest.raises(InputError, match=r'pip install "voxsam\[evaluate\]"') as caught:
        baseline("flood").run(boxed(disc()))
    assert "\n" not in str(caught.value)


def test_a_package_that_is_broken_inside_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    (tmp_path / "broken_inside.py").write_text("import no_such_dependency_of_it\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency_of_it"):
        require("broken_inside")
