"""What a test of the plugin gets: napari's own fixtures, a display of its own settings, and no other plugin."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import napari_loaded  # noqa: F401 - before the plugin's fixtures

# pyproject.toml keeps napari's pytest plugin out of the library's tests: here is what it brings, for this folder alone.
_napari: Any = next(iter(entry_points(group="pytest11", name="napari"))).load()
pytest_addoption = _napari.pytest_addoption
pytest_runtest_makereport = _napari.pytest_runtest_makereport
make_napari_viewer = _napari.make_napari_viewer
mock_app_model = _napari.mock_app_model

#: Linux and its kin need an X server, real or virtual, to draw in; others always have their windows.
_NO_DISPLAY = not os.environ.get("DISPLAY") and sys.platform not in {"darwin", "win32"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what opens a window where there is no display: Qt would abort the whole run."""
    if _NO_DISPLAY:
        reason = pytest.mark.skip(reason='no display: run this under `xvfb-run -a -s "-screen 0 1400x1000x24"`')
        for item in items:
            if {"qapp", "qtbot"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(reason)


@pytest.fixture
def sessions_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which sessions save themselves, empty at first."""
    folder = tmp_path / "sessions"
    monkeypatch.setenv("VOXSAM_SESSIONS", str(folder))
    return folder


@pytest.fixture
def open_dock(
    make_napari_viewer: Callable[..., Any], qtbot: Any, sessions_dir: Path, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """Open a viewer with the dock; returns the dock, and the user before it. At the end no thread may be left."""
    from acting import User
    from fakes import FloodFillModel
    from voxsam_napari.keys import Shortcuts
    from voxsam_napari.scans import Settings
    from voxsam_napari.widget import VoxsamDock

    docks = []

    def opened(model: Any = None, *, viewer: Any = None, show: bool = True) -> tuple[VoxsamDock, User]:
        viewer = viewer or make_napari_viewer(show=show)
        viewer.window.resize(1300, 900)
        settings = Settings(model=model or FloodFillModel())
        dock = VoxsamDock(viewer, settings=settings, shortcuts=Shortcuts(tmp_path / "keys.json"))
        viewer.window.add_dock_widget(dock, name="voxsam", area="right")
        docks.append(dock)
        return dock, User(viewer, qtbot)

    yield opened
    for dock in docks:
        dock.close_session()
        assert not dock.worker.is_alive


@pytest.fixture
def model_dock(qtbot: Any, sessions_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make the dock on a viewer without a window: quick, and all that needs no mouse works."""
    from napari.components import ViewerModel

    from fakes import FloodFillModel
    from voxsam_napari.keys import Shortcuts
    from voxsam_napari.scans import Settings
    from voxsam_napari.widget import VoxsamDock

    docks = []

    def made(*layers: Any, model: Any = None) -> VoxsamDock:
        viewer = ViewerModel()
        for layer in layers:
            viewer.add_layer(layer)
        settings = Settings(model=model or FloodFillModel())
        dock = VoxsamDock(viewer, settings=settings, shortcuts=Shortcuts(tmp_path / "keys.json"))
        qtbot.addWidget(dock)
        docks.append(dock)
        if layers:
            qtbot.waitUntil(lambda: not dock.worker.is_busy and not dock.desk.busy, timeout=20_000)
        return dock

    yield made
    for dock in docks:
        dock.close_session()
        assert not dock.worker.is_alive
