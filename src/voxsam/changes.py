"""A change on one slice, carried to its neighbours until it has died out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.interpolate import signed_distance_mm
from voxsam.predict import overlap_of
from voxsam.walk import Step, Told, Walker
from voxsam.zoom import Bounds, bounds_of, union_of

__all__ = ["ChangeRules", "Changed", "carry_change"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ChangeRules:
    """How a change is carried on.

    Parameters
    ----------
    margin_mm : float
        From slice to slice, what changes may move and grow by this much.
    least_share : float
        A change has died out where it is less than this share of what it was where it was made.
    most_share : float
        A change that grew to more than this share of what it was where it was made is another: it goes no further.
    least_overlap : float
        Toward another prompted slice, what was there and what is new are blended by distance where they overlap at
        least so much; where they do not, the new goes half way.
    quality_slack : float
        On a slice that a box alone was drawn on, the new answer is taken unless its quality is lower by more.
    """

    margin_mm: float = 4.0
    least_share: float = 0.05
    most_share: float = 1.5
    least_overlap: float = 0.3
    quality_slack: float = 0.0


@dataclass(frozen=True, eq=False)
class Changed:
    """A slice that a change has reached.

    Parameters
    ----------
    step : Step
        What the model said; its mask is the one to be written.
    """

    step: Step

    @property
    def index(self) -> int:
        """Of the slice."""
        return self.step.index


def carry_change(
    walker: Walker,
    told: Told,
    start: Step,
    before: BoolArray,
    masks: Mapping[int, BoolArray],
    indices: Sequence[int],
    *,
    anchor: int | None = None,
    weak: Mapping[int, float] | None = None,
    rules: ChangeRules | None = None,
) -> Iterator[Changed]:
    """Carry what changed on a slice over those beside it.

    Parameters
    ----------
    walker : Walker
    told : Told
    start : Step
        The slice as it is now, with a mask that is not empty.
    before : (rows, columns) bool array
        The slice as it was.
    masks : mapping of int to (rows, columns) bool array
        The other slices as they are.
    indices : sequence of int
        Where to go, nearest first.
    anchor : int, optional
        The next prompted slice on this way: near it what is there is trusted more.
    weak : mapping of int to float, optional
        Slices on which an answer is replaced by a better one alone, and its quality.
    rules : ChangeRules, optional

    Yields
    ------
    Changed
        Slice by slice, until the change has died out, or became another.
    """
    rules = rules or ChangeRules()
    margin = tuple(max(1, round(rules.margin_mm / spacing)) for spacing in walker.spacing_mm)
    changed = before ^ start.mask
    made = np.count_nonzero(changed)
    least, most = max(3.0, rules.least_share * made), rules.most_share * made
    walk = walker.steps(start, indices, told)
    step = next(walk, None)
    while step is not None and not step.reason:
        if weak and step.index in weak and (step.quality or 0.0) < weak[step.index] - rules.quality_slack:
            return
        old = masks[step.index]
        wanted = step.mask
        if anchor is not None and old.any():
            share = abs(step.index - start.index) / abs(anchor - start.index)
            wanted = _between(wanted, old, share, walker.spacing_mm, rules.least_overlap)
        changed = touching_within(old ^ wanted, changed, (margin[0], margin[1]))
        if not least <= np.count_nonzero(changed) <= most:
            return
        taken = step.with_mask(old ^ changed, walker.area_of(old ^ changed))
        yield Changed(taken)
        try:
            step = walk.send(taken)
        except StopIteration:
            return


def touching_within(difference: BoolArray, changed: BoolArray, margin: tuple[int, int]) -> BoolArray:
    """Keep the parts of a difference that lie on or near what changed on the slice before.

    Examples
    --------
    >>> row = np.array([[True, True, False, False, False, True]])
    >>> touching_within(row, np.array([[True, False, False, False, False, False]]), (1, 1))
    array([[ True,  True, False, False, False, False]])
    """
    kept = np.zeros_like(changed)
    bounds = bounds_of(changed)
    if bounds is None:
        return kept
    crop = _grown(bounds, margin, changed.shape)
    near = ndimage.maximum_filter(changed[crop], size=(2 * margin[0] + 1, 2 * margin[1] + 1), mode="constant")
    islands, count = ndimage.label(difference[crop] & near)
    held = np.zeros(count + 1, bool)
    held[np.unique(islands[changed[crop]])] = True
    held[0] = False
    kept[crop] = held[islands]
    return kept


def _between(
    new: BoolArray, old: BoolArray, share: float, spacing_mm: tuple[float, float], least_overlap: float
) -> BoolArray:
    """Blend two shapes of one slice: `share` 0 is the new one, 1 the old one."""
    if overlap_of(new, old) < least_overlap:
        return new if share < 0.5 else old
    bounds = union_of(bounds_of(new), bounds_of(old))
    if bounds is None:
        return old
    crop = _grown(bounds, (1, 1), new.shape)
    mixed = np.zeros_like(old)
    distances = [signed_distance_mm(mask[crop], spacing_mm) for mask in (new, old)]
    mixed[crop] = (1 - share) * distances[0] + share * distances[1] > 0
    return mixed


def _grown(bounds: Bounds, margin: tuple[int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    row, row_stop, column, column_stop = bounds
    return (
        slice(max(0, row - margin[0]), min(shape[0], row_stop + margin[0])),
        slice(max(0, column - margin[1]), min(shape[1], column_stop + margin[1])),
    )
