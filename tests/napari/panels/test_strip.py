from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QColor, QHelpEvent
from qtpy.QtWidgets import QApplication, QToolTip

from voxsam_napari.panels import StripPanel, StripShown, StripSlice
from voxsam_napari.panels.strip import SOURCES

SLICES = (
    StripSlice(10, "stopped", 0.2, 0.3, 4.0, "overlap 0.30 is below 0.50"),
    *(StripSlice(index, "propagated", 0.81, 0.93, 512.0) for index in range(11, 20)),
    StripSlice(20, "prompted"),
    *(StripSlice(index, "interpolated", None, 0.7, 400.0) for index in range(21, 24)),
    StripSlice(24, "doubtful", 0.35, 0.6, 300.0),
    StripSlice(25, "doubtful", 0.3, 0.6, 300.0),
)
SHOWN = StripShown(SLICES, count=40, current=20, plane="axial")


@pytest.fixture
def panel(qtbot: QtBot) -> StripPanel:
    panel = StripPanel()
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.resize(320, 150)
    panel.show()
    qtbot.waitExposed(panel)
    return panel


def at(panel: StripPanel, index: int) -> QPoint:
    return QPoint(round(panel.strip.x_of(index)), 40)


@pytest.mark.parametrize("index", [0, 11, 25, 39])
def test_a_click_goes_to_the_slice_under_it(panel: StripPanel, qtbot: QtBot, index: int) -> None:
    with qtbot.waitSignal(panel.jump_asked) as spy:
        qtbot.mouseClick(panel.strip, Qt.MouseButton.LeftButton, pos=at(panel, index))
    assert spy.args == [index]


def test_a_drag_goes_along(panel: StripPanel, qtbot: QtBot) -> None:
    seen: list[int] = []
    panel.jump_asked.connect(seen.append)
    qtbot.mousePress(panel.strip, Qt.MouseButton.LeftButton, pos=at(panel, 5))
    qtbot.mouseMove(panel.strip, at(panel, 9))
    qtbot.mouseRelease(panel.strip, Qt.MouseButton.LeftButton, pos=at(panel, 9))
    assert seen == [5, 9]


@pytest.mark.parametrize(
    ("key", "index"),
    [
        (Qt.Key.Key_Left, 19),
        (Qt.Key.Key_Right, 21),
        (Qt.Key.Key_Home, 0),
        (Qt.Key.Key_End, 39),
        (Qt.Key.Key_PageUp, 30),
    ],
)
def test_keys_go_along_the_slices(panel: StripPanel, qtbot: QtBot, key: Qt.Key, index: int) -> None:
    with qtbot.waitSignal(panel.jump_asked) as spy:
        qtbot.keyClick(panel.strip, key)
    assert spy.args == [index]


def test_no_key_leaves_the_scan(panel: StripPanel, qtbot: QtBot) -> None:
    panel.show_current(39)
    with qtbot.assertNotEmitted(panel.jump_asked):
        qtbot.keyClick(panel.strip, Qt.Key.Key_Right)


def test_a_slice_says_in_one_line_what_is_known_of_it() -> None:
    assert SLICES[1].text == "slice 11: propagated, quality 0.81, overlap 0.93, 512 mm²"
    assert SLICES[0].text == "slice 10: stopped, quality 0.20, overlap 0.30, 4 mm², overlap 0.30 is below 0.50"
    assert StripSlice(3, "empty").text == "slice 3: empty"


def test_the_tooltip_tells_of_the_slice_under_the_mouse(panel: StripPanel) -> None:
    place = at(panel, 12)
    QApplication.sendEvent(panel.strip, QHelpEvent(QEvent.Type.ToolTip, place, panel.strip.mapToGlobal(place)))
    assert QToolTip.text() == "slice 12: propagated, quality 0.81, overlap 0.93, 512 mm²"
    QToolTip.hideText()


def test_the_next_slice_to_check_goes_round(panel: StripPanel, qtbot: QtBot) -> None:
    seen: list[int] = []
    panel.jump_asked.connect(seen.append)
    panel.jump_asked.connect(panel.show_current)
    for _ in range(4):
        qtbot.mouseClick(panel.next, Qt.MouseButton.LeftButton)
    assert seen == [24, 25, 10, 24]
    assert "(3)" in panel.next.text()


def test_where_nothing_is_doubtful_there_is_nothing_to_check(panel: StripPanel) -> None:
    panel.show_state(StripShown(SLICES[1:10], 40, 12))
    assert panel.next_to_check() is None
    assert not panel.next.isEnabled()


def color_at(panel: StripPanel, index: int, y: int) -> QColor:
    return panel.strip.grab().toImage().pixelColor(round(panel.strip.x_of(index)), y)


def test_columns_have_their_source_s_colour_and_their_quality_s_height(panel: StripPanel) -> None:
    foot = panel.strip.height() - 8
    assert color_at(panel, 15, foot).name() == SOURCES["propagated"].color.name()
    assert color_at(panel, 15, 12).name() != SOURCES["propagated"].color.name()  # quality 0.81 is no full column
    panel.show_state(StripShown((StripSlice(15, "propagated", 1.0),), 40, 20))
    assert color_at(panel, 15, 12).name() == SOURCES["propagated"].color.name()


def test_a_doubtful_slice_is_seen_where_many_share_a_pixel(panel: StripPanel) -> None:
    many = tuple(StripSlice(index, "doubtful" if index == 500 else "propagated", 0.9) for index in range(1000))
    panel.show_state(StripShown(many, 1000, 0))
    image = panel.strip.grab().toImage()
    x = round(panel.strip.x_of(500))
    top = {image.pixelColor(x + step, y).name() for step in (-1, 0, 1) for y in range(10, 25)}
    assert SOURCES["doubtful"].color.name() in top


def test_sources_are_told_apart_without_colour() -> None:
    """As a person without colour sees them: neighbours in lightness differ in their pattern or their mark."""
    grey = {name: round(source.color.lightnessF(), 2) for name, source in SOURCES.items()}
    patterns = {name: source.pattern for name, source in SOURCES.items()}
    marked = {"stopped", "prompted", "empty"}  # a cross, a diamond, a flat line
    plain = [name for name in SOURCES if name not in marked]
    for one in plain:
        for other in plain:
            assert one == other or patterns[one] != patterns[other] or abs(grey[one] - grey[other]) > 0.2


def test_the_marker_moves_without_a_new_state(panel: StripPanel) -> None:
    panel.show_current(24)
    assert panel.strip.shown.slices is SHOWN.slices
    assert panel.text.text() == "Axial slice 24 / 39\ndoubtful · quality 0.35"
    assert panel.strip.accessibleDescription().startswith("slice 24: doubtful")


def test_without_slices_nothing_happens(qtbot: QtBot) -> None:
    panel = StripPanel()
    qtbot.addWidget(panel)
    panel.show()
    with qtbot.assertNotEmitted(panel.jump_asked):
        qtbot.mouseClick(panel.strip, Qt.MouseButton.LeftButton, pos=QPoint(40, 40))
        qtbot.keyClick(panel.strip, Qt.Key.Key_Right)
    assert not panel.next.isEnabled()
