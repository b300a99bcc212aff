"""The prompt tools: what a mouse does on our layers becomes a gesture, and a gesture a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from napari.layers import Layer
from skimage.draw import polygon2mask

from voxsam.errors import PromptError
from voxsam.geometry import Geometry
from voxsam.prompts import Box, Point, Prompt, Scribble
from voxsam_napari.grid import LayerGrid, SliceView

__all__ = ["TOOLS", "Gesture", "MouseTools", "Tool", "prompt_of", "region_of"]

FloatArray = npt.NDArray[np.float64]
Tool: TypeAlias = Literal["point", "box", "scribble", "lasso", "none"]
TOOLS: tuple[Tool, ...] = ("point", "box", "scribble", "lasso", "none")

#: A mouse that moved less than this, in pixels of the screen, clicked; farther, it dragged.
_CLICK_PX = 4.0
#: Keys that turn a click into the opposite one, as the right button does.
_OPPOSITE_KEYS = frozenset({"Control", "Meta"})


@dataclass(frozen=True, eq=False)
class Gesture:
    """A click or a drag, in voxels.

    Parameters
    ----------
    tool : {"point", "box", "scribble", "lasso"}
    points_zyx : (N, 3) float array
        Along the way of the mouse, one or more.
    positive : bool
    view : SliceView
        Where it was made.
    """

    tool: Tool
    points_zyx: FloatArray
    positive: bool
    view: SliceView


def prompt_of(gesture: Gesture, geometry: Geometry) -> Prompt:
    """Turn a gesture with the point, box or scribble tool into a prompt.

    Raises
    ------
    PromptError
        If it lies outside the scan, or a box is empty or negative.

    Examples
    --------
    >>> path = np.array([(2.0, 3.0, 4.0), (2.0, 6.0, 9.0)])
    >>> prompt_of(Gesture("box", path, True, SliceView("axial", 2)), Geometry.from_spacing((5, 20, 20)))
    Box(low_zyx=(2.0, 3.0, 4.0), high_zyx=(2.0, 6.0, 9.0))
    """
    points = gesture.points_zyx
    if gesture.tool == "box":
        if not gesture.positive:
            raise PromptError("a box says where the object is; cut a part off with a negative point, scribble or lasso")
        low, high = np.round(points.min(axis=0)), np.round(points.max(axis=0))
        return Box(_triple(low), _triple(high)).clipped_to(geometry)
    inside = points[geometry.contains(points)]
    if gesture.tool == "scribble" and len(inside):
        return Scribble(inside, gesture.positive)
    return Point(_triple(points[0]), gesture.positive)


def region_of(gesture: Gesture, geometry: Geometry) -> npt.NDArray[np.bool_]:
    """Fill a lasso: (rows, columns) bool of its slice, in array order.

    Raises
    ------
    PromptError
        If it holds no voxel of the slice.
    """
    axes = geometry.axes_of(gesture.view.plane)
    shape = geometry.shape[axes.row], geometry.shape[axes.column]
    outline = gesture.points_zyx[:, (axes.row, axes.column)]
    fill: Any = polygon2mask  # scikit-image carries no types
    inside = np.asarray(fill(shape, outline), bool) if len(outline) > 2 else np.zeros(shape, bool)
    if not inside.any():
        raise PromptError("the lasso holds no voxel: draw it around a region of the slice, inside the scan")
    return inside


class MouseTools:
    """Listens to the mouse on layers, and hands on finished gestures.

    Parameters
    ----------
    viewer : napari.Viewer
    grid : LayerGrid
    on_gesture : callable
        Called with each `Gesture`.
    on_draw : callable
        Called as ``on_draw(points_zyx, kind=..., positive=...)`` while a stroke is being made.
    on_hover : callable
        Called with the `Gesture` that a click would be where the mouse is; with None where there would be none.
    on_refused : callable
        Called with a line for the user where a click cannot mean anything.
    """

    def __init__(
        self,
        viewer: Any,
        grid: LayerGrid,
        *,
        on_gesture: Callable[[Gesture], None],
        on_draw: Callable[..., None],
        on_hover: Callable[[Gesture | None], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._viewer, self._grid = viewer, grid
        self._on_gesture, self._on_draw, self._on_hover = on_gesture, on_draw, on_hover
        self._on_refused = on_refused
        self._layers: list[Layer] = []
        self._tool: Tool = "point"
        self.positive = True

    @property
    def tool(self) -> Tool:
        """The tool in hand."""
        return self._tool

    @tool.setter
    def tool(self, tool: Tool) -> None:
        self._tool = tool
        for layer in self._layers:  # a drag with these tools draws; with the others it moves the picture
            layer.mouse_pan = tool in ("point", "none")

    def attach(self, *layers: Layer) -> None:
        """Listen on layers."""
        for layer in layers:
            layer.mouse_drag_callbacks.append(self._drag)
            layer.mouse_move_callbacks.append(self._move)
            self._layers.append(layer)
        self.tool = self._tool

    def detach(self) -> None:
        """Listen no longer."""
        for layer in self._layers:
            layer.mouse_drag_callbacks.remove(self._drag)
            layer.mouse_move_callbacks.remove(self._move)
        self._layers.clear()

    def _move(self, layer: Layer, event: Any) -> None:
        view = self._view()
        idle = self._tool != "point" or len(event.dims_displayed) == 3 or _is_busy(layer) or view is None
        self._on_hover(
            None if idle or view is None else Gesture("point", self._voxel(event)[None], self.positive, view)
        )

    def _drag(self, layer: Layer, event: Any) -> Iterator[None]:
        if self._tool == "none" or event.button not in (1, 2) or _is_busy(layer):
            return
        if len(event.dims_displayed) == 3:
            self._on_refused("prompts are given on slices: leave the 3D view first")
            return
        tool, view = self._tool, self._view()
        if view is None:
            self._on_refused("the viewer shows a place beyond the scan: move the slider to one of its slices")
            return
        positive = self.positive != (event.button == 2 or any(key in event.modifiers for key in _OPPOSITE_KEYS))
        start_px, path = np.asarray(event.pos), [self._voxel(event)]
        moved = False
        yield
        while event.type == "mouse_move":
            moved = moved or float(np.abs(np.asarray(event.pos) - start_px).max()) >= _CLICK_PX
            if moved and tool != "point":
                path = [path[0], self._voxel(event)] if tool == "box" else [*path, self._voxel(event)]
                self._on_draw(np.array(path), kind=tool, positive=positive)
            yield
        if moved and tool != "point":  # moves may come late and be left out; where the button was let go counts
            path = [path[0], self._voxel(event)] if tool == "box" else [*path, self._voxel(event)]
        if moved == (tool != "point"):
            self._on_gesture(Gesture(tool, np.array(path), positive, view))
        elif not moved:
            self._on_refused(f"draw the {tool} by dragging the mouse with its button held down")

    def _view(self) -> SliceView | None:
        return self._grid.view(self._viewer.dims.order, self._viewer.dims.point)

    def _voxel(self, event: Any) -> FloatArray:
        return self._grid.clicked(event.position, self._viewer.dims.order, self._viewer.dims.point)


def _is_busy(layer: Layer) -> bool:
    """One of napari's own tools is in hand, such as the brush."""
    return str(getattr(layer, "mode", "pan_zoom")) != "pan_zoom"


def _triple(values: FloatArray) -> tuple[float, float, float]:
    z, y, x = values.tolist()
    return z, y, x
