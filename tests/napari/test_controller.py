from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from phantoms import GEOMETRIES, Phantom, dice, ellipsoid
from voxsam.prompts import Box, MaskPrompt, Point
from voxsam.views import slice_of
from voxsam_napari.grid import SliceView
from voxsam_napari.orientation import PLANE_ORDER, shown


@pytest.fixture(params=["permuted"])
def phantom(request: pytest.FixtureRequest) -> Phantom:
    return ellipsoid(GEOMETRIES[request.param])


@pytest.fixture
def dock(model_dock: Callable[..., Any], phantom: Phantom) -> Any:
    data, options = shown(phantom.volume)
    return model_dock(Image(data, name="ct", **options))


@pytest.fixture
def wait(qtbot: Any) -> Callable[[Callable[[], Any]], None]:
    return lambda holds: qtbot.waitUntil(lambda: bool(holds()), timeout=20_000)


def labels_in_scan(dock: Any) -> np.ndarray:
    """The labels that are drawn, with the scan's axes."""
    layers = dock.controller.layers
    return np.asarray(layers.grid.of_shown(np.asarray(layers.labels.data)))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_point_is_previewed_in_the_plane_that_is_looked_at(
    dock: Any, phantom: Phantom, wait: Any, plane: Any
) -> None:
    controller = dock.controller
    dock.viewer.dims.order = PLANE_ORDER[plane]
    axes = phantom.volume.geometry.axes_of(plane)
    index = phantom.inside_zyx[axes.normal]
    controller.go_to(SliceView(plane, index))
    assert controller.view == SliceView(plane, index)
    controller.add_prompt(Point(phantom.inside_zyx))
    wait(lambda: controller.previews.last)
    assert (controller.previews.last.plane, controller.previews.last.index) == (plane, index)
    drawn = slice_of(labels_in_scan(dock), axes, index) == 1
    assert dice(drawn, slice_of(phantom.truth.array, axes, index)) > 0.9
    assert not (labels_in_scan(dock) & ~np.isin(labels_in_scan(dock), (0, 1))).any()


def test_what_is_drawn_is_what_the_session_holds_through_undo_and_redo(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.add_prompt(Point(phantom.inside_zyx))
    controller.propagate()
    wait(lambda: controller.item and controller.item.mask)
    mask = controller.session.mask(controller.current).array
    assert dice(mask, phantom.truth.array) > 0.8
    assert np.array_equal(labels_in_scan(dock) == 1, mask)
    controller.undo()
    wait(lambda: controller.item.mask is None)
    wait(lambda: not dock.worker.is_busy)
    controller.undo()
    wait(lambda: not controller.item.prompts)
    assert not labels_in_scan(dock).any()
    controller.undo()
    wait(lambda: not controller.state.objects)
    for _ in range(3):
        controller.redo()
    wait(lambda: controller.item and controller.item.mask)
    wait(lambda: not dock.worker.is_busy)
    assert np.array_equal(labels_in_scan(dock) == 1, mask)


def test_a_correction_is_refined_where_it_is_and_nowhere_else(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.add_prompt(Point(phantom.inside_zyx))
    controller.propagate()
    wait(lambda: controller.item and controller.item.mask)
    before = controller.session.mask(1).array
    plane = controller.item.report.settings["plane"]
    axes = phantom.volume.geometry.axes_of(plane)
    index = phantom.inside_zyx[axes.normal] + 1
    row, column = np.argwhere(slice_of(before, axes, index))[0]
    zyx = np.zeros(3)
    zyx[[axes.normal, axes.row, axes.column]] = index, row, column
    controller.go_to(SliceView(plane, index))
    controller.add_prompt(Point(tuple(zyx), positive=False))
    wait(lambda: controller.item.is_stale and controller.previews.last)
    controller.refine()
    wait(lambda: not controller.item.is_stale)
    after = controller.session.mask(1).array
    assert not after[tuple(zyx.astype(int))]
    far = phantom.inside_zyx[axes.normal] - 3
    assert np.array_equal(slice_of(after, axes, far), slice_of(before, axes, far))


def test_a_new_prompt_stops_what_is_being_propagated(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller, said = dock.controller, []
    controller.said.connect(lambda text, kind: said.append(text))
    controller.add_prompt(Point(phantom.inside_zyx))
    wait(lambda: controller.item)
    controller.propagate()
    controller.add_prompt(Point((0, 0, 0), positive=False))
    wait(lambda: len(controller.item.prompts) == 2)
    wait(lambda: not controller.edits.long_work)
    assert controller.item.mask is None
    assert any("cancelled" in text for text in said)


def test_clicks_before_the_first_answer_go_to_one_object(dock: Any, phantom: Phantom, wait: Any) -> None:
    z, y, x = phantom.inside_zyx
    for shift in range(3):
        dock.controller.add_prompt(Point((z, y, x + shift)))
    wait(lambda: dock.controller.item and len(dock.controller.item.prompts) == 3)
    assert len(dock.controller.state.objects) == 1


def test_an_accepted_slice_becomes_a_prompt(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.accept()
    assert "nothing of the object" in dock.panels.message.shown.text
    plane = phantom.volume.geometry.native_plane
    axes = phantom.volume.geometry.axes_of(plane)
    index = phantom.inside_zyx[axes.normal]
    controller.go_to(SliceView(plane, index))
    controller.add_prompt(Point(phantom.inside_zyx))
    wait(lambda: controller.previews.last)
    seen = controller.previews.last.mask
    controller.accept()
    wait(lambda: controller.item.mask)
    assert np.array_equal(slice_of(controller.item.mask.to_array(), axes, index), seen)
    assert any(isinstance(prompt, MaskPrompt) for prompt in controller.item.prompts)


def test_a_stroke_of_naparis_brush_is_a_drawn_slice(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.add_object()
    wait(lambda: controller.item)
    controller.go_to(SliceView("axial", phantom.inside_zyx[phantom.volume.geometry.axes_of("axial").normal]))
    labels = controller.layers.labels
    place = controller.layers.grid.to_data([phantom.inside_zyx])[0]
    labels.brush_size = 5
    labels.paint(place, controller.current)
    wait(lambda: controller.item.mask)
    painted = controller.item.mask.to_array()
    assert painted[phantom.inside_zyx]
    assert 9 < painted.sum() < 40
    wait(lambda: not dock.worker.is_busy)
    assert np.array_equal(labels_in_scan(dock) == 1, painted)


def test_a_stroke_that_is_refused_is_taken_off_the_picture(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.add_object()
    wait(lambda: controller.item)
    controller.change_object(1, locked=True)
    wait(lambda: controller.item.locked)
    controller.layers.labels.paint(controller.layers.grid.to_data([phantom.inside_zyx])[0], 1)
    wait(lambda: "locked" in (dock.panels.message.shown.text if dock.panels.message.shown else ""))
    wait(lambda: not labels_in_scan(dock).any())


def test_points_edited_by_naparis_tools_are_prompts(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    points = controller.layers.points
    points.add(controller.layers.grid.to_data([phantom.inside_zyx])[0])
    wait(lambda: controller.item and len(controller.item.prompts) == 1)
    assert np.allclose(controller.item.prompts[0].zyx, phantom.inside_zyx)
    points.selected_data = {0}
    points.remove_selected()
    wait(lambda: not controller.item.prompts)


def test_a_shown_object_keeps_its_colour_and_a_hidden_one_is_not_drawn(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.add_prompt(Point(phantom.inside_zyx))
    controller.propagate()
    wait(lambda: controller.item and controller.item.mask)
    controller.change_object(1, color_rgb=(0.25, 0.5, 0.75))
    wait(lambda: np.allclose(controller.layers.labels.get_color(1)[:3], (0.25, 0.5, 0.75)))
    controller.change_object(1, visible=False)
    wait(lambda: not labels_in_scan(dock).any())
    controller.change_object(1, visible=True)
    wait(lambda: labels_in_scan(dock).any())


def test_objects_keep_their_voxels_from_one_another(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.add_prompt(Point(phantom.inside_zyx))
    controller.propagate()
    wait(lambda: controller.item and controller.item.mask)
    first = controller.session.mask(1).array
    controller.add_object()
    wait(lambda: controller.current == 2)
    held = np.argwhere(phantom.truth.array)
    controller.add_prompt(Box(tuple(held.min(0)), tuple(held.max(0))))
    controller.propagate()
    wait(lambda: controller.item.mask or dock.panels.message.shown.kind == "error")
    assert np.array_equal(controller.session.mask(1).array, first)


def test_a_layer_of_ours_that_is_removed_comes_back_with_everything(dock: Any, phantom: Phantom, wait: Any) -> None:
    controller = dock.controller
    controller.add_prompt(Point(phantom.inside_zyx))
    controller.propagate()
    wait(lambda: controller.item and controller.item.mask)
    before = labels_in_scan(dock).copy()
    old = controller.layers
    dock.viewer.layers.remove(old.labels)
    wait(lambda: controller.layers is not old and labels_in_scan(dock).any())
    assert np.array_equal(labels_in_scan(dock), before)
    assert len(controller.layers.points.data) == 1
    assert sum("voxsam" in layer.name for layer in dock.viewer.layers) == 3


def test_the_users_layer_is_as_it_was(dock: Any, phantom: Phantom, wait: Any) -> None:
    image = dock.viewer.layers["ct"]
    before = image.as_layer_data_tuple()
    values = np.array(image.data)
    controller = dock.controller
    controller.add_prompt(Point(phantom.inside_zyx))
    controller.propagate()
    wait(lambda: controller.item and controller.item.mask)
    dock.panels.scan.window_chosen.emit("lung")
    wait(lambda: any(layer.name == "voxsam picture" for layer in dock.viewer.layers))
    controller.undo()
    wait(lambda: not dock.worker.is_busy)
    after = image.as_layer_data_tuple()
    assert np.array_equal(image.data, values)
    assert str(after[1]) == str(before[1])
