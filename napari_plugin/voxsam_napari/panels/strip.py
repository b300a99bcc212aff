"""The strip along the slices: where each came from, how good it is, and which one to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QToolTip, QWidget

from voxsam_napari.panels.controls import Faint, Panel, TextButton, described, row

__all__ = ["SOURCES", "SliceStrip", "StripPanel", "StripShown", "StripSlice"]


@dataclass(frozen=True)
class Source:
    """How slices of one origin are drawn; told apart by lightness and pattern too, not by hue alone."""

    text: str
    color: QColor
    pattern: Qt.BrushStyle = Qt.BrushStyle.SolidPattern


#: From what needs a look most to what needs it least: of several slices under one pixel, the first of these is shown.
SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "doubtful": Source("doubtful", QColor(230, 159, 0), Qt.BrushStyle.Dense4Pattern),
        "stopped": Source("stopped", QColor(213, 94, 0)),
        "prompted": Source("prompted", QColor(0, 114, 178)),
        "interpolated": Source("interpolated", QColor(204, 121, 167), Qt.BrushStyle.FDiagPattern),
        "propagated": Source("propagated", QColor(86, 180, 233)),
        "empty": Source("empty", QColor(127, 127, 127, 70)),
    }
)
_TO_CHECK = ("doubtful", "stopped")


@dataclass(frozen=True)
class StripSlice:
    """One slice: what `voxsam.report.SliceReport` says of it, with its source as one of `SOURCES`."""

    index: int
    source: str
    quality: float | None = None
    overlap: float | None = None
    area_mm2: float | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        """The slice in one line."""
        parts = [SOURCES[self.source].text]
        if self.quality is not None:
            parts.append(f"quality {self.quality:.2f}")
        if self.overlap is not None:
            parts.append(f"overlap {self.overlap:.2f}")
        if self.area_mm2:
            parts.append(f"{self.area_mm2:.0f} mm\N{SUPERSCRIPT TWO}")
        if self.reason:
            parts.append(self.reason)
        return f"slice {self.index}: {', '.join(parts)}"


@dataclass(frozen=True)
class StripShown:
    """What the strip shows.

    Parameters
    ----------
    slices : tuple of StripSlice
        Those that are not in it are empty.
    count : int
        Slices along the plane.
    current : int
        The slice on the canvas.
    plane : str
    """

    slices: tuple[StripSlice, ...] = ()
    count: int = 0
    current: int = 0
    plane: str = "axial"


class SliceStrip(QWidget):
    """A column a slice; a click, a drag or an arrow key goes there."""

    jump_asked = Signal(int)
    _HEAD, _FOOT, _SIDE = 10, 5, 6

    def __init__(self) -> None:
        super().__init__()
        self.shown = StripShown()
        self._by_index: dict[int, StripSlice] = {}
        self.setAccessibleName("Slices of the object")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Ask for the room that it needs."""
        return QSize(280, 64)

    def show_state(self, shown: StripShown) -> None:
        """Show the slices; emits nothing."""
        self.shown = shown
        self._by_index = {one.index: one for one in shown.slices}
        self.setAccessibleDescription(self.slice_at(shown.current).text if shown.count else "No slices")
        self.update()

    def slice_at(self, index: int) -> StripSlice:
        """Return what is known of a slice."""
        return self._by_index.get(index, StripSlice(index, "empty"))

    def index_at(self, x: float) -> int | None:
        """Return the slice under a position, or None where there are none."""
        if not self.shown.count:
            return None
        return min(max(int((x - self._SIDE) / self._step), 0), self.shown.count - 1)

    def x_of(self, index: int) -> float:
        """Return the middle of a slice's column in pixels."""
        return self._SIDE + (index + 0.5) * self._step

    @property
    def _step(self) -> float:
        room: int = self.width() - 2 * self._SIDE
        return room / max(self.shown.count, 1)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002, N802 - Qt's name
        """Draw the columns, the marker and the frame of the focus."""
        painter = QPainter(self)
        ground = QRectF(0.5, 0.5, self.width() - 1, self.height() - 1)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(86, 160, 220)) if self.hasFocus() else Qt.PenStyle.NoPen)
        painter.setBrush(QColor(127, 127, 127, 26))
        painter.drawRoundedRect(ground, 4, 4)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        if self.shown.count:
            for left, right, one in self._columns():
                self._draw_column(painter, left, right, one)
            self._draw_marker(painter)
        else:
            painter.setPen(QColor(140, 144, 150))
            painter.drawText(ground, Qt.AlignmentFlag.AlignCenter, "No mask yet")
        painter.end()

    def _columns(self) -> list[tuple[int, int, StripSlice]]:
        """Pixel columns from left to right; where several slices share one, what needs a look most is shown."""
        rank = {source: place for place, source in enumerate(SOURCES)}
        taken: dict[tuple[int, int], StripSlice] = {}
        gap = 1 if self._step >= 4 else 0
        for index in range(self.shown.count):
            left = round(self._SIDE + index * self._step)
            right = max(round(self._SIDE + (index + 1) * self._step) - gap, left + 1)
            one, place = self.slice_at(index), (left, right)
            if place not in taken or rank[one.source] < rank[taken[place].source]:
                taken[place] = one
        return [(left, right, one) for (left, right), one in taken.items()]

    def _draw_column(self, painter: QPainter, left: int, right: int, one: StripSlice) -> None:
        source = SOURCES[one.source]
        foot = self.height() - self._FOOT
        tall = foot - self._HEAD
        if one.source == "empty":
            painter.fillRect(QRectF(left, foot - 2, right - left, 2), source.color)
            return
        if one.source == "stopped":  # a cross: looked at and turned down
            self._draw_cross(painter, (left + right) / 2, foot - 4, source.color)
            return
        height = round(tall * (0.25 + 0.75 * min(max(_height_of(one), 0.0), 1.0)))
        bar = QRectF(left, foot - height, right - left, height)
        if source.pattern != Qt.BrushStyle.SolidPattern:
            pale = QColor(source.color)
            pale.setAlpha(110)
            painter.fillRect(bar, pale)
        painter.fillRect(bar, QBrush(source.color, source.pattern))
        painter.fillRect(QRectF(left, foot - height, right - left, 2), source.color)
        if one.source == "prompted":
            self._draw_diamond(painter, (left + right) / 2, foot - height - 1, source.color)

    @staticmethod
    def _draw_cross(painter: QPainter, x: float, y: float, color: QColor) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(color, 1.8))
        painter.drawLine(QPointF(x - 3, y - 3), QPointF(x + 3, y + 3))
        painter.drawLine(QPointF(x - 3, y + 3), QPointF(x + 3, y - 3))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    @staticmethod
    def _draw_diamond(painter: QPainter, x: float, y: float, color: QColor) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawPolygon(
            QPolygonF([QPointF(x, y - 7), QPointF(x + 4, y - 3), QPointF(x, y + 1), QPointF(x - 4, y - 3)])
        )
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _draw_marker(self, painter: QPainter) -> None:
        """Draw the current slice: a line with a head, in the colour of the text."""
        x = self.x_of(min(self.shown.current, self.shown.count - 1))
        ink = self.palette().color(self.foregroundRole())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(ink, 1.4))
        painter.drawLine(QPointF(x, 5), QPointF(x, self.height() - 2))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ink)
        painter.drawPolygon(QPolygonF([QPointF(x - 4.5, 1), QPointF(x + 4.5, 1), QPointF(x, 7)]))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Go to the slice under the mouse."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._go(self.index_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Go along while the button is down."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(self.index_at(event.position().x()))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Go to a neighbour, ten on, the first or the last."""
        current, last = self.shown.current, self.shown.count - 1
        targets = {
            Qt.Key.Key_Left: current - 1,
            Qt.Key.Key_Right: current + 1,
            Qt.Key.Key_PageDown: current - 10,
            Qt.Key.Key_PageUp: current + 10,
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        if event.key() in targets and self.shown.count:
            self._go(min(max(targets[event.key()], 0), last))
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Say in a tooltip what is known of the slice under the mouse."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            index = self.index_at(event.pos().x())
            QToolTip.showText(event.globalPos(), "" if index is None else self.slice_at(index).text, self)
            return True
        return bool(super().event(event))

    def _go(self, index: int | None) -> None:
        if index is not None and index != self.shown.current:
            self.jump_asked.emit(index)


class StripPanel(Panel):
    """The strip with its legend, the slice in words and the way to the next one to check."""

    jump_asked = Signal(int)

    def __init__(self) -> None:
        super().__init__("Slices")
        self.strip = SliceStrip()
        self.text = QLabel()
        self.text.setStyleSheet("QLabel { font-size: 9pt; }")
        self.next = TextButton(
            "Next to chec&k", "Go to the next slice that is doubtful or where the mask stopped", "next"
        )
        self.legend = QWidget()
        self.legend.setLayout(_legend())
        self._keyed = {"next_check": self.next}
        self.column.addLayout(row(self.text, 0, self.next))
        self.column.addWidget(self.strip)
        self.column.addWidget(self.legend)
        self.next.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.strip.jump_asked.connect(self.jump_asked)
        self.next.clicked.connect(self._go_on)
        self.show_state(StripShown())

    def show_state(self, shown: StripShown) -> None:
        """Show the slices; emits nothing."""
        self.strip.show_state(shown)
        waiting = len(self._to_check())
        self.next.setEnabled(bool(waiting))
        self.next.setText(f"Next to chec&k ({waiting})" if waiting else "Next to chec&k")
        self._say()

    def show_current(self, index: int) -> None:
        """Move the marker; cheap enough for every step of a slider."""
        shown = self.strip.shown
        self.strip.shown = StripShown(shown.slices, shown.count, index, shown.plane)
        self.strip.setAccessibleDescription(self.strip.slice_at(index).text if shown.count else "No slices")
        self.strip.update()
        self._say()

    def next_to_check(self) -> int | None:
        """Return the next slice after the current one that needs a look, from the start again after the last."""
        waiting = self._to_check()
        later = [index for index in waiting if index > self.strip.shown.current]
        return next(iter(later or waiting), None)

    def _to_check(self) -> list[int]:
        return sorted(one.index for one in self.strip.shown.slices if one.source in _TO_CHECK)

    def _go_on(self) -> None:
        index = self.next_to_check()
        if index is not None:
            self.jump_asked.emit(index)

    def _say(self) -> None:
        shown = self.strip.shown
        if not shown.count:
            self.text.setText("")
            return
        one = self.strip.slice_at(shown.current)
        known = "" if one.quality is None else f" · quality {one.quality:.2f}"
        place = f"{shown.plane.capitalize()} slice {shown.current} / {shown.count - 1}"
        self.text.setText(f"{place}\n{SOURCES[one.source].text}{known}")
        self.text.setToolTip(one.text)


class _Patch(QWidget):
    """A sample of one source, drawn as the strip draws it."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source
        self.setFixedSize(14, 14)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002, N802 - Qt's name
        """Draw the sample."""
        painter = QPainter(self)
        source = SOURCES[self._source]
        if self._source == "stopped":
            SliceStrip._draw_cross(painter, 7, 7, source.color)
        elif self._source == "empty":
            painter.fillRect(QRectF(1, 10, 12, 2), source.color)
        else:
            bar = QRectF(2, 3, 10, 10)
            if source.pattern != Qt.BrushStyle.SolidPattern:
                pale = QColor(source.color)
                pale.setAlpha(110)
                painter.fillRect(bar, pale)
            painter.fillRect(bar, QBrush(source.color, source.pattern))
            if self._source == "prompted":
                SliceStrip._draw_diamond(painter, 7, 6, source.color)
        painter.end()


def _legend() -> QGridLayout:
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(4)
    grid.setVerticalSpacing(1)
    for place, name in enumerate(("prompted", "propagated", "interpolated", "doubtful", "stopped", "empty")):
        label = Faint(SOURCES[name].text, wrap=False)
        grid.addWidget(described(_Patch(name), SOURCES[name].text, SOURCES[name].text), place // 3, 2 * (place % 3))
        grid.addWidget(label, place // 3, 2 * (place % 3) + 1)
        grid.setColumnStretch(2 * (place % 3) + 1, 1)
    return grid


def _height_of(one: StripSlice) -> float:
    """Quality where the model gave one; drawn and prompted slices are as good as the user says they are."""
    if one.quality is not None:
        return one.quality
    return 1.0 if one.source == "prompted" or one.overlap is None else one.overlap
