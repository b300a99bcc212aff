"""Which DICOM series a folder holds: headers of slices, grouped."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from voxsam.errors import FormatError
from voxsam.io import itk

__all__ = [
    "DicomSlice",
    "SeriesInfo",
    "by_series",
    "chosen_series",
    "is_dicom",
    "list_series",
    "open_slice",
    "scan_folder",
]

FloatArray = npt.NDArray[np.float64]

_NOT_SCANS = {"SEG", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG"}
_SCAN_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}." for kind in ("2", "4", "128", "130"))  # CT, MR, PET
_SUFFIXES = {".dcm", ".ima", ".dicom"}


@dataclass(frozen=True)
class SeriesInfo:
    """One series of images in a folder.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID; give it as ``series=``.
    number, description, modality : str
        As the scanner wrote them; empty where absent.
    files : tuple of Path
        Sorted by name.

    Examples
    --------
    >>> print(SeriesInfo("1.2.3", "4", "portal venous", "CT", (Path("1.dcm"), Path("2.dcm"))))
    CT 'portal venous' (2 files, series='1.2.3')
    """

    uid: str
    number: str = ""
    description: str = ""
    modality: str = ""
    files: tuple[Path, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        title = " ".join(part for part in (self.modality, f"'{self.description}'" if self.description else "") if part)
        return f"{title or 'series'} ({len(self.files)} files, series='{self.uid}')"


@dataclass(frozen=True, eq=False)
class DicomSlice:
    """The header of one file.

    Parameters
    ----------
    path : Path
    tags : dict of str to str
        By ``"group|element"`` in hexadecimal, stripped.
    size : tuple of int
        Columns, rows and, where there are several, frames.
    components : int
        Numbers per pixel.
    """

    path: Path
    tags: dict[str, str]
    size: tuple[int, ...]
    components: int

    def tag(self, key: str) -> str:
        """Return a tag's text; empty where absent."""
        return self.tags.get(key, "")

    @property
    def is_multiframe(self) -> bool:
        """Whether the file alone is a volume."""
        return len(self.size) > 2 and self.size[2] > 1

    def numbers(self, key: str, count: int, name: str) -> FloatArray:
        """Read a tag of several decimals."""
        try:
            values = np.array([float(part) for part in self.tag(key).split("\\")])
        except ValueError:
            values = np.array([])
        if len(values) != count or not np.isfinite(values).all():
            raise FormatError(
                f"{self.path} cannot be placed in the patient: expected {count} numbers in {name}, got "
                f"{self.tag(key)!r}; is it a scan of slices (CT, MR, PET)?"
            )
        return values

    @property
    def order(self) -> tuple[float, str]:
        """What comes first among slices at one place: the instance number."""
        try:
            return float(self.tag("0020|0013")), self.path.name
        except ValueError:
            return 0.0, self.path.name


def list_series(folder: str | os.PathLike[str]) -> tuple[SeriesInfo, ...]:
    """List the image series in a folder; its subfolders are not searched.

    Segmentations, contours, reports and plans are left out.

    Raises
    ------
    FormatError
        If the folder holds no DICOM image; the message names subfolders that do.

    Examples
    --------
    >>> import tempfile
    >>> list_series(tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    voxsam.errors.FormatError: ... holds no DICOM image: expected the slices of a scan; choose another folder
    """
    return tuple(_info(slices) for slices in by_series(Path(folder)).values())


def is_dicom(path: Path) -> bool:
    """Say whether a file starts as DICOM files do, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def open_slice(path: Path) -> DicomSlice | None:
    """Read the header of a file; None unless it is an image of a scan.

    Raises
    ------
    FormatError
        If it should be one, and is damaged.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if f"{_sop_class(path)}.".startswith(_SCAN_CLASSES):
            raise FormatError(
                f"{path} is damaged or truncated: expected a whole DICOM image ({itk.reason_of(error)}); fetch it again"
            ) from error
        return None  # a report, a plan or contours
    text = {key: reader.GetMetaData(key).encode("utf-8", "replace").decode("utf-8") for key in reader.GetMetaDataKeys()}
    tags = {key: value.replace("\0", "").strip() for key, value in text.items()}
    if tags.get("0008|0060") in _NOT_SCANS:
        return None
    return DicomSlice(path, tags, tuple(reader.GetSize()), reader.GetNumberOfComponents())


def _sop_class(path: Path) -> str:
    """Read from the file's preamble what kind of object it holds; empty where it does not say."""
    with path.open("rb") as file:
        start = file.read(1024)
    found = start.find(b"\x02\x00\x02\x00UI")
    if found < 0:
        return ""
    length = int.from_bytes(start[found + 6 : found + 8], "little")
    return start[found + 8 : found + 8 + length].decode("ascii", "replace").rstrip("\0 ")


def scan_folder(folder: Path) -> list[DicomSlice]:
    """Open every DICOM image of a folder; a file that was copied twice counts once."""
    found: dict[str, DicomSlice] = {}
    try:
        files = sorted(each for each in folder.iterdir() if each.is_file())
    except OSError as error:
        raise FormatError(f"{folder} cannot be listed: {error.strerror}") from error
    for path in files:
        if path.suffix.lower() not in _SUFFIXES and not is_dicom(path):
            continue
        if (one := open_slice(path)) is not None:
            found.setdefault(one.tag("0008|0018") or str(path), one)
    return list(found.values())


def by_series(folder: Path) -> dict[str, list[DicomSlice]]:
    """Group the slices of a folder by their series' UID.

    Raises
    ------
    FormatError
        If there is none.
    """
    series: dict[str, list[DicomSlice]] = {}
    for one in scan_folder(folder):
        series.setdefault(one.tag("0020|000e"), []).append(one)
    if not series:
        holding = _subfolders_with_images(folder)
        way_out = f"these subfolders hold some: {', '.join(map(str, holding))}" if holding else "choose another folder"
        raise FormatError(f"{folder} holds no DICOM image: expected the slices of a scan; {way_out}")
    return series


def _subfolders_with_images(folder: Path, *, most: int = 5) -> list[Path]:
    """Name the first few subfolders, at any depth, that hold a DICOM file."""
    found: list[Path] = []
    for where, _, names in os.walk(folder):
        files = [path for name in sorted(names)[:20] if is_dicom(path := Path(where, name))]
        if Path(where) != folder and any(open_slice(path) is not None for path in files):
            found.append(Path(where))
            if len(found) == most:
                break
    return found


def _info(slices: Sequence[DicomSlice]) -> SeriesInfo:
    first = slices[0]
    number, description, modality = (first.tag(key) for key in ("0020|0011", "0008|103e", "0008|0060"))
    return SeriesInfo(first.tag("0020|000e"), number, description, modality, tuple(each.path for each in slices))


def chosen_series(folder: Path, series: dict[str, list[DicomSlice]], wanted: str | None) -> list[DicomSlice]:
    """Find the series by UID, else by description, else by number."""
    known = {uid: _info(slices) for uid, slices in series.items()}
    listed = "; ".join(str(info) for info in known.values())
    if wanted is None:
        if len(series) == 1:
            return next(iter(series.values()))
        raise FormatError(f"{folder} holds {len(series)} series: choose one with series=. They are: {listed}")
    namings: tuple[Callable[[SeriesInfo], str], ...] = (lambda i: i.uid, lambda i: i.description, lambda i: i.number)
    for naming in namings:
        matches = [uid for uid, info in known.items() if naming(info) == wanted]
        if len(matches) == 1:
            return series[matches[0]]
        if matches:
            raise FormatError(f"{folder} holds {len(matches)} series {wanted!r}: choose by UID. They are: {listed}")
    raise FormatError(f"{folder} holds no series {wanted!r}. They are: {listed}")
