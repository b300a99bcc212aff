from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from voxsam_napari.panels import EnhanceChoice, ScanPanel, ScanShown, WindowChoice

SHOWN = ScanShown(
    images=("abdomen", "head"),
    image="abdomen",
    facts="96 x 160 x 192",
    windows=(WindowChoice("auto", "Automatic"), WindowChoice("liver", "Liver 150 / 30", 150, 30)),
    window="liver",
    width=150,
    level=30,
    unit="HU",
    enhancements=(EnhanceChoice("n4", "take out shading", "a CT has none"), EnhanceChoice("clahe", "raise contrast")),
)


@pytest.fixture
def panel(qtbot: QtBot) -> ScanPanel:
    panel = ScanPanel()
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.show()
    return panel


def test_showing_a_state_emits_nothing(panel: ScanPanel, qtbot: QtBot) -> None:
    signals = [
        panel.image_chosen,
        panel.channel_chosen,
        panel.window_chosen,
        panel.enhance_chosen,
        panel.preview_toggled,
    ]
    changed = replace(SHOWN, image="head", window="auto", width=900.0, level=12.5, enhanced=("clahe",), preview=False)
    spies = [qtbot.assertNotEmitted(signal) for signal in signals]
    for spy in spies:
        spy.__enter__()
    panel.show_state(changed)
    for spy in spies:
        spy.__exit__(None, None, None)
    assert (panel.image.currentText(), panel.window.currentText()) == ("head", "Automatic")
    assert (panel.width_box.value(), panel.level_box.value()) == (900.0, 12.5)


def test_the_arrow_key_chooses_the_next_image(panel: ScanPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.image_chosen) as spy:
        qtbot.keyClick(panel.image, Qt.Key.Key_Down)
    assert spy.args == ["head"]


def test_a_preset_is_chosen_by_its_name(panel: ScanPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.window_chosen) as spy:
        qtbot.keyClick(panel.window, Qt.Key.Key_Up)
    assert spy.args == ["auto"]


def test_own_numbers_go_out_as_width_and_level(panel: ScanPanel, qtbot: QtBot) -> None:
    box = panel.width_box
    box.selectAll()
    with qtbot.waitSignal(panel.window_chosen) as spy:
        qtbot.keyClicks(box, "1200")
        qtbot.keyClick(box, Qt.Key.Key_Return)
    assert spy.args == ["1200,30"]


def test_a_number_half_typed_is_no_window(panel: ScanPanel, qtbot: QtBot) -> None:
    panel.width_box.selectAll()
    with qtbot.assertNotEmitted(panel.window_chosen):
        qtbot.keyClicks(panel.width_box, "12")


def test_a_numbers_fraction_is_kept(panel: ScanPanel) -> None:
    panel.show_state(replace(SHOWN, window="", width=0.125, level=0.0625))
    assert (panel.width_box.value(), panel.level_box.value()) == (0.125, 0.063)
    assert panel.window.currentText() == "Own numbers"


def test_channels_are_asked_for_only_where_there_are_several(panel: ScanPanel, qtbot: QtBot) -> None:
    assert not panel.channel.isVisible()
    panel.show_state(replace(SHOWN, channels=("T1", "T2"), channel=0))
    assert panel.channel.isVisible()
    with qtbot.waitSignal(panel.channel_chosen) as spy:
        qtbot.keyClick(panel.channel, Qt.Key.Key_Down)
    assert spy.args == [1]


def test_an_enhancement_that_does_not_fit_says_why_and_cannot_be_chosen(panel: ScanPanel) -> None:
    assert not panel.enhancements["n4"].isEnabled()
    assert panel.enhancements["n4"].toolTip() == "Take out shading; a CT has none"


def test_the_space_bar_chooses_an_enhancement(panel: ScanPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.enhance_chosen) as spy:
        qtbot.keyClick(panel.enhancements["clahe"], Qt.Key.Key_Space)
    assert spy.args == [("clahe",)]


def test_the_preview_can_be_switched_only_where_something_is_enhanced(panel: ScanPanel, qtbot: QtBot) -> None:
    assert not panel.preview.isEnabled()
    panel.show_state(replace(SHOWN, enhanced=("clahe",)))
    with qtbot.waitSignal(panel.preview_toggled) as spy:
        qtbot.keyClick(panel.preview, Qt.Key.Key_Space)
    assert spy.args == [False]


def test_without_an_image_nothing_can_be_done_and_the_way_out_is_said(qtbot: QtBot) -> None:
    panel = ScanPanel()
    qtbot.addWidget(panel)
    assert not any(part.isEnabled() for part in (panel.image, panel.window, panel.width_box, panel.preview))
    assert panel.image.placeholderText() == "Open or add an image"


def test_what_is_being_worked_on_takes_the_place_of_the_facts(panel: ScanPanel) -> None:
    panel.show_state(replace(SHOWN, busy="taking out the shading, 40 %"))
    assert panel.facts.text() == "taking out the shading, 40 %"
