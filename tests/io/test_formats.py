"""One table of formats; anything that is not in it gets a clear line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from voxsam import io
from voxsam.errors import FormatError, GeometryError, VolumeError
from voxsam.geometry import Geometry
from voxsam.io import FORMATS, merge_into
from voxsam.io.voxels import guess_modality, native, scaled, smallest_integer
from voxsam.volume import Label, Mask

GRID = Geometry.from_spacing((1, 1, 4))


def labelled(values: list[int], dtype: Any = np.uint8, **fields: Any) -> Mask:
    return Mask(np.array([[values]], dtype), GRID, **fields)


# ── the table ──


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_every_format_has_what_the_table_promises(kind: io.Format) -> None:
    module = kind.load()
    assert callable(module.read_volume)
    assert callable(module.read_mask)
    assert hasattr(module, "write_mask") >= kind.writes


def test_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    mask = labelled([0, 1, 0, 2])
    for name in ("A.NII", "a.Nii.Gz", "A.NRRD", "a.Seg.NRRD"):
        io.save_mask(mask, tmp_path / name)
        np.testing.assert_array_equal(io.load_mask(tmp_path / name).array, mask.array)


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    io.save_mask(labelled([0, 1, 0, 2]), str(tmp_path / "m.nii"))
    assert io.load_mask(str(tmp_path / "m.nii")).values == (1, 2)
    assert io.load_volume(str(tmp_path / "m.nii")).name == "m.nii"


def test_dicom_is_known_by_its_first_bytes_where_it_has_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    assert io.load_volume(tmp_path / "IM0001").modality == "CT"


def test_opening_the_table_loads_no_reader() -> None:
    script = "import sys, voxsam.io; sys.exit(bool({'nibabel', 'SimpleITK', 'torch'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("load", [io.load_volume, io.load_mask])
def test_a_missing_file_is_refused_with_a_near_name(tmp_path: Path, load: Any) -> None:
    (tmp_path / "liver.nii.gz").touch()
    with pytest.raises(FormatError, match=r"no such file or folder: .*lver.nii.gz; did you mean 'liver.nii.gz'\?"):
        load(tmp_path / "lver.nii.gz")
    with pytest.raises(FormatError, match=r"no such file or folder: .*; check the path"):
        load(tmp_path / "nowhere" / "scan.nii")
    with pytest.raises(FormatError, match="no such file or folder"):
        io.list_series(tmp_path / "nowhere")


@pytest.mark.parametrize("load", [io.load_volume, io.load_mask])
def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path, load: Any) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    with pytest.raises(FormatError, match=r"photo.png is of no known format: expected .*\.nii, \.nii\.gz, .*\.dcm"):
        load(tmp_path / "photo.png")


def test_a_mask_with_an_unknown_suffix_is_not_written(tmp_path: Path) -> None:
    for name in ("m.png", "m", "m.dcm", "m.nhdr"):
        with pytest.raises(FormatError, match=r"expected a name that ends in .nii, .nii.gz, .seg.nrrd, .nrrd, got"):
            io.save_mask(labelled([0, 1, 0, 2]), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_series_of_a_file_that_is_no_dicom_is_refused(tmp_path: Path) -> None:
    nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(FormatError, match="is NIfTI: series= chooses among DICOM series"):
        io.load_volume(tmp_path / "a.nii", series="1.2.3")


def test_a_folder_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a mask as NIfTI or NRRD"):
        io.load_mask(tmp_path)


# ── merging ──


def test_an_object_joins_a_label_map() -> None:
    merged = merge_into(labelled([1, 1, 0, 0]), labelled([0, 1, 1, 0], bool), 2, "tumour")
    assert merged.array.tolist() == [[[1, 2, 2, 0]]]
    assert merged.array.dtype == np.uint8
    assert merged.labels[2].name == "tumour"


def test_others_keep_their_voxels_on_request() -> None:
    merged = merge_into(labelled([1, 1, 0, 0]), labelled([0, 1, 1, 0]), 2, "tumour", keep_others=True)
    assert merged.array.tolist() == [[[1, 1, 2, 0]]]


def test_a_second_piece_of_a_label_takes_nothing_away() -> None:
    existing = labelled([2, 0, 0, 0], labels={2: Label("tumour", (0.1, 0.2, 0.3))})
    merged = merge_into(existing, labelled([0, 0, 1, 0]), 2, "")
    assert merged.array.tolist() == [[[2, 0, 2, 0]]]
    assert merged.labels[2] == Label("tumour", (0.1, 0.2, 0.3))
    assert merge_into(existing, labelled([0, 0, 1, 0]), 2, "metastasis").labels[2].name == "metastasis"


def test_merging_leaves_the_first_mask_as_it_was_and_keeps_its_header() -> None:
    existing = labelled([1, 1, 0, 0], header={"nifti": b"x"}, labels={1: Label("liver")})
    merged = merge_into(existing, labelled([0, 1, 1, 0]), 2, "tumour")
    assert existing.array.tolist() == [[[1, 1, 0, 0]]]
    assert dict(existing.labels) == {1: Label("liver")}
    assert merged.header["nifti"] == b"x"
    assert merged.labels[1] == Label("liver")


@pytest.mark.parametrize(
    ("dtype", "label", "grown"),
    [
        (bool, 1, "uint8"), (np.uint8, 255, "uint8"), (np.uint8, 256, "int16"), (np.int16, 40000, "uint16"),
        (np.uint8, 70000, "int32"), (np.int8, 200, "uint8"), (np.int32, 5, "int32"), (np.uint8, 2**32 - 1, "uint32"),
    ],
)  # fmt: skip
def test_the_type_grows_only_where_the_label_needs_it(dtype: Any, label: int, grown: str) -> None:
    merged = merge_into(labelled([1, 0, 0, 0], dtype), labelled([0, 1, 0, 0]), label, "new")
    assert merged.array.dtype == grown
    assert merged.array.ravel().tolist() == [1, label, 0, 0]


def test_a_negative_label_is_kept_when_the_type_grows() -> None:
    merged = merge_into(labelled([-3, 0, 0, 0], np.int8), labelled([0, 1, 0, 0]), 300, "new")
    assert merged.array.ravel().tolist() == [-3, 300, 0, 0]


@pytest.mark.parametrize("label", [0, -1, 2**32])
def test_an_impossible_label_is_refused(label: int) -> None:
    with pytest.raises(VolumeError, match="expected a label from 1 to 4294967295"):
        merge_into(labelled([1, 0, 0, 0]), labelled([0, 1, 0, 0]), label, "new")


def test_another_grid_is_not_merged() -> None:
    other = Mask(np.ones((1, 1, 4), bool), Geometry.from_spacing((1, 1, 4), spacing_mm=(2.0, 1.0, 1.0)))
    with pytest.raises(GeometryError, match="the new object's mask is on another grid"):
        merge_into(labelled([1, 0, 0, 0]), other, 2, "new")


# ── voxel types ──


def test_no_type_is_found_for_what_none_holds() -> None:
    assert smallest_integer(-1, 300, (np.uint8, np.int8)) is None


def test_a_trivial_scaling_gives_the_very_array_back() -> None:
    array = np.zeros((1, 2, 3), np.int16)
    assert scaled(array, 1.0, 0.0) is array


def test_swapping_bytes_leaves_the_values() -> None:
    for writeable in (True, False):
        array = np.array([1, 2, 3], ">i4")
        array.flags.writeable = writeable
        assert native(array).tolist() == [1, 2, 3]
        assert native(array).dtype.isnative or writeable


@pytest.mark.parametrize(
    "array", [np.zeros((1, 1, 1), bool), np.full((1, 1, 1), np.nan), np.zeros((1, 1, 1), np.uint16)]
)
def test_nothing_is_guessed_from_nothing(array: np.ndarray) -> None:
    assert guess_modality(array) == ""
