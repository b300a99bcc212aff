"""Views: every grid, every plane, every region maps voxels to pixels and back without losing half a pixel."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxsam.errors import GeometryError, WindowError
from voxsam.geometry import PLANES, Geometry
from voxsam.views import LONGEST_SIDE, OUTSIDE_LOGIT, SliceStack, View, ViewFrame, slice_of
from voxsam.volume import Volume
from voxsam.windowing import Window, choose_window

UNIT = Window.from_range(0, 1)


@st.composite
def grids(draw: st.DrawFn, *, square: bool = False) -> Geometry:
    """Permuted, flipped (left-handed too), tilted, anisotropic grids of small shapes."""
    shape = tuple(draw(st.integers(1, 12)) for _ in range(3))
    spacing = (draw(st.floats(0.3, 6)),) * 3 if square else tuple(draw(st.floats(0.3, 6)) for _ in range(3))
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from((-1.0, 1.0))) for _ in range(3)]
    axes = np.zeros((3, 3))
    for column, (world, sign) in enumerate(zip(order, signs, strict=True)):
        axes[world, column] = sign
    affine = np.eye(4)
    affine[:3, :3] = _tilted(draw(st.floats(-25, 25)), draw(st.floats(-25, 25))) @ axes * spacing
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return Geometry(shape, affine)


def _tilted(about_x: float, about_z: float) -> np.ndarray:
    a, b = np.radians([about_x, about_z])
    rotate_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    return np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]]) @ rotate_x


def _region(draw_from: np.random.Generator, rows: int, columns: int) -> tuple[int, int, int, int]:
    row, column = int(draw_from.integers(rows)), int(draw_from.integers(columns))
    return (
        row,
        int(draw_from.integers(row + 1, rows + 1)),
        column,
        int(draw_from.integers(column + 1, columns + 1)),
    )


def _frame(grid: Geometry, plane: str, seed: int, *, whole: bool = False) -> ViewFrame:
    random = np.random.default_rng(seed)
    axes = grid.axes_of(plane)
    region = None if whole else _region(random, grid.shape[axes.row], grid.shape[axes.column])
    return ViewFrame.of(grid, plane, int(random.integers(grid.shape[axes.normal])), region)


@given(grid=grids(), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_a_voxel_comes_back_from_its_pixel(grid: Geometry, plane: str, seed: int) -> None:
    frame = _frame(grid, plane, seed)
    points = np.random.default_rng(seed).uniform(-3, 15, (20, 3))
    points[:, frame.axes.normal] = frame.index
    np.testing.assert_allclose(frame.to_zyx(frame.to_xy(points)), points, atol=1e-9)


@given(grid=grids(), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_the_view_and_its_region_share_their_outer_edges(grid: Geometry, plane: str, seed: int) -> None:
    frame = _frame(grid, plane, seed)
    height, width = frame.shape
    corners = frame.to_zyx([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    edges = np.sort(corners[:, [frame.axes.row, frame.axes.column]], axis=0)
    row_start, row_stop, column_start, column_stop = frame.region
    np.testing.assert_allclose(edges, [[row_start - 0.5, column_start - 0.5], [row_stop - 0.5, column_stop - 0.5]])


@given(grid=grids(), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_a_step_of_one_pixel_is_pixel_mm_in_the_patient(grid: Geometry, plane: str, seed: int) -> None:
    frame = _frame(grid, plane, seed)
    origin, right, down = grid.to_world(frame.to_zyx([[0, 0], [1, 0], [0, 1]]))
    np.testing.assert_allclose(
        [np.linalg.norm(down - origin), np.linalg.norm(right - origin)], frame.pixel_mm, rtol=1e-9
    )


@given(grid=grids(), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_the_patient_is_upright_and_seen_in_radiological_convention(grid: Geometry, plane: str, seed: int) -> None:
    frame = _frame(grid, plane, seed)
    origin, right, down = grid.to_world(frame.to_zyx([[0, 0], [1, 0], [0, 1]]))
    columns_to = {"axial": (0, -1), "coronal": (0, -1), "sagittal": (1, -1)}[plane]  # left, left, posterior
    rows_to = {"axial": (1, -1), "coronal": (2, -1), "sagittal": (2, -1)}[plane]  # posterior, inferior, inferior
    for step, (world, sign) in ((right - origin, columns_to), (down - origin, rows_to)):
        assert np.argmax(np.abs(step)) == world or np.abs(step[world]) > 0.5 * np.linalg.norm(step)
        assert np.sign(step[world]) == sign


@given(grid=grids(square=True), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_square_pixels_go_to_the_view_and_back_exactly(grid: Geometry, plane: str, seed: int) -> None:
    frame = _frame(grid, plane, seed)
    values = np.random.default_rng(seed).normal(size=frame.slice_shape).astype(np.float32)
    row_start, row_stop, column_start, column_stop = frame.region
    assert frame.shape == (row_stop - row_start, column_stop - column_start)
    shown = frame.slice_to_view(values)
    assert shown.flags.c_contiguous  # models take no negative strides
    back = frame.view_to_slice(shown)
    inside = np.zeros(frame.slice_shape, bool)
    inside[row_start:row_stop, column_start:column_stop] = True
    assert np.array_equal(back[inside], values[inside])
    assert (back[~inside] == OUTSIDE_LOGIT).all()


@given(grid=grids(), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_resampling_agrees_with_the_mapping_of_points(grid: Geometry, plane: str, seed: int) -> None:
    """A picture of the row and column indices shows, at each pixel, the index that `to_zyx` gives."""
    frame = _frame(grid, plane, seed)
    y, x = np.indices(frame.shape)
    zyx = frame.to_zyx(np.stack([x.ravel(), y.ravel()], axis=1))
    row_start, row_stop, column_start, column_stop = frame.region
    for axis, ramp_axis, (start, stop) in (
        (frame.axes.row, 0, (row_start, row_stop)),
        (frame.axes.column, 1, (column_start, column_stop)),
    ):
        ramp = np.indices(frame.slice_shape)[ramp_axis].astype(np.float32)
        expected = np.clip(zyx[:, axis], start, stop - 1).reshape(frame.shape)
        np.testing.assert_allclose(frame.slice_to_view(ramp), expected, atol=1e-4)
        nearest = frame.slice_to_view(ramp.astype(np.int16), order=0)
        assert nearest.dtype == np.int16
        assert (np.abs(nearest - zyx[:, axis].reshape(frame.shape)) <= 0.5 + 1e-6).all()


@given(grid=grids(), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_the_way_back_agrees_with_the_mapping_of_points(grid: Geometry, plane: str, seed: int) -> None:
    frame = _frame(grid, plane, seed)
    rows, columns = np.indices(frame.slice_shape)
    zyx = np.zeros((rows.size, 3))
    zyx[:, frame.axes.row], zyx[:, frame.axes.column] = rows.ravel(), columns.ravel()
    xy = frame.to_xy(zyx)
    row_start, row_stop, column_start, column_stop = frame.region
    inside = (rows >= row_start) & (rows < row_stop) & (columns >= column_start) & (columns < column_stop)
    height, width = frame.shape
    for ramp_axis, column, last in ((0, 1, height - 1), (1, 0, width - 1)):
        ramp = np.indices(frame.shape)[ramp_axis].astype(np.float32)
        expected = np.clip(xy[:, column], 0, last).reshape(frame.slice_shape)
        back = frame.view_to_slice(ramp)
        np.testing.assert_allclose(back[inside], expected[inside], atol=1e-3)


@settings(max_examples=30)
@given(grid=grids(), plane=st.sampled_from(PLANES), seed=st.integers(0, 999))
def test_labels_survive_the_way_through_a_finer_view(grid: Geometry, plane: str, seed: int) -> None:
    frame = _frame(grid, plane, seed, whole=True)
    labels = np.random.default_rng(seed).integers(0, 5, frame.slice_shape).astype(np.uint8)
    back = frame.view_to_slice(frame.slice_to_view(labels, order=0), order=0)
    rows, columns = frame.slice_shape
    if frame.shape[0] >= rows and frame.shape[1] >= columns:
        assert np.array_equal(back, labels)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((-1, 1), repeat=3)))
def test_the_same_patient_gives_the_same_picture_on_any_grid(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    upright = Geometry.from_spacing((6, 8, 10), spacing_mm=(2.0, 1.0, 1.0))
    values = np.random.default_rng(0).uniform(0, 1, upright.shape).astype(np.float32)
    array, affine = values.transpose(order), upright.affine[:, [*order, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
            array = np.flip(array, axis)
    turned = SliceStack(Volume(array, Geometry(array.shape, affine)))
    straight = SliceStack(Volume(values, upright))
    at_world = upright.to_world([[3, 4, 5]])
    for plane in PLANES:
        views = []
        for stack in (straight, turned):
            grid = stack.volume.geometry
            index = round(grid.to_voxel(at_world)[0, grid.axes_of(plane).normal])
            views.append(stack.pixels(View(plane, index, (UNIT,))))
        np.testing.assert_allclose(views[0], views[1], atol=1e-6)


def test_axial_pixels_are_the_array_turned_for_display() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (3, 5, 7)).astype(np.float32)
    stack = SliceStack(Volume(values, Geometry.from_spacing(values.shape)))  # y to anterior, x to right
    picture = stack.pixels(View("axial", 1, (UNIT,)))
    assert picture.dtype == np.float32
    for channel in range(3):
        assert np.array_equal(picture[..., channel], values[1, ::-1, ::-1])


def test_a_view_is_as_fine_as_the_finer_spacing() -> None:
    grid = Geometry.from_spacing((40, 64, 64), spacing_mm=(5.0, 0.7, 0.7))
    frame = ViewFrame.of(grid, "coronal", 3)
    assert frame.shape == (286, 64)  # 40 * 5 / 0.7
    assert frame.pixel_mm == pytest.approx((0.7, 0.7), rel=2e-3)


def test_spacings_within_a_percent_are_not_resampled() -> None:
    grid = Geometry.from_spacing((2, 512, 400), spacing_mm=(5.0, 0.703, 0.7))
    assert ViewFrame.of(grid, "axial", 0).shape == (512, 400)


@pytest.mark.parametrize("shape", [(1, 2048, 1024), (1, 1500, 3000)])
def test_a_view_is_capped_and_still_square(shape: tuple[int, int, int]) -> None:
    frame = ViewFrame.of(Geometry.from_spacing(shape), "axial", 0)
    assert max(frame.shape) == LONGEST_SIDE
    assert frame.pixel_mm[0] == pytest.approx(frame.pixel_mm[1], rel=1e-2)


def test_a_capped_view_averages_instead_of_skipping() -> None:
    stripes = np.zeros((1, 2048, 2048), np.float32)
    stripes[..., ::2] = 1.0
    picture = SliceStack(Volume(stripes, Geometry.from_spacing(stripes.shape))).pixels(View("axial", 0, (UNIT,)))
    np.testing.assert_allclose(picture[:, 4:-4], 0.5, atol=1e-3)


def test_three_windows_become_three_channels() -> None:
    scan = Volume(np.full((2, 4, 4), 50, np.int16), Geometry.from_spacing((2, 4, 4)), modality="CT")
    stack = SliceStack(scan)
    picture = stack.pixels(stack.view("axial", 0, choose_window(scan, "multi")))
    lung, soft, bone = picture[0, 0]
    assert lung == pytest.approx((50 + 1350) / 1500)
    assert soft == pytest.approx((50 + 160) / 400)
    assert bone == pytest.approx((50 + 500) / 1800)


def test_nan_is_black_and_infinity_does_not_spread() -> None:
    values = np.full((2, 3, 9), 0.5, np.float32)
    values[0, 1, 4], values[0, 1, 0] = np.nan, np.inf
    grid = Geometry.from_spacing(values.shape, spacing_mm=(1.0, 2.0, 1.0))
    picture = SliceStack(Volume(values, grid)).pixels(View("axial", 0, (UNIT,)))
    assert np.isfinite(picture).all()
    assert picture.min() >= 0.0
    assert picture.max() <= 1.0
    assert picture[:, 6:8].min() == 0.5


def test_the_volume_is_never_written_to() -> None:
    values = np.random.default_rng(0).normal(0, 100, (3, 32, 32)).astype(np.float32)
    before = values.copy()
    stack = SliceStack(Volume(values, Geometry.from_spacing(values.shape)), enhance=("denoise", "clahe"))
    stack.pixels(stack.view("axial", 1, (Window(400, 0),)))
    assert np.array_equal(values, before)


def test_volume_wide_work_is_done_once_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("voxsam.views.enhance_volume", lambda volume, names, on_progress: calls.append(names) or volume)
    scan = Volume(np.zeros((3, 16, 16), np.float32), Geometry.from_spacing((3, 16, 16)))
    stack = SliceStack(scan, enhance=("denoise",))
    for index in range(3):
        stack.pixels(View("axial", index, (UNIT,), enhance=("clahe",)))
    assert calls == [("denoise",)]


def test_clahe_on_a_region_looks_as_it_does_on_the_whole_slice() -> None:
    values = np.random.default_rng(0).normal(0, 100, (1, 96, 96)).astype(np.float32)
    stack = SliceStack(Volume(values, Geometry.from_spacing(values.shape)), enhance=("clahe",))
    whole = stack.pixels(stack.view("axial", 0, (Window(400, 0),)))
    part = stack.pixels(stack.view("axial", 0, (Window(400, 0),), (10, 50, 20, 90)))
    assert np.array_equal(part, whole[96 - 50 : 96 - 10, 96 - 90 : 96 - 20])


def test_keys_tell_pictures_apart_and_names_do_not_matter() -> None:
    views = [
        View("axial", 1, (UNIT,)),
        View("axial", 2, (UNIT,)),
        View("coronal", 1, (UNIT,)),
        View("axial", 1, (Window(1, 0.6),)),
        View("axial", 1, (UNIT, UNIT, UNIT)),
        View("axial", 1, (UNIT,), (0, 2, 0, 2)),
        View("axial", 1, (UNIT,), enhance=("clahe",)),
    ]
    assert len({view.key for view in views}) == len(set(views)) == len(views)
    assert View("axial", 1, (Window(400, 40, "soft"),)) == View("axial", 1, (Window(400, 40, "other"),))
    assert set("".join(view.key for view in views)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_resolving_adds_the_stacks_enhancements_once() -> None:
    scan = Volume(np.zeros((3, 16, 16), np.float32), Geometry.from_spacing((3, 16, 16)))
    stack = SliceStack(scan, enhance=("clahe", "n4"))
    bare, named = View("axial", 0, (UNIT,)), stack.view("axial", 0, (UNIT,))
    assert stack.resolve(bare) == stack.resolve(named) == named
    assert named.enhance == ("n4", "clahe")


def test_a_slice_can_be_written_through() -> None:
    grid = Geometry(
        (4, 5, 6), np.array([[0, 2.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    )  # x is superior
    mask = np.zeros(grid.shape, bool)
    axes = grid.axes_of("axial")
    assert (axes.normal, axes.row, axes.column) == (2, 0, 1)
    slice_of(mask, axes, 3)[1, 2] = True
    assert np.argwhere(mask).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: View("oblique", 0, (UNIT,)), GeometryError, "axial, coronal, sagittal"),
        (lambda: View("axial", -1, (UNIT,)), GeometryError, "counts from 0"),
        (lambda: View("axial", 0, (UNIT, UNIT)), WindowError, "or three"),
        (lambda: View("axial", 0, (UNIT,), (3, 3, 0, 2)), GeometryError, "not empty"),
        (lambda: View("axial", 0, (UNIT,), enhance=("clah",)), WindowError, "did you mean 'clahe'"),
        (lambda: ViewFrame.of(Geometry.from_spacing((4, 4, 4)), "axial", 4), GeometryError, "0 to 3"),
        (lambda: ViewFrame.of(Geometry.from_spacing((4, 4, 4)), "axial", 0, (0, 5, 0, 4)), GeometryError, "leaves"),
        (
            lambda: ViewFrame.of(Geometry.from_spacing((4, 4, 5)), "axial", 0).slice_to_view(np.zeros((5, 4))),
            GeometryError,
            "whole slice",
        ),
        (
            lambda: ViewFrame.of(Geometry.from_spacing((4, 4, 5)), "axial", 0).view_to_slice(np.zeros((5, 4))),
            GeometryError,
            "view's shape",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()
