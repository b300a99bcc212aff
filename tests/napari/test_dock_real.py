"""The dock in a real window: real clicks and keys on the canvas, on a display."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acting import User
from fakes import FloodFillModel
from phantoms import GEOMETRIES, Phantom, dice, ellipsoid
from voxsam_napari.keys import Shortcuts
from voxsam_napari.scans import Settings
from voxsam_napari.widget import VoxsamDock


@pytest.fixture
def phantom() -> Phantom:
    return ellipsoid(GEOMETRIES["thick-slices"])


@pytest.fixture
def open_dock(
    make_napari_viewer: Callable[..., Any], qtbot: Any, tmp_path: Path
) -> Iterator[Callable[..., tuple[VoxsamDock, User]]]:
    docks = []

    def opened(*, model: Any = None, show: bool = True) -> tuple[VoxsamDock, User]:
        viewer = make_napari_viewer(show=show)
        viewer.window.resize(1300, 900)
        settings = Settings(model=model or FloodFillModel())
        dock = VoxsamDock(viewer, settings=settings, shortcuts=Shortcuts(tmp_path / "keys.json"))
        viewer.window.add_dock_widget(dock, name="voxsam", area="right")
        docks.append(dock)
        return dock, User(viewer, qtbot)

    yield opened
    for dock in docks:
        dock.close_session()
        assert not dock.worker.is_alive


def test_a_click_previews_a_key_propagates_and_another_undoes(open_dock: Any, phantom: Phantom) -> None:
    dock, user = open_dock()
    image = user.viewer.add_image(np.asarray(phantom.volume.array), scale=(5.0, 0.8, 0.8), name="ct")
    controller = dock.controller
    dock.desk.open("ct")
    user.until(lambda: controller.session is not None)
    z, y, x = phantom.inside_zyx
    truth = np.asarray(phantom.truth.array)
    user.look(0, 5.0 * z)

    user.click(user.pixel_of(image, (z, y, x)))
    user.until(lambda: controller.last_preview is not None)
    assert controller.item is not None
    assert np.allclose(controller.item.prompts[0].zyx, (z, y, x), atol=0.6)
    assert dice(controller.layers.labels.data[z] > 0, truth[z]) > 0.95

    user.press("G")
    user.until(lambda: controller.item.mask is not None)
    assert dice(controller.layers.labels.data > 0, controller.session.mask(1).array) == 1.0
    assert dice(controller.layers.labels.data > 0, truth) > 0.7

    user.press("Shift+Z")
    user.until(lambda: controller.item.mask is None)
    user.press("Shift+Z")
    user.until(lambda: not controller.item.prompts)
    assert not controller.layers.labels.data.any()
