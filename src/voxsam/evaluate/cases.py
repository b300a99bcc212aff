"""The scans of an evaluation: where each image and its labels lie, and how their truth was made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxsam import io
from voxsam.errors import FormatError, InputError
from voxsam.volume import Mask, Volume

__all__ = ["Case", "load_cases"]

_SCAN_SUFFIX = re.compile(r"\.(nii|nii\.gz|nrrd|mha|mhd)$", re.IGNORECASE)
_IMAGE_WORD = re.compile(r"[_-]+(img|image|im|scan|volume|vol)$", re.IGNORECASE)
_LABEL_WORD = re.compile(r"[_-]+(seg|label|labels|mask|gt|segmentation)$", re.IGNORECASE)

#: A truth that a network or an atlas tool made says so in words like these.
_MADE_BY_A_MODEL = re.compile(r"\bAI\b|FreeSurfer|\bmodel output\b|\bnetwork output\b|\bautomatic\b", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One image with its labels.

    Parameters
    ----------
    name : str
        Unique within its dataset.
    image, mask : Path
        Files on one grid.
    dataset, patient, modality, body, licence : str, optional
        For tables; `patient` ties the cases of one person together (the case's name where it is empty).
    labels : mapping of int to str, optional
        Label values to evaluate, and their names; empty for every value that occurs.
    reference : str, optional
        How the truth was made, in words. ``"human expert"``, ``"AI (TotalSegmentator output)"``, or by part:
        ``"lesion: human expert; gland/zones: AI"``.

    Examples
    --------
    >>> case = Case("px0_zones", Path("i.nii"), Path("m.nii"), reference="lesion: manual; gland/zones: AI")
    >>> case.made_by_model("TZ")
    True
    """

    name: str
    image: Path
    mask: Path
    dataset: str = ""
    patient: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
    modality: str = ""
    body: str = ""
    reference: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", dict(self.labels))
        object.__setattr__(self, "patient", self.patient or self.name)

    def made_by_model(self, label_name: str) -> bool:
        """Say whether the truth of a label is itself a model's or a tool's output."""
        for clause in self.reference.split(";"):
            what, colon, how = clause.partition(":")
            if not colon:
                what, how = "", clause
            parts = [word.strip().rstrip("s").lower() for word in what.split("/") if word.strip()]
            about = f"{self.name} {label_name}".lower()
            if (not parts or any(part in about for part in parts)) and _MADE_BY_A_MODEL.search(how):
                return True
        return False

    def read(self) -> tuple[Volume, Mask]:
        """Load the image and its labels, on one grid."""
        volume = io.load_volume(self.image)
        return volume, io.load_mask(self.mask, like=volume)


def load_cases(source: str | Path) -> tuple[Case, ...]:
    """Find the cases of a folder or of a list.

    Parameters
    ----------
    source : str or Path
        One of:

        - a folder with a ``manifest.json`` (its ``eval`` part), or that file;
        - a MONAI datalist, a json file with lists of ``{"image": ..., "label": ...}``, or a folder with
          ``dataset.json``;
        - a folder of pairs, ``images*/`` beside ``labels*/`` with like names, or ``X_img.nii.gz`` beside
          ``X_seg.nii.gz``.

    Returns
    -------
    tuple of Case
        In the order of the list, else by name.

    Raises
    ------
    FormatError
        If there is nothing to read, or a listed file is missing.
    """
    path = Path(source)
    if path.is_dir():
        for listing in ("manifest.json", "dataset.json"):
            if (path / listing).is_file():
                return load_cases(path / listing)
        return _checked(tuple(_pairs(path)), path)
    if not path.is_file():
        raise FormatError(f"no evaluation data at {path}: give a folder of image and label pairs, or a datalist json")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path} is not json: {error}; give a manifest or a MONAI datalist") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path} holds a {type(document).__name__}; a manifest or a MONAI datalist is an object")
    if isinstance(document.get("eval"), list):
        return _checked(tuple(_from_manifest(entry, path.parent) for entry in document["eval"]), path)
    return _checked(tuple(_from_datalist(document, path.parent)), path)


def _from_manifest(entry: Mapping[str, Any], root: Path) -> Case:
    try:
        return Case(
            name=str(entry["case"]),
            image=root / entry["image"],
            mask=root / entry["mask"],
            dataset=str(entry.get("dataset", "")),
            patient=f"{entry.get('dataset', '')}/{entry.get('patient', entry['case'])}",
            labels={int(value): str(name) for value, name in entry.get("labels", {}).items()},
            modality=str(entry.get("modality", "")),
            body=str(entry.get("body", "")),
            reference=str(entry.get("ground_truth", "")),
            licence=str(entry.get("licence", "")),
        )
    except KeyError as error:
        raise FormatError(f"a manifest entry lacks {error}; each needs case, image and mask: {entry}") from error


def _from_datalist(document: Mapping[str, Any], root: Path) -> Iterator[Case]:
    names = document.get("labels", {})
    labels = {int(value): str(name) for value, name in names.items() if int(value)} if isinstance(names, dict) else {}
    seen: set[tuple[str, str]] = set()
    for entries in document.values():
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict) or not isinstance(entry.get("label"), str) or "image" not in entry:
                continue  # test images without labels, numbers, descriptions
            image = entry["image"][0] if isinstance(entry["image"], list) else entry["image"]
            if (image, entry["label"]) in seen:
                continue
            seen.add((image, entry["label"]))
            modality = document.get("modality", {})
            yield Case(
                name=_stem(Path(image)),
                image=root / image,
                mask=root / entry["label"],
                dataset=str(document.get("name", root.resolve().name)),
                labels=labels,
                modality=str(modality.get("0", "")) if isinstance(modality, dict) else "",
                reference=str(document.get("reference", "")),
                licence=str(document.get("licence", "")),
            )


def _pairs(folder: Path) -> Iterator[Case]:
    scans = sorted(p for p in folder.rglob("*") if p.is_file() and _SCAN_SUFFIX.search(p.name))
    images, masks = {}, {}
    for scan in scans:
        stem, inside = _stem(scan), scan.relative_to(folder).parent
        kind = next((part.lower()[:5] for part in reversed(inside.parts)), "")
        if _LABEL_WORD.search(stem) or kind in ("label", "masks"):
            masks[_LABEL_WORD.sub("", stem)] = scan
        elif _IMAGE_WORD.search(stem) or kind == "image":
            images[_IMAGE_WORD.sub("", stem)] = scan
    for key, image in images.items():
        mask = masks.get(key) or masks.get(re.sub(r"_0000$", "", key))  # nnU-Net numbers its channels
        if mask is not None:
            yield Case(name=key, image=image, mask=mask, dataset=folder.resolve().name)


def _checked(cases: tuple[Case, ...], source: Path) -> tuple[Case, ...]:
    if not cases:
        raise FormatError(
            f"no image with a label in {source}: expected images*/ beside labels*/, X_img.nii.gz beside X_seg.nii.gz, "
            "a manifest.json or a MONAI datalist"
        )
    missing = [str(path) for case in cases for path in (case.image, case.mask) if not path.exists()]
    if missing:
        raise FormatError(f"{len(missing)} listed files are missing, the first is {missing[0]}; check {source}")
    keys = [(case.dataset, case.name) for case in cases]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise InputError(f"two cases of dataset {twice[0]!r} are called {twice[1]!r}; give each its own name")
    return cases


def _stem(path: Path) -> str:
    return _SCAN_SUFFIX.sub("", path.name)
