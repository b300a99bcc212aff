"""NIfTI: a mask comes back on the scan's own grid, to the last bit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grids import SHAPES, affines, rotation
from voxsam import io
from voxsam.errors import FormatError, GeometryError
from voxsam.geometry import Geometry
from voxsam.terminology import CODES
from voxsam.volume import Label, Mask

GARBLED_CODE = b'{"voxsam-labels": {"1": {"name": "liver", "color_rgb": [0, 0, 1], "code": "liver"}}}'
per_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **fields: Any) -> Path:
    """Write (X, Y, Z) voxels with nibabel; `fields` go into the header."""
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def mask_of(scan: Any, value: int = 1) -> Mask:
    array = np.zeros(scan.geometry.shape, np.uint8)
    array.flat[::3] = value
    return Mask(array, scan.geometry, header=scan.header)


def tilted() -> np.ndarray:
    """Give an oblique, left-handed, anisotropic affine with permuted axes."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(0.3, -0.2, 0.5) @ np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]) * (-0.7, 0.8, 4.0)
    affine[:3, 3] = (-101.3, 57.7, -1203.1)
    return affine


# ── reading ──


def test_voxel_i_j_k_is_array_k_j_i_without_a_copy_of_the_type(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    scan = io.load_volume(write(tmp_path / "a.nii.gz", stored))
    assert scan.array.dtype == np.int16
    np.testing.assert_array_equal(scan.array, stored.transpose(2, 1, 0))
    assert scan.array.flags.c_contiguous
    assert scan.name == "a.nii.gz"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2", ">f4"])
def test_every_stored_type_is_kept_in_this_machines_byte_order(tmp_path: Path, kind: str, suffix: str) -> None:
    stored = np.arange(24).reshape(4, 3, 2).astype(kind)
    header = nib.Nifti1Header(endianness=np.dtype(kind).str[0].replace("|", "<").replace("=", "<"))
    header.set_data_dtype(kind)
    nib.Nifti1Image(stored, np.eye(4), header).to_filename(tmp_path / f"a{suffix}")
    scan = io.load_volume(tmp_path / f"a{suffix}")
    assert scan.array.dtype == np.dtype(kind).newbyteorder("=")
    assert scan.array.dtype.isnative
    np.testing.assert_array_equal(scan.array, stored.T)


@pytest.mark.parametrize(
    ("slope", "inter", "dtype", "values"),
    [
        (1.0, 0.0, "uint16", [0, 10]),
        (0.0, 5.0, "uint16", [0, 10]),  # a slope of zero means none
        (np.nan, np.nan, "uint16", [0, 10]),
        (1.0, -1024.0, "int16", [-1024, -1014]),  # CT numbers stay whole
        (70000.0, 0.0, "int32", [0, 700000]),
        (1e9, 0.0, "float32", [0, 1e10]),  # beyond 32 bits
        (0.5, 0.25, "float32", [0.25, 5.25]),
        (-2.0, 1.0, "int16", [1, -19]),
    ],
)
def test_scaling_is_honoured_in_the_smallest_exact_type(
    tmp_path: Path, slope: float, inter: float, dtype: str, values: list[float]
) -> None:
    path = write(tmp_path / "a.nii", np.array([0, 10], np.uint16).reshape(2, 1, 1))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(raw)
    scan = io.load_volume(path)
    assert scan.array.dtype == dtype
    assert scan.array.ravel().tolist() == values


@pytest.mark.parametrize(
    ("values", "modality"), [([-1000, 0], "CT"), ([-125, 400], ""), ([0, 4000], ""), ([-40000, 0], "")]
)
def test_air_far_below_zero_means_ct(tmp_path: Path, values: list[int], modality: str) -> None:
    for kind in (np.int32, np.float32):
        stored = np.array(values, kind).reshape(2, 1, 1)
        assert io.load_volume(write(tmp_path / "a.nii", stored)).modality == modality


def test_a_float_scan_with_some_nan_is_opened_and_a_guess_is_made(tmp_path: Path) -> None:
    stored = np.array([np.nan, -1000, np.inf, 3], np.float32).reshape(2, 2, 1)
    assert io.load_volume(write(tmp_path / "a.nii", stored)).modality == "CT"


def test_the_sform_goes_before_the_qform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), None)
    image.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    image.set_sform(np.diag([3.0, 3, 3, 1]), 2)
    image.to_filename(tmp_path / "a.nii")
    assert io.load_volume(tmp_path / "a.nii").geometry.spacing_mm == (3.0, 3.0, 3.0)
    image.set_sform(np.diag([3.0, 3, 3, 1]), 0)
    image.to_filename(tmp_path / "b.nii")
    assert io.load_volume(tmp_path / "b.nii").geometry.spacing_mm == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 0.001), ("meter", 1000.0), ("unknown", 1.0)])
def test_units_become_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.diag([3.0, 2, 5, 1]))
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "a.nii")
    scan = io.load_volume(tmp_path / "a.nii")
    assert scan.geometry.spacing_mm == pytest.approx((5 * factor, 2 * factor, 3 * factor))
    io.save_mask(mask_of(scan), tmp_path / "m.nii")
    saved = nib.load(tmp_path / "m.nii")
    assert saved.header.get_xyzt_units()[0] == unit
    np.testing.assert_array_equal(saved.affine, image.affine)
    assert io.load_mask(tmp_path / "m.nii").geometry == scan.geometry


def test_one_volume_of_a_4d_file_is_a_scan_and_a_channel_chooses_among_several(tmp_path: Path) -> None:
    stored = np.arange(72, dtype=np.int16).reshape(4, 3, 2, 3)
    for suffix in (".nii", ".nii.gz"):
        path = write(tmp_path / f"four{suffix}", stored)
        for channel in range(3):
            np.testing.assert_array_equal(io.load_volume(path, channel=channel).array, stored[..., channel].T)
    alone = write(tmp_path / "one.nii", stored[..., :1])
    np.testing.assert_array_equal(io.load_volume(alone).array, stored[..., 0].T)


def test_a_channel_is_scaled_too(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2, 2)), np.eye(4))
    image.header.set_data_dtype(np.int16)
    data = np.linspace(0, 1, 16).reshape(2, 2, 2, 2)
    nib.Nifti1Image(data, np.eye(4), image.header).to_filename(tmp_path / "a.nii")
    np.testing.assert_allclose(io.load_volume(tmp_path / "a.nii", channel=1).array, data[..., 1].T, atol=1e-4)


def test_channels_of_a_five_dimensional_file_count_its_first_extra_axis_fastest(tmp_path: Path) -> None:
    stored = np.arange(48, dtype=np.int16).reshape(2, 2, 2, 2, 3)
    path = write(tmp_path / "five.nii", stored)
    np.testing.assert_array_equal(io.load_volume(path, channel=3).array, stored[..., 1, 1].T)


def test_a_flat_image_is_one_slice(tmp_path: Path) -> None:
    assert io.load_volume(write(tmp_path / "flat.nii", np.zeros((4, 3), np.int16))).array.shape == (1, 3, 4)


def test_packed_or_not_is_read_from_the_file_not_from_its_name(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    for true, claimed in ((".nii", ".nii.gz"), (".nii.gz", ".nii")):
        write(tmp_path / f"a{true}", stored).rename(tmp_path / f"b{claimed}")
        np.testing.assert_array_equal(io.load_volume(tmp_path / f"b{claimed}").array, stored.T)


# ── what cannot be read ──


def refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        io.load_volume(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_4d_file_asks_for_a_channel(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2, 5), np.int16))
    refused(path, r"holds 5 volumes: expected a 3D scan, got 4D; choose one with channel=0 to channel=4 .*--channel")
    refused(path, "no channel 5: expected 0 to 4", channel=5)
    refused(path, "no channel -1", channel=-1)


def test_a_channel_of_a_3d_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16))
    refused(path, "no channel 1: expected 0", channel=1)
    io.load_volume(path, channel=0)


def test_colour_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(write(tmp_path / "rgb.nii", rgb), "holds colours .RGB.: expected one real number per voxel; convert")
    refused(write(tmp_path / "c.nii", np.zeros((4, 3, 2), np.complex64)), "holds complex numbers")


def test_voxels_that_are_all_nan_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "nan.nii", np.full((4, 3, 2), np.nan, np.float32)), "every voxel is NaN or infinite")


def test_an_empty_axis_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16))
    raw = bytearray(path.read_bytes())
    raw[40:48] = np.array([3, 4, 3, 0], "<i2").tobytes()
    path.write_bytes(raw)
    refused(path, "is empty: expected three axes of one voxel or more, got shape")


def test_an_affine_that_places_nothing_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16))
    raw = bytearray(path.read_bytes())
    raw[280:296] = bytes(16)  # the first row of the sform
    path.write_bytes(raw)
    refused(path, "affine is singular, so voxels have no volume.*repair its header")


def test_an_affine_with_nan_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16))
    raw = bytearray(path.read_bytes())
    raw[280:284] = np.array([np.nan], "<f4").tobytes()
    path.write_bytes(raw)
    refused(path, "affine must be finite")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float, suffix: str) -> None:
    rng = np.random.default_rng(1)
    path = write(tmp_path / f"a{suffix}", rng.integers(0, 1000, (32, 32, 32)).astype(np.int16))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    refused(path, "cannot be read: expected a whole NIfTI file, got a damaged, truncated or different one.*again")


def test_a_damaged_gzip_stream_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", np.random.default_rng(1).integers(0, 1000, (32, 32, 32)).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[20000:20100] = b"\xff" * 100
    path.write_bytes(raw)
    refused(path, "cannot be read")


def test_a_header_that_promises_more_than_any_memory_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16))
    raw = bytearray(path.read_bytes())
    raw[40:48] = np.array([3, 32767, 32767, 32767], "<i2").tobytes()
    path.write_bytes(raw)
    refused(path, "cannot be read")


def test_an_odd_header_is_told_in_our_error_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16))
    raw = bytearray(path.read_bytes())
    raw[70:72] = np.array([999], "<i2").tobytes()
    path.write_bytes(raw)
    noted: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = noted.append  # type: ignore[method-assign]
    nibabels = logging.getLogger("nibabel.global")
    nibabels.addHandler(handler)
    try:
        refused(path, "data code 999")
    finally:
        nibabels.removeHandler(handler)
    assert not noted
    assert capsys.readouterr().err == ""
    assert not nibabels.filters


def test_two_files_of_the_old_kind_are_refused(tmp_path: Path) -> None:
    nib.Nifti1Pair(np.zeros((4, 3, 2), np.int16), np.eye(4)).to_filename(tmp_path / "a.img")
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "cannot be read")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.nii"
    path.write_text("not an image " * 100)
    refused(path, "cannot be read: expected a whole NIfTI file")


# ── writing ──


@per_example
@given(shape=SHAPES, affine=affines(), value=st.integers(1, 60000))
def test_a_mask_has_the_scans_shape_affine_and_places_to_the_last_bit(
    tmp_path: Path, shape: tuple[int, int, int], affine: np.ndarray, value: int
) -> None:
    path, saved = tmp_path / "scan.nii", tmp_path / "mask.nii.gz"
    write(path, np.zeros(shape, np.int16), affine)
    scan = io.load_volume(path)
    array = np.zeros(scan.geometry.shape, np.uint16)
    array.flat[-1] = value
    io.save_mask(Mask(array, scan.geometry, header=scan.header), saved)
    of_scan, of_mask = nib.load(path), nib.load(saved)
    assert of_mask.shape == of_scan.shape
    assert of_mask.affine.tobytes() == of_scan.affine.tobytes()
    mask = io.load_mask(saved, like=scan)
    assert mask.geometry == scan.geometry
    np.testing.assert_array_equal(mask.array, array)
    last = np.array(scan.geometry.shape) - 1
    np.testing.assert_array_equal(scan.geometry.affine[:, [2, 1, 0, 3]], of_scan.affine)
    np.testing.assert_allclose(scan.geometry.to_world([last])[0], (of_scan.affine @ [*last[::-1], 1])[:3])


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (1, 1), (2, 1), (4, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image])
def test_codes_quaternion_units_and_version_are_kept(tmp_path: Path, sform: int, qform: int, version: Any) -> None:
    image = version(np.zeros((4, 3, 2), np.int16), None)
    image.set_sform(tilted(), sform)
    image.set_qform(tilted(), qform)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "scan.nii.gz")
    scan = io.load_volume(tmp_path / "scan.nii.gz")
    io.save_mask(mask_of(scan), tmp_path / "mask.nii.gz")
    was, now = nib.load(tmp_path / "scan.nii.gz"), nib.load(tmp_path / "mask.nii.gz")
    assert type(now) is type(was)
    for name in (
        "sform_code",
        "qform_code",
        "quatern_b",
        "qoffset_x",
        "srow_x",
        "srow_y",
        "srow_z",
        "pixdim",
        "xyzt_units",
    ):
        np.testing.assert_array_equal(now.header[name], was.header[name], err_msg=name)
    assert now.affine.tobytes() == was.affine.tobytes()


def test_a_mask_says_that_its_values_are_labels_and_are_not_scaled(tmp_path: Path) -> None:
    path = write(
        tmp_path / "scan.nii", np.arange(24, dtype=np.int16).reshape(4, 3, 2), cal_max=400.0, descrip=b"secret"
    )
    scan = io.load_volume(path)
    io.save_mask(mask_of(scan), tmp_path / "mask.nii")
    header = nib.load(tmp_path / "mask.nii").header
    assert header.get_intent()[0] == "label"
    assert header.get_slope_inter() in ((None, None), (1.0, 0.0))
    assert float(header["cal_max"]) == 0.0
    assert b"secret" not in (tmp_path / "mask.nii").read_bytes()


def test_a_mask_of_one_channel_is_3d(tmp_path: Path) -> None:
    scan = io.load_volume(write(tmp_path / "a.nii", np.zeros((4, 3, 2, 5), np.int16), tilted()), channel=2)
    io.save_mask(mask_of(scan), tmp_path / "m.nii")
    saved = nib.load(tmp_path / "m.nii")
    assert saved.shape == (4, 3, 2)
    assert saved.affine.tobytes() == nib.load(tmp_path / "a.nii").affine.tobytes()


@pytest.mark.parametrize(
    ("array", "stored"),
    [
        (np.array([True, False]), "uint8"),
        (np.array([0, 3], np.int16), "int16"),
        (np.array([0, 3], np.int64), "uint8"),
        (np.array([0, 300], np.int64), "int16"),
        (np.array([0, 60000], np.uint64), "uint16"),
        (np.array([0, 70000], np.int64), "int32"),
        (np.array([0, 3_000_000_000], np.int64), "uint32"),
        (np.array([0, -2], np.int64), "int16"),
        (np.array([0, 7], ">i2"), "int16"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd"])
def test_the_stored_integer_type_holds_the_labels(tmp_path: Path, array: np.ndarray, stored: str, suffix: str) -> None:
    mask = Mask(array.reshape(2, 1, 1), Geometry.from_spacing((2, 1, 1)))
    io.save_mask(mask, tmp_path / f"m{suffix}")
    loaded = io.load_mask(tmp_path / f"m{suffix}")
    assert loaded.array.dtype == stored
    np.testing.assert_array_equal(loaded.array, mask.array)


def test_a_label_of_more_than_32_bits_is_refused(tmp_path: Path) -> None:
    mask = Mask(np.full((1, 1, 1), 2**40), Geometry.from_spacing((1, 1, 1)))
    with pytest.raises(ValueError, match="label 1099511627776 is too large"):
        io.save_mask(mask, tmp_path / "m.nii")
    assert not list(tmp_path.iterdir())


def test_names_colours_and_codes_of_labels_survive(tmp_path: Path) -> None:
    labels = {1: Label("liver", (0.5, 0.25, 0.125), CODES["liver"]), 7: Label("tumeur hépatique")}
    array = np.zeros((2, 3, 4), np.uint8)
    array[0, 0, :2] = 1, 7
    io.save_mask(Mask(array, Geometry.from_spacing((2, 3, 4)), labels=labels), tmp_path / "m.nii.gz")
    mask = io.load_mask(tmp_path / "m.nii.gz")
    assert mask.labels == labels
    io.save_mask(mask, tmp_path / "again.nii.gz")
    assert io.load_mask(tmp_path / "again.nii.gz").labels == labels
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "m.nii.gz")), array)


def test_somebody_elses_header_comment_is_no_label_table(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.eye(4))
    for text in (b"made on Tuesday", b'{"voxsam-labels": 3}', b"[1]", b'{"voxsam-labels": {"x": {}}}', GARBLED_CODE):
        image.header.extensions.append(nib.nifti1.Nifti1Extension(6, text))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, b"<afni/>"))
    image.to_filename(tmp_path / "m.nii")
    assert io.load_mask(tmp_path / "m.nii").labels == {}


def test_a_sheared_grid_is_written_without_a_quaternion(tmp_path: Path) -> None:
    affine = np.diag([5.0, 1.0, 1.0, 1.0])
    affine[1, 0] = 1.5  # a tilted gantry
    mask = Mask(np.ones((2, 3, 4), bool), Geometry((2, 3, 4), affine))
    io.save_mask(mask, tmp_path / "m.nii")
    assert int(nib.load(tmp_path / "m.nii").header["qform_code"]) == 0
    assert io.load_mask(tmp_path / "m.nii").geometry == mask.geometry


def test_an_axis_too_long_for_nifti_1_becomes_nifti_2(tmp_path: Path) -> None:
    mask = Mask(np.ones((1, 1, 40000), bool), Geometry.from_spacing((1, 1, 40000)))
    io.save_mask(mask, tmp_path / "m.nii.gz")
    assert isinstance(nib.load(tmp_path / "m.nii.gz"), nib.Nifti2Image)


def test_a_mask_that_left_its_scans_grid_does_not_take_the_scans_header(tmp_path: Path) -> None:
    scan = io.load_volume(write(tmp_path / "scan.nii", np.zeros((4, 3, 2), np.int16), tilted()))
    moved = Geometry.from_spacing((2, 3, 4))
    io.save_mask(Mask(np.ones((2, 3, 4), bool), moved, header=scan.header), tmp_path / "m.nii")
    assert io.load_mask(tmp_path / "m.nii").geometry == moved


def test_a_mask_made_from_nothing_takes_the_header_of_the_scan_it_is_like(tmp_path: Path) -> None:
    scan = io.load_volume(write(tmp_path / "scan.nii", np.zeros((4, 3, 2), np.int16), tilted()))
    nearly = Geometry(scan.geometry.shape, scan.geometry.affine + np.vstack([np.full((3, 4), 1e-6), np.zeros((1, 4))]))
    io.save_mask(Mask(np.ones((2, 3, 4), bool), nearly), tmp_path / "m.nii", like=scan)
    assert nib.load(tmp_path / "m.nii").affine.tobytes() == nib.load(tmp_path / "scan.nii").affine.tobytes()


def test_a_mask_on_another_grid_than_its_scan_is_neither_saved_nor_loaded(tmp_path: Path) -> None:
    scan = io.load_volume(write(tmp_path / "scan.nii", np.zeros((4, 3, 2), np.int16), tilted()))
    other = Mask(np.ones((2, 3, 4), bool), Geometry.from_spacing((2, 3, 4)))
    with pytest.raises(GeometryError, match="the mask is on another grid"):
        io.save_mask(other, tmp_path / "m.nii", like=scan)
    assert not (tmp_path / "m.nii").exists()
    io.save_mask(other, tmp_path / "m.nii")
    with pytest.raises(GeometryError, match=r"m.nii is on another grid.*Resample"):
        io.load_mask(tmp_path / "m.nii", like=scan)


def test_a_mask_stored_as_whole_floats_is_a_mask(tmp_path: Path) -> None:
    stored = np.array([0.0, 2.0, 300.0], np.float32).reshape(3, 1, 1)
    mask = io.load_mask(write(tmp_path / "m.nii", stored))
    assert mask.array.dtype == np.int16
    assert mask.values == (2, 300)


@pytest.mark.parametrize("values", [[0.0, 0.5], [0.0, np.nan], [0.0, 1e12]])
def test_a_probability_map_is_no_mask(tmp_path: Path, values: list[float]) -> None:
    with pytest.raises(FormatError, match="is no mask"):
        io.load_mask(write(tmp_path / "m.nii", np.array(values).reshape(2, 1, 1)))


@per_example
@given(shape=SHAPES, affine=affines())
def test_itk_sees_the_scan_and_the_mask_at_the_same_place(
    tmp_path: Path, shape: tuple[int, int, int], affine: np.ndarray
) -> None:
    """An independent reader agrees (as far as a quaternion in single precision goes)."""
    scan = io.load_volume(write(tmp_path / "scan.nii.gz", np.zeros(shape, np.int16), affine))
    io.save_mask(mask_of(scan), tmp_path / "mask.nii.gz")
    for name in ("scan.nii.gz", "mask.nii.gz"):
        image = sitk.ReadImage(tmp_path / name)
        assert image.GetSize() == shape
        for index in ((0, 0, 0), tuple(n - 1 for n in shape)):
            left, posterior, superior = image.TransformIndexToPhysicalPoint(index)
            np.testing.assert_allclose(
                scan.geometry.to_world([index[::-1]])[0], (-left, -posterior, superior), atol=2e-3
            )
