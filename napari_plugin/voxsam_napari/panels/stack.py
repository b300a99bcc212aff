"""All panels in one narrow dock: sections that fold, and the strip and the message always in sight."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from voxsam_napari.panels.controls import GAP, GROUP_GAP, Faint, Panel, described, row
from voxsam_napari.panels.measures import MeasurePanel
from voxsam_napari.panels.message import MessageLine
from voxsam_napari.panels.model import ModelPanel
from voxsam_napari.panels.objects import ObjectListPanel
from voxsam_napari.panels.prompts import PromptPanel
from voxsam_napari.panels.propagation import PropagatePanel
from voxsam_napari.panels.saving import SavePanel
from voxsam_napari.panels.scan import ScanPanel
from voxsam_napari.panels.strip import StripPanel

__all__ = ["PanelStack", "Section"]

_HEADER = """
QToolButton { background: transparent; border: none; border-bottom: 1px solid rgba(127, 127, 127, 90);
  padding: 2px; font-weight: 600; text-align: left; }
QToolButton:hover { background: rgba(127, 127, 127, 40); }
QToolButton:focus { border-bottom-color: rgb(86, 160, 220); }
"""


class Section(QWidget):
    """A titled part of the dock that folds.

    Parameters
    ----------
    title : str
    content : QWidget
    is_open : bool
    """

    def __init__(self, title: str, content: QWidget, *, is_open: bool = True) -> None:
        super().__init__()
        self.content = content
        self.summary = Faint(wrap=False)
        self.summary.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setCheckable(True)
        self.header.setChecked(is_open)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.header.setStyleSheet(_HEADER)
        described(self.header, f"Section {title}", f"Fold or unfold {title.lower()}")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        self.header.setLayout(row(0, self.summary))
        self.header.layout().setContentsMargins(0, 0, 6, 0)
        column.addWidget(self.header)
        column.addWidget(content)
        self.header.toggled.connect(self._fold)
        self._fold(is_open)

    def _fold(self, is_open: bool) -> None:
        self.content.setVisible(is_open)
        self.summary.setVisible(not is_open)
        self.header.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)


class PanelStack(QWidget):
    """The panels of the dock, from opening a scan at the top to saving at the bottom."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("voxsam")
        self.scan, self.model, self.objects = ScanPanel(), ModelPanel(), ObjectListPanel()
        self.prompts, self.propagate = PromptPanel(), PropagatePanel()
        self.measure, self.save = MeasurePanel(), SavePanel()
        self.strip, self.message = StripPanel(), MessageLine()
        self.sections: dict[str, Section] = {}
        self._column = QVBoxLayout()
        self._column.setContentsMargins(GAP, GAP, GAP, GAP)
        self._column.setSpacing(GROUP_GAP)
        self._column.addStretch(1)
        for title, panel, is_open in (
            ("Scan", self.scan, True),
            ("Model", self.model, False),
            ("Objects", self.objects, True),
            ("Prompts", self.prompts, True),
            ("Propagate", self.propagate, True),
            ("Measurements", self.measure, True),
            ("Save", self.save, True),
        ):
            self.add_section(title, panel, is_open=is_open)
        self._lay_out()

    def add_section(self, title: str, widget: QWidget, *, is_open: bool = True) -> Section:
        """Add a section that folds, after those that are there."""
        section = Section(title, widget, is_open=is_open)
        if isinstance(widget, Panel):
            widget.summarised.connect(section.summary.setText)
        self._column.insertWidget(self._column.count() - 1, section)
        self.sections[title] = section
        return section

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """Show in the tooltips which key does what.

        Parameters
        ----------
        keys : mapping of str to str
            Action to key, such as ``{"undo": "Ctrl+Z", "accept": "A"}``.
        """
        panels = (
            self.scan,
            self.model,
            self.objects,
            self.prompts,
            self.propagate,
            self.strip,
            self.measure,
            self.save,
        )
        for panel in panels:
            panel.show_keys(keys)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Ask for a narrow column."""
        return QSize(340, 900)

    def _lay_out(self) -> None:
        inside = QWidget()
        inside.setLayout(self._column)
        area = QScrollArea()
        area.setWidget(inside)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        foot = QVBoxLayout()
        foot.setContentsMargins(GAP + 2, 0, GAP + 2, GAP)
        foot.setSpacing(GAP)
        foot.addWidget(self.strip)
        foot.addWidget(self.message)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        column.addWidget(area, 1)
        column.addLayout(foot)
        self.setMinimumWidth(336)
