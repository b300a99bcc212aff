"""The scan to work on, and how its grey values are shown to the user and to the model."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QGridLayout, QLabel, QSizePolicy

from voxsam_napari.panels.controls import Combo, Faint, Form, IconButton, Panel, described, row

__all__ = ["EnhanceChoice", "ScanPanel", "ScanShown", "WindowChoice"]

_OWN = "own"


@dataclass(frozen=True)
class WindowChoice:
    """A window that can be chosen by name; its numbers are None where they depend on the scan."""

    name: str
    text: str
    width: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class EnhanceChoice:
    """A way to see low contrast better; `why_not` says why it cannot be chosen here."""

    name: str
    text: str
    why_not: str = ""
    title: str = ""


@dataclass(frozen=True)
class ScanShown:
    """What the panel shows.

    Parameters
    ----------
    images : tuple of str
        Layers that can be chosen.
    image : str
        The one that is; empty where none is.
    channels : tuple of str
        Of an image with several; empty where there is nothing to choose.
    channel : int
    facts : str
        Shape, spacing, modality in one line.
    windows : tuple of WindowChoice
    window : str
        The chosen one's name; any other text means own numbers.
    width, level : float
    unit : str
    enhancements : tuple of EnhanceChoice
    enhanced : tuple of str
    preview : bool
        The enhanced picture is on the canvas.
    busy : str
        What is being worked on; empty where nothing is.
    """

    images: tuple[str, ...] = ()
    image: str = ""
    channels: tuple[str, ...] = ()
    channel: int = 0
    facts: str = ""
    windows: tuple[WindowChoice, ...] = ()
    window: str = "auto"
    width: float = 400.0
    level: float = 40.0
    unit: str = ""
    enhancements: tuple[EnhanceChoice, ...] = ()
    enhanced: tuple[str, ...] = ()
    preview: bool = True
    busy: str = ""


class ScanPanel(Panel):
    """Choose the image layer, its channel, the window and what is done about low contrast."""

    image_chosen = Signal(str)
    channel_chosen = Signal(int)
    window_chosen = Signal(str)
    enhance_chosen = Signal(object)
    preview_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Scan")
        self.shown = ScanShown()
        self.image = described(Combo(), "Image layer", "The image layer to segment; it is never changed")
        self.channel = described(Combo(), "Channel", "Which channel or time point of this image to segment")
        self.facts = Faint()
        self.window = described(Combo(), "Window preset", "Grey values that you and the model see")
        self.width_box = self._number("Window width", "Window width: from black to white", 0.001, 1e6)
        self.level_box = self._number("Window level", "Window level: the value shown as mid-grey", -1e6, 1e6)
        self.preview = IconButton(
            "eye",
            "Show the enhanced picture",
            "Show at once what the enhancement does to the picture; off: only the model sees it",
            checkable=True,
            side=26,
        )
        self.enhancements: dict[str, QCheckBox] = {}
        self._grid = QGridLayout()
        self._lay_out()
        self._connect()
        self.show_state(self.shown)

    def show_state(self, shown: ScanShown) -> None:
        """Show the scan; emits nothing."""
        if shown.enhancements != self.shown.enhancements:
            self._make_enhancements(shown.enhancements)
        self.shown = shown
        self.image.fill(shown.images, shown.images.index(shown.image) if shown.image in shown.images else -1)
        self.image.setPlaceholderText("Open or add an image" if not shown.images else "Choose an image")
        self.channel.fill(shown.channels, shown.channel if shown.channels else -1)
        for part in (self.channel, self._channel_label):
            part.setVisible(bool(shown.channels))
        self.facts.setText(shown.busy or shown.facts)
        self.facts.setVisible(bool(self.facts.text()))
        self._show_window(shown)
        for name, box in self.enhancements.items():
            with QSignalBlocker(box):
                box.setChecked(name in shown.enhanced)
        with QSignalBlocker(self.preview):
            self.preview.setChecked(shown.preview)
        self._enable(bool(shown.image))

    def _show_window(self, shown: ScanShown) -> None:
        names = [choice.name for choice in shown.windows]
        at = names.index(shown.window) if shown.window in names else len(names)
        self.window.fill((*(choice.text for choice in shown.windows), "Own numbers"), at)
        for box, value in ((self.width_box, shown.width), (self.level_box, shown.level)):
            with QSignalBlocker(box):
                whole = shown.width >= 20 and float(shown.width).is_integer() and float(shown.level).is_integer()
                fine = 0 if whole else 1 if shown.width >= 20 else 3
                box.setDecimals(fine)
                box.setSingleStep(max(round(shown.width / 40, fine), 10.0**-fine))
                box.setValue(value)
                box.setSuffix(f" {shown.unit}" if shown.unit else "")

    def _enable(self, there_is_one: bool) -> None:
        self.image.setEnabled(bool(self.shown.images))
        for part in (self.window, self.width_box, self.level_box, self.preview):
            part.setEnabled(there_is_one)
        for choice in self.shown.enhancements:
            self.enhancements[choice.name].setEnabled(there_is_one and not choice.why_not)
        self.preview.setEnabled(there_is_one and bool(self.shown.enhanced))

    def _make_enhancements(self, choices: tuple[EnhanceChoice, ...]) -> None:
        for box in self.enhancements.values():
            self._grid.removeWidget(box)
            box.deleteLater()
        self.enhancements.clear()
        for place, choice in enumerate(choices):
            box = QCheckBox(choice.title or choice.name)
            tip = f"{choice.text}; {choice.why_not}" if choice.why_not else choice.text
            box.setStyleSheet("QCheckBox { font-size: 9pt; }")
            described(box, f"Low contrast: {choice.text}", tip[:1].upper() + tip[1:])
            box.toggled.connect(self._enhance_changed)
            self._grid.addWidget(box, place // 2, place % 2)
            self.enhancements[choice.name] = box

    def _enhance_changed(self) -> None:
        self.enhance_chosen.emit(tuple(name for name, box in self.enhancements.items() if box.isChecked()))

    def _window_picked(self, place: int) -> None:
        if place < len(self.shown.windows):
            self.window_chosen.emit(self.shown.windows[place].name)
        else:
            self._numbers_typed()

    def _numbers_typed(self) -> None:
        self.window_chosen.emit(f"{self.width_box.value():g},{self.level_box.value():g}")

    def _connect(self) -> None:
        self.image.activated.connect(lambda place: self.image_chosen.emit(self.shown.images[place]))
        self.channel.activated.connect(self.channel_chosen)
        self.window.activated.connect(self._window_picked)
        for box in (self.width_box, self.level_box):
            box.valueChanged.connect(self._numbers_typed)
        self.preview.toggled.connect(self.preview_toggled)

    def _lay_out(self) -> None:
        form = Form()
        form.add("&Image", self.image)
        self._channel_label = form.add("Cha&nnel", self.channel)
        form.addWidget(self.facts, form.end, 0, 1, 2)
        form.add("Wind&ow", self.window)
        numbers = row(self.width_box, self.level_box)
        line = form.end
        form.addWidget(QLabel("W / L"), line, 0)
        form.addLayout(numbers, line, 1)
        line = form.end
        form.addWidget(QLabel("Contrast"), line, 0)
        form.addLayout(self._grid, line, 1, 2, 1)
        form.addWidget(self.preview, line + 1, 0)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(2)
        self.column.addLayout(form)

    @staticmethod
    def _number(name: str, tip: str, low: float, high: float) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setRange(low, high)
        box.setMinimumWidth(92)  # two beside each other, in a narrow dock, whatever their ranges ask for
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.setKeyboardTracking(False)  # a number half typed is no window
        described(box, name, tip)
        return box
