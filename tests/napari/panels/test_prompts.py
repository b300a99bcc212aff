from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from voxsam_napari.panels import PromptPanel, PromptRow, PromptsShown

SHOWN = PromptsShown(
    tool="point",
    prompts=(
        PromptRow(11, "point", "point, axial 42"),
        PromptRow(12, "scribble", "scribble, axial 43", positive=False),
    ),
    undo="exclude scribble, axial 43",
    can_accept=True,
    enabled=True,
)


@pytest.fixture
def panel(qtbot: QtBot) -> PromptPanel:
    panel = PromptPanel()
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.resize(310, 300)
    panel.show()
    return panel


def test_one_tool_holds_at_a_time(panel: PromptPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.tool_chosen) as spy:
        qtbot.mouseClick(panel.tools["box"], Qt.MouseButton.LeftButton)
    assert spy.args == ["box"]
    assert [name for name, button in panel.tools.items() if button.isChecked()] == ["box"]


def test_a_tool_that_is_pressed_again_is_laid_down(panel: PromptPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.tool_chosen) as spy:
        qtbot.keyClick(panel.tools["point"], Qt.Key.Key_Space)
    assert spy.args == ["none"]
    assert not any(button.isChecked() for button in panel.tools.values())


def test_the_polarity_is_said_by_text_sign_and_colour(panel: PromptPanel, qtbot: QtBot) -> None:
    assert panel.polarity.accessibleName() == "Next prompt: include"
    before = panel.polarity.styleSheet()
    with qtbot.waitSignal(panel.polarity_toggled) as spy:
        qtbot.mouseClick(panel.polarity, Qt.MouseButton.LeftButton)
    assert spy.args == [False]
    panel.show_state(replace(SHOWN, positive=False))
    assert panel.polarity.accessibleName() == "Next prompt: exclude"
    assert panel.polarity.styleSheet() != before


def test_undo_says_what_it_would_take_back_and_by_which_key(panel: PromptPanel) -> None:
    panel.show_keys({"undo": "Ctrl+Z", "point": "1"})
    assert panel.undo.toolTip() == "Undo: exclude scribble, axial 43 (Ctrl+Z)"
    assert panel.tools["point"].toolTip().endswith("(1)")
    panel.show_state(replace(SHOWN, undo="", redo="add liver"))
    assert not panel.undo.isEnabled()
    assert panel.redo.toolTip() == "Redo: add liver"


@pytest.mark.parametrize("name", ["undo", "redo", "accept"])
def test_the_steps_are_asked_for(panel: PromptPanel, qtbot: QtBot, name: str) -> None:
    panel.show_state(replace(SHOWN, redo="add liver"))
    with qtbot.waitSignal(getattr(panel, f"{name}_asked")):
        qtbot.keyClick(getattr(panel, name), Qt.Key.Key_Space)


def test_the_live_preview_is_switched(panel: PromptPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.live_toggled) as spy:
        qtbot.keyClick(panel.live, Qt.Key.Key_Space)
    assert spy.args == [False]


def test_a_click_on_a_prompt_goes_there_and_on_its_cross_takes_it_back(panel: PromptPanel, qtbot: QtBot) -> None:
    table = panel.prompts
    with qtbot.waitSignal(panel.prompt_chosen) as spy:
        qtbot.mouseClick(
            table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(table.item(1, 0)).center()
        )
    assert spy.args == [12]
    with qtbot.waitSignal(panel.prompt_removed) as spy:
        qtbot.mouseClick(
            table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(table.item(0, 1)).center()
        )
    assert spy.args == [11]


def test_keys_go_to_a_prompt_and_take_it_back(panel: PromptPanel, qtbot: QtBot) -> None:
    panel.prompts.setCurrentCell(1, 0)
    with qtbot.waitSignal(panel.prompt_chosen) as spy:
        qtbot.keyClick(panel.prompts, Qt.Key.Key_Return)
    assert spy.args == [12]
    with qtbot.waitSignal(panel.prompt_removed) as spy:
        qtbot.keyClick(panel.prompts, Qt.Key.Key_Delete)
    assert spy.args == [12]


def test_a_prompt_says_its_polarity_in_signs_and_words(panel: PromptPanel) -> None:
    excluded = panel.prompts.item(1, 0)
    assert excluded.text() == "\N{MINUS SIGN} scribble, axial 43"
    assert excluded.data(Qt.ItemDataRole.AccessibleTextRole) == "exclude: scribble, axial 43"


def test_without_an_object_no_tool_can_be_taken(qtbot: QtBot) -> None:
    panel = PromptPanel()
    qtbot.addWidget(panel)
    assert not any(part.isEnabled() for part in (*panel.tools.values(), panel.polarity, panel.accept, panel.undo))
