"""Adding an object to a mask that exists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from voxsam.errors import VolumeError
from voxsam.io.voxels import smallest_integer
from voxsam.volume import Label, Mask

__all__ = ["merge_into"]

# distinct on grey and from one another, for labels that nobody coloured
_COLORS = (
    (0.90, 0.30, 0.25), (0.30, 0.69, 0.29), (0.22, 0.49, 0.72), (1.00, 0.75, 0.20),
    (0.60, 0.31, 0.64), (0.10, 0.75, 0.75), (0.97, 0.51, 0.75), (0.65, 0.34, 0.16),
)  # fmt: skip


def merge_into(existing: Mask, mask: Mask, label: int, name: str, *, keep_others: bool = False) -> Mask:
    """Add one object to a label map.

    Its voxels are added to those that already have the label; nothing of that label is taken away.

    Parameters
    ----------
    existing : Mask
        The label map; a bool mask counts as label 1.
    mask : Mask
        The object: every voxel that is not background, on the same grid.
    label : int
        The value it gets, 1 or more; the integer type grows where it must.
    name : str
        What to call it; an empty one leaves an earlier name.
    keep_others : bool
        True: voxels of other labels stay theirs. False: the new object takes them.

    Returns
    -------
    Mask
        With the grid and header of `existing`.

    Raises
    ------
    GeometryError
        If the grids differ.
    VolumeError
        If `label` is below 1 or needs more than 32 bits.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> grid = Geometry.from_spacing((1, 1, 3))
    >>> liver = Mask(np.array([[[1, 1, 0]]], np.uint8), grid, labels={1: Label("liver")})
    >>> both = merge_into(liver, Mask(np.array([[[False, True, True]]]), grid), 300, "tumour")
    >>> both.array.tolist(), both.array.dtype, both.labels[300].name
    ([[[1, 300, 300]]], dtype('int16'), 'tumour')
    """
    existing.geometry.require_same(mask.geometry, "the new object's mask")
    stored = existing.array.view(np.uint8) if existing.array.dtype == np.bool_ else existing.array
    label = int(label)
    bounds = np.iinfo(stored.dtype)
    low, high = min(int(stored.min()), 1), max(int(stored.max()), label)
    fits = low >= bounds.min and high <= bounds.max
    dtype = stored.dtype if fits else smallest_integer(low, high, (np.uint8, np.int16, np.uint16, np.int32, np.uint32))
    if label < 1 or dtype is None:
        raise VolumeError(f"expected a label from 1 to {2**32 - 1}, got {label}; 0 is background")
    array = stored.astype(dtype)
    chosen = mask.array != 0
    array[chosen & (stored == 0) if keep_others else chosen] = label
    earlier = existing.labels.get(label)
    color = earlier.color_rgb if earlier else _COLORS[(label - 1) % len(_COLORS)]
    called = name or (earlier.name if earlier else f"label {label}")
    return replace(existing, array=array, labels={**existing.labels, label: Label(called, color)})
