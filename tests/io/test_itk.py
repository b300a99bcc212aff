"""MetaImage, by SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings

from grids import geometries
from voxsam import io
from voxsam.errors import FormatError
from voxsam.geometry import Geometry

per_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def image_on(grid: Geometry, array: np.ndarray) -> sitk.Image:
    """Make an ITK image on a grid, by its own rules: LPS, columns (i, j, k)."""
    image = sitk.GetImageFromArray(array)
    flip = np.diag([-1.0, -1.0, 1.0])
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin((flip @ grid.affine[:3, 3]).tolist())
    image.SetDirection((flip @ grid.directions[:, ::-1]).ravel().tolist())
    return image


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nii.gz"])
@per_example
@given(grid=geometries())
def test_a_scan_written_by_itk_lies_where_itk_put_it(tmp_path: Path, grid: Geometry, name: str) -> None:
    array = np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape)
    sitk.WriteImage(image_on(grid, array), tmp_path / name)
    scan = io.load_volume(tmp_path / name)
    np.testing.assert_array_equal(scan.array, array)
    corners = [[0, 0, 0], np.array(grid.shape) - 1]
    tolerance = 2e-3 if name.endswith(".nii.gz") else 1e-8  # NIfTI has single precision
    np.testing.assert_allclose(scan.geometry.to_world(corners), grid.to_world(corners), atol=tolerance)


def test_a_mask_is_read_and_compressed_files_too(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.uint8)
    array[1, 2, 3] = 9
    sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / "m.mha", useCompression=True)
    mask = io.load_mask(tmp_path / "m.mha")
    assert mask.values == (9,)
    np.testing.assert_array_equal(mask.array, array)


def test_a_flat_image_is_one_slice_of_one_millimetre(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((5, 6), np.int16))
    image.SetSpacing((0.7, 0.8))
    sitk.WriteImage(image, tmp_path / "a.mha")
    scan = io.load_volume(tmp_path / "a.mha")
    assert scan.array.shape == (1, 5, 6)
    assert scan.geometry.spacing_mm == (1.0, 0.8, 0.7)


def test_a_mask_is_not_written_as_metaimage(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.uint8)), tmp_path / "m.mha")
    mask = io.load_mask(tmp_path / "m.mha")
    with pytest.raises(FormatError, match=r"expected a name that ends in .nii, .nii.gz, .seg.nrrd, .nrrd, got 'n.mha'"):
        io.save_mask(mask, tmp_path / "n.mha")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.002, 0.5, 0.95])
def test_a_truncated_file_is_refused_on_one_line(tmp_path: Path, kept: float, compressed: bool) -> None:
    noise = np.random.default_rng(1).integers(0, 999, (16, 16, 16)).astype(np.int16)
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(noise), path, useCompression=compressed)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(FormatError, match="cannot be read: expected") as caught:
        io.load_volume(path)
    assert "\n" not in str(caught.value)


def test_a_header_without_its_voxels_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        io.load_volume(tmp_path / "a.mhd")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.complex64)), tmp_path / "a.nrrd")
    with pytest.raises(FormatError, match=r"complex numbers|holds 2 volumes"):
        io.load_volume(tmp_path / "a.nrrd")
