"""Several objects as one label map, or one file each, on the scan's own grid."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxsam.cropped import CroppedMask
from voxsam.errors import FormatError, SessionError
from voxsam.io import save_mask
from voxsam.state import ObjectState, SessionState
from voxsam.volume import Label, Mask, Volume

__all__ = ["chosen_objects", "label_map", "write_label_maps"]


def chosen_objects(state: SessionState, object_ids: Sequence[int] | None) -> tuple[ObjectState, ...]:
    """Return the objects to write: those that were named, else all that have a mask.

    Raises
    ------
    SessionError
        If one is unknown or has no mask yet, or none has one.
    """
    if object_ids is None:
        items = tuple(item for item in state.objects if item.mask is not None)
        if not items:
            raise SessionError("no object has a mask yet, so there is nothing to save; propagate one first")
        return items
    items = tuple(state.object(object_id) for object_id in dict.fromkeys(object_ids))
    for item in items:
        if item.mask is None:
            raise SessionError(f"object {item.id} ({item.name}) has no mask yet; call propagate({item.id}) first")
    if not items:
        raise SessionError("no object was named; give at least one, or leave object_ids out for all")
    return items


def label_map(items: Sequence[ObjectState], volume: Volume) -> Mask:
    """Make one label map, in which each object has its id as value.

    Parameters
    ----------
    items : sequence of ObjectState
        Each with a mask.
    volume : Volume

    Returns
    -------
    Mask
        With names, colours and codes, and the scan's header.

    Raises
    ------
    SessionError
        If objects overlap; the message names them.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> scan = Volume(np.zeros((1, 1, 3)), Geometry.from_spacing((1, 1, 3)))
    >>> liver = ObjectState(2, "liver", (0.9, 0.6, 0.0), mask=CroppedMask.of(np.array([[[True, True, False]]])))
    >>> label_map([liver], scan).array.tolist()
    [[[2, 2, 0]]]
    """
    highest = max(item.id for item in items)
    array = np.zeros(volume.geometry.shape, np.uint8 if highest < 256 else np.uint16)
    for item in items:
        mask = _mask_of(item)
        part = array[tuple(slice(a, b) for a, b in zip(mask.low_zyx, mask.high_zyx, strict=True))]
        inside = mask.box
        shared = np.unique(part[inside])
        if shared.any():
            names = {each.id: each.name for each in items}
            others = " and ".join(f"{names[int(value)]} ({value})" for value in shared if value)
            raise SessionError(
                f"{item.name} ({item.id}) overlaps {others}, and a label map holds one object a voxel: save them one "
                f"file each, into a folder, or choose some with object_ids"
            )
        part[inside] = item.id
    labels = {item.id: Label(item.name, item.color_rgb, item.code) for item in items}
    return Mask(array, volume.geometry, labels, header=volume.header)


def write_label_maps(items: Sequence[ObjectState], volume: Volume, path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a label map to a file, or one mask for each object into a folder that exists.

    Returns
    -------
    tuple of Path
        What was written.

    Raises
    ------
    SessionError
        If objects overlap that were to go into one file.
    FormatError
        If a file cannot be written; an old one is then as it was.
    """
    where = Path(path)
    if not where.is_dir():
        if os.fspath(path).endswith(("/", os.sep)):
            raise FormatError(f"no such folder: {where}; make it first, or give a file name such as organs.seg.nrrd")
        save_mask(label_map(items, volume), where)
        return (where,)
    written = []
    for item in items:
        alone = Mask(_mask_of(item).to_array(), volume.geometry, {1: _label(item)}, header=volume.header)
        written.append(where / f"{item.id:02d}_{_file_name(item.name)}.nii.gz")
        save_mask(alone, written[-1])
    return tuple(written)


def _label(item: ObjectState) -> Label:
    return Label(item.name, item.color_rgb, item.code)


def _mask_of(item: ObjectState) -> CroppedMask:
    if item.mask is None:
        raise SessionError(f"object {item.id} ({item.name}) has no mask yet")
    return item.mask


def _file_name(name: str) -> str:
    """Return what of a name fits a file name on every system.

    Examples
    --------
    >>> _file_name("left kidney: cyst / 2")
    'left_kidney_cyst_2'
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:60] or "object"
