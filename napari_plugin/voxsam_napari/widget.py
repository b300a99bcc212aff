"""The dock: its parts, how they are joined, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Labels
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from voxsam.local import open_session
from voxsam.session import Session
from voxsam_napari import shown
from voxsam_napari.controller import Controller
from voxsam_napari.grid import SliceView
from voxsam_napari.keyeditor import KeyEditor
from voxsam_napari.keys import Shortcuts
from voxsam_napari.panels import Message, PanelStack
from voxsam_napari.picture import ModelPicture
from voxsam_napari.regions import add_labels, protect_labels
from voxsam_napari.rendering import Renderer
from voxsam_napari.results import Results
from voxsam_napari.saving import Saver
from voxsam_napari.scans import ScanDesk, Settings
from voxsam_napari.worker import Worker

__all__ = ["VoxsamDock"]


class VoxsamDock(QWidget):
    """Segment a scan by prompts, in napari.

    Parameters
    ----------
    viewer : napari.Viewer
    opener : callable, optional
        Opens a session, as `voxsam.local.open_session` does.
    settings : Settings, optional
        Model, device, window and enhancement to begin with.
    shortcuts : Shortcuts, optional
    """

    def __init__(
        self,
        viewer: Any,
        *,
        opener: Callable[..., Session] = open_session,
        settings: Settings | None = None,
        shortcuts: Shortcuts | None = None,
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self.worker = Worker()
        self.controller = Controller(viewer, self.worker, self)
        self.desk = ScanDesk(self.controller, opener=opener, settings=settings or Settings(), parent=self)
        self.results = Results(self.controller, self)
        self.saver = Saver(self.controller, self)
        self.picture = ModelPicture(self.controller, self)
        self.shortcuts = shortcuts or Shortcuts()
        self.panels = PanelStack()
        self.renderer = Renderer(
            viewer, self.panels, self.controller, self.desk, self.results, self.saver, self.picture
        )
        self.panels.add_section("Shortcuts", KeyEditor(self.shortcuts, self._keys_changed), is_open=False)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.panels)
        self._is_closed = False
        self._render = QTimer(self)  # several changes in a row are drawn once
        self._render.setSingleShot(True)
        self._render.setInterval(0)
        self._render.timeout.connect(self._show_all)
        self._connect_panels()
        self._connect_news()
        worker = self.worker
        self.destroyed.connect(lambda: worker.stop())
        self._keys_changed()
        self._open_first()
        self._show_all()

    def close_session(self) -> None:
        """End all work: what runs is cancelled, what was asked is done, the thread ends."""
        if self._is_closed:
            return
        self._is_closed = True
        self.picture.show(wanted=False)
        self.results.let_go()
        self.controller.let_go()
        self.worker.stop(last=self.desk.last_call())

    # ── joined ───────────────────────────────────────────────────────────────

    def _connect_panels(self) -> None:
        panels, controller, desk = self.panels, self.controller, self.desk
        panels.scan.image_chosen.connect(desk.open)
        panels.scan.channel_chosen.connect(desk.choose_channel)
        panels.scan.window_chosen.connect(lambda window: self._look_anew(window=window))
        panels.scan.enhance_chosen.connect(lambda names: self._look_anew(enhance=tuple(names)))
        panels.scan.preview_toggled.connect(self._show_picture)
        panels.model.model_chosen.connect(desk.choose_model)
        panels.model.device_chosen.connect(lambda name: desk.change(device=name))
        panels.model.download_asked.connect(desk.download)
        self._connect_objects()
        panels.prompts.tool_chosen.connect(controller.set_tool)
        panels.prompts.polarity_toggled.connect(controller.set_positive)
        panels.prompts.live_toggled.connect(controller.set_live)
        panels.prompts.accept_asked.connect(controller.accept)
        panels.prompts.undo_asked.connect(controller.undo)
        panels.prompts.redo_asked.connect(controller.redo)
        panels.prompts.prompt_removed.connect(self._remove_prompt)
        panels.prompts.prompt_chosen.connect(self._go_to_prompt)
        panels.propagate.propagate_asked.connect(controller.propagate)
        panels.propagate.refine_asked.connect(controller.refine)
        panels.propagate.cancel_asked.connect(controller.cancel)
        panels.strip.jump_asked.connect(self._jump)
        panels.measure.jump_asked.connect(self._jump_to_diameter)
        panels.measure.view_3d_toggled.connect(self.results.show_3d)
        panels.measure.copied.connect(lambda _: self._say("the measurements are on the clipboard", "info"))
        panels.save.save_mask_asked.connect(self.saver.save_masks)
        panels.save.save_session_asked.connect(self.saver.save_session)
        panels.save.open_session_asked.connect(desk.open_file)
        panels.save.autosave_toggled.connect(desk.set_autosave)
        panels.save.restore_asked.connect(desk.restore)
        panels.save.discard_asked.connect(desk.discard)
        panels.message.action_asked.connect(desk.restore)

    def _connect_objects(self) -> None:
        panel, controller = self.panels.objects, self.controller
        panel.add_asked.connect(controller.add_object)
        panel.delete_asked.connect(controller.remove_object)
        panel.next_asked.connect(controller.choose_next)
        panel.chosen.connect(controller.choose)
        panel.renamed.connect(controller.rename)
        panel.recolored.connect(lambda key, color: controller.change_object(key, color_rgb=tuple(color)))
        panel.lock_toggled.connect(lambda key, locked: controller.change_object(key, locked=locked))
        panel.visible_toggled.connect(lambda key, visible: controller.change_object(key, visible=visible))
        panel.overlap_chosen.connect(controller.set_overlap)
        panel.start_from.connect(self._start_from)
        panel.protect_chosen.connect(self._protect)

    def _connect_news(self) -> None:
        controller = self.controller
        controller.changed.connect(self._later)
        controller.moved.connect(self._moved)
        controller.progressed.connect(self.renderer.show_progress)
        controller.said.connect(self._say)
        controller.layers_made.connect(self._bind_keys)
        for part in (self.desk, self.results, self.saver):
            part.changed.connect(self._later)
        self.desk.asked.connect(lambda text: self.panels.message.show_state(Message(text, "warn", "Restore")))

    def _bind_keys(self) -> None:
        if self.controller.layers is not None:
            self.shortcuts.bind(self.controller.layers.all, self._actions())

    def _keys_changed(self) -> None:
        self.panels.show_keys(self.shortcuts.keys)

    def _actions(self) -> dict[str, Callable[[], None]]:
        """Say what the keys do."""
        controller, panels = self.controller, self.panels
        return {
            "point": lambda: controller.set_tool("point"),
            "box": lambda: controller.set_tool("box"),
            "scribble": lambda: controller.set_tool("scribble"),
            "lasso": lambda: controller.set_tool("lasso"),
            "polarity": lambda: controller.set_positive(not controller.positive),
            "live": lambda: controller.set_live(not controller.previews.live),
            "accept": controller.accept,
            "undo": controller.undo,
            "redo": controller.redo,
            "propagate": lambda: controller.propagate(panels.propagate.reach),
            "refine": controller.refine,
            "cancel": controller.cancel,
            "next_check": panels.strip.next.click,
            "previous_slice": lambda: self._step(-1),
            "next_slice": lambda: self._step(1),
            "add_object": controller.add_object,
            "next_object": controller.choose_next,
            "delete_object": controller.remove_current,
            "view_3d": lambda: self.results.show_3d(not self.results.view_3d),
            "copy": panels.measure.copy.click,
            "save_mask": panels.save.save_mask.click,
            "save_session": panels.save.save_session.click,
            "open_session": panels.save.open_session.click,
        }

    def _open_first(self) -> None:
        """Open the image that is chosen in the viewer, or the only one."""
        active, names = self.viewer.layers.selection.active, self.desk.images
        if active is not None and active.name in names:
            self.desk.open(active.name)
        elif len(names) == 1:
            self.desk.open(names[0])
        elif not names:
            self._say("there is no image yet: open a scan, then choose it under Scan", "info")

    # ── asked for ────────────────────────────────────────────────────────────

    def _look_anew(self, **changes: Any) -> None:
        self.picture.wanted = True  # who changes the window wants to see it
        self.desk.change(**changes)

    def _show_picture(self, wanted: bool) -> None:
        self.picture.show(wanted)

    def _remove_prompt(self, key: int) -> None:
        item = self.controller.item
        if item is not None and key < len(item.prompts):
            self.controller.remove_prompt(item.prompts[key])

    def _go_to_prompt(self, key: int) -> None:
        item, geometry = self.controller.item, self.controller.geometry
        if item is not None and geometry is not None and key < len(item.prompts):
            self.controller.go_to(shown.view_of(item.prompts[key], geometry))

    def _jump(self, index: int) -> None:
        plane = shown.strip_plane(self.controller.item, self.controller.geometry, self.controller.view)
        if plane is not None:
            self.controller.go_to(SliceView(plane, index))

    def _jump_to_diameter(self, index: int) -> None:
        if self.results.measured is not None:
            self.controller.go_to(SliceView(self.results.measured.plane, index))

    def _step(self, step: int) -> None:
        view = self.controller.view
        if view is not None:
            self.controller.go_to(SliceView(view.plane, view.index + step))

    def _start_from(self, name: str) -> None:
        layer, volume, layers = self.viewer.layers[name], self.desk.volume, self.controller.layers
        if isinstance(layer, Labels) and volume is not None and layers is not None:
            self.controller.edit("start", lambda session: add_labels(session, layer, volume, layers.grid))

    def _protect(self, name: str) -> None:
        volume, layers = self.desk.volume, self.controller.layers
        layer = self.viewer.layers[name] if name else None
        if volume is not None and layers is not None:
            self.renderer.protected = name
            self.controller.edit("protect", lambda session: protect_labels(session, layer, volume, layers.grid))

    def _moved(self) -> None:
        if not self.renderer.show_slice():
            self._later()

    # ── shown ────────────────────────────────────────────────────────────────

    def _later(self) -> None:
        if not self._is_closed:
            self._render.start()

    def _show_all(self) -> None:
        if not self._is_closed:
            self.renderer.show_all()

    def _say(self, text: str, kind: str) -> None:
        if self._is_closed:
            return
        self.panels.message.show_state(Message(text, kind))
        if kind == "error":
            show_error(text)
        elif kind == "warn":
            show_warning(text)

    # ── ended ────────────────────────────────────────────────────────────────

    def closeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """End all work with the dock."""
        self.close_session()
        super().closeEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """End all work before the window goes."""
        if event.type() == QEvent.Type.Close and watched is self.window():
            self.close_session()
        return bool(super().eventFilter(watched, event))

    def showEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in."""
        self.window().installEventFilter(self)
        super().showEvent(event)
