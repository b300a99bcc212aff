"""SIGKILL at random moments while a session is edited: the reopened session is the last acknowledged one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import Phantom, awkward_geometry, ellipsoid
from voxsam.journal import read_journal
from voxsam.local import LocalSession, open_session
from voxsam.prompts import Point
from voxsam.terminology import CODES

KILLS = 50
SHAPE = (6, 20, 16)

#: Loads everything once; a child of it goes on with the journal until it is killed, and says what was acknowledged.
WORKER = """
import os, sys
from pathlib import Path
from session_survives_kill import edit, edits_in, opened, small_phantom

assert "torch" not in sys.modules
phantom, path = small_phantom(), Path(sys.argv[1])
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        session = opened(phantom, path)
        number = edits_in(path)
        print("begun", os.getpid(), number, flush=True)
        while True:
            edit(session, number)
            number += 1
            print("done", number, flush=True)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def small_phantom() -> Phantom:
    return ellipsoid(awkward_geometry(SHAPE), radii_mm=(7.0, 6.0, 6.0))


def opened(phantom: Phantom, journal: Path | None) -> LocalSession:
    return open_session(phantom.volume, model=FloodFillModel(), journal=journal)


def edits_in(journal: Path) -> int:
    return len(read_journal(journal).edits) if journal.exists() else 0


def edit(session: LocalSession, number: int) -> None:
    """Make the edit of this number: always the same one after the same edits."""
    chance = np.random.default_rng(number)
    objects = session.state.objects
    z, y, x = (int(chance.integers(0, n)) for n in SHAPE)
    choice = int(chance.integers(0, 10)) if objects else 0
    last = objects[-1].id if objects else 0
    if choice == 0:
        session.add_object(f"object of edit {number}", code=CODES["liver"])
    elif choice == 1:
        session.change_object(last, name=f"renamed by {number}", visible=bool(number % 2))
    elif choice == 2 and session.can_redo:
        session.redo()
    elif choice in (2, 3) and session.can_undo:
        session.undo()
    elif choice == 4:
        session.accept_slice(last, chance.random(SHAPE[1:]) > 0.5, plane="axial", index=z)
    elif choice in (5, 6):
        session.add_prompt(last, Point((z, y, x)))
        return
    elif choice == 7 and len(objects) > 1:
        session.remove_object(objects[0].id)
    elif choice in (8, 9) and any(prompt for prompt in objects[-1].prompts):
        session.propagate(last)
    else:
        session.add_prompt(last, Point((z, y, x), positive=True))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "session_survives_kill.py").symlink_to(Path(__file__))
    folders = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    environment = {"PYTHONPATH": folders, "PATH": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, str(tmp_path / "work.voxsam-journal")]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
    yield process
    process.stdin.close()  # type: ignore[union-attr]
    complaint = process.stderr.read()  # type: ignore[union-attr]
    process.wait(20)
    process.stdout.close()  # type: ignore[union-attr]
    process.stderr.close()  # type: ignore[union-attr]
    assert process.returncode == 0, complaint


def killed_once(worker: subprocess.Popen[str], edits: int, delay_s: float) -> int:
    """Let a child make some edits, kill it a moment later; returns how many edits were acknowledged in all."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    word, process, acknowledged = worker.stdout.readline().split()
    assert word == "begun"
    last = int(acknowledged)
    for _ in range(edits):
        last = int(worker.stdout.readline().split()[1])
    time.sleep(delay_s)
    os.kill(int(process), signal.SIGKILL)
    for line in worker.stdout:
        if line.strip() == "killed":
            return last
        last = int(line.split()[1])
    pytest.fail("the worker ended")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")
def test_fifty_kills_lose_no_acknowledged_edit(worker: subprocess.Popen[str], tmp_path: Path) -> None:
    chance = np.random.default_rng(20261121)
    phantom, path = small_phantom(), tmp_path / "work.voxsam-journal"
    twin, made = opened(phantom, None), 0  # makes the same edits, and is never killed
    in_flight = 0
    for _ in range(KILLS):
        acknowledged = killed_once(worker, int(chance.integers(0, 4)), chance.uniform(0.0, 0.012))
        with opened(phantom, path) as reopened:
            kept = edits_in(path)
            assert acknowledged <= kept <= acknowledged + 1  # one may be on the disk that nobody was told about
            in_flight += kept - acknowledged
            while made < kept:
                edit(twin, made)
                made += 1
            assert reopened.problems == ()
            assert reopened.state == twin.state
            assert (reopened.can_undo, reopened.can_redo) == (twin.can_undo, twin.can_redo)
    assert made > KILLS
    assert in_flight < KILLS, "an edit is acknowledged once it is on the disk, not before"
