"""What 3D prompts say on one slice, still in voxels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from voxsam.geometry import Geometry, Plane, PlaneAxes
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble

__all__ = ["SliceCut", "anchors_of", "cut_prompts", "indices_of", "is_within"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

#: A stroke becomes at most this many clicks on a slice: models are trained on few.
CLICKS_A_STROKE = 6
#: Clicks are shown one after the other at most this many times; the first ones go together where there are more.
MOST_TURNS = 8


@dataclass(frozen=True, eq=False)
class SliceCut:
    """The prompts of one slice.

    Parameters
    ----------
    points_zyx : (N, 3) float array
        Clicks, in the order they were made; strokes give several.
    point_labels : (N,) int array
        1 for a positive click, 0 for a negative one.
    boxes : tuple of Box
        On the slice, or cut by it.
    given : (rows, columns) bool array or None
        A mask drawn on this slice, in array order.
    loose : frozenset of Box
        Boxes with an extent, as the slice cuts them. One of `boxes` that is among them holds the object on many
        slices, and may be larger than what is on this one.

    Examples
    --------
    >>> grid = Geometry.from_spacing((9, 32, 32))
    >>> cut_prompts([Point((4, 10, 10)), Point((5, 1, 1))], grid, "axial", 4).points_zyx
    array([[ 4., 10., 10.]])
    """

    points_zyx: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))
    point_labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes: tuple[Box, ...] = ()
    given: BoolArray | None = None
    loose: frozenset[Box] = frozenset()

    @property
    def positive_zyx(self) -> FloatArray:
        """The positive clicks."""
        positive: FloatArray = self.points_zyx[self.point_labels == 1]
        return positive

    @property
    def is_empty(self) -> bool:
        """Nothing was said about this slice."""
        return not self.wants_something and not len(self.points_zyx)

    @property
    def wants_something(self) -> bool:
        """Some prompt says that the object is here; negative clicks alone do not."""
        return bool(self.point_labels.any() or self.boxes or self.given is not None)

    def by_box(self) -> tuple[SliceCut, ...]:
        """Split into one cut a box, as models take one box at a time.

        A positive click goes to the boxes that hold it; those in none make a cut of their own. Every part keeps the
        negative clicks.
        """
        if len(self.boxes) < 2:
            return (self,)
        positive = self.point_labels == 1
        held = np.stack([_holds(box, self.points_zyx) for box in self.boxes])
        parts = [
            replace(self._clicked(inside | ~positive), boxes=(box,))
            for box, inside in zip(self.boxes, held, strict=True)
        ]
        alone = positive & ~held.any(axis=0)
        return (*parts, replace(self._clicked(alone | ~positive), boxes=())) if alone.any() else tuple(parts)

    def in_turns(self, *, after_mask: bool = False) -> tuple[SliceCut, ...]:
        """Split into what was said first, then with each later click, as models were trained to be corrected.

        Parameters
        ----------
        after_mask : bool
            There is an earlier answer: the first click corrects it.

        Examples
        --------
        >>> cut = SliceCut(np.zeros((3, 3)), np.array([1, 0, 1]))
        >>> [len(turn.points_zyx) for turn in cut.in_turns()]
        [1, 2, 3]
        """
        count = len(self.points_zyx)
        if not count and self.boxes and not after_mask:
            return (self, self)  # a second look at a box, with the first answer: it helps where the box is loose
        wanted = bool(self.boxes) or self.given is not None
        first = 1 if after_mask else 0 if wanted else int(np.argmax(self.point_labels == 1)) + 1
        first = max(first, count + 1 - MOST_TURNS)
        return tuple(self._clicked(np.arange(count) < turn) for turn in range(min(first, count), count + 1))

    def _clicked(self, chosen: BoolArray) -> SliceCut:
        return replace(self, points_zyx=self.points_zyx[chosen], point_labels=self.point_labels[chosen])


def cut_prompts(
    prompts: Iterable[Prompt], geometry: Geometry, plane: Plane, index: int, *, extents: bool = True
) -> SliceCut:
    """Choose what lies on a slice.

    Parameters
    ----------
    prompts : iterable of Prompt
        Of one object, on this grid.
    geometry : Geometry
    plane : {"axial", "coronal", "sagittal"}
    index : int
        Of the slice.
    extents : bool
        Cut boxes with an extent. Else they are no boxes of this slice, and tell only which of its boxes are loose.

    Returns
    -------
    SliceCut
        A box that is flat along another axis says nothing here, nor does a mask drawn on a slice across it; a box
        with an extent is cut, unless one was drawn within it on this very slice.
    """
    axes = geometry.axes_of(plane)
    clicks: list[FloatArray] = [np.zeros((0, 3))]
    labels: list[int] = []
    drawn, through = list[Box](), list[Box]()
    given: BoolArray | None = None
    for prompt in prompts:
        if index not in indices_of(prompt, geometry, plane):
            continue
        if isinstance(prompt, MaskPrompt):
            mask = prompt.packed.slice_of(axes, index)
            given = mask if given is None else given | mask
        elif isinstance(prompt, Point):
            clicks.append(np.array([prompt.zyx]))
            labels.append(int(prompt.positive))
        elif isinstance(prompt, Scribble):
            clicks.append(_clicks_along(prompt, axes.normal, index, geometry.shape[axes.normal]))
            labels += [int(prompt.positive)] * len(clicks[-1])
        else:
            boxes = through if prompt.flat_axis is None else drawn
            boxes.append(_on_slice(prompt, axes.normal, index))
    loose = frozenset(through)
    cut = [box for box in through if extents and not any(is_within(own, box) for own in drawn)]
    return SliceCut(np.concatenate(clicks), np.array(labels, np.int64), (*drawn, *cut), given, loose)


def is_within(drawn: Box, extent: Box) -> bool:
    """Say whether a box that was drawn on a slice lies, with its middle, in one with an extent.

    Examples
    --------
    >>> room = Box((2, 5, 5), (6, 20, 20))
    >>> is_within(Box((4, 6, 6), (4, 12, 25)), room), is_within(Box((4, 6, 30), (4, 12, 40)), room)
    (True, False)
    """
    middle = (np.array(drawn.low_zyx) + np.array(drawn.high_zyx)) / 2
    return bool(_holds(extent, middle[None])[0])


def anchors_of(cut: SliceCut, axes: PlaneAxes, shape: tuple[int, ...]) -> BoolArray:
    """Return a (rows, columns) mask of where a cut says that the object is: positive clicks, boxes, a drawn mask."""
    anchors = np.zeros(shape, bool) if cut.given is None else cut.given.copy()
    last = np.asarray(shape) - 1
    for row, column in np.clip(np.floor(cut.positive_zyx[:, (axes.row, axes.column)] + 0.5).astype(int), 0, last):
        anchors[row, column] = True
    for box in cut.boxes:
        (row, column), (row_end, column_end) = (
            np.clip(np.floor(np.array(corner)[[axes.row, axes.column]] + 0.5).astype(int), 0, last)
            for corner in (box.low_zyx, box.high_zyx)
        )
        anchors[row : row_end + 1, column : column_end + 1] = True
    return anchors


def indices_of(prompt: Prompt, geometry: Geometry, plane: Plane) -> Sequence[int]:
    """Return the slices of a plane that a prompt says something about, in order.

    Examples
    --------
    >>> grid = Geometry.from_spacing((9, 32, 32))
    >>> indices_of(Box((2, 5, 5), (6, 9, 9)), grid, "axial")
    range(2, 7)
    >>> indices_of(Box((2, 5, 5), (2, 9, 9)), grid, "coronal")  # drawn on an axial slice
    ()
    """
    normal = geometry.axes_of(plane).normal
    if isinstance(prompt, MaskPrompt):
        return prompt.slices_along(normal) if prompt.flat_axis in (None, normal) else ()
    count = geometry.shape[normal]
    if isinstance(prompt, Point):
        return (_nearest(prompt.zyx[normal], count),)
    if isinstance(prompt, Scribble):
        return tuple(sorted({_nearest(float(z), count) for z in prompt.voxels_zyx()[:, normal]}))
    if prompt.flat_axis not in (None, normal):
        return ()
    return range(_nearest(prompt.low_zyx[normal], count), _nearest(prompt.high_zyx[normal], count) + 1)


def _nearest(position: float, count: int) -> int:
    return min(max(int(np.floor(position + 0.5)), 0), count - 1)


def _on_slice(box: Box, normal: int, index: int) -> Box:
    low, high = list(box.low_zyx), list(box.high_zyx)
    low[normal] = high[normal] = float(index)
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _holds(box: Box, points_zyx: FloatArray) -> BoolArray:
    low, high = np.array(box.low_zyx) - 0.5, np.array(box.high_zyx) + 0.5
    return np.asarray(((points_zyx >= low) & (points_zyx <= high)).all(axis=1))


def _clicks_along(scribble: Scribble, normal: int, index: int, count: int) -> FloatArray:
    """Take a few voxels of a stroke, evenly along it and off its ends."""
    voxels = scribble.voxels_zyx()
    here: FloatArray = voxels[np.clip(voxels[:, normal], 0, count - 1) == index].astype(np.float64)
    if len(here) > CLICKS_A_STROKE:
        here = here[((np.arange(CLICKS_A_STROKE) + 0.5) * len(here) / CLICKS_A_STROKE).astype(int)]
    return here
