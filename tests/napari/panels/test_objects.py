from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QLineEdit

from voxsam_napari.panels import ObjectListPanel, ObjectRow, ObjectsShown
from voxsam_napari.panels.objects import Column

SHOWN = ObjectsShown(
    rows=(
        ObjectRow(4, "liver", (0.9, 0.6, 0.0), code="Liver (SNOMED-CT 10200004)", volume_ml=1512.34),
        ObjectRow(7, "lesion", (0.3, 0.7, 0.9), locked=True, visible=False, volume_ml=2.0, stale=True),
        ObjectRow(9, "kidney", (0.0, 0.6, 0.4)),
    ),
    current=4,
    labels=("manual", "atlas"),
    known_names=("liver", "spleen"),
    enabled=True,
)


@pytest.fixture
def panel(qtbot: QtBot) -> ObjectListPanel:
    panel = ObjectListPanel()
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.resize(310, 300)
    panel.show()
    return panel


def cell(panel: ObjectListPanel, row: int, column: Column) -> QPoint:
    return panel.table.visualItemRect(panel.table.item(row, column)).center()


def click(panel: ObjectListPanel, qtbot: QtBot, row: int, column: Column) -> None:
    qtbot.mouseClick(panel.table.viewport(), Qt.MouseButton.LeftButton, pos=cell(panel, row, column))


def test_a_row_says_name_volume_and_code(panel: ObjectListPanel) -> None:
    assert panel.table.item(0, Column.VOLUME).text() == "1512.3 mL"
    assert panel.table.item(1, Column.VOLUME).text() == "2.0 mL *"  # prompts came after it
    assert panel.table.item(2, Column.VOLUME).text() == ""
    assert panel.table.item(0, Column.NAME).toolTip() == "Liver (SNOMED-CT 10200004)"


def test_showing_rows_chooses_and_renames_nothing(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(panel.chosen), qtbot.assertNotEmitted(panel.renamed):
        panel.show_state(replace(SHOWN, rows=SHOWN.rows[1:], current=9))
    assert panel.table.currentRow() == 1


def test_a_click_on_a_row_chooses_it(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.chosen) as spy:
        click(panel, qtbot, 2, Column.NAME)
    assert spy.args == [9]


def test_the_arrow_keys_go_from_object_to_object(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.chosen) as spy:
        qtbot.keyClick(panel.table, Qt.Key.Key_Down)
    assert spy.args == [7]


def test_a_click_on_the_eye_hides_and_on_the_lock_unlocks(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.visible_toggled) as spy:
        click(panel, qtbot, 0, Column.EYE)
    assert spy.args == [4, False]
    with qtbot.waitSignal(panel.lock_toggled) as spy:
        click(panel, qtbot, 1, Column.LOCK)
    assert spy.args == [7, False]


def test_the_space_bar_does_what_a_click_on_the_cell_does(panel: ObjectListPanel, qtbot: QtBot) -> None:
    panel.table.setCurrentCell(0, Column.EYE)
    with qtbot.waitSignal(panel.visible_toggled) as spy:
        qtbot.keyClick(panel.table, Qt.Key.Key_Space)
    assert spy.args == [4, False]


def test_a_name_is_typed_in_its_place(panel: ObjectListPanel, qtbot: QtBot) -> None:
    qtbot.keyClick(panel.table, Qt.Key.Key_F2)
    editor = panel.table.findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "segment VII")
    with qtbot.waitSignal(panel.renamed) as spy:
        qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert spy.args == [4, "segment VII"]


def test_a_name_half_typed_survives_news_of_the_session(panel: ObjectListPanel, qtbot: QtBot) -> None:
    qtbot.keyClick(panel.table, Qt.Key.Key_F2)
    editor = panel.table.findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "segm")
    panel.show_state(replace(SHOWN, rows=(replace(SHOWN.rows[0], volume_ml=3.0), *SHOWN.rows[1:])))
    assert panel.table.findChild(QLineEdit) is editor
    assert editor.text() == "segm"


def test_an_empty_name_is_taken_back(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(panel.renamed):
        panel.table.item(0, Column.NAME).setText("  ")
    assert panel.table.item(0, Column.NAME).text() == "liver"


def test_names_with_a_code_are_offered_while_typing(panel: ObjectListPanel, qtbot: QtBot) -> None:
    qtbot.keyClick(panel.table, Qt.Key.Key_F2)
    completer = panel.table.findChild(QLineEdit).completer()
    completer.setCompletionPrefix("LEE")
    assert completer.currentCompletion() == "spleen"


def test_delete_asks_to_delete_the_chosen_object(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.delete_asked) as spy:
        qtbot.keyClick(panel.table, Qt.Key.Key_Delete)
    assert spy.args == [4]
    with qtbot.waitSignal(panel.delete_asked) as spy:
        qtbot.mouseClick(panel.delete, Qt.MouseButton.LeftButton)
    assert spy.args == [4]


def test_a_click_on_the_swatch_asks_for_a_colour_and_does_not_wait(panel: ObjectListPanel, qtbot: QtBot) -> None:
    click(panel, qtbot, 0, Column.COLOUR)
    dialog = panel.findChild(QColorDialog)
    with qtbot.waitSignal(panel.recolored) as spy:
        dialog.setCurrentColor(QColor(255, 0, 51))
        dialog.accept()
    assert spy.args[0] == 4
    assert spy.args[1] == pytest.approx((1.0, 0.0, 0.2), abs=1e-3)


def test_add_and_next_ask(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.add_asked):
        qtbot.mouseClick(panel.add, Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(panel.next_asked):
        qtbot.keyClick(panel.next, Qt.Key.Key_Space)


def test_a_labels_layer_can_be_a_start_or_be_protected(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.start_from) as spy:
        panel.start_menu.actions()[1].trigger()
    assert spy.args == ["atlas"]
    with qtbot.waitSignal(panel.protect_chosen) as spy:
        qtbot.keyClick(panel.protect, Qt.Key.Key_Down)
    assert spy.args == ["manual"]
    panel.show_state(replace(SHOWN, protected="manual"))
    with qtbot.waitSignal(panel.protect_chosen) as spy:
        qtbot.keyClick(panel.protect, Qt.Key.Key_Up)
    assert spy.args == [""]


def test_the_rules_are_folded_until_they_are_asked_for(panel: ObjectListPanel, qtbot: QtBot) -> None:
    assert not panel.overlap.isVisible()
    qtbot.keyClick(panel.options, Qt.Key.Key_Space)
    assert panel.overlap.isVisible()
    assert panel.protect.isVisible()


def test_the_overlap_policy_goes_out_by_its_name(panel: ObjectListPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.overlap_chosen) as spy:
        qtbot.keyClick(panel.overlap, Qt.Key.Key_Down)
    assert spy.args == ["overwrite"]


def test_without_a_scan_nothing_can_be_done(qtbot: QtBot) -> None:
    panel = ObjectListPanel()
    qtbot.addWidget(panel)
    assert not any(part.isEnabled() for part in (panel.add, panel.next, panel.delete, panel.table, panel.overlap))
