"""propagate: prompted slices become a mask in 3D, outward from them and between them, with a report a slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from voxsam.cuts import SliceCut, anchors_of
from voxsam.embeddings import EmbeddingStore
from voxsam.geometry import Plane, PlaneAxes
from voxsam.interpolate import interpolate_signed_distance
from voxsam.kept import KeptStep
from voxsam.predict import overlap_of, predict_cut
from voxsam.prompts import Box, Prompt
from voxsam.report import SliceReport, SliceSource
from voxsam.seeds import SeedPlan, plan_seeds
from voxsam.stops import StopRules
from voxsam.views import View, slice_of
from voxsam.walk import CarryRules, Step, Told, Walker, islands_touching
from voxsam.windowing import Window
from voxsam.zoom import ZoomRules, bounds_of, union_of

__all__ = ["CarryRules", "Propagation", "SliceReport", "StopRules", "propagate"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
OnProgress: TypeAlias = Callable[[int, int], None]
Found: TypeAlias = tuple[KeptStep, SliceReport]

#: Two walks of which the smaller mask shares less than this with the other do not know the way; the shape is drawn
#: between the prompted slices instead.
_LEAST_AGREEMENT = 0.5
#: Below this quality an answer to one click alone is no more than a guess, and the slices after it would confirm it.
_UNSURE = 0.25
_DRAWN_BETWEEN = "the ways from either side do not meet: drawn from the shapes of the prompted slices"


@dataclass(frozen=True, eq=False)
class Propagation:
    """A mask in 3D, and where each slice of it came from.

    Parameters
    ----------
    mask : (Z, Y, X) bool array
    slices : tuple of SliceReport
        In order of their index.
    prompted : tuple of int
        The slices on which the object was found by prompts.
    """

    mask: BoolArray
    slices: tuple[SliceReport, ...]
    prompted: tuple[int, ...]


def propagate(
    store: EmbeddingStore,
    prompts: Sequence[Prompt],
    *,
    plane: Plane,
    windows: tuple[Window, ...],
    stops: StopRules | None = None,
    carry: CarryRules | None = None,
    zoom: ZoomRules | None = None,
    auto_zoom: bool = True,
    on_progress: OnProgress | None = None,
) -> Propagation:
    """Segment an object in 3D from prompts on some of its slices.

    Slices with a drawn mask stay as they were drawn; those with a box come next; a box with an extent bounds all, and
    counts as a box on its middle slice where none was drawn on one of its slices. Where the same prompts also click on
    other slices, those clicks correct what the former slices led to. Then masks go outward from every prompted slice,
    and between two of them from both ends, blended by distance.

    Parameters
    ----------
    store : EmbeddingStore
    prompts : sequence of Prompt
        Of one object.
    plane : {"axial", "coronal", "sagittal"}
    windows : tuple of 1 or 3 Window
    stops : StopRules, optional
    carry : CarryRules, optional
    zoom : ZoomRules, optional
    auto_zoom : bool
        False: look at whole slices only.
    on_progress : callable, optional
        Called as ``on_progress(done, total)``, total in slices; raising `Cancelled` in it stops.

    Returns
    -------
    Propagation

    Raises
    ------
    PromptError
        If no prompt says on a slice of this plane where the object is.

    Examples
    --------
    >>> windows = choose_window(scan, "liver")  # doctest: +SKIP
    >>> found = propagate(store, [Point((42, 210, 180))], plane="axial", windows=windows)  # doctest: +SKIP
    >>> found.slices[0].reason  # doctest: +SKIP
    'overlap 0.12 is below 0.2'
    """
    volume = store.stack.volume
    plan = plan_seeds(prompts, volume.geometry, plane)
    stops = stops or StopRules()
    zoom = (zoom or ZoomRules()) if auto_zoom else None
    view = store.stack.view(plane, plan.main[0], windows)
    span = range(plan.first_index, plan.last_index + 1) if plan.bounds else range(0)
    walker = Walker(store, view, stops=stops, carry=carry or CarryRules(), zoom=zoom, bounds=plan.bounds, span=span)
    work = _Work(store, view, plan, stops, walker, zoom, _Progress(on_progress, _slices_in(plan)))
    found = work.joined(work.seeds(), plan.first_index, plan.last_index)
    work.progress.finish()

    mask = np.zeros(volume.geometry.shape, bool)
    for index, (kept, report) in found.items():
        if report.source != "stopped":
            kept.draw_on(slice_of(mask, walker.axes, index))
    prompted = tuple(index for index, (_, report) in found.items() if report.source == "prompted" and report.area_mm2)
    return Propagation(mask, tuple(report for _, report in found.values()), prompted)


class _Progress:
    """Counts slices towards a total, and never beyond it."""

    def __init__(self, on_progress: OnProgress | None, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0.0

    def add(self, slices: float = 1.0) -> None:
        self._done = min(self._done + slices, self._total)
        if self._on_progress is not None:
            self._on_progress(int(self._done), self._total)

    def finish(self) -> None:
        self.add(self._total)


@dataclass(frozen=True, eq=False)
class _Work:
    """What every step of one propagation needs."""

    store: EmbeddingStore
    view: View
    plan: SeedPlan
    stops: StopRules
    walker: Walker
    zoom: ZoomRules | None
    progress: _Progress

    def seeds(self) -> dict[int, Step]:
        """Segment the prompted slices: the main ones, then those that correct what these lead to."""
        plan = self.plan
        seeds = {index: self._seed(index, None) for index in plan.main}
        if plan.corrections:
            led_to = self.joined(seeds, min(plan.cuts), max(plan.cuts))
            for index in plan.corrections:
                found = led_to.get(index)
                seeds[index] = self._seed(index, found[0].whole() if found and found[1].source != "stopped" else None)
        return dict(sorted(seeds.items()))

    def joined(self, seeds: Mapping[int, Step], first: int, last: int) -> dict[int, Found]:
        """Go outward from the seeds, and between them; slices in order."""
        told = self.walker.told_by(seeds.values())
        found: dict[int, Found] = {}
        for index, step in seeds.items():
            reason = self._doubt_of(step) if step.mask.any() else "nothing was found here"
            report = SliceReport(index, "prompted", None, step.area_mm2, step.quality, reason)
            found[index] = (self._put_away(step), report)
        order = sorted(seeds)
        found.update(self._outward(seeds[order[0]], -1, first, told))
        found.update(self._outward(seeds[order[-1]], +1, last, told))
        for low, high in pairwise(order):
            found.update(self._between(seeds[low], seeds[high], told))
        return dict(sorted(found.items()))

    def _seed(self, index: int, earlier: Step | None) -> Step:
        cut = self.plan.cuts[index]
        if cut.given is not None and not cut.boxes and not len(cut.points_zyx):
            return Step(index, None, cut.given, self.walker.area_of(cut.given))
        logits = None if earlier is None else earlier.to_logits()
        view = replace(self.view, index=index)
        answer = predict_cut(self.store, view, cut, logits, auto_zoom=self.zoom is not None, zoom=self.zoom)
        mask = self.walker.bounded(self._anchored(answer.mask, cut, earlier))
        if cut.boxes and not mask.any():  # the box says that something is there
            mask = ellipse_in(cut.boxes[0], self.walker.axes, mask.shape)
        self.progress.add()
        return Step(index, answer.logits, mask, self.walker.area_of(mask), quality=answer.score)

    def _anchored(self, mask: BoolArray, cut: SliceCut, earlier: Step | None) -> BoolArray:
        """Keep the islands that a click, a box or an earlier mask lies on; all where none does."""
        anchors = anchors_of(cut, self.walker.axes, mask.shape)
        if earlier is not None:
            anchors |= earlier.mask
        kept = islands_touching(mask, anchors)
        return kept if kept.any() else mask

    def _doubt_of(self, step: Step) -> str:
        cut = self.plan.cuts[step.index]
        alone = len(cut.points_zyx) == 1 and not cut.boxes and cut.given is None and step.index in self.plan.main
        unsure = alone and step.quality is not None and step.quality < _UNSURE
        return "the model is unsure here: add a box or another click" if unsure else ""

    def _put_away(self, step: Step, *, logits: bool = False) -> KeptStep:
        """Keep no more of a step than will be asked for: everything where clicks will correct it."""
        return KeptStep.entire(step) if step.index in self.plan.corrections else KeptStep.of(step, logits=logits)

    def _outward(self, start: Step, direction: int, last: int, told: Told) -> dict[int, Found]:
        indices, reason = self._way_out(start.index, direction, last)
        found: dict[int, Found] = {}
        for step in self._walked(start, indices, told):
            source: SliceSource = "stopped" if step.reason else "propagated"
            found[step.index] = (self._put_away(step), _report_of(step, source, step.reason))
            if step.reason:
                return found
        beyond = start.index + direction * (len(indices) + 1)
        in_scan = 0 <= beyond < self.store.stack.volume.geometry.shape[self.walker.axes.normal]
        if start.mask.any() and reason and in_scan:
            found[beyond] = (KeptStep.of(start), SliceReport(beyond, "stopped", None, 0.0, None, reason))
        return found

    def _way_out(self, start: int, direction: int, last: int) -> tuple[list[int], str]:
        """Return the slices to go over, and why it ends there; no reason at the end of the scan."""
        axis = self.walker.axes.normal
        geometry, stops = self.store.stack.volume.geometry, self.stops
        limits = [(last, "it is outside the box")] if last not in (0, geometry.shape[axis] - 1) else [(last, "")]
        if direction > 0 and stops.last_index is not None:
            limits.append((stops.last_index, f"the last slice asked for is {stops.last_index}"))
        if direction < 0 and stops.first_index is not None:
            limits.append((stops.first_index, f"the first slice asked for is {stops.first_index}"))
        if stops.max_distance_mm is not None:
            reach = int(stops.max_distance_mm / geometry.spacing_mm[axis] + 1e-6)
            limits.append((start + direction * reach, f"it is farther than {stops.max_distance_mm:g} mm"))
        end, reason = min(limits, key=lambda limit: limit[0] * direction)
        return list(range(start + direction, end + direction, direction)), reason

    def _walked(self, start: Step, indices: Sequence[int], told: Told, share: float = 1.0) -> Iterator[Step]:
        if not start.mask.any():
            return
        for step in self.walker.steps(start, indices, told):
            self.progress.add(share)
            yield step

    def _between(self, low: Step, high: Step, told: Told) -> dict[int, Found]:
        """Go from both ends, blend by distance; draw the shape between them where neither knows the way."""
        first = low.index if self.stops.first_index is None else max(low.index, self.stops.first_index - 1)
        last = high.index if self.stops.last_index is None else min(high.index, self.stops.last_index + 1)
        indices = range(first + 1, last)
        upward = {
            step.index: self._put_away(step, logits=True)
            for step in self._walked(low, indices, told, 0.5)
            if not step.reason
        }
        found: dict[int, Found] = {}
        for step in self._walked(high, indices[::-1], told, 0.5):
            if not step.reason:
                met = upward.pop(step.index, None)
                if met is None:
                    found[step.index] = self._from_one_side(step)
                elif blended := _blended(met.whole(), step, _share_of(step.index, low, high)):
                    blended = replace(blended, area_mm2=self.walker.area_of(blended.mask))
                    found[step.index] = (self._put_away(blended), _report_of(blended, "propagated", ""))
        found.update({index: self._from_one_side(kept.whole()) for index, kept in upward.items()})
        doubtful = [index for index in indices if index not in found]
        if doubtful and low.mask.any() and high.mask.any():
            found.update(self._drawn_between(low, high, doubtful))
        return found

    def _from_one_side(self, step: Step) -> Found:
        return self._put_away(step), _report_of(step, "propagated", "from one side only")

    def _drawn_between(self, low: Step, high: Step, indices: Sequence[int]) -> dict[int, Found]:
        ends = {low.index: low.mask, high.index: high.mask}
        found: dict[int, Found] = {}
        spacing_mm = self.walker.spacing_mm
        for index, mask in interpolate_signed_distance(ends, spacing_mm=spacing_mm, indices=indices).items():
            step = Step(index, None, mask, self.walker.area_of(mask), reason=_DRAWN_BETWEEN)
            found[index] = (self._put_away(step), _report_of(step, "interpolated", step.reason))
        return found


def ellipse_in(box: Box, axes: PlaneAxes, slice_shape: tuple[int, int]) -> BoolArray:
    """Return the ellipse that fills a box on its slice: what a box means where nothing is seen.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> axes = Geometry.from_spacing((3, 8, 8)).axes_of("axial")
    >>> ellipse_in(Box((1, 2, 1), (1, 4, 5)), axes, (8, 8)).sum(axis=1).tolist()
    [0, 0, 3, 5, 3, 0, 0, 0]
    """
    radius = np.zeros(slice_shape)
    for axis, at in zip((axes.row, axes.column), np.ogrid[: slice_shape[0], : slice_shape[1]], strict=True):
        middle, half = (box.low_zyx[axis] + box.high_zyx[axis]) / 2, (box.high_zyx[axis] - box.low_zyx[axis] + 1) / 2
        radius = radius + ((at - middle) / half) ** 2
    return radius <= 1


def _share_of(index: int, low: Step, high: Step) -> float:
    """Return how much the upper of two prompted slices says about one between them: 0 to 1.

    The nearer says more, and so does the one with the larger mask: an organ widens fast from its tip.
    """
    from_low = (high.index - index) * np.sqrt(low.area_mm2)
    from_high = (index - low.index) * np.sqrt(high.area_mm2)
    return float(from_high / (from_low + from_high)) if from_low + from_high > 0 else 0.5


def _blended(upward: Step, downward: Step, share: float) -> Step | None:
    """Blend the answers from either side: `share` 0 is the lower end. None where they disagree."""
    common = int(np.count_nonzero(upward.mask & downward.mask))
    smaller = min(int(np.count_nonzero(upward.mask)), int(np.count_nonzero(downward.mask)))
    overlap = overlap_of(upward.mask, downward.mask)
    bounds = union_of(bounds_of(upward.mask), bounds_of(downward.mask))
    if common < _LEAST_AGREEMENT * smaller or bounds is None:
        return None
    crop = (slice(bounds[0], bounds[1]), slice(bounds[2], bounds[3]))
    weights = (1.0 - share, share)
    chance = sum(w * _chance(step, crop) for w, step in zip(weights, (upward, downward), strict=True))
    logits = np.minimum(np.minimum(upward.to_logits(), downward.to_logits()), -1.0)
    logits[crop] = np.log(np.clip(chance, 1e-4, None) / np.clip(1.0 - chance, 1e-4, None))
    mask = np.zeros_like(upward.mask)
    mask[crop] = chance > 0.5
    quality = weights[0] * (upward.quality or 0.0) + weights[1] * (downward.quality or 0.0)
    return Step(upward.index, logits, mask, 0.0, overlap, quality)


def _chance(step: Step, crop: tuple[slice, slice]) -> FloatArray:
    """Probability that each pixel belongs to the object; none where its island was turned down."""
    logits = np.clip(step.to_logits()[crop], -10.0, 10.0)
    return np.where(step.mask[crop] | (logits <= 0), 1.0 / (1.0 + np.exp(-logits)), np.float32(0.0))


def _report_of(step: Step, source: SliceSource, reason: str) -> SliceReport:
    return SliceReport(step.index, source, step.overlap, step.area_mm2, step.quality, reason)


def _slices_in(plan: SeedPlan) -> int:
    """Count the slices that may be looked at: those of the provisional walk are met twice."""
    again = max(plan.cuts) - min(plan.cuts) if plan.corrections else 0
    return plan.last_index - plan.first_index + 1 + again
