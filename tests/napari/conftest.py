"""What a test of the plugin gets: napari's own fixtures, a display of its own settings, and no other plugin."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import entry_points
from typing import Any

import pytest

os.environ["NAPARI_CONFIG"] = ""  # read when napari loads: nobody's settings are read or written

# pyproject.toml keeps napari's pytest plugin out of the library's tests: here is what it brings, for this folder alone.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what others deprecate while napari loads is not ours to mend
    _napari: Any = next(iter(entry_points(group="pytest11", name="napari"))).load()
    import napari.viewer  # noqa: F401
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
