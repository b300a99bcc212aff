"""DICOM series: sorted by position, with the scanner's own geometry and numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from pydicom.data import get_testdata_file
from pydicom.uid import RTStructureSetStorage

from dicom_files import decimal, write_series, write_slice
from grids import geometries, rotation
from voxsam import io
from voxsam.errors import FormatError
from voxsam.geometry import Geometry
from voxsam.volume import Mask

per_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)

TILTED = Geometry(
    (5, 6, 7),
    np.vstack([np.hstack([rotation(0.3, -0.2, 0.5) * (4.0, 0.8, 0.7), [[-10], [20], [30]]]), [0, 0, 0, 1]]),
)


def voxels(shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 50


def refused(path: Path, message: str, **options: Any) -> str:
    with pytest.raises(FormatError, match=message) as caught:
        io.load_volume(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ── a series ──


def test_slices_are_sorted_by_position_whatever_their_names(tmp_path: Path) -> None:
    scan = io.load_volume(write_series(tmp_path / "ct", voxels()))
    np.testing.assert_array_equal(scan.array, voxels())
    assert scan.array.dtype == np.int16
    assert (scan.modality, scan.name) == ("CT", "Abdomen")
    assert scan.geometry.orientation == "SPL"
    np.testing.assert_allclose(scan.geometry.spacing_mm, (5.0, 0.8, 0.7))
    assert scan.geometry.to_world([[0, 0, 0]])[0].tolist() == [-10.0, -20.0, 30.0]


def test_sorting_goes_by_position_not_by_instance_number(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", voxels(), InstanceNumber=lambda index: 5 - index)
    np.testing.assert_array_equal(io.load_volume(folder).array, voxels())


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", voxels(), suffix="")
    assert io.load_volume(folder / "003").geometry == io.load_volume(folder).geometry
    assert io.load_volume(folder / "003").array.shape == (5, 6, 7)


@per_example
@given(grid=geometries())
def test_a_series_lies_where_its_tags_put_it(tmp_path: Path, grid: Geometry) -> None:
    if np.linalg.det(grid.affine[:3, :3][:, ::-1] * np.array([[-1], [-1], [1]])) < 0:
        grid = Geometry(grid.shape, grid.affine * [-1, 1, 1, 1])  # slices are counted along row x column
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    array = voxels(grid.shape)
    scan = io.load_volume(write_series(folder, array, grid, SliceThickness=decimal(grid.spacing_mm[0])))
    np.testing.assert_array_equal(scan.array, array)
    np.testing.assert_allclose(scan.geometry.affine, grid.affine, atol=1e-6)


def test_itk_agrees_on_a_tilted_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "mr", voxels(), TILTED, Modality="MR")
    scan = io.load_volume(folder)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    for index in ((0, 0, 0), (4, 5, 6), (2, 0, 3)):
        left, posterior, superior = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(scan.geometry.to_world([index])[0], (-left, -posterior, superior), atol=1e-6)
        assert image[index[::-1]] == scan.array[index]
    assert scan.modality == "MR"


def test_a_tilted_gantry_is_kept_as_the_shear_it_is(tmp_path: Path) -> None:
    folder = write_series(
        tmp_path / "ct", voxels(), ImagePositionPatient=lambda index: [10, 20 + 1.5 * index, 30 + 5 * index]
    )
    grid = io.load_volume(folder).geometry
    np.testing.assert_allclose(grid.to_world([[4, 0, 0]])[0], (-10.0, -26.0, 50.0))
    assert grid.voxel_volume_mm3 == pytest.approx(5 * 0.7 * 0.8)


def test_a_mask_of_a_series_is_saved_on_its_grid(tmp_path: Path) -> None:
    scan = io.load_volume(write_series(tmp_path / "ct", voxels(), TILTED))
    for name in ("m.nii.gz", "m.nrrd"):
        io.save_mask(Mask(scan.array > 0, scan.geometry, header=scan.header), tmp_path / name)
        mask = io.load_mask(tmp_path / name, like=scan)
        np.testing.assert_array_equal(mask.array, scan.array > 0)
        assert mask.geometry == scan.geometry


def test_the_header_names_study_series_frame_and_files_in_the_order_of_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", voxels())
    header = io.load_volume(folder).header["dicom"]
    assert (header["study_uid"], header["series_uid"], header["frame_of_reference_uid"]) == (
        "1.2.3",
        "1.2.3.4",
        "1.2.3.5",
    )
    numbers = [int(pydicom.dcmread(path).InstanceNumber) for path in header["files"]]
    assert numbers == [1, 2, 3, 4, 5]
    assert len(set(header["instance_uids"])) == 5


def test_one_slice_takes_its_thickness(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", voxels((1, 6, 7)), SliceThickness=3.5, SpacingBetweenSlices=None)
    assert io.load_volume(folder).geometry.spacing_mm == pytest.approx((3.5, 0.8, 0.7))
    plain = write_series(tmp_path / "plain", voxels((1, 6, 7)), SliceThickness="")
    assert io.load_volume(plain).geometry.spacing_mm[0] == pytest.approx(1.0)


# ── numbers ──


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "dtype", "expected"),
    [
        (np.uint16, "1", "-1024", "int16", [-1024, 976]),
        (np.int16, "2", "5", "int16", [5, 4005]),
        (np.uint16, "40", "0", "int32", [0, 80000]),
        (np.uint16, "0.5", "0.25", "float32", [0.25, 1000.25]),
        (np.int16, None, None, "int16", [0, 2000]),
    ],
)
def test_rescale_is_honoured_in_the_smallest_exact_type(
    tmp_path: Path, stored: Any, slope: str | None, intercept: str | None, dtype: str, expected: list[float]
) -> None:
    array = np.zeros((3, 4, 4), stored)
    array[:, 1:] = 2000
    scan = io.load_volume(write_series(tmp_path / "ct", array, RescaleSlope=slope, RescaleIntercept=intercept))
    assert scan.array.dtype == dtype
    assert np.unique(scan.array).tolist() == expected


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    """PET scanners write another slope into every slice."""
    array = np.full((3, 4, 4), 100, np.int16)
    slopes = ("1", "0.5", "0.25")
    folder = write_series(
        tmp_path / "pet", array, Modality="PT", RescaleIntercept="0", RescaleSlope=lambda index: slopes[index]
    )
    scan = io.load_volume(folder)
    assert scan.array[:, 0, 0].tolist() == [100.0, 50.0, 25.0]
    assert scan.array.dtype == np.float32
    assert scan.modality == "PT"


def test_a_late_slice_beyond_16_bits_widens_the_scan_and_spoils_none(tmp_path: Path) -> None:
    array = np.full((3, 4, 4), 7, np.uint16)
    array[2] = 60000
    scan = io.load_volume(write_series(tmp_path / "ct", array))
    assert scan.array.dtype == np.int32
    assert scan.array[:, 0, 0].tolist() == [7, 7, 60000]


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_slices_are_read(tmp_path: Path, compressor: str) -> None:
    plain = write_series(tmp_path / "plain", voxels((4, 32, 32)))
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in plain.iterdir():
        image = sitk.ReadImage(path)
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.SetFileName(str(packed / path.name))
        writer.Execute(image)
    syntax = pydicom.dcmread(packed / "000.dcm").file_meta.TransferSyntaxUID
    assert syntax.is_compressed
    np.testing.assert_array_equal(io.load_volume(packed).array, voxels((4, 32, 32)))


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
    ],
)  # fmt: skip
def test_every_common_transfer_syntax_gives_the_same_voxels(tmp_path: Path, name: str) -> None:
    """pydicom's own test images: one MR slice in several encodings."""
    arrays = []
    for each in ("MR_small.dcm", name):
        folder = tmp_path / each
        folder.mkdir(exist_ok=True)
        shutil.copy(str(get_testdata_file(each)), folder / each)
        scan = io.load_volume(folder)
        assert scan.modality == "MR"
        arrays.append(scan.array)
    np.testing.assert_array_equal(*arrays)
    assert arrays[0].shape == (1, 64, 64)


# ── which series ──


def two_series(folder: Path) -> Path:
    write_series(folder, voxels())
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"a{path.name}"))
    return write_series(
        folder, voxels() + np.int16(1), SeriesInstanceUID="1.2.3.9", SeriesDescription="Thorax", SeriesNumber=5
    )


def test_several_series_are_listed_with_the_way_out(tmp_path: Path) -> None:
    message = refused(two_series(tmp_path / "both"), r"holds 2 series: choose one with series=")
    assert "CT 'Abdomen' (5 files, series='1.2.3.4')" in message
    assert "CT 'Thorax' (5 files, series='1.2.3.9')" in message


@pytest.mark.parametrize("series", ["1.2.3.9", "Thorax", "5"])
def test_a_series_is_chosen_by_uid_description_or_number(tmp_path: Path, series: str) -> None:
    scan = io.load_volume(two_series(tmp_path / "both"), series=series)
    np.testing.assert_array_equal(scan.array, voxels() + 1)
    one_file = next((tmp_path / "both").glob("a*"))
    assert io.load_volume(one_file, series=series).name == "Thorax"
    assert io.load_volume(one_file).name == "Abdomen"


def test_an_unknown_series_and_an_ambiguous_one_are_refused(tmp_path: Path) -> None:
    folder = two_series(tmp_path / "both")
    refused(folder, r"holds no series 'Head'. They are: .*'Thorax'.*'Abdomen'", series="Head")
    write_slice(folder / "c.dcm", voxels()[0], (0, 0, 0), SeriesInstanceUID="1.2.3.10", SeriesNumber=5)
    refused(folder, "holds 2 series '5': choose by UID", series="5")


def test_series_are_listed_for_a_menu(tmp_path: Path) -> None:
    listed = io.list_series(two_series(tmp_path / "both"))
    assert [(info.description, info.number, info.modality, len(info.files)) for info in listed] == [
        ("Thorax", "5", "CT", 5),
        ("Abdomen", "4", "CT", 5),
    ]


def test_contours_and_segmentations_beside_a_scan_are_passed_over(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", voxels())
    shutil.copy(str(get_testdata_file("rtstruct.dcm")), folder / "contours.dcm")
    shutil.copy(str(get_testdata_file("reportsi.dcm")), folder / "report.dcm")
    write_slice(folder / "seg.dcm", voxels()[0], (0, 0, 0), Modality="SEG", SeriesInstanceUID="1.2.3.77")
    (folder / "notes.txt").write_text("nothing to see")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert io.load_volume(folder).array.shape == (5, 6, 7)
    refused(folder / "contours.dcm", "is no scan: expected a DICOM image of slices, got a DICOM file of another kind")


def test_a_file_that_was_copied_twice_counts_once(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", voxels())
    shutil.copy(folder / "000.dcm", folder / "000 (copy).dcm")
    assert io.load_volume(folder).array.shape == (5, 6, 7)


def test_a_folder_without_images_is_refused_and_its_subfolders_with_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no DICOM image: expected the slices of a scan; choose another folder")
    write_series(tmp_path / "ct", voxels(), suffix="")
    message = refused(tmp_path, "these subfolders hold some")
    assert str(tmp_path / "ct") in message
    assert str(tmp_path / "empty") not in message


def test_a_folder_of_one_multi_frame_file_is_a_scan_and_of_two_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "mf"
    folder.mkdir()
    for name in ("a.dcm", "b.dcm"):
        write_slice(folder / name, voxels()[0], (0, 0, 0), NumberOfFrames=5, PixelData=voxels().tobytes())
    refused(folder, "holds 2 multi-frame files of one series: expected one; give the file itself")
    np.testing.assert_array_equal(io.load_volume(folder / "a.dcm").array, voxels())
    (folder / "b.dcm").unlink()
    assert io.load_volume(folder).array.shape == (5, 6, 7)


# ── slices that do not fit ──


def test_missing_slices_are_named(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", voxels((9, 6, 7)))
    for path in folder.iterdir():
        if pydicom.dcmread(path).InstanceNumber in (4, 5):
            path.unlink()
    message = refused(folder, r"lacks slices: expected one every 5 mm, missing about 2 between LPS \(10, 20, 40\) mm")
    assert "LPS (10, 20, 55) mm" in message


def test_slightly_uneven_slices_are_a_warning(tmp_path: Path) -> None:
    nudge = (0.0, 0.0, 0.6, 0.0, 0.0)
    folder = write_series(
        tmp_path / "ct", voxels(), ImagePositionPatient=lambda index: [10, 20, 30 + 5 * index + nudge[index]]
    )
    with pytest.warns(
        UserWarning, match=r"uneven slices: LPS \(10, 20, 40.6\) mm, .* lies 0.6 mm off an even spacing of 5 mm"
    ):
        assert io.load_volume(folder).array.shape == (5, 6, 7)


def test_very_uneven_slices_are_refused(tmp_path: Path) -> None:
    heights = np.cumsum([0, 5, 5, 5, 5, 3, 3, 3, 3])
    folder = write_series(
        tmp_path / "ct", voxels((9, 6, 7)), ImagePositionPatient=lambda index: [10, 20, int(heights[index])]
    )
    refused(folder, "uneven slices.*expected less than half a slice; resample")


def test_rounding_of_positions_is_no_unevenness(tmp_path: Path) -> None:
    folder = write_series(
        tmp_path / "ct", voxels(), ImagePositionPatient=lambda index: [10, 20, round(30 + 1.2345678 * index, 3)]
    )
    assert io.load_volume(folder).geometry.spacing_mm[0] == pytest.approx(1.2345, abs=1e-3)


def test_several_times_at_each_place_are_channels(tmp_path: Path) -> None:
    folder = tmp_path / "dwi"
    write_series(folder, voxels(), InstanceNumber=lambda index: 2 * index)
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"a{path.name}"))
    write_series(folder, voxels() + np.int16(1000), InstanceNumber=lambda index: 2 * index + 1)
    refused(folder, r"holds 2 volumes: expected a 3D scan, got 4D; choose one with channel=0 to channel=1")
    np.testing.assert_array_equal(io.load_volume(folder, channel=0).array, voxels())
    np.testing.assert_array_equal(io.load_volume(folder, channel=1).array, voxels() + 1000)
    next(folder.glob("a*")).unlink()
    refused(folder, "slices at the same place, up to 2 times, but not everywhere", channel=0)


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "orientations"),
        ({"PixelSpacing": [0.5, 0.5]}, "pixel spacings"),
        ({"Rows": 3, "PixelData": bytes(42)}, "sizes"),
    ],
)
def test_a_series_that_mixes_slices_is_refused_with_what_it_mixes(
    tmp_path: Path, tags: dict[str, Any], what: str
) -> None:
    folder = write_series(tmp_path / "ct", voxels())
    write_slice(folder / "odd.dcm", voxels()[0], (10, 20, 55), **tags)
    refused(folder, f"mixes slices of several {what} in one series.*move the odd slices")


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_slice_that_cannot_be_placed_is_refused(tmp_path: Path, tag: str) -> None:
    folder = tmp_path / "ct"
    folder.mkdir()
    write_slice(folder / "a.dcm", voxels()[0], (0, 0, 0), **{tag: None})
    refused(folder, f"cannot be placed in the patient: expected . numbers in {tag}, got ''")


def test_colour_is_refused(tmp_path: Path) -> None:
    rgb = np.zeros((6, 7, 3), np.uint8)
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    write_slice(tmp_path / "a.dcm", rgb, (0, 0, 0), **tags, **bits)
    refused(tmp_path, "holds colours")


@pytest.mark.parametrize("kept", [0.3, 0.8, 0.97])
def test_a_truncated_slice_is_named(tmp_path: Path, kept: float) -> None:
    folder = write_series(tmp_path / "ct", voxels((3, 64, 64)))
    whole = (folder / "001.dcm").read_bytes()
    (folder / "001.dcm").write_bytes(whole[: int(len(whole) * kept)])
    assert "001.dcm" in refused(folder, "damaged or truncated")
    assert "001.dcm" in refused(folder / "001.dcm", "damaged or truncated")


def test_a_dicom_file_that_holds_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("not DICOM at all")
    refused(tmp_path / "a.dcm", "is no scan")
    with pytest.raises(FormatError, match="is DICOM: expected a mask as NIfTI or NRRD"):
        io.load_mask(tmp_path / "a.dcm")


def test_contours_do_not_count_as_damaged(tmp_path: Path) -> None:
    dataset = write_slice(tmp_path / "a.dcm", voxels()[0], (0, 0, 0))
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTStructureSetStorage
    del dataset.PixelData, dataset.Rows
    dataset.Modality = "RTSTRUCT"
    dataset.save_as(tmp_path / "a.dcm")
    refused(tmp_path, "holds no DICOM image")


# ── real scans ──


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "shape", "modality", "range_"),
    [
        ("ibsi_sts/STS_002/CT/image", (48, 143, 161), "CT", (-1000, 1156)),
        ("ibsi_sts/STS_002/MR_T1/image", (35, 90, 115), "MR", (0, 1198)),
        ("totalseg_ct_dicom", (20, 512, 512), "CT", (-1024, 1839)),  # JPEG 2000
        ("dcmqi/ct-3slice", (3, 512, 512), "CT", (-3024, 1381)),
        ("rt_utils/mock_data", (2, 512, 512), "CT", (-3024, 125)),  # with contours beside it
        ("rt_utils/oriented_data", (3, 50, 100), "CT", (-10.0, 9.999)),
        ("dcmqi/24x38x3/multiframe", (3, 38, 24), "CT", (0, 1)),
    ],
)
def test_real_series_open_and_lie_where_itk_puts_them(
    data_dir: Path, folder: str, shape: tuple[int, ...], modality: str, range_: tuple[float, float]
) -> None:
    path = data_dir / "dicom" / folder
    scan = io.load_volume(path)
    assert scan.array.shape == shape
    assert scan.modality == modality
    assert (scan.array.min(), scan.array.max()) == pytest.approx(range_)
    image = sitk.ReadImage(scan.header["dicom"]["files"])
    if image.GetDimension() == 4:  # one multi-frame file read as a series of one
        image = image[..., 0]
    last = tuple(n - 1 for n in shape)
    for index in ((0, 0, 0), last):
        left, posterior, superior = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(scan.geometry.to_world([index])[0], (-left, -posterior, superior), atol=1e-3)
        assert image[index[::-1]] == pytest.approx(scan.array[index])


@pytest.mark.realdata
def test_a_real_ct_and_its_mask_made_elsewhere_share_a_grid(data_dir: Path) -> None:
    scan = io.load_volume(data_dir / "dicom" / "totalseg_ct_dicom")
    mask = io.load_mask(data_dir / "dicom" / "totalseg_ct_dicom_AIseg.nii.gz")
    positions = mask.geometry.to_world(np.argwhere(mask.array == 5)[::100])  # its voxel order differs
    values = scan.array[tuple(np.rint(scan.geometry.to_voxel(positions)).astype(int).T)]
    assert values.size > 10
    assert float(np.median(values)) > -200.0
