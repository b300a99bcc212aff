"""What was found, in numbers and in 3D: both made off the GUI thread, and only for what is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer, Surface
from qtpy.QtCore import QObject, Signal
from scipy import ndimage
from skimage.measure import marching_cubes

from voxsam.errors import SessionError
from voxsam.session import CroppedMask, ObjectState
from voxsam_napari.controller import Controller
from voxsam_napari.grid import LayerGrid
from voxsam_napari.layers import OwnLayers
from voxsam_napari.worker import Job

__all__ = ["Mesh", "Results", "mesh_of"]

#: Voxels along the longest side of a mask that a mesh is made of: more cannot be told apart on a screen.
_LONGEST = 128


@dataclass(frozen=True, eq=False)
class Mesh:
    """Surfaces of several objects as one.

    Parameters
    ----------
    vertices : (N, ndim) float array
        In the viewer's world: napari lights a layer whose transform mirrors it from behind.
    faces : (M, 3) int array
    colors : (N, 4) float array
    """

    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int64]
    colors: npt.NDArray[np.float64]


def mesh_of(items: list[ObjectState], grid: LayerGrid) -> Mesh | None:
    """Make the surface of what is shown; None where nothing is."""
    vertices, faces, colors, count = [], [], [], 0
    for item in items:
        if item.mask is None or not item.visible or min(item.mask.box_shape) < 1:
            continue
        points, triangles = _surface(item.mask)
        vertices.append(grid.to_data(points) @ grid.to_world[:-1, :-1].T + grid.to_world[:-1, -1])
        faces.append(triangles + count)
        colors.append(np.tile((*item.color_rgb, 1.0), (len(points), 1)))
        count += len(points)
    if not vertices:
        return None
    return Mesh(np.concatenate(vertices), np.concatenate(faces), np.concatenate(colors))


class Results(QObject):
    """Measurements of the current object, and the 3D view.

    Parameters
    ----------
    controller : Controller

    Signals
    -------
    changed : ()
    """

    changed = Signal()

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.measured: Any = None
        self.view_3d = False
        self._controller = controller
        self._of: tuple[int, CroppedMask] | None = None
        self._surface: Surface | None = None
        self._hidden: list[Layer] = []
        self._shown_masks: list[tuple[CroppedMask | None, bool, Any]] = []
        controller.changed.connect(self._look)
        controller.viewer.dims.events.ndisplay.connect(self._turned)

    def show_3d(self, wanted: bool) -> None:
        """Turn the viewer to the result in 3D, or back to the slices."""
        if wanted and (self._controller.geometry is None or 1 in self._controller.geometry.shape):
            self._controller.said.emit("there is nothing to see in 3D: this scan has one slice", "warn")
            self.changed.emit()
            return
        self._controller.viewer.dims.ndisplay = 3 if wanted else 2

    def let_go(self) -> None:
        """Take the 3D view off, and listen to the viewer no longer."""
        self._put_away()
        self._controller.viewer.dims.events.ndisplay.disconnect(self._turned)

    def _look(self) -> None:
        """Measure anew where another mask is looked at."""
        item = self._controller.item
        now = None if item is None or item.mask is None else (item.id, item.mask)
        before = self._of
        if now is None or before is None or now[0] != before[0] or now[1] is not before[1]:
            if now != before or now is not None:
                self._of, self.measured = now, None
            if now is None:
                self._controller.worker.drop("measure")
            else:
                self._measure(now)
        if self.view_3d:
            self._draw()

    def _measure(self, wanted: tuple[int, CroppedMask]) -> None:
        session = self._controller.session
        if session is None:
            return

        def done(measured: Any) -> None:
            if self._of is wanted:
                self.measured = measured
                self.changed.emit()

        def failed(error: Exception) -> None:
            if not isinstance(error, SessionError):  # the mask is gone again
                self._controller.tell(error)

        job = Job(lambda _: session.measurements(wanted[0]), done, failed, name="measure")
        self._controller.worker.newest("measure", job)

    def _turned(self, _: Any = None) -> None:
        self.view_3d = self._controller.viewer.dims.ndisplay == 3 and self._controller.layers is not None
        if self.view_3d:
            self._draw()
        else:
            self._put_away()
        self.changed.emit()

    def _draw(self) -> None:
        layers = self._controller.layers
        if layers is None:
            self._put_away()
            return
        items = list(self._controller.state.objects)
        masks = [(item.mask, item.visible, item.color_rgb) for item in items]
        if masks == self._shown_masks and self._surface is not None:
            return
        self._shown_masks, grid = masks, layers.grid

        def done(mesh: Mesh | None) -> None:
            if self.view_3d and self._controller.layers is layers:
                self._show(mesh, layers)

        self._controller.worker.newest("surface", Job(lambda _: mesh_of(items, grid), done, name="3D view"))

    def _show(self, mesh: Mesh | None, layers: OwnLayers) -> None:
        viewer = self._controller.viewer
        self._put_away(for_good=False)
        for layer in viewer.layers:  # in 3D they would hide the surface; they come back with the slices
            if isinstance(layer, Image | Labels) and layer.visible:
                layer.visible = False
                self._hidden.append(layer)
        if mesh is None:
            self._controller.said.emit("there is no mask to see in 3D yet: propagate first", "info")
            return
        self._surface = viewer.add_surface(
            (mesh.vertices, mesh.faces),
            vertex_colors=mesh.colors,
            name="voxsam 3D",
            units=layers.labels.units,
            shading="smooth",
            metadata={"voxsam": {"ours": True}},
        )
        viewer.reset_view()

    def _put_away(self, *, for_good: bool = True) -> None:
        viewer, surface = self._controller.viewer, self._surface
        self._surface = None
        if surface is not None and surface in viewer.layers:
            viewer.layers.remove(surface)
        if for_good:
            self._shown_masks = []
            for layer in self._hidden:
                layer.visible = True
            self._hidden = []
            if surface is not None and self._controller.layers is not None:
                self._controller.layers.select()


def _surface(mask: CroppedMask) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return vertices (N, 3) in the scan's voxels, and triangles (M, 3)."""
    count = int(np.prod(mask.box_shape))
    inside = np.unpackbits(mask.packed, count=count).reshape(mask.box_shape).astype(np.float32)
    steps = [max(1, -(-side // _LONGEST)) for side in mask.box_shape]
    inside = np.pad(inside, [(2 * step, 2 * step) for step in steps])
    sigmas = [max(0.7, 0.4 * step) for step in steps]  # in voxels: slices, however thick, leave no stairs
    smooth = ndimage.gaussian_filter(inside, sigmas)
    coarse = smooth[tuple(slice(None, None, step) for step in steps)]
    level = min(0.5, 0.5 * float(coarse.max()))  # what is one voxel thin has still a surface
    march: Any = marching_cubes  # scikit-image carries no types
    points, faces, *_ = march(coarse, level)
    places = points * steps - np.multiply(2, steps) + np.asarray(mask.low_zyx)
    return np.asarray(places, np.float64), np.asarray(faces, np.int64)
