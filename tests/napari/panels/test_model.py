from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from voxsam_napari.panels import ModelChoice, ModelPanel, ModelShown

SHOWN = ModelShown(
    models=(
        ModelChoice("compact", "small and fast", "Apache-2.0", "ships with voxsam"),
        ModelChoice("sam-vit-b", "trained on photographs", "CC-BY", "375 MB", citation="Kirillov", ready=False),
    ),
    model="compact",
    devices=("cpu", "cuda"),
    device="cpu",
    state="ready",
)


@pytest.fixture
def panel(qtbot: QtBot) -> ModelPanel:
    panel = ModelPanel()
    qtbot.addWidget(panel)
    panel.show_state(SHOWN)
    panel.show()
    return panel


def test_the_licence_is_in_sight(panel: ModelPanel) -> None:
    assert panel.licence.isVisible()
    assert panel.licence.text() == "Apache-2.0"
    assert panel.facts.text() == "Ready · ships with voxsam"


def test_a_folded_panel_still_says_model_device_and_licence(panel: ModelPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.summarised) as spy:
        panel.show_state(replace(SHOWN, device="cuda"))
    assert spy.args == ["compact · cuda · Apache-2.0"]


def test_model_and_device_are_chosen_by_key(panel: ModelPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.model_chosen) as spy:
        qtbot.keyClick(panel.model, Qt.Key.Key_Down)
    assert spy.args == ["sam-vit-b"]
    with qtbot.waitSignal(panel.device_chosen) as spy:
        qtbot.keyClick(panel.device, Qt.Key.Key_Down)
    assert spy.args == ["cuda"]


def test_weights_that_are_not_here_are_offered_for_download(panel: ModelPanel, qtbot: QtBot) -> None:
    assert not panel.download.isVisible()
    panel.show_state(replace(SHOWN, model="sam-vit-b", state="missing"))
    assert panel.facts.text() == "Weights are not here yet · 375 MB"
    assert panel.licence.toolTip() == "Kirillov"
    with qtbot.waitSignal(panel.download_asked) as spy:
        qtbot.mouseClick(panel.download, Qt.MouseButton.LeftButton)
    assert spy.args == ["sam-vit-b"]


def test_progress_shows_only_while_something_runs(panel: ModelPanel) -> None:
    assert not panel.progress.isVisible()
    panel.show_state(replace(SHOWN, model="sam-vit-b", state="loading", done=3, total=10))
    assert panel.progress.isVisible()
    assert panel.progress.value() == 3
    assert not panel.download.isVisible()
