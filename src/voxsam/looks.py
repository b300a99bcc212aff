"""How the voxel values of an object are spread, to tell where something else goes on in its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["Look"]

#: Bins of a histogram of voxel values, and its smoothing in bins: objects have few voxels on a slice.
_BINS, _SMOOTHING = 24, 1.5


@dataclass(frozen=True, eq=False)
class Look:
    """How the voxel values of an object are spread, to tell where something else goes on in its place.

    Examples
    --------
    >>> look = Look.of(np.array([10, 12, 14, 11, 13]))
    >>> look.likeness(np.array([11, 12, 13])) > 0.6 > look.likeness(np.array([90, 95, 99]))
    True
    """

    low: float
    high: float
    shares: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Look:
        """Take the values of the object on the prompted slices, in any order."""
        finite = _finite(values)
        if not finite.size:
            return cls(0.0, 1.0, None)
        low, high = np.percentile(finite, (2, 98)).tolist()
        margin = max((high - low) / 2, 1e-6 * max(abs(low), abs(high), 1.0))
        empty = cls(low - margin, high + margin, None)
        return replace(empty, shares=empty._shares_of(finite))

    def likeness(self, values: npt.NDArray[Any]) -> float:
        """Return how much of the spread is shared: 1 for the same, 0 for nothing; 1 where nothing can be said."""
        finite = _finite(values)
        if self.shares is None or not finite.size:
            return 1.0
        return float(np.minimum(self._shares_of(finite), self.shares).sum())

    def _shares_of(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return a smoothed histogram; its ends take what lies beyond."""
        bins = np.clip((values - self.low) / (self.high - self.low) * _BINS, 0, _BINS - 1).astype(np.intp)
        counts = np.bincount(bins, minlength=_BINS).astype(np.float64)
        smooth = ndimage.gaussian_filter1d(counts, _SMOOTHING, mode="nearest")
        return np.asarray(smooth / smooth.sum())


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    found = np.asarray(values, np.float64).ravel()
    return found[np.isfinite(found)]
