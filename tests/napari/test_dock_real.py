"""The dock in a real window: real clicks and keys on the canvas, on a display."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

import voxsam
from phantoms import Phantom, awkward_geometry, dice, ellipsoid
from voxsam_napari.grid import SliceView
from voxsam_napari.orientation import shown


def opened(open_dock: Any, phantom: Phantom, model: Any = None) -> tuple[Any, Any, Any]:
    """Show a phantom at its middle; returns the dock, the user, and where on the canvas a voxel is drawn."""
    dock, user = open_dock(model)
    data, options = shown(phantom.volume)
    image = user.viewer.add_image(data, name="ct", **options)
    dock.desk.open("ct")
    user.until(lambda: dock.controller.session is not None)
    axial = phantom.volume.geometry.axes_of("axial").normal
    dock.controller.go_to(SliceView("axial", phantom.inside_zyx[axial]))
    user.settle()

    def pixel(voxel: Any) -> Any:
        return user.pixel_of(image, dock.controller.layers.grid.to_data([voxel])[0])

    return dock, user, pixel


def test_clicks_and_keys_segment_undo_and_save_an_oblique_left_handed_scan(open_dock: Any, tmp_path: Path) -> None:
    phantom = ellipsoid(awkward_geometry())
    truth = np.asarray(phantom.truth.array)
    dock, user, pixel = opened(open_dock, phantom)
    controller = dock.controller
    canvas_before = user.seen()

    user.click(pixel(phantom.inside_zyx))
    user.until(lambda: controller.previews.last is not None)
    assert np.allclose(controller.item.prompts[0].zyx, phantom.inside_zyx, atol=0.6)
    assert dice(controller.previews.last.mask, truth[phantom.inside_zyx[0]]) > 0.9
    colored = (user.seen()[..., :3].astype(int) - canvas_before[..., :3]).std(axis=-1) > 8
    assert colored.mean() > 0.02  # it is seen on the canvas, not only known

    user.press("G")
    user.until(lambda: controller.item.mask is not None)
    mask = controller.session.mask(1).array
    assert dice(mask, truth) > 0.8
    dock.panels.save.ask_path = lambda *_: str(tmp_path / "mask.nii.gz")
    user.press("Shift+S")
    user.until(lambda: dock.saver.mask_path)
    saved = voxsam.load_mask(tmp_path / "mask.nii.gz", like=phantom.volume)
    assert np.array_equal(np.asarray(saved.array) != 0, mask)

    user.viewer.dims.order = (1, 0, 2)
    controller.go_to(SliceView("coronal", phantom.inside_zyx[1]))
    user.settle()
    z, y, x = phantom.inside_zyx
    user.click(pixel((z, y, x + 2)))
    user.until(lambda: len(controller.item.prompts) == 2)
    assert np.allclose(controller.item.prompts[1].zyx, (z, y, x + 2), atol=0.6)

    for _ in range(4):
        user.press("Shift+Z")
    user.until(lambda: not controller.state.objects)
    assert not controller.layers.labels.data.any()
    for _ in range(4):
        user.press("Shift+Y")
    user.until(lambda: controller.item is not None and len(controller.item.prompts) == 2)
    user.until(lambda: controller.item.mask is not None)
    assert np.array_equal(controller.session.mask(1).array, mask)


def test_closing_the_viewer_in_mid_work_leaves_no_thread_and_every_edit(open_dock: Any, sessions_dir: Path) -> None:
    phantom = ellipsoid(awkward_geometry((40, 96, 80)))
    dock, user, pixel = opened(open_dock, phantom)
    user.click(pixel(phantom.inside_zyx))
    user.until(lambda: dock.controller.item is not None and dock.controller.item.prompts)
    prompts = dock.controller.item.prompts
    dock.controller.propagate()
    user.viewer.close()
    assert not dock.worker.is_alive
    assert not [thread for thread in threading.enumerate() if thread.name == "voxsam"]
    journal = voxsam.find_journal(phantom.volume)
    assert journal is not None
    with voxsam.open_session(phantom.volume, model=dock.desk.settings.model, journal=journal) as session:
        assert session.problems == ()
        assert session.state.objects[0].prompts == prompts
