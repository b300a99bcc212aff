"""When to look at a small object again from nearer, and at which region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxsam.views import Region, ViewFrame

__all__ = ["Bounds", "ZoomRules", "bounds_of", "stability", "union_of"]

BoolArray = npt.NDArray[np.bool_]

#: (row_start, row_stop, column_start, column_stop), half-open, of what a region should hold.
Bounds = Region


@dataclass(frozen=True)
class ZoomRules:
    """The rules of auto-zoom.

    Parameters
    ----------
    below_share : float
        Zoom where the object's longer side is less than this share of the view's; 0 never zooms.
    margin : float
        Around the object on every side, as a share of its longer side.
    least_px : int
        A region is at least this many voxels wide, counted in the slice's finer spacing.
    least_agreement : float
        Keep the nearer look only where it overlaps the first answer at least so much (intersection over union).
    least_stability : float
        After a single click, zoom only where the first answer is this stable (see `stability`): a bad first mask
        would choose a bad region.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> frame = ViewFrame.of(Geometry.from_spacing((3, 512, 512)), "axial", 1)
    >>> ZoomRules().region_around((200, 240, 300, 330), frame)
    (170, 261, 272, 363)
    >>> ZoomRules().region_around((20, 480, 30, 330), frame) is None  # it fills the view already
    True
    """

    below_share: float = 0.25
    margin: float = 0.5
    least_px: int = 48
    least_agreement: float = 0.5
    least_stability: float = 0.85

    def region_around(self, bounds: Bounds, frame: ViewFrame, *, margin: float | None = None) -> Region | None:
        """Choose the region to look at: square in millimetres, on a coarse grid, so that it is met again.

        Parameters
        ----------
        bounds : Bounds
            Of the object, in array indices of the slice.
        frame : ViewFrame
            Of the whole slice.
        margin : float, optional
            Instead of the rules' own.

        Returns
        -------
        Region or None
            None where the object is large in the view already.
        """
        voxel_mm = np.array([frame.pixel_mm[k] * frame.shape[k] / frame.slice_shape[k] for k in (0, 1)])
        low, high = np.array(bounds[::2], float), np.array(bounds[1::2], float)
        whole_mm = float((voxel_mm * frame.slice_shape).max())
        object_mm = float((voxel_mm * (high - low)).max())
        if object_mm >= self.below_share * whole_mm:
            return None
        margin = self.margin if margin is None else margin
        wanted_mm = max(object_mm * (1 + 2 * margin), self.least_px * float(voxel_mm.min()))
        side_mm = whole_mm * 2.0 ** (-np.floor(2 * np.log2(max(1.0, whole_mm / wanted_mm))) / 2)
        if side_mm >= 0.8 * whole_mm:
            return None
        step = side_mm / 8 / voxel_mm
        sides = np.minimum(np.ceil(side_mm / voxel_mm), frame.slice_shape).astype(int)
        starts = np.rint(((low + high - sides) / 2) / step) * step
        starts = np.clip(np.rint(starts).astype(int), 0, np.array(frame.slice_shape) - sides)
        (row, column), (rows, columns) = starts.tolist(), sides.tolist()
        return (row, row + rows, column, column + columns)


def bounds_of(mask: BoolArray) -> Bounds | None:
    """Return the half-open box of a 2D mask; None where it is empty.

    Examples
    --------
    >>> bounds_of(np.eye(4, dtype=bool)[1:])
    (0, 3, 1, 4)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def union_of(one: Bounds | None, other: Bounds | None) -> Bounds | None:
    """Return the box around two boxes."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), max(one[3], other[3])


def stability(logits: npt.NDArray[np.float32], offset: float = 1.0) -> float:
    """Say how little a mask changes when its threshold moves by `offset` either way: 1 for not at all."""
    loose = int(np.count_nonzero(logits > -offset))
    return int(np.count_nonzero(logits > offset)) / loose if loose else 0.0
