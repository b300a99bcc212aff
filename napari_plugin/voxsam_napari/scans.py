"""Opening scans: which image is worked on, with which model and window; sessions are opened off the GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from voxsam.errors import VoxsamError
from voxsam.session import Session
from voxsam.volume import Volume
from voxsam_napari.controller import Controller, line_of
from voxsam_napari.grid import LayerGrid, channels_of, scan_of
from voxsam_napari.worker import Job, Worker

__all__ = ["ScanDesk", "Settings"]


@dataclass(frozen=True)
class Settings:
    """How a session looks at a scan.

    Parameters
    ----------
    model : str or PromptableModel
    device : str
    window : str
        As `voxsam.windowing.choose_window` takes it.
    enhance : tuple of str
    """

    model: Any = "compact"
    device: str = "auto"
    window: str = "auto"
    enhance: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Opened:
    session: Session
    volume: Volume
    grid: LayerGrid


class ScanDesk(QObject):
    """Chooses an image of the viewer and opens a session on it.

    Parameters
    ----------
    controller : Controller
        Bound to each session that is opened.
    opener : callable
        Opens a session, as `voxsam.local.open_session` does.
    settings : Settings

    Signals
    -------
    changed : ()
    """

    changed = Signal()

    def __init__(
        self,
        controller: Controller,
        *,
        opener: Callable[..., Session],
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.settings = settings
        self.image: Image | None = None
        self.volume: Volume | None = None
        self.channels: tuple[str, ...] = ()
        self.channel = 0
        self.busy = ""
        self._controller = controller
        self._opener = opener
        self._layers = controller.viewer.layers
        self._layers.events.inserted.connect(self._layers_changed)
        self._layers.events.removed.connect(self._layer_removed)

    @property
    def worker(self) -> Worker:
        """Where scans are opened."""
        return self._controller.worker

    @property
    def images(self) -> tuple[str, ...]:
        """The image layers that can be opened."""
        return tuple(layer.name for layer in self._layers if isinstance(layer, Image))

    def open(self, name: str, channel: int = 0) -> None:
        """Open an image layer by its name."""
        image = self._layers[name]
        try:
            self.channels = channels_of(image)
        except VoxsamError as error:
            self._controller.said.emit(line_of(error), "error")
            return
        self.close()
        self.image, self.channel, self.busy = image, channel, "opening …"
        settings, opener = self.settings, self._opener

        def run(_: Any) -> _Opened:
            volume, grid = scan_of(image, channel)
            session = opener(
                volume,
                model=settings.model,
                device=settings.device,
                window=settings.window,
                enhance=settings.enhance,
            )
            return _Opened(session, volume, grid)

        self.worker.edit(Job(run, lambda opened: self._opened(image, opened), self._failed, name="open"))
        self.changed.emit()

    def choose_channel(self, channel: int) -> None:
        """Work on another channel of the image."""
        if self.image is not None:
            self.open(self.image.name, channel)

    def close(self) -> None:
        """Work on the image no longer."""
        session = self._controller.unbind()
        self.image, self.volume, self.busy = None, None, ""
        if session is not None:
            self.worker.edit(Job(lambda _: session.close(), name="close"))
        self.changed.emit()

    def change(self, **settings: Any) -> None:
        """Look at the scan in another way: with another model, window or enhancement."""
        self.settings = replace(self.settings, **settings)
        if self.image is not None:
            self.open(self.image.name, self.channel)

    def _opened(self, image: Image, opened: _Opened) -> None:
        if self.image is not image or image not in self._layers:  # another was chosen meanwhile, or it was removed
            self.worker.edit(Job(lambda _: opened.session.close(), name="close"))
            return
        self.volume, self.busy = opened.volume, ""
        self._controller.bind(opened.session, image, opened.grid)
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self.image, self.busy = None, ""
        self._controller.said.emit(line_of(error), "error")
        self.changed.emit()

    def _layers_changed(self, _: Any = None) -> None:
        self.changed.emit()

    def _layer_removed(self, event: Any) -> None:
        if self.image is not None and event.value is self.image:
            name = self.image.name
            self.close()
            self._controller.said.emit(
                f"image {name!r} was removed, and its session closed; open it again to go on", "warn"
            )
        self.changed.emit()
