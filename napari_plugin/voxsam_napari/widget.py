"""The dock: the panels, what they ask for, and what they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from voxsam.local import open_session
from voxsam.session import Session
from voxsam_napari import shown
from voxsam_napari.controller import Controller
from voxsam_napari.grid import SliceView
from voxsam_napari.keys import Shortcuts
from voxsam_napari.panels import (
    Message,
    ModelShown,
    PanelStack,
    PromptsShown,
    PropagateShown,
    SaveShown,
    ScanShown,
)
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
        self.shortcuts = shortcuts or Shortcuts()
        self.panels = PanelStack()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.panels)
        self._progress = (0, 0)
        self._is_closed = False
        self._render = QTimer(self)  # several changes in a row are drawn once
        self._render.setSingleShot(True)
        self._render.setInterval(0)
        self._render.timeout.connect(self._show_all)
        self._connect_panels()
        self._connect_news()
        worker = self.worker
        self.destroyed.connect(lambda: worker.stop())
        self._open_first()
        self._show_all()

    def close_session(self) -> None:
        """End all work: what runs is cancelled, what was asked is done, the thread ends."""
        if self._is_closed:
            return
        self._is_closed = True
        session = self.controller.unbind(keep_labels=True)
        self.worker.stop(last=None if session is None else session.close)

    # ── wiring ───────────────────────────────────────────────────────────────

    def _connect_panels(self) -> None:
        panels, controller, desk = self.panels, self.controller, self.desk
        panels.scan.image_chosen.connect(desk.open)
        panels.scan.channel_chosen.connect(desk.choose_channel)
        panels.scan.window_chosen.connect(lambda window: desk.change(window=window))
        panels.scan.enhance_chosen.connect(lambda names: desk.change(enhance=tuple(names)))
        panels.model.model_chosen.connect(lambda name: desk.change(model=name))
        panels.model.device_chosen.connect(lambda name: desk.change(device=name))
        panels.objects.add_asked.connect(controller.add_object)
        panels.objects.delete_asked.connect(controller.remove_object)
        panels.objects.next_asked.connect(controller.choose_next)
        panels.objects.chosen.connect(controller.choose)
        panels.objects.renamed.connect(lambda key, name: controller.change_object(key, name=name))
        panels.objects.recolored.connect(lambda key, color: controller.change_object(key, color_rgb=tuple(color)))
        panels.objects.lock_toggled.connect(lambda key, locked: controller.change_object(key, locked=locked))
        panels.objects.visible_toggled.connect(lambda key, visible: controller.change_object(key, visible=visible))
        panels.objects.overlap_chosen.connect(controller.set_overlap)
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
        panels.measure.jump_asked.connect(self._jump)

    def _connect_news(self) -> None:
        self.controller.changed.connect(self._later)
        self.controller.moved.connect(self._moved)
        self.controller.progressed.connect(self._progressed)
        self.controller.said.connect(self._say)
        self.controller.layers_made.connect(self._bind_keys)
        self.desk.changed.connect(self._later)

    def _bind_keys(self) -> None:
        layers = self.controller.layers
        if layers is not None:
            self.shortcuts.bind(layers.all, self._actions())
        self.panels.show_keys(self.shortcuts.keys)

    def _actions(self) -> dict[str, Callable[[], None]]:
        controller, panels = self.controller, self.panels
        return {
            "point": lambda: controller.set_tool("point"),
            "box": lambda: controller.set_tool("box"),
            "scribble": lambda: controller.set_tool("scribble"),
            "lasso": lambda: controller.set_tool("lasso"),
            "polarity": lambda: controller.set_positive(not controller.positive),
            "live": lambda: controller.set_live(not controller.live),
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
            "view_3d": panels.measure.view_3d.click,
            "copy": panels.measure.copy.click,
            "save_mask": panels.save.save_mask.click,
            "save_session": panels.save.save_session.click,
            "open_session": panels.save.open_session.click,
        }

    def _open_first(self) -> None:
        active = self.viewer.layers.selection.active
        names = self.desk.images
        if active is not None and active.name in names:
            self.desk.open(active.name)
        elif len(names) == 1:
            self.desk.open(names[0])

    # ── what is asked ────────────────────────────────────────────────────────

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

    def _step(self, step: int) -> None:
        view = self.controller.view
        if view is not None:
            self.controller.go_to(SliceView(view.plane, view.index + step))

    # ── what is shown ────────────────────────────────────────────────────────

    def _later(self) -> None:
        if not self._is_closed:
            self._render.start()

    def _moved(self) -> None:
        view, strip = self.controller.view, self.panels.strip.strip.shown
        if view is not None and view.plane == strip.plane:
            self.panels.strip.show_current(view.index)
        elif view is not None:
            self._later()

    def _progressed(self, done: int, total: int) -> None:
        self._progress = (done, total)
        self._show_propagation()

    def _say(self, text: str, kind: str) -> None:
        self.panels.message.show_state(Message(text, kind))

    def _show_all(self) -> None:
        if self._is_closed:
            return
        self._show_scan()
        self._show_prompts()
        self._show_propagation()
        controller, geometry = self.controller, self.controller.geometry
        ours = () if controller.layers is None else controller.layers.all
        labels = tuple(layer.name for layer in self.viewer.layers if isinstance(layer, Labels) and layer not in ours)
        self.panels.objects.show_state(
            shown.objects_shown(
                controller.state,
                controller.current,
                controller.volumes_ml,
                labels=labels,
                protected="",
                enabled=controller.session is not None,
            )
        )
        if geometry is not None:
            self.panels.strip.show_state(shown.strip_shown(controller.item, geometry, controller.view))
        self.panels.measure.show_state(shown.measure_shown(controller.item, None, view_3d=False))
        self.panels.save.show_state(
            SaveShown(
                scan="" if self.desk.volume is None else self.desk.volume.name, can_save=bool(controller.state.objects)
            )
        )

    def _show_scan(self) -> None:
        desk, volume = self.desk, self.desk.volume
        self.panels.scan.show_state(
            ScanShown(
                images=desk.images,
                image="" if desk.image is None else desk.image.name,
                channels=desk.channels if desk.image is not None else (),
                channel=desk.channel,
                facts="" if volume is None else shown.facts_of(volume),
                windows=() if volume is None else shown.windows_for(volume),
                window=desk.settings.window,
                unit="HU" if volume is not None and volume.modality == "CT" else "",
                enhancements=() if volume is None else shown.enhancements_for(volume),
                enhanced=desk.settings.enhance,
                busy=desk.busy,
            )
        )
        model = desk.settings.model
        self.panels.model.show_state(
            ModelShown(
                models=shown.model_choices(),
                model=model if isinstance(model, str) else model.card.name,
                devices=("auto", "cpu"),
                device=desk.settings.device,
                state="loading" if desk.busy else "ready" if volume is not None else "",
            )
        )

    def _show_prompts(self) -> None:
        controller, geometry = self.controller, self.controller.geometry
        self.panels.prompts.show_state(
            PromptsShown(
                tool=controller.tool,
                positive=controller.positive,
                live=controller.live,
                prompts=() if geometry is None else shown.prompt_rows(controller.item, geometry),
                undo="the last edit" if controller.can_undo else "",
                redo="the edit taken back" if controller.can_redo else "",
                can_accept=controller.current is not None,
                enabled=controller.session is not None,
                hint=self._hint(),
            )
        )

    def _show_propagation(self) -> None:
        controller, geometry = self.controller, self.controller.geometry
        item, view = controller.item, controller.view
        if geometry is None:
            self.panels.propagate.show_state(PropagateShown())
            return
        plane = shown.plane_of(None if item is None else item.report, geometry)
        running = bool(controller.long_work)
        done, total = self._progress if running else (0, 0)
        self.panels.propagate.show_state(
            PropagateShown(
                count=geometry.shape[geometry.axes_of(plane).normal],
                current=view.index if view is not None and view.plane == plane else 0,
                can_run=item is not None and bool(item.prompts),
                can_refine=item is not None and item.mask is not None and item.is_stale,
                running=running,
                done=done,
                total=total,
                text=f"{controller.long_work} …" if running else "",
            )
        )

    def _hint(self) -> str:
        item = self.controller.item
        if self.controller.session is None:
            return "Choose an image under Scan."
        if item is None or not item.prompts:
            return "Click on the object; right-click on what does not belong to it."
        if item.mask is None:
            return "Correct with more clicks, then propagate."
        return "Click where it is wrong, then refine." if not item.is_stale else "Refine, or propagate anew."

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
