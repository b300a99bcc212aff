"""Volume and Mask: an array on a Geometry, frozen, checked once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.errors import VolumeError
from voxsam.geometry import Geometry
from voxsam.terminology import Code

__all__ = ["Label", "Mask", "Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: one number per voxel, on a grid in the patient.

    Parameters
    ----------
    array : (Z, Y, X) real array
        Voxel values (HU for CT). Kept as it is, without a copy; a read-only view is handed out.
    geometry : Geometry
        Its ``shape`` is the array's.
    modality : str, optional
        DICOM code: ``"CT"``, ``"MR"``, ``"PT"``; empty where unknown.
    name : str, optional
        What to call the scan in messages and reports, such as its file name.
    header : mapping, optional
        What ``voxsam.io`` needs to write a mask back with the same header fields; opaque to all else.

    Raises
    ------
    VolumeError
        If the array is not 3D and real, does not match the geometry, or has no finite voxel.

    Examples
    --------
    >>> scan = Volume(np.zeros((2, 3, 4), np.int16), Geometry.from_spacing((2, 3, 4)), modality="CT")
    >>> scan.geometry.spacing_mm
    (1.0, 1.0, 1.0)
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    modality: str = ""
    name: str = ""
    header: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        array = _frozen(self.array, self.geometry, "volume")
        if array.dtype.kind not in "iufb":
            raise VolumeError(f"a volume holds one real number per voxel, got dtype {array.dtype}")
        if array.dtype.kind == "f" and not any(np.isfinite(piece).any() for piece in array):
            raise VolumeError("every voxel is NaN or infinite: there is nothing to segment; check the conversion")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "header", MappingProxyType(dict(self.header)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of voxel values, shape and affine: tells two scans apart, whatever their file names."""
        digest = hashlib.sha256(f"{self.array.dtype.str}{self.geometry.shape}".encode())
        digest.update(self.geometry.affine.tobytes())
        for piece in self.array:  # a slice at a time: a transposed array would be copied whole
            digest.update(np.ascontiguousarray(piece).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Label:
    """What one value of a mask means.

    Parameters
    ----------
    name : str
    color_rgb : tuple of float, optional
        Red, green, blue in 0..1.
    code : Code, optional
        What it is in SNOMED-CT or another scheme; ``.seg.nrrd`` files keep it.
    """

    name: str
    color_rgb: tuple[float, float, float] = (0.9, 0.3, 0.25)
    code: Code | None = None


@dataclass(frozen=True, eq=False)
class Mask:
    """A segmentation: a bool or an integer label per voxel, on a scan's own grid.

    Parameters
    ----------
    array : (Z, Y, X) bool or integer array
        False or 0 is background.
    geometry : Geometry
    labels : mapping of int to Label, optional
        Names and colours of the values; a bool mask has label 1.
    header : mapping, optional
        See `Volume`.

    Raises
    ------
    VolumeError
        If the array is neither bool nor integer, or does not match the geometry.

    Examples
    --------
    >>> liver = Mask(np.ones((2, 3, 4), bool), Geometry.from_spacing((2, 3, 4), spacing_mm=(5.0, 1.0, 1.0)))
    >>> round(liver.volume_ml(), 3)
    0.12
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    labels: Mapping[int, Label] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        array = _frozen(self.array, self.geometry, "mask")
        if array.dtype.kind not in "iub":
            raise VolumeError(f"a mask holds bools or integer labels, got dtype {array.dtype}")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))
        object.__setattr__(self, "header", MappingProxyType(dict(self.header)))

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The labels that occur, background left out."""
        return tuple(int(value) for value in np.unique(self.array) if value)

    def volume_ml(self, label: int | None = None) -> float:
        """Volume in millilitres of one label, or of everything that is not background."""
        chosen = self.array != 0 if label is None else self.array == label
        return float(np.count_nonzero(chosen) * self.geometry.voxel_volume_mm3 / 1000.0)

    def of_label(self, label: int) -> Mask:
        """Return one label as a bool mask (its name becomes that of label 1)."""
        labels = {1: self.labels[label]} if label in self.labels else {}
        return replace(self, array=self.array == label, labels=labels)


def _frozen(array: npt.NDArray[Any], geometry: Geometry, what: str) -> npt.NDArray[Any]:
    """Return a read-only view of `array` after checking it against `geometry`."""
    view = np.asarray(array).view()
    if view.ndim != 3:
        raise VolumeError(f"a {what} has three axes (Z, Y, X), got shape {view.shape}")
    if view.shape != geometry.shape:
        raise VolumeError(
            f"the {what}'s array has shape {view.shape}, its geometry {geometry.shape}; both are (Z, Y, X)"
        )
    view.flags.writeable = False
    return view
