"""Carry the prompted slices through the scan: how far, how it goes, and stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QLabel, QProgressBar, QSpinBox, QStackedWidget, QWidget

from voxsam_napari.panels.controls import Choice, Faint, IconButton, Panel, TextButton, described, row

__all__ = ["PropagatePanel", "PropagateShown", "Reach"]

Reach: TypeAlias = Literal["whole", "up", "down"] | tuple[int, int]


@dataclass(frozen=True)
class PropagateShown:
    """What the panel shows.

    Parameters
    ----------
    count : int
        Slices along the plane.
    current : int
        The slice on the canvas.
    can_run, can_refine : bool
    running : bool
    done, total : int
        Slices of the running propagation; `total` 0 while that is not known.
    text : str
        What happens, or what came of it, in one line.
    """

    count: int = 0
    current: int = 0
    can_run: bool = False
    can_refine: bool = False
    running: bool = False
    done: int = 0
    total: int = 0
    text: str = ""


class PropagatePanel(Panel):
    """Choose how far to carry the object, start, watch and cancel."""

    propagate_asked = Signal(object)
    refine_asked = Signal()
    cancel_asked = Signal()

    def __init__(self) -> None:
        super().__init__("Propagate")
        self.shown = PropagateShown()
        self.direction = Choice(
            (
                ("whole", "Whole", "Carry the object both ways, until it ends"),
                ("up", "Up", "From this slice towards higher slice numbers"),
                ("down", "Down", "From this slice towards lower slice numbers"),
                ("range", "Range", "Between two slices; outside, the mask stays as it is"),
            ),
            "Direction",
        )
        self.first = described(QSpinBox(), "First slice", "First slice of the range")
        self.last = described(QSpinBox(), "Last slice", "Last slice of the range")
        self.run = TextButton("Propaga&te", "Segment the object in 3D from its prompts", "propagate", main=True)
        self.refine = TextButton(
            "&Refine", "Apply the new prompts near where they are; good slices elsewhere stay", "refine"
        )
        self.progress = described(QProgressBar(), "Progress", "Slices done")
        self.progress.setFixedHeight(30)
        self.cancel = IconButton("cancel", "Cancel", "Stop; the mask stays as it was before")
        self.text = Faint()
        self._keyed = {"propagate": self.run, "refine": self.refine, "cancel": self.cancel}
        self._steps = QStackedWidget()
        for line in (row(self.run, self.refine), row(self.progress, self.cancel)):
            page = QWidget()
            page.setLayout(line)
            self._steps.addWidget(page)
        self._steps.setFixedHeight(32)  # the theme pads each page by a pixel
        self.column.addWidget(self.direction)
        self.column.addLayout(row(QLabel("Slices"), self.first, QLabel("to"), self.last))
        self.column.addWidget(self._steps)
        self.column.addWidget(self.text)
        self.direction.chosen.connect(lambda _: self._show_range())
        self.run.clicked.connect(lambda: self.propagate_asked.emit(self.reach))
        self.refine.clicked.connect(self.refine_asked)
        self.cancel.clicked.connect(self.cancel_asked)
        self.first.valueChanged.connect(lambda first: self.last.setMinimum(first))
        self.show_state(self.shown)

    @property
    def reach(self) -> Reach:
        """How far the next propagation goes, as `Session.propagate` takes it."""
        reaches: dict[str, Reach] = {
            "whole": "whole",
            "up": "up",
            "down": "down",
            "range": (self.first.value(), self.last.value()),
        }
        return reaches[self.direction.value]

    def show_state(self, shown: PropagateShown) -> None:
        """Show the state of the propagation; emits nothing."""
        another_scan = shown.count != self.shown.count
        self.shown = shown
        with QSignalBlocker(self.first), QSignalBlocker(self.last):
            highest = max(shown.count - 1, 0)
            self.first.setRange(0, highest)
            self.last.setMaximum(highest)
            if another_scan:
                self.first.setValue(0)
                self.last.setMinimum(0)
                self.last.setValue(highest)
        self._show_range()
        self.run.setEnabled(shown.can_run and not shown.running)
        self.refine.setEnabled(shown.can_refine and not shown.running)
        self.direction.setEnabled(shown.count > 1 and not shown.running)
        self._steps.setCurrentIndex(1 if shown.running else 0)
        self.progress.setRange(0, shown.total)
        self.progress.setValue(shown.done)
        self.progress.setFormat(f"slice {shown.done} of {shown.total}" if shown.total else "")
        self.text.setText(shown.text)
        self.text.setVisible(bool(shown.text))

    def _show_range(self) -> None:
        """Say which slices the direction means; only a range can be typed."""
        value, highest = self.direction.value, max(self.shown.count - 1, 0)
        typed = value == "range"
        for box in (self.first, self.last):
            box.setEnabled(typed and not self.shown.running and self.shown.count > 1)
        if not typed:
            with QSignalBlocker(self.first), QSignalBlocker(self.last):
                self.last.setMinimum(0)
                self.first.setValue(self.shown.current if value == "up" else 0)
                self.last.setValue(self.shown.current if value == "down" else highest)
        else:
            self.last.setMinimum(self.first.value())
