"""Scans and masks from and to files: one table of formats, one file for each.

A world position in a file may be LPS; everything that leaves this package is RAS.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxsam.errors import FormatError
from voxsam.io.atomic import atomic_write
from voxsam.io.merge import merge_into
from voxsam.volume import Mask, Volume

if TYPE_CHECKING:
    from voxsam.io.series import SeriesInfo

__all__ = [
    "FORMATS",
    "Format",
    "atomic_write",
    "list_series",
    "load_mask",
    "load_volume",
    "merge_into",
    "save_mask",
]


@dataclass(frozen=True)
class Format:
    """One file format: its module has ``read_volume``, ``read_mask`` and, where it writes, ``write_mask``.

    Parameters
    ----------
    name : str
    suffixes : tuple of str
        Lower case, with their dots.
    module : str
        Imported when a file of the format is opened or written.
    writes : bool
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    writes: bool = False

    def load(self) -> Any:
        """Import the module."""
        return import_module(self.module)


#: Every format that voxsam reads; the first whose suffix ends a name is taken.
FORMATS = (
    Format("NIfTI", (".nii", ".nii.gz"), "voxsam.io.nifti", writes=True),
    Format("NRRD", (".seg.nrrd", ".nrrd"), "voxsam.io.nrrd", writes=True),
    Format("NRRD with detached data", (".nhdr",), "voxsam.io.nrrd"),
    Format("MetaImage", (".mha", ".mhd"), "voxsam.io.itk"),
    Format("DICOM", (".dcm", ".ima", ".dicom"), "voxsam.io.dicom"),
)
_DICOM = FORMATS[-1]


def load_volume(path: str | os.PathLike[str], *, channel: int | None = None, series: str | None = None) -> Volume:
    """Read a scan.

    Parameters
    ----------
    path : path-like
        A NIfTI, NRRD or MetaImage file, a folder with a DICOM series, or one file of the series.
    channel : int, optional
        Which of several volumes in the file (time points, echoes), from 0.
    series : str, optional
        Which of several DICOM series in the folder: its UID, description or number (see `list_series`).

    Returns
    -------
    Volume
        Integers keep their type (whole rescaling included: CT numbers are int16), other scaled values are float32.
        Its modality is DICOM's; from other formats ``"CT"`` where the lowest value is from -32768 to -500, else
        empty. Its header holds what `save_mask` needs.

    Raises
    ------
    FormatError
        If the file is missing, damaged, of an unknown format, in colour, without a finite voxel, or has an affine
        that does not place it; if a channel or series must be chosen; if slices of a series are missing or uneven.

    Warns
    -----
    UserWarning
        If the slices of a series are a little uneven.

    Examples
    --------
    >>> import tempfile, nibabel, numpy
    >>> path = Path(tempfile.mkdtemp()) / "ct.nii.gz"
    >>> image = nibabel.Nifti1Image(numpy.full((4, 3, 2), -1000, numpy.int16), numpy.diag([0.7, 0.7, 5, 1]))
    >>> image.to_filename(path)
    >>> scan = load_volume(path)
    >>> scan.array.shape, scan.modality
    ((2, 3, 4), 'CT')
    """
    where = Path(path)
    kind = _format_of(where)
    if kind is not _DICOM and series is not None:
        raise FormatError(f"{where} is {kind.name}: series= chooses among DICOM series; leave it out")
    options = {"series": series} if kind is _DICOM else {}
    volume: Volume = kind.load().read_volume(where, channel=channel, **options)
    return volume


def load_mask(path: str | os.PathLike[str], *, like: Volume | None = None) -> Mask:
    """Read a label map.

    Parameters
    ----------
    path : path-like
        NIfTI, NRRD, seg.nrrd or MetaImage; 0 is background. Whole numbers stored as floats are taken.
    like : Volume, optional
        The scan it must lie on: same grid within 1e-4 mm. The mask then has the scan's very affine.

    Returns
    -------
    Mask
        With names and colours where the file has them.

    Raises
    ------
    FormatError
        If the file is missing, damaged, or holds anything but one label per voxel.
    GeometryError
        If it is on another grid than `like`.

    Examples
    --------
    >>> import tempfile, numpy
    >>> from voxsam.geometry import Geometry
    >>> from voxsam.volume import Label
    >>> grid = Geometry.from_spacing((2, 3, 4), spacing_mm=(5.0, 0.7, 0.7))
    >>> path = Path(tempfile.mkdtemp()) / "liver.seg.nrrd"
    >>> save_mask(Mask(numpy.ones((2, 3, 4), bool), grid, labels={1: Label("liver")}), path)
    >>> load_mask(path).labels[1].name
    'liver'
    """
    where = Path(path)
    mask: Mask = _format_of(where).load().read_mask(where)
    if like is None:
        return mask
    like.geometry.require_same(mask.geometry, str(where))
    return replace(mask, geometry=like.geometry, header=like.header)


def save_mask(mask: Mask, path: str | os.PathLike[str], *, like: Volume | None = None) -> None:
    """Write a mask on the scan's own grid, whole or not at all.

    A NIfTI mask of a NIfTI scan has the scan's very affine, qform and sform codes and units; NIfTI of another scan
    has its affine in float32, as the format holds it. NRRD keeps every bit of any affine.

    Parameters
    ----------
    mask : Mask
    path : path-like
        ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.seg.nrrd`` (a 3D Slicer segmentation, with names and colours).
    like : Volume, optional
        The scan whose header to use; needed only where ``mask.header`` is not from it already.

    Raises
    ------
    FormatError
        If the format cannot be written, or the disk is full, or there is no permission. The old file is then as it was.
    GeometryError
        If the mask is on another grid than `like`.

    Examples
    --------
    >>> import tempfile, numpy
    >>> from voxsam.geometry import Geometry
    >>> path = Path(tempfile.mkdtemp()) / "mask.nii.gz"
    >>> save_mask(Mask(numpy.ones((2, 3, 4), bool), Geometry.from_spacing((2, 3, 4))), path)
    >>> load_mask(path).volume_ml()
    0.024
    """
    where = Path(path)
    kind = _by_suffix(where)
    if kind is None or not kind.writes:
        known = ", ".join(suffix for each in FORMATS if each.writes for suffix in each.suffixes)
        raise FormatError(f"cannot write {where}: expected a name that ends in {known}, got {where.name!r}")
    if like is not None:
        like.geometry.require_same(mask.geometry, "the mask")
        mask = replace(mask, geometry=like.geometry, header=like.header)
    kind.load().write_mask(mask, where)


def list_series(folder: str | os.PathLike[str]) -> tuple[SeriesInfo, ...]:
    """List the DICOM image series in a folder; see `voxsam.io.series.list_series`."""
    from voxsam.io import series  # SimpleITK loads when a file is opened

    return series.list_series(_existing(Path(folder)))


def _by_suffix(path: Path) -> Format | None:
    name = path.name.lower()
    return next((each for each in FORMATS if name.endswith(each.suffixes)), None)


def _format_of(path: Path) -> Format:
    """Choose the format of something that exists: a folder is DICOM, and so is a file that starts like DICOM."""
    if _existing(path).is_dir():
        return _DICOM
    kind = _by_suffix(path)
    if kind is None:
        if import_module(_DICOM.module).is_dicom(path):
            return _DICOM
        known = ", ".join(suffix for each in FORMATS for suffix in each.suffixes)
        raise FormatError(f"{path} is of no known format: expected a DICOM folder or a name that ends in {known}")
    return kind


def _existing(path: Path) -> Path:
    try:
        if path.exists():
            return path
        near = difflib.get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=1, cutoff=0.8)
    except OSError:
        near = []
    hint = f"did you mean {near[0]!r}?" if near else "check the path"
    raise FormatError(f"no such file or folder: {path}; {hint}")
