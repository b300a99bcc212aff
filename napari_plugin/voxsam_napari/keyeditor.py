"""The list of shortcuts, in which each can be changed."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QGridLayout, QKeySequenceEdit, QLabel, QPushButton, QVBoxLayout, QWidget

from voxsam.errors import InputError
from voxsam_napari.keys import ACTIONS, Shortcuts

__all__ = ["KeyEditor"]


class KeyEditor(QWidget):
    """Shows which key does what, and takes another key where one is typed.

    Parameters
    ----------
    shortcuts : Shortcuts
    on_changed : callable
        Called after a change.
    """

    def __init__(self, shortcuts: Shortcuts, on_changed: Callable[[], None]) -> None:
        super().__init__()
        self.setAccessibleName("Shortcuts")
        self._shortcuts, self._on_changed = shortcuts, on_changed
        self.fields: dict[str, QKeySequenceEdit] = {}
        self.note = QLabel("Keys work while a voxsam layer is chosen. Click into a field and press another key.")
        self.note.setWordWrap(True)
        self.reset = QPushButton("&Usual keys")
        self.reset.setToolTip("Go back to the keys that came with voxsam")
        self.reset.setAccessibleName("Go back to the usual keys")
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        for line, (action, text) in enumerate(ACTIONS.items()):
            field = QKeySequenceEdit()
            field.setAccessibleName(f"Key for {text}")
            field.setToolTip(f"Press another key for: {text}")
            field.editingFinished.connect(lambda action=action: self._typed(action))
            label = QLabel(text)
            label.setBuddy(field)
            grid.addWidget(label, line, 0)
            grid.addWidget(field, line, 1)
            self.fields[action] = field
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.note)
        column.addLayout(grid)
        column.addWidget(self.reset)
        self.reset.clicked.connect(self._reset)
        if shortcuts.problem:
            self.note.setText(shortcuts.problem)
        self._show()

    def _typed(self, action: str) -> None:
        sequence = self.fields[action].keySequence()
        first = QKeySequence(sequence[0]) if sequence.count() else QKeySequence()
        key = first.toString(QKeySequence.SequenceFormat.PortableText).replace("Esc", "Escape").replace("Del", "Delete")
        if key and key == self._shortcuts.keys[action]:
            self._show()
            return
        try:
            self._shortcuts.change(action, key)
        except InputError as error:
            self.note.setText(str(error))
        else:
            self.note.setText(f"{ACTIONS[action]}: {self._shortcuts.keys[action]}")
            self._on_changed()
        self._show()

    def _reset(self) -> None:
        self._shortcuts.reset()
        self.note.setText("These are the usual keys.")
        self._show()
        self._on_changed()

    def _show(self) -> None:
        for action, field in self.fields.items():
            field.setKeySequence(QKeySequence(self._shortcuts.keys[action]))
