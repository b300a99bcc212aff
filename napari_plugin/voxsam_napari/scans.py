"""Opening scans: which image is worked on, with which model and window, and the session that was left on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from voxsam.errors import Cancelled, SessionError, VoxsamError
from voxsam.local import find_journal, load_session
from voxsam.session import Session
from voxsam.volume import Volume
from voxsam_napari.controller import Controller
from voxsam_napari.grid import LayerGrid, channels_of, scan_of
from voxsam_napari.weights import fetch_weights, models_here
from voxsam_napari.worker import Job, OnProgress, Worker

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

    @property
    def model_name(self) -> str:
        """What the model is called."""
        return self.model if isinstance(self.model, str) else str(self.model.card.name)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A session on a scan; `found` is the journal that it goes on with, where there was one with something in it."""

    session: Session
    volume: Volume
    grid: LayerGrid
    found: Path | None = None
    trouble: str = ""


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
    asked : str
        An earlier session was found; says which. `restore` or `discard` is to be called.
    """

    changed = Signal()
    asked = Signal(str)

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
        self.found = ""
        self.autosave = True
        self.ready: dict[str, bool] = {}
        self.download_progress = (0, 0)
        self._grid: LayerGrid | None = None
        self._waiting: _Opened | None = None
        self._controller = controller
        self._opener = opener
        self._layers = controller.viewer.layers
        self._layers.events.inserted.connect(self._layer_added)
        self._layers.events.removed.connect(self._layer_removed)
        self.worker.edit(Job(lambda _: models_here(), self._know_models, name="models"))

    @property
    def worker(self) -> Worker:
        """Where scans are opened."""
        return self._controller.worker

    @property
    def images(self) -> tuple[str, ...]:
        """The image layers that can be opened."""
        return tuple(layer.name for layer in self._layers if isinstance(layer, Image) and not _is_ours(layer))

    def open(self, name: str, channel: int = 0) -> None:
        """Open an image layer by its name."""
        image = self._layers[name]
        try:
            channels = channels_of(image)
        except VoxsamError as error:
            self._controller.tell(error)
            self.changed.emit()
            return
        self.close()
        self.image, self.channels, self.channel = image, channels, channel

        def run(_: OnProgress) -> _Opened:
            volume, grid = scan_of(image, channel)
            found = find_journal(volume)
            return self._session_on(volume, grid, self.settings, found)

        self._open_by(run, "opening the scan …")

    def choose_channel(self, channel: int) -> None:
        """Work on another channel of the image."""
        if self.image is not None:
            self.open(self.image.name, channel)

    def change(self, **changes: Any) -> None:
        """Look at the scan in another way: with another model, window or enhancement. Nothing done so far is lost."""
        before, self.settings = self.settings, replace(self.settings, **changes)
        volume, grid, settings = self.volume, self._grid, self.settings
        if volume is None or grid is None or self._waiting is not None:
            self.changed.emit()
            return
        session = self._controller.unbind()
        if {"n4", "denoise"} & set(settings.enhance):
            self._controller.said.emit("the whole scan is enhanced first: that takes a while, once", "info")

        def run(_: OnProgress) -> _Opened:
            journal = None if session is None else _left(session)
            try:
                return self._session_on(volume, grid, settings, journal, ask=False)
            except VoxsamError as error:  # the scan is not left without a session
                again = self._session_on(volume, grid, before, journal, ask=False)
                return replace(again, trouble=str(error))

        def opened(result: _Opened) -> None:
            if result.trouble:
                self.settings = before
            self._opened(result)

        self._open_by(run, "changing …", opened)

    def choose_model(self, name: str) -> None:
        """Work with another model; one whose weights are not here is to be downloaded first."""
        if self.ready.get(name, True):
            self.change(model=name)
        else:
            self.settings = replace(self.settings, model=name)
            self.changed.emit()

    @property
    def model_state(self) -> str:
        """How it stands with the model: ``"missing"``, ``"loading"``, ``"ready"``, or nothing where none is used."""
        if self.download_progress[1] or self.busy:
            return "loading"
        if not self.ready.get(self.settings.model_name, True):
            return "missing"
        return "" if self.volume is None else "ready"

    def download(self, name: str) -> None:
        """Fetch a model's weights, check them, then work with it."""

        def progress(done: int, total: int) -> None:
            self.download_progress = (done, total)
            self.changed.emit()

        def ended(error: Exception | None) -> None:
            self.download_progress = (0, 0)
            if error is None:
                self.ready[name] = True
                self.change(model=name)
            elif not isinstance(error, Cancelled):
                self._controller.tell(error)
            self.changed.emit()

        self.worker.edit(
            Job(
                lambda tick: fetch_weights(name, tick), lambda _: ended(None), ended, progress=progress, name="download"
            )
        )

    def set_autosave(self, autosave: bool) -> None:
        """Keep the journal when the session is closed, or delete it then."""
        self.autosave = autosave
        self.changed.emit()

    def open_file(self, path: str) -> None:
        """Go on with a session that was saved; the present one stays in its journal."""
        volume, grid, settings = self.volume, self._grid, self.settings
        if volume is None or grid is None:
            self._controller.said.emit("open the session's scan first, then the session", "warn")
            return

        def run(_: OnProgress) -> _Opened:
            own = {} if isinstance(settings.model, str) else {"model": settings.model}
            session = load_session(path, volume, device=settings.device, journal="auto", **own)
            return _Opened(session, volume, grid, trouble="; ".join(session.problems))

        def opened(result: _Opened) -> None:
            old = self._controller.unbind()
            if old is not None:
                self.worker.edit(Job(lambda _: old.close(), name="close"))
            self._opened(result)

        self._open_by(run, "opening the session …", opened, close=False)

    def restore(self) -> None:
        """Go on with the session that was found."""
        waiting, self._waiting, self.found = self._waiting, None, ""
        if waiting is not None:
            self._bind(waiting)

    def discard(self) -> None:
        """Begin anew; the journal that was found is set aside, not deleted."""
        waiting, self._waiting, self.found = self._waiting, None, ""
        if waiting is None:
            return

        def run(_: OnProgress) -> _Opened:
            waiting.session.close()
            if waiting.found is not None:
                waiting.found.rename(waiting.found.with_name(f"{waiting.found.name}.discarded"))
            return self._session_on(waiting.volume, waiting.grid, self.settings, None)

        self._open_by(run, "opening the scan …")

    def close(self) -> None:
        """Work on the image no longer; what was done is kept in its journal."""
        for session in (self._controller.unbind(), None if self._waiting is None else self._waiting.session):
            if session is not None:
                self.worker.edit(Job(self._closing(session), name="close"))
        self.image, self.volume, self._grid, self._waiting = None, None, None, None
        self.busy = self.found = ""
        self.changed.emit()

    def last_call(self) -> Callable[[], None]:
        """Take leave of the session; returns what the worker does last."""
        sessions = (self._controller.unbind(keep_labels=True), None if self._waiting is None else self._waiting.session)
        closings = [self._closing(session) for session in sessions if session is not None]
        self._waiting = None
        self._layers.events.inserted.disconnect(self._layer_added)
        self._layers.events.removed.disconnect(self._layer_removed)

        def close() -> None:
            for closing in closings:
                closing(None)

        return close

    # ── inside ───────────────────────────────────────────────────────────────

    def _session_on(
        self, volume: Volume, grid: LayerGrid, settings: Settings, found: Path | None, *, ask: bool = True
    ) -> _Opened:
        """Open a session, on the worker's thread; one that cannot be gone on with leaves its journal alone."""

        def opened(journal: Path | str) -> Session:
            return self._opener(
                volume,
                model=settings.model,
                device=settings.device,
                window=settings.window,
                enhance=settings.enhance,
                journal=journal,
            )

        trouble = ""
        if found is not None:
            try:
                session = opened(found)
            except SessionError as error:
                trouble = f"an earlier session is left as it is: {error}"
            else:
                trouble = "; ".join(getattr(session, "problems", ()))
                return _Opened(session, volume, grid, found if ask and session.state.objects else None, trouble)
        session = opened("auto")
        return _Opened(session, volume, grid, None, trouble or "; ".join(getattr(session, "problems", ())))

    def _open_by(
        self,
        run: Callable[[OnProgress], _Opened],
        busy: str,
        then: Callable[[_Opened], None] | None = None,
        *,
        close: bool = True,
    ) -> None:
        image = self.image
        self.busy = busy

        def done(result: _Opened) -> None:
            if self.image is not image or image not in self._layers:  # another was chosen meanwhile, or it was removed
                self.worker.edit(Job(self._closing(result.session), name="close"))
                return
            (then or self._opened)(result)

        def failed(error: Exception) -> None:
            self.busy = ""
            if close:
                self.image = self.volume = self._grid = None
            if not isinstance(error, Cancelled):
                self._controller.tell(error)
            self.changed.emit()

        self.worker.edit(Job(run, done, failed, name=busy))
        self.changed.emit()

    def _opened(self, result: _Opened) -> None:
        self.volume, self._grid, self.busy = result.volume, result.grid, ""
        if result.trouble:
            self._controller.said.emit(result.trouble, "warn")
        if result.found is None:
            self._bind(result)
            return
        self._waiting = result
        count = len(result.session.state.objects)
        self.found = f"A session from {_clock(result.found)} with {count} object{'s' * (count > 1)} was found"
        self.asked.emit(self.found)
        self.changed.emit()

    def _bind(self, result: _Opened) -> None:
        if self.image is not None:
            self._controller.bind(result.session, self.image, result.grid, result.volume)
        self.changed.emit()

    def _closing(self, session: Session) -> Callable[[Any], None]:
        keep = self.autosave

        def close(_: Any) -> None:
            path = _left(session)
            if path is not None and not keep:
                with suppress(OSError):  # another process may hold it; it is only not tidied up
                    path.unlink()

        return close

    def _know_models(self, ready: dict[str, bool]) -> None:
        self.ready = ready
        self.changed.emit()

    def _layer_added(self, _: Any) -> None:
        self.changed.emit()

    def _layer_removed(self, event: Any) -> None:
        if self.image is not None and event.value is self.image:
            name = self.image.name
            self.close()
            self._controller.said.emit(
                f"image {name!r} was removed; what was done on it is kept, and comes back when it is opened",
                "warn",
            )
        self.changed.emit()


def _left(session: Session) -> Path | None:
    """Close a session; returns the journal that it leaves."""
    path = getattr(session, "journal_path", None)
    session.close()
    return path if path is not None and Path(path).is_file() else None


def _is_ours(layer: Any) -> bool:
    return bool(layer.metadata.get("voxsam", {}).get("ours"))


def _clock(path: Path) -> str:
    when = time.localtime(path.stat().st_mtime)
    today = time.strftime("%Y-%m-%d", when) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", when)
