"""The controller: one session bound to one image of a viewer. Gestures in, layers and news out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from voxsam.errors import Cancelled, PromptError, SessionError, VoxsamError
from voxsam.geometry import Geometry
from voxsam.prompts import Box, Point, Prompt, Scribble
from voxsam.session import CroppedMask, ObjectState, Preview, Session, SessionState
from voxsam_napari.compose import Composer, Patch
from voxsam_napari.grid import LayerGrid, SliceView
from voxsam_napari.layers import OwnLayers
from voxsam_napari.tools import Gesture, MouseTools, Tool, prompt_of, region_of
from voxsam_napari.worker import Job, Worker

__all__ = ["Controller", "line_of"]


_BITS_IN_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)


@dataclass(frozen=True, eq=False)
class _Update:
    """What an edit led to."""

    value: Any
    state: SessionState
    patch: Patch | None
    can_undo: bool
    can_redo: bool
    volumes_ml: dict[int, float]


class Controller(QObject):
    """Binds a session to a viewer: what the user does becomes edits, what the session says becomes layers.

    Parameters
    ----------
    viewer : napari.Viewer
    worker : Worker
        Where the session works.

    Signals
    -------
    changed : ()
        The state, the current object, the tool or what is going on is another.
    layers_made : ()
        Our layers are there, or there anew.
    moved : ()
        The viewer shows another slice.
    progressed : int, int
        Steps done and in all of the long work that goes on.
    said : str, str
        A line for the user, and its kind: ``"info"``, ``"warn"`` or ``"error"``.
    """

    changed = Signal()
    layers_made = Signal()
    moved = Signal()
    progressed = Signal(int, int)
    said = Signal(str, str)

    def __init__(self, viewer: Any, worker: Worker, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.worker = worker
        self.session: Session | None = None
        self.layers: OwnLayers | None = None
        self.mouse: MouseTools | None = None
        self.state = SessionState()
        self.current: int | None = None
        self.can_undo = self.can_redo = False
        self.volumes_ml: dict[int, float] = {}
        self.live = True
        self.long_work = ""
        self.last_preview: Preview | None = None
        self._tool: Tool = "point"
        self._positive = True
        self._long: Job | None = None
        self._composer = Composer()
        self._geometry: Geometry | None = None
        self._drawn_prompts: tuple[Prompt, ...] | None = None
        worker.failed.connect(self._failed)
        viewer.dims.events.point.connect(self._slice_changed)
        viewer.dims.events.order.connect(self._slice_changed)

    # ── binding ──────────────────────────────────────────────────────────────

    def bind(self, session: Session, image: Any, grid: LayerGrid) -> None:
        """Work on a session from now on, over an image."""
        self.unbind()
        self.session, self._composer, self._geometry = session, Composer(), grid.geometry
        self._add_layers(image, grid)
        state = session.state
        self.current = state.objects[0].id if state.objects else None
        self._edit("open", lambda _: None)

    def unbind(self, *, keep_labels: bool = False) -> Session | None:
        """Work on it no longer; returns the session, which stays open."""
        session, self.session = self.session, None
        self.cancel()
        if self.mouse is not None:
            self.mouse.detach()
            self.mouse = None
        if self.layers is not None:
            layers, self.layers = self.layers, None
            layers.remove(keep=(layers.labels,) if keep_labels else ())
        self.state, self.current, self.last_preview, self._drawn_prompts = SessionState(), None, None, None
        self.can_undo = self.can_redo = False
        self.changed.emit()
        return session

    def _add_layers(self, image: Any, grid: LayerGrid) -> None:
        layers = OwnLayers(self.viewer, image, grid)
        self.mouse = MouseTools(
            self.viewer,
            grid,
            on_gesture=self.take,
            on_draw=layers.show_stroke,
            on_refused=lambda line: self.said.emit(line, "warn"),
        )
        self.mouse.attach(layers.points, layers.strokes, layers.labels)
        self.mouse.tool, self.mouse.positive = self._tool, self._positive
        layers.labels.events.paint.connect(self._painted)
        layers.points.events.data.connect(self._points_edited)
        layers.on_removed(lambda: QTimer.singleShot(0, lambda: self._put_back(image, grid)))
        self.layers, self._drawn_prompts = layers, None
        self.layers_made.emit()

    def _put_back(self, image: Any, grid: LayerGrid) -> None:
        if self.layers is None or self.session is None or image not in self.viewer.layers:
            return
        self.layers.remove()
        self._add_layers(image, grid)
        self._composer.forget()
        self._edit("draw again", lambda _: None)
        self.said.emit("voxsam's layers are needed while it works, and were put back; nothing was lost", "info")

    # ── what is there ────────────────────────────────────────────────────────

    @property
    def geometry(self) -> Geometry | None:
        """Of the scan."""
        return None if self.layers is None else self.layers.grid.geometry

    @property
    def item(self) -> ObjectState | None:
        """The current object."""
        return next((item for item in self.state.objects if item.id == self.current), None)

    @property
    def view(self) -> SliceView | None:
        """The slice that the viewer shows."""
        if self.layers is None:
            return None
        return self.layers.grid.view(self.viewer.dims.order, self.viewer.dims.point)

    @property
    def tool(self) -> Tool:
        """The prompt tool in hand."""
        return self._tool

    @property
    def positive(self) -> bool:
        """Prompts say what belongs to the object."""
        return self._positive

    # ── choices ──────────────────────────────────────────────────────────────

    def set_tool(self, tool: Tool) -> None:
        """Take a tool in hand, and make our layers the active ones."""
        self._tool = tool
        if self.mouse is not None and self.layers is not None:
            self.mouse.tool = tool
            self.layers.select()
        self.changed.emit()

    def set_positive(self, positive: bool) -> None:
        """Say whether prompts are about the object, or about what is not the object."""
        self._positive = positive
        if self.mouse is not None:
            self.mouse.positive = positive
        self.changed.emit()

    def set_live(self, live: bool) -> None:
        """Show, or do not show, what each prompt leads to at once."""
        self.live = live
        if live:
            self._preview_if_wanted()
        else:
            self._clear_previews()
        self.changed.emit()

    def choose(self, object_id: int) -> None:
        """Make an object the current one."""
        self.current = object_id
        self._clear_previews()
        self._draw()
        self._preview_if_wanted()

    def choose_next(self, step: int = 1) -> None:
        """Make the next object the current one; after the last comes the first."""
        ids = [item.id for item in self.state.objects]
        if ids:
            self.choose(ids[(ids.index(self.current) + step) % len(ids)] if self.current in ids else ids[0])

    def go_to(self, view: SliceView) -> None:
        """Show a slice, turning the viewer to its plane where it shows another."""
        if self.layers is None:
            return
        grid, dims = self.layers.grid, self.viewer.dims
        extra = dims.ndim - grid.ndim
        if grid.ndim == 3 and grid.slider_at(view, dims.order) is None:
            normal = grid.axis_of(view.plane)
            rest = [axis for axis in range(3) if axis != normal]
            dims.order = (*range(extra), *(axis + extra for axis in (normal, *rest)))
        place = grid.slider_at(view, dims.order)
        if place is not None:
            dims.set_point(place[0] + extra, place[1])

    # ── edits ────────────────────────────────────────────────────────────────

    def take(self, gesture: Gesture) -> None:
        """Make a prompt of a gesture."""
        if self.layers is None or self.session is None:
            return
        try:
            if gesture.tool == "lasso":
                self._take_lasso(gesture)
            else:
                self.add_prompt(prompt_of(gesture, self.layers.grid.geometry))
        except VoxsamError as error:
            self._draw_prompts_again()
            self.said.emit(line_of(error), "warn")

    def add_prompt(self, prompt: Prompt) -> None:
        """Say something about the current object, which is begun where there is none; then show the slice."""
        self._prompted(lambda session, object_id: session.add_prompt(object_id, prompt))

    def remove_prompt(self, prompt: Prompt) -> None:
        """Take something back that was said about the current object."""
        self._prompted(lambda session, object_id: session.remove_prompt(object_id, prompt))

    def accept(self) -> None:
        """Take the slice as it is shown for drawn: it becomes a prompted slice."""
        view = self.view
        if self.layers is None or self.current is None or view is None:
            return
        drawn = self.layers.picture.slice(view) == self.current
        if not drawn.any():
            self.said.emit("there is nothing of the object on this slice to accept: click on it first", "warn")
            return
        self._accept(view, drawn)

    def undo(self) -> None:
        """Take back the last edit."""
        self._edit("undo", lambda session: session.undo(), then=lambda _: self._refresh_previews())

    def redo(self) -> None:
        """Do again what was undone."""
        self._edit("redo", lambda session: session.redo(), then=lambda _: self._refresh_previews())

    def add_object(self, name: str = "", **options: Any) -> None:
        """Begin an object, and make it the current one."""
        self._edit("add object", lambda session: session.add_object(name, **options), then=self.choose)

    def remove_object(self, object_id: int) -> None:
        """Take an object away."""
        self._edit("delete object", lambda session: session.remove_object(object_id))

    def remove_current(self) -> None:
        """Take the current object away."""
        if self.current is not None:
            self.remove_object(self.current)

    def change_object(self, object_id: int, **changes: Any) -> None:
        """Rename, colour, lock or hide an object."""
        self._edit("change object", lambda session: session.change_object(object_id, **changes))

    def set_overlap(self, policy: Any) -> None:
        """Say who keeps a voxel that two objects want."""
        self._edit("overlap", lambda session: session.set_overlap(policy))

    def propagate(self, reach: Any = "whole") -> None:
        """Segment the current object in 3D."""
        self._long_edit("propagate", lambda session, key, tick: session.propagate(key, reach=reach, on_progress=tick))

    def refine(self) -> None:
        """Let new prompts correct the mask near where they are."""
        self._long_edit("refine", lambda session, key, tick: session.refine(key, on_progress=tick))

    def cancel(self) -> None:
        """Stop the long work that goes on; the state stays as it was before."""
        if self._long is not None:
            self.worker.cancel(self._long)

    # ── inside ───────────────────────────────────────────────────────────────

    def _take_lasso(self, gesture: Gesture) -> None:
        if self.layers is None:
            return
        region = region_of(gesture, self.layers.grid.geometry)
        drawn = (
            self.layers.picture.slice(gesture.view) == self.current if self.current is not None else ~region & region
        )
        drawn = drawn | region if gesture.positive else drawn & ~region
        if not drawn.any():
            raise PromptError("the lasso would leave nothing of the object on this slice: undo or delete it instead")
        self._accept(gesture.view, drawn)

    def _accept(self, view: SliceView, drawn: Any) -> None:
        def verb(session: Session, object_id: int) -> None:
            session.accept_slice(object_id, drawn, plane=view.plane, index=view.index)

        self._prompted(verb, show=False)

    def _prompted(self, verb: Callable[[Session, int], Any], *, show: bool = True) -> None:
        """Edit the current object's prompts; what is being propagated is stopped first, as its answer would be old."""
        self.cancel()
        current = self.current

        def run(session: Session) -> int:
            known = current is not None and any(item.id == current for item in session.state.objects)
            object_id = current if known and current is not None else session.add_object()
            verb(session, object_id)
            return object_id

        def then(object_id: int) -> None:
            self.current = object_id
            self._refresh_previews() if show else self._clear_previews()

        self._edit("prompt", run, then=then)

    def _edit(self, name: str, verb: Callable[[Session], Any], *, then: Callable[[Any], None] | None = None) -> None:
        session = self.session
        if session is None:
            self.said.emit("open an image first: choose one under Scan", "warn")
            return

        def done(update: _Update) -> None:
            if self.session is session:
                self._took(update, then)

        self.worker.edit(Job(lambda _: self._update(session, verb(session)), done, self._edit_failed, name=name))

    def _long_edit(self, name: str, verb: Callable[[Session, int, Any], Any]) -> None:
        session, current = self.session, self.current
        if session is None or current is None:
            self.said.emit("click on the object first, then propagate", "warn")
            return
        self.cancel()

        def done(update: _Update) -> None:
            self._end_of_long()
            self._took(update, lambda report: self._told(report))

        def failed(error: Exception) -> None:
            self._end_of_long()
            if isinstance(error, Cancelled):
                self.said.emit(f"{name} was cancelled: everything is as it was before", "info")
                self.changed.emit()
            else:
                self._edit_failed(error)

        self.long_work = name
        self._long = self.worker.edit(
            Job(
                lambda tick: self._update(session, verb(session, current, tick)),
                done,
                failed,
                progress=self.progressed.emit,
                name=name,
            )
        )
        self.changed.emit()

    def _end_of_long(self) -> None:
        self._long, self.long_work = None, ""

    def _update(self, session: Session, value: Any) -> _Update:
        state = session.state
        geometry = self._geometry
        volumes = {item.id: _volume_ml(item.mask, geometry) for item in state.objects if item.mask and geometry}
        return _Update(value, state, self._composer.patch(state), session.can_undo, session.can_redo, volumes)

    def _took(self, update: _Update, then: Callable[[Any], None] | None) -> None:
        before = self.item
        self.state, self.volumes_ml = update.state, update.volumes_ml
        self.can_undo, self.can_redo = update.can_undo, update.can_redo
        ids = [item.id for item in self.state.objects]
        if self.current not in ids:
            self.current = ids[-1] if ids else None
        after = self.item
        if before is not None and (after is None or after.mask is not before.mask):
            self._clear_previews(draw=False)
        if update.patch is not None and self.layers is not None:
            self.layers.picture.apply(update.patch)
            self.layers.show_labels()
        if then is not None:
            then(update.value)
        self._draw()

    def _told(self, report: Any) -> None:
        item = self.item
        if item is not None:
            stopped = len(report.of_source("stopped"))
            self.said.emit(f"{item.name}: {report.volume_ml:.1f} mL on {len(report.slices) - stopped} slices", "info")

    def _draw(self) -> None:
        if self.layers is not None:
            item = self.item
            self.layers.show_objects(self.state.objects, self.current)
            prompts = () if item is None else item.prompts
            if prompts != self._drawn_prompts:
                self._drawn_prompts = prompts
                self.layers.show_prompts(prompts)
        self.changed.emit()

    def _draw_prompts_again(self) -> None:
        self._drawn_prompts = None
        self._draw()

    def _edit_failed(self, error: Exception) -> None:
        self._failed("", error)
        self._draw_prompts_again()

    def _failed(self, _: str, error: Exception) -> None:
        self.said.emit(line_of(error), "error")

    # ── previews ─────────────────────────────────────────────────────────────

    def _refresh_previews(self) -> None:
        self._clear_previews(draw=False)
        self._preview_if_wanted()
        if self.layers is not None:
            self.layers.show_labels()

    def _clear_previews(self, *, draw: bool = True) -> None:
        self.worker.drop("preview")
        self.last_preview = None
        if self.layers is not None and self.layers.picture.previews:
            self.layers.picture.clear()
            if draw:
                self.layers.show_labels()

    def _preview_if_wanted(self) -> None:
        view, item, session, layers = self.view, self.item, self.session, self.layers
        if not self.live or view is None or item is None or session is None or layers is None:
            return
        if not _says_something(item, layers.grid.geometry, view):
            return
        key, prompts = item.id, item.prompts

        def done(preview: Preview) -> None:
            now = self.item
            if self.layers is layers and now is not None and now.id == key and now.prompts == prompts:
                self.last_preview = preview
                layers.picture.overlay(view, preview.mask, key, kept=self._kept(key))
                layers.show_labels()
                self.changed.emit()

        def failed(error: Exception) -> None:
            if not isinstance(error, Cancelled | PromptError | SessionError):
                self._failed("preview", error)

        job = Job(lambda _: session.preview(key, plane=view.plane, index=view.index), done, failed, name="preview")
        self.worker.newest("preview", job)

    def _kept(self, key: int) -> frozenset[int] | None:
        """Tell which objects a preview may not cover; None for all others."""
        if self.state.overlap == "keep":
            return None
        return frozenset(item.id for item in self.state.objects if item.locked and item.id != key)

    # ── what the user does to our layers by napari's own tools ────────────────

    def _slice_changed(self, _: Any = None) -> None:
        if self.layers is not None:
            self._preview_if_wanted()
            self.moved.emit()

    def _painted(self, _: Any) -> None:
        """Take a stroke of the brush for a drawn slice."""
        view = self.view
        if self.layers is None or self.layers.is_ours or view is None or self.current is None:
            return
        drawn = (self.layers.picture.slice(view) == self.current).copy()
        self.layers.picture.settle(view)
        self._composer.forget()
        self._accept(view, drawn)

    def _points_edited(self, event: Any) -> None:
        """Follow points that were added, moved or deleted by napari's tools."""
        item = self.item
        if self.layers is None or self.layers.is_ours or not str(event.action).endswith(("ed", "ED")):
            return
        have = [] if item is None else [prompt for prompt in item.prompts if isinstance(prompt, Point)]
        places = [tuple(place) for place in self.layers.grid.to_voxel(self.layers.points.data).tolist()]
        for point in have:
            if not any(np.allclose(point.zyx, place, atol=1e-6) for place in places):
                self.remove_prompt(point)
        for place in places:
            if not any(np.allclose(point.zyx, place, atol=1e-6) for point in have):
                self.add_prompt(Point(place, self._positive))


def line_of(error: Exception) -> str:
    """Word an error in one line for the user."""
    if isinstance(error, VoxsamError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}; nothing was lost"
    else:
        text = f"this should not happen: {type(error).__name__}: {error}; your work is kept"
    return " ".join(text.split())


def _volume_ml(mask: CroppedMask, geometry: Geometry) -> float:
    return float(_BITS_IN_BYTE[mask.packed].sum()) * geometry.voxel_volume_mm3 / 1000.0


def _says_something(item: ObjectState, geometry: Geometry, view: SliceView) -> bool:
    """Tell whether a prompt that the mask does not answer yet lies on a slice."""
    normal = geometry.axes_of(view.plane).normal
    return any(
        _lies_on(prompt, normal, view.index)
        for prompt in item.prompts
        if item.mask is None or prompt not in item.answered
    )


def _lies_on(prompt: Prompt, normal: int, index: int) -> bool:
    if isinstance(prompt, Point):
        return round(prompt.zyx[normal]) == index
    if isinstance(prompt, Scribble):
        return bool((np.round(prompt.points_zyx[:, normal]) == index).any())
    return isinstance(prompt, Box) and round(prompt.low_zyx[normal]) == index == round(prompt.high_zyx[normal])
