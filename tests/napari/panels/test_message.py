from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from voxsam_napari.panels import Message, MessageLine


@pytest.fixture
def line(qtbot: QtBot) -> MessageLine:
    line = MessageLine()
    qtbot.addWidget(line)
    line.resize(320, 40)
    line.show()
    return line


@pytest.mark.parametrize("kind", ["info", "warn", "error"])
def test_a_message_is_shown_with_its_kind(line: MessageLine, kind: str) -> None:
    line.show_state(Message("the disk is full; choose another folder", kind))
    assert line.text.text() == "the disk is full; choose another folder"
    assert line.accessibleName() == f"{kind}: the disk is full; choose another folder"
    assert not line.icon.pixmap().isNull()


def test_news_fade_and_errors_stay(line: MessageLine, qtbot: QtBot) -> None:
    line.seconds = 0.05
    line.show_state(Message("saved"))
    qtbot.waitUntil(lambda: line.shown is None, timeout=2000)
    line.show_state(Message("the disk is full", "error"))
    qtbot.wait(120)
    assert line.shown is not None


def test_a_newer_message_takes_the_place_of_the_older_and_its_clock(line: MessageLine, qtbot: QtBot) -> None:
    line.seconds = 0.05
    line.show_state(Message("saved"))
    line.show_state(Message("weights are missing", "warn"))
    qtbot.wait(120)
    assert line.text.text() == "weights are missing"


def test_it_is_dismissed_by_mouse_or_key(line: MessageLine, qtbot: QtBot) -> None:
    line.show_state(Message("the disk is full", "error"))
    with qtbot.waitSignal(line.dismissed):
        qtbot.keyClick(line.close_button, Qt.Key.Key_Space)
    assert line.shown is None
    assert not line.close_button.isVisible()


def test_the_way_out_is_a_button(line: MessageLine, qtbot: QtBot) -> None:
    line.show_state(Message("a labels layer is in the way", "warn"))
    assert not line.action.isVisible()
    line.show_state(Message("the session is of another scan", "error", "Open anyway"))
    with qtbot.waitSignal(line.action_asked):
        qtbot.mouseClick(line.action, Qt.MouseButton.LeftButton)


def test_a_long_message_takes_more_lines_and_stays_whole_in_the_tooltip(line: MessageLine) -> None:
    line.show_state(Message("short", "error"))
    low = line.sizeHint().height()
    text = "expected a scan of 512 x 512 x 200 voxels, got one of 96 x 160 x 192; open the scan that was saved with it"
    line.show_state(Message(text, "error"))
    assert line.toolTip() == text
    assert line.heightForWidth(320) > low
