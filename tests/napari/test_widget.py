from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels

import voxsam
from phantoms import GEOMETRIES, Phantom, ellipsoid
from voxsam.prompts import Point
from voxsam_napari.orientation import shown


@pytest.fixture
def phantom() -> Phantom:
    return ellipsoid(GEOMETRIES["awkward"])


@pytest.fixture
def image(phantom: Phantom) -> Image:
    data, options = shown(phantom.volume)
    return Image(data, name="ct", **options)


@pytest.fixture
def wait(qtbot: Any) -> Callable[[Callable[[], Any]], None]:
    return lambda holds: qtbot.waitUntil(lambda: bool(holds()), timeout=30_000)


def segment(dock: Any, phantom: Phantom, wait: Any) -> Any:
    dock.controller.add_prompt(Point(phantom.inside_zyx))
    dock.controller.propagate()
    wait(lambda: dock.controller.item and dock.controller.item.mask)
    return dock.controller.session.mask(dock.controller.current).array


def message(dock: Any) -> str:
    return dock.panels.message.shown.text if dock.panels.message.shown else ""


def test_without_an_image_the_dock_says_what_to_do(model_dock: Any) -> None:
    dock = model_dock()
    assert "no image yet" in message(dock)
    dock.controller.propagate()
    assert "open an image first" in message(dock)
    assert not dock.panels.propagate.run.isEnabled()


def test_the_panels_follow_the_session(model_dock: Any, image: Image, phantom: Phantom, wait: Any) -> None:
    dock = model_dock(image)
    mask = segment(dock, phantom, wait)
    wait(lambda: dock.panels.measure.shown.volume_ml)
    assert dock.panels.measure.shown.volume_ml == pytest.approx(
        mask.sum() * phantom.volume.geometry.voxel_volume_mm3 / 1e3
    )
    rows = dock.panels.objects.shown.rows
    assert [row.name for row in rows] == ["object 1"]
    assert rows[0].volume_ml == pytest.approx(dock.panels.measure.shown.volume_ml)
    strip = dock.panels.strip.strip.shown
    assert phantom.inside_zyx[phantom.volume.geometry.axes_of(strip.plane).normal] in {
        one.index for one in strip.slices if one.source == "prompted"
    }
    index = max(one.index for one in strip.slices if one.source != "stopped")
    dock.panels.strip.jump_asked.emit(index)
    assert dock.controller.view.index == index
    dock.panels.objects.renamed.emit(1, "liver")
    wait(lambda: dock.panels.objects.shown.rows[0].name == "liver")
    assert "10200004" in dock.panels.objects.shown.rows[0].code
    dock.panels.prompts.prompt_removed.emit(0)
    wait(lambda: not dock.panels.prompts.shown.prompts)


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd"])
def test_saved_masks_lie_on_the_scans_own_grid(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any, tmp_path: Path, suffix: str
) -> None:
    assert np.linalg.det(phantom.volume.geometry.affine[:3, :3]) != 0
    dock = model_dock(image)
    mask = segment(dock, phantom, wait)
    path = tmp_path / f"mask{suffix}"
    dock.panels.save.save_mask_asked.emit(str(path))
    wait(lambda: dock.saver.mask_path)
    saved = voxsam.load_mask(path, like=phantom.volume)
    assert np.array_equal(np.asarray(saved.array) != 0, mask)
    assert np.allclose(saved.geometry.affine, phantom.volume.geometry.affine, atol=1e-4)


def test_a_full_disk_is_told_in_one_line_and_nothing_is_lost(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any, tmp_path: Path
) -> None:
    dock = model_dock(image)
    mask = segment(dock, phantom, wait)
    (tmp_path / "file").write_text("not a folder")
    dock.panels.save.save_mask_asked.emit(str(tmp_path / "file" / "mask.nii.gz"))
    wait(lambda: dock.panels.message.shown.kind == "error")
    assert "\n" not in message(dock)
    assert not dock.saver.busy
    assert np.array_equal(dock.controller.session.mask(1).array, mask)


def test_a_session_is_offered_when_its_scan_is_opened_again(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any
) -> None:
    first = model_dock(image)
    mask = segment(first, phantom, wait)
    first.close_session()
    data, options = shown(phantom.volume)
    second = model_dock(Image(data, name="again", **options))
    wait(lambda: second.desk.found)
    assert "1 object" in second.panels.save.shown.found or second.desk.found
    assert second.controller.session is None
    second.desk.restore()
    wait(lambda: second.controller.item and second.controller.item.mask)
    assert np.array_equal(second.controller.session.mask(1).array, mask)
    second.controller.undo()
    wait(lambda: second.controller.item.mask is None)


def test_a_discarded_session_is_set_aside_and_not_deleted(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any, sessions_dir: Path
) -> None:
    first = model_dock(image)
    segment(first, phantom, wait)
    first.close_session()
    data, options = shown(phantom.volume)
    second = model_dock(Image(data, name="again", **options))
    wait(lambda: second.desk.found)
    second.desk.discard()
    wait(lambda: second.controller.session is not None)
    assert not second.controller.state.objects
    assert len(list(sessions_dir.glob("*.discarded"))) == 1


def test_another_window_keeps_all_that_was_done(model_dock: Any, image: Image, phantom: Phantom, wait: Any) -> None:
    dock = model_dock(image)
    mask = segment(dock, phantom, wait)
    before = dock.controller.session
    dock.panels.scan.window_chosen.emit("100,30")
    wait(lambda: dock.controller.session not in (None, before) and dock.controller.item)
    assert np.array_equal(dock.controller.session.mask(1).array, mask)
    assert dock.controller.item.prompts == (Point(phantom.inside_zyx),)
    wait(lambda: any(layer.name == "voxsam picture" for layer in dock.viewer.layers))
    dock.panels.scan.preview_toggled.emit(False)
    assert not any(layer.name == "voxsam picture" for layer in dock.viewer.layers)


def test_a_saved_session_opens_and_one_of_another_scan_is_refused(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any, tmp_path: Path
) -> None:
    dock = model_dock(image)
    mask = segment(dock, phantom, wait)
    path = tmp_path / "session.json"
    dock.panels.save.save_session_asked.emit(str(path))
    wait(lambda: dock.saver.session_path)
    dock.controller.remove_object(1)
    wait(lambda: not dock.controller.state.objects)
    dock.panels.save.open_session_asked.emit(str(path))
    wait(lambda: dock.controller.item and dock.controller.item.mask)
    assert np.array_equal(dock.controller.session.mask(1).array, mask)
    path.write_text(path.read_text().replace(phantom.volume.fingerprint, "0" * 64))
    dock.panels.save.open_session_asked.emit(str(path))
    wait(lambda: dock.panels.message.shown.kind == "error")
    assert "another scan" in message(dock)
    path.write_text("{torn")
    dock.panels.message.show_state(None)
    dock.panels.save.open_session_asked.emit(str(path))
    wait(lambda: dock.panels.message.shown is not None)
    assert np.array_equal(dock.controller.session.mask(1).array, mask)


def test_a_labels_layer_is_a_start_and_a_region_not_to_touch(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any
) -> None:
    drawn = np.zeros(image.data.shape, np.uint8)
    drawn[2:5, 5:20, 5:20], drawn[6:9, 25:30, 25:30] = 1, 2
    place = {name: getattr(image, name) for name in ("scale", "affine", "units")}
    mine = Labels(drawn.copy(), name="mine", **place)
    dock = model_dock(image, mine)
    assert dock.panels.objects.shown.labels == ("mine",)
    dock.panels.objects.start_from.emit("mine")
    wait(lambda: len(dock.controller.state.objects) == 2)
    grid = dock.controller.layers.grid
    assert np.array_equal(grid.shown(dock.controller.session.mask(2).array), drawn == 2)
    dock.panels.objects.protect_chosen.emit("mine")
    wait(lambda: dock.controller.state.protected is not None)
    assert np.array_equal(mine.data, drawn)
    elsewhere = Labels(np.ones((3, 4, 5), np.uint8), name="elsewhere")
    dock.viewer.add_layer(elsewhere)
    dock.panels.objects.start_from.emit("elsewhere")
    wait(lambda: "another grid" in message(dock))


def test_an_image_that_is_removed_takes_its_session_with_it_and_gives_it_back(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any
) -> None:
    dock = model_dock(image)
    mask = segment(dock, phantom, wait)
    dock.controller.propagate()
    dock.viewer.layers.remove("ct")
    wait(lambda: dock.controller.session is None and not dock.worker.is_busy)
    assert "what was done on it is kept" in message(dock)
    assert not any("voxsam" in layer.name for layer in dock.viewer.layers)
    dock.viewer.add_layer(image)
    dock.desk.open("ct")
    wait(lambda: dock.desk.found)
    dock.desk.restore()
    wait(lambda: dock.controller.item and dock.controller.item.mask)
    assert np.array_equal(dock.controller.session.mask(1).array, mask)


def test_a_scan_of_one_slice_and_a_stack_of_channels_work(model_dock: Any, wait: Any) -> None:
    rng = np.random.default_rng(0)
    disc = np.hypot(*np.ogrid[-32:32, -32:32]) < 12
    flat = model_dock(Image(np.where(disc, 100.0, 0.0) + rng.normal(0, 1, disc.shape), name="flat"))
    flat.controller.add_prompt(Point((0, 32, 32)))
    flat.controller.propagate()
    wait(lambda: flat.controller.item and flat.controller.item.mask)
    assert flat.controller.layers.labels.data.shape == (64, 64)
    assert abs(int(flat.controller.layers.labels.data.sum()) - int(disc.sum())) < 40
    flat.results.show_3d(wanted=True)
    assert "one slice" in message(flat)
    stack = model_dock(Image(rng.normal(size=(2, 5, 32, 32)), name="stack"))
    assert stack.panels.scan.shown.channels == ("1 of 2", "2 of 2")
    stack.panels.scan.channel_chosen.emit(1)
    wait(lambda: stack.controller.session is not None and not stack.desk.busy)
    assert np.array_equal(stack.desk.volume.array, stack.viewer.layers["stack"].data[1])


def test_the_3d_view_shows_a_surface_and_gives_the_slices_back(
    model_dock: Any, image: Image, phantom: Phantom, wait: Any
) -> None:
    dock = model_dock(image)
    segment(dock, phantom, wait)
    dock.panels.measure.view_3d_toggled.emit(True)
    wait(lambda: any(layer.name == "voxsam 3D" for layer in dock.viewer.layers))
    surface, grid = dock.viewer.layers["voxsam 3D"], dock.controller.layers.grid
    assert np.linalg.det(surface.affine.linear_matrix) > 0  # napari lights a mirrored one from behind
    vertices = np.linalg.solve(grid.to_world[:-1, :-1], (surface.vertices - grid.to_world[:-1, -1]).T).T
    held = grid.to_data(np.argwhere(phantom.truth.array))
    assert np.allclose(vertices.min(axis=0), held.min(axis=0), atol=1.5)
    assert np.allclose(vertices.max(axis=0), held.max(axis=0), atol=1.5)
    assert not image.visible
    dock.panels.measure.view_3d_toggled.emit(False)
    assert image.visible
    assert not any(layer.name == "voxsam 3D" for layer in dock.viewer.layers)
