"""The controller: one session bound to one image of a viewer. Gestures in, layers and news out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, QTimer, Signal

from voxsam.errors import PromptError, SessionError, VoxsamError
from voxsam.geometry import Geometry
from voxsam.prompts import Prompt
from voxsam.session import ObjectState, Session, SessionState
from voxsam.terminology import code_for
from voxsam.volume import Volume
from voxsam_napari.byhand import bind_brush, bind_points
from voxsam_napari.edits import EditQueue
from voxsam_napari.grid import LayerGrid, SliceView
from voxsam_napari.layers import OwnLayers
from voxsam_napari.previews import Previews
from voxsam_napari.tools import Gesture, MouseTools, Tool, prompt_of, region_of
from voxsam_napari.update import Reader, Update
from voxsam_napari.worker import Worker, line_of

__all__ = ["Controller"]


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
        self.layers: OwnLayers | None = None
        self.state = SessionState()
        self.update = _NOTHING
        self.current: int | None = None
        self.edits = EditQueue(worker, self)
        self.previews = Previews(self)
        self._mouse: MouseTools | None = None
        self._tool: Tool = "point"
        self._positive = True
        self._drawn_prompts: tuple[Prompt, ...] | None = None
        worker.failed.connect(lambda _, error: self.tell(error))
        self.edits.took.connect(self._took)
        self.edits.refused.connect(self._refused)
        self.edits.cancelled.connect(
            lambda name: self.said.emit(f"{name} was cancelled: all is as it was before", "info")
        )
        self.edits.progressed.connect(self.progressed)
        self.edits.long_changed.connect(self.changed)
        viewer.dims.events.point.connect(self._slice_changed)
        viewer.dims.events.order.connect(self._slice_changed)

    # ── binding ──────────────────────────────────────────────────────────────

    def bind(self, session: Session, image: Any, grid: LayerGrid, volume: Volume) -> None:
        """Work on a session from now on, over an image."""
        self.unbind()
        self.edits.begin(Reader(session, grid.geometry))
        self._add_layers(image, grid, volume)
        self.edit("open", lambda _: None)
        self.previews.slice_changed()

    def unbind(self, *, keep_labels: bool = False) -> Session | None:
        """Work on it no longer; returns the session, which stays open."""
        session = self.session
        self.edits.end()
        self.previews.clear()
        if self._mouse is not None:
            self._mouse.detach()
            self._mouse = None
        if self.layers is not None:
            layers, self.layers = self.layers, None
            layers.remove(keep=(layers.labels,) if keep_labels else ())
        self.state, self.update, self.current, self._drawn_prompts = SessionState(), _NOTHING, None, None
        self.changed.emit()
        return session

    def _add_layers(self, image: Any, grid: LayerGrid, volume: Volume) -> None:
        layers = OwnLayers(self.viewer, image, grid, volume)
        self._mouse = MouseTools(
            self.viewer,
            grid,
            on_gesture=self.take,
            on_draw=layers.show_stroke,
            on_hover=self.previews.hover,
            on_refused=lambda line: self.said.emit(line, "warn"),
        )
        self._mouse.attach(*layers.all)
        self._mouse.tool, self._mouse.positive = self._tool, self._positive
        bind_brush(layers, self)
        bind_points(layers, self)
        layers.on_removed(lambda: QTimer.singleShot(0, lambda: self._put_back(image, grid, volume)))
        self.layers, self._drawn_prompts = layers, None
        self.layers_made.emit()

    def _put_back(self, image: Any, grid: LayerGrid, volume: Volume) -> None:
        if self.layers is None or image not in self.viewer.layers:
            return
        self.previews.clear()
        self.layers.remove()
        self._add_layers(image, grid, volume)
        self.draw_again()
        self.said.emit("voxsam's layers are needed while it works, and were put back; nothing was lost", "info")

    def let_go(self) -> None:
        """Listen to the viewer no longer; it may outlive the dock."""
        self.viewer.dims.events.point.disconnect(self._slice_changed)
        self.viewer.dims.events.order.disconnect(self._slice_changed)

    # ── what is there ────────────────────────────────────────────────────────

    @property
    def session(self) -> Session | None:
        """What is worked on."""
        return None if self.edits.reader is None else self.edits.reader.session

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
        if self._mouse is not None and self.layers is not None:
            self._mouse.tool = tool
            self.layers.select()
        self.changed.emit()

    def set_positive(self, positive: bool) -> None:
        """Say whether prompts are about the object, or about what is not the object."""
        self._positive = positive
        if self._mouse is not None:
            self._mouse.positive = positive
        self.changed.emit()

    def set_live(self, live: bool) -> None:
        """Show, or do not show, what each prompt leads to at once."""
        self.previews.set_live(live)
        self.changed.emit()

    def choose(self, object_id: int) -> None:
        """Make an object the current one."""
        self.current = object_id
        self.previews.refresh()
        self._draw()

    def choose_next(self) -> None:
        """Make the next object the current one; after the last comes the first."""
        ids = [item.id for item in self.state.objects]
        if ids:
            self.choose(ids[(ids.index(self.current) + 1) % len(ids)] if self.current in ids else ids[0])

    def go_to(self, view: SliceView) -> None:
        """Show a slice, turning the viewer to its plane where it shows another."""
        if self.layers is None:
            return
        self.layers.grid.show(self.viewer.dims, view)

    # ── edits ────────────────────────────────────────────────────────────────

    def take(self, gesture: Gesture) -> None:
        """Make a prompt of a gesture."""
        if self.layers is None:
            return
        try:
            if gesture.tool == "lasso":
                self._take_lasso(gesture)
            else:
                self.add_prompt(prompt_of(gesture, self.layers.grid.geometry))
        except VoxsamError as error:
            self._draw_prompts_again()
            self.tell(error, "warn")

    def add_prompt(self, prompt: Prompt) -> None:
        """Say something about the current object, which is begun where there is none; then show the slice."""
        self._prompted(lambda session, object_id: session.add_prompt(object_id, prompt))

    def remove_prompt(self, prompt: Prompt) -> None:
        """Take something back that was said about the current object."""
        self._prompted(lambda session, object_id: session.remove_prompt(object_id, prompt))

    def accept(self) -> None:
        """Take the slice as it is shown for drawn: it becomes a prompted slice."""
        view = self.view
        if self.layers is None or view is None:
            return
        drawn = self._shown_of_current(view)
        if drawn is None or not drawn.any():
            self.said.emit("there is nothing of the object on this slice to accept: click on it first", "warn")
            return
        self.accept_drawn(view, drawn)

    def accept_drawn(self, view: SliceView, drawn: npt.NDArray[np.bool_]) -> None:
        """Make a slice of the current object what was drawn, (rows, columns) in array order."""

        def verb(session: Session, object_id: int) -> None:
            session.accept_slice(object_id, drawn, plane=view.plane, index=view.index)

        self._prompted(verb)

    def undo(self) -> None:
        """Take back the last edit."""
        self.cancel()
        self.edit("undo", lambda session: session.undo(), then=lambda _: self.previews.refresh())

    def redo(self) -> None:
        """Do again what was undone."""
        self.cancel()
        self.edit("redo", lambda session: session.redo(), then=lambda _: self.previews.refresh())

    def add_object(self) -> None:
        """Begin an object, and make it the current one."""
        self.edit("add object", lambda session: session.add_object(), then=self.choose)

    def remove_object(self, object_id: int) -> None:
        """Take an object away."""
        self.cancel()
        self.edit("delete object", lambda session: session.remove_object(object_id))

    def remove_current(self) -> None:
        """Take the current object away."""
        if self.current is not None:
            self.remove_object(self.current)

    def change_object(self, object_id: int, **changes: Any) -> None:
        """Rename, colour, code, lock or hide an object."""
        self.edit("change object", lambda session: session.change_object(object_id, **changes))

    def rename(self, object_id: int, name: str) -> None:
        """Name an object, and code it where the name is one that has a code."""
        self.edit("rename", lambda session: session.change_object(object_id, name=name, code=code_for(name)))

    def set_overlap(self, policy: Any) -> None:
        """Say who keeps a voxel that two objects want."""
        self.edit("overlap", lambda session: session.set_overlap(policy), then=lambda _: self.previews.refresh())

    def propagate(self, reach: Any = "whole") -> None:
        """Segment the current object in 3D."""
        self._long("propagate", lambda session, key, tick: session.propagate(key, reach=reach, on_progress=tick))

    def refine(self) -> None:
        """Let new prompts correct the mask near where they are."""
        self._long("refine", lambda session, key, tick: session.refine(key, on_progress=tick))

    def draw_again(self, view: SliceView | None = None) -> None:
        """Draw one slice, or everything, anew from the session."""
        reader = self.edits.reader
        if reader is not None:
            self.edit("draw", lambda _: reader.composer.forget(view))

    def cancel(self) -> None:
        """Stop the long work that goes on; the state stays as it was before."""
        self.edits.cancel()

    def edit(self, name: str, verb: Callable[[Session], Any], *, then: Callable[[Any], None] | None = None) -> None:
        """Queue an edit; when it is done, show what it led to, then call `then` with what it returned."""
        if not self.edits.add(name, verb, then=then):
            self.said.emit(_NO_SCAN, "warn")

    # ── inside ───────────────────────────────────────────────────────────────

    def tell(self, error: Exception, kind: str = "error") -> None:
        """Tell the user what went wrong."""
        self.said.emit(line_of(error), kind)

    def _take_lasso(self, gesture: Gesture) -> None:
        if self.geometry is None:
            return
        region = region_of(gesture, self.geometry)
        drawn = self._shown_of_current(gesture.view)
        before = np.zeros_like(region) if drawn is None else drawn
        after = before | region if gesture.positive else before & ~region
        if not after.any():
            raise PromptError("the lasso would leave nothing of the object on this slice: undo or delete it instead")
        self.accept_drawn(gesture.view, after)

    def _shown_of_current(self, view: SliceView) -> npt.NDArray[np.bool_] | None:
        if self.layers is None or self.current is None:
            return None
        return np.asarray(self.layers.picture.slice(view) == self.current)

    def _prompted(self, verb: Callable[[Session, int], Any]) -> None:
        """Edit the current object's prompts; what is being propagated is stopped first, as its answer would be old."""
        self.cancel()
        current, reader = self.current, self.edits.reader

        def run(session: Session) -> int:
            object_id = None if reader is None else reader.object_for(current)
            if object_id is None:
                object_id = session.add_object()
            if reader is not None:
                reader.begun = object_id
            verb(session, object_id)
            return object_id

        def then(object_id: int) -> None:
            self.current = object_id
            self.previews.refresh()

        self.edit("prompt", run, then=then)

    def _long(self, name: str, verb: Callable[[Session, int, Any], Any]) -> None:
        current, reader = self.current, self.edits.reader

        def run(session: Session, tick: Any) -> Any:
            object_id = None if reader is None else reader.object_for(current)
            if object_id is None:
                raise SessionError(f"there is no object to {name} yet: click on it first")
            return verb(session, object_id, tick)

        if not self.edits.add_long(name, run, then=self._told):
            self.said.emit(_NO_SCAN, "warn")

    def _took(self, update: Update, then: Callable[[Any], None] | None) -> None:
        before = self.item
        self.state, self.update = update.state, update
        ids = [item.id for item in self.state.objects]
        if self.current not in ids:
            self.current = ids[-1] if ids else None
        after = self.item
        if before is not None and (after is None or after.mask is not before.mask or not after.visible):
            self.previews.clear()
        if self.layers is not None:
            self.layers.make_room(max(ids, default=0))
            if update.patch is not None:
                self.layers.picture.apply(update.patch)
                self.layers.show_labels()
        if then is not None:
            then(update.value)
        self._draw()

    def _refused(self, error: Exception) -> None:
        self.tell(error)
        self._draw_prompts_again()

    def _told(self, report: Any) -> None:
        item = self.item
        if item is not None:
            slices = len(report.slices) - len(report.of_source("stopped"))
            self.said.emit(f"{item.name}: {report.volume_ml:.1f} mL on {slices} slices", "info")

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

    def _slice_changed(self, _: Any = None) -> None:
        if self.layers is not None:
            self.previews.slice_changed()
            self.moved.emit()


_NO_SCAN = "open an image first: choose one under Scan"
_NOTHING = Update(None, SessionState(), None, False, False, {}, "")
