"""What holds for all panels at once: names, tips, keys, folding, themes."""

from __future__ import annotations

import re

import pytest
from napari.qt import get_stylesheet
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QScrollArea,
    QScrollBar,
    QTableWidget,
    QWidget,
)

from voxsam_napari.panels import EnhanceChoice, ModelChoice, ModelShown, PanelStack, PromptsShown, ScanShown, SliceStrip
from voxsam_napari.panels.icons import ICONS, icon, pixmap

#: Letters that open napari's menus with Alt.
NAPARI_MENUS = set("fvlpdwh")


@pytest.fixture
def stack(qtbot: QtBot) -> PanelStack:
    stack = PanelStack()
    stack.setStyleSheet(get_stylesheet("dark"))
    qtbot.addWidget(stack)
    stack.show()
    return stack


def controls(stack: PanelStack) -> list[QWidget]:
    kinds = (QAbstractButton, QComboBox, QAbstractSpinBox, QTableWidget, SliceStrip)
    found = [widget for kind in kinds for widget in stack.findChildren(kind)]
    return [widget for widget in found if not widget.objectName().startswith("qt_")]  # Qt's own inner parts


def test_every_control_has_a_tooltip_a_name_and_takes_the_keyboard(stack: PanelStack) -> None:
    stack.prompts.show_state(PromptsShown(enabled=True))
    for control in controls(stack):
        if isinstance(control.parent(), QTableWidget) or isinstance(control, QScrollBar):
            continue
        said = control.accessibleName() or (control.text() if isinstance(control, QAbstractButton) else "")
        if control is stack.message.action:  # it has no text until there is a way out
            continue
        assert said, control
        assert control.toolTip() or isinstance(control, SliceStrip), said
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus, said


def mnemonics(stack: PanelStack) -> list[str]:
    texts = [widget.text() for kind in (QAbstractButton, QLabel) for widget in stack.findChildren(kind)]
    return [letter.lower() for text in texts for letter in re.findall(r"&(\w)", text)]


def test_no_mnemonic_means_two_things_or_one_of_napari_s_menus(stack: PanelStack) -> None:
    letters = mnemonics(stack)
    assert len(letters) == len(set(letters)), sorted(letters)
    assert not NAPARI_MENUS & set(letters)


def test_tab_goes_down_the_dock_and_never_sticks(stack: PanelStack, qtbot: QtBot) -> None:
    stack.prompts.show_state(PromptsShown(enabled=True, can_accept=True, undo="a point"))
    order: list[QWidget] = []
    widget = stack.prompts.tools["point"]
    while widget is not None and widget not in order and len(order) < 200:
        order.append(widget)
        widget = widget.nextInFocusChain()
    parts = [
        stack.prompts.tools["box"],
        stack.prompts.polarity,
        stack.prompts.accept,
        stack.prompts.undo,
        stack.propagate.run,
    ]
    places = [order.index(part) for part in parts]
    assert places == sorted(places)


def test_a_section_folds_by_key_and_says_the_main_thing(stack: PanelStack, qtbot: QtBot) -> None:
    section = stack.sections["Model"]
    stack.model.show_state(
        ModelShown((ModelChoice("compact", "small", "Apache-2.0", "here"),), "compact", ("cpu",), "cpu", "ready")
    )
    assert not stack.model.isVisible()
    assert section.summary.text() == "compact · cpu · Apache-2.0"
    qtbot.keyClick(section.header, Qt.Key.Key_Space)
    assert stack.model.isVisible()
    assert not section.summary.isVisible()


def test_the_strip_and_the_message_stay_in_sight_when_all_sections_are_open(stack: PanelStack) -> None:
    for section in stack.sections.values():
        section.header.setChecked(True)
    stack.resize(340, 600)
    QApplication.processEvents()
    for part in (stack.strip, stack.message):
        assert stack.rect().contains(part.geometry())


def test_the_dock_is_narrow(stack: PanelStack) -> None:
    name = "CT of the abdomen, portal venous phase, thin slices, series 4"
    titles = ("Local window", "Local contrast", "Even brightness", "Less noise")
    choices = tuple(EnhanceChoice(title, title, title=title) for title in titles)
    stack.scan.show_state(
        ScanShown(images=(name,), image=name, facts=name, channels=(name, name), enhancements=choices)
    )
    assert stack.sizeHint().width() <= 340
    assert stack.minimumSizeHint().width() <= 340
    inside = stack.findChild(QScrollArea).widget()  # nothing is cut off at the right, the scroll bar included
    assert inside.minimumSizeHint().width() <= 316


def test_a_section_of_one_s_own_comes_last(stack: PanelStack) -> None:
    own = QLabel("shortcuts")
    stack.add_section("Keys", own, is_open=False)
    assert list(stack.sections)[-1] == "Keys"
    assert not own.isVisible()


def test_keys_are_shown_on_every_panel(stack: PanelStack) -> None:
    stack.show_keys({"propagate": "G", "next_check": "N", "add_object": "O", "save_mask": "Ctrl+S"})
    for button, key in (
        (stack.propagate.run, "G"),
        (stack.strip.next, "N"),
        (stack.objects.add, "O"),
        (stack.save.save_mask, "Ctrl+S"),
    ):
        assert button.toolTip().endswith(f"({key})")


def test_icons_follow_the_theme(stack: PanelStack) -> None:
    def darkest() -> int:
        image = stack.prompts.tools["box"].icon().pixmap(20, 20).toImage()
        opaque = [image.pixelColor(x, y) for x in range(20) for y in range(20) if image.pixelColor(x, y).alpha() > 200]
        return min(color.lightness() for color in opaque)

    stack.prompts.show_state(PromptsShown(enabled=True))
    seen = []
    for color in ("#f0f0f0", "#101010"):
        stack.setStyleSheet(f"QWidget {{ color: {color}; background: gray; }}")
        stack.grab()
        seen.append(darkest())
    assert seen[0] > 200
    assert seen[1] < 60


@pytest.mark.parametrize("name", sorted(ICONS))
def test_every_icon_draws_something(qapp: QApplication, name: str) -> None:
    image = pixmap(name, QColor("white"), 24).toImage()
    drawn = sum(image.pixelColor(x, y).alpha() > 100 for x in range(24) for y in range(24))
    assert 10 < drawn < 300
    assert not icon(name, QColor("white")).isNull()
