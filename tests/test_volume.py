"""An array on a grid: scans and masks."""

from __future__ import annotations

import numpy as np
import pytest

from voxsam.errors import VolumeError
from voxsam.geometry import Geometry
from voxsam.volume import Label, Mask, Volume

GRID = Geometry.from_spacing((2, 3, 4), spacing_mm=(5.0, 1.0, 1.0))


def scan(array: np.ndarray, **fields: object) -> Volume:
    return Volume(array, GRID, **fields)  # type: ignore[arg-type]


def test_a_volume_shares_its_array_but_cannot_change_it() -> None:
    array = np.zeros((2, 3, 4), np.int16)
    volume = scan(array)
    assert np.shares_memory(volume.array, array)
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    array[0, 0, 0] = 1  # the owner still may


def test_a_transposed_array_is_kept_without_a_copy() -> None:
    stored = np.zeros((4, 3, 2), np.int16, order="F")
    assert np.shares_memory(scan(stored.T).array, stored)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), "three axes"),
        (np.zeros((2, 3, 5)), "its geometry"),
        (np.zeros((2, 3, 4), complex), "one real number"),
        (np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "one real number"),
        (np.full((2, 3, 4), np.nan), "NaN or infinite"),
        (np.full((2, 3, 4), -np.inf), "NaN or infinite"),
    ],
)
def test_an_array_that_is_no_scan_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        scan(array)


def test_some_nan_is_accepted() -> None:
    array = np.full((2, 3, 4), np.nan)
    array[1, 2, 3] = 7.0
    assert np.nanmax(scan(array).array) == 7.0


def test_the_header_is_a_frozen_copy() -> None:
    header = {"nifti": b""}
    volume = scan(np.zeros((2, 3, 4)), header=header)
    header["nifti"] = b"changed"
    assert volume.header["nifti"] == b""
    with pytest.raises(TypeError):
        volume.header["nifti"] = b""  # type: ignore[index]


def test_the_fingerprint_knows_values_grid_and_type_but_not_name_or_memory_order() -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    fingerprint = scan(array, name="a").fingerprint
    assert fingerprint == scan(np.asfortranarray(array), name="b").fingerprint
    assert fingerprint != scan(array + np.int16(1)).fingerprint
    assert fingerprint != scan(array.astype(np.float32)).fingerprint
    assert fingerprint != Volume(array, Geometry.from_spacing((2, 3, 4))).fingerprint
    assert len(fingerprint) == 64


def test_a_mask_is_bool_or_integer() -> None:
    assert Mask(np.zeros((2, 3, 4), bool), GRID).values == ()
    with pytest.raises(VolumeError, match="bools or integer labels"):
        Mask(np.zeros((2, 3, 4)), GRID)


def test_volumes_in_millilitres_count_voxels_of_a_label_or_of_all() -> None:
    array = np.zeros((2, 3, 4), np.uint8)
    array[0, 0, :2], array[1, 0, :1] = 1, 7
    mask = Mask(array, GRID)
    assert mask.values == (1, 7)
    assert mask.volume_ml() == pytest.approx(0.015)
    assert mask.volume_ml(7) == pytest.approx(0.005)
    assert mask.volume_ml(9) == 0.0


def test_one_label_becomes_a_bool_mask_that_keeps_its_name_and_header() -> None:
    array = np.zeros((2, 3, 4), np.uint8)
    array[0, 0, 0] = 7
    tumour = Mask(array, GRID, labels={7: Label("tumour")}, header={"nifti": b"x"}).of_label(7)
    assert tumour.array.dtype == np.bool_
    assert tumour.array.sum() == 1
    assert tumour.labels == {1: Label("tumour")}
    assert tumour.header["nifti"] == b"x"
    assert tumour.of_label(3).labels == {}
