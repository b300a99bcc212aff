"""What a session is: several objects, their prompts and masks, as frozen snapshots that undo and redo go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from voxsam.errors import SessionError
from voxsam.geometry import Plane, PlaneAxes
from voxsam.prompts import MaskPrompt, Prompt
from voxsam.report import Report
from voxsam.volume import Mask

__all__ = ["CroppedMask", "History", "ObjectState", "Preview", "Session", "SessionState"]

BoolArray = npt.NDArray[np.bool_]
OnProgress: TypeAlias = Callable[[int, int], None]

#: Colours of objects in their order; told apart by people who do not tell red from green too (Okabe and Ito).
COLORS_RGB: tuple[tuple[float, float, float], ...] = (
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
    (0.00, 0.62, 0.45),
    (0.94, 0.89, 0.26),
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
    (0.80, 0.47, 0.65),
)


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A bool mask kept small: cropped to its box, eight voxels a byte.

    Parameters
    ----------
    shape : tuple of int, (Z, Y, X)
        Of the whole mask.
    low_zyx : tuple of int
        First voxel of the box.
    box_shape : tuple of int
    packed : uint8 array

    Examples
    --------
    >>> whole = np.zeros((4, 64, 64), bool)
    >>> whole[2, 10:20, 10:20] = True
    >>> small = CroppedMask.of(whole)
    >>> small.nbytes, bool((small.to_array() == whole).all())
    (13, True)
    """

    shape: tuple[int, int, int]
    low_zyx: tuple[int, int, int]
    box_shape: tuple[int, int, int]
    packed: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, array: BoolArray) -> CroppedMask:
        """Crop and pack a (Z, Y, X) bool array."""
        held = [np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        low = [int(indices[0]) if indices.size else 0 for indices in held]
        high = [int(indices[-1]) + 1 if indices.size else 0 for indices in held]
        packed = np.packbits(array[low[0] : high[0], low[1] : high[1], low[2] : high[2]])
        packed.flags.writeable = False
        z, y, x = array.shape
        sides = (high[0] - low[0], high[1] - low[1], high[2] - low[2])
        return cls((z, y, x), (low[0], low[1], low[2]), sides, packed)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self.packed.nbytes)

    def to_array(self) -> BoolArray:
        """Return the whole mask, (Z, Y, X) bool."""
        array = np.zeros(self.shape, bool)
        (z, y, x), (depth, height, width) = self.low_zyx, self.box_shape
        inside = np.unpackbits(self.packed, count=depth * height * width).reshape(self.box_shape)
        array[z : z + depth, y : y + height, x : x + width] = inside.view(bool)
        return array

    def slice_of(self, axes: PlaneAxes, index: int) -> BoolArray:
        """Return one slice as `voxsam.views.slice_of` does, without unpacking the others: (rows, columns) bool."""
        whole = np.zeros((self.shape[axes.row], self.shape[axes.column]), bool)
        at = index - self.low_zyx[axes.normal]
        if not 0 <= at < self.box_shape[axes.normal]:
            return whole
        _, height, width = self.box_shape
        strides = (height * width, width, 1)
        rows, columns = np.arange(self.box_shape[axes.row]), np.arange(self.box_shape[axes.column])
        bits = at * strides[axes.normal] + rows[:, None] * strides[axes.row] + columns * strides[axes.column]
        row, column = self.low_zyx[axes.row], self.low_zyx[axes.column]
        inside = (self.packed[bits >> 3] >> (7 - (bits & 7))) & 1
        whole[row : row + len(rows), column : column + len(columns)] = inside
        return whole

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CroppedMask):
            return NotImplemented
        here, there = (self.shape, self.low_zyx, self.box_shape), (other.shape, other.low_zyx, other.box_shape)
        return here == there and np.array_equal(self.packed, other.packed)

    def __hash__(self) -> int:
        return hash((self.shape, self.low_zyx, self.box_shape))


@dataclass(frozen=True)
class ObjectState:
    """One object at one moment.

    Parameters
    ----------
    id : int
        Never used again in this session, not even after the object is removed.
    name : str
    color_rgb : tuple of float
        In 0..1.
    prompts : tuple of Prompt
        In the order they were made.
    mask : CroppedMask or None
        What the last propagation found.
    report : Report or None
        Of the last propagation.
    answered : tuple of Prompt
        What the mask was made from.
    """

    id: int
    name: str
    color_rgb: tuple[float, float, float]
    prompts: tuple[Prompt, ...] = ()
    mask: CroppedMask | None = None
    report: Report | None = field(default=None, compare=False)
    answered: tuple[Prompt, ...] = ()

    @property
    def is_stale(self) -> bool:
        """The prompts are not those that the mask was made from."""
        return self.prompts != self.answered


@dataclass(frozen=True)
class SessionState:
    """A session at one moment.

    Parameters
    ----------
    objects : tuple of ObjectState
        In the order they were added.

    Examples
    --------
    >>> state = SessionState((ObjectState(1, "liver", (0.9, 0.6, 0.0)),))
    >>> state.object(1).name
    'liver'
    >>> state.object(2)
    Traceback (most recent call last):
        ...
    voxsam.errors.SessionError: no object 2 in this session; it has 1 (liver)
    """

    objects: tuple[ObjectState, ...] = ()

    def object(self, object_id: int) -> ObjectState:
        """Return one object.

        Raises
        ------
        SessionError
            If there is none with this id.
        """
        for candidate in self.objects:
            if candidate.id == object_id:
                return candidate
        known = ", ".join(f"{item.id} ({item.name})" for item in self.objects) or "none; add one with add_object"
        raise SessionError(f"no object {object_id} in this session; it has {known}")

    def with_object(self, changed: ObjectState) -> SessionState:
        """Return a state in which an object is replaced by its changed self, or added."""
        if any(item.id == changed.id for item in self.objects):
            return SessionState(tuple(changed if item.id == changed.id else item for item in self.objects))
        return SessionState((*self.objects, changed))

    def without_object(self, object_id: int) -> SessionState:
        """Return a state without an object."""
        removed = self.object(object_id)
        return SessionState(tuple(item for item in self.objects if item is not removed))


class History:
    """Old snapshots under a byte budget: undo and redo are two lists.

    Parameters
    ----------
    now : SessionState
    budget_mb : float
        For what the snapshots hold beyond the present one. The oldest goes first; what several snapshots share
        counts once.

    Examples
    --------
    >>> history = History(SessionState())
    >>> history.push(SessionState((ObjectState(1, "liver", (0.9, 0.6, 0.0)),)))
    >>> history.undo().objects
    ()
    >>> history.redo().objects[0].name
    'liver'
    """

    def __init__(self, now: SessionState, *, budget_mb: float = 256) -> None:
        self.now = now
        self._past: list[SessionState] = []
        self._future: list[SessionState] = []
        self._budget = int(budget_mb * 2**20)

    def push(self, state: SessionState) -> None:
        """Make `state` the present one."""
        self._past.append(self.now)
        self._future.clear()  # a new edit closes the branch that undo left open
        self.now = state
        while self._past and self.nbytes > self._budget:
            del self._past[0]

    def undo(self) -> SessionState:
        """Go back one step.

        Raises
        ------
        SessionError
            If there is none.
        """
        if not self._past:
            raise SessionError("nothing to undo: this is the first state that the session remembers")
        self._future.append(self.now)
        self.now = self._past.pop()
        return self.now

    def redo(self) -> SessionState:
        """Go forward again.

        Raises
        ------
        SessionError
            If nothing was undone since the last edit.
        """
        if not self._future:
            raise SessionError("nothing to redo: no step was undone since the last edit")
        self._past.append(self.now)
        self.now = self._future.pop()
        return self.now

    @property
    def can_undo(self) -> bool:
        """There is a step to go back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """There is a step to go forward."""
        return bool(self._future)

    @property
    def nbytes(self) -> int:
        """Memory that past and future take beyond the present."""
        present = {id(part) for part in _heavy_parts(self.now)}
        heavy = {id(part): part for state in (*self._past, *self._future) for part in _heavy_parts(state)}
        return sum(_size_of(part) for key, part in heavy.items() if key not in present)


@dataclass(frozen=True, eq=False)
class Preview:
    """What one slice of an object would look like.

    Parameters
    ----------
    plane : {"axial", "coronal", "sagittal"}
    index : int
    logits : (rows, columns) float32 array
        Of the whole slice in array order (see `voxsam.views.slice_of`); positive inside.
    score : float or None
        The model's own estimate of its intersection over union; None where the mask was drawn or propagated.
    candidates : tuple of (rows, columns) float32 array
        What else could be meant.
    """

    plane: Plane
    index: int
    logits: npt.NDArray[np.float32]
    score: float | None
    candidates: tuple[npt.NDArray[np.float32], ...] = ()

    @property
    def mask(self) -> BoolArray:
        """(rows, columns) bool array: where the logits are positive."""
        return self.logits > 0


@runtime_checkable
class Session(Protocol):
    """Work on one scan: objects, prompts, masks, undo. In this process or in another.

    Every edit (all but `preview`, `mask` and reading `state`) is one step for `undo`. An edit that fails or is
    cancelled leaves the state as it was.
    """

    @property
    def state(self) -> SessionState:
        """The present snapshot."""
        ...

    def add_object(self, name: str = "", *, color_rgb: tuple[float, float, float] | None = None) -> int:
        """Begin an object and return its id."""
        ...

    def remove_object(self, object_id: int) -> None:
        """Take an object away, with its prompts and mask."""
        ...

    def add_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Say something about an object; `PromptError` if it lies outside the scan."""
        ...

    def remove_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Take something back that was said, wherever it came in the order."""
        ...

    def preview(self, object_id: int, *, plane: Plane | None = None, index: int, multimask: bool = False) -> Preview:
        """Show one slice as the prompts so far would have it."""
        ...

    def propagate(self, object_id: int, *, stops: Any = None, on_progress: OnProgress | None = None) -> Report:
        """Segment the object in 3D from all its prompts."""
        ...

    def mask(self, object_id: int) -> Mask:
        """Return what the last `propagate` found, on the scan's grid; `SessionError` where there was none."""
        ...

    def undo(self) -> SessionState:
        """Take back the last edit; `SessionError` where there is none."""
        ...

    def redo(self) -> SessionState:
        """Do again what was undone; `SessionError` where there is nothing."""
        ...

    def close(self) -> None:
        """Let the scan and the model go; everything else then raises `SessionError`."""
        ...


def without_prompt(state: ObjectState, prompt: Prompt) -> ObjectState:
    """Return an object without one of its prompts (the last of several equal ones).

    Raises
    ------
    SessionError
        If it has no such prompt.
    """
    for place in reversed(range(len(state.prompts))):
        if state.prompts[place] == prompt:
            return replace(state, prompts=state.prompts[:place] + state.prompts[place + 1 :])
    raise SessionError(f"object {state.id} ({state.name}) has no such prompt: {prompt}")


def _heavy_parts(state: SessionState) -> Iterator[CroppedMask | MaskPrompt]:
    for item in state.objects:
        if item.mask is not None:
            yield item.mask
        yield from (prompt for prompt in (*item.prompts, *item.answered) if isinstance(prompt, MaskPrompt))


def _size_of(part: CroppedMask | MaskPrompt) -> int:
    return part.nbytes if isinstance(part, CroppedMask) else int(part.mask.array.nbytes)
