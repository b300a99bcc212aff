"""What the user does to our layers by napari's own tools: points moved or deleted, slices painted with the brush."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from voxsam.prompts import Point
from voxsam_napari.layers import OwnLayers

if TYPE_CHECKING:
    from voxsam_napari.controller import Controller

__all__ = ["bind_brush", "bind_points"]

#: What napari calls a change of points that has happened, and not one that is about to.
_HAPPENED = ("added", "changed", "removed")


def bind_brush(layers: OwnLayers, controller: Controller) -> None:
    """Take each stroke of the brush for a drawn slice."""

    def painted(_: Any) -> None:
        if not layers.is_ours:
            QTimer.singleShot(0, take)  # napari tells of a stroke before its last voxels are written

    def take() -> None:
        view = controller.view
        if controller.layers is not layers or view is None:
            return
        drawn = layers.picture.slice(view) == controller.current
        layers.picture.settle(view)
        if controller.current is not None:
            controller.accept_drawn(view, np.asarray(drawn))
        controller.draw_again(view)  # also where the session turns the stroke down, or keeps others' voxels

    layers.labels.events.paint.connect(painted)


def bind_points(layers: OwnLayers, controller: Controller) -> None:
    """Make prompts of points that were added or moved, and take back those that were deleted."""

    def edited(event: Any) -> None:
        if layers.is_ours or controller.layers is not layers or event.action not in _HAPPENED:
            return
        item = controller.item
        have = [] if item is None else [prompt for prompt in item.prompts if isinstance(prompt, Point)]
        places = [(z, y, x) for z, y, x in layers.grid.to_voxel(layers.points.data).tolist()]
        gone = [point for point in have if not any(_same(point.zyx, place) for place in places)]
        come = [place for place in places if not any(_same(point.zyx, place) for point in have)]
        for point in gone:
            controller.remove_prompt(point)
        for at, place in enumerate(come):
            positive = gone[at].positive if at < len(gone) else controller.positive  # a moved point stays what it was
            controller.add_prompt(Point(place, positive))

    layers.points.events.data.connect(edited)


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return bool(np.allclose(one, other, rtol=0, atol=1e-6))
