"""The dock in a real window: real clicks and keys on the canvas, on a display."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phantoms import GEOMETRIES, Phantom, dice, ellipsoid


@pytest.fixture
def phantom() -> Phantom:
    return ellipsoid(GEOMETRIES["thick-slices"])


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
    user.until(lambda: controller.previews.last is not None)
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
