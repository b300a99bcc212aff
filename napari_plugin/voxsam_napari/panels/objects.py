"""The objects of a session: named, coloured, locked, hidden, with their volume, in one table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from qtpy.QtCore import QSignalBlocker, QSize, QStringListModel, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QCompleter,
    QHeaderView,
    QLineEdit,
    QMenu,
    QStyledItemDelegate,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from voxsam_napari.panels.controls import TABLE, Combo, Form, IconButton, Panel, TextButton, described, row, text_color
from voxsam_napari.panels.icons import icon, swatch

__all__ = ["Column", "ObjectListPanel", "ObjectRow", "ObjectsShown"]

_OVERLAPS = {
    "keep": ("Keep the other object", "Voxels of another object stay its own"),
    "overwrite": ("Take over", "The newer mask takes voxels from other objects; locked ones are safe"),
    "allow": ("Allow both", "A voxel may belong to several objects"),
}
_NO_PROTECTION = "Nothing"


class Column(IntEnum):
    """What the cells of a row are for."""

    COLOUR, NAME, VOLUME, EYE, LOCK = range(5)


@dataclass(frozen=True)
class ObjectRow:
    """One object; `code` is its terminology in words, `stale` says that prompts came after its mask."""

    id: int
    name: str
    color_rgb: tuple[float, float, float]
    locked: bool = False
    visible: bool = True
    code: str = ""
    volume_ml: float | None = None
    stale: bool = False


@dataclass(frozen=True)
class ObjectsShown:
    """What the panel shows.

    Parameters
    ----------
    rows : tuple of ObjectRow
    current : int or None
        Id of the object that prompts go to.
    overlap : {"keep", "overwrite", "allow"}
    labels : tuple of str
        Labels layers that could be taken as a start, or be protected.
    protected : str
        The layer that is; empty where none is.
    known_names : tuple of str
        Offered while a name is typed.
    enabled : bool
    """

    rows: tuple[ObjectRow, ...] = ()
    current: int | None = None
    overlap: str = "keep"
    labels: tuple[str, ...] = ()
    protected: str = ""
    known_names: tuple[str, ...] = ()
    enabled: bool = False


class ObjectListPanel(Panel):
    """Add, name, colour, lock, hide and delete objects; choose the one that prompts go to."""

    add_asked = Signal()
    delete_asked = Signal(int)
    next_asked = Signal()
    chosen = Signal(int)
    renamed = Signal(int, str)
    recolored = Signal(int, object)
    lock_toggled = Signal(int, bool)
    visible_toggled = Signal(int, bool)
    overlap_chosen = Signal(str)
    start_from = Signal(str)
    protect_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__("Objects")
        self.shown = ObjectsShown()
        self.table = _Table()
        self.add = TextButton("&Add", "Begin a new object", "add")
        self.next = TextButton("Ne&xt", "Finish this object and go on with the next one", "next")
        self.delete = IconButton("delete", "Delete object", "Delete the chosen object, its prompts and its mask")
        self.start = IconButton("mask", "Start from a labels layer", "Take the labels of an existing layer as objects")
        self.start_menu = QMenu(self.start)
        self.overlap = described(Combo(), "Where objects meet", "What happens where a new mask meets another object")
        for policy, (text, tip) in _OVERLAPS.items():
            self.overlap.addItem(text, policy)
            self.overlap.setItemData(self.overlap.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.protect = described(Combo(), "Do not touch", "A labels layer whose voxels no mask may take")
        self.options = IconButton(
            "options",
            "Rules for objects",
            "Show what happens where objects meet, and what no mask may touch",
            checkable=True,
        )
        self._keyed = {"add_object": self.add, "next_object": self.next, "delete_object": self.delete}
        rules = QWidget()
        form = Form()
        rules.setLayout(form)
        rules.hide()
        self.options.toggled.connect(rules.setVisible)
        form.add("Overlap", self.overlap)
        form.add("Protect", self.protect)
        self.column.addWidget(self.table)
        self.column.addLayout(row(self.add, self.next, self.start, self.options, self.delete))
        self.column.addWidget(rules)
        self._connect()
        self.show_state(self.shown)

    def show_state(self, shown: ObjectsShown) -> None:
        """Show the objects; emits nothing."""
        self.shown = shown
        self.table.fill(shown)
        there_is_one = shown.enabled and shown.current is not None
        self.add.setEnabled(shown.enabled)
        for part in (self.next, self.delete):
            part.setEnabled(there_is_one)
        self.start.setEnabled(shown.enabled and bool(shown.labels))
        self.overlap.setEnabled(shown.enabled)
        self.protect.setEnabled(shown.enabled and bool(shown.labels))
        with QSignalBlocker(self.overlap):
            self.overlap.setCurrentIndex(self.overlap.findData(shown.overlap))
        at = shown.labels.index(shown.protected) + 1 if shown.protected in shown.labels else 0
        self.protect.fill((_NO_PROTECTION, *shown.labels), at)
        self.start_menu.clear()
        for name in shown.labels:
            self.start_menu.addAction(name, lambda name=name: self.start_from.emit(name))

    def rename_current(self) -> None:
        """Open the name of the chosen object for typing."""
        if self.table.currentRow() >= 0:
            self.table.editItem(self.table.item(self.table.currentRow(), Column.NAME))

    def _connect(self) -> None:
        self.add.clicked.connect(self.add_asked)
        self.next.clicked.connect(self.next_asked)
        self.delete.clicked.connect(self._delete)
        self.start.clicked.connect(
            lambda: self.start_menu.popup(self.start.mapToGlobal(self.start.rect().bottomLeft()))
        )
        self.overlap.activated.connect(lambda _: self.overlap_chosen.emit(self.overlap.currentData()))
        self.protect.activated.connect(lambda at: self.protect_chosen.emit(self.shown.labels[at - 1] if at else ""))
        self.table.currentCellChanged.connect(self._row_changed)
        self.table.itemChanged.connect(self._name_typed)
        self.table.cell_pressed.connect(self._act_on)
        self.table.delete_pressed.connect(self._delete)

    def _delete(self) -> None:
        if self.shown.current is not None and self.delete.isEnabled():
            self.delete_asked.emit(self.shown.current)

    def _row_changed(self, at: int, _column: int, before: int, _before_column: int) -> None:
        if at != before and 0 <= at < len(self.shown.rows):
            self.shown = replace(self.shown, current=self.shown.rows[at].id)
            self.chosen.emit(self.shown.rows[at].id)

    def _name_typed(self, item: QTableWidgetItem) -> None:
        shown = self.shown.rows[item.row()]
        name = item.text().strip()
        if item.column() != Column.NAME or name == shown.name:
            return
        if name:
            self.renamed.emit(shown.id, name)
        else:  # an object without a name cannot be told from the others
            with QSignalBlocker(self.table):
                item.setText(shown.name)

    def _act_on(self, at: int, column: int) -> None:
        shown = self.shown.rows[at]
        if column == Column.EYE:
            self.visible_toggled.emit(shown.id, not shown.visible)
        elif column == Column.LOCK:
            self.lock_toggled.emit(shown.id, not shown.locked)
        elif column == Column.COLOUR:
            self._ask_colour(shown)
        elif column == Column.NAME:
            self.rename_current()

    def _ask_colour(self, shown: ObjectRow) -> None:
        dialog = QColorDialog(QColor.fromRgbF(*shown.color_rgb), self)
        dialog.setWindowTitle(f"Colour of {shown.name}")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.colorSelected.connect(
            lambda color: self.recolored.emit(shown.id, (color.redF(), color.greenF(), color.blueF()))
        )
        dialog.open()  # not exec: nothing waits


class _Table(QTableWidget):
    """Rows of objects; a click or the space bar on a cell acts on it."""

    cell_pressed = Signal(int, int)
    delete_pressed = Signal()

    def __init__(self) -> None:
        super().__init__(0, 5)
        described(self, "Objects", "Click a swatch, an eye or a lock to change it; double-click a name to type another")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)  # tab leaves the table
        self.setIconSize(QSize(18, 18))
        self.setStyleSheet(TABLE)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(28)
        self.horizontalHeader().hide()
        self.horizontalHeader().setMinimumSectionSize(26)
        self.horizontalHeader().setSectionResizeMode(Column.NAME, QHeaderView.ResizeMode.Stretch)
        for column, width in ((Column.COLOUR, 28), (Column.VOLUME, 84), (Column.EYE, 28), (Column.LOCK, 28)):
            self.setColumnWidth(column, width)
        self._names = QStringListModel(self)
        self._rows: tuple[ObjectRow, ...] = ()
        self._ink: QColor | None = None
        self.setItemDelegateForColumn(Column.NAME, _NameEditor(self._names, self))
        self.cellClicked.connect(lambda at, column: column != Column.NAME and self.cell_pressed.emit(at, column))

    def fill(self, shown: ObjectsShown) -> None:
        """Show the rows; emits nothing."""
        self._names.setStringList(list(shown.known_names))
        self._rows = shown.rows
        column = max(self.currentColumn(), Column.NAME)
        with QSignalBlocker(self):
            self.setRowCount(len(shown.rows))
            for at, one in enumerate(shown.rows):
                self._fill_row(at, one)
            ids = [one.id for one in shown.rows]
            if shown.current in ids:
                self.setCurrentCell(ids.index(shown.current), column)
            else:
                self.setCurrentItem(None)
                self.clearSelection()
        lines = min(max(len(shown.rows), 2), 6)
        self.setFixedHeight(lines * 28 + 6)
        self.setEnabled(shown.enabled)

    def _fill_row(self, at: int, one: ObjectRow) -> None:
        ink = self._ink = text_color(self)
        pale = QColor(ink)
        pale.setAlphaF(0.4)
        volume = "" if one.volume_ml is None else f"{one.volume_ml:.1f} mL"
        cells = {
            Column.COLOUR: ("", swatch(one.color_rgb, 18), "Colour of the object", f"Colour of {one.name}"),
            Column.NAME: (one.name, None, one.code or "No terminology code", one.name),
            Column.VOLUME: (
                f"{volume} *" if one.stale and volume else volume,
                None,
                "Volume; * prompts came after it was made: propagate or refine" if one.stale else "Volume of the mask",
                f"Volume of {one.name}",
            ),
            Column.EYE: (
                "",
                icon("eye" if one.visible else "eye-off", ink if one.visible else pale),
                "Shown; click to hide" if one.visible else "Hidden; click to show",
                f"{one.name} is {'shown' if one.visible else 'hidden'}",
            ),
            Column.LOCK: (
                "",
                icon("lock" if one.locked else "unlock", ink if one.locked else pale),
                "Locked: no mask changes it; click to unlock" if one.locked else "Click to lock against changes",
                f"{one.name} is {'locked' if one.locked else 'not locked'}",
            ),
        }
        for column, (text, picture, tip, spoken) in cells.items():
            item = self.item(at, column) or self._new_cell(at, column)
            item.setText(text)
            if picture is not None:
                item.setIcon(picture)
            item.setToolTip(tip)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, spoken)

    def _new_cell(self, at: int, column: Column) -> QTableWidgetItem:
        """Make a cell; its flags are set here alone, as setting them again would undo a name half typed."""
        item = QTableWidgetItem()
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if column == Column.NAME else flags)
        if column == Column.VOLUME:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.setItem(at, column, item)
        return item

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Let the space bar act on the cell, Delete delete the object and F2 edit the name from any cell."""
        at, column = self.currentRow(), self.currentColumn()
        if event.key() == Qt.Key.Key_Space and at >= 0:
            self.cell_pressed.emit(at, column)
        elif event.key() == Qt.Key.Key_Delete and at >= 0:
            self.delete_pressed.emit()
        elif event.key() == Qt.Key.Key_F2 and at >= 0:
            self.editItem(self.item(at, Column.NAME))
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint; the icons are drawn anew where a theme has changed the colour of the text."""
        if text_color(self) != self._ink:
            with QSignalBlocker(self):
                for at, one in enumerate(self._rows):
                    self._fill_row(at, one)
        super().paintEvent(event)
        if not self._rows:
            painter = QPainter(self.viewport())
            painter.setOpacity(0.6)
            painter.setPen(text_color(self))
            text = "Add an object to begin" if self.isEnabled() else "Open a scan to begin"
            painter.drawText(self.viewport().rect(), Qt.AlignmentFlag.AlignCenter, text)
            painter.end()


class _NameEditor(QStyledItemDelegate):
    """Types a name, and offers those with a terminology code."""

    def __init__(self, names: QStringListModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._names = names

    def createEditor(self, parent: QWidget, option: object, index: object) -> QWidget:  # noqa: ARG002, N802 - Qt's name
        """Make the line that is typed in."""
        line = QLineEdit(parent)
        line.setAccessibleName("Name of the object")
        completer = QCompleter(self._names, line)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        line.setCompleter(completer)
        return line
