"""Corrections: prompts that came after a propagation change the mask near where they are, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.cropped import CroppedMask
from voxsam.cuts import indices_of
from voxsam.geometry import Geometry, Plane, PlaneAxes
from voxsam.previews import slice_answer
from voxsam.prompts import Box, MaskPrompt, Prompt, dump_prompts
from voxsam.report import Report, SliceReport
from voxsam.segment import Segmentation, Workspace
from voxsam.session import ObjectState
from voxsam.views import slice_of
from voxsam.volume import Volume
from voxsam.walk import StopRules
from voxsam.zoom import Bounds, bounds_of

__all__ = ["Corrected", "Part", "correct", "plane_of"]

BoolArray = npt.NDArray[np.bool_]
OnProgress: TypeAlias = Callable[[int, int], None]

#: A correction reaches at most this far across the slices, unless it finds a part of the object that was missing.
_REACH_MM = 30.0
#: From slice to slice, what is corrected may move and grow by this much.
_MARGIN_MM = 4.0
#: A correction has died out where it changes less than this share of what it changed where it was made.
_LEAST_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Corrected:
    """A mask after corrections.

    Parameters
    ----------
    mask : CroppedMask
    lines : mapping of int to SliceReport
        Of the slices, in the object's own plane, that changed.
    report : Report or None
        Of the model's work on the way; None where it was not asked.
    """

    mask: CroppedMask
    lines: Mapping[int, SliceReport]
    report: Report | None

    def described(self, item: ObjectState, volume: Volume, plane: Plane) -> Report:
        """Return the object's report with the corrected slices in it."""
        base = item.report or self.report or Report()
        same = item.report is not None and item.report.settings.get("plane") == plane
        lines = {**({line.index: line for line in base.slices} if same else {}), **self.lines}
        return replace(
            base,
            prompts=dump_prompts(item.prompts, volume),
            settings={**base.settings, "plane": plane},
            slices=tuple(lines[index] for index in sorted(lines)),
            volume_ml=self.mask.voxels * volume.geometry.voxel_volume_mm3 / 1000,
        )


def plane_of(prompt: Prompt, geometry: Geometry, plane: Plane) -> Plane:
    """Return the plane that a prompt was made on: its own where it is flat, else the object's.

    Examples
    --------
    >>> plane_of(Box((3, 5, 1), (8, 5, 9)), Geometry.from_spacing((10, 10, 10)), "axial")
    'coronal'
    """
    flat = prompt.flat_axis if isinstance(prompt, Box | MaskPrompt) else None
    return plane if flat is None else geometry.plane_across(flat)


def correct(
    workspace: Workspace,
    item: ObjectState,
    said: Sequence[Prompt],
    plane: Plane,
    *,
    on_progress: OnProgress | None = None,
) -> Corrected:
    """Correct an object's mask by prompts that were not heard when it was made.

    The slice of a prompt becomes what a preview of it shows. From there the change is carried on, slice by slice, to
    where it has died out; slices with prompts of their own are not touched, and neither is anything beside the change.

    Parameters
    ----------
    workspace : Workspace
    item : ObjectState
        With a mask.
    said : sequence of Prompt
        Of its prompts, those to hear now; one that was drawn on another plane corrects along that plane.
    plane : {"axial", "coronal", "sagittal"}
        The object's own.
    on_progress : callable, optional
        Raising `Cancelled` in it stops.

    Returns
    -------
    Corrected
    """
    geometry = workspace.volume.geometry
    planes = list(dict.fromkeys(plane_of(prompt, geometry, plane) for prompt in said))
    lines: dict[int, SliceReport] = {}
    report: Report | None = None
    for number, each in enumerate(planes):
        here = [prompt for prompt in said if plane_of(prompt, geometry, plane) == each]
        part = Part(number, len(planes), on_progress)
        found = _Correction(workspace, item, each, frozenset(_indices(here, geometry, each)), part).done()
        item, report = replace(item, mask=found.mask), report or found.report
        lines.update(found.lines if each == plane else {})
    assert item.mask is not None  # noqa: S101 - it came with one
    return Corrected(item.mask, lines, report)


@dataclass(frozen=True)
class Part:
    """Counts one piece of work of several, in percent.

    Examples
    --------
    >>> Part(1, 3, lambda done, total: print(done, "of", total))(10, 20)
    150 of 300
    """

    number: int
    total: int
    on_progress: OnProgress | None

    def __call__(self, done: int, total: int) -> None:
        """Pass a count on as a share of all."""
        if self.on_progress is not None:
            self.on_progress(100 * self.number + 100 * done // max(total, 1), 100 * self.total)


@dataclass(frozen=True, eq=False)
class _Correction:
    workspace: Workspace
    item: ObjectState
    plane: Plane
    fresh: frozenset[int]
    on_progress: OnProgress

    @property
    def axes(self) -> PlaneAxes:
        return self.workspace.volume.geometry.axes_of(self.plane)

    def done(self) -> Corrected:
        assert self.item.mask is not None  # noqa: S101 - it came with one
        before = self.item.mask.to_array()
        after = before.copy()
        lines: dict[int, SliceReport] = {}
        for done, index in enumerate(sorted(self.fresh)):
            Part(0, 2, self.on_progress)(done, len(self.fresh))
            found = slice_answer(self.workspace, self.item, self.plane, index)
            slice_of(after, self.axes, index)[...] = found.mask
            lines[index] = SliceReport(index, "prompted", None, self._area(found.mask), found.score)
        if not any(slice_of(after, self.axes, index).any() for index in self.fresh):
            return Corrected(CroppedMask.of(after), lines, None)
        result = self._carried(before, after)
        guess, reported = np.asarray(result.mask.array), {line.index: line for line in result.report.slices}
        for index in sorted(self.fresh):
            for direction in (-1, 1):
                lines.update(self._spread(before, after, guess, reported, index, direction))
        return Corrected(CroppedMask.of(after), lines, result.report)

    def _carried(self, before: BoolArray, after: BoolArray) -> Segmentation:
        """Segment anew from the corrected slices, between the prompted ones that stay."""
        geometry = self.workspace.volume.geometry
        normal = self.axes.normal
        reach = max(2, round(_REACH_MM / geometry.spacing_mm[normal]))
        first, last = self._ends(before, reach)
        kept = {index for index in self._heard() if first - 1 <= index <= last + 1} - self.fresh
        drawn = [
            MaskPrompt.of_packed(packed, geometry)
            for index in sorted(self.fresh | kept)
            if (
                packed := CroppedMask.of_slice(slice_of(after, self.axes, index), geometry.shape, self.axes, index)
            ).packed.size
        ]
        stops = StopRules(first_index=first, last_index=last)
        half = Part(1, 2, self.on_progress)
        return self.workspace.segment(drawn, plane=self.plane, stops=stops, on_progress=half)

    def _ends(self, before: BoolArray, reach: int) -> tuple[int, int]:
        """Return how far to look: to the reach, or to the end of the scan where the object was missing."""
        count = before.shape[self.axes.normal]
        first, last = min(self.fresh), max(self.fresh)
        missing_below = first > 0 and not slice_of(before, self.axes, first - 1).any()
        missing_above = last < count - 1 and not slice_of(before, self.axes, last + 1).any()
        low = 0 if missing_below else max(0, first - reach)
        high = count - 1 if missing_above else min(count - 1, last + reach)
        return low, high

    def _heard(self) -> set[int]:
        """Slices whose prompts the mask was made from."""
        return set(_indices(self.item.answered, self.workspace.volume.geometry, self.plane))

    def _spread(
        self,
        before: BoolArray,
        after: BoolArray,
        guess: BoolArray,
        reported: Mapping[int, SliceReport],
        start: int,
        direction: int,
    ) -> dict[int, SliceReport]:
        """Carry a change on to its neighbours until it has died out."""
        closed = self._heard() | self.fresh
        changed = slice_of(before, self.axes, start) ^ slice_of(after, self.axes, start)
        least = max(3.0, _LEAST_SHARE * np.count_nonzero(changed))
        lines: dict[int, SliceReport] = {}
        index = start + direction
        while 0 <= index < before.shape[self.axes.normal] and index not in closed:
            bounds = bounds_of(changed)
            if bounds is None:
                break
            old, wanted = slice_of(before, self.axes, index), slice_of(guess, self.axes, index)
            line = reported.get(index)
            if line is None or line.source == "stopped":
                break
            changed = _touching_within(old ^ wanted, changed, self._grown(bounds, old.shape), self._margin)
            if np.count_nonzero(changed) < least:
                break
            fresh = slice_of(after, self.axes, index)
            fresh[...] = old ^ changed
            lines[index] = replace(line, area_mm2=self._area(fresh), reason=f"corrected from slice {start}")
            index += direction
        return lines

    @property
    def _margin(self) -> tuple[int, int]:
        spacing = self.workspace.volume.geometry.spacing_mm
        rows, columns = (max(1, round(_MARGIN_MM / spacing[axis])) for axis in (self.axes.row, self.axes.column))
        return rows, columns

    def _grown(self, bounds: Bounds, shape: tuple[int, ...]) -> tuple[slice, slice]:
        rows, columns = self._margin
        row, row_stop, column, column_stop = bounds
        return (
            slice(max(0, row - rows), min(shape[0], row_stop + rows)),
            slice(max(0, column - columns), min(shape[1], column_stop + columns)),
        )

    def _area(self, mask: BoolArray) -> float:
        spacing = self.workspace.volume.geometry.spacing_mm
        return int(np.count_nonzero(mask)) * spacing[self.axes.row] * spacing[self.axes.column]


def _touching_within(
    difference: BoolArray, changed: BoolArray, crop: tuple[slice, slice], margin: tuple[int, int]
) -> BoolArray:
    """Keep the parts of a difference that lie on or near what changed on the slice before."""
    near = ndimage.maximum_filter(changed[crop], size=(2 * margin[0] + 1, 2 * margin[1] + 1), mode="constant")
    islands, count = ndimage.label(difference[crop] & near)
    held = np.zeros(count + 1, bool)
    held[np.unique(islands[changed[crop]])] = True
    held[0] = False
    kept = np.zeros_like(changed)
    kept[crop] = held[islands]
    return kept


def _indices(prompts: Iterable[Prompt], geometry: Geometry, plane: Plane) -> set[int]:
    """Slices of a plane that prompts say something about; a box with an extent is no correction."""
    return {
        index
        for prompt in prompts
        if not (isinstance(prompt, Box) and prompt.flat_axis is None)
        for index in indices_of(prompt, geometry, plane)
    }
