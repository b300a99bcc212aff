"""What voxel values are: exact scaling, whole labels, the type that holds them, a modality from their range."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.errors import FormatError, VolumeError

__all__ = ["guess_modality", "label_dtype", "native", "scaled", "smallest_integer", "whole_labels"]

Array = npt.NDArray[Any]


def smallest_integer(low: int, high: int, among: Iterable[type[np.integer[Any]]]) -> np.dtype[Any] | None:
    """Return the first dtype of `among` that holds `low` to `high`; None if none does.

    Examples
    --------
    >>> smallest_integer(-1024, 3071, (np.uint8, np.int16))
    dtype('int16')
    """
    for candidate in among:
        bounds = np.iinfo(np.dtype(candidate))
        if bounds.min <= low and high <= bounds.max:
            return np.dtype(candidate)
    return None


def label_dtype(array: Array) -> np.dtype[Any]:
    """Return the integer dtype to store a mask in: its own where every reader knows it, else the smallest.

    Raises
    ------
    VolumeError
        If a label needs 64 bits.

    Examples
    --------
    >>> label_dtype(np.array([True])), label_dtype(np.array([0, 300]))
    (dtype('uint8'), dtype('int16'))
    """
    if array.dtype == np.bool_:
        return np.dtype(np.uint8)
    if array.dtype.itemsize < 8:
        own: np.dtype[Any] = array.dtype.newbyteorder("=")
        return own
    low, high = int(array.min()), int(array.max())
    dtype = smallest_integer(low, high, (np.uint8, np.int16, np.uint16, np.int32, np.uint32))
    if dtype is None:
        raise VolumeError(f"label {high if high > 0 else low} is too large: a file holds labels of up to 32 bits")
    return dtype


def native(array: Array) -> Array:
    """Return `array` in this machine's byte order, swapped in place where it can be."""
    if array.dtype.isnative:
        return array
    dtype = array.dtype.newbyteorder("=")
    swapped: Array = array.byteswap(inplace=True).view(dtype) if array.flags.writeable else array.astype(dtype)
    return swapped


def scaled(array: Array, slope: float, intercept: float) -> Array:
    """Return ``array * slope + intercept`` in the smallest type that is exact enough.

    The very array where there is nothing to do. Integers with a whole slope and intercept stay integers (16 or
    32 bits: CT numbers are whole); all else becomes float32, a slice at a time.

    Parameters
    ----------
    array : (Z, Y, X) real array
    slope, intercept : float

    Examples
    --------
    >>> stored = np.array([[[0, 1024]]], np.uint16)
    >>> scaled(stored, 1.0, -1024.0)
    array([[[-1024,     0]]], dtype=int16)
    >>> scaled(stored, 0.5, 0.0)
    array([[[  0., 512.]]], dtype=float32)
    """
    if slope == 1.0 and intercept == 0.0:
        return array
    dtype: np.dtype[Any] | None = None
    if array.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        low, high = sorted(int(edge) * int(slope) + int(intercept) for edge in (array.min(), array.max()))
        dtype = smallest_integer(low, high, (np.int16, np.int32))
    exact = dtype is not None
    result = np.empty(array.shape, dtype if exact else np.float32)
    for index, piece in enumerate(array):
        if exact:
            result[index] = piece.astype(np.int64) * int(slope) + int(intercept)
        else:
            result[index] = piece * np.float64(slope) + np.float64(intercept)
    return result


def whole_labels(array: Array, where: str) -> Array:
    """Return a label map as integers: floats that are all whole are converted.

    Raises
    ------
    FormatError
        If a value is a fraction, NaN or infinite; `where` names the file.

    Examples
    --------
    >>> whole_labels(np.array([[[0.0, 2.0]]]), "liver.nii.gz")
    array([[[0, 2]]], dtype=uint8)
    """
    if array.dtype.kind in "iub":
        return array
    low, high = 0, 0
    for piece in array:
        if not np.isfinite(piece).all() or not (piece == np.rint(piece)).all():
            raise FormatError(
                f"{where} is no mask: expected whole numbers (0 is background, others are labels), got fractions or "
                f"NaN; is it a scan or a probability map?"
            )
        low, high = min(low, int(piece.min())), max(high, int(piece.max()))
    dtype = smallest_integer(low, high, (np.uint8, np.int16, np.uint16, np.int32, np.uint32))
    if dtype is None:
        raise FormatError(f"{where} is no mask: expected labels of up to 32 bits, got {low} to {high}")
    return array.astype(dtype)


def guess_modality(array: Array) -> str:
    """Return ``"CT"`` where the values look like CT numbers, else an empty string.

    CT holds air, around -1000 HU; MR and PET do not go far below zero. Lowest value from -32768 to -500: CT.

    Examples
    --------
    >>> guess_modality(np.array([[[-1000, 40]]])), guess_modality(np.array([[[0, 900]]]))
    ('CT', '')
    """
    if array.dtype.kind not in "if":
        return ""
    low = np.inf
    for piece in array:
        values = piece if piece.dtype.kind == "i" else piece[np.isfinite(piece)]
        low = min(low, float(values.min(initial=low if piece.dtype.kind == "f" else 0)))
    return "CT" if -32768.0 <= low <= -500.0 else ""
