"""What a ruler, and other programs, would read off the same mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import pdist
from skimage.measure import find_contours

import grids
import phantoms
from voxsam.errors import GeometryError
from voxsam.geometry import Geometry
from voxsam.measure import Measurements, measure
from voxsam.volume import Mask, Volume

ALL_GRIDS = pytest.mark.parametrize("geometry", phantoms.GEOMETRIES.values(), ids=phantoms.GEOMETRIES)


def drawn(rows: str, spacing_mm: tuple[float, float, float] = (5.0, 1.0, 1.0)) -> Mask:
    """One axial slice, drawn with # for inside."""
    lines = rows.split()
    inside = np.array([[[sign == "#" for sign in line] for line in lines]])
    return Mask(inside, Geometry.from_spacing(inside.shape, spacing_mm))


def ends_mm(found: Measurements, geometry: Geometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """World positions of both pairs of ends, (2, 3) each."""
    assert found.longest_ends_zyx is not None
    assert found.perpendicular_ends_zyx is not None
    return geometry.to_world(found.longest_ends_zyx), geometry.to_world(found.perpendicular_ends_zyx)


def test_n_voxels_in_a_row_measure_n_spacings() -> None:
    found = measure(drawn("...... .####. ......", (5.0, 0.7, 1.5)))
    assert found.longest_mm == pytest.approx(4 * 1.5)
    assert found.perpendicular_mm == pytest.approx(0.7)
    assert found.longest_ends_zyx == ((0.0, 1.0, 0.5), (0.0, 1.0, 4.5))


def test_one_voxel_has_its_longer_side_as_diameter() -> None:
    found = measure(drawn("... .#. ...", (9.0, 0.5, 0.8)))
    assert (found.longest_mm, found.perpendicular_mm) == (pytest.approx(0.8), pytest.approx(0.5))
    assert found.volume_ml == pytest.approx(9.0 * 0.5 * 0.8 / 1000)


@pytest.mark.parametrize("degrees", [0, 17, 45, 90])
@pytest.mark.parametrize("spacing_mm", [(3.0, 0.5, 0.5), (3.0, 0.4, 0.9)])
def test_an_ellipse_measures_its_two_axes(degrees: float, spacing_mm: tuple[float, float, float]) -> None:
    grid = Geometry.from_spacing((3, 160, 120), spacing_mm)
    offsets = phantoms.world_offsets(grid, (1, 79.3, 59.6))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along, across = offsets[..., 0] * c + offsets[..., 1] * s, offsets[..., 1] * c - offsets[..., 0] * s
    inside = ((along / 22.0) ** 2 + (across / 9.0) ** 2 <= 1) & (abs(offsets[..., 2]) < 1)
    found = measure(Mask(inside, grid))
    assert found.longest_mm == pytest.approx(44.0, abs=max(spacing_mm[1:]))
    assert found.perpendicular_mm == pytest.approx(18.0, abs=max(spacing_mm[1:]))
    assert found.slice_index == 1


def test_the_slice_with_the_longest_diameter_is_found_in_a_tilted_left_handed_grid() -> None:
    grid = phantoms.awkward_geometry((24, 90, 60), (3.0, 0.6, 0.9))
    found = measure(phantoms.sphere(grid, 20.0).truth)
    assert found.plane == "axial"
    assert found.slice_index == phantoms.middle_zyx(grid)[0]
    assert found.longest_mm == pytest.approx(40.0, abs=0.9)
    assert found.perpendicular_mm == pytest.approx(40.0, abs=0.9)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 8.0, rel=0.01)


@ALL_GRIDS
@pytest.mark.parametrize("shape", ["sphere", "ellipsoid", "tube", "branching"])
def test_the_two_diameters_are_at_right_angles_in_the_patient_and_as_long_as_said(
    shape: str, geometry: Geometry
) -> None:
    found = measure(phantoms.PHANTOMS[shape](geometry).truth)
    longest, perpendicular = ends_mm(found, geometry)
    assert np.linalg.norm(longest[1] - longest[0]) == pytest.approx(found.longest_mm)
    assert np.linalg.norm(perpendicular[1] - perpendicular[0]) == pytest.approx(found.perpendicular_mm)
    assert (longest[1] - longest[0]) @ (perpendicular[1] - perpendicular[0]) == pytest.approx(0, abs=1e-6)
    assert found.perpendicular_mm <= found.longest_mm


@ALL_GRIDS
def test_both_ends_of_both_diameters_lie_on_the_objects_border(geometry: Geometry) -> None:
    truth = phantoms.branching(geometry).truth.array
    found = measure(Mask(truth, geometry))
    for end in (*found.longest_ends_zyx, *found.perpendicular_ends_zyx):
        low, high = np.floor(np.array(end) + 1e-6).astype(int), np.ceil(np.array(end) - 1e-6).astype(int)
        touched = truth[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1]
        assert touched.any()
        assert not touched.all() or (low == 0).any() or (high == np.array(truth.shape)).any()


def test_the_perpendicular_spans_a_hollow_but_ends_on_the_lesion() -> None:
    found = measure(drawn("""
        ..............
        .#..........#.
        .#..........#.
        .############.
        ..............
    """))  # fmt: skip
    assert found.longest_mm == pytest.approx(np.hypot(12, 2), abs=0.3)
    assert found.perpendicular_mm < 4.1


def test_pieces_of_a_slice_that_do_not_touch_are_measured_one_by_one() -> None:
    found = measure(drawn("#........ ......... ....####. ........#"))
    assert found.voxels == 6
    assert found.longest_ends_zyx == ((0.0, 2.0, 3.5), (0.0, 3.0, 8.5))  # the last two touch at a corner


def test_a_scan_taken_in_sagittal_slices_is_measured_there_unless_another_plane_is_asked_for() -> None:
    grid = Geometry.from_spacing((40, 40, 12), (1.0, 1.0, 4.0))
    inside = np.zeros(grid.shape, bool)
    inside[10:30, 18:22, 3:9] = True
    native, axial = measure(Mask(inside, grid)), measure(Mask(inside, grid), plane="axial")
    assert (native.plane, axial.plane) == ("sagittal", "axial")
    assert native.longest_mm == pytest.approx(np.hypot(20, 3))  # corners are cut half way
    assert axial.longest_mm == pytest.approx(np.hypot(24, 3))


def outline_points(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Half-way points between a voxel inside and its neighbour outside, (N, 2), found one by one."""
    held, found = np.pad(inside, 1), []
    for row, column in np.argwhere(held):
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            if not held[row + down, column + right]:
                found.append((row - 1 + down / 2, column - 1 + right / 2))
    return np.array(found)


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=6, max_size=6), grids.affines())
@settings(max_examples=60, deadline=None)
def test_any_slice_on_any_grid_measures_what_trying_all_pairs_of_points_says(
    rows: list[list[bool]], affine: npt.NDArray[np.float64]
) -> None:
    inside = np.array(rows)
    inside[2, 1:5] = True
    grid = Geometry((1, 6, 7), affine)
    found = measure(Mask(inside[None], grid), plane=grid.plane_across(0))
    numbered, count = ndimage.label(inside, np.ones((3, 3)))
    pieces = [
        grid.to_world(np.insert(outline_points(numbered == label), 0, 0.0, axis=1)) for label in range(1, count + 1)
    ]
    assert found.longest_mm == pytest.approx(max(pdist(points).max() for points in pieces))
    longest, perpendicular = ends_mm(found, grid)
    direction = (longest[1] - longest[0]) / found.longest_mm
    assert (perpendicular[1] - perpendicular[0]) @ direction == pytest.approx(0, abs=1e-6 * found.longest_mm)
    piece = min(pieces, key=lambda points: np.linalg.norm(points - longest[0], axis=1).min())
    apart = piece[:, None] - piece[None]
    upright = abs(apart @ direction) < 1e-9 * found.longest_mm
    assert np.linalg.norm(apart, axis=-1)[upright].max() <= found.perpendicular_mm * (1 + 1e-6)


@pytest.mark.parametrize("spacing_mm", [(4.0, 1.0, 1.0), (4.0, 0.6, 1.1)])
@pytest.mark.parametrize("shape", ["sphere", "ellipsoid", "tube"])
def test_scikit_images_contours_have_the_same_longest_diameter(
    shape: str, spacing_mm: tuple[float, float, float]
) -> None:
    truth = phantoms.PHANTOMS[shape](Geometry.from_spacing((16, 64, 60), spacing_mm)).truth
    theirs = [
        pdist(np.concatenate(find_contours(np.pad(inside, 1), 0.5)) * spacing_mm[1:]).max()
        for inside in truth.array
        if inside.any()
    ]
    assert measure(truth).longest_mm == pytest.approx(max(theirs), rel=1e-9)


@ALL_GRIDS
def test_simpleitk_finds_the_same_volume_and_intensities(geometry: Geometry) -> None:
    phantom = phantoms.ellipsoid(geometry)
    found = measure(phantom.truth, phantom.volume)
    labels = sitk.GetImageFromArray(phantom.truth.array.astype(np.uint8))
    scan = sitk.GetImageFromArray(phantom.volume.array)
    for image in (labels, scan):
        image.SetSpacing(geometry.spacing_mm[::-1])
    shapes, values = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    shapes.Execute(labels)
    values.Execute(labels, scan)
    assert found.volume_ml == pytest.approx(shapes.GetPhysicalSize(1) / 1000)
    assert found.voxels == shapes.GetNumberOfPixels(1)
    intensity = found.intensity
    assert intensity is not None
    assert intensity.unit == "HU"
    assert (intensity.minimum, intensity.maximum) == (values.GetMinimum(1), values.GetMaximum(1))
    assert intensity.mean == pytest.approx(values.GetMean(1))
    assert intensity.median == pytest.approx(values.GetMedian(1), abs=1)  # theirs comes from a histogram
    assert intensity.std == pytest.approx(values.GetStandardDeviation(1), rel=1e-3)  # theirs divides by n - 1


def test_voxels_without_a_value_are_left_out_of_the_statistics() -> None:
    grid = Geometry.from_spacing((1, 1, 4))
    scan = Volume(np.array([[[1.0, np.nan, 3.0, np.inf]]]), grid, modality="MR")
    intensity = measure(Mask(np.ones(grid.shape, bool), grid), scan).intensity
    assert intensity is not None
    assert (intensity.mean, intensity.median, intensity.std, intensity.unit) == (2.0, 2.0, 1.0, "")
    assert measure(Mask(np.array([[[0, 1, 0, 1]]]), grid), scan).intensity is None


def test_an_empty_mask_measures_nothing() -> None:
    found = measure(Mask(np.zeros((2, 3, 4), np.uint8), Geometry.from_spacing((2, 3, 4))))
    assert (found.volume_ml, found.voxels, found.longest_mm, found.slice_index) == (0.0, 0, None, None)


def test_a_scan_on_another_grid_and_an_unknown_plane_are_refused() -> None:
    mask = drawn("##")
    with pytest.raises(GeometryError, match="the mask is on another grid"):
        measure(mask, Volume(np.zeros((1, 1, 3)), Geometry.from_spacing((1, 1, 3))))
    with pytest.raises(GeometryError, match="no plane 'axal'"):
        measure(mask, plane="axal")  # type: ignore[arg-type]
