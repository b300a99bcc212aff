"""A scan opens where it lies in the patient, upright, with the patient's right on the left of the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtWidgets import QApplication, QInputDialog

import phantoms
from dicom_files import write_series
from napari_layers import ALL_GRIDS, GRIDS, image_of, opened, segmentation, transform_of, written
from voxsam import io
from voxsam.errors import FormatError
from voxsam.geometry import PLANES, Geometry, Plane
from voxsam.volume import Volume
from voxsam_napari import readers
from voxsam_napari.orientation import PLANE_ORDER, RAS_OF_NAPARI, geometry_of, placement
from voxsam_napari.readers import get_reader, layer_of_mask

# ── where it lies ──


@ALL_GRIDS
def test_each_axis_of_a_layer_runs_as_napari_draws_it_for_a_radiologist(geometry: Geometry) -> None:
    axes, _, affine = placement(geometry)
    towards = RAS_OF_NAPARI @ geometry.directions[:, axes]  # inferior, posterior, left: down, down, to the right
    assert (np.sign(np.diag(towards)) == np.diag(affine)[:3]).all()


@ALL_GRIDS
def test_the_middle_of_a_scan_lies_where_it_truly_is(geometry: Geometry) -> None:
    layer = image_of(phantoms.sphere(geometry).volume)
    middle = (np.array(geometry.shape) - 1) / 2
    axes = layer.metadata["voxsam"]["axes"]
    world = layer.data_to_world(middle[list(axes)])
    np.testing.assert_allclose(world, RAS_OF_NAPARI @ geometry.to_world([middle])[0], atol=1e-4)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_every_voxel_of_an_untilted_scan_lies_where_it_truly_is(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    affine = np.diag((*flips, 1.0)) @ Geometry.from_spacing((1, 1, 1), (4.0, 0.7, 0.9), (5.0, -6.0, 70.0)).affine
    geometry = Geometry((5, 6, 7), affine[:, (*order, 3)])
    layer = image_of(Volume(np.zeros(geometry.shape, np.int16), geometry))
    axes = list(layer.metadata["voxsam"]["axes"])
    for voxel in ((0, 0, 0), (1, 2, 3), (4, 0, 6)):
        world = layer.data_to_world(np.array(voxel)[axes])
        np.testing.assert_allclose(world, RAS_OF_NAPARI @ geometry.to_world([voxel])[0], atol=1e-5)
    without_metadata = geometry_of(transform_of(layer), layer.data.shape)
    np.testing.assert_allclose(without_metadata.affine, geometry.affine[:, (*axes, 3)], atol=1e-5)


@ALL_GRIDS
@pytest.mark.parametrize("plane", PLANES)
def test_napari_steps_through_every_slice_of_a_tilted_scan_once_and_without_a_warning(
    plane: Plane, geometry: Geometry
) -> None:
    viewer = ViewerModel()
    layer = viewer.add_layer(image_of(phantoms.sphere(geometry).volume))
    viewer.dims.order = PLANE_ORDER[plane]
    axis = viewer.dims.order[0]
    assert viewer.dims.nsteps[axis] == layer.data.shape[axis]
    for step in range(viewer.dims.nsteps[axis]):
        viewer.dims.set_current_step(axis, step)
        position = layer.world_to_data(viewer.dims.point)[axis]
        assert position == pytest.approx(round(position), abs=1e-6)


def lights(geometry: Geometry) -> Volume:
    """A dark scan with three balls: 12 mm to the right (bright), to anterior, and to superior (dim)."""
    offsets = phantoms.world_offsets(geometry, phantoms.middle_zyx(geometry))
    array = np.zeros(geometry.shape, np.int16)
    for value, towards in ((1000, (12, 0, 0)), (700, (0, 12, 0)), (400, (0, 0, 12))):
        array[np.linalg.norm(offsets - towards, axis=-1) < 5.0] = value
    return Volume(array, geometry, modality="MR", name="lights")


def where_on_screen(picture: npt.NDArray[Any], grey: int) -> npt.NDArray[np.float64]:
    """(down, right) of a grey value from the middle of a picture of the canvas."""
    rows, columns = np.nonzero(abs(picture[..., 0].astype(int) - grey) < 25)
    assert len(rows) > 20
    return np.array([rows.mean() / picture.shape[0] - 0.5, columns.mean() / picture.shape[1] - 0.5])


@pytest.mark.parametrize("name", ["awkward", "permuted", "sagittal"])
def test_on_the_screen_the_patient_is_upright_with_their_right_on_the_left(
    name: str, make_napari_viewer: Any, tmp_path: Path
) -> None:
    scan = lights(Geometry(GRIDS[name].shape, GRIDS[name].affine))
    viewer = make_napari_viewer(show=True)
    viewer.open(written(scan, tmp_path / "lights.nii.gz"), plugin="voxsam")
    layer = viewer.layers[0]
    layer.contrast_limits = (0, 1000)
    right, anterior, superior = 255, 178, 102

    def look(plane: Plane, depth_ras: tuple[float, float, float]) -> npt.NDArray[Any]:
        voxel = scan.geometry.to_voxel([scan.geometry.to_world([phantoms.middle_zyx(scan.geometry)])[0] + depth_ras])[0]
        viewer.dims.order = PLANE_ORDER[plane]
        viewer.dims.point = layer.data_to_world(np.rint(voxel)[list(layer.metadata["voxsam"]["axes"])])
        viewer.reset_view()
        QApplication.processEvents()
        return viewer.screenshot(canvas_only=True, flash=False)

    axial, coronal, sagittal = (look(plane, (0, 0, 0)) for plane in PLANES)
    assert where_on_screen(axial, right)[1] < -0.02
    assert where_on_screen(axial, anterior)[0] < -0.02
    assert where_on_screen(coronal, right)[1] < -0.02
    assert where_on_screen(coronal, superior)[0] < -0.02
    assert where_on_screen(sagittal, superior)[0] < -0.02
    assert where_on_screen(sagittal, anterior)[1] < -0.02  # the nose points left


def test_the_sample_opens_from_naparis_menu_and_looks_as_on_a_lightbox(
    make_napari_viewer: Any, sample_dir: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.open_sample("voxsam", "ct-abdomen")
    (image,) = viewer.layers
    assert np.shares_memory(image.data, image.metadata["voxsam"]["volume"].array)
    viewer.open(sample_dir / "ct_abdomen_truth.nii.gz", plugin="voxsam")
    labels = viewer.layers[1]
    image.visible, labels.opacity, labels.contour = False, 1.0, 0
    middle = {}
    for organ, value in (("liver", 1), ("spleen", 2), ("spine", 10)):
        labels.show_selected_label, labels.selected_label = True, value
        QApplication.processEvents()
        picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].any(axis=2)
        middle[organ] = np.argwhere(picture).mean(axis=0) / picture.shape - 0.5
    assert middle["liver"][1] < -0.05 < 0.05 < middle["spleen"][1]  # the liver is on the patient's right
    assert middle["spine"][0] > 0.05  # and the spine at the back


# ── what is opened ──


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@ALL_GRIDS
def test_every_format_brings_the_exact_scan_along(tmp_path: Path, geometry: Geometry, suffix: str) -> None:
    path = written(phantoms.ellipsoid(geometry).volume, tmp_path / f"scan{suffix}")
    (layer,) = opened(path)
    volume, axes = layer.metadata["voxsam"]["volume"], layer.metadata["voxsam"]["axes"]
    assert isinstance(layer, Image)
    assert (layer.name, layer.colormap.name) == (path.name, "gray")
    assert volume.geometry == io.load_volume(path).geometry
    np.testing.assert_allclose(volume.geometry.affine, geometry.affine, atol=1e-3)
    np.testing.assert_array_equal(layer.data.transpose(np.argsort(axes)), volume.array)
    assert np.shares_memory(layer.data, volume.array)
    np.testing.assert_allclose(layer.scale, np.array(geometry.spacing_mm)[list(axes)], rtol=1e-5)


def test_a_dicom_folder_and_any_slice_of_it_open_the_series(tmp_path: Path) -> None:
    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    folder = write_series(tmp_path / "ct", array)
    slices = sorted(str(path) for path in folder.iterdir())
    for path in (str(folder), slices[0], slices):
        read = get_reader(path)
        assert read is not None
        ((data, options, kind),) = read(path)
        assert kind == "image"
        np.testing.assert_array_equal(np.sort(data, axis=None), array.ravel())
        assert options["metadata"]["voxsam"]["volume"].modality == "CT"


def test_of_several_series_in_a_folder_the_user_is_asked_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qapp: QApplication
) -> None:
    folder = write_series(tmp_path / "study", np.zeros((3, 4, 4), np.int16))
    other = write_series(
        tmp_path / "t", np.ones((4, 4, 4), np.int16), SeriesInstanceUID="1.2.9", SeriesDescription="Thin", suffix=".ima"
    )
    for path in other.iterdir():
        path.rename(folder / path.name)
    asked: list[list[str]] = []

    def choose(_: Any, __: str, ___: str, titles: list[str], *____: Any) -> tuple[str, bool]:
        asked.append(titles)
        return next(title for title in titles if "Thin" in title), len(asked) == 1

    monkeypatch.setattr(QInputDialog, "getItem", choose)
    (layer,) = opened(folder)
    assert layer.data.shape == (4, 4, 4)
    assert len(asked[0]) == 2
    with pytest.raises(FormatError, match="holds 2 series, and none was chosen: open it again"):
        opened(folder)
    monkeypatch.setattr(QApplication, "instance", lambda: None)
    with pytest.raises(FormatError, match=r"choose one with series=\. They are: "):
        opened(folder)


def test_a_file_of_several_volumes_opens_as_one_layer_that_knows_each(tmp_path: Path) -> None:
    geometry = phantoms.awkward_geometry((4, 5, 6))
    array = np.arange(4 * 5 * 6 * 3, dtype=np.int16).reshape(6, 5, 4, 3)
    nib.Nifti1Image(array, geometry.affine[:, (2, 1, 0, 3)]).to_filename(tmp_path / "perfusion.nii.gz")
    (layer,) = opened(tmp_path / "perfusion.nii.gz")
    volumes, axes = layer.metadata["voxsam"]["volumes"], layer.metadata["voxsam"]["axes"]
    assert layer.data.shape == (3, 4, 5, 6)
    for number, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.array, array[..., number].T)
        np.testing.assert_array_equal(layer.data[number], volume.array.transpose(axes))
        assert np.shares_memory(layer.data, volume.array)
    one = image_of(volumes[0])
    np.testing.assert_allclose(layer.data_to_world((2, 1, 2, 3)), (2, *one.data_to_world((1, 2, 3))))
    assert layer.contrast_limits == one.contrast_limits


def test_a_file_torn_within_a_later_volume_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "torn.nii"
    nib.Nifti1Image(np.ones((6, 5, 4, 3), np.int16), np.eye(4)).to_filename(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="damaged, truncated"):
        opened(path)


def test_an_image_of_one_slice_opens(tmp_path: Path) -> None:
    (layer,) = opened(
        written(Volume(np.ones((1, 8, 9), np.int16), Geometry.from_spacing((1, 8, 9))), tmp_path / "a.nii")
    )
    assert layer.data.shape == (1, 8, 9)


# ── labels ──


@ALL_GRIDS
@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz"])
def test_a_segmentation_opens_as_labels_with_its_names_and_colours_upon_its_scan(
    tmp_path: Path, geometry: Geometry, suffix: str
) -> None:
    mask = segmentation(geometry)
    io.save_mask(mask, tmp_path / f"organs{suffix}")
    (layer,) = opened(tmp_path / f"organs{suffix}")
    scan = image_of(phantoms.sphere(geometry).volume)
    axes = layer.metadata["voxsam"]["axes"]
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data.transpose(np.argsort(axes)), mask.array)
    np.testing.assert_allclose(layer.get_color(3)[:3], (0.25, 0.5, 1.0), atol=1e-6)
    assert list(layer.features["name"]) == ["liver", "tumour"]
    np.testing.assert_allclose(layer.data_to_world((1, 2, 3)), scan.data_to_world((1, 2, 3)), atol=1e-3)


def test_labels_can_be_painted_on_without_changing_what_was_read() -> None:
    mask = segmentation(phantoms.awkward_geometry())
    layer = Layer.create(*layer_of_mask(mask, name="organs"))
    layer.data_setitem(tuple(np.array([[0], [0], [1]])), 3)
    assert layer.data[0, 0, 1] == 3
    assert mask.array[0, 0, 1] == 0


@pytest.mark.parametrize(
    ("name", "array", "kind"),
    [
        ("liver_mask.nii.gz", np.ones((3, 4, 5), np.uint8), "labels"),
        ("case_AIseg.nii.gz", np.ones((3, 4, 5), np.int16), "labels"),
        ("label-01.nii", np.ones((3, 4, 5), np.float32), "labels"),
        ("seg.nrrd", np.ones((3, 4, 5), np.uint8), "labels"),
        ("probability_mask.nii", np.full((3, 4, 5), 0.5, np.float32), "image"),
        ("unmasked.nii.gz", np.ones((3, 4, 5), np.uint8), "image"),
        ("ct_gtv_phase.nii", np.ones((3, 4, 5), np.int16), "image"),
        ("ct.nii.gz", np.ones((3, 4, 5), np.int16), "image"),
    ],
)
def test_a_label_map_is_known_by_its_name_unless_it_holds_fractions(
    tmp_path: Path, name: str, array: npt.NDArray[Any], kind: str
) -> None:
    path = written(Volume(array, Geometry.from_spacing(array.shape)), tmp_path / name)
    assert [type(layer).__name__.lower() for layer in opened(path)] == [kind]


@pytest.mark.realdata
def test_a_real_dicom_series_lies_upright_under_a_mask_that_others_made_of_it(data_dir: Path) -> None:
    (image,) = opened(data_dir / "dicom" / "totalseg_ct_dicom")
    (labels,) = opened(data_dir / "dicom" / "totalseg_ct_dicom_AIseg.nii.gz")  # its voxels run another way
    for voxel in ((0, 0, 0), (19, 511, 511)):
        theirs = labels.world_to_data(image.data_to_world(voxel))
        np.testing.assert_allclose(labels.data_to_world(theirs), image.data_to_world(voxel), atol=1e-6)
        assert (np.rint(theirs) >= 0).all()
    liver, spleen = (labels.data_to_world(np.argwhere(labels.data == value).mean(axis=0)) for value in (5, 1))
    assert liver[2] < 0 < spleen[2]  # the last axis runs to the patient's left, which is the screen's right


# ── what is not ours ──


def test_what_is_not_a_scan_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "photo.tif").write_bytes(b"II*")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("none", encoding="utf-8")
    for path in (tmp_path / "photo.tif", tmp_path / "folder", tmp_path / "missing.tif"):
        assert get_reader(str(path)) is None
    assert get_reader([str(tmp_path / "a.nii"), str(tmp_path / "photo.tif")]) is None


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.seg.nrrd", "mask.nii"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no scan")
    with pytest.raises(FormatError, match=r"^[^\n]+$"):
        opened(tmp_path / name)


def test_readers_say_all_they_offer() -> None:
    assert all(hasattr(readers, name) for name in readers.__all__)
