"""NRRD and 3D Slicer's segmentations: every bit of the affine, names and colours."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings

from grids import geometries
from voxsam import io
from voxsam.errors import FormatError, GeometryError
from voxsam.geometry import Geometry
from voxsam.terminology import CODES, Code
from voxsam.volume import Label, Mask, Volume

GRID = Geometry.from_spacing((2, 3, 4), spacing_mm=(5.0, 0.7, 0.8), origin_mm=(10.0, 20.0, 30.0))
per_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def organs() -> Mask:
    array = np.zeros((2, 3, 4), np.uint8)
    array[0, 1:, 2:4], array[1, 0, 0] = 1, 7
    return Mask(array, GRID, labels={1: Label("liver", (0.25, 0.5, 1.0)), 7: Label("tumeur hépatique\\2\nsecond line")})


def write(path: Path, array: np.ndarray, *lines: str) -> Path:
    """Write a raw NRRD by hand: `array` is (Z, Y, X), `lines` extend the header."""
    types = {"int16": "short", "uint8": "uchar", "float32": "float"}
    sizes = " ".join(str(n) for n in array.shape[::-1])
    text = ["NRRD0004", f"type: {types[array.dtype.name]}", f"dimension: {array.ndim}", f"sizes: {sizes}"]
    text += ["encoding: gzip", "endian: little", *lines, "", ""]
    path.write_bytes("\n".join(text).encode() + gzip.compress(array.tobytes()))
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd"])
@per_example
@given(grid=geometries())
def test_a_mask_returns_on_its_grid_to_the_last_bit(tmp_path: Path, grid: Geometry, suffix: str) -> None:
    array = np.zeros(grid.shape, np.uint8)
    array.flat[::2] = 3
    path = tmp_path / f"m{suffix}"
    io.save_mask(Mask(array, grid), path)
    mask = io.load_mask(path, like=Volume(array, grid))
    assert io.load_mask(path).geometry == grid
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array, array)
    image = sitk.ReadImage(path)  # an independent reader agrees
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    for index in ((0, 0, 0), tuple(n - 1 for n in grid.shape)):
        left, posterior, superior = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(grid.to_world([index])[0], (-left, -posterior, superior), atol=1e-9)


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd"])
def test_names_and_colours_of_segments_survive(tmp_path: Path, suffix: str) -> None:
    io.save_mask(organs(), tmp_path / f"m{suffix}")
    assert io.load_mask(tmp_path / f"m{suffix}").labels == organs().labels


def test_codes_of_segments_survive_on_slicers_line(tmp_path: Path) -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[0, 0, :3] = 1, 2, 3
    labels = {
        1: Label("left kidney", code=CODES["left kidney"]),
        2: Label("a tumour", code=CODES["liver tumor"]),
        3: Label("something", code=Code("x\\n1", "Of our own \\\\", "99LOCAL")),
    }
    io.save_mask(Mask(array, GRID, labels=labels), tmp_path / "m.seg.nrrd")
    assert io.load_mask(tmp_path / "m.seg.nrrd").labels == labels
    written = sitk.ReadImage(tmp_path / "m.seg.nrrd").GetMetaData("Segment0_Tags")
    assert written == f"TerminologyEntry:{CODES['left kidney'].entry}|"


@pytest.mark.parametrize(
    "tags",
    [
        "",
        "|",
        "Segmentation.Status:inprogress|",
        "TerminologyEntry:|",
        "TerminologyEntry:list~SCT^1^Tissue~^^|",
        "TerminologyEntry:list~SCT^1^Tissue~SCT^1^a\\nb|",
    ],
)
def test_a_segment_without_a_readable_code_is_read_without_one(tmp_path: Path, tags: str) -> None:
    path = tmp_path / "m.seg.nrrd"
    io.save_mask(Mask(np.ones(GRID.shape, bool), GRID, labels={1: Label("liver")}), path)
    path.write_bytes(path.read_bytes().replace(b"Segment0_Tags:=", b"Segment0_Tags:=" + tags.encode(), 1))
    assert io.load_mask(path).labels == {1: Label("liver")}


def test_a_code_among_other_tags_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.seg.nrrd"
    io.save_mask(Mask(np.ones(GRID.shape, bool), GRID, labels={1: Label("liver")}), path)
    tags = f"Segmentation.Status:completed|TerminologyEntry:{CODES['liver'].entry}|"
    path.write_bytes(path.read_bytes().replace(b"Segment0_Tags:=", b"Segment0_Tags:=" + tags.encode(), 1))
    assert io.load_mask(path).labels[1].code == CODES["liver"]


def test_a_segmentation_has_the_keys_that_slicer_reads(tmp_path: Path) -> None:
    io.save_mask(organs(), tmp_path / "m.seg.nrrd")
    image = sitk.ReadImage(tmp_path / "m.seg.nrrd")
    found = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    assert found["Segment0_ID"] == "Segment_1"
    assert found["Segment0_Name"] == "liver"
    assert found["Segment0_Color"] == "0.25 0.5 1"
    assert found["Segment0_LabelValue"] == "1"
    assert found["Segment0_Layer"] == "0"
    assert found["Segment0_Extent"] == "2 3 1 2 0 0"
    assert found["Segment1_LabelValue"] == "7"
    assert found["Segment1_Extent"] == "0 0 0 0 1 1"
    assert found["Segmentation_MasterRepresentation"] == "Binary labelmap"


def test_a_nameless_label_is_called_by_its_number_and_a_voxelless_one_is_kept(tmp_path: Path) -> None:
    array = np.zeros((2, 3, 4), bool)
    array[0, 0, 0] = True
    io.save_mask(Mask(array, GRID, labels={5: Label("not found")}), tmp_path / "m.seg.nrrd")
    labels = io.load_mask(tmp_path / "m.seg.nrrd").labels
    assert {value: label.name for value, label in labels.items()} == {1: "Segment_1", 5: "not found"}


SPACES = [
    ("left-posterior-superior", (-1, -1, 1)),
    ("LPS", (-1, -1, 1)),
    ("right-anterior-superior", (1, 1, 1)),
    ("RAS", (1, 1, 1)),
    ("left-anterior-superior", (-1, 1, 1)),
]


@pytest.mark.parametrize(("space", "signs"), SPACES)
def test_every_named_space_becomes_ras(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    path = write(
        tmp_path / "a.nrrd",
        np.zeros((2, 3, 4), np.int16),
        f"space: {space}",
        "space directions: (0.7,0.1,0) (-0.1,0.7,0) (0,0,5)",
        "space origin: (10,20,30)",
    )
    grid = io.load_volume(path).geometry
    np.testing.assert_allclose(grid.to_world([[0, 0, 0]])[0], np.multiply(signs, (10, 20, 30)))
    np.testing.assert_allclose(grid.to_world([[1, 2, 3]])[0], np.multiply(signs, (10 + 2.1 - 0.2, 20 + 0.3 + 1.4, 35)))
    image = sitk.ReadImage(path)
    left, posterior, superior = image.TransformIndexToPhysicalPoint((3, 2, 1))
    np.testing.assert_allclose(grid.to_world([[1, 2, 3]])[0], (-left, -posterior, superior))


def test_spacings_alone_make_an_upright_grid(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", np.zeros((2, 3, 4), np.int16), "spacings: 0.7 0.8 5")
    assert io.load_volume(path).geometry.spacing_mm == (5.0, 0.8, 0.7)


def test_types_are_kept_and_ct_is_guessed(tmp_path: Path) -> None:
    scan = io.load_volume(write(tmp_path / "a.nrrd", np.full((2, 3, 4), -1000, np.int16), "spacings: 1 1 1"))
    assert scan.array.dtype == np.int16
    assert scan.modality == "CT"
    assert scan.name == "a.nrrd"


def vector(path: Path, components: int, kind: Any = np.int16) -> Path:
    array = np.arange(24 * components).reshape(2, 3, 4, components).astype(kind)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), path)
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_several_values_per_voxel_ask_for_a_channel(tmp_path: Path, suffix: str) -> None:
    path = vector(tmp_path / f"a{suffix}", 2)
    with pytest.raises(FormatError, match="holds 2 volumes"):
        io.load_volume(path)
    assert io.load_volume(path, channel=1).array.ravel()[:3].tolist() == [1, 3, 5]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_fourth_axis_asks_for_a_channel(tmp_path: Path, suffix: str) -> None:
    array = np.arange(72, dtype=np.int16).reshape(3, 2, 3, 4)
    image = sitk.GetImageFromArray(array, isVector=False)
    image.SetSpacing((0.7, 0.8, 5.0, 1.0))
    image.SetOrigin((10.0, 20.0, 30.0, 0.0))
    sitk.WriteImage(image, tmp_path / f"a{suffix}")
    with pytest.raises(FormatError, match="holds 3 volumes"):
        io.load_volume(tmp_path / f"a{suffix}")
    scan = io.load_volume(tmp_path / f"a{suffix}", channel=2)
    np.testing.assert_array_equal(scan.array, array[2])
    assert scan.geometry.spacing_mm == (5.0, 0.8, 0.7)
    assert scan.geometry.to_world([[0, 0, 0]])[0].tolist() == [-10.0, -20.0, 30.0]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("components", [3, 4])
def test_colour_is_refused(tmp_path: Path, suffix: str, components: int) -> None:
    with pytest.raises(FormatError, match="holds colours"):
        io.load_volume(vector(tmp_path / f"a{suffix}", components, np.uint8))


def test_layers_of_overlapping_segments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"holds 2 layers.*segments that overlap; export"):
        io.load_mask(vector(tmp_path / "a.seg.nrrd", 2, np.uint8))


@pytest.mark.parametrize(("key", "value"), [("Color", "red"), ("Color", "1 0"), ("LabelValue", "one")])
def test_a_broken_segment_table_is_refused(tmp_path: Path, key: str, value: str) -> None:
    lines = ("spacings: 1 1 1", "Segment0_Name:=liver", f"Segment0_{key}:={value}")
    with pytest.raises(FormatError, match="segment 0 of the file has label"):
        io.load_mask(write(tmp_path / "a.seg.nrrd", np.zeros((2, 3, 4), np.uint8), *lines))


def test_a_singular_grid_is_refused(tmp_path: Path) -> None:
    lines = ("space: RAS", "space directions: (1,0,0) (1,0,0) (0,0,1)", "space origin: (0,0,0)")
    path = write(tmp_path / "a.nrrd", np.zeros((2, 3, 4), np.uint8), *lines)
    for load in (io.load_volume, io.load_mask):
        with pytest.raises(FormatError) as caught:
            load(path)  # type: ignore[operator]
        assert "\n" not in str(caught.value)


def test_a_scan_of_nan_and_a_mask_of_fractions_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", np.full((2, 3, 4), np.nan, np.float32), "spacings: 1 1 1")
    with pytest.raises(FormatError, match="every voxel is NaN"):
        io.load_volume(path)
    with pytest.raises(FormatError, match="is no mask"):
        io.load_mask(path)


def test_a_mask_of_fewer_than_three_directions_is_placed_by_itk(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", np.ones((3, 4), np.uint8), "spacings: 0.5 0.25")
    assert io.load_mask(path).geometry.spacing_mm == (1.0, 0.25, 0.5)


def test_a_mask_of_another_grid_is_refused(tmp_path: Path) -> None:
    io.save_mask(organs(), tmp_path / "m.nrrd")
    with pytest.raises(GeometryError, match="on another grid"):
        io.load_mask(tmp_path / "m.nrrd", like=Volume(np.zeros((2, 3, 4)), Geometry.from_spacing((2, 3, 4))))


@pytest.mark.parametrize("kept", [0.0, 0.002, 0.5, 0.95])
def test_a_truncated_file_is_refused_on_one_line(tmp_path: Path, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 999, (16, 16, 16)).astype(np.int16)
    path = write(tmp_path / "a.nrrd", noise, "spacings: 1 1 1")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(FormatError, match="cannot be read: expected") as caught:
        io.load_volume(path)
    assert "\n" not in str(caught.value)


@pytest.mark.realdata
def test_real_segmentations_open_on_their_scan(data_dir: Path) -> None:
    folder = data_dir / "dicom" / "dcmqi"
    scan = io.load_volume(folder / "ct-3slice")
    mask = io.load_mask(folder / "liver_seg.nrrd", like=scan)
    assert mask.values == (1,)
    assert float(scan.array[mask.array > 0].mean()) > 0.0  # liver is denser than water
