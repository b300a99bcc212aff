"""Scans as napari layers, and scans in files that other programs wrote; for tests of the plugin."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from napari.layers import Image, Layer

import phantoms
from voxsam.geometry import Geometry
from voxsam.volume import Label, Mask, Volume
from voxsam_napari.readers import get_reader, layer_of_volumes

#: Every grid that phantoms are drawn on, and one of a sagittal scan that runs the other way.
GRIDS = phantoms.GEOMETRIES | {
    "sagittal": Geometry((9, 30, 40), phantoms.awkward_geometry((30, 40, 9), (1.0, 1.1, 4.0)).affine[:, (2, 0, 1, 3)]),
}
ALL_GRIDS = pytest.mark.parametrize("geometry", GRIDS.values(), ids=GRIDS)


def opened(path: Path) -> list[Layer]:
    """What napari makes of a path that it hands to our reader."""
    read = get_reader(str(path))
    assert read is not None
    return [Layer.create(*data) for data in read(str(path))]


def image_of(volume: Volume) -> Image:
    return Layer.create(*layer_of_volumes([volume]))


def transform_of(layer: Layer) -> npt.NDArray[np.float64]:
    """(4, 4) from a layer's data to the world."""
    matrix = np.eye(4)
    matrix[:3, 3] = layer.data_to_world(np.zeros(3))
    matrix[:3, :3] = np.transpose([layer.data_to_world(step) for step in np.eye(3)]) - matrix[:3, 3:]
    return matrix


def written(volume: Volume, path: Path) -> Path:
    """Write a scan with programs that are not ours."""
    if path.name.endswith((".nii", ".nii.gz")):
        affine = volume.geometry.affine[:, (2, 1, 0, 3)]
        nib.Nifti1Image(volume.array.T, affine).to_filename(path)
        return path
    image = sitk.GetImageFromArray(volume.array)
    grid, lps = volume.geometry, np.diag((-1.0, -1.0, 1.0))
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetDirection((lps @ grid.directions[:, ::-1]).ravel().tolist())
    image.SetOrigin((lps @ grid.affine[:3, 3]).tolist())
    sitk.WriteImage(image, path)
    return path


def segmentation(geometry: Geometry) -> Mask:
    array = phantoms.sphere(geometry).truth.array.astype(np.uint8) * 3
    array[0, 0, 0] = 7
    return Mask(array, geometry, labels={3: Label("liver", (0.25, 0.5, 1.0)), 7: Label("tumour", (1.0, 0.0, 0.0))})
