"""What a user does in a napari window: look at a slice, click, drag, press keys, and wait for what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtTest import QTest

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


class User:
    """Somebody with a mouse and a keyboard before a viewer."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot

    @property
    def canvas(self) -> Any:
        """The widget that a mouse hits."""
        return self.viewer.window._qt_viewer.canvas.native

    def pixel_of(self, layer: Any, data: Sequence[float]) -> QPoint:
        """Where on the canvas a data position of a layer is drawn; asked of the scene graph, not of our own code."""
        visual = self.viewer.window._qt_viewer.canvas.layer_to_visual[layer]
        shown = list(self.viewer.dims.order[-2:])
        offset = self.viewer.dims.ndim - layer.ndim
        row, column = (data[axis - offset] for axis in shown)
        place = visual.node.get_transform("visual", "canvas").map([column + 0.5, row + 0.5, 0, 1])
        x, y = (place[:2] / place[3]).tolist()
        return QPoint(round(x), round(y))

    def look(self, axis: int, world: float) -> None:
        """Move a slider."""
        self.viewer.dims.set_point(axis, world)
        self.settle()

    def click(self, at: QPoint, button: Any = LEFT, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        """Move there and click."""
        self.qtbot.mouseMove(self.canvas, at)
        self.settle()
        self.qtbot.mouseClick(self.canvas, button, modifier, pos=at)
        self.settle()

    def drag(self, path: Sequence[QPoint], button: Any = LEFT) -> None:
        """Press at the first place, move along the others, release at the last."""
        self.qtbot.mouseMove(self.canvas, path[0])
        self.qtbot.mousePress(self.canvas, button, pos=path[0])
        for start, end in pairwise(path):
            for step in range(1, 6):  # as a hand moves: napari draws between, and may leave a place out
                _move_with_button(self.canvas, start + (end - start) * (step / 5), button)
                self.qtbot.wait(2)
        self.qtbot.mouseRelease(self.canvas, button, pos=path[-1])
        self.settle()

    def press(self, key: str) -> None:
        """Press a key, such as ``"Shift+Z"``, over the canvas."""
        QTest.keySequence(self.canvas, key)
        self.settle()

    def until(self, holds: Callable[[], Any], timeout: int = 20_000) -> None:
        """Wait until something holds."""
        self.qtbot.waitUntil(lambda: bool(holds()), timeout=timeout)
        self.settle()

    def settle(self) -> None:
        """Let the window draw."""
        self.qtbot.wait(20)

    def seen(self) -> np.ndarray:
        """Return a picture of the canvas (rows, columns, 4)."""
        return np.asarray(self.viewer.screenshot(canvas_only=True, flash=False))


def _move_with_button(widget: Any, at: QPoint, button: Any) -> None:
    """QTest moves the mouse with no button held; a drag has one."""
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    place = QPointF(at)
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        place,
        QPointF(widget.mapToGlobal(at)),
        Qt.MouseButton.NoButton,
        button,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(widget, event)
    QApplication.processEvents()
