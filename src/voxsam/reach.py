"""How far a propagation may go, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from voxsam.cropped import CroppedMask
from voxsam.cuts import indices_of
from voxsam.edits import Reach
from voxsam.geometry import Geometry, Plane, PlaneAxes
from voxsam.prompts import Prompt
from voxsam.report import Report
from voxsam.stops import StopRules

__all__ = ["Span", "joined", "joined_report", "span_of", "stops_within"]

#: First and last slice.
Span = tuple[int, int]


def span_of(reach: Reach, prompts: Sequence[Prompt], geometry: Geometry, plane: Plane) -> Span:
    """Return the first and the last slice that may change.

    Examples
    --------
    >>> from voxsam.prompts import Point
    >>> grid = Geometry.from_spacing((10, 8, 8))
    >>> clicks = [Point((3, 4, 4)), Point((6, 4, 4))]
    >>> [span_of(reach, clicks, grid, "axial") for reach in ("whole", "up", "down", (2, 5))]
    [(0, 9), (3, 9), (0, 6), (2, 5)]
    """
    last = geometry.shape[geometry.axes_of(plane).normal] - 1
    if not isinstance(reach, str):
        return reach[0], reach[1]
    held = [index for prompt in prompts for index in indices_of(prompt, geometry, plane)] or [0, last]
    return (min(held) if reach == "up" else 0), (max(held) if reach == "down" else last)


def stops_within(stops: StopRules | None, span: Span, geometry: Geometry, plane: Plane) -> StopRules:
    """Return rules that do not let a walk leave the span; an end of the scan needs no rule."""
    stops, (first, last) = stops or StopRules(), span
    if first > 0:
        stops = replace(stops, first_index=max(first, stops.first_index or 0))
    if last < geometry.shape[geometry.axes_of(plane).normal] - 1:
        stops = replace(stops, last_index=last if stops.last_index is None else min(last, stops.last_index))
    return stops


def joined(earlier: CroppedMask | None, found: npt.NDArray[np.bool_], span: Span, axes: PlaneAxes) -> CroppedMask:
    """Take what was found within the span, and the earlier mask beyond it."""
    first, last = span
    if first == 0 and last == found.shape[axes.normal] - 1:
        return CroppedMask.of(found)
    beyond = np.zeros(found.shape, bool) if earlier is None else earlier.to_array()
    inside = (slice(None),) * axes.normal + (slice(first, last + 1),)
    beyond[inside] = found[inside]
    return CroppedMask.of(beyond)


def joined_report(earlier: Report | None, fresh: Report, span: Span, volume_ml: float) -> Report:
    """Take the fresh lines within the span, and the earlier ones beyond it."""
    same = earlier is not None and earlier.settings.get("plane") == fresh.settings.get("plane")
    kept = [line for line in earlier.slices if not span[0] <= line.index <= span[1]] if earlier and same else []
    lines = [*kept, *(line for line in fresh.slices if span[0] <= line.index <= span[1])]
    return replace(fresh, slices=tuple(sorted(lines, key=lambda line: line.index)), volume_ml=volume_ml)
