"""From one slice to the next: what a model is asked there, which answer is taken, and when to stop."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.cuts import SliceCut
from voxsam.embeddings import EmbeddingStore
from voxsam.looks import Look
from voxsam.persistence import settled
from voxsam.predict import GIVEN_LOGIT, ask, overlap_of, to_pixels
from voxsam.prompts import Box
from voxsam.recall import Known, Recall
from voxsam.stops import StopRules
from voxsam.views import View, ViewFrame, slice_of
from voxsam.zoom import Bounds, ZoomRules, bounds_of

__all__ = ["CarryRules", "Step", "Told", "Walker", "drawn_logits", "islands_touching"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
Carried = Literal["memory", "mask", "box", "point"]

#: A prompted slice with less than this part of the largest one's area does not say how the object looks.
_LOOK_TIP = 8
#: Around a small object, as a share of its longer side, so that it may move and grow within the region looked at.
_ROOM_TO_MOVE = 1.0

#: What to ask with, most telling first; the others are tried where its answer is doubtful.
_WAYS: tuple[tuple[Carried, ...], ...] = (("mask", "box", "point"), ("mask",), ("mask", "point"), ("box", "point"))
#: The same for a model that remembers slices.
_WAYS_WITH_MEMORY: tuple[tuple[Carried, ...], ...] = (
    ("memory",),
    ("memory", "mask"),
    ("memory", "mask", "box", "point"),
)


@dataclass(frozen=True)
class CarryRules:
    """What of a mask is shown to the model on the next slice.

    Parameters
    ----------
    memory : bool
        The slices before it and the prompted ones, where the model remembers slices.
    mask, box, point : bool
        The last logits; their box; their deepest point.
    shape : bool
        Where the model is not sure of its answer, blend it with the last mask, see `persistence.settled`.
    box_margin_mm : float
        Around the last box on every side; one voxel at least.
    reach_mm : float
        How far beyond the last box the next mask may go; what is farther is cut off.
    good_overlap : float
        An answer that overlaps the last mask so much is taken at once. Else the model is asked in other ways too, and
        the answer most consistent with the last mask is taken.
    near_share : float
        Look from nearer where the object's longer side is less than this share of the view's. Less than for a single
        slice: on the way the surroundings help.
    """

    memory: bool = True
    mask: bool = True
    box: bool = True
    point: bool = True
    shape: bool = True
    box_margin_mm: float = 1.0
    reach_mm: float = 12.0
    good_overlap: float = 0.6
    near_share: float = 0.1


@dataclass(frozen=True, eq=False)
class Step:
    """The mask of one slice on the way.

    Parameters
    ----------
    index : int
    logits, mask : (rows, columns) arrays
        In array order; the mask may lack islands that the logits have. Logits are None where the mask was drawn.
    overlap, quality : float or None
    area_mm2 : float
    reason : str
        Why it is not taken; empty where it is.
    pointer : Any
        `SliceLogits.pointer`, where the mask is the model's own answer unchanged.
    """

    index: int
    logits: FloatArray | None
    mask: BoolArray
    area_mm2: float
    overlap: float | None = None
    quality: float | None = None
    reason: str = ""
    pointer: Any = None

    def to_logits(self) -> FloatArray:
        """Return the logits; those of a drawn mask are made from it."""
        return drawn_logits(self.mask) if self.logits is None else self.logits

    def with_mask(self, mask: BoolArray, area_mm2: float) -> Step:
        """Return the step with another mask; a pointer is that of the model's own answer alone."""
        same = np.array_equal(mask, self.mask)
        return replace(self, mask=mask, area_mm2=area_mm2, pointer=self.pointer if same else None)

    @cached_property
    def agreed_logits(self) -> FloatArray:
        """The logits, without the islands that the mask lacks."""
        logits = self.to_logits()
        disputed = (logits > 0) != self.mask
        if disputed.any():
            logits = logits.copy()
            logits[disputed] = 0.0
        return logits


@dataclass(frozen=True, eq=False)
class Told:
    """What the prompted slices tell about the others.

    Parameters
    ----------
    looks : tuple of Look
    prompted : tuple of Step
        For a model that remembers slices.
    """

    looks: tuple[Look, ...]
    prompted: tuple[Step, ...]


class Walker:
    """Carries a mask from slice to slice of one plane.

    Parameters
    ----------
    store : EmbeddingStore
    view : View
        Plane, windows and enhancements; its index does not matter.
    stops : StopRules
    carry : CarryRules
    zoom : ZoomRules or None
        None: always look at whole slices.
    bounds : Bounds or None
        Nothing outside these rows and columns belongs to the object.
    span : range
        Slices on which the object is known to be, from a box with an extent: no rule stops there.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        view: View,
        *,
        stops: StopRules,
        carry: CarryRules,
        zoom: ZoomRules | None,
        bounds: Bounds | None = None,
        span: range = range(0),
    ) -> None:
        geometry = store.stack.volume.geometry
        self._store, self._view = store, replace(view, region=None)
        self._stops, self._carry, self._bounds, self._span = stops, carry, bounds, span
        self._zoom = None if zoom is None else replace(zoom, below_share=min(zoom.below_share, carry.near_share))
        self.axes = geometry.axes_of(view.plane)
        self.spacing_mm = (geometry.spacing_mm[self.axes.row], geometry.spacing_mm[self.axes.column])
        ways = _WAYS_WITH_MEMORY if carry.memory and store.memory_slots else _WAYS
        self._ways = tuple(dict.fromkeys(tuple(part for part in way if getattr(carry, part)) for way in ways))

    def steps(self, start: Step, indices: Iterable[int], told: Told) -> Generator[Step, Step | None, None]:
        """Yield the steps from a slice over `indices`, one by one; a step with a reason is the last.

        A step that is sent back is gone on with instead of the one that was yielded.
        """
        last, recall = start, self._recall_of(start, told.prompted)
        for index in indices:
            step = self._next(last, index, recall)
            step = replace(step, reason=self._why_not(step, last, told.looks))
            if step.reason and index in self._span:
                step = self._known_to_be_here(index, last, recall)
            taken = yield step
            if step.reason:
                return
            last = step = taken or step
            if recall is not None:
                recall.add(Known(index, step.agreed_logits, prompted=False, pointer=step.pointer))

    def told_by(self, prompted: Iterable[Step]) -> Told:
        """Learn from the prompted slices what the object looks like; the tip of an organ is too small to tell."""
        sizes = [(step, int(np.count_nonzero(step.mask))) for step in prompted]
        largest = max(size for _, size in sizes)
        telling = [step for step, size in sizes if size * _LOOK_TIP >= largest]
        looks = tuple(Look.of(self._values(step.index)[step.mask]) for step in telling)
        return Told(looks, tuple(step for step in telling if step.mask.any()))

    def area_of(self, mask: BoolArray) -> float:
        """Return the area of a mask in mm²."""
        return int(np.count_nonzero(mask)) * self.spacing_mm[0] * self.spacing_mm[1]

    def bounded(self, mask: BoolArray) -> BoolArray:
        """Cut off what lies outside the bounds that the user gave."""
        return mask if self._bounds is None else _within(mask, self._bounds)

    def _values(self, index: int) -> npt.NDArray[Any]:
        return slice_of(self._store.stack.prepare(self._view.enhance).array, self.axes, index)

    def _recall_of(self, start: Step, prompted: Sequence[Step]) -> Recall | None:
        if not (self._carry.memory and self._store.memory_slots):
            return None
        shown = {step.index: step for step in (*prompted, start)}
        return Recall(self._store, [Known(i, step.agreed_logits, prompted=True) for i, step in shown.items()])

    def _next(self, last: Step, index: int, recall: Recall | None) -> Step:
        bounds = bounds_of(last.mask)
        if bounds is None or not any(self._ways):
            return replace(last, index=index, mask=np.zeros_like(last.mask), area_mm2=0.0, overlap=0.0, quality=None)
        view = replace(self._view, index=index)
        if self._zoom is not None:
            whole = self._store.stack.frame(view)
            view = replace(view, region=self._zoom.region_around(bounds, whole, margin=_ROOM_TO_MOVE))
        best: Step | None = None
        for way in self._ways:
            if not way:
                continue
            step = self._asked(way, last, bounds, view, recall)
            if best is None or _consistency(step) > _consistency(best):
                best = step
            if (best.overlap or 0.0) >= self._carry.good_overlap:
                break
        assert best is not None  # noqa: S101 - some way is not empty
        return best

    def _known_to_be_here(self, index: int, last: Step, recall: Recall | None) -> Step:
        """Answer where the object must be: by the box that says so, else as on the slice before."""
        view = replace(self._view, index=index)
        frame = self._store.stack.frame(view)
        if self._bounds is not None and min(frame.slice_shape) > 1:
            box = _flat_box(self._bounds, frame)
            prompts = to_pixels(SliceCut(boxes=(box,), loose=frozenset((box,))), frame)
            embedding = self._store.get(view)
            answer = self._store.decode(embedding, prompts) if recall is None else recall.ask(view, prompts)
            logits = frame.view_to_slice(answer.logits[answer.best])
            mask = self.bounded(logits > 0)
            overlap = overlap_of(mask, last.mask)
            if overlap >= self._stops.min_overlap:
                return Step(index, logits, mask, self.area_of(mask), overlap, float(answer.scores[answer.best]))
        return Step(index, None, last.mask, last.area_mm2, overlap=1.0, quality=0.0)

    def _asked(self, way: tuple[Carried, ...], last: Step, bounds: Bounds, view: View, recall: Recall | None) -> Step:
        frame = self._store.stack.frame(view)
        cut = SliceCut(boxes=self._box(bounds, frame) if "box" in way else ())
        if "point" in way:
            cut = replace(cut, points_zyx=self._deepest(last.mask, bounds, frame), point_labels=np.ones(1, np.int64))
        shown = last.agreed_logits if "mask" in way else None
        if "memory" in way and recall is not None:
            told = way != ("memory",)
            answer = recall.ask(view, to_pixels(cut, frame, shown) if told else None)
        else:
            answer = ask(self._store, view, cut, shown)
        logits, score = frame.view_to_slice(answer.logits[answer.best]), float(answer.scores[answer.best])
        if self._carry.shape and answer.pointer is None:  # a model with pointers follows the object itself
            logits = settled(logits, score, last.mask, bounds)
        answered = logits > 0
        mask = self.bounded(self._reached(answered, last.mask, bounds, frame))
        overlap = overlap_of(mask, last.mask)
        pointer = answer.pointer if np.array_equal(mask, answered) else None
        return Step(view.index, logits, mask, self.area_of(mask), overlap, score, pointer=pointer)

    def _why_not(self, step: Step, last: Step, looks: Sequence[Look]) -> str:
        inside = self._values(step.index)[step.mask]
        areas = (last.area_mm2, step.area_mm2)
        return self._stops.why_not(inside, areas, step.overlap or 0.0, step.quality, looks)

    def _box(self, bounds: Bounds, frame: ViewFrame) -> tuple[Box, ...]:
        if min(frame.slice_shape) < 2:
            return ()
        return (_flat_box(self._grown(bounds, self._carry.box_margin_mm, frame), frame),)

    def _reached(self, mask: BoolArray, last: BoolArray, bounds: Bounds, frame: ViewFrame) -> BoolArray:
        """Keep the islands, within reach of the last box, that touch the last mask."""
        row, row_stop, column, column_stop = self._grown(bounds, self._carry.reach_mm, frame)
        crop = (slice(row, row_stop), slice(column, column_stop))
        kept = np.zeros_like(mask)
        kept[crop] = islands_touching(mask[crop], last[crop])
        return kept

    def _grown(self, bounds: Bounds, margin_mm: float, frame: ViewFrame) -> Bounds:
        rows, columns = (max(1, round(margin_mm / spacing)) for spacing in self.spacing_mm)
        row, row_stop, column, column_stop = bounds
        return (
            max(0, row - rows),
            min(frame.slice_shape[0], row_stop + rows),
            max(0, column - columns),
            min(frame.slice_shape[1], column_stop + columns),
        )

    def _deepest(self, mask: BoolArray, bounds: Bounds, frame: ViewFrame) -> npt.NDArray[np.float64]:
        """(1, 3): the point of a mask farthest from its border, in mm."""
        row, row_stop, column, column_stop = bounds
        stride = max(1, max(row_stop - row, column_stop - column) // 96)  # exact to a voxel where it matters
        crop = np.pad(mask[row:row_stop:stride, column:column_stop:stride], 1)
        if not crop.any():
            crop, stride = np.pad(mask[row:row_stop, column:column_stop], 1), 1
        depth = ndimage.distance_transform_edt(crop, sampling=self.spacing_mm)
        deep_row, deep_column = np.unravel_index(int(np.argmax(depth)), depth.shape)
        point = np.zeros((1, 3))
        point[0, frame.axes.normal] = frame.index
        point[0, frame.axes.row] = row + (int(deep_row) - 1) * stride
        point[0, frame.axes.column] = column + (int(deep_column) - 1) * stride
        return point


def drawn_logits(mask: BoolArray) -> FloatArray:
    """Return a drawn mask as logits."""
    logits: FloatArray = np.where(mask, np.float32(GIVEN_LOGIT), np.float32(-GIVEN_LOGIT))
    return logits


def _flat_box(bounds: Bounds, frame: ViewFrame) -> Box:
    row, row_stop, column, column_stop = bounds
    corners = np.zeros((2, 3))
    corners[:, frame.axes.normal] = frame.index
    corners[:, frame.axes.row] = row, row_stop - 1
    corners[:, frame.axes.column] = column, column_stop - 1
    low, high = corners.tolist()
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _consistency(step: Step) -> float:
    return (step.overlap or 0.0) + 0.5 * (step.quality or 0.0)


def _within(mask: BoolArray, bounds: Bounds) -> BoolArray:
    inside = np.zeros_like(mask)
    crop = (slice(bounds[0], bounds[1]), slice(bounds[2], bounds[3]))
    inside[crop] = mask[crop]
    return inside


def islands_touching(mask: BoolArray, anchors: BoolArray) -> BoolArray:
    """Keep the islands of a 2D mask that share a pixel with another mask.

    Examples
    --------
    >>> row = np.array([[True, True, False, True]])
    >>> islands_touching(row, np.array([[True, False, False, False]]))
    array([[ True,  True, False, False]])
    """
    islands, count = ndimage.label(mask)
    held = np.zeros(count + 1, bool)
    held[islands[anchors]] = True
    held[0] = False
    return np.asarray(held[islands])
