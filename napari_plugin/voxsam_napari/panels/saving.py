"""Save masks and sessions, open one, and see that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFrame, QLabel, QVBoxLayout

from voxsam_napari.panels.controls import Faint, Panel, TextButton, described, row

__all__ = ["SavePanel", "SaveShown"]

_MASKS = "NIfTI (*.nii.gz *.nii);;Segmentation NRRD (*.seg.nrrd);;NRRD (*.nrrd)"
_SESSIONS = "voxsam session (*.json)"
#: (what for, title, suggested path, file types) to a path, or an empty text where the user thought better of it.
AskPath: TypeAlias = Callable[[Literal["save", "open"], str, str, str], str]


@dataclass(frozen=True)
class SaveShown:
    """What the panel shows.

    Parameters
    ----------
    scan : str
        Name of the scan, for suggested file names.
    mask_path, session_path : str
        Where they were saved last; empty where they were not.
    autosave : bool
    autosave_text : str
        What autosave did, such as "12 edits kept".
    can_save : bool
    busy : str
        What is being written; empty where nothing is.
    found : str
        An earlier session that was left open; empty where there is none.
    """

    scan: str = ""
    mask_path: str = ""
    session_path: str = ""
    autosave: bool = True
    autosave_text: str = ""
    can_save: bool = False
    busy: str = ""
    found: str = ""


class SavePanel(Panel):
    """Save the masks or the whole session, open a session, restore one that a crash left."""

    save_mask_asked = Signal(str)
    save_session_asked = Signal(str)
    open_session_asked = Signal(str)
    autosave_toggled = Signal(bool)
    restore_asked = Signal()
    discard_asked = Signal()

    def __init__(self, ask_path: AskPath | None = None) -> None:
        super().__init__("Save")
        self.shown = SaveShown()
        self.ask_path = ask_path or self._ask
        self.save_mask = TextButton("&Save masks …", "Save the masks on the scan's own grid", "save", main=True)
        self.save_session = TextButton("Save session …", "Save prompts, masks and settings to go on later", "session")
        self.open_session = TextButton("Open …", "Open a saved session", "open")
        self.autosave = described(
            QCheckBox("Autosave"), "Autosave", "Keep every edit on disk at once, so that a crash loses nothing"
        )
        self.paths = Faint()
        self.found = _Found()
        self._keyed = {
            "save_mask": self.save_mask,
            "save_session": self.save_session,
            "open_session": self.open_session,
        }
        self.column.addWidget(self.found)
        self.column.addLayout(row(self.save_mask))
        self.column.addLayout(row(self.save_session, self.open_session))
        self.column.addWidget(self.autosave)
        self.column.addWidget(self.paths)
        self.save_mask.clicked.connect(self._save_mask)
        self.save_session.clicked.connect(self._save_session)
        self.open_session.clicked.connect(self._open_session)
        self.autosave.toggled.connect(self.autosave_toggled)
        self.found.restore.clicked.connect(self.restore_asked)
        self.found.discard.clicked.connect(self.discard_asked)
        self.show_state(self.shown)

    def show_state(self, shown: SaveShown) -> None:
        """Show what is saved and where; emits nothing."""
        self.shown = shown
        for button in (self.save_mask, self.save_session):
            button.setEnabled(shown.can_save and not shown.busy)
        self.open_session.setEnabled(bool(shown.scan) and not shown.busy)
        with QSignalBlocker(self.autosave):
            self.autosave.setChecked(shown.autosave)
        self.autosave.setText(f"Autosave · {shown.autosave_text}" if shown.autosave_text else "Autosave")
        saved = [("Masks", shown.mask_path), ("Session", shown.session_path)]
        self.paths.setText(shown.busy or "\n".join(f"{what}: {Path(path).name}" for what, path in saved if path))
        self.paths.setToolTip("\n".join(path for _, path in saved if path))
        self.paths.setVisible(bool(self.paths.text()))
        self.found.text.setText(shown.found)
        self.found.setVisible(bool(shown.found))

    def _save_mask(self) -> None:
        suggested = self.shown.mask_path or f"{self.shown.scan or 'scan'}-masks.nii.gz"
        self._emit(self.save_mask_asked, self.ask_path("save", "Save masks", suggested, _MASKS))

    def _save_session(self) -> None:
        suggested = self.shown.session_path or f"{self.shown.scan or 'scan'}-session.json"
        self._emit(self.save_session_asked, self.ask_path("save", "Save session", suggested, _SESSIONS))

    def _open_session(self) -> None:
        suggested = str(Path(self.shown.session_path).parent) if self.shown.session_path else ""
        self._emit(self.open_session_asked, self.ask_path("open", "Open session", suggested, _SESSIONS))

    @staticmethod
    def _emit(signal: Signal, path: str) -> None:
        if path:
            signal.emit(path)

    def _ask(self, purpose: Literal["save", "open"], title: str, suggested: str, types: str) -> str:
        dialog = QFileDialog.getSaveFileName if purpose == "save" else QFileDialog.getOpenFileName
        path: str = dialog(self, title, suggested, types)[0]
        return path


class _Found(QFrame):
    """An offer to go on with a session that was not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.setStyleSheet("_Found { background: rgba(46, 134, 208, 50); border-radius: 4px; }")
        self.setAccessibleName("An earlier session was found")
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.restore = TextButton("Restore", "Go on where that session was left")
        self.discard = TextButton("Discard", "Forget that session and start anew")
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.addWidget(self.text)
        column.addLayout(row(self.restore, self.discard))
