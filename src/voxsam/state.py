"""What a session holds at one moment: objects with their prompts and masks, as frozen snapshots."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from voxsam.cropped import CroppedMask
from voxsam.errors import SessionError
from voxsam.prompts import Prompt
from voxsam.report import Report
from voxsam.terminology import Code

__all__ = ["COLORS_RGB", "ObjectState", "OverlapPolicy", "SessionState", "without_prompt"]

#: Where a mask that is written meets another object: that one keeps the voxel, gives it up, or both have it.
OverlapPolicy = Literal["keep", "overwrite", "allow"]

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
        What was found, drawn and corrected so far.
    report : Report or None
        Of the last propagation, with the slices that were refined since.
    answered : tuple of Prompt
        What the mask was made from.
    code : Code or None
        What it is, in the words of a terminology.
    locked : bool
        Nothing changes it.
    visible : bool
        For front ends; a hidden object keeps its voxels all the same.
    """

    id: int
    name: str
    color_rgb: tuple[float, float, float]
    prompts: tuple[Prompt, ...] = ()
    mask: CroppedMask | None = None
    report: Report | None = field(default=None, compare=False)
    answered: tuple[Prompt, ...] = ()
    code: Code | None = None
    locked: bool = False
    visible: bool = True

    @property
    def is_stale(self) -> bool:
        """The prompts are not those that the mask was made from."""
        return self.prompts != self.answered

    def require_unlocked(self) -> None:
        """Raise `SessionError` where it is locked."""
        if self.locked:
            raise SessionError(
                f"object {self.id} ({self.name}) is locked; unlock it first: change_object({self.id}, locked=False)"
            )


@dataclass(frozen=True)
class SessionState:
    """A session at one moment.

    Parameters
    ----------
    objects : tuple of ObjectState
        In the order they were added.
    overlap : {"keep", "overwrite", "allow"}
        What happens where a mask that is written meets another object.
    protected : CroppedMask or None
        Where no mask is changed.

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
    overlap: OverlapPolicy = "keep"
    protected: CroppedMask | None = None

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
            return replace(self, objects=tuple(changed if item.id == changed.id else item for item in self.objects))
        return replace(self, objects=(*self.objects, changed))

    def without_object(self, object_id: int) -> SessionState:
        """Return a state without an object."""
        removed = self.object(object_id)
        return replace(self, objects=tuple(item for item in self.objects if item is not removed))


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
