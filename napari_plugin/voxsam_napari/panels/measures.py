"""What was found, in numbers: volume, the two diameters that RECIST uses, the values inside."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QLabel, QSizePolicy

from voxsam_napari.panels.controls import Faint, Form, IconButton, Panel, TextButton, described, row

__all__ = ["MeasurePanel", "MeasureShown"]

_NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class MeasureShown:
    """What the panel shows; None where nothing was measured.

    Parameters
    ----------
    name : str
        Of the object.
    volume_ml : float or None
    longest_mm, perpendicular_mm : float or None
        In the slice `slice_index`.
    slice_index : int or None
    mean, std, minimum, median, maximum : float or None
        Of the scan's values inside the mask.
    unit : str
        ``"HU"``, or empty.
    stale : bool
        Prompts came after the mask was made.
    view_3d : bool
        The canvas shows the result in 3D.
    """

    name: str = ""
    volume_ml: float | None = None
    longest_mm: float | None = None
    perpendicular_mm: float | None = None
    slice_index: int | None = None
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    median: float | None = None
    maximum: float | None = None
    unit: str = ""
    stale: bool = False
    view_3d: bool = False

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The measurements in words: name and value."""
        unit = f" {self.unit}" if self.unit else ""
        diameters = _NONE
        if self.longest_mm is not None and self.perpendicular_mm is not None:
            diameters = f"{self.longest_mm:.1f} \N{MULTIPLICATION SIGN} {self.perpendicular_mm:.1f} mm"
        mean = spread = _NONE
        if self.mean is not None and self.std is not None:
            mean = f"{self.mean:.1f} ± {self.std:.1f}{unit}"
        if self.minimum is not None and self.median is not None and self.maximum is not None:
            spread = f"{self.minimum:.0f} / {self.median:.0f} / {self.maximum:.0f}{unit}"
        return (
            ("Volume", _NONE if self.volume_ml is None else f"{self.volume_ml:.2f} mL"),
            ("Diameters", diameters),
            ("Mean ± SD", mean),
            ("Min / med / max", spread),
        )


class MeasurePanel(Panel):
    """Show the measurements, copy them, go to the slice of the longest diameter, look at the result in 3D."""

    jump_asked = Signal(int)
    view_3d_toggled = Signal(bool)
    copied = Signal(str)

    def __init__(self) -> None:
        super().__init__("Measurements")
        self.shown = MeasureShown()
        self.values: dict[str, QLabel] = {}
        self.jump = IconButton("jump", "Go to the longest diameter", "Go to the slice of the longest diameter", side=24)
        self.copy = TextButton("Cop&y", "Copy the measurements as text", "copy")
        self.view_3d = TextButton("&3D view", "Look at the result in 3D", "cube", checkable=True)
        self.note = Faint("Prompts came after this mask was made: propagate or refine.")
        self._keyed = {"view_3d": self.view_3d, "copy": self.copy}
        form = Form()
        form.setVerticalSpacing(3)
        form.setColumnMinimumWidth(0, 92)
        tips = {
            "Volume": "Volume of the mask",
            "Diameters": "Longest diameter in an axial slice, and the longest one perpendicular to it there",
            "Mean ± SD": "Mean and standard deviation of the scan's values inside the mask",
            "Min / med / max": "Least, median and greatest value inside the mask",
        }
        for name, _ in self.shown.lines:
            value = described(QLabel(), name, tips[name])
            value.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
            value.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
            form.add(name, value)
            self.values[name] = value
        form.addWidget(self.jump, 1, 2)
        self.column.addLayout(form)
        self.column.addWidget(self.note)
        self.column.addLayout(row(self.copy, self.view_3d))
        self.copy.clicked.connect(self._copy)
        self.view_3d.clicked.connect(self.view_3d_toggled)
        self.jump.clicked.connect(lambda: self.jump_asked.emit(self.shown.slice_index))
        self.show_state(self.shown)

    def show_state(self, shown: MeasureShown) -> None:
        """Show the measurements; emits nothing."""
        self.shown = shown
        for name, value in shown.lines:
            self.values[name].setText(value)
        measured = shown.volume_ml is not None
        self.summarised.emit(self.values["Volume"].text() if measured else "")
        self.jump.setEnabled(shown.slice_index is not None)
        self.copy.setEnabled(measured)
        self.view_3d.setEnabled(measured or shown.view_3d)
        self.view_3d.setChecked(shown.view_3d)
        self.note.setVisible(measured and shown.stale)

    def text(self) -> str:
        """Return the measurements as lines that a report or a table takes."""
        lines = [f"{name}\t{value}" for name, value in (("Object", self.shown.name), *self.shown.lines)]
        if self.shown.slice_index is not None:
            lines.append(f"Slice of the diameters\t{self.shown.slice_index}")
        return "\n".join(lines)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())
        self.copied.emit(self.text())
