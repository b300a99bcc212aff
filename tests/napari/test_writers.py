"""Labels that are saved from napari lie on the scan's own grid, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from napari.layers import Labels, Layer
from napari.utils import DirectLabelColormap

import phantoms
from napari_layers import ALL_GRIDS, image_of, opened, segmentation, transform_of, written
from voxsam import io
from voxsam.errors import FormatError, VolumeError
from voxsam.geometry import Geometry
from voxsam.terminology import CODES
from voxsam.volume import Label, Mask
from voxsam_napari.orientation import RAS_OF_NAPARI
from voxsam_napari.writers import mask_of_layer, write_labels


def saved(layer: Labels, path: Path) -> Mask:
    data, options, _ = layer.as_layer_data_tuple()
    assert write_labels(str(path), data, options) == [str(path)]
    return io.load_mask(path)


def drawn_on(image: Layer, data: npt.NDArray[Any] | None = None) -> Labels:
    """A labels layer as the dock adds it: placed as the image is, with the image's scan."""
    place = {"scale": image.scale, "affine": image.affine, "metadata": image.metadata}
    return Labels(np.zeros(image.data.shape, np.uint8) if data is None else data, name="liver", **place)


@ALL_GRIDS
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".seg.nrrd", ".nrrd"])
def test_what_is_drawn_on_a_scan_is_saved_on_its_very_grid(tmp_path: Path, geometry: Geometry, suffix: str) -> None:
    phantom = phantoms.ellipsoid(geometry)
    scan_file = written(phantom.volume, tmp_path / "scan.nii.gz")
    (image,) = opened(scan_file)
    axes = image.metadata["voxsam"]["axes"]
    layer = drawn_on(image, phantom.truth.array.astype(np.uint8).transpose(axes))
    mask = saved(layer, tmp_path / f"liver{suffix}")
    scan = io.load_volume(scan_file)
    np.testing.assert_array_equal(mask.array, phantom.truth.array)
    assert io.load_mask(tmp_path / f"liver{suffix}", like=scan).geometry == scan.geometry
    assert mask.geometry == scan.geometry
    if suffix == ".nii.gz":
        ours, theirs = nib.load(tmp_path / "liver.nii.gz"), nib.load(scan_file)
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        np.testing.assert_array_equal(np.asarray(ours.dataobj), phantom.truth.array.T)


def test_a_layer_that_shows_the_scan_backwards_is_turned_back() -> None:
    phantom = phantoms.ellipsoid(phantoms.awkward_geometry())
    data = phantom.truth.array.astype(np.uint8).transpose(1, 0, 2)[::-1, :, ::-1]
    known = {"volume": phantom.volume, "axes": (1, 0, 2), "flips": (True, False, True)}
    mask = mask_of_layer(*Labels(data, metadata={"voxsam": known}).as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(mask.array, phantom.truth.array)
    assert mask.geometry == phantom.volume.geometry


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"scale": (3.0, 0.7, 0.8), "translate": (5.0, 6.0, -7.0)},
        {
            "scale": (3.0, 0.7, 0.8),
            "rotate": (10.0, 20.0, 30.0),
            "shear": (0.1, 0.0, 0.2),
            "translate": (1.0, 2.0, 3.0),
        },
        {"scale": (2.0, 1.0, 1.0), "affine": np.diag((-1.0, 1.0, -1.0, 1.0))},
    ],
    ids=["nothing", "scale", "all", "affine"],
)
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")  # napari's, of any tilted layer
def test_a_layer_that_came_without_a_file_is_saved_where_napari_shows_it(tmp_path: Path, place: dict[str, Any]) -> None:
    data = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)
    layer = Labels(data, **place)
    mask = saved(layer, tmp_path / "m.seg.nrrd")
    np.testing.assert_array_equal(mask.array, data)
    voxels = np.array([(0, 0, 0), (1, 2, 3), (1, 0, 2)])
    world = np.array([layer.data_to_world(voxel) for voxel in voxels])
    np.testing.assert_allclose(mask.geometry.to_world(voxels), world @ RAS_OF_NAPARI.T, atol=1e-6)


def test_units_of_length_become_millimetres_and_pixels_are_taken_for_them(tmp_path: Path) -> None:
    data = np.ones((2, 3, 4), np.uint8)
    micrometres = Labels(data, scale=(50.0, 5.0, 5.0), units=("um", "um", "um"))
    assert saved(micrometres, tmp_path / "m.nii.gz").geometry.spacing_mm == pytest.approx((0.05, 0.005, 0.005))
    assert saved(Labels(data, scale=(5.0, 1.0, 1.0)), tmp_path / "n.nii.gz").geometry.spacing_mm == (5.0, 1.0, 1.0)


def test_labels_of_an_untilted_scan_that_lost_their_scan_are_saved_on_its_grid_all_the_same(tmp_path: Path) -> None:
    grid = Geometry.from_spacing((6, 8, 9), (4.0, 0.7, 0.8), (-30.0, 40.0, 500.0))
    image = image_of(phantoms.sphere(grid, 2.0).volume)
    layer = Labels(np.ones(grid.shape, np.uint8), affine=transform_of(image))
    grid.require_same(saved(layer, tmp_path / "m.nii.gz").geometry, "the layer")


def test_another_shape_than_the_scans_is_placed_by_the_layer_itself() -> None:
    image = image_of(phantoms.sphere(phantoms.awkward_geometry()).volume)
    layer = Labels(np.ones((2, 3, 4), np.uint8), metadata=image.metadata)
    assert mask_of_layer(*layer.as_layer_data_tuple()[:2]).geometry.spacing_mm == (1.0, 1.0, 1.0)


def test_a_picture_is_a_mask_of_one_slice(tmp_path: Path) -> None:
    mask = saved(Labels(np.eye(5, dtype=np.uint8), scale=(0.5, 0.25)), tmp_path / "m.nii.gz")
    assert mask.array.shape == (1, 5, 5)
    assert mask.geometry.spacing_mm == (1.0, 0.5, 0.25)


@ALL_GRIDS
def test_a_segmentation_that_is_opened_painted_on_and_saved_keeps_names_colours_and_grid(
    tmp_path: Path, geometry: Geometry
) -> None:
    mask = segmentation(geometry)
    io.save_mask(mask, tmp_path / "organs.seg.nrrd")
    (layer,) = opened(tmp_path / "organs.seg.nrrd")
    layer.data[0, 0, 1] = 7
    again = saved(layer, tmp_path / "again.seg.nrrd")
    assert again.geometry == mask.geometry
    assert {value: label.name for value, label in again.labels.items()} == {3: "liver", 7: "tumour"}
    assert again.labels[3].color_rgb == pytest.approx((0.25, 0.5, 1.0), abs=1e-5)
    assert np.count_nonzero(again.array != mask.array) == 1


def test_codes_of_an_opened_segmentation_and_labels_without_a_voxel_survive(tmp_path: Path) -> None:
    labels = {
        1: Label("my lesion", (1.0, 0.0, 0.0), CODES["liver tumor"]),
        2: Label("not found", (0.0, 1.0, 0.0), CODES["cyst"]),
    }
    grid = Geometry.from_spacing((2, 3, 4))
    io.save_mask(Mask(np.ones(grid.shape, bool), grid, labels=labels), tmp_path / "m.seg.nrrd")
    (layer,) = opened(tmp_path / "m.seg.nrrd")
    assert saved(layer, tmp_path / "n.seg.nrrd").labels == labels


def test_a_layers_name_is_that_of_its_only_label_and_brings_its_code(tmp_path: Path) -> None:
    mask = saved(Labels(np.full((2, 2, 2), 4, np.uint8), name="left kidney"), tmp_path / "m.seg.nrrd")
    assert mask.labels[4].name == "left kidney"
    assert mask.labels[4].code == CODES["left kidney"]
    opened_from_a_file = Labels(np.ones((2, 2, 2), np.uint8), name="kidney_left.nii.gz")
    assert saved(opened_from_a_file, tmp_path / "o.seg.nrrd").labels[1].code == CODES["left kidney"]
    several = saved(Labels(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), name="left kidney"), tmp_path / "n.seg.nrrd")
    assert several.labels[3].name == "label 3"


def test_colours_are_those_on_the_screen(tmp_path: Path) -> None:
    colors = {None: (0, 0, 0, 0), 1: (0.25, 0.5, 0.75, 1.0)}
    layer = Labels(np.ones((2, 2, 2), np.uint8), colormap=DirectLabelColormap(color_dict=colors))
    assert saved(layer, tmp_path / "m.seg.nrrd").labels[1].color_rgb == pytest.approx((0.25, 0.5, 0.75), abs=1e-5)


def test_labels_with_a_time_axis_are_refused_in_one_line(tmp_path: Path) -> None:
    layer = Labels(np.zeros((2, 3, 4, 5), np.uint8), name="cells")
    with pytest.raises(VolumeError, match=r"^labels 'cells' have 4 axes \(2, 3, 4, 5\): expected two or three;[^\n]+$"):
        saved(layer, tmp_path / "m.nii.gz")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    saved(Labels(np.ones((2, 2, 2), np.uint8)), tmp_path / "m.nii.gz")
    old = (tmp_path / "m.nii.gz").read_bytes()
    with pytest.raises(FormatError, match=r"cannot write .*expected a name that ends in \.nii"):
        saved(Labels(np.zeros((2, 2, 2), np.uint8)), tmp_path / "m.tif")
    with pytest.raises(FormatError):
        saved(Labels(np.zeros((2, 2, 2), np.uint8)), tmp_path / "m.nii.gz" / "below.nii.gz")
    assert (tmp_path / "m.nii.gz").read_bytes() == old


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii", "m.seg.nrrd", "m.nrrd"])
def test_naparis_own_save_chooses_our_writer_by_the_name(tmp_path: Path, name: str, make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    phantom = phantoms.ellipsoid(phantoms.awkward_geometry())
    image = viewer.add_layer(image_of(phantom.volume))
    viewer.add_layer(drawn_on(image, phantom.truth.array.astype(np.uint8)))
    viewer.layers.selection = {viewer.layers[1]}
    assert viewer.layers.save(str(tmp_path / name), selected=True) == [str(tmp_path / name)]
    np.testing.assert_array_equal(io.load_mask(tmp_path / name, like=phantom.volume).array, phantom.truth.array)
