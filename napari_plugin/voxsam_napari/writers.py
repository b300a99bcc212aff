"""Labels layers as masks on the scan's own grid: NIfTI, and segmentations that 3D Slicer opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.utils.transforms import CompositeAffine

from voxsam import io
from voxsam.errors import VolumeError
from voxsam.terminology import code_for
from voxsam.volume import Label, Mask
from voxsam_napari.orientation import geometry_of

__all__ = ["mask_of_layer", "write_labels"]


def write_labels(path: str, data: Any, options: Mapping[str, Any]) -> list[str]:
    """Write a labels layer, whole or not at all.

    Parameters
    ----------
    path : str
        ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.seg.nrrd``.
    data : integer array
        Of the layer.
    options : mapping
        What else the layer is made of, as ``layer.as_layer_data_tuple()`` gives it.

    Returns
    -------
    list of str
        The path.

    Raises
    ------
    VolumeError, GeometryError
        If the layer is not a 2D or 3D label map.
    FormatError
        If the file cannot be written. An older one of that name is then as it was.
    """
    io.save_mask(mask_of_layer(data, options), path)
    return [path]


def mask_of_layer(data: Any, options: Mapping[str, Any]) -> Mask:
    """Return a labels layer as a mask: on the scan's grid where the layer knows it, else where its transform puts it.

    Parameters
    ----------
    data, options
        See `write_labels`. ``options["metadata"]["voxsam"]``, where present, holds the ``"volume"`` or ``"mask"`` whose
        grid it is, ``"axes"`` and ``"flips"``: layer axis k shows array axis ``axes[k]``, backwards where ``flips[k]``.

    Returns
    -------
    Mask
        With the names and colours that the layer has for its labels; a name that `voxsam.terminology` knows brings its
        code.
    """
    array = np.asarray(data)
    if array.ndim not in (2, 3):
        raise VolumeError(
            f"labels {options.get('name', '')!r} have {array.ndim} axes {array.shape}: expected two or three; "
            f"split the layer first (right-click on it)"
        )
    known: Mapping[str, Any] = options.get("metadata", {}).get("voxsam", {})
    origin = known.get("volume") or known.get("mask")
    axes = tuple(known.get("axes", range(3)))
    if origin is not None and array.shape == tuple(origin.geometry.shape[axis] for axis in axes):
        flips = known.get("flips", (False, False, False))
        upright = array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)].transpose(np.argsort(axes))
        before = origin.labels if isinstance(origin, Mask) else {}
        return Mask(upright, origin.geometry, labels=_labels(array, options, before), header=origin.header)
    grid = geometry_of(_transform(options, array.ndim), array.shape, options.get("units", ()))
    return Mask(array.reshape(grid.shape), grid, labels=_labels(array, options, {}))


def _transform(options: Mapping[str, Any], ndim: int) -> npt.NDArray[np.float64]:
    """Return the layer's way from data to world: scale, shear, rotation and translation, then its affine."""
    own = CompositeAffine(
        scale=options.get("scale", (1.0,) * ndim),
        translate=options.get("translate", (0.0,) * ndim),
        rotate=options.get("rotate"),
        shear=options.get("shear"),
    )
    return np.asarray(options.get("affine", np.eye(ndim + 1)) @ own.affine_matrix, dtype=np.float64)


def _labels(array: npt.NDArray[Any], options: Mapping[str, Any], before: Mapping[int, Label]) -> dict[int, Label]:
    """Return names, colours and codes of the labels; the only one of a layer has the layer's name.

    Labels that the layer was opened with stay, and keep their codes as long as they keep their names.
    """
    values = sorted({int(value) for value in np.unique(array) if value} | set(before))
    names = _names(options.get("features"))
    if len(values) == 1:
        names.setdefault(values[0], str(options.get("name", "")).split(".")[0])
    labels = {}
    for value in values:
        name = names.get(value) or f"label {value}"
        old = before.get(value)
        code = old.code if old is not None and old.name == name else code_for(name)
        labels[value] = Label(name, _color(options["colormap"], value), code)
    return labels


def _names(features: Any) -> dict[int, str]:
    if features is None or "index" not in features or "name" not in features:
        return {}
    return {int(value): str(name) for value, name in zip(features["index"], features["name"], strict=True)}


def _color(colormap: Any, value: int) -> tuple[float, float, float]:
    red, green, blue = (float(part) for part in np.asarray(colormap.map(value)).reshape(-1)[:3])
    return red, green, blue
