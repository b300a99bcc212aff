from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from voxsam_napari.panels import PropagatePanel, PropagateShown

SHOWN = PropagateShown(count=96, current=42, can_run=True, can_refine=True)


@pytest.fixture
def panel(qtbot: QtBot) -> PropagatePanel:
    panel = PropagatePanel()
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.show()
    return panel


@pytest.mark.parametrize(
    ("direction", "slices"), [("whole", (0, 95)), ("up", (42, 95)), ("down", (0, 42)), ("range", (0, 95))]
)
def test_a_direction_shows_which_slices_it_means(
    panel: PropagatePanel, qtbot: QtBot, direction: str, slices: tuple[int, int]
) -> None:
    qtbot.mouseClick(panel.direction.buttons[direction], Qt.MouseButton.LeftButton)
    assert (panel.first.value(), panel.last.value()) == slices
    assert panel.first.isEnabled() == (direction == "range")


def test_the_button_asks_with_the_direction(panel: PropagatePanel, qtbot: QtBot) -> None:
    qtbot.mouseClick(panel.direction.buttons["up"], Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(panel.propagate_asked) as spy:
        qtbot.mouseClick(panel.run, Qt.MouseButton.LeftButton)
    assert spy.args == ["up"]


def test_a_typed_range_goes_out_as_its_ends(panel: PropagatePanel, qtbot: QtBot) -> None:
    qtbot.mouseClick(panel.direction.buttons["range"], Qt.MouseButton.LeftButton)
    panel.first.setValue(30)
    panel.last.setValue(50)
    panel.show_state(replace(SHOWN, current=43))  # what happens elsewhere does not change what was typed
    with qtbot.waitSignal(panel.propagate_asked) as spy:
        qtbot.keyClick(panel.run, Qt.Key.Key_Space)
    assert spy.args == [(30, 50)]


def test_a_range_never_ends_before_it_begins(panel: PropagatePanel, qtbot: QtBot) -> None:
    qtbot.mouseClick(panel.direction.buttons["range"], Qt.MouseButton.LeftButton)
    panel.last.setValue(40)
    panel.first.setValue(60)
    assert panel.reach == (60, 60)


def test_the_arrow_keys_change_the_direction(panel: PropagatePanel, qtbot: QtBot) -> None:
    panel.activateWindow()
    panel.direction.buttons["whole"].setFocus()
    qtbot.waitUntil(panel.direction.buttons["whole"].hasFocus)
    qtbot.keyClick(panel.direction.buttons["whole"], Qt.Key.Key_Right)
    assert panel.reach == "up"
    assert panel.first.value() == 42


def test_while_it_runs_progress_and_cancel_take_the_buttons_place(panel: PropagatePanel, qtbot: QtBot) -> None:
    height = panel.sizeHint().height()
    panel.show_state(replace(SHOWN, running=True, done=12, total=96))
    assert not panel.run.isVisible()
    assert panel.progress.text() == "slice 12 of 96"
    assert panel.sizeHint().height() == height  # nothing jumps
    with qtbot.waitSignal(panel.cancel_asked):
        qtbot.mouseClick(panel.cancel, Qt.MouseButton.LeftButton)


def test_refine_is_offered_only_where_there_is_a_mask(panel: PropagatePanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.refine_asked):
        qtbot.mouseClick(panel.refine, Qt.MouseButton.LeftButton)
    panel.show_state(replace(SHOWN, can_refine=False))
    assert not panel.refine.isEnabled()


def test_another_scan_brings_its_own_range(panel: PropagatePanel, qtbot: QtBot) -> None:
    qtbot.mouseClick(panel.direction.buttons["range"], Qt.MouseButton.LeftButton)
    panel.show_state(replace(SHOWN, count=20, current=3))
    assert panel.reach == (0, 19)


def test_one_slice_has_no_direction(qtbot: QtBot) -> None:
    panel = PropagatePanel()
    qtbot.addWidget(panel)
    panel.show_state(PropagateShown(count=1, can_run=True))
    assert not panel.direction.isEnabled()
    assert panel.run.isEnabled()
