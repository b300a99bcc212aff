"""The pictures of the guide and the figures of real scans: what the dock is shown with, run as it stands in docs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "images" / "napari"
TOUR = ROOT / "docs" / "napari-tour.md"


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_guide_shows_every_picture_and_each_is_small_and_says_nothing_else() -> None:
    shown = TOUR.read_text(encoding="utf-8")
    pictures = sorted(PICTURES.glob("*.png"))
    assert 6 <= len(pictures) <= 8
    for picture in pictures:
        assert f"(images/napari/{picture.name})" in shown
        assert picture.stat().st_size < 300_000
        with Image.open(picture) as opened:
            opened.load()
            assert not opened.info, picture.name  # no path, no date, no program


@pytest.mark.slow
def test_the_walk_through_the_dock_makes_its_pictures(qapp: Any, tmp_path: Path) -> None:
    run = [sys.executable, str(ROOT / "docs" / "examples" / "napari_tour.py"), str(tmp_path)]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert {path.name for path in tmp_path.glob("*.png")} == {path.name for path in PICTURES.glob("*.png")}
    scores = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines() if "Dice" in line]
    assert len(scores) == 3
    assert min(scores) > 0.5  # whatever weights ship: the liver, the liver corrected, the tumour by two clicks


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(("case", "label", "least"), [("case11", 3, 0.8), ("STS_002_MR_T1", 1, 0.6)])
def test_clicks_in_the_dock_segment_an_organ_and_a_lesion(
    qapp: Any, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, label: int, least: float
) -> None:
    monkeypatch.setenv("VOXSAM_SESSIONS", str(tmp_path))
    drive = script("scripts/napari_real_scans.py")
    scores = drive.drive(*drive.load_target(data_dir, case, label))
    assert len(scores) == 3
    assert scores[-1] > least
    assert np.isfinite(scores).all()
