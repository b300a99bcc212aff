"""The controls that every panel is made of: spacing, buttons whose icons follow the theme, labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from voxsam_napari.panels.icons import icon

__all__ = [
    "GAP",
    "GROUP_GAP",
    "TABLE",
    "Choice",
    "Combo",
    "Faint",
    "Form",
    "IconButton",
    "Panel",
    "TextButton",
    "described",
    "row",
    "text_color",
]

#: Pixels between controls that belong together, and between groups of them.
GAP, GROUP_GAP = 6, 10
#: A list that lies calmly on the ground of any theme.
TABLE = """
QTableWidget { background: rgba(127, 127, 127, 26); border-radius: 4px; }
QTableWidget::item { padding: 2px; }
QTableWidget::item:selected { background: rgba(46, 134, 208, 90); }
"""
_BUTTON = """
{kind} {{ background: rgba(127, 127, 127, 46); border: 1px solid transparent; border-radius: 4px; padding: {padding}; }}
{kind}:hover {{ background: rgba(127, 127, 127, 92); }}
{kind}:focus {{ border-color: rgb(86, 160, 220); }}
{kind}:checked {{ background: rgba(46, 134, 208, 120); border-color: rgb(86, 160, 220); }}
{kind}:disabled {{ background: rgba(127, 127, 127, 22); }}
"""
_ICON_BUTTON = _BUTTON.format(kind="QToolButton", padding="3px")
_TEXT_BUTTON = _BUTTON.format(kind="QPushButton", padding="4px 8px")
_MAIN_BUTTON = """
QPushButton { background: rgb(38, 118, 184); color: white; border: 1px solid transparent; border-radius: 4px;
  padding: 4px 8px; font-weight: 600; }
QPushButton:hover { background: rgb(52, 136, 205); }
QPushButton:focus { border-color: rgb(160, 205, 240); }
QPushButton:disabled { background: rgba(127, 127, 127, 30); color: rgba(127, 127, 127, 190); font-weight: 400; }
"""


class _Themed:
    """What the buttons share: an icon in the colour of the text, and a tip that names the key."""

    _icon_name = ""
    _ink: QColor | None = None
    tip = ""

    def set_icon(self: QAbstractButton, name: str) -> None:
        """Show an icon of `ICONS`."""
        self._icon_name, self._ink = name, None
        self._tint()

    def _tint(self: QAbstractButton) -> None:
        ink = text_color(self)
        if self._icon_name and ink != self._ink:
            self._ink = ink
            self.setIcon(icon(self._icon_name, ink))

    def set_tip(self: QAbstractButton, tip: str, key: str = "") -> None:
        """Say what the button does, and the key that does it."""
        self.tip = tip
        self.setToolTip(f"{tip} ({key})" if key else tip)


class IconButton(_Themed, QToolButton):
    """A square button that shows an icon alone.

    Parameters
    ----------
    icon_name : str
        A key of `ICONS`.
    name : str
        What a screen reader says.
    tip : str
    checkable : bool
    """

    def __init__(self, icon_name: str, name: str, tip: str, *, checkable: bool = False, side: int = 30) -> None:
        super().__init__()
        self.setStyleSheet(_ICON_BUTTON)
        self.setCheckable(checkable)
        self.setIconSize(QSize(min(side - 8, 20), min(side - 8, 20)))
        self.setFixedSize(side, side)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(name)
        self.set_tip(tip)
        self.set_icon(icon_name)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint, with the icon in the colour that the text has now: a style sheet changes it without telling."""
        self._tint()
        super().paintEvent(event)


class TextButton(_Themed, QPushButton):
    """A button with a text, whose ``&`` letter is its mnemonic.

    Parameters
    ----------
    text : str
    tip : str
    icon_name : str, optional
        A key of `ICONS`.
    main : bool
        The one step that the panel is for.
    checkable : bool
    """

    def __init__(
        self, text: str, tip: str, icon_name: str = "", *, main: bool = False, checkable: bool = False
    ) -> None:
        super().__init__(text)
        self.setStyleSheet(_MAIN_BUTTON if main else _TEXT_BUTTON)
        self.setCheckable(checkable)
        self.setFixedHeight(30)
        self.setIconSize(QSize(18, 18))
        self.setSizePolicy(QSizePolicy.Policy.MinimumExpanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(text.replace("&", ""))
        self.set_tip(tip)
        if icon_name:
            self.set_icon(icon_name)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint, with the icon in the colour that the text has now: a style sheet changes it without telling."""
        self._tint()
        super().paintEvent(event)


class Panel(QWidget):
    """What the panels share: a column of rows, and buttons that show the keys they are bound to."""

    #: What a folded section still says of its panel.
    summarised = Signal(str)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(GAP)
        self._keyed: dict[str, IconButton | TextButton] = {}

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """Show in the tooltips which key does what.

        Parameters
        ----------
        keys : mapping of str to str
            Action to key, such as ``{"undo": "Ctrl+Z"}``; other panels' actions are passed over.
        """
        for action, button in self._keyed.items():
            button.set_tip(button.tip, keys.get(action, ""))


class Combo(QComboBox):
    """A list to choose from that is as wide as its place, however long its texts are."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def fill(self, texts: Sequence[str], at: int) -> None:
        """Show texts, with the one `at` a place chosen (none at -1); emits nothing, and flickers for no reason."""
        with QSignalBlocker(self):
            if [self.itemText(place) for place in range(self.count())] != list(texts):
                self.clear()
                self.addItems(list(texts))
                for place, text in enumerate(texts):
                    self.setItemData(place, text, Qt.ItemDataRole.ToolTipRole)
            self.setCurrentIndex(at)


class Form(QGridLayout):
    """Rows of a short label and a control; the label's mnemonic goes to the control."""

    def __init__(self) -> None:
        super().__init__()
        self.setContentsMargins(0, 0, 0, 0)
        self.setHorizontalSpacing(GAP)
        self.setVerticalSpacing(GAP)
        self.setColumnMinimumWidth(0, 56)
        self.setColumnStretch(1, 1)

    @property
    def end(self) -> int:
        """The number of the row that comes next."""
        return self.rowCount() if self.count() else 0

    def add(self, text: str, control: QWidget) -> QLabel:
        """Add a row and return its label."""
        label = QLabel(text)
        label.setBuddy(control)
        line = self.end
        self.addWidget(label, line, 0)
        self.addWidget(control, line, 1)
        return label


def text_color(widget: QWidget, group: QPalette.ColorGroup = QPalette.ColorGroup.Active) -> QColor:
    """Return the colour that a widget writes in, by default when it is enabled."""
    return widget.palette().color(group, widget.foregroundRole())


def row(*controls: QWidget | int) -> QHBoxLayout:
    """Lay controls beside each other; a number is a gap in pixels, 0 takes what room is left."""
    line = QHBoxLayout()
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(GAP)
    for control in controls:
        if isinstance(control, QWidget):
            line.addWidget(control)
        elif control:
            line.addSpacing(control)
        else:
            line.addStretch(1)
    return line


def described(control: QWidget, name: str, tip: str) -> QWidget:
    """Give a control its name for screen readers and its tooltip."""
    control.setAccessibleName(name)
    control.setToolTip(tip)
    return control


class Faint(QLabel):
    """Facts beside the matter: smaller, calmer, in as many lines as they take."""

    def __init__(self, text: str = "", *, wrap: bool = True) -> None:
        super().__init__(text)
        self.setWordWrap(wrap)
        self.setContentsMargins(4 if wrap else 0, 0, 0, 0)  # in line with the labels of a form
        self.setStyleSheet("QLabel { font-size: 8pt; font-weight: 400; }")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002, N802 - Qt's name
        """Paint in the colour of the theme's text, let through a little of the ground."""
        painter = QPainter(self)
        painter.setOpacity(0.74)
        painter.setPen(text_color(self))
        flags = Qt.AlignmentFlag.AlignLeft | (
            Qt.AlignmentFlag.AlignTop if self.wordWrap() else Qt.AlignmentFlag.AlignVCenter
        )
        wrap = Qt.TextFlag.TextWordWrap if self.wordWrap() else Qt.TextFlag.TextSingleLine
        painter.drawText(self.contentsRect(), int(flags) | int(wrap), self.text())
        painter.end()


class Choice(QWidget):
    """A few choices side by side, of which one holds.

    Parameters
    ----------
    choices : sequence of (str, str, str)
        Value, text with its mnemonic, and tooltip.
    name : str
        What a screen reader says before the text.
    """

    chosen = Signal(str)

    def __init__(self, choices: tuple[tuple[str, str, str], ...], name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.buttons: dict[str, TextButton] = {}
        line = row()
        line.setSpacing(2)
        self.setLayout(line)
        for value, text, tip in choices:
            button = TextButton(text, tip, checkable=True)
            button.setAutoExclusive(True)
            button.setAccessibleName(f"{name}: {text.replace('&', '')}")
            button.clicked.connect(lambda _=False, value=value: self.chosen.emit(value))
            self.buttons[value] = button
            line.addWidget(button, 1)
        next(iter(self.buttons.values())).setChecked(True)

    @property
    def value(self) -> str:
        """The choice that holds."""
        return next(value for value, button in self.buttons.items() if button.isChecked())

    def choose(self, value: str) -> None:
        """Let another choice hold, without a signal."""
        self.buttons[value].setChecked(True)
