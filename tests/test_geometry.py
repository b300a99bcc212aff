"""Where a voxel grid sits in the patient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grids import geometries, rotation
from voxsam.errors import GeometryError
from voxsam.geometry import PLANES, Geometry, Plane

UPRIGHT = Geometry.from_spacing((40, 512, 256), spacing_mm=(5.0, 0.7, 0.8), origin_mm=(-10.0, 20.0, 30.0))


def test_the_affine_cannot_be_changed_from_outside() -> None:
    affine = np.eye(4)
    grid = Geometry((2, 3, 4), affine)
    affine[0, 0] = 9.0
    assert grid.affine[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 9.0


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((2, 3), np.eye(4), "three positive numbers"),
        ((2, 0, 4), np.eye(4), "three positive numbers"),
        ((2, 3, 4), np.eye(3), r"must be \(4, 4\), got \(3, 3\)"),
        ((2, 3, 4), np.diag([1, np.nan, 1, 1]), "must be finite"),
        ((2, 3, 4), np.diag([1, 1, 1, 2]), "last row"),
        ((2, 3, 4), np.diag([1, 0, 1, 1]), "singular"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_on_one_line(shape: tuple[int, ...], affine: np.ndarray, message: str) -> None:
    with pytest.raises(GeometryError, match=message) as caught:
        Geometry(shape, affine)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_micrometre_voxels_are_not_singular() -> None:
    assert Geometry.from_spacing((2, 2, 2), spacing_mm=(1e-3, 1e-3, 1e-3)).voxel_volume_mm3 == pytest.approx(1e-9)


def test_equal_grids_are_equal_and_hash_alike_even_with_a_negative_zero() -> None:
    minus = np.eye(4)
    minus[0, 3] = -0.0
    one, other = Geometry((2, 3, 4), np.eye(4)), Geometry((2, 3, 4), minus)
    assert one == other
    assert hash(one) == hash(other)
    assert one != Geometry((2, 3, 5), np.eye(4))
    assert one != "a grid"


def test_spacing_volume_and_orientation_of_an_upright_grid() -> None:
    assert UPRIGHT.spacing_mm == (5.0, 0.7, 0.8)
    assert UPRIGHT.voxel_volume_mm3 == pytest.approx(2.8)
    assert UPRIGHT.orientation == "SAR"


def test_the_first_voxel_lies_at_the_origin() -> None:
    assert UPRIGHT.to_world([[0, 0, 0]]).tolist() == [[-10.0, 20.0, 30.0]]


def test_bounds_include_voxel_edges() -> None:
    low, high = Geometry.from_spacing((2, 2, 2), spacing_mm=(4.0, 2.0, 1.0)).bounds_ras
    assert low == (-0.5, -1.0, -2.0)
    assert high == (1.5, 3.0, 6.0)


@given(geometries(), st.tuples(*(st.floats(-20.0, 20.0),) * 3))
def test_a_world_position_returns_to_its_voxel(grid: Geometry, point: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(grid.to_voxel(grid.to_world([point])), [point], atol=1e-9 * 900 / min(grid.spacing_mm))


@given(geometries())
def test_one_step_along_an_axis_is_its_spacing_long(grid: Geometry) -> None:
    steps = grid.to_world(np.eye(3)) - grid.to_world(np.zeros((1, 3)))
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), grid.spacing_mm, rtol=1e-9, atol=1e-11)
    assert grid.voxel_volume_mm3 == pytest.approx(np.prod(grid.spacing_mm))


@given(geometries())
def test_the_three_planes_use_each_array_axis_once_as_normal(grid: Geometry) -> None:
    assert {grid.axes_of(plane).normal for plane in PLANES} == {0, 1, 2}
    for plane in PLANES:
        axes = grid.axes_of(plane)
        assert {axes.normal, axes.row, axes.column} == {0, 1, 2}
        assert grid.plane_across(axes.normal) == plane


@given(geometries())
def test_flips_turn_every_plane_the_radiological_way(grid: Geometry) -> None:
    """Rows run to posterior or inferior, columns to the patient's left or to posterior."""
    wanted: dict[Plane, tuple[tuple[int, int], tuple[int, int]]] = {
        "axial": ((1, -1), (0, -1)), "coronal": ((2, -1), (0, -1)), "sagittal": ((2, -1), (1, -1)),
    }  # fmt: skip
    for plane, ((row_world, row_sign), (column_world, column_sign)) in wanted.items():
        axes = grid.axes_of(plane)
        down = grid.directions[row_world, axes.row] * (-1 if axes.row_flip else 1)
        along = grid.directions[column_world, axes.column] * (-1 if axes.column_flip else 1)
        assert down * row_sign >= 0
        assert along * column_sign >= 0


@given(geometries())
def test_all_voxel_centres_lie_within_and_the_next_ones_do_not(grid: Geometry) -> None:
    last = np.array(grid.shape) - 1
    assert grid.contains([[0, 0, 0], last]).all()
    assert not grid.contains([last + np.array([1, 0, 0]), [0, 0, -1]]).any()


@given(geometries(), st.tuples(*(st.floats(-2.0, 9.0),) * 3))
def test_a_position_within_has_a_nearest_voxel_that_indexes_the_array(
    grid: Geometry, point: tuple[float, float, float]
) -> None:
    nearest = np.floor(np.array(point) + 0.5)
    assert grid.contains([point])[0] == all(0 <= at < n for at, n in zip(nearest, grid.shape, strict=True))


def test_a_turned_left_handed_grid_still_knows_its_axes() -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation(0.2, -0.1, 0.15) @ np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]]) * (3.0, 0.8, 0.8)
    grid = Geometry((20, 64, 64), affine)
    assert grid.orientation == "SPL"
    assert grid.world_axes == (2, 1, 0)


@pytest.mark.parametrize(
    ("spacing_mm", "plane"),
    [
        ((5.0, 1.0, 1.0), "axial"),
        ((1.0, 4.0, 1.0), "coronal"),
        ((1.0, 1.0, 3.0), "sagittal"),
        ((1.0, 1.0, 1.0), "axial"),
        ((3.0, 4.69, 4.69), "axial"),  # PET
    ],
)
def test_the_native_plane_is_across_the_coarsest_axis(spacing_mm: tuple[float, float, float], plane: str) -> None:
    assert Geometry.from_spacing((8, 8, 8), spacing_mm).native_plane == plane


def test_an_unknown_plane_is_refused_with_the_known_ones() -> None:
    with pytest.raises(GeometryError, match="axial, coronal, sagittal"):
        UPRIGHT.axes_of("transverse")  # type: ignore[arg-type]


def test_another_grid_is_refused_with_both_grids_and_the_way_out() -> None:
    other = Geometry.from_spacing((40, 512, 256), spacing_mm=(4.0, 0.7, 0.8))
    with pytest.raises(
        GeometryError, match=r"the mask is on another grid.*\(5.0, 0.7, 0.8\).*\(4.0, 0.7, 0.8\).*Resample"
    ):
        UPRIGHT.require_same(other, "the mask")


def test_a_grid_that_differs_by_rounding_is_the_same_grid() -> None:
    rounded = Geometry(UPRIGHT.shape, UPRIGHT.affine.astype(np.float32).astype(np.float64))
    UPRIGHT.require_same(rounded, "the mask")
