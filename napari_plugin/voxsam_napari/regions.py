"""Labels layers of the user as a start, and as a region that is not to be touched; they are read, never written."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from voxsam.errors import GeometryError, VolumeError
from voxsam.session import Session
from voxsam.volume import Label, Mask, Volume
from voxsam_napari.grid import LayerGrid

__all__ = ["add_labels", "protect_labels"]

#: More objects than this at once were not drawn by hand: most likely the layer holds something else.
_MOST = 64


def add_labels(session: Session, layer: Labels, volume: Volume, grid: LayerGrid) -> list[int]:
    """Make an object of each label of a layer; returns their ids.

    Raises
    ------
    GeometryError
        If the layer is on another grid than the scan.
    VolumeError
        If it is empty, or holds more labels than objects are made of.
    """
    array = _on_scan(layer, grid)
    values = [int(value) for value in np.unique(array) if value]
    if not 0 < len(values) <= _MOST:
        raise VolumeError(f"layer {layer.name!r} has {len(values)} labels; expected 1 to {_MOST} to make objects of")
    known = layer.metadata.get("voxsam", {}).get("mask")
    made = []
    for value in values:
        label = known.labels.get(value) if isinstance(known, Mask) else None
        color = np.asarray(layer.get_color(value))[:3] if label is None else label.color_rgb
        named = Label(_name(layer, value, len(values)) if label is None else label.name, _triple(color))
        mask = Mask(array == value, volume.geometry, {1: named})
        made.append(session.add_object(named.name, color_rgb=named.color_rgb, mask=mask))
    return made


def protect_labels(session: Session, layer: Labels | None, volume: Volume, grid: LayerGrid) -> None:
    """Let no mask change where a layer holds a label; None protects nothing any longer.

    Raises
    ------
    GeometryError
        If the layer is on another grid than the scan.
    """
    session.protect(None if layer is None else Mask(_on_scan(layer, grid) != 0, volume.geometry))


def _on_scan(layer: Labels, grid: LayerGrid) -> npt.NDArray[Any]:
    """Return a layer's labels with the scan's axes (Z, Y, X)."""
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    wanted = grid.shown(np.empty(grid.geometry.shape, bool)).shape
    way = np.eye(grid.ndim + 1)
    same_place = layer.ndim == grid.ndim
    if same_place:
        way[:-1, -1] = layer.data_to_world((0.0,) * layer.ndim)
        steps = [np.asarray(layer.data_to_world(step)) - way[:-1, -1] for step in np.eye(layer.ndim)]
        way[:-1, :-1] = np.stack(steps, axis=1)
        same_place = bool(np.allclose(way, grid.to_world, rtol=0, atol=1e-3))
    if data.shape != wanted or not same_place:
        raise GeometryError(
            f"layer {layer.name!r} is on another grid: expected shape {wanted} in the image's own place, got "
            f"{data.shape}{'' if same_place else ' elsewhere'}; give it the image's scale, translate and affine"
        )
    return grid.of_shown(data)


def _name(layer: Labels, value: int, count: int) -> str:
    return str(layer.name) if count == 1 else f"{layer.name} {value}"


def _triple(color: Any) -> tuple[float, float, float]:
    red, green, blue = (float(part) for part in color)
    return red, green, blue
