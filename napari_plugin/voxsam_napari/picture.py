"""The scan as the model sees it, on the canvas: windows and enhancements at once, in a layer of our own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from qtpy.QtCore import QObject

from voxsam.errors import Cancelled
from voxsam_napari.controller import Controller
from voxsam_napari.grid import SliceView
from voxsam_napari.worker import Job

__all__ = ["ModelPicture"]


class ModelPicture(QObject):
    """Lays one slice, as the model sees it, over the user's image; follows the sliders.

    The user's own layer stays as it is: contrast limits, colours, everything.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.wanted = False
        self._controller = controller
        self._layer: Image | None = None
        self._shown: tuple[Any, ...] = ()
        controller.moved.connect(self._follow)
        controller.changed.connect(self._follow)

    def show(self, wanted: bool) -> None:
        """Lay it over the image, or take it off."""
        self.wanted, self._shown = wanted, ()
        if wanted:
            self._follow()
        else:
            self._take_off()

    def _follow(self) -> None:
        controller = self._controller
        session, view, item = controller.session, controller.view, controller.item
        if not self.wanted or session is None or view is None or controller.viewer.dims.ndisplay == 3:
            if session is None or controller.viewer.dims.ndisplay == 3:
                self._take_off()
            return
        key = None if item is None or not item.prompts else item.id
        now = (id(session), view, key, None if item is None else item.prompts)
        if now == self._shown:
            return
        self._shown = now

        def done(pixels: npt.NDArray[np.float32]) -> None:
            if self.wanted and self._shown == now:
                self._lay(view, pixels)
                self._shown = now

        def failed(error: Exception) -> None:
            if not isinstance(error, Cancelled):
                controller.tell(error)

        def run(_: Any) -> npt.NDArray[np.float32]:
            return session.picture(plane=view.plane, index=view.index, object_id=key)

        controller.worker.newest("picture", Job(run, done, failed, name="picture"))

    def _lay(self, view: SliceView, pixels: npt.NDArray[np.float32]) -> None:
        layers, viewer = self._controller.layers, self._controller.viewer
        if layers is None:
            return
        data, affine = layers.grid.thin(view, pixels)
        if self._layer is not None and (self._layer not in viewer.layers or self._layer.rgb != (pixels.ndim == 3)):
            self._take_off()
        if self._layer is None:
            self._layer = viewer.add_image(
                data,
                rgb=pixels.ndim == 3,
                affine=affine,
                units=layers.labels.units,
                contrast_limits=(0.0, 1.0),
                name="voxsam picture",
                metadata={"voxsam": {"ours": True}},
            )
            viewer.layers.move(viewer.layers.index(self._layer), viewer.layers.index(layers.labels))
            layers.select()
        else:
            self._layer.data = data
            self._layer.affine = affine

    def _take_off(self) -> None:
        layer, self._layer, self._shown = self._layer, None, ()
        if layer is not None and layer in self._controller.viewer.layers:
            self._controller.viewer.layers.remove(layer)
