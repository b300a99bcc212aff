"""MetaImage (.mha, .mhd), and reading for every format that SimpleITK knows; LPS becomes RAS here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from voxsam.errors import FormatError, InputError
from voxsam.geometry import Geometry
from voxsam.io.channels import chosen_channel, refuse_colour
from voxsam.io.voxels import guess_modality, whole_labels
from voxsam.volume import Mask, Volume

__all__ = [
    "LPS_TO_RAS",
    "geometry_from_lps",
    "header_geometry",
    "open_image",
    "read_mask",
    "read_volume",
    "read_voxels",
    "reason_of",
]

#: Multiplies world columns: ITK and DICOM count to the left and to posterior.
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])

_IMAGE_IO = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}


def read_volume(path: Path, *, channel: int | None = None) -> Volume:
    """Read a scan; see `voxsam.io.load_volume`."""
    reader = open_image(path)
    try:
        array = read_voxels(reader, path, channel)
        return Volume(array, header_geometry(reader), modality=guess_modality(array), name=path.name)
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error


def read_mask(path: Path) -> Mask:
    """Read a label map."""
    reader = open_image(path)
    array = whole_labels(read_voxels(reader, path, None), str(path))
    try:
        return Mask(array, header_geometry(reader))
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error


def open_image(path: Path) -> sitk.ImageFileReader:
    """Open a file and read its header, but no voxel yet."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_IMAGE_IO.get(path.suffix.lower(), "GDCMImageIO"))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FormatError(
            f"{path} cannot be read: expected {_kind(path)}, got something else or a damaged file "
            f"({reason_of(error)}); copy or convert it again"
        ) from error
    return reader


def read_voxels(reader: sitk.ImageFileReader, path: Path, channel: int | None) -> npt.NDArray[Any]:
    """Read one 3D volume as (Z, Y, X), in the type it is stored in."""
    size, components = tuple(reader.GetSize()), reader.GetNumberOfComponents()
    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if components in (3, 4) and reader.GetPixelIDValue() == sitk.sitkVectorUInt8:
        refuse_colour(path, np.dtype([("red", np.uint8), ("green", np.uint8), ("blue", np.uint8)]))
    if "complex" in pixel:
        refuse_colour(path, np.dtype(np.complex64))
    extra = (*size[3:], components) if components > 1 else size[3:]
    index = chosen_channel(path, extra, channel)
    if len(size) == 4 and components == 1:
        reader.SetExtractIndex((0, 0, 0, index))
        reader.SetExtractSize((*size[:3], 0))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise FormatError(
            f"{path} cannot be read: expected all of its {' x '.join(map(str, size))} voxels, got a damaged or "
            f"truncated file ({reason_of(error)}); copy or convert it again"
        ) from error
    if components > 1:
        image = sitk.VectorIndexSelectionCast(image, index)
    array = np.asarray(_Pixels(image))
    return array[np.newaxis] if array.ndim == 2 else array


class _Pixels:
    """Lends an image's own memory to numpy, and keeps the image alive for as long: a copy would double a large scan."""

    def __init__(self, image: sitk.Image) -> None:
        self._image = image
        self.__array_interface__ = sitk.GetArrayViewFromImage(image).__array_interface__


def header_geometry(reader: sitk.ImageFileReader) -> Geometry:
    """Return the grid of the first three axes; a flat image has one slice, 1 mm thick."""
    size, dimension = list(reader.GetSize()), reader.GetDimension()
    spacing, origin = list(reader.GetSpacing()), list(reader.GetOrigin())
    direction = np.reshape(reader.GetDirection(), (dimension, dimension))
    if dimension == 2:
        size, spacing, origin = [*size, 1], [*spacing, 1.0], [*origin, 0.0]
        direction = np.block([[direction, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]])
    columns = direction[:3, :3] * spacing[:3]
    return geometry_from_lps((size[2], size[1], size[0]), columns.T, origin[:3])


def geometry_from_lps(shape: tuple[int, int, int], steps_lps: npt.ArrayLike, origin_lps: Sequence[float]) -> Geometry:
    """Make a grid from what ITK, NRRD and DICOM write.

    Parameters
    ----------
    shape : tuple of int, (Z, Y, X)
    steps_lps : (3, 3) array_like
        The steps in LPS millimetres along i, j and k (x, y and z of the array), one a row.
    origin_lps : sequence of float
        The centre of voxel (0, 0, 0).

    Examples
    --------
    >>> geometry_from_lps((1, 4, 4), [[1, 0, 0], [0, 1, 0], [0, 0, 5]], (10.0, 20.0, 30.0)).orientation
    'SPL'
    """
    affine = np.eye(4)
    affine[:3, :3] = (np.asarray(steps_lps, dtype=np.float64) * LPS_TO_RAS)[::-1].T
    affine[:3, 3] = np.asarray(origin_lps, dtype=np.float64) * LPS_TO_RAS
    return Geometry(shape, affine)


def reason_of(error: RuntimeError) -> str:
    """Return the telling end of an ITK error, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[1:]) if len(lines) > 1 else "".join(lines)
    told = re.sub(r"\w+\(0x[0-9a-f]+\): ", "", told.split("ERROR:")[-1])  # ITK's class and address
    return told.strip()[:200] or type(error).__name__


def _kind(path: Path) -> str:
    return {"MetaImageIO": "a MetaImage", "NrrdImageIO": "an NRRD image"}.get(
        _IMAGE_IO.get(path.suffix.lower(), ""), "a DICOM image"
    )
