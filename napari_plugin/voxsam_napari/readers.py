"""Files and DICOM folders as napari layers: where they lie in the patient, the right way up."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
from qtpy.QtWidgets import QApplication, QInputDialog

from voxsam import io
from voxsam.errors import FormatError
from voxsam.io.series import SeriesInfo, is_dicom
from voxsam.volume import Mask, Volume
from voxsam.windowing import automatic_window
from voxsam_napari.orientation import shown

__all__ = ["get_reader", "layer_of_mask", "layer_of_volumes", "load_volumes"]

#: What napari makes a layer of: data, options, kind.
LayerData: TypeAlias = tuple[Any, dict[str, Any], str]
Paths: TypeAlias = str | Sequence[str]

_SUFFIXES = tuple(suffix for kind in io.FORMATS for suffix in kind.suffixes)
#: How a word in a file's name ends that says that its numbers are labels.
_LABEL_WORD = re.compile(r"(^gt|seg|segmentations?|masks?|labels?|labelmap|truth)$")
#: How many files of a folder are looked at to tell whether it holds DICOM.
_LOOK_AT = 50


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Say whether these paths can be read: return the function that does, or None.

    Parameters
    ----------
    path : str or sequence of str
        NIfTI, NRRD, MetaImage or DICOM files, or folders with a DICOM series.
    """
    return _read if all(_is_ours(Path(each)) for each in _listed(path)) else None


def load_volumes(path: Path) -> tuple[Volume, ...]:
    """Read every volume of a file or a DICOM series: several where it has time points, echoes or channels.

    Where a folder holds several series, the user is asked which.

    Raises
    ------
    FormatError
        See `voxsam.io.load_volume`.
    """
    series = None
    try:
        return (io.load_volume(path),)
    except FormatError:
        found = io.list_series(path) if path.is_dir() else ()
        if len(found) > 1:
            if QApplication.instance() is None:
                raise
            series = _ask_for_series(path, found)
    first = io.load_volume(path, series=series, channel=0)  # raises what is wrong, if it was not the number of volumes
    return (first, *_rest(path, series))


def layer_of_volumes(volumes: Sequence[Volume], *, name: str = "") -> LayerData:
    """Make an image layer of one scan, or of several on one grid: then the layer's first axis counts them.

    Returns
    -------
    tuple
        ``layer.metadata["voxsam"]`` holds the ``"volume"`` (or ``"volumes"``, a tuple) and ``"axes"``, see
        `voxsam_napari.orientation.shown`.
    """
    first = volumes[0]
    data, options = shown(first)
    window = automatic_window(first)
    options |= {"name": name or first.name, "colormap": "gray", "contrast_limits": (window.low, window.high)}
    if len(volumes) == 1:
        return data, options, "image"
    axes = options["metadata"]["voxsam"]["axes"]
    stacked = np.stack([volume.array.transpose(axes) for volume in volumes])
    views = tuple(
        replace(volume, array=array.transpose(np.argsort(axes))) for volume, array in zip(volumes, stacked, strict=True)
    )
    options["metadata"] = {"voxsam": {"volumes": views, "axes": axes}}
    options["scale"] = (1.0, *options["scale"])
    options["affine"] = np.block([[np.eye(1), np.zeros((1, 4))], [np.zeros((4, 1)), options["affine"]]])
    options["axis_labels"] = ("volume", *options["axis_labels"])
    options["units"] = ("pixel", "mm", "mm", "mm")
    return stacked, options, "image"


def layer_of_mask(mask: Mask, *, name: str) -> LayerData:
    """Make a labels layer of a mask, with the colours and names of its labels.

    Returns
    -------
    tuple
        Its data is a copy that may be painted on; ``layer.metadata["voxsam"]`` holds the ``"mask"`` and ``"axes"``.
    """
    view, options = shown(mask)
    values = sorted(mask.labels)
    options |= {"name": name}
    if values:
        colors = {None: (0.0, 0.0, 0.0, 0.0), 0: (0.0, 0.0, 0.0, 0.0)}
        colors |= {value: (*mask.labels[value].color_rgb, 1.0) for value in values}
        options["colormap"] = colors
        options["features"] = {"index": values, "name": [mask.labels[value].name for value in values]}
    data = np.array(view, dtype=np.uint8 if view.dtype == bool else view.dtype)
    return data, options, "labels"


def _read(path: Paths) -> list[LayerData]:
    """Read what napari was asked to open; several slices of one folder are one series."""
    paths = [Path(each) for each in _listed(path)]
    if len(paths) > 1 and all(is_dicom(each) for each in paths):
        paths = list({each.parent: each for each in paths}.values())
    return [_layer(each) for each in paths]


def _layer(path: Path) -> LayerData:
    if _looks_like_labels(path):
        try:
            return layer_of_mask(io.load_mask(path), name=path.name)
        except FormatError:
            if path.name.lower().endswith(".seg.nrrd"):
                raise
    return layer_of_volumes(load_volumes(path), name=path.name)  # fractions, in spite of its name: an image


def _looks_like_labels(path: Path) -> bool:
    if path.is_dir() or is_dicom(path):
        return False
    if any(map(_LABEL_WORD.search, re.split(r"[^a-z]+", path.name.lower()))):
        return True
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return False
    try:
        header: Any = nib.load(path).header
        return bool(header.get_intent()[0] == "label")
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, OSError, EOFError, AttributeError):
        return False  # damaged, or of another kind: reading it says so


def _rest(path: Path, series: str | None) -> Iterator[Volume]:
    """Read the second volume and all after it."""
    for channel in count(1):
        try:
            yield io.load_volume(path, series=series, channel=channel)
        except FormatError as error:  # noqa: PERF203 - the error is how the end is told
            if "has no channel" in str(error):
                return
            raise  # there is one, and it is damaged


def _ask_for_series(folder: Path, found: Sequence[SeriesInfo]) -> str:
    titles = [f"{number}. {info}" for number, info in enumerate(found, start=1)]
    title, chosen = QInputDialog.getItem(None, "voxsam", f"{folder.name} holds several series:", titles, 0, False)
    if not chosen:
        raise FormatError(f"{folder} holds {len(found)} series, and none was chosen: open it again")
    return found[titles.index(title)].uid


def _listed(path: Paths) -> list[str]:
    return [os.fspath(path)] if isinstance(path, (str, os.PathLike)) else [os.fspath(each) for each in path]


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        files = (Path(where, name) for where, _, names in os.walk(path) for name in sorted(names))
        return any(is_dicom(file) for file in islice(files, _LOOK_AT))
    return path.name.lower().endswith(_SUFFIXES) or is_dicom(path)
