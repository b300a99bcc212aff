"""Scans to try voxsam on: two drawn ones that ship with it, and real ones that others publish."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from voxsam.download import download
from voxsam.errors import FormatError, InputError, unknown_name
from voxsam.io.atomic import atomic_write

__all__ = ["Sample", "bundled_folder", "get_sample", "sample", "samples"]

#: Where the bundled files lie: within an installed package, else in the repository.
_FOLDERS = (Path(__file__).parent / "sample_data", Path(__file__).resolve().parents[2] / "sample_data")

#: 3D Slicer publishes its sample scans under the hash of their content.
_SLICER = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"


@dataclass(frozen=True)
class Sample:
    """A scan to try things on.

    Parameters
    ----------
    name : str
        The exact name it is called by.
    title : str
    modality : str
        DICOM code.
    licence : str
        As its publisher states it.
    file : str
        Name of the scan's file.
    truth : str
        Name of the file with its labels; empty where there is none.
    labels : mapping of int to str
        What the truth's values mean.
    url : str
        Where the scan is published; empty for one that ships with voxsam.
    sha256 : str
        Of a published file.
    """

    name: str
    title: str
    modality: str
    licence: str
    file: str
    truth: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
    url: str = ""
    sha256: str = ""

    @property
    def bundled(self) -> bool:
        """True: it is here already."""
        return not self.url


def _of_slicer(name: str, title: str, modality: str, file: str, sha256: str, licence: str) -> Sample:
    return Sample(name, title, modality, licence, file, url=_SLICER + sha256, sha256=sha256)


_DONATED = "no restrictions (donated by the person in it)"
_NOT_STATED = "not stated by its publisher: ask before passing it on"

#: Addresses, hashes and licences as 3D Slicer's own SampleData module gives them.
_PUBLISHED = (
    _of_slicer(
        "slicer-ct-brain", "CT of a head", "CT", "CT-brain.nrrd",
        "6a5b6caccb76576a863beb095e3bfb910c50ca78f4c9bf043aa42f976cfa53d1", _DONATED,
    ),
    _of_slicer(
        "slicer-ct-cardio", "CT angiography of a heart", "CT", "CTA-cardio.nrrd",
        "3b0d4eb1a7d8ebb0c5a89cc0504640f76a030b4e869e33ff34c564c3d3b88ad2", _NOT_STATED,
    ),
    _of_slicer(
        "slicer-ct-chest", "CT of a chest", "CT", "CT-chest.nrrd",
        "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e", _NOT_STATED,
    ),
    _of_slicer(
        "slicer-ct-liver", "CT of an abdomen (Medical Segmentation Decathlon, liver 100)", "CT", "CTLiver.nrrd",
        "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e", "CC-BY-SA-4.0",
    ),
    _of_slicer(
        "slicer-mr-brain-t1", "MR of a head, T1; the same person as slicer-ct-brain", "MR", "MR-brain-T1.nrrd",
        "2da3f655ed20356ee8cdf32aa0f8f9420385de4b6e407d28e67f9974d7ce1593", _DONATED,
    ),
    _of_slicer(
        "slicer-mr-brain-t2", "MR of a head, T2; the same person as slicer-ct-brain", "MR", "MR-brain-T2.nrrd",
        "fa1fe5910a69182f2b03c0150d8151ac6c75df986449fb5a6c5ae67141e0f5e7", _DONATED,
    ),
    _of_slicer(
        "slicer-mr-head", "MR of a head, T1", "MR", "MR-head.nrrd",
        "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93", _DONATED,
    ),
    _of_slicer(
        "slicer-mr-tumor", "MR of a brain tumour", "MR", "RegLib_C01_1.nrrd",
        "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95", _NOT_STATED,
    ),
)  # fmt: skip


@cache
def samples() -> Mapping[str, Sample]:
    """List every sample by its name, those that ship with voxsam first.

    Returns
    -------
    mapping of str to Sample

    Raises
    ------
    FormatError
        If the files that ship with voxsam are missing.

    Examples
    --------
    >>> [s.name for s in samples().values() if s.bundled]
    ['ct-abdomen', 'mr-head']
    """
    table = json.loads((bundled_folder() / "samples.json").read_text(encoding="utf-8"))
    bundled = (
        Sample(
            name, entry["title"], entry["modality"], "CC0-1.0", entry["file"], entry["truth"],
            MappingProxyType({int(value): label for value, label in entry["labels"].items()}),
        )
        for name, entry in table.items()
    )  # fmt: skip
    return MappingProxyType({s.name: s for s in (*bundled, *_PUBLISHED)})


def sample(name: str) -> Sample:
    """Look a sample up by its exact name.

    Raises
    ------
    InputError
        If there is none of that name, with the nearest one.

    Examples
    --------
    >>> sample("ct-abdomin")
    Traceback (most recent call last):
    voxsam.errors.InputError: no sample 'ct-abdomin'; did you mean 'ct-abdomen'? Known: ct-abdomen, mr-head, ...
    """
    known = samples()
    if name in known:
        return known[name]
    raise InputError(unknown_name("sample", name, known))


def get_sample(
    name: str, folder: Path | str = ".", *, on_progress: Callable[[int, int], None] | None = None
) -> tuple[Path, ...]:
    """Bring a sample's files into a folder: copied if they ship with voxsam, else downloaded.

    Parameters
    ----------
    name : str
        As in `samples`.
    folder : Path or str
        Made where it is missing.
    on_progress : callable, optional
        Called with (bytes done, bytes in all) during a download; raising `Cancelled` in it stops the work.

    Returns
    -------
    tuple of Path
        The scan, then its truth if there is one.

    Raises
    ------
    InputError
        If there is no such sample.
    FormatError
        If the folder cannot be written, or the download fails.

    Examples
    --------
    >>> import tempfile
    >>> [path.name for path in get_sample("mr-head", tempfile.mkdtemp())]
    ['mr_head.nii.gz', 'mr_head_truth.nii.gz']
    """
    chosen, folder = sample(name), Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise FormatError(f"cannot make the folder {folder}: {fault.strerror}; choose another with -o") from fault
    if not chosen.bundled:
        advice = f"Without a connection, try one that ships with voxsam: {', '.join(_bundled_names())}"
        path = folder / chosen.file
        return (download(chosen.url, path, sha256=chosen.sha256, on_progress=on_progress, advice=advice),)
    paths = []
    for file in filter(None, (chosen.file, chosen.truth)):
        with atomic_write(folder / file) as temporary:
            shutil.copyfile(bundled_folder() / file, temporary)
        paths.append(folder / file)
    return tuple(paths)


def bundled_folder() -> Path:
    """Return the folder of the samples that ship with voxsam."""
    for folder in _FOLDERS:
        if (folder / "samples.json").is_file():
            return folder
    raise FormatError(f"the sample scans are missing from {_FOLDERS[0]}; install voxsam again")


def _bundled_names() -> list[str]:
    return [s.name for s in samples().values() if s.bundled]
