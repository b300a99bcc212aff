from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import FloodFillModel
from phantoms import (
    GEOMETRIES,
    GROUND_HU,
    PHANTOMS,
    dice,
    ellipsoid,
    paint,
    rotation,
    sphere,
    world_offsets,
)
from voxsam import io
from voxsam.errors import Cancelled, GeometryError, PromptError, WindowError
from voxsam.geometry import Geometry
from voxsam.prompts import Box, MaskPrompt, Point, load_prompts
from voxsam.propagate import StopRules
from voxsam.segment import CleanRules, Workspace, choose_plane, segment_volume
from voxsam.volume import Mask, Volume


@pytest.mark.parametrize("grid", GEOMETRIES)
@pytest.mark.parametrize("kind", PHANTOMS)
def test_one_click_becomes_a_mask_on_the_scans_grid(kind: str, grid: str) -> None:
    phantom = PHANTOMS[kind](GEOMETRIES[grid])
    before = phantom.volume.array.copy()
    result = segment_volume(phantom.volume, [Point(phantom.inside_zyx)], model=FloodFillModel())
    assert result.mask.geometry == phantom.volume.geometry
    assert dice(np.asarray(result.mask.array), np.asarray(phantom.truth.array)) > 0.88
    assert np.array_equal(phantom.volume.array, before)


def test_the_report_is_enough_to_repeat_the_run() -> None:
    phantom = ellipsoid(GEOMETRIES["awkward"])
    first = segment_volume(
        phantom.volume,
        [Point(phantom.inside_zyx), Point((0, 0, 0), positive=False)],
        model=FloodFillModel(),
        window="abdomen",
        stops=StopRules(last_index=12),
    )
    document = json.loads(json.dumps(first.report.to_json()))
    prompts = load_prompts(document["prompts"], phantom.volume)
    window = document["settings"]["windows"][0]
    again = segment_volume(
        phantom.volume,
        prompts,
        model=FloodFillModel(),
        plane=document["settings"]["plane"],
        window=f"{window['width']},{window['level']}",
        stops=StopRules(**document["settings"]["stops"]),
    )
    assert np.array_equal(first.mask.array, again.mask.array)
    assert document["model"]["weights_sha256"] == FloodFillModel().weights_sha256
    assert document["scan"]["fingerprint"] == phantom.volume.fingerprint
    assert document["volume_ml"] == pytest.approx(first.mask.volume_ml(), abs=1e-3)
    assert {"python", "numpy", "torch", "voxsam"} <= document["versions"].keys()
    assert set(document["timings_s"]) == {"prepare", "propagate", "clean"}
    sources = {line["source"] for line in document["slices"]}
    assert sources == {"prompted", "propagated", "stopped"}


def test_enhancements_and_a_fitted_window_are_reported() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    result = segment_volume(
        phantom.volume, [Point(phantom.inside_zyx)], model=FloodFillModel(tolerance=0.2), enhance=["clahe", "local"]
    )
    assert result.report.settings["enhance"] == ["clahe", "local"]
    assert result.report.settings["windows"][0]["name"] == "around prompts"
    assert dice(np.asarray(result.mask.array), np.asarray(phantom.truth.array)) > 0.8


def test_the_cache_is_used_again(tmp_path: Path) -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    model = FloodFillModel()
    first = segment_volume(phantom.volume, [Point(phantom.inside_zyx)], model=model, cache_dir=tmp_path)
    encoded = model.encoded
    second = segment_volume(phantom.volume, [Point(phantom.inside_zyx)], model=model, cache_dir=tmp_path)
    assert model.encoded == encoded > 0
    assert np.array_equal(first.mask.array, second.mask.array)


def test_bad_requests_are_refused_before_any_work() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    model = FloodFillModel()
    inside = Point(phantom.inside_zyx)
    for prompts, options, error in (
        ([Point((99, 0, 0))], {}, PromptError),
        ([], {}, PromptError),
        ([inside], {"window": "abdomne"}, WindowError),
        ([inside], {"enhance": ["sharpen"]}, WindowError),
        ([inside], {"plane": "oblique"}, GeometryError),
    ):
        with pytest.raises(error):
            segment_volume(phantom.volume, prompts, model=model, **options)
    assert model.encoded == 0


def test_cancelled_stops() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])

    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        segment_volume(phantom.volume, [Point(phantom.inside_zyx)], model=FloodFillModel(), on_progress=stop)


@pytest.mark.parametrize("enhance", [["denoise"], ["n4"], ["n4", "denoise"]])
def test_enhancing_the_whole_scan_counts_too_and_can_be_cancelled(enhance: list[str]) -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    scan = replace(phantom.volume, modality="MR")
    model = FloodFillModel()
    calls: list[tuple[int, int, int]] = []

    def count(done: int, total: int) -> None:
        calls.append((done, total, model.encoded))

    workspace = Workspace.open(scan, model=model, enhance=enhance)
    workspace.segment([Point(phantom.inside_zyx)], on_progress=count)
    total = 100 * (len(enhance) + 1)
    assert {whole for _, whole, _ in calls} == {total}
    done = [so_far for so_far, _, _ in calls]
    assert done == sorted(done)
    assert done[-1] == total
    before = [so_far for so_far, _, encoded in calls if not encoded]
    assert len(before) > 5 * len(enhance)
    assert before[-1] == total - 100

    calls.clear()
    workspace.segment([Point(phantom.inside_zyx)], on_progress=count)
    assert {whole for _, whole, _ in calls} == {scan.geometry.shape[0]}  # it was enhanced already

    def stop(done: int, total: int) -> None:
        raise Cancelled

    untouched = FloodFillModel()
    with pytest.raises(Cancelled):
        segment_volume(scan, [Point(phantom.inside_zyx)], model=untouched, enhance=enhance, on_progress=stop)
    assert untouched.encoded == 0


def two_spheres(geometry: Geometry) -> Volume:
    """A sphere in the middle, and below it a smaller one that touches nothing."""
    middle = (np.asarray(geometry.shape) - 1) // 2
    big = np.linalg.norm(world_offsets(geometry, middle), axis=-1) <= 8
    small = np.linalg.norm(world_offsets(geometry, middle + np.array((0, 0, 14))), axis=-1) <= 4
    return paint(big | small, geometry, noise_hu=0)


def test_what_no_prompt_touches_is_cleaned_away() -> None:
    geometry = Geometry.from_spacing((24, 40, 44))
    volume = two_spheres(geometry)
    drawn = np.zeros(geometry.shape, bool)
    drawn[11] = volume.array[11] > 0  # both of them
    kept = segment_volume(volume, [MaskPrompt(Mask(drawn, geometry))], model=FloodFillModel())
    assert dice(np.asarray(kept.mask.array), volume.array > 0) > 0.98  # both were drawn: both stay
    alone = segment_volume(volume, [Point((11, 19, 21))], model=FloodFillModel())
    assert not alone.mask.array[:, :, 32:].any()


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    geometry = Geometry.from_spacing((24, 40, 44))
    array = sphere(geometry, radius_mm=10).volume.array.copy()
    array[11, 19, 25] = GROUND_HU
    array[9:14, 17:22, 13:18] = GROUND_HU  # 125 mm3
    volume = Volume(array, geometry, modality="CT")
    prompt = Point((11, 19, 21))
    cleaned = segment_volume(volume, [prompt], model=FloodFillModel()).mask.array
    assert cleaned[11, 19, 25]
    assert not cleaned[11, 19, 15]
    raw = segment_volume(volume, [prompt], model=FloodFillModel(), clean=CleanRules(False, 0.0)).mask.array
    assert not raw[11, 19, 25]


def test_an_empty_answer_is_an_empty_mask() -> None:
    volume = Volume(np.zeros((4, 16, 16), np.int16), Geometry.from_spacing((4, 16, 16)), modality="CT")

    class Blind(FloodFillModel):
        def decode(self, *args, **options):
            answer = super().decode(*args, **options)
            return type(answer)(-abs(answer.logits), answer.scores, answer.low_res_logits)

    result = segment_volume(volume, [Point((1, 8, 8))], model=Blind())
    assert not result.mask.array.any()
    assert result.report.volume_ml == 0.0


def test_the_plane_is_that_of_the_prompts() -> None:
    grid = Geometry.from_spacing((40, 64, 64), (5.0, 1.0, 1.0))
    assert choose_plane("auto", [Point((1, 2, 3))], grid) == "axial"
    assert choose_plane("auto", [Point((1, 2, 3)), Box((3, 4, 30), (9, 9, 30))], grid) == "sagittal"
    assert choose_plane("coronal", [Box((3, 4, 30), (9, 9, 30))], grid) == "coronal"
    drawn = np.zeros(grid.shape, bool)
    drawn[3:9, 12, 4:9] = True
    assert choose_plane("auto", [MaskPrompt(Mask(drawn, grid))], grid) == "coronal"
    drawn[3:9, 13, 4:9] = True
    assert choose_plane("auto", [MaskPrompt(Mask(drawn, grid))], grid) == "axial"


def test_a_workspace_is_opened_without_encoding() -> None:
    model = FloodFillModel()
    workspace = Workspace.open(ellipsoid(GEOMETRIES["isotropic"]).volume, model=model, enhance="local")
    assert model.encoded == 0
    assert workspace.fits_window
    assert workspace.windows_for(()) == workspace.windows


# --- from a file to a file, on any grid

turns = st.floats(-35.0, 35.0)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Anisotropic, tilted, flipped, permuted, far away."""
    shape = tuple(draw(st.integers(5, 16)) for _ in range(3))
    spacing_mm = [draw(st.floats(0.4, 6.0)) for _ in range(3)]
    flips = [draw(st.sampled_from((-1.0, 1.0))) for _ in range(3)]
    order = draw(st.permutations(range(3)))
    affine = np.eye(4)
    tilt = rotation(draw(turns), draw(turns), draw(turns))
    affine[:3, :3] = (tilt @ np.diag(flips))[:, list(order)] * spacing_mm
    affine[:3, 3] = [draw(st.floats(-900, 900)) for _ in range(3)]
    return Geometry(shape, affine)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(geometries(), st.integers(0, 2**31))
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_world_point_stays_at_its_voxel_from_file_to_file(
    suffix: str, tmp_path: Path, geometry: Geometry, seed: int
) -> None:
    random = np.random.default_rng(seed)
    low = np.array([random.integers(0, n - 2) for n in geometry.shape])
    high = np.array([random.integers(a + 2, n) for a, n in zip(low, geometry.shape, strict=True)])
    truth = np.zeros(geometry.shape, bool)
    truth[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    scan = Mask((truth * 100).astype(np.int16), geometry)
    path = tmp_path / f"scan{suffix}"
    io.save_mask(scan, path)

    volume = io.load_volume(path)
    (clicked,) = geometry.to_world([(low + high) // 2])
    click = Point.from_ras(tuple(clicked), volume.geometry)
    result = segment_volume(volume, [click], model=FloodFillModel(), window="400,40", clean=CleanRules(False, 0.0))
    io.save_mask(result.mask, tmp_path / f"mask{suffix}", like=volume)
    back = io.load_mask(tmp_path / f"mask{suffix}", like=volume)

    assert back.geometry.shape == volume.geometry.shape
    assert np.array_equal(back.geometry.affine, volume.geometry.affine)
    found = np.argwhere(back.array)
    assert len(found)
    voxel = tuple(np.rint(back.geometry.to_voxel([clicked])[0]).astype(int))
    assert back.array[voxel]
    painted = geometry.to_voxel(back.geometry.to_world(found))
    assert (painted > low - 0.51).all()
    assert (painted < high + 0.51).all()
