"""KeptStep: a step put away in little memory, until the slices of an object are put together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from voxsam.views import OUTSIDE_LOGIT
from voxsam.walk import Step
from voxsam.zoom import Bounds, bounds_of

__all__ = ["KeptStep"]

#: Voxels of logits kept on every side of a mask: the walk from the other side may end up beside it.
_ROOM = 16


@dataclass(frozen=True, eq=False)
class KeptStep:
    """A step of which only the surroundings of its mask are kept: an object fills little of its slices.

    Parameters
    ----------
    slice_shape : tuple of int, (rows, columns)
        Of the whole slice.
    bounds : (row_start, row_stop, column_start, column_stop)
        What of the slice is kept.
    part : Step
        Its mask is cut to the bounds, its logits are left out.
    logits : float16 or float32 array, or None
        Cut to the bounds.

    Examples
    --------
    >>> mask = np.zeros((512, 512), bool)
    >>> mask[100:120, 100:130] = True
    >>> kept = KeptStep.of(Step(7, np.where(mask, 3.0, -3.0), mask, area_mm2=600.0))
    >>> kept.nbytes, bool((kept.whole().mask == mask).all()), kept.whole().logits is None
    (600, True, True)
    """

    slice_shape: tuple[int, int]
    bounds: Bounds
    part: Step
    logits: npt.NDArray[np.float16] | npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, step: Step, *, logits: bool = False) -> KeptStep:
        """Keep the mask alone, or near it the `logits` too, in half precision."""
        (rows, columns), room = step.mask.shape, _ROOM if logits else 0
        row, row_stop, column, column_stop = bounds_of(step.mask) or (0, 0, 0, 0)
        row, row_stop = max(0, row - room), min(rows, row_stop + room)
        column, column_stop = max(0, column - room), min(columns, column_stop + room)
        crop = (slice(row, row_stop), slice(column, column_stop))
        near = step.logits[crop].astype(np.float16) if logits and step.logits is not None else None
        part = replace(step, mask=step.mask[crop].copy(), logits=None)
        return cls((rows, columns), (row, row_stop, column, column_stop), part, near)

    @classmethod
    def entire(cls, step: Step) -> KeptStep:
        """Keep everything, for a step that clicks will correct."""
        rows, columns = step.mask.shape
        return cls((rows, columns), (0, rows, 0, columns), replace(step, logits=None), step.logits)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self.part.mask.nbytes) + (0 if self.logits is None else int(self.logits.nbytes))

    def whole(self) -> Step:
        """Return the step on the whole slice; where no logits were kept it is surely outside."""
        mask = np.zeros(self.slice_shape, bool)
        self.draw_on(mask)
        logits = None
        if self.logits is not None:
            logits = np.full(self.slice_shape, OUTSIDE_LOGIT, np.float32)
            logits[self._crop] = self.logits
        return replace(self.part, mask=mask, logits=logits)

    def draw_on(self, mask: npt.NDArray[np.bool_]) -> None:
        """Write the mask into an empty slice."""
        mask[self._crop] = self.part.mask

    @property
    def _crop(self) -> tuple[slice, slice]:
        return slice(self.bounds[0], self.bounds[1]), slice(self.bounds[2], self.bounds[3])
