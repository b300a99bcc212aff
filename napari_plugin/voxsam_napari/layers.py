"""The plugin's own layers: what the objects look like, and what was said about the current one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels, Layer, Points, Shapes
from napari.utils import DirectLabelColormap

from voxsam.prompts import Box, Point, Prompt, Scribble
from voxsam.session import ObjectState
from voxsam.volume import Volume
from voxsam_napari.compose import LabelPicture
from voxsam_napari.grid import LayerGrid

__all__ = ["OwnLayers"]

POSITIVE, NEGATIVE = "#2fd36b", "#ff5252"
_CLEAR = (0.0, 0.0, 0.0, 0.0)
FloatArray = npt.NDArray[np.float64]


class OwnLayers:
    """Three layers over an image: labels, points, and the strokes and boxes. The user's own are never written to.

    Parameters
    ----------
    viewer : napari.Viewer
    image : napari.layers.Image
        Whose place they take.
    grid : LayerGrid
        Of the image.
    volume : Volume
        The scan; what saves our labels by napari's own menu finds its grid there.
    """

    def __init__(self, viewer: Any, image: Layer, grid: LayerGrid, volume: Volume) -> None:
        self.grid = grid
        self.picture = LabelPicture(grid.geometry)
        self._viewer = viewer
        self._busy = 0
        self._heard: Callable[[Any], None] | None = None
        place: dict[str, Any] = {"affine": grid.to_world, "units": tuple(image.units)[-grid.ndim :]}
        if image.ndim == grid.ndim:  # to the last bit: a slider counts its steps by them
            place.update({name: getattr(image, name) for name in ("scale", "translate", "rotate", "shear", "affine")})
        known = {"volume": volume, "axes": grid.axes, "flips": grid.flips} if grid.ndim == 3 else {}
        self.labels: Labels = viewer.add_labels(
            grid.shown(self.picture.array), name="voxsam objects", opacity=0.45, metadata={"voxsam": known}, **place
        )
        self.strokes: Shapes = viewer.add_shapes(
            ndim=grid.ndim, name="voxsam strokes", face_color="transparent", opacity=1.0, **place
        )
        self.points: Points = viewer.add_points(
            ndim=grid.ndim,
            name="voxsam prompts",
            size=_point_size(grid),
            canvas_size_limits=(9, 16),
            border_color="white",
            border_width=0.12,
            opacity=1.0,
            **place,
        )
        self.all: tuple[Layer, ...] = (self.labels, self.strokes, self.points)
        self.select()

    @property
    def is_ours(self) -> bool:
        """A change of a layer that is going on was made by the plugin."""
        return self._busy > 0

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Mark the changes inside as made by the plugin."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def select(self) -> None:
        """Make the prompts the active layer, so that clicks and keys come to us."""
        if self.points in self._viewer.layers:
            self._viewer.layers.selection.active = self.points

    def make_room(self, key: int) -> None:
        """Let the labels hold an object's id."""
        before = self.picture.array
        self.picture.widen(key)
        if self.picture.array is not before:
            with self.ours():
                self.labels.data = self.grid.shown(self.picture.array)

    def show_labels(self) -> None:
        """Draw the label picture as it is now."""
        self.labels.refresh(thumbnail=False)

    def show_objects(self, objects: Iterable[ObjectState], current: int | None) -> None:
        """Give the objects their colours."""
        with self.ours():
            colors: dict[int | None, Any] = {None: _CLEAR, 0: _CLEAR}
            colors.update({item.id: (*item.color_rgb, 1.0) for item in objects})
            if self._colors() != colors:
                self.labels.colormap = DirectLabelColormap(color_dict=colors)
            if current is not None:
                self.labels.selected_label = current

    def show_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Draw what was said about one object."""
        clicks = [prompt for prompt in prompts if isinstance(prompt, Point)]
        strokes = [prompt for prompt in prompts if isinstance(prompt, Scribble | Box)]
        with self.ours():
            data = self.grid.to_data(np.array([click.zyx for click in clicks]).reshape(-1, 3))
            self.points.selected_data = set()
            self.points.data = data
            if clicks:
                self.points.face_color = [_color(click.positive) for click in clicks]
            self._draw_strokes([self._outline(stroke) for stroke in strokes])

    def show_stroke(self, points_zyx: FloatArray, *, kind: str, positive: bool) -> None:
        """Draw a stroke while it is being made, above those that are there."""
        with self.ours():
            if self.strokes.nshapes > self._steady:
                self.strokes.selected_data = set(range(self._steady, self.strokes.nshapes))
                self.strokes.remove_selected()
            self._add(*self._rubber(points_zyx, kind), _color(positive))

    def remove(self, *, keep: Sequence[Layer] = ()) -> None:
        """Take the layers out of the viewer, and listen to it no longer."""
        if self._heard is not None:
            self._viewer.layers.events.removed.disconnect(self._heard)
            self._heard = None
        with self.ours():
            for layer in self.all:
                if layer in self._viewer.layers and layer not in keep:
                    self._viewer.layers.remove(layer)

    def on_removed(self, call: Callable[[], None]) -> None:
        """Call when the user takes one of them out of the viewer."""

        def removed(event: Any) -> None:
            if event.value in self.all and not self.is_ours:
                call()

        self._viewer.layers.events.removed.connect(removed)
        self._heard = removed

    def _colors(self) -> dict[int | None, Any]:
        colormap = self.labels.colormap
        if not isinstance(colormap, DirectLabelColormap):
            return {}
        return {key: tuple(round(float(part), 6) for part in value) for key, value in colormap.color_dict.items()}

    def _outline(self, stroke: Scribble | Box) -> tuple[FloatArray, str, str]:
        if isinstance(stroke, Scribble):
            return *self._rubber(np.asarray(stroke.points_zyx), "scribble"), _color(stroke.positive)
        return *self._rubber(np.array([stroke.low_zyx, stroke.high_zyx]), "box"), _color(True)

    def _rubber(self, points_zyx: FloatArray, kind: str) -> tuple[FloatArray, str]:
        """Return the vertices (N, ndim) of a shape, and which of napari's kinds it is."""
        if kind == "box":
            low, high = points_zyx.min(axis=0), points_zyx.max(axis=0)
            low, high = low - 0.5 * (low < high), high + 0.5 * (low < high)  # the corner voxels belong to it
            flat = int(np.argmin(high - low))
            across, down = (axis for axis in range(3) if axis != flat)
            corners = np.array([low] * 4)
            corners[:, flat] = (low[flat] + high[flat]) / 2
            corners[1:3, across], corners[2:, down] = high[across], high[down]
            return self.grid.to_data(corners), "rectangle"
        if kind == "lasso":  # as a closed line: napari cannot fill every outline that a hand draws
            points_zyx = np.concatenate([points_zyx, points_zyx[:1]])
        return self.grid.to_data(points_zyx if len(points_zyx) > 1 else np.repeat(points_zyx, 2, axis=0)), "path"

    def _draw_strokes(self, outlines: Sequence[tuple[FloatArray, str, str]]) -> None:
        if self.strokes.nshapes:
            self.strokes.selected_data = set(range(self.strokes.nshapes))
            self.strokes.remove_selected()
        for vertices, shape, color in outlines:
            self._add(vertices, shape, color)
        self._steady = self.strokes.nshapes

    def _add(self, vertices: FloatArray, shape: str, color: str) -> None:
        width = 0.012 * min(max(self.grid.geometry.shape[1:]), 256)
        self.strokes.add([vertices], shape_type=shape, edge_color=color, edge_width=width, face_color="transparent")

    _steady = 0


def _color(positive: bool) -> str:
    return POSITIVE if positive else NEGATIVE


def _point_size(grid: LayerGrid) -> float:
    return max(1.0, 0.02 * max(grid.geometry.shape[1:]))
