"""One line that says what happened; it never asks to be clicked away before one can go on."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFrame, QLabel, QSizePolicy

from voxsam_napari.panels.controls import IconButton, TextButton, row
from voxsam_napari.panels.icons import pixmap

__all__ = ["Message", "MessageLine"]

_COLOURS = {"info": QColor(86, 180, 233), "warn": QColor(230, 159, 0), "error": QColor(225, 90, 60)}
_LINES = 4


@dataclass(frozen=True)
class Message:
    """What happened, in one line; `action` is the text of a button that offers the way out.

    Parameters
    ----------
    text : str
    kind : {"info", "warn", "error"}
    action : str
    """

    text: str
    kind: str = "info"
    action: str = ""


class MessageLine(QFrame):
    """Shows one message; news fade, warnings and errors stay until they are dismissed or replaced."""

    #: How long news stay.
    seconds = 8.0
    action_asked = Signal()
    dismissed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.shown: Message | None = None
        self.setObjectName("message")
        self.icon = QLabel()
        self.text = QLabel()
        self.text.setStyleSheet("QLabel { font-size: 9pt; }")
        self.text.setWordWrap(True)
        self.text.setMaximumHeight(_LINES * self.text.fontMetrics().lineSpacing())  # the rest is in the tooltip
        self.icon.setFixedSize(18, 18)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.action = TextButton("", "")
        self.action.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.action.setFixedHeight(24)
        self.close_button = IconButton("cancel", "Dismiss", "Dismiss this message", side=22)
        line = row(self.icon, self.text, self.action, self.close_button)
        line.setStretch(1, 1)
        line.setContentsMargins(8, 2, 3, 2)
        self.setLayout(line)
        self.setMinimumHeight(30)
        self._fade = QTimer(self)
        self._fade.setSingleShot(True)
        self._fade.timeout.connect(lambda: self.show_state(None))
        self.action.clicked.connect(self.action_asked)
        self.close_button.clicked.connect(self._dismiss)
        self.show_state(None)

    def show_state(self, shown: Message | None) -> None:
        """Show a message, or none; emits nothing."""
        self.shown = shown
        self._fade.stop()
        for part in (self.icon, self.text, self.close_button):
            part.setVisible(shown is not None)
        self.action.setVisible(bool(shown and shown.action))
        if shown is None:
            self.setStyleSheet("")
            self.setAccessibleName("No message")
            self.setToolTip("")
            return
        color = _COLOURS[shown.kind]
        self.setStyleSheet(
            f"#message {{ background: rgba({color.red()}, {color.green()}, {color.blue()}, 46); border-radius: 4px; }}"
        )
        self.icon.setPixmap(pixmap(shown.kind, color, 18))
        self.action.setText(shown.action)
        self.action.setAccessibleName(shown.action)
        self.setAccessibleName(f"{shown.kind}: {shown.text}")
        self.setToolTip(shown.text)
        self.text.setText(" ".join(shown.text.split()))
        if shown.kind == "info":
            self._fade.start(round(self.seconds * 1000))

    def _dismiss(self) -> None:
        self.show_state(None)
        self.dismissed.emit()
