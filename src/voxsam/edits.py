"""The edits of a session: each turns one snapshot into the next, without a model.

What a model found is part of the edit (`Segmented.found`), so that a journal of edits gives back every mask. Without
it, the same edits replay: the model is asked again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from voxsam.cropped import CroppedMask
from voxsam.errors import InputError, PromptError, SessionError, unknown_name
from voxsam.geometry import Geometry, Plane
from voxsam.overlaps import settled
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from voxsam.report import Report
from voxsam.state import ObjectState, OverlapPolicy, SessionState, without_prompt
from voxsam.terminology import Code
from voxsam.views import ViewFrame

__all__ = [
    "KEEP",
    "AcceptSlice",
    "AddObject",
    "AddPrompt",
    "ChangeObject",
    "Edit",
    "Keep",
    "Protect",
    "Reach",
    "RemoveObject",
    "RemovePrompt",
    "Segmented",
    "SetOverlap",
    "check_reach",
    "checked_color",
]

BoolArray = npt.NDArray[np.bool_]
Color: TypeAlias = tuple[float, float, float]
#: Which slices a propagation may change: all; those above or below the prompted ones, by their index; first to last.
Reach: TypeAlias = Literal["whole", "up", "down"] | tuple[int, int]


class Keep(Enum):
    """The type of `KEEP`."""

    KEEP = "keep"


#: Leave it as it is: where None means "none".
KEEP: Final = Keep.KEEP


class Edit(Protocol):
    """One step of a session."""

    def apply(self, state: SessionState) -> SessionState:
        """Return the next snapshot; `SessionError` where the step cannot be taken."""
        ...


@dataclass(frozen=True)
class AddObject:
    """A new object, empty or with a mask that counts as drawn."""

    object_id: int
    name: str
    color_rgb: Color
    code: Code | None = None
    prompt: MaskPrompt | None = None

    def apply(self, state: SessionState) -> SessionState:
        """Add it at the end."""
        fresh = ObjectState(self.object_id, self.name, self.color_rgb, code=self.code)
        if self.prompt is None:
            return state.with_object(fresh)
        drawn = (self.prompt,)
        return settled(state, replace(fresh, prompts=drawn, answered=drawn), self.prompt.packed)


@dataclass(frozen=True)
class ChangeObject:
    """Another name, colour, code, lock or visibility; None (for the code: `KEEP`) leaves one as it is."""

    object_id: int
    name: str | None = None
    color_rgb: Color | None = None
    code: Code | Keep | None = KEEP
    locked: bool | None = None
    visible: bool | None = None

    def apply(self, state: SessionState) -> SessionState:
        """Change what is said."""
        said = {name: getattr(self, name) for name in ("name", "color_rgb", "locked", "visible")}
        changes: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        if self.code is not KEEP:
            changes["code"] = self.code
        return state.with_object(replace(state.object(self.object_id), **changes))


@dataclass(frozen=True)
class RemoveObject:
    """An object goes, with its prompts and mask."""

    object_id: int

    def apply(self, state: SessionState) -> SessionState:
        """Take it away."""
        state.object(self.object_id).require_unlocked()
        return state.without_object(self.object_id)


@dataclass(frozen=True)
class AddPrompt:
    """Something said about an object."""

    object_id: int
    prompt: Prompt

    def apply(self, state: SessionState) -> SessionState:
        """Put it after the others."""
        item = _unlocked(state, self.object_id)
        return state.with_object(replace(item, prompts=(*item.prompts, self.prompt)))


@dataclass(frozen=True)
class RemovePrompt:
    """Something taken back."""

    object_id: int
    prompt: Prompt

    def apply(self, state: SessionState) -> SessionState:
        """Take the last one that is equal away."""
        return state.with_object(without_prompt(_unlocked(state, self.object_id), self.prompt))


@dataclass(frozen=True)
class AcceptSlice:
    """A hand-drawn slice: it is in the mask as drawn, and takes the place of what was said on this slice before."""

    object_id: int
    prompt: MaskPrompt
    plane: Plane
    index: int

    @classmethod
    def drawn(cls, object_id: int, drawn: BoolArray, geometry: Geometry, plane: Plane, index: int) -> AcceptSlice:
        """Check a drawing.

        Raises
        ------
        PromptError
            If nothing is drawn, or it does not have the slice's shape.
        GeometryError
            If the scan does not have this slice.
        """
        frame = ViewFrame.of(geometry, plane, index)
        if drawn.shape != frame.slice_shape:
            raise PromptError(
                f"a drawn {plane} slice has shape {frame.slice_shape} (rows, columns) in array order, got {drawn.shape}"
            )
        if not drawn.any():
            raise PromptError(
                f"nothing is drawn on {plane} slice {index}: expected at least one voxel; to leave the object out "
                f"here, propagate it again with a reach that ends before"
            )
        packed = CroppedMask.of_slice(drawn, geometry.shape, frame.axes, index)
        return cls(object_id, MaskPrompt.of_packed(packed, geometry), plane, int(index))

    def apply(self, state: SessionState) -> SessionState:
        """Put the slice into the mask, and its prompt after the others."""
        item, geometry = _unlocked(state, self.object_id), self.prompt.geometry
        axes = geometry.axes_of(self.plane)
        wanted = self.prompt.packed
        if item.mask is not None:
            wanted = item.mask.with_slice(wanted.slice_of(axes, self.index), axes, self.index)
        left = (_beside(prompt, geometry, self.plane, self.index) for prompt in item.prompts)
        prompts = (*(prompt for prompt in left if prompt is not None), self.prompt)
        return settled(state, replace(item, prompts=prompts), wanted)


@dataclass(frozen=True)
class Segmented:
    """What a model made of an object's prompts.

    Parameters
    ----------
    object_id : int
    way : {"propagate", "refine"}
    reach : Reach
    stops : mapping or None
        The stop rules that differ from the usual ones, by their names.
    found : CroppedMask or None
        The mask, slices beyond the reach included; None where it has to be found (again).
    report : Report or None
    """

    object_id: int
    way: Literal["propagate", "refine"]
    reach: Reach = "whole"
    stops: Mapping[str, Any] | None = None
    found: CroppedMask | None = None
    report: Report | None = field(default=None, compare=False)

    def apply(self, state: SessionState) -> SessionState:
        """Write the mask."""
        item = _unlocked(state, self.object_id)
        if self.found is None:
            raise SessionError(f"object {item.id} ({item.name}) has to be segmented again: this step holds no mask")
        heard = replace(item, report=self.report, answered=item.prompts)
        after = settled(state, heard, self.found)
        return after.with_object(_with_volume(after.object(item.id), self.found))

    def to_be_found(self) -> Segmented:
        """Return the step without its mask, as it is replayed."""
        return replace(self, found=None, report=None)


@dataclass(frozen=True)
class SetOverlap:
    """Another overlap policy, for masks written from now on."""

    policy: OverlapPolicy

    def __post_init__(self) -> None:
        if self.policy not in get_args(OverlapPolicy):
            raise InputError(unknown_name("overlap policy", str(self.policy), get_args(OverlapPolicy)))

    def apply(self, state: SessionState) -> SessionState:
        """Set it."""
        return replace(state, overlap=self.policy)


@dataclass(frozen=True)
class Protect:
    """Another region not to touch; None for none."""

    mask: CroppedMask | None

    def apply(self, state: SessionState) -> SessionState:
        """Set it."""
        return replace(state, protected=self.mask)


def checked_color(color_rgb: Sequence[float]) -> Color:
    """Return red, green and blue as floats.

    Raises
    ------
    InputError
        If they are not three numbers in 0..1.

    Examples
    --------
    >>> checked_color([255, 0, 0])
    Traceback (most recent call last):
    voxsam.errors.InputError: a colour is red, green and blue in 0..1, got [255, 0, 0]
    """
    values = tuple(float(value) for value in color_rgb)
    if len(values) != 3 or not all(0.0 <= value <= 1.0 for value in values):
        raise InputError(f"a colour is red, green and blue in 0..1, got {color_rgb}")
    return values[0], values[1], values[2]


def check_reach(reach: Reach, geometry: Geometry, plane: Plane) -> None:
    """Raise `InputError` unless `reach` is one.

    Examples
    --------
    >>> check_reach((9, 3), Geometry.from_spacing((10, 8, 8)), "axial")
    Traceback (most recent call last):
    voxsam.errors.InputError: a range of axial slices is (first, last) within 0 to 9, got (9, 3)
    """
    if isinstance(reach, str):
        if reach not in ("whole", "up", "down"):
            raise InputError(unknown_name("reach", reach, ("whole", "up", "down", "(first, last)")))
        return
    last = geometry.shape[geometry.axes_of(plane).normal] - 1
    ends = tuple(reach)
    if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= last:
        raise InputError(f"a range of {plane} slices is (first, last) within 0 to {last}, got {reach}")


def _with_volume(item: ObjectState, found: CroppedMask) -> ObjectState:
    """Let the report have the volume of what was written, where other objects kept a part of what was found."""
    if item.report is None or item.mask is None or not found.voxels or item.mask.voxels == found.voxels:
        return item
    volume_ml = item.report.volume_ml * item.mask.voxels / found.voxels
    return replace(item, report=replace(item.report, volume_ml=volume_ml))


def _unlocked(state: SessionState, object_id: int) -> ObjectState:
    item = state.object(object_id)
    item.require_unlocked()
    return item


def _beside(prompt: Prompt, geometry: Geometry, plane: Plane, index: int) -> Prompt | None:
    """Return what a prompt says beside one slice: all, part of a mask, or nothing."""
    axes = geometry.axes_of(plane)
    if isinstance(prompt, MaskPrompt):
        if prompt.flat_axis not in (None, axes.normal) or index not in prompt.slices_along(axes.normal):
            return prompt
        empty = prompt.packed.slice_of(axes, index) & False
        rest = prompt.packed.with_slice(empty, axes, index)
        return MaskPrompt.of_packed(rest, geometry) if rest.packed.size else None
    if isinstance(prompt, Box):
        here = prompt.flat_axis == axes.normal and math.floor(prompt.low_zyx[axes.normal] + 0.5) == index
        return None if here else prompt
    return None if _slices_of(prompt, axes.normal) == {index} else prompt


def _slices_of(prompt: Point | Scribble, axis: int) -> set[int]:
    if isinstance(prompt, Point):
        return {math.floor(prompt.zyx[axis] + 0.5)}
    return set(prompt.voxels_zyx()[:, axis].tolist())
