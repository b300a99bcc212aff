from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from voxsam_napari.panels import SavePanel, SaveShown

SHOWN = SaveShown(scan="abdomen", can_save=True, autosave_text="12 edits kept")


class Dialog:
    """Answers as a user would, and remembers what it was asked."""

    def __init__(self, answer: str = "") -> None:
        self.answer, self.asked = answer, ("", "", "", "")

    def __call__(self, *asked: str) -> str:
        self.asked = asked
        return self.answer


@pytest.fixture
def dialog() -> Dialog:
    return Dialog("chosen.file")


@pytest.fixture
def panel(qtbot: QtBot, dialog: Dialog) -> SavePanel:
    panel = SavePanel(dialog)
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.show()
    return panel


@pytest.mark.parametrize(
    ("button", "purpose", "suggested"),
    [
        ("save_mask", "save", "abdomen-masks.nii.gz"),
        ("save_session", "save", "abdomen-session.json"),
        ("open_session", "open", ""),
    ],
)
def test_a_button_asks_for_a_path_and_passes_it_on(
    panel: SavePanel, dialog: Dialog, qtbot: QtBot, button: str, purpose: str, suggested: str
) -> None:
    with qtbot.waitSignal(getattr(panel, f"{button}_asked")) as spy:
        qtbot.mouseClick(getattr(panel, button), Qt.MouseButton.LeftButton)
    assert spy.args == ["chosen.file"]
    assert (dialog.asked[0], dialog.asked[2]) == (purpose, suggested)


def test_a_user_who_thinks_better_of_it_saves_nothing(panel: SavePanel, dialog: Dialog, qtbot: QtBot) -> None:
    dialog.answer = ""
    with qtbot.assertNotEmitted(panel.save_mask_asked):
        qtbot.mouseClick(panel.save_mask, Qt.MouseButton.LeftButton)


def test_the_last_path_is_suggested_again(panel: SavePanel, dialog: Dialog, qtbot: QtBot) -> None:
    panel.show_state(replace(SHOWN, mask_path="/scans/a/liver.seg.nrrd"))
    qtbot.keyClick(panel.save_mask, Qt.Key.Key_Space)
    assert dialog.asked[2] == "/scans/a/liver.seg.nrrd"
    assert panel.paths.text() == "Masks: liver.seg.nrrd"
    assert panel.paths.toolTip() == "/scans/a/liver.seg.nrrd"


def test_autosave_says_what_it_did_and_is_switched(panel: SavePanel, qtbot: QtBot) -> None:
    assert panel.autosave.text() == "Autosave · 12 edits kept"
    with qtbot.waitSignal(panel.autosave_toggled) as spy:
        qtbot.keyClick(panel.autosave, Qt.Key.Key_Space)
    assert spy.args == [False]


def test_a_session_that_was_left_open_is_offered(panel: SavePanel, qtbot: QtBot) -> None:
    assert not panel.found.isVisible()
    panel.show_state(replace(SHOWN, found="A session of 12:03 with 3 objects was not closed."))
    with qtbot.waitSignal(panel.restore_asked):
        qtbot.mouseClick(panel.found.restore, Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(panel.discard_asked):
        qtbot.keyClick(panel.found.discard, Qt.Key.Key_Space)


def test_while_a_file_is_written_no_other_is(panel: SavePanel) -> None:
    panel.show_state(replace(SHOWN, busy="Writing liver.nii.gz"))
    assert not any(part.isEnabled() for part in (panel.save_mask, panel.save_session, panel.open_session))
    assert panel.paths.text() == "Writing liver.nii.gz"
