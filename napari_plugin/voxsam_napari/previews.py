"""Previews of the slice that is looked at: asked of the session, shown on top of the masks, taken off again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer

from voxsam.errors import Cancelled, PromptError, SessionError
from voxsam.geometry import Geometry
from voxsam.prompts import Box, Point, Prompt, Scribble
from voxsam.session import ObjectState, Preview
from voxsam_napari.grid import SliceView
from voxsam_napari.tools import Gesture
from voxsam_napari.worker import Job

if TYPE_CHECKING:
    from voxsam_napari.controller import Controller

__all__ = ["Previews", "lies_on"]


class Previews:
    """Shows what the prompts so far, or a click where the mouse is, would make of a slice.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        self.live = True
        self.last: Preview | None = None
        self._controller = controller
        self._rest = QTimer(controller)  # a slice that is only scrolled past is not looked at ahead
        self._rest.setSingleShot(True)
        self._rest.setInterval(150)
        self._rest.timeout.connect(self._look_ahead)
        self._hovered: SliceView | None = None

    def set_live(self, live: bool) -> None:
        """Show, or do not show, what each prompt leads to at once."""
        self.live = live
        if live:
            self.ask()
        else:
            self.clear()

    def slice_changed(self) -> None:
        """Ask for the slice that has come; look at it ahead where nothing is known of it yet."""
        self.ask()
        self._rest.start()

    def refresh(self) -> None:
        """Ask anew for the slice that is looked at, and take the others off; what is shown stays until the answer."""
        view, layers = self._controller.view, self._controller.layers
        if layers is None or view not in layers.picture.previews or not self._wants(view):
            self.clear()
        else:
            for other in [each for each in layers.picture.previews if each != view]:
                layers.picture.remove(other)
            self.last = None
        self.ask()

    def clear(self) -> None:
        """Take all off."""
        self._controller.worker.drop("preview")
        self.last, self._hovered = None, None
        layers = self._controller.layers
        if layers is not None and layers.picture.previews:
            layers.picture.clear()
            layers.show_labels()

    def ask(self) -> None:
        """Ask for the slice that is looked at, where a prompt that the mask does not answer yet lies on it."""
        view, item = self._controller.view, self._controller.item
        if item is not None and view is not None and self._wants(view):
            self._ask(view, item)

    def hover(self, gesture: Gesture | None) -> None:
        """Show what a click here would give, on a slice where nothing is known of the object yet; None: no longer."""
        controller = self._controller
        item, geometry = controller.item, controller.geometry
        wanted = self.live and gesture is not None and item is not None and item.visible and not item.locked
        if wanted and gesture is not None and item is not None and geometry is not None:
            normal = geometry.axes_of(gesture.view.plane).normal
            known = any(lies_on(prompt, normal, gesture.view.index) for prompt in item.prompts)
            inside = bool(geometry.contains(gesture.points_zyx[-1:]).all())
            if gesture.positive and inside and not known and not _has_mask(item, geometry, gesture.view):
                z, y, x = gesture.points_zyx[-1].tolist()
                self._ask(gesture.view, item, extra=Point((z, y, x)))
                return
        if self._hovered is not None:
            controller.worker.drop("preview")
            self._take_off(self._hovered)

    def _wants(self, view: SliceView | None) -> bool:
        item, geometry = self._controller.item, self._controller.geometry
        if not self.live or view is None or item is None or not item.visible or geometry is None:
            return False
        return _says_something(item, geometry, view)

    def _ask(self, view: SliceView, item: ObjectState, *, extra: Prompt | None = None) -> None:
        controller = self._controller
        session, layers = controller.session, controller.layers
        if session is None or layers is None:
            return

        def done(preview: Preview) -> None:
            now = controller.item
            if controller.layers is not layers or now is None or not _is_same(now, item):
                return  # something else was said or done meanwhile
            self.last, self._hovered = preview, view if extra is not None else None
            layers.picture.overlay(view, preview.mask, item.id, kept=self._kept(item.id))
            layers.show_labels()
            controller.changed.emit()

        def failed(error: Exception) -> None:
            if isinstance(error, Cancelled):
                return  # a newer one comes
            if controller.layers is layers:
                self._take_off(view)
            if not isinstance(error, PromptError | SessionError):
                controller.tell(error)

        def run(_: object) -> Preview:
            return session.preview(item.id, plane=view.plane, index=view.index, extra=extra)

        controller.worker.newest("preview", Job(run, done, failed, name="preview"))

    def _look_ahead(self) -> None:
        """Let the model see the slice before it is clicked on, so that the first click is answered at once."""
        controller = self._controller
        session, view = controller.session, controller.view
        if session is None or view is None or controller.edits.long_work:
            return
        job = Job(lambda _: session.prepare(plane=view.plane, index=view.index), failed=_pass_over, name="look ahead")
        controller.worker.newest("prepare", job)

    def _take_off(self, view: SliceView) -> None:
        self._hovered = None
        layers = self._controller.layers
        if layers is not None:
            layers.picture.remove(view)
            layers.show_labels()

    def _kept(self, key: int) -> frozenset[int] | None:
        """Tell which objects a preview may not cover; None for all others."""
        state = self._controller.state
        if state.overlap == "keep":
            return None
        return frozenset(item.id for item in state.objects if item.locked and item.id != key)


def _is_same(now: ObjectState, before: ObjectState) -> bool:
    said = (now.id, now.visible, now.prompts) == (before.id, before.visible, before.prompts)
    return said and now.mask is before.mask


def _pass_over(_: Exception) -> None:
    """Do nothing: what goes wrong here is told by the first click."""


def lies_on(prompt: Prompt, normal: int, index: int) -> bool:
    """Tell whether a prompt speaks of the slice `index` across array axis `normal`; drawn masks speak for themselves.

    Examples
    --------
    >>> lies_on(Point((3.4, 8, 8)), 0, 3), lies_on(Box((3, 1, 1), (3, 9, 9)), 0, 4)
    (True, False)
    """
    if isinstance(prompt, Point):
        return round(prompt.zyx[normal]) == index
    if isinstance(prompt, Scribble):
        return bool((np.round(prompt.points_zyx[:, normal]) == index).any())
    return isinstance(prompt, Box) and round(prompt.low_zyx[normal]) == index == round(prompt.high_zyx[normal])


def _says_something(item: ObjectState, geometry: Geometry, view: SliceView) -> bool:
    normal = geometry.axes_of(view.plane).normal
    known = item.answered if item.mask is not None else ()
    return any(lies_on(prompt, normal, view.index) for prompt in item.prompts if prompt not in known)


def _has_mask(item: ObjectState, geometry: Geometry, view: SliceView) -> bool:
    return item.mask is not None and bool(item.mask.slice_of(geometry.axes_of(view.plane), view.index).any())
