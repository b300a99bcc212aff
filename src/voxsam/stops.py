"""When a mask is not carried on to the next slice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.looks import Look

__all__ = ["StopRules"]

#: `StopRules.min_likeness` is asked where the model expects an intersection over union of `LOOK_QUALITY`; where it
#: expects one less or more, `LOOK_DOUBT` times that difference is asked in addition, or is let off.
LOOK_QUALITY, LOOK_DOUBT = 0.7, 1.8
#: Few voxels spread by chance: the likeness asked for is less by this over the root of their number.
LOOK_CHANCE = 0.5


@dataclass(frozen=True)
class StopRules:
    """When a mask is not carried on to the next slice.

    Parameters
    ----------
    min_area_mm2 : float
        Stop below this area.
    max_area_ratio : float
        Stop where the area grows by more than this factor from one slice to the next: a leak.
    min_overlap : float
        Stop below this intersection over union with the last slice's mask.
    min_quality : float
        Stop below this predicted intersection over union.
    min_likeness : float
        Stop where the mask's voxel values share less than this of the spread of those on the prompted slices (see
        `Look`): the object ended, and something else goes on in its place. So much is asked where the predicted
        intersection over union is 0.7; less where the model is surer, more where it is less sure.
    max_distance_mm : float or None
        Stop this far from the prompted slice.
    first_index, last_index : int or None
        Stop outside this range of slices.

    Examples
    --------
    >>> StopRules(last_index=60).max_distance_mm is None
    True
    """

    min_area_mm2: float = 4.0
    max_area_ratio: float = 3.0
    min_overlap: float = 0.2
    min_quality: float = 0.3
    min_likeness: float = 0.5
    max_distance_mm: float | None = None
    first_index: int | None = None
    last_index: int | None = None

    def why_not(
        self,
        inside: npt.NDArray[Any],
        areas_mm2: tuple[float, float],
        overlap: float,
        quality: float | None,
        looks: Iterable[Look],
    ) -> str:
        """Say why a mask is not taken; an empty text where it is.

        Parameters
        ----------
        inside : (N,) array
            Its voxel values.
        areas_mm2 : (float, float)
            Of the last mask, and its own.
        overlap : float
            Intersection over union with the last mask.
        quality : float or None
            The intersection over union that the model expects of it.
        looks : iterable of Look
            Of the prompted slices.

        Examples
        --------
        >>> StopRules().why_not(np.ones(20), (30.0, 99.0), 0.3, 0.8, [])
        'area grew 3.3 times, over 3'
        """
        last_mm2, area_mm2 = areas_mm2
        if not inside.size:
            return "nothing was found"
        if area_mm2 < self.min_area_mm2:
            return f"area {area_mm2:.1f} mm2 is below {self.min_area_mm2:g}"
        if last_mm2 and area_mm2 > self.max_area_ratio * last_mm2:
            return f"area grew {area_mm2 / last_mm2:.1f} times, over {self.max_area_ratio:g}"
        if overlap < self.min_overlap:
            return f"overlap {overlap:.2f} is below {self.min_overlap:g}"
        if quality is not None and quality < self.min_quality:
            return f"quality {quality:.2f} is below {self.min_quality:g}"
        least, likeness = self._least_likeness(quality, inside.size), 0.0
        for look in looks:
            likeness = max(likeness, look.likeness(inside))
            if likeness >= least:
                return ""
        return f"it looks like the prompted slices to {likeness:.2f} only, below {least:.2f}"

    def _least_likeness(self, quality: float | None, count: int) -> float:
        doubt = 0.0 if quality is None else LOOK_QUALITY - quality
        return self.min_likeness * (1 + LOOK_DOUBT * doubt) - LOOK_CHANCE / float(np.sqrt(count))
