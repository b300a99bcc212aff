"""Speed and memory of a session on a CT scan of 512 x 512 x 200 voxels with the shipped model.

Opt-in: ``OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_session.py``. Limits are milliseconds on the machine that they
were set on, and scale with it as those of `bench_compact` do.
"""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.bench_compact import in_products
from voxsam.cropped import CroppedMask
from voxsam.edits import Segmented
from voxsam.geometry import Geometry
from voxsam.local import LocalSession, open_session
from voxsam.models.base import PromptableModel
from voxsam.models.registry import load_model
from voxsam.prompts import Box, Point
from voxsam.volume import Volume

MIDDLE = (100, 230, 180)


def held_mb() -> float:
    """Memory of this process, as Linux counts it."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.fixture(scope="module")
def model() -> PromptableModel:
    torch.set_num_threads(1)
    return load_model("compact", device="cpu", backend="torch")


@pytest.fixture(scope="module")
def scan() -> Volume:
    """Draw a body with a liver and a lesion of 12 mm in it, and noise."""
    z, y, x = np.ogrid[:200, :512, :512]
    array = np.full((200, 512, 512), -1000, np.int16)
    array[:, ((y[0] - 256) / 200) ** 2 + ((x[0] - 256) / 230) ** 2 <= 1] = -60
    array[((z - 100) / 60) ** 2 + ((y - 230) / 90) ** 2 + ((x - 180) / 100) ** 2 <= 1] = 110
    array[((z - 100) / 3) ** 2 + ((y - 200) / 8) ** 2 + ((x - 150) / 8) ** 2 <= 1] = 50
    array += np.random.default_rng(0).integers(-12, 12, array.shape, dtype=np.int16)
    return Volume(array, Geometry.from_spacing(array.shape, (2.5, 0.8, 0.8)), modality="CT")


@pytest.fixture
def session(scan: Volume, model: PromptableModel, tmp_path: Path) -> Iterator[LocalSession]:
    with open_session(scan, model=model, plane="axial", journal=tmp_path / "work.voxsam-journal") as session:
        liver = session.add_object("liver")
        session.add_prompt(liver, Point(MIDDLE))
        session.preview(liver, index=MIDDLE[0])
        yield session


def test_from_a_click_to_its_preview_on_a_warm_slice_takes_at_most_60_ms(
    session: LocalSession, benchmark: BenchmarkFixture
) -> None:
    steps = count()

    def click() -> None:  # one click, or the second to the sixth on the same slice
        step = next(steps)
        if step % 6 == 0:
            session.add_object()
        organ = session.state.objects[-1].id
        session.add_prompt(organ, Point((100, 200 + 7 * (step % 6), 150 + 3 * (step % 11))))
        session.preview(organ, index=100)

    assert in_products(click, benchmark, rounds=36) <= 60


def test_from_a_box_to_its_preview_on_a_warm_slice_takes_at_most_60_ms(
    session: LocalSession, benchmark: BenchmarkFixture
) -> None:
    steps = count()

    def draw() -> None:
        step, organ = next(steps), session.add_object()
        session.add_prompt(organ, Box((100, 140 + step % 9, 80), (100, 320, 280 - step % 7)))
        session.preview(organ, index=100)

    assert in_products(draw, benchmark) <= 60


def test_a_small_lesion_looked_at_from_nearer_takes_at_most_60_ms(
    session: LocalSession, benchmark: BenchmarkFixture
) -> None:
    steps = count()

    def draw() -> None:
        step, lesion = next(steps), session.add_object()
        session.add_prompt(lesion, Box((100, 191, 141 - step % 2), (100, 209, 159)))
        session.preview(lesion, index=100)

    assert in_products(draw, benchmark) <= 60


def test_the_first_preview_of_a_scan_comes_within_a_second_of_opening_it(
    scan: Volume, model: PromptableModel, tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    steps = count()

    def first() -> None:
        path = tmp_path / f"{next(steps)}.voxsam-journal"
        cold = Volume(np.asarray(scan.array), scan.geometry, modality="CT")  # nothing is known of its voxels yet
        with open_session(cold, model=model, plane="axial", journal=path) as session:
            liver = session.add_object("liver")
            session.add_prompt(liver, Point(MIDDLE))
            session.preview(liver, index=MIDDLE[0])

    assert in_products(first, benchmark, rounds=5) <= 1000


def test_undo_takes_at_most_20_ms(session: LocalSession, benchmark: BenchmarkFixture) -> None:
    found = CroppedMask.of(np.asarray(session.volume.array) > 80)

    def edits() -> tuple[tuple[()], dict[str, object]]:
        session.perform(Segmented(1, "propagate", found=found))
        return (), {}

    benchmark.pedantic(session.undo, setup=edits, rounds=30)
    assert benchmark.stats.stats.median <= 0.020


def test_two_hundred_edits_take_at_most_300_mb_beyond_the_scan(
    session: LocalSession, benchmark: BenchmarkFixture
) -> None:
    whole = np.asarray(session.volume.array) > 80
    masks = [CroppedMask.of(np.where(np.arange(200)[:, None, None] < 150 - k % 50, whole, False)) for k in range(4)]
    before = held_mb()

    def edit(step: int) -> None:
        session.add_prompt(1, Point((100, 200 + step % 30, 150 + step % 20)))
        part = masks[step % 4].to_array()
        part[step % 100] = False  # no two masks are the same
        session.perform(Segmented(1, "propagate", found=CroppedMask.of(part)))

    steps = count()
    benchmark.pedantic(lambda: edit(next(steps)), rounds=100, iterations=1)
    grown_mb = held_mb() - before
    benchmark.extra_info["MB of 200 edits"] = grown_mb
    benchmark.extra_info["MB of history"] = session._history.nbytes / 2**20
    assert session.can_undo
    assert grown_mb <= 300
