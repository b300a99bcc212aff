"""The label picture of a session: its objects' masks as one array, changed where they changed, with previews on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxsam.geometry import Geometry
from voxsam.session import CroppedMask, ObjectState, SessionState
from voxsam_napari.grid import SliceView

__all__ = ["Composer", "LabelPicture", "Patch"]

BoolArray = npt.NDArray[np.bool_]
LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Corner = tuple[int, int, int]
_Box = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Patch:
    """New labels for a box of voxels.

    Parameters
    ----------
    low_zyx : tuple of int
        First voxel of the box.
    labels : (depth, height, width) uint8 or uint16 array
        Object ids; 0 where there is none. The narrower type where it holds them.
    """

    low_zyx: Corner
    labels: LabelArray

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where it goes."""
        z, y, x = (slice(low, low + side) for low, side in zip(self.low_zyx, self.labels.shape, strict=True))
        return z, y, x


class Composer:
    """Turns states into patches; for the worker's thread.

    Parameters
    ----------
    geometry : Geometry
        Of the masks.

    Examples
    --------
    >>> inside = np.zeros((3, 8, 8), bool)
    >>> inside[1, 2:4, 2:5] = True
    >>> liver = ObjectState(1, "liver", (0.9, 0.6, 0.0), mask=CroppedMask.of(inside))
    >>> composer = Composer(Geometry.from_spacing((3, 8, 8)))
    >>> composer.patch(SessionState((liver,))).labels
    array([[[1, 1, 1],
            [1, 1, 1]]], dtype=uint8)
    >>> composer.patch(SessionState((liver,))) is None  # nothing changed since
    True
    """

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._drawn: dict[int, CroppedMask] = {}
        self._anew: list[_Box] = []

    def forget(self, view: SliceView | None = None) -> None:
        """Let the next patch hold a slice, or everything, whether it changed or not."""
        low, high = np.zeros(3, np.int64), np.array(self._geometry.shape, np.int64)
        if view is not None:
            axis = self._geometry.axes_of(view.plane).normal
            low[axis], high[axis] = view.index, view.index + 1
        self._anew.append((low, high))

    def patch(self, state: SessionState) -> Patch | None:
        """Return what changed since the last state, None where nothing did."""
        wanted = {item.id: item.mask for item in state.objects if _is_drawn(item) and item.mask is not None}
        boxes = [
            (np.array(mask.low_zyx), np.add(mask.low_zyx, mask.box_shape))
            for key in self._drawn.keys() | wanted.keys()
            if (before := self._drawn.get(key)) is not (after := wanted.get(key))
            for mask in (before, after)
            if mask is not None
        ]
        boxes += self._anew
        self._drawn, self._anew = wanted, []
        if not boxes:
            return None
        low = np.min([box[0] for box in boxes], axis=0)
        high = np.max([box[1] for box in boxes], axis=0)
        labels = np.zeros(tuple(high - low), np.min_scalar_type(max(wanted, default=0)))
        for key, mask in wanted.items():
            _draw(labels, low, key, mask)
        z, y, x = low.tolist()
        return Patch((z, y, x), labels)


def _is_drawn(item: ObjectState) -> bool:
    return item.visible and item.mask is not None and min(item.mask.box_shape) > 0


def _draw(labels: LabelArray, low: npt.NDArray[np.int64], key: int, mask: CroppedMask) -> None:
    """Write one object into a box of labels that begins at `low`."""
    start = np.maximum(low, mask.low_zyx)
    stop = np.minimum(np.add(low, labels.shape), np.add(mask.low_zyx, mask.box_shape))
    if (stop <= start).any():
        return
    there = tuple(slice(a, b) for a, b in zip(start - mask.low_zyx, stop - mask.low_zyx, strict=True))
    here = tuple(slice(a, b) for a, b in zip(start - low, stop - low, strict=True))
    count = int(np.prod(mask.box_shape))
    inside = np.unpackbits(mask.packed, count=count).reshape(mask.box_shape).view(bool)[there]
    labels[here][inside] = key


class LabelPicture:
    """The label array that the viewer shows, with previews that can be taken off again; for the GUI thread.

    Parameters
    ----------
    geometry : Geometry

    Examples
    --------
    >>> picture = LabelPicture(Geometry.from_spacing((3, 8, 8)))
    >>> drawn = np.zeros((8, 8), bool)
    >>> drawn[2:4, 2:5] = True
    >>> picture.overlay(SliceView("axial", 1), drawn, 1)
    >>> int((picture.array[1] == 1).sum())
    6
    >>> picture.clear()
    >>> bool(picture.array.any())
    False
    """

    def __init__(self, geometry: Geometry) -> None:
        self.array: LabelArray = np.zeros(geometry.shape, np.uint8)
        self._geometry = geometry
        self._under: dict[SliceView, LabelArray] = {}
        self._previews: dict[SliceView, tuple[BoolArray, int, frozenset[int] | None]] = {}

    @property
    def previews(self) -> Mapping[SliceView, tuple[BoolArray, int, frozenset[int] | None]]:
        """The previews that are shown, in the order they came."""
        return self._previews

    def widen(self, key: int) -> None:
        """Make room for an object's id; the array becomes another one where it had none."""
        if key > np.iinfo(self.array.dtype).max:
            self.clear()
            self.array = self.array.astype(np.uint16)

    def apply(self, patch: Patch) -> None:
        """Write a patch, beneath the previews."""
        shown = dict(self._previews)
        self.clear()
        self.array[patch.box] = patch.labels
        for view, (mask, key, kept) in shown.items():
            self.overlay(view, mask, key, kept=kept)

    def overlay(self, view: SliceView, mask: BoolArray, key: int, *, kept: frozenset[int] | None = frozenset()) -> None:
        """Show a slice of an object as it would be.

        Parameters
        ----------
        view : SliceView
        mask : (rows, columns) bool array
            In array order.
        key : int
            The object's id.
        kept : frozenset of int or None
            Objects whose voxels stay theirs; None for all.
        """
        self.remove(view)
        labels = self.slice(view)
        self._under[view] = labels.copy()
        self._previews[view] = (mask, key, kept)
        labels[labels == key] = 0
        free = labels == 0 if kept is None else ~np.isin(labels, list(kept)) if kept else np.ones_like(mask)
        labels[mask & free] = key

    def settle(self, view: SliceView) -> None:
        """Let what a slice shows stay, preview and brush strokes alike, until the next patch."""
        self._previews.pop(view, None)
        self._under.pop(view, None)

    def remove(self, view: SliceView) -> None:
        """Take one preview off."""
        if view not in self._previews:
            return
        newer = [(other, *entry) for other, entry in self._previews.items()]
        place = [entry[0] for entry in newer].index(view)
        for other, *_ in reversed(newer[place:]):  # slices of two planes cross: the newest comes off first
            self.slice(other)[...] = self._under.pop(other)
            del self._previews[other]
        for other, mask, key, kept in newer[place + 1 :]:
            self.overlay(other, mask, key, kept=kept)

    def clear(self) -> None:
        """Take every preview off."""
        for view in reversed(list(self._previews)):
            self.slice(view)[...] = self._under.pop(view)
            del self._previews[view]

    def slice(self, view: SliceView) -> LabelArray:
        """Return one slice of the picture, (rows, columns), to look at or to write into."""
        axes = self._geometry.axes_of(view.plane)
        picked: LabelArray = np.moveaxis(self.array, (axes.normal, axes.row, axes.column), (0, 1, 2))[view.index]
        return picked
