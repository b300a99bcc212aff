"""DICOM series: a folder or one file of it, sorted by position, with the scanner's own geometry.

SimpleITK's GDCM reads and decompresses the slices, and applies each one's rescale. The affine is computed from
the slices' own positions, so that a tilted gantry is kept as the shear that it is.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from voxsam.errors import FormatError, InputError
from voxsam.io import itk
from voxsam.io.channels import chosen_channel
from voxsam.io.series import (
    DicomSlice,
    SeriesInfo,
    by_series,
    chosen_series,
    is_dicom,
    list_series,
    open_slice,
    scan_folder,
)
from voxsam.io.voxels import smallest_integer
from voxsam.volume import Volume

__all__ = ["SeriesInfo", "is_dicom", "list_series", "read_mask", "read_volume"]

FloatArray = npt.NDArray[np.float64]

_SAME_PLACE_MM = 1e-3


def read_mask(path: Path) -> NoReturn:
    """Raise: DICOM segmentations are not read."""
    raise FormatError(f"{path} is DICOM: expected a mask as NIfTI or NRRD; convert the segmentation first")


def read_volume(path: Path, *, channel: int | None = None, series: str | None = None) -> Volume:
    """Read a series from its folder or from one of its files; see `voxsam.io.load_volume`."""
    if path.is_file() and series is None:
        one = open_slice(path)
        if one is None:
            raise FormatError(f"{path} is no scan: expected a DICOM image of slices, got a DICOM file of another kind")
        if one.is_multiframe:
            return _read_multiframe(one, channel)
        slices = [each for each in scan_folder(path.parent) if each.tag("0020|000e") == one.tag("0020|000e")]
    else:
        folder = path if path.is_dir() else path.parent
        slices = chosen_series(folder, by_series(folder), series)
    if any(each.is_multiframe for each in slices):
        if len(slices) > 1:
            raise FormatError(
                f"{path} holds {len(slices)} multi-frame files of one series: expected one; "
                f"give the file itself, such as {slices[0].path}"
            )
        return _read_multiframe(slices[0], channel)
    return _read_slices(path, slices, channel)


def _read_multiframe(one: DicomSlice, channel: int | None) -> Volume:
    reader = itk.open_image(one.path)
    try:
        array = itk.read_voxels(reader, one.path, channel)
        geometry = itk.header_geometry(reader)
        return Volume(array, geometry, one.tag("0008|0060"), one.path.name, _header([one]))
    except InputError as error:
        raise FormatError(f"{one.path}: {error}") from error


def _read_slices(path: Path, slices: Sequence[DicomSlice], channel: int | None) -> Volume:
    _require_alike(path, slices)
    ordered = _one_channel(path, slices, channel)
    steps, origin = _steps(path, ordered)
    array = _voxels(ordered)
    try:
        geometry = itk.geometry_from_lps((array.shape[0], array.shape[1], array.shape[2]), steps, origin)
        name = ordered[0].tag("0008|103e") or (path if path.is_dir() else path.parent).name
        return Volume(array, geometry, ordered[0].tag("0008|0060"), name, _header(ordered))
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error


def _header(slices: Sequence[DicomSlice]) -> dict[str, Any]:
    first = slices[0]
    return {
        "dicom": {
            "study_uid": first.tag("0020|000d"),
            "series_uid": first.tag("0020|000e"),
            "frame_of_reference_uid": first.tag("0020|0052"),
            "instance_uids": tuple(each.tag("0008|0018") for each in slices),
            "files": tuple(str(each.path) for each in slices),  # in the order of the volume's slices
        }
    }


def _orientation(one: DicomSlice) -> FloatArray:
    """Return the LPS directions along a row (to the next column) and down a column, (2, 3)."""
    return one.numbers("0020|0037", 6, "ImageOrientationPatient").reshape(2, 3)


def _position(one: DicomSlice) -> FloatArray:
    return one.numbers("0020|0032", 3, "ImagePositionPatient")


def _require_alike(path: Path, slices: Sequence[DicomSlice]) -> None:
    """Refuse a series that mixes shapes, orientations or pixel spacings, or that is in colour."""
    first = slices[0]
    if first.components > 1:
        raise FormatError(f"{path} holds colours (RGB): expected one number per voxel; this is no CT, MR or PET scan")
    sizes = Counter(each.size[:2] for each in slices)
    if len(sizes) > 1:
        _refuse_mixture(path, "sizes", (f"{x} x {y} ({n} slices)" for (x, y), n in sizes.items()))
    orientations = Counter(tuple(np.round(_orientation(each), 3).ravel().tolist()) for each in slices)
    if len(orientations) > 1 and any(not np.allclose(_orientation(s), _orientation(first), atol=2e-3) for s in slices):
        _refuse_mixture(path, "orientations", (f"{way} ({n} slices)" for way, n in orientations.items()))
    spacings = Counter(tuple(each.numbers("0028|0030", 2, "PixelSpacing").tolist()) for each in slices)
    if len(spacings) > 1 and not all(np.allclose(each, next(iter(spacings)), rtol=1e-3) for each in spacings):
        _refuse_mixture(path, "pixel spacings", (f"{spacing} mm ({n} slices)" for spacing, n in spacings.items()))


def _refuse_mixture(path: Path, what: str, came: Iterable[str]) -> NoReturn:
    listed = list(came)
    raise FormatError(
        f"{path} mixes slices of several {what} in one series: expected one, got {'; '.join(listed[:4])}"
        f"{' and more' * (len(listed) > 4)}; move the odd slices (a localizer?) to another folder"
    )


def _one_channel(path: Path, slices: Sequence[DicomSlice], channel: int | None) -> list[DicomSlice]:
    """Sort by position along the normal; where each place was taken several times, choose one of the times."""
    normal = np.cross(*_orientation(slices[0]))
    height = {id(each): float(_position(each) @ normal) for each in slices}
    places: list[list[DicomSlice]] = []
    for each in sorted(slices, key=lambda one: height[id(one)]):
        if places and height[id(each)] - height[id(places[-1][0])] < _SAME_PLACE_MM:
            places[-1].append(each)
        else:
            places.append([each])
    counts = Counter(map(len, places))
    if len(counts) > 1:
        times = max(counts)
        odd = next(place for place in places if len(place) != counts.most_common(1)[0][0])
        raise FormatError(
            f"{path} holds slices at the same place, up to {times} times, but not everywhere: expected each place "
            f"equally often, got {len(odd)} at {_at(odd[0])}; slices are missing, or two acquisitions share one series"
        )
    index = chosen_channel(path, (len(places[0]),), channel)
    return [sorted(place, key=lambda one: one.order)[index] for place in places]


def _at(one: DicomSlice) -> str:
    return f"LPS ({', '.join(f'{v:g}' for v in _position(one))}) mm, {one.path.name}"


def _steps(path: Path, slices: Sequence[DicomSlice]) -> tuple[FloatArray, list[float]]:
    """Return the steps along i, j, k in LPS (rows), and the first slice's position; check that slices are even."""
    row_mm, column_mm = slices[0].numbers("0028|0030", 2, "PixelSpacing")
    along_row, down_column = _orientation(slices[0])
    positions = np.array([_position(each) for each in slices])
    if len(slices) == 1:
        thickness = _first_number(slices[0], "0018|0088", "0018|0050")
        step = np.cross(along_row, down_column) * thickness
    else:
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        _require_even(path, slices, positions, step)
    return np.array([along_row * column_mm, down_column * row_mm, step]), positions[0].tolist()


def _first_number(one: DicomSlice, *keys: str) -> float:
    """Return the first of several tags that holds a positive number; 1 mm where none does."""
    for key in keys:
        try:
            value = abs(float(one.tag(key)))
        except ValueError:
            continue
        if value > 0.0:
            return value
    return 1.0


def _require_even(path: Path, slices: Sequence[DicomSlice], positions: FloatArray, step: FloatArray) -> None:
    """Refuse a series with missing slices, or slices half a voxel off; warn of smaller unevenness."""
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    usual = float(np.median(gaps))
    wide = np.flatnonzero(gaps > 1.5 * usual)
    if len(wide):
        named = "; ".join(
            f"about {round(gaps[k] / usual) - 1 or 1} between {_at(slices[k])} and {_at(slices[k + 1])}"
            for k in wide[:4]
        )
        raise FormatError(
            f"{path} lacks slices: expected one every {usual:g} mm, missing {named}{' and more' * (len(wide) > 4)}; "
            f"fetch the series again, or resample it to even slices first"
        )
    even = positions[0] + np.arange(len(slices))[:, None] * step
    off = np.linalg.norm(positions - even, axis=1)
    worst, length = int(np.argmax(off)), float(np.linalg.norm(step))
    told = (
        f"{path} has uneven slices: {_at(slices[worst])} lies {off[worst]:.3g} mm off an even spacing of {length:g} mm"
    )
    if off[worst] > 0.5 * length:
        raise FormatError(f"{told}; expected less than half a slice; resample it to even slices first")
    if off[worst] > max(0.02 * length, 0.01):
        warnings.warn(f"{told}; volumes in mL may be off by as much", UserWarning, stacklevel=2)


def _voxels(slices: Sequence[DicomSlice]) -> npt.NDArray[Any]:
    """Read the slices one after another into one array: int16 where it holds them, int32, or float32."""
    fractional = any(not _is_whole(each.tag(key)) for each in slices for key in ("0028|1052", "0028|1053"))
    columns, rows = slices[0].size[:2]
    array: npt.NDArray[Any] = np.empty((len(slices), rows, columns), np.float32 if fractional else np.int16)
    for index, one in enumerate(slices):
        pixels = itk.read_voxels(itk.open_image(one.path), one.path, None)[0]
        if pixels.dtype.kind == "f" and array.dtype.kind != "f":
            array = array.astype(np.float32)
        elif array.dtype == np.int16 and smallest_integer(int(pixels.min()), int(pixels.max()), (np.int16,)) is None:
            array = array.astype(np.int32)
        array[index] = pixels
    return array


def _is_whole(text: str) -> bool:
    try:
        return not text or float(text).is_integer()
    except ValueError:
        return True  # GDCM reads a broken number as none
