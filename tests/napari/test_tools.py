from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from acting import RIGHT, User
from phantoms import GEOMETRIES, ellipsoid
from voxsam.errors import PromptError
from voxsam.prompts import Box, MaskPrompt, Point, Scribble
from voxsam_napari.grid import SliceView
from voxsam_napari.orientation import shown
from voxsam_napari.tools import Gesture, prompt_of, region_of

GRID = GEOMETRIES["thick-slices"]
HERE = SliceView("axial", 3)


def gesture(tool: Any, *points: tuple[float, float, float], positive: bool = True) -> Gesture:
    return Gesture(tool, np.array(points, float), positive, HERE)


def test_gestures_become_prompts() -> None:
    assert prompt_of(gesture("point", (3, 4.2, 5), positive=False), GRID) == Point((3, 4.2, 5), positive=False)
    assert prompt_of(gesture("box", (3, 9.6, 4), (3, 2, 20)), GRID) == Box((3, 2, 4), (3, 10, 20))
    path = [(3, 4, 5), (3, 6, 7), (3, 9, 9)]
    assert prompt_of(gesture("scribble", *path), GRID) == Scribble(path)


def test_what_leaves_the_scan_is_cut_off_or_refused() -> None:
    assert prompt_of(gesture("box", (3, -9, 4), (3, 99, 20)), GRID) == Box((3, 0, 4), (3, 63, 20))
    assert prompt_of(gesture("scribble", (3, 60, 5), (3, 63, 5), (3, 70, 5)), GRID) == Scribble(
        [(3, 60, 5), (3, 63, 5)]
    )
    with pytest.raises(PromptError, match="outside the scan"):
        prompt_of(gesture("box", (3, -9, -4), (3, -2, -1)), GRID)
    with pytest.raises(PromptError, match="the box is empty"):
        prompt_of(gesture("box", (3, 5, 5), (3, 5, 5)), GRID)
    with pytest.raises(PromptError, match="negative point, scribble or lasso"):
        prompt_of(gesture("box", (3, 1, 1), (3, 9, 9), positive=False), GRID)


@pytest.mark.parametrize("geometry", ["thick-slices", "permuted", "awkward"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_lasso_is_filled_in_the_slice_it_is_drawn_on(geometry: str, plane: Any) -> None:
    grid = GEOMETRIES[geometry]
    axes = grid.axes_of(plane)
    corners = np.zeros((4, 3))
    corners[:, axes.normal] = 2
    corners[:, axes.row] = (2, 2, 8, 8)
    corners[:, axes.column] = (3, 12, 12, 3)
    inside = region_of(Gesture("lasso", corners, True, SliceView(plane, 2)), grid)
    assert inside.shape == (grid.shape[axes.row], grid.shape[axes.column])
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max()) == pytest.approx((2, 8), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((3, 12), abs=1)


def test_a_lasso_around_nothing_is_refused() -> None:
    with pytest.raises(PromptError, match="holds no voxel"):
        region_of(gesture("lasso", (3, 2, 2), (3, 2.1, 2.1)), GRID)


@pytest.fixture
def at_work(open_dock: Any) -> tuple[Any, User, Any]:
    """A dock on a phantom, at the slice of its middle; and where a voxel is drawn."""
    dock, user = open_dock()
    phantom = ellipsoid(GRID)
    data, options = shown(phantom.volume)
    image = user.viewer.add_image(data, name="ct", **options)
    dock.desk.open("ct")
    user.until(lambda: dock.controller.session is not None)
    dock.controller.go_to(SliceView("axial", phantom.inside_zyx[0]))
    dock.controller.set_live(False)
    user.settle()
    z = phantom.inside_zyx[0]

    def pixel(row: float, column: float) -> Any:
        return user.pixel_of(image, dock.controller.layers.grid.to_data([(z, row, column)])[0])

    return dock, user, pixel


def prompts_of(dock: Any) -> Any:
    return () if dock.controller.item is None else dock.controller.item.prompts


def test_the_mouse_makes_every_kind_of_prompt(at_work: Any) -> None:
    dock, user, pixel = at_work
    z = dock.controller.view.index
    user.click(pixel(31, 31))
    user.click(pixel(10, 10), RIGHT)
    user.click(pixel(12, 12), modifier=Qt.KeyboardModifier.ControlModifier)
    user.press("N")
    user.click(pixel(50, 50))
    user.press("N")
    user.until(lambda: len(prompts_of(dock)) == 4)
    assert [prompt.positive for prompt in prompts_of(dock)] == [True, False, False, False]
    assert np.allclose([prompt.zyx for prompt in prompts_of(dock)][:2], [(z, 31, 31), (z, 10, 10)], atol=0.6)
    assert len(dock.controller.layers.points.data) == 4

    user.press("W")
    user.drag([pixel(20, 15), pixel(30, 30), pixel(42, 48)])
    user.until(lambda: len(prompts_of(dock)) == 5)
    box = prompts_of(dock)[4]
    assert isinstance(box, Box)
    assert np.allclose((box.low_zyx, box.high_zyx), ((z, 20, 15), (z, 42, 48)), atol=1)
    assert box.flat_axis == 0

    user.press("H")
    user.drag([pixel(31, 20), pixel(31, 30), pixel(31, 40)])
    user.until(lambda: len(prompts_of(dock)) == 6)
    stroke = prompts_of(dock)[5]
    assert isinstance(stroke, Scribble)
    assert stroke.positive
    assert np.allclose(stroke.points_zyx[[0, -1]], [(z, 31, 20), (z, 31, 40)], atol=0.6)
    user.drag([pixel(5, 20), pixel(5, 30), pixel(5, 40)], RIGHT)
    user.until(lambda: len(prompts_of(dock)) == 7)
    assert not prompts_of(dock)[6].positive
    assert dock.controller.layers.strokes.nshapes == 3

    user.press("Shift+H")
    user.drag([pixel(20, 20), pixel(20, 40), pixel(40, 40), pixel(40, 20)])
    user.until(lambda: dock.controller.item.mask is not None)
    drawn = [prompt for prompt in prompts_of(dock) if isinstance(prompt, MaskPrompt)]
    assert len(drawn) == 1
    assert int(dock.controller.item.mask.to_array().sum()) == pytest.approx(400, abs=80)
    user.drag([pixel(20, 20), pixel(20, 30), pixel(41, 30), pixel(41, 20)], RIGHT)
    user.until(lambda: int(dock.controller.item.mask.to_array().sum()) < 280)


def centre_of(viewer: Any) -> tuple[float, ...]:
    """Return where the camera looks; newer napari keeps it in the scene."""
    return tuple(getattr(viewer, "scene", viewer).camera.center)


def test_a_drag_with_the_point_tool_moves_the_picture_and_says_nothing(at_work: Any) -> None:
    dock, user, pixel = at_work
    before = centre_of(user.viewer)
    user.drag([pixel(31, 31), pixel(25, 25), pixel(15, 15)])
    assert centre_of(user.viewer) != before
    user.settle()
    assert not prompts_of(dock)


def test_a_drag_with_the_box_leaves_the_picture_where_it_is(at_work: Any) -> None:
    dock, user, pixel = at_work
    user.press("W")
    before = centre_of(user.viewer)
    user.drag([pixel(20, 20), pixel(30, 30), pixel(40, 40)])
    user.until(lambda: prompts_of(dock))
    assert centre_of(user.viewer) == before


def test_a_click_outside_or_with_a_dragging_tool_says_what_to_do(at_work: Any) -> None:
    dock, user, pixel = at_work
    user.click(pixel(-8, 31))
    user.until(lambda: dock.panels.message.shown is not None and "outside" in dock.panels.message.shown.text)
    user.press("W")
    user.click(pixel(31, 31))
    assert "by dragging" in dock.panels.message.shown.text
    assert not prompts_of(dock)
