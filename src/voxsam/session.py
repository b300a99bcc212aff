"""What a session is: several objects on one scan, their prompts and masks, with undo, events and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from voxsam.cropped import CroppedMask
from voxsam.edits import KEEP, Color, Keep, Reach
from voxsam.events import Event, EventKind
from voxsam.geometry import Plane
from voxsam.history import History
from voxsam.prompts import Prompt
from voxsam.report import Report
from voxsam.state import COLORS_RGB, ObjectState, OverlapPolicy, SessionState, without_prompt
from voxsam.terminology import Code
from voxsam.volume import Mask

if TYPE_CHECKING:
    from voxsam.measure import Measurements

__all__ = [
    "COLORS_RGB",
    "KEEP",
    "CroppedMask",
    "Event",
    "EventKind",
    "History",
    "Keep",
    "ObjectState",
    "OverlapPolicy",
    "Preview",
    "Reach",
    "Session",
    "SessionState",
    "without_prompt",
]

BoolArray = npt.NDArray[np.bool_]
OnProgress: TypeAlias = Callable[[int, int], None]


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

    @property
    def uncertainty(self) -> npt.NDArray[np.float32]:
        """(rows, columns) float32 array in 0..1: how undecided each pixel is, 1 where it might be the other way round.

        It is ``1 - |2 p - 1|`` of the mean probability ``p`` of the answer and the alternatives that were asked for.

        Examples
        --------
        >>> preview = Preview("axial", 3, np.array([[-9.0, 0.0, 9.0]], np.float32), 0.8)
        >>> preview.uncertainty.round(2).tolist()
        [[0.0, 1.0, 0.0]]
        """
        answers = np.stack([self.logits, *self.candidates])
        chance = (1.0 / (1.0 + np.exp(-np.clip(answers, -30.0, 30.0)))).mean(axis=0)
        return np.asarray(1.0 - np.abs(2.0 * chance - 1.0), np.float32)


@runtime_checkable
class Session(Protocol):
    """Work on one scan: objects, prompts, masks, undo. In this process or in another.

    Every edit (all but `preview`, `mask`, `measurements`, saving and reading `state`) is one step for `undo`. An edit
    that fails, is cancelled or superseded leaves the state as it was. All methods may be called from any thread:
    edits are taken one at a time, and a model that works holds up none of them.
    """

    @property
    def state(self) -> SessionState:
        """The present snapshot."""
        ...

    @property
    def can_undo(self) -> bool:
        """There is a step to go back."""
        ...

    @property
    def can_redo(self) -> bool:
        """There is a step to go forward."""
        ...

    def add_object(
        self, name: str = "", *, color_rgb: Color | None = None, code: Code | None = None, mask: Mask | None = None
    ) -> int:
        """Begin an object and return its id; with a mask, that counts as drawn on every slice that it holds."""
        ...

    def change_object(
        self,
        object_id: int,
        *,
        name: str | None = None,
        color_rgb: Color | None = None,
        code: Code | Keep | None = KEEP,
        locked: bool | None = None,
        visible: bool | None = None,
    ) -> None:
        """Rename, colour, code, lock or hide an object; what is not given stays."""
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

    def accept_slice(self, object_id: int, drawn: npt.ArrayLike, *, plane: Plane, index: int) -> None:
        """Take a hand-drawn slice, (rows, columns) bool in array order, as the object's mask and prompt there."""
        ...

    def set_overlap(self, policy: OverlapPolicy) -> None:
        """Say who keeps a voxel that two objects want, in masks written from now on."""
        ...

    def protect(self, mask: Mask | None) -> None:
        """Say where no mask may change; None for nowhere."""
        ...

    def preview(
        self,
        object_id: int,
        *,
        plane: Plane | None = None,
        index: int,
        multimask: bool = False,
        extra: Prompt | None = None,
    ) -> Preview:
        """Show one slice as the prompts so far, and an extra one, would have it; `Superseded` by a newer preview."""
        ...

    def picture(
        self, *, plane: Plane | None = None, index: int, object_id: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Show one slice as the model sees it, 0..1 in array order; three channels where there are three windows."""
        ...

    def prepare(self, *, plane: Plane | None = None, index: int) -> None:
        """Look at one slice ahead, so that the first preview there is a quick one."""
        ...

    def propagate(
        self, object_id: int, *, reach: Reach = "whole", stops: Any = None, on_progress: OnProgress | None = None
    ) -> Report:
        """Segment the object in 3D from all its prompts; beyond the reach its earlier mask stays."""
        ...

    def refine(self, object_id: int, *, on_progress: OnProgress | None = None) -> Report:
        """Let the prompts that came after the last propagation correct the mask near where they are."""
        ...

    def mask(self, object_id: int) -> Mask:
        """Return an object's mask on the scan's grid; `SessionError` where there is none yet."""
        ...

    def measurements(self, object_id: int) -> Measurements:
        """Return volume, diameters and the scan's values inside an object."""
        ...

    def undo(self) -> SessionState:
        """Take back the last edit; `SessionError` where there is none."""
        ...

    def redo(self) -> SessionState:
        """Do again what was undone; `SessionError` where there is nothing."""
        ...

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back after everything that happens, in the thread that did it; returns how to stop that."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the session as JSON: objects, prompts, masks, settings, and the edits that lead there."""
        ...

    def save_masks(self, path: str | os.PathLike[str], *, object_ids: Iterable[int] | None = None) -> None:
        """Write the objects as a label map with names, colours and codes; into a folder, one file each."""
        ...

    def close(self) -> None:
        """Let the scan and the model go; everything else then raises `SessionError`."""
        ...
