"""SIGKILL at random moments while embeddings and masks are written: nothing is torn, and the store resumes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import Phantom, awkward_geometry, ellipsoid, paint
from voxsam import io
from voxsam.embeddings import EmbeddingStore
from voxsam.views import View
from voxsam.windowing import Window

KILLS = 30
SLICES = 60
WINDOWS = (Window(400, 40),)

#: Embeds every slice, saying how many views it encoded, then writes two masks over each other for ever.
WORKER = """
import sys
from pathlib import Path
from fakes import FloodFillModel
from phantoms import awkward_geometry, ellipsoid
from test_store_survives_kill import SHAPE, views
from voxsam import io
from voxsam.embeddings import EmbeddingStore
from voxsam.volume import Mask

assert "torch" not in sys.modules
folder = Path(sys.argv[1])
phantom = ellipsoid(awkward_geometry(SHAPE))
model = FloodFillModel()
store = EmbeddingStore(model, phantom.volume, cache_dir=folder / "cache")
empty = Mask(phantom.truth.array & False, phantom.volume.geometry)
for view in views():
    store.get(view)
    print("encoded", model.encoded, flush=True)
io.save_mask(empty, folder / "warm.nii.gz")  # the writer's own imports take a while
print("embedded", flush=True)
while True:
    for mask in (phantom.truth, empty):
        io.save_mask(mask, folder / "mask.nii.gz")
"""

SHAPE = (SLICES, 48, 40)


def views() -> list[View]:
    return [View("axial", index, WINDOWS) for index in range(SLICES)]


def run_and_kill(folder: Path, *, after: str, delay_s: float) -> None:
    """Start the worker, and kill it a moment after it said `after`."""
    command = [sys.executable, "-c", WORKER, str(folder)]
    environment = {"PYTHONPATH": str(Path(__file__).parent), "PATH": "", "OMP_NUM_THREADS": "1"}
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert worker.stdout is not None
        for line in worker.stdout:
            if line.strip() in (after, "embedded"):
                break
        time.sleep(delay_s)
    finally:
        worker.kill()
        _, complaint = worker.communicate()
    assert worker.returncode == -signal.SIGKILL, complaint


@pytest.mark.slow
def test_thirty_kills_leave_a_store_that_resumes_and_no_torn_mask(tmp_path: Path) -> None:
    chance = np.random.default_rng(20261121)
    phantom = ellipsoid(awkward_geometry(SHAPE))
    truth = np.asarray(phantom.truth.array)
    expected = EmbeddingStore(FloodFillModel(), phantom.volume)
    had, seen = -1, set()
    for kill in range(KILLS):
        embedding = kill < KILLS // 2
        # by what was done, not by the clock: how many views a moment holds depends on the machine
        after = f"encoded {chance.integers(1, 4)}" if embedding else "embedded"
        run_and_kill(tmp_path, after=after, delay_s=chance.uniform(0.0, 0.002 if embedding else 0.04))
        have = files_of(tmp_path)
        assert len(have) >= had  # it went on where it was, and lost nothing
        had = len(have)
        seen.add(had)
        mask = tmp_path / "mask.nii.gz"
        if mask.exists():
            found = np.asarray(io.load_mask(mask).array)
            assert not found.any() or np.array_equal(found, truth)  # one of the two, whole

    model = FloodFillModel()
    store = EmbeddingStore(model, phantom.volume, cache_dir=tmp_path / "cache")
    for view in views():
        assert np.array_equal(store.get(view).features["grey"], expected.get(view).features["grey"])
    assert model.encoded == SLICES - had
    assert mask.exists()
    assert len(seen) > 2, "the kills were to fall while views were written"
    assert list(tmp_path.glob(".voxsam-*")), "some kills were to fall while a mask was written"

    another_scan_reads_nothing(tmp_path, phantom)


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.glob("cache/*/*.safetensors") if not path.name.startswith(".")]


def another_scan_reads_nothing(folder: Path, phantom: Phantom) -> None:
    model = FloodFillModel()
    other = paint(np.asarray(phantom.truth.array), phantom.volume.geometry, seed=7)
    store = EmbeddingStore(model, other, cache_dir=folder / "cache")
    for view in views()[:5]:
        store.get(view)
    assert model.encoded == 5
