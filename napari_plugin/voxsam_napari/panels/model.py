"""Which model answers, on what device, under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QProgressBar

from voxsam_napari.panels.controls import Combo, Faint, Form, Panel, TextButton, described

__all__ = ["ModelChoice", "ModelPanel", "ModelShown"]

_STATES = {
    "": "",
    "ready": "Ready",
    "loading": "Loading …",
    "missing": "Weights are not here yet",
    "failed": "Could not be loaded",
}


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be chosen; `weights` says where its weights are, `ready` that they are here."""

    name: str
    title: str
    licence: str
    weights: str
    citation: str = ""
    ready: bool = True


@dataclass(frozen=True)
class ModelShown:
    """What the panel shows.

    Parameters
    ----------
    models : tuple of ModelChoice
    model : str
        The chosen one's name.
    devices : tuple of str
    device : str
    state : {"", "ready", "loading", "missing", "failed"}
    text : str
        More about the state, in one line.
    done, total : int
        Of a download or of encoding; `total` 0 where nothing runs.
    """

    models: tuple[ModelChoice, ...] = ()
    model: str = ""
    devices: tuple[str, ...] = ("cpu",)
    device: str = "cpu"
    state: str = ""
    text: str = ""
    done: int = 0
    total: int = 0


class ModelPanel(Panel):
    """Choose the model and the device; the licence is always in sight."""

    model_chosen = Signal(str)
    device_chosen = Signal(str)
    download_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__("Model")
        self.shown = ModelShown()
        self.model = described(Combo(), "Model", "The model that answers your prompts")
        self.device = described(Combo(), "Device", "Where the model runs")
        self.licence = described(QLabel(), "Licence", "Licence of the model's weights")
        self.licence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.facts = Faint()
        self.download = TextButton("Download the wei&ghts", "Fetch the weights once and check them", "download")
        self.progress = described(QProgressBar(), "Model progress", "How far the model's preparation is")
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        form = Form()
        form.add("&Model", self.model)
        form.add("Devic&e", self.device)
        line = form.end
        form.addWidget(QLabel("Licence"), line, 0)
        form.addWidget(self.licence, line, 1)
        form.addWidget(self.facts, line + 1, 1)
        self.column.addLayout(form)
        self.column.addWidget(self.progress)
        self.column.addWidget(self.download)
        self.model.activated.connect(lambda place: self.model_chosen.emit(self.shown.models[place].name))
        self.device.activated.connect(lambda place: self.device_chosen.emit(self.shown.devices[place]))
        self.download.clicked.connect(lambda: self.download_asked.emit(self.shown.model))
        self.show_state(self.shown)

    def show_state(self, shown: ModelShown) -> None:
        """Show the model; emits nothing."""
        self.shown = shown
        names = tuple(choice.name for choice in shown.models)
        chosen = next((choice for choice in shown.models if choice.name == shown.model), None)
        for box, texts, text in ((self.model, names, shown.model), (self.device, shown.devices, shown.device)):
            box.fill(texts, texts.index(text) if text in texts else -1)
            box.setEnabled(bool(texts))
        for place, choice in enumerate(shown.models):
            self.model.setItemData(place, choice.title, Qt.ItemDataRole.ToolTipRole)
        self.model.setToolTip(chosen.title if chosen else "The model that answers your prompts")
        self.licence.setText(chosen.licence if chosen else "\N{EN DASH}")
        self.licence.setToolTip(chosen.citation or "Licence of the model's weights" if chosen else "No model chosen")
        self.facts.setText(self._facts(chosen))
        self.summarised.emit(" · ".join((chosen.name, shown.device, chosen.licence)) if chosen else "none chosen")
        self.facts.setVisible(bool(self.facts.text()))
        self.download.setVisible(chosen is not None and not chosen.ready and shown.state != "loading")
        self.progress.setVisible(shown.total > 0)
        self.progress.setRange(0, max(shown.total, 1))
        self.progress.setValue(shown.done)

    def _facts(self, chosen: ModelChoice | None) -> str:
        parts = (_STATES[self.shown.state], self.shown.text, chosen.weights if chosen else "")
        return " · ".join(part for part in parts if part)
