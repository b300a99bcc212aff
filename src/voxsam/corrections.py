"""Corrections: prompts that came after a propagation change the mask near where they are, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from voxsam.changes import carry_change
from voxsam.cropped import CroppedMask
from voxsam.cuts import indices_of
from voxsam.errors import PromptError
from voxsam.geometry import Geometry, Plane, PlaneAxes
from voxsam.predict import overlap_of
from voxsam.previews import slice_answer
from voxsam.prompts import Box, MaskPrompt, Prompt, dump_prompts
from voxsam.reach import Span
from voxsam.report import Report, SliceReport
from voxsam.seeds import plan_seeds
from voxsam.segment import Workspace
from voxsam.session import ObjectState
from voxsam.stops import StopRules
from voxsam.views import slice_of
from voxsam.volume import Volume
from voxsam.walk import CarryRules, Step, Told, Walker
from voxsam.zoom import ZoomRules

__all__ = ["Corrected", "Part", "correct", "plane_of"]

BoolArray = npt.NDArray[np.bool_]
OnProgress: TypeAlias = Callable[[int, int], None]

#: A slice whose new answer overlaps the old one less than this says that what led to the old one was wrong.
_CONTRADICTED = 0.3


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
        order = sorted(self.fresh)
        for done, index in enumerate(order):
            Part(0, 2, self.on_progress)(done, len(order))
            found = slice_answer(self.workspace, self.item, self.plane, index)
            slice_of(after, self.axes, index)[...] = found.mask
            lines[index] = SliceReport(index, "prompted", None, self._area(found.mask), found.score)
        lowest, highest = self._confined(before.shape[self.axes.normal])
        for done, index in enumerate(order):
            for up, way in enumerate((range(index - 1, lowest - 1, -1), range(index + 1, highest + 1))):
                Part(1, 2, self.on_progress)(2 * done + up, 2 * len(order))
                lines.update(self._carried(before, after, index, way))
        Part(1, 2, self.on_progress)(1, 1)
        return Corrected(CroppedMask.of(after), lines, None)

    def _carried(self, before: BoolArray, after: BoolArray, index: int, way: range) -> dict[int, SliceReport]:
        """Carry the change on a slice one way, up to the next slice that has prompts of its own."""
        weak = self._weak()
        closed = (self._heard() - set(weak)) | self.fresh
        ahead = [each for each in way if each in closed]
        indices = way[: way.index(ahead[0])] if ahead else way
        masks = {each: slice_of(after, self.axes, each) for each in indices}
        anchor = ahead[0] if ahead and slice_of(after, self.axes, ahead[0]).any() else None
        old, new = slice_of(before, self.axes, index), slice_of(after, self.axes, index)
        if not new.any():
            return {}
        walker, told = self._walker(after, index, weak if overlap_of(old, new) < _CONTRADICTED else {})
        start = Step(index, None, new, self._area(new))
        lines: dict[int, SliceReport] = {}
        for changed in carry_change(walker, told, start, old, masks, indices, anchor=anchor, weak=weak):
            step = changed.step
            masks[step.index][...] = step.mask
            reason = f"corrected from slice {index}"
            lines[step.index] = SliceReport(step.index, "propagated", step.overlap, step.area_mm2, step.quality, reason)
        return lines

    def _walker(self, after: BoolArray, index: int, untold: Collection[int]) -> tuple[Walker, Told]:
        """Return what carries a change on from a slice, and what it is shown of the other prompted ones."""
        workspace = self.workspace
        view = workspace.stack.view(self.plane, index, workspace.windows_for(self.item.prompts))
        walker = Walker(workspace.store, view, stops=StopRules(), carry=CarryRules(), zoom=ZoomRules())
        told = sorted((self._heard() - set(untold)) | self.fresh)
        prompted = {each: slice_of(after, self.axes, each) for each in told}
        steps = [Step(each, None, mask, self._area(mask)) for each, mask in prompted.items() if mask.any()]
        return walker, walker.told_by(steps)

    def _weak(self) -> dict[int, float]:
        """Slices on which the user drew a box and said no more, and how good their answers seemed."""
        geometry = self.workspace.volume.geometry
        try:
            cuts = plan_seeds(self.item.prompts, geometry, self.plane).cuts
        except PromptError:
            return {}
        lines = {line.index: line.quality or 0.0 for line in self.item.report.slices} if self.item.report else {}
        return {
            index: lines.get(index, 0.0)
            for index, cut in cuts.items()
            if cut.boxes and cut.given is None and not len(cut.points_zyx)
        }

    def _heard(self) -> set[int]:
        """Slices whose prompts the mask was made from."""
        geometry = self.workspace.volume.geometry
        return set(_indices(self.item.answered, geometry, self.plane)) | set(self._weak())

    def _confined(self, count: int) -> Span:
        """Slices that a box with an extent, or the reach of the propagation, leaves to the object.

        A prompt beyond them says that they were drawn too tight.
        """
        geometry = self.workspace.volume.geometry
        extents = [prompt for prompt in self.item.prompts if isinstance(prompt, Box) and prompt.flat_axis is None]
        held = [index for box in extents for index in indices_of(box, geometry, self.plane)]
        low, high = (min(held), max(held)) if held else (0, count - 1)
        settings = self.item.report.settings if self.item.report is not None else {}
        stops = settings.get("stops", {}) if settings.get("plane") == self.plane else {}
        first, last = stops.get("first_index"), stops.get("last_index")
        low = low if first is None else max(low, first)
        high = high if last is None else min(high, last)
        return (low, high) if low <= min(self.fresh) and max(self.fresh) <= high else (0, count - 1)

    def _area(self, mask: BoolArray) -> float:
        spacing = self.workspace.volume.geometry.spacing_mm
        return int(np.count_nonzero(mask)) * spacing[self.axes.row] * spacing[self.axes.column]


def _indices(prompts: Iterable[Prompt], geometry: Geometry, plane: Plane) -> set[int]:
    """Slices of a plane that prompts say something about; a box with an extent is no correction."""
    return {
        index
        for prompt in prompts
        if not (isinstance(prompt, Box) and prompt.flat_axis is None)
        for index in indices_of(prompt, geometry, plane)
    }
