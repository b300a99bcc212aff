"""Shows in the panels how things stand: read from the parts of the dock, written to the panels, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari.layers import Labels

from voxsam_napari import shown
from voxsam_napari.controller import Controller
from voxsam_napari.panels import ModelShown, PanelStack, PromptsShown, PropagateShown, SaveShown, ScanShown, StripShown
from voxsam_napari.picture import ModelPicture
from voxsam_napari.results import Results
from voxsam_napari.saving import Saver
from voxsam_napari.scans import ScanDesk

__all__ = ["Renderer"]


@dataclass(eq=False)
class Renderer:
    """Renders the dock.

    Parameters
    ----------
    viewer : napari.Viewer
    panels : PanelStack
    controller, desk, results, saver, picture
        Where to read.
    """

    viewer: Any
    panels: PanelStack
    controller: Controller
    desk: ScanDesk
    results: Results
    saver: Saver
    picture: ModelPicture
    protected: str = ""
    _progress: tuple[int, int] = (0, 0)

    def show_all(self) -> None:
        """Show everything."""
        self._show_scan()
        self._show_model()
        self._show_objects()
        self._show_prompts()
        self._show_propagation()
        self._show_strip()
        measured = shown.measure_shown(self.controller.item, self.results.measured, view_3d=self.results.view_3d)
        self.panels.measure.show_state(measured)
        self._show_saving()

    def show_progress(self, done: int, total: int) -> None:
        """Show how far the long work is."""
        self._progress = (done, total)
        self._show_propagation()

    def show_slice(self) -> bool:
        """Move the strip's marker to the slice that is looked at; says whether that is all there is to do."""
        view, strip = self.controller.view, self.panels.strip.strip.shown
        if view is None or view.plane != strip.plane:
            return False
        self.panels.strip.show_current(view.index)
        return True

    def _show_scan(self) -> None:
        desk, volume = self.desk, self.desk.volume
        windows = () if volume is None else shown.windows_for(volume)
        width, level = shown.numbers_of(desk.settings.window, windows)
        self.panels.scan.show_state(
            ScanShown(
                images=desk.images,
                image="" if desk.image is None else desk.image.name,
                channels=desk.channels if desk.image is not None else (),
                channel=desk.channel,
                facts="" if volume is None else shown.facts_of(volume),
                windows=windows,
                window=desk.settings.window,
                width=width,
                level=level,
                unit="HU" if volume is not None and volume.modality == "CT" else "",
                enhancements=() if volume is None else shown.enhancements_for(volume),
                enhanced=desk.settings.enhance,
                preview=self.picture.wanted,
                busy=desk.busy,
            )
        )

    def _show_model(self) -> None:
        desk = self.desk
        done, total = desk.download_progress
        self.panels.model.show_state(
            ModelShown(
                models=shown.model_choices(desk.ready),
                model=desk.settings.model_name,
                devices=shown.DEVICES,
                device=desk.settings.device,
                state=desk.model_state,
                done=done,
                total=total,
            )
        )

    def _show_objects(self) -> None:
        controller = self.controller
        ours = () if controller.layers is None else controller.layers.all
        labels = tuple(layer.name for layer in self.viewer.layers if isinstance(layer, Labels) and layer not in ours)
        self.panels.objects.show_state(
            shown.objects_shown(
                controller.state,
                controller.current,
                controller.update.volumes_ml,
                labels=labels,
                protected=self.protected if controller.state.protected is not None else "",
                enabled=controller.session is not None,
            )
        )

    def _show_prompts(self) -> None:
        controller, geometry = self.controller, self.controller.geometry
        self.panels.prompts.show_state(
            PromptsShown(
                tool=controller.tool,
                positive=controller.positive,
                live=controller.previews.live,
                prompts=() if geometry is None else shown.prompt_rows(controller.item, geometry),
                undo="the last edit" if controller.update.can_undo else "",
                redo="the edit that was taken back" if controller.update.can_redo else "",
                can_accept=controller.current is not None,
                enabled=controller.session is not None,
                hint=shown.hint_for(controller.item, is_open=controller.session is not None),
            )
        )

    def _show_propagation(self) -> None:
        controller, geometry = self.controller, self.controller.geometry
        item, view = controller.item, controller.view
        if geometry is None:
            self.panels.propagate.show_state(PropagateShown())
            return
        plane = shown.plane_of(None if item is None else item.report, geometry)
        running = bool(controller.edits.long_work)
        done, total = self._progress if running else (0, 0)
        self._progress = (done, total)
        self.panels.propagate.show_state(
            PropagateShown(
                count=geometry.shape[geometry.axes_of(plane).normal],
                current=view.index if view is not None and view.plane == plane else 0,
                can_run=item is not None and bool(item.prompts) and not item.locked,
                can_refine=item is not None and item.mask is not None and item.is_stale and not item.locked,
                running=running,
                done=done,
                total=total,
                text=f"{controller.edits.long_work} …" if running else "",
            )
        )

    def _show_strip(self) -> None:
        geometry = self.controller.geometry
        if geometry is not None:
            strip = shown.strip_shown(self.controller.item, geometry, self.controller.view)
            self.panels.strip.show_state(strip)
        else:
            self.panels.strip.show_state(StripShown())

    def _show_saving(self) -> None:
        desk, saver, controller = self.desk, self.saver, self.controller
        self.panels.save.show_state(
            SaveShown(
                scan="" if desk.volume is None else shown.stem_of(desk.volume.name),
                mask_path=saver.mask_path,
                session_path=saver.session_path,
                autosave=desk.autosave,
                autosave_text="every edit is kept" if controller.update.journal and desk.autosave else "",
                can_save=bool(controller.state.objects),
                busy=saver.busy,
                found=desk.found,
            )
        )
