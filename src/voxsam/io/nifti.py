"""NIfTI-1 and -2 (.nii, .nii.gz), by nibabel; a mask keeps the header of the scan it was drawn on."""

from __future__ import annotations

import gzip
import json
import logging
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.fileslice import fileslice
from nibabel.spatialimages import HeaderDataError

from voxsam.errors import FormatError, InputError
from voxsam.geometry import Geometry
from voxsam.io.atomic import atomic_write
from voxsam.io.channels import chosen_channel, refuse_colour
from voxsam.io.voxels import guess_modality, label_dtype, native, scaled, whole_labels
from voxsam.terminology import Code
from voxsam.volume import Label, Mask, Volume

__all__ = ["read_mask", "read_volume", "write_mask"]

_FAULTS = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError, MemoryError)
_PIECE = 2**24  # bytes
_NIFTI_2_BYTES = 540
_COMMENT = 6  # the code of a comment among NIfTI header extensions
_LABEL_INTENT = "label"
_NATIVE = "<" if sys.byteorder == "little" else ">"
_NIBABELS_NOTES = logging.getLogger("nibabel.global")
_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}


def read_volume(path: Path, *, channel: int | None = None) -> Volume:
    """Read a scan; see `voxsam.io.load_volume`."""
    array, geometry, header = _read(path, channel)
    try:
        return Volume(array, geometry, modality=guess_modality(array), name=path.name, header=header)
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error


def read_mask(path: Path) -> Mask:
    """Read a label map; names and colours too where voxsam wrote them."""
    array, geometry, header = _read(path, None)
    labels = header.pop("labels", {})
    return Mask(whole_labels(array, str(path)), geometry, labels=labels, header=header)


def write_mask(mask: Mask, path: Path) -> None:
    """Write a label map; the header is that of the scan the mask was drawn on, where that was a NIfTI file."""
    header = _kept_header(mask) or _fresh_header(mask.geometry)
    dtype = label_dtype(mask.array)
    header.set_data_dtype(dtype)
    header.set_intent(_LABEL_INTENT, allow_unknown=True)
    for field, value in (("vox_offset", 0), ("cal_min", 0), ("cal_max", 0), ("descrip", b"voxsam"), ("aux_file", b"")):
        header[field] = value
    kind: type[nib.Nifti1Image] = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    stored = mask.array.view(np.uint8) if mask.array.dtype == np.bool_ else mask.array.astype(dtype, copy=False)
    image = kind(stored.T, None, header)  # no affine: the header's own, to the last bit
    if mask.labels:
        image.header.extensions.append(_extension(mask.labels))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=4, mtime=0, filename="") as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)


def _read(path: Path, channel: int | None) -> tuple[npt.NDArray[Any], Geometry, dict[str, Any]]:
    try:
        with _opened(path) as stream:
            header = _read_header(stream)
            shape = tuple(int(n) for n in header.get_data_shape())
            refuse_colour(path, header.get_data_dtype())
            array = _voxels(path, stream, header, chosen_channel(path, shape[3:], channel))
    except _FAULTS as error:
        raise _damaged(path, error) from error
    try:
        geometry = _geometry(header, array.shape)
    except (HeaderDataError, InputError) as error:
        raise FormatError(f"{path}: {error}; repair its header (sform, qform) first") from error
    kept: dict[str, Any] = {"nifti": header.as_byteswapped(_NATIVE).binaryblock}
    labels = _labels(header)
    return array, geometry, kept | ({"labels": labels} if labels else {})


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacking it where its first bytes say gzip: names are not always right."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if packed:
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                yield cast("BinaryIO", stream)
        else:
            yield file


def _read_header(stream: BinaryIO) -> nib.Nifti1Header:
    """Read the header and its extensions; the stream then stands behind them."""
    start = stream.read(_NIFTI_2_BYTES)
    stream.seek(0)
    for kind, magic, place in ((nib.Nifti1Header, b"n+1\0", 344), (nib.Nifti2Header, b"n+2\0", 4)):
        if start[place : place + 4] == magic:
            with _without_notes():
                header: nib.Nifti1Header = kind.from_fileobj(stream)
            return header
    raise ImageFileError("it does not start as NIfTI does")


@contextmanager
def _without_notes() -> Iterator[None]:
    """Keep nibabel from printing what it thinks of a header: what matters it raises as well."""
    _NIBABELS_NOTES.addFilter(_nothing)
    try:
        yield
    finally:
        _NIBABELS_NOTES.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _voxels(path: Path, stream: BinaryIO, header: nib.Nifti1Header, channel: int) -> npt.NDArray[Any]:
    """Read the voxels of one 3D volume as (Z, Y, X), in the type they are stored in where nothing is scaled."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 2 or min(shape) < 1:
        raise FormatError(f"{path} is empty: expected three axes of one voxel or more, got shape {shape}")
    dtype, offset = header.get_data_dtype(), int(header.get_data_offset())
    if int(np.prod(shape[3:])) == 1:
        stored = np.frombuffer(_bytes(stream, offset, shape, dtype), dtype)
    else:
        place = np.unravel_index(channel, shape[3:], order="F")
        which = (*(slice(None),) * 3, *(int(index) for index in place))
        stored = fileslice(stream, which, shape, dtype, offset, order="F")
    _read_to_the_end(stream)
    array = native(stored.reshape((*shape, 1)[:3], order="F").T)
    slope, intercept = header.get_slope_inter()
    return scaled(array, 1.0 if slope is None else float(slope), float(intercept or 0.0))


def _bytes(stream: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytearray:
    """Read the voxels piece by piece: gzip would else hold them twice."""
    data = bytearray(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    view, filled = memoryview(data), 0
    stream.seek(offset)
    while filled < len(data):
        count = cast("BufferedIOBase", stream).readinto(view[filled : filled + _PIECE])
        if not count:
            raise EOFError(f"expected {len(data)} bytes of voxels, got {filled}")
        filled += count
    return data


def _read_to_the_end(stream: BinaryIO) -> None:
    """Read what is left, so that gzip compares its checksum: damage in the middle shows only there."""
    while stream.read(_PIECE):
        pass


def _geometry(header: nib.Nifti1Header, shape: tuple[int, ...]) -> Geometry:
    affine = header.get_best_affine()[:, [2, 1, 0, 3]]
    factor = _MM_PER_UNIT.get(header.get_xyzt_units()[0], 1.0)  # an unknown unit is millimetres, as everywhere
    if factor != 1.0:
        affine[:3] *= factor
    return Geometry((shape[0], shape[1], shape[2]), affine)


def _kept_header(mask: Mask) -> nib.Nifti1Header | None:
    """Return the header of the NIfTI file that the mask's scan came from, if it still fits the mask."""
    block = mask.header.get("nifti")
    if block is None:
        return None
    kind: type[nib.Nifti1Header] = nib.Nifti1Header if len(block) == 348 else nib.Nifti2Header  # NIfTI-2 has 540 bytes
    header = kind(block, _NATIVE)
    return header if _geometry(header, mask.array.shape) == mask.geometry else None


def _fresh_header(geometry: Geometry) -> nib.Nifti1Header:
    """Make a header for a grid that did not come from NIfTI: scanner coordinates, millimetres."""
    # NIfTI-1 counts voxels in 16 bits and holds an affine in float32
    header = nib.Nifti1Header() if max(geometry.shape) < 2**15 else nib.Nifti2Header()
    header.set_data_shape(geometry.shape[::-1])
    affine = geometry.affine[:, [2, 1, 0, 3]]
    header.set_sform(affine, code="scanner")
    sheared = not np.allclose(geometry.directions.T @ geometry.directions, np.eye(3), atol=1e-5)
    header.set_qform(affine, code="unknown" if sheared else "scanner")  # a quaternion cannot shear
    header.set_xyzt_units("mm")
    return header


def _extension(labels: Mapping[int, Label]) -> nib.nifti1.Nifti1Extension:
    table = {
        str(value): {"name": label.name, "color_rgb": label.color_rgb, "code": label.code.entry if label.code else ""}
        for value, label in labels.items()
    }
    return nib.nifti1.Nifti1Extension(_COMMENT, json.dumps({"voxsam-labels": table}).encode("ascii"))


def _labels(header: nib.Nifti1Header) -> dict[int, Label]:
    """Read the label table that `write_mask` left in the header; a damaged one counts as none."""
    for extension in header.extensions:
        if extension.get_code() != _COMMENT:
            continue
        content = extension.get_content()
        text = content if isinstance(content, str) else bytes(content).rstrip(b"\0").decode("ascii", "replace")
        try:
            table = json.loads(text)["voxsam-labels"]
            return {
                int(value): Label(
                    row["name"],
                    tuple(row["color_rgb"]),
                    Code.from_entry(row["code"]) if row.get("code") else None,  # older files have none
                )
                for value, row in table.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, FormatError):
            continue  # somebody else's comment
    return {}


def _damaged(path: Path, error: BaseException) -> FormatError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return FormatError(
        f"{path} cannot be read: expected a whole NIfTI file, got a damaged, truncated or different one "
        f"({reason[:200]}); copy or convert it again"
    )
