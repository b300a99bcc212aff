from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from phantoms import GEOMETRIES, ellipsoid, rotation
from voxsam.errors import GeometryError, VolumeError
from voxsam.geometry import Geometry
from voxsam_napari.grid import LayerGrid, SliceView, channels_of, scan_of
from voxsam_napari.orientation import shown

ORDERS = [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)]
rng = np.random.default_rng(0)


@pytest.fixture(params=list(GEOMETRIES))
def geometry(request: pytest.FixtureRequest) -> Geometry:
    return GEOMETRIES[request.param]


def test_layer_positions_and_voxels_go_there_and_back(geometry: Geometry) -> None:
    grid = LayerGrid(geometry, 3, (2, 0, 1), (True, False, True), np.eye(4))
    voxels = rng.uniform(0, 10, (20, 3))
    assert np.allclose(grid.to_voxel(grid.to_data(voxels)), voxels)
    array = rng.integers(0, 99, geometry.shape)
    assert np.array_equal(grid.of_shown(grid.shown(array)), array)
    data = np.array([[1, 2, 3]])
    assert grid.shown(array)[1, 2, 3] == array[tuple(grid.to_voxel(data)[0].astype(int))]


@pytest.mark.parametrize("order", ORDERS)
def test_a_scan_that_our_reader_opened_keeps_its_own_grid(geometry: Geometry, order: tuple[int, ...]) -> None:
    phantom = ellipsoid(geometry)
    data, options = shown(phantom.volume)
    layer = Image(data, **options)
    volume, grid = scan_of(layer)
    assert volume is phantom.volume
    viewer = ViewerModel()
    viewer.add_layer(layer)
    viewer.dims.order = order
    place = grid.to_data([phantom.inside_zyx])[0]
    assert data[tuple(place.astype(int))] == phantom.volume.array[phantom.inside_zyx]
    for axis, world in enumerate(layer.data_to_world(place)):
        viewer.dims.set_point(axis, world)
    view = grid.view(viewer.dims.order, viewer.dims.point)
    assert view is not None
    assert view.index == phantom.inside_zyx[geometry.axes_of(view.plane).normal]
    clicked = grid.clicked(layer.data_to_world(place), viewer.dims.order, viewer.dims.point)
    assert np.allclose(clicked, phantom.inside_zyx, atol=1e-4)


@pytest.mark.parametrize("order", ORDERS[:3])
def test_every_slice_can_be_gone_to_in_every_plane(geometry: Geometry, order: tuple[int, ...]) -> None:
    data, options = shown(ellipsoid(geometry).volume)
    layer = Image(data, **options)
    _, grid = scan_of(layer)
    viewer = ViewerModel()
    viewer.add_layer(layer)
    viewer.dims.order = order
    for plane in ("axial", "coronal", "sagittal"):
        count = geometry.shape[geometry.axes_of(plane).normal]
        for index in (0, 1, count // 2, count - 1):
            grid.show(viewer.dims, SliceView(plane, index))
            assert grid.view(viewer.dims.order, viewer.dims.point) == SliceView(plane, index)


def transformed(**options: Any) -> tuple[Image, LayerGrid, Geometry]:
    layer = Image(rng.normal(size=(6, 20, 30)), **options)
    volume, grid = scan_of(layer)
    return layer, grid, volume.geometry


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")  # napari's own word on tilted layers
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": (3.0, 0.7, 0.8), "translate": (10.0, -5.0, 3.0)},
        {"scale": (-3.0, 0.7, -0.8)},
        {"scale": (3.0, 0.7, 0.7), "rotate": 30.0},
        {"shear": (0.1, 0.0, 0.2)},
        {"affine": np.block([[rotation(10, 20, 30), np.ones((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])},
    ],
    ids=["plain", "scaled", "mirrored", "rotated", "sheared", "affine"],
)
def test_a_layer_without_a_file_gets_the_geometry_of_its_transform(options: dict[str, Any]) -> None:
    layer, grid, geometry = transformed(**options)
    data = rng.uniform(0, 5, (10, 3))
    napari_world = np.array([layer.data_to_world(place) for place in data])
    ras = geometry.to_world(grid.to_voxel(data))
    assert np.allclose(ras, napari_world[:, ::-1] * -1)  # napari's world is inferior, posterior, left


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")  # napari's own word on tilted layers
def test_a_tilted_layer_is_clicked_where_it_is_drawn() -> None:
    """napari draws a tilted layer without what of its tilt leaves the slice; its own `world_to_data` does not."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(10, 20, 30) * (3.0, 0.7, 0.8)
    layer, grid, _ = transformed(affine=affine)
    viewer = ViewerModel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # napari warns of the tilt at each slice
        viewer.add_layer(layer)
        grid.show(viewer.dims, SliceView("axial", 3))
        view = grid.view(viewer.dims.order, viewer.dims.point)
    assert view == SliceView("axial", 3)
    drawn = affine[1:3, 1:3] @ (12.0, 17.0) + affine[1:3, 3]
    clicked = grid.clicked((viewer.dims.point[0], *drawn), viewer.dims.order, viewer.dims.point)
    assert np.allclose(grid.to_data([clicked])[0], (3, 12, 17))


def test_beyond_the_scan_there_is_no_slice() -> None:
    _, grid, _ = transformed(scale=(3.0, 1.0, 1.0))
    assert grid.view((0, 1, 2), (-10.0, 0.0, 0.0)) is None
    assert grid.view((0, 1, 2), (15.0, 0.0, 0.0)) == SliceView("axial", 5)


def test_units_of_length_become_millimetres() -> None:
    _, _, geometry = transformed(scale=(5.0, 1.0, 1.0), units="um")
    assert geometry.spacing_mm == pytest.approx((0.005, 0.001, 0.001))


def test_an_image_is_a_volume_of_one_slice() -> None:
    volume, grid = scan_of(Image(rng.normal(size=(20, 30)), scale=(0.5, 0.5)))
    assert volume.geometry.shape == (1, 20, 30)
    assert grid.view((0, 1), (3.0, 3.0)) == SliceView("axial", 0)
    assert grid.clicked((2.0, 5.0), (0, 1), (0.0, 0.0)).tolist() == [0.0, 4.0, 10.0]
    assert grid.shown(volume.array).shape == (20, 30)


def test_channels_and_colours_are_asked_for() -> None:
    stack = Image(rng.normal(size=(3, 5, 20, 30)))
    assert channels_of(stack) == ("1 of 3", "2 of 3", "3 of 3")
    volume, grid = scan_of(stack, 2)
    assert np.shares_memory(volume.array, stack.data)
    assert np.array_equal(volume.array, stack.data[2])
    assert grid.clicked((2, 1, 4, 6), (0, 1, 2, 3), (2, 1, 0, 0)).tolist() == [1, 4, 6]
    photo = Image(rng.uniform(size=(20, 30, 3)), rgb=True)
    assert channels_of(photo) == ("red", "green", "blue", "all, as grey")
    assert np.allclose(scan_of(photo, 3)[0].array[0], photo.data.mean(axis=-1), atol=1e-6)
    assert channels_of(Image(rng.normal(size=(5, 20, 30)))) == ()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")  # napari's own word on tilted layers
def test_what_cannot_be_a_scan_is_refused_with_the_way_out() -> None:
    with pytest.raises(VolumeError, match="has 5 axes"):
        channels_of(Image(rng.normal(size=(2, 3, 4, 5, 6))))
    with pytest.raises(VolumeError, match="channel_axis=-1"):
        channels_of(Image(rng.normal(size=(10, 20, 30, 3)), rgb=False))
    with pytest.raises(VolumeError, match="channels 0 to 2, got 7"):
        scan_of(Image(rng.normal(size=(3, 5, 20, 30))), 7)
    with pytest.raises(GeometryError, match="singular"):
        scan_of(Image(rng.normal(size=(3, 5, 6)), affine=np.diag([1.0, 1.0, 1e-320, 1.0])))


def test_other_values_in_a_layer_of_ours_are_what_is_segmented() -> None:
    phantom = ellipsoid(GEOMETRIES["permuted"])
    data, options = shown(phantom.volume)
    layer = Image(data, **options)
    layer.data = np.asarray(data) + 1
    volume, _ = scan_of(layer)
    assert volume.geometry == phantom.volume.geometry
    assert np.array_equal(volume.array, np.asarray(phantom.volume.array) + 1)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_layer_of_one_slice_lies_where_the_slice_is_drawn(geometry: Geometry, plane: Any) -> None:
    phantom = ellipsoid(geometry)
    data, options = shown(phantom.volume)
    _, grid = scan_of(Image(data, **options))
    axes = geometry.axes_of(plane)
    index = phantom.inside_zyx[axes.normal]
    values = np.moveaxis(phantom.volume.array, (axes.normal, axes.row, axes.column), (0, 1, 2))[index]
    thin, affine = grid.thin(SliceView(plane, index), values)
    normal = grid.axes.index(axes.normal)
    place = int(grid.to_data([phantom.inside_zyx])[0][normal])
    assert np.array_equal(thin, np.take(data, [place], axis=normal))
    layer, alone = Image(data, **options), Image(thin, affine=affine)
    corner = [4, 5, 6]
    corner[normal] = place
    flat = list(corner)
    flat[normal] = 0
    assert np.allclose(layer.data_to_world(corner), alone.data_to_world(flat))
