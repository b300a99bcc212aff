"""The tools to say what is meant, and the list of what was said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QPaintEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from voxsam_napari.panels.controls import TABLE, Faint, IconButton, Panel, TextButton, described, row, text_color
from voxsam_napari.panels.icons import icon

__all__ = ["PromptPanel", "PromptRow", "PromptsShown"]

#: Green and red that people with red-green blindness tell apart by lightness; the signs differ besides.
POSITIVE, NEGATIVE = QColor(64, 190, 110), QColor(232, 84, 60)

MINUS = "\N{MINUS SIGN}"

_TOOLS = {
    "point": ("Point", "Point: click into the object"),
    "box": ("Box", "Box: drag a rectangle tight around the object"),
    "scribble": ("Scribble", "Scribble: draw a line along the object"),
    "lasso": ("Lasso", "Lasso: draw the outline; the slice becomes a prompted slice"),
}
_POLARITY = """
QPushButton {{ background: rgba({0}, {1}, {2}, 60); border: 1px solid rgb({0}, {1}, {2}); border-radius: 4px;
  padding: 4px 8px; }}
QPushButton:hover {{ background: rgba({0}, {1}, {2}, 100); }}
QPushButton:disabled {{ background: rgba(127, 127, 127, 22); border-color: transparent; }}
"""


@dataclass(frozen=True)
class PromptRow:
    """One prompt of the chosen object; `key` names it in the signals."""

    key: int
    kind: str
    text: str
    positive: bool = True


@dataclass(frozen=True)
class PromptsShown:
    """What the panel shows.

    Parameters
    ----------
    tool : {"none", "point", "box", "scribble", "lasso"}
    positive : bool
        The next prompt says "this belongs to it".
    live : bool
        The slice is answered while the mouse moves.
    prompts : tuple of PromptRow
    undo, redo : str
        What would be taken back or done again; empty where nothing would.
    can_accept : bool
    enabled : bool
    hint : str
        What to do next, in one line.
    """

    tool: str = "none"
    positive: bool = True
    live: bool = True
    prompts: tuple[PromptRow, ...] = ()
    undo: str = ""
    redo: str = ""
    can_accept: bool = False
    enabled: bool = False
    hint: str = ""


class PromptPanel(Panel):
    """Choose a tool and what it says; accept, undo, redo; take single prompts back."""

    tool_chosen = Signal(str)
    polarity_toggled = Signal(bool)
    live_toggled = Signal(bool)
    accept_asked = Signal()
    undo_asked = Signal()
    redo_asked = Signal()
    prompt_removed = Signal(int)
    prompt_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__("Prompts")
        self.shown = PromptsShown()
        self._keys: dict[str, str] = {}
        self.tools = {
            name: IconButton(name, text, tip, checkable=True, side=34) for name, (text, tip) in _TOOLS.items()
        }
        self.polarity = TextButton("", "The next prompt says what belongs to the object")
        self.live = TextButton("Live", "Live preview: show at once what the prompts give", "eye", checkable=True)
        self.live.setAccessibleName("Live preview")
        self.accept = TextButton("A&ccept slice", "Keep this slice as it is shown", "check", main=True)
        self.undo = IconButton("undo", "Undo", "Nothing to undo")
        self.redo = IconButton("redo", "Redo", "Nothing to redo")
        self.prompts = _PromptList()
        self.hint = Faint()
        self._keyed = {**self.tools, "accept": self.accept, "live": self.live, "polarity": self.polarity}
        self.column.addLayout(row(*self.tools.values(), self.polarity))
        self.column.addLayout(row(self.accept, self.live, self.undo, self.redo))
        self.column.addWidget(self.prompts)
        self.column.addWidget(self.hint)
        self._connect()
        self.show_state(self.shown)

    def show_state(self, shown: PromptsShown) -> None:
        """Show the tools and the prompts; emits nothing."""
        self.shown = shown
        for name, button in self.tools.items():
            with QSignalBlocker(button):
                button.setChecked(name == shown.tool)
            button.setEnabled(shown.enabled)
        self._show_polarity(shown)
        with QSignalBlocker(self.live):
            self.live.setChecked(shown.live)
        self.live.setEnabled(shown.enabled)
        self.accept.setEnabled(shown.enabled and shown.can_accept)
        self.undo.setEnabled(bool(shown.undo))
        self.redo.setEnabled(bool(shown.redo))
        self._show_history()
        self.prompts.fill(shown.prompts)
        self.prompts.setVisible(bool(shown.prompts))
        self.hint.setText(shown.hint)
        self.hint.setVisible(bool(shown.hint))

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """Show in the tooltips which key does what."""
        super().show_keys(keys)
        self._keys = dict(keys)
        self._show_history()

    def _show_history(self) -> None:
        for button, does, what in ((self.undo, "Undo", self.shown.undo), (self.redo, "Redo", self.shown.redo)):
            button.set_tip(
                f"{does}: {what}" if what else f"Nothing to {does.lower()}", self._keys.get(does.lower(), "")
            )

    def _show_polarity(self, shown: PromptsShown) -> None:
        color = POSITIVE if shown.positive else NEGATIVE
        text, name = ("Incl&ude", "plus") if shown.positive else ("Excl&ude", "minus")
        if self.polarity.text() != text:
            self.polarity.setText(text)
            self.polarity.setAccessibleName(f"Next prompt: {text.replace('&', '').lower()}")
            self.polarity.setStyleSheet(_POLARITY.format(color.red(), color.green(), color.blue()))
            self.polarity.set_icon(name)
        tip = (
            "The next prompt says what belongs to the object; press to exclude. A right-click excludes at once"
            if shown.positive
            else "The next prompt says what does not belong to the object; press to include"
        )
        self.polarity.set_tip(tip, self._keys.get("polarity", ""))
        self.polarity.setEnabled(shown.enabled)

    def _tool_clicked(self, name: str, on: bool) -> None:
        for other, button in self.tools.items():
            button.setChecked(on and other == name)
        self.tool_chosen.emit(name if on else "none")

    def _connect(self) -> None:
        for name, button in self.tools.items():
            button.clicked.connect(lambda on, name=name: self._tool_clicked(name, on))
        self.polarity.clicked.connect(lambda: self.polarity_toggled.emit(not self.shown.positive))
        self.live.toggled.connect(self.live_toggled)
        self.accept.clicked.connect(self.accept_asked)
        self.undo.clicked.connect(self.undo_asked)
        self.redo.clicked.connect(self.redo_asked)
        self.prompts.removed.connect(self.prompt_removed)
        self.prompts.went.connect(self.prompt_chosen)


class _PromptList(QTableWidget):
    """What was said, newest last; a click goes there, the cross or Delete takes it back."""

    removed = Signal(int)
    went = Signal(int)
    _LINE = 24

    def __init__(self) -> None:
        super().__init__(0, 2)
        described(self, "Prompts of this object", "Click: go there. Delete: take this prompt back")
        self.setIconSize(QSize(16, 16))
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)  # tab leaves the list
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setStyleSheet(TABLE)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self._LINE)
        self.horizontalHeader().hide()
        self.horizontalHeader().setMinimumSectionSize(self._LINE)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setColumnWidth(1, self._LINE + 2)
        self._shown: tuple[PromptRow, ...] = ()
        self._ink: QColor | None = None
        self.cellClicked.connect(self._clicked)

    def fill(self, prompts: tuple[PromptRow, ...]) -> None:
        """Show the prompts, the newest in sight; emits nothing."""
        if prompts == self._shown:
            return
        at = min(self.currentRow(), len(prompts) - 1)
        self._shown = prompts
        with QSignalBlocker(self):
            self.setRowCount(len(prompts))
            for place, prompt in enumerate(prompts):
                self._fill_row(place, prompt)
            if at >= 0:
                self.setCurrentCell(at, 0)
        self.setFixedHeight(min(max(len(prompts), 1), 4) * self._LINE + 6)
        self.scrollToBottom()

    def _fill_row(self, at: int, prompt: PromptRow) -> None:
        self._ink = text_color(self)
        said = QTableWidgetItem(icon(prompt.kind, POSITIVE if prompt.positive else NEGATIVE), "")
        said.setText(f"{'+' if prompt.positive else MINUS} {prompt.text}")
        spoken = f"{'include' if prompt.positive else 'exclude'}: {prompt.text}"
        said.setData(Qt.ItemDataRole.AccessibleTextRole, spoken)
        said.setToolTip("Go to this prompt")
        take_back = QTableWidgetItem(icon("cancel", self._ink), "")
        take_back.setData(Qt.ItemDataRole.AccessibleTextRole, f"take back: {spoken}")
        take_back.setToolTip("Take this prompt back (Delete)")
        self.setItem(at, 0, said)
        self.setItem(at, 1, take_back)

    def _clicked(self, at: int, column: int) -> None:
        (self.removed if column else self.went).emit(self._shown[at].key)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Let Delete and Backspace take the chosen prompt back, Return and the space bar go to it."""
        at = self.currentRow()
        if at >= 0 and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self._clicked(at, 1)
        elif at >= 0 and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._clicked(at, self.currentColumn())
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint; the crosses are drawn anew where a theme has changed the colour of the text."""
        if text_color(self) != self._ink:
            with QSignalBlocker(self):
                for at, prompt in enumerate(self._shown):
                    self._fill_row(at, prompt)
        super().paintEvent(event)
