"""The scans that ship with voxsam, in napari's menu of sample data."""

from __future__ import annotations

from voxsam import io
from voxsam.samples import bundled_folder, sample
from voxsam_napari.readers import LayerData, layer_of_volumes

__all__ = ["ct_abdomen", "mr_head"]


def ct_abdomen() -> list[LayerData]:
    """Open a drawn CT of an abdomen, tilted as scanners tilt."""
    return _layers("ct-abdomen")


def mr_head() -> list[LayerData]:
    """Open a drawn MR of a head."""
    return _layers("mr-head")


def _layers(name: str) -> list[LayerData]:
    chosen = sample(name)
    return [layer_of_volumes([io.load_volume(bundled_folder() / chosen.file)], name=chosen.title)]
