from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication

from voxsam_napari.panels import MeasurePanel, MeasureShown

SHOWN = MeasureShown("lesion", 12.34, 31.24, 18.66, 44, 62.25, 11.9, -12.0, 61.0, 140.0, "HU")


@pytest.fixture
def panel(qtbot: QtBot) -> MeasurePanel:
    panel = MeasurePanel()
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.show()
    return panel


def test_the_numbers_stand_with_their_units(panel: MeasurePanel) -> None:
    assert [value.text() for value in panel.values.values()] == [
        "12.34 mL",
        "31.2 \N{MULTIPLICATION SIGN} 18.7 mm",
        "62.2 ± 11.9 HU",
        "-12 / 61 / 140 HU",
    ]


def test_they_are_copied_as_lines(panel: MeasurePanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.copied) as spy:
        qtbot.mouseClick(panel.copy, Qt.MouseButton.LeftButton)
    text = QGuiApplication.clipboard().text()
    assert spy.args == [text]
    assert text.splitlines()[0] == "Object\tlesion"
    assert "Slice of the diameters\t44" in text


def test_the_slice_of_the_diameters_is_a_click_away(panel: MeasurePanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.jump_asked) as spy:
        qtbot.mouseClick(panel.jump, Qt.MouseButton.LeftButton)
    assert spy.args == [44]


def test_the_result_is_seen_in_3d_and_back(panel: MeasurePanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.view_3d_toggled) as spy:
        qtbot.keyClick(panel.view_3d, Qt.Key.Key_Space)
    assert spy.args == [True]
    panel.show_state(replace(MeasureShown(), view_3d=True))
    assert panel.view_3d.isEnabled()  # the way back stays open when the mask is gone


def test_old_numbers_are_marked(panel: MeasurePanel) -> None:
    assert not panel.note.isVisible()
    panel.show_state(replace(SHOWN, stale=True))
    assert panel.note.isVisible()


def test_without_a_mask_there_are_dashes(qtbot: QtBot) -> None:
    panel = MeasurePanel()
    qtbot.addWidget(panel)
    assert {value.text() for value in panel.values.values()} == {"\N{EN DASH}"}
    assert not any(part.isEnabled() for part in (panel.copy, panel.jump, panel.view_3d))
