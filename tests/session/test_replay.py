from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voxsam import io
from voxsam.errors import ModelError, SessionError
from voxsam.evaluate import load_cases
from voxsam.local import open_session
from voxsam.prompts import Box, Point
from voxsam.replay import replay
from voxsam.volume import Volume


@pytest.fixture(scope="module")
def scan(request: pytest.FixtureRequest) -> Volume:
    sample_dir: Path = request.getfixturevalue("sample_dir")
    return io.load_volume(sample_dir / "ct_abdomen.nii.gz")


@pytest.fixture(scope="module")
def saved(scan: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with the shipped model: two objects that touch, a correction, a reach, steps taken back."""
    folder = tmp_path_factory.mktemp("work")
    with open_session(scan, window="abdomen") as session:
        liver = session.add_object("liver")
        session.add_prompt(liver, Box((30, 64, 36), (30, 182, 170)))
        session.propagate(liver, reach=(24, 34))
        session.add_prompt(liver, Point((28, 150, 120), positive=False))
        session.refine(liver)
        kidney = session.add_object("kidney")
        session.add_prompt(kidney, Point((34, 88, 222)))
        session.undo()
        session.add_prompt(kidney, Point((30, 162, 126)))
        session.propagate(kidney, reach=(29, 31))
        session.save(folder / "work.json")
        session.save_masks(folder / "masks.nii.gz")
    return folder / "work.json"


def test_a_replay_gives_the_same_masks_to_the_voxel(scan: Volume, saved: Path) -> None:
    calls: list[tuple[int, int]] = []
    again = replay(saved, scan, on_progress=lambda done, total: calls.append((done, total)))
    assert again.differences == ()
    assert again.changed == ()
    assert calls[-1] == (300, 300)  # percent of three propagations
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    with again.session as session:
        assert [item.mask for item in session.state.objects if item.mask is not None]
        session.save(saved.with_name("again.json"))
    first, second = (json.loads(path.read_text()) for path in (saved, saved.with_name("again.json")))
    assert [item["mask"] for item in first["objects"]] == [item["mask"] for item in second["objects"]]
    assert first["edits"] == second["edits"]


def test_other_versions_weights_and_masks_are_named(scan: Volume, saved: Path) -> None:
    document = json.loads(saved.read_text())
    document["versions"]["numpy"] = "0.1"
    document["settings"]["model"]["weights_sha256"] = "ab" * 32
    document["edits"] = document["edits"][:3]  # the correction is gone
    other = saved.with_name("other.json")
    other.write_text(json.dumps({**document, "objects": document["objects"][:1]}))
    again = replay(other, scan)
    again.session.close()
    assert f"numpy was 0.1, and is {np.__version__}" in again.differences
    assert any(line.startswith("the weights were sha256 abababababab, and are") for line in again.differences)
    assert any("object 1 (liver) differs from what was saved in" in line for line in again.changed)


def test_a_session_that_cannot_be_made_again_says_why(scan: Volume, saved: Path) -> None:
    document = json.loads(saved.read_text())
    document["edits"][1]["prompt"] = "nothing"
    broken = saved.with_name("broken.json")
    broken.write_text(json.dumps(document))
    with pytest.raises(SessionError, match=r"cannot replay broken.json to its end: edit 2"):
        replay(broken, scan)
    document = json.loads(saved.read_text())
    document["settings"]["model"]["name"] = "mine"
    broken.write_text(json.dumps(document))
    with pytest.raises(ModelError, match="model 'mine', which is not known here"):
        replay(broken, scan)
    smaller = Volume(np.asarray(scan.array)[:, :, :-1], type(scan.geometry)((48, 256, 255), scan.geometry.affine))
    with pytest.raises(SessionError, match="belongs to another scan"):
        replay(saved, smaller)


def test_the_command_writes_the_same_label_map(sample_dir: Path, saved: Path, tmp_path: Path) -> None:
    output = tmp_path / "again.nii.gz"
    command = ["-m", "voxsam.cli", "replay", str(saved), str(sample_dir / "ct_abdomen.nii.gz"), "-o", str(output)]
    run = subprocess.run([sys.executable, *command, "--no-cache"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "the masks are those that were saved, to the voxel" in run.stdout
    assert np.array_equal(io.load_mask(output).array, io.load_mask(saved.with_name("masks.nii.gz")).array)
    command[4] = str(sample_dir / "mr_head.nii.gz")
    refused = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "belongs to another scan" in refused.stderr


@pytest.mark.realdata
def test_a_session_on_a_real_scan_replays_to_the_voxel(data_dir: Path, tmp_path: Path) -> None:
    case = min(load_cases(data_dir), key=lambda each: each.image.stat().st_size)
    volume, truth = io.load_volume(case.image), io.load_mask(case.mask)
    axis = volume.geometry.axes_of(volume.geometry.native_plane).normal
    held = np.argwhere(np.moveaxis(np.asarray(truth.array) == truth.values[0], axis, 0))
    index = int(np.bincount(held[:, 0]).argmax())
    low, high = (np.insert(edge(held[held[:, 0] == index, 1:], axis=0), axis, index) for edge in (np.min, np.max))
    with open_session(volume) as session:
        organ = session.add_object("organ")
        session.add_prompt(organ, Box(tuple(low), tuple(high)))
        session.propagate(organ, reach=(max(0, index - 3), index))
        session.accept_slice(organ, np.moveaxis(np.asarray(truth.array), axis, 0)[index - 1] == truth.values[0],
                             plane=volume.geometry.native_plane, index=index - 1)  # fmt: skip
        session.refine(organ)
        session.save(tmp_path / "work.json")
    again = replay(tmp_path / "work.json", volume)
    assert again.session.state.object(organ).mask is not None
    again.session.close()
    assert again.changed == ()
    assert again.differences == ()
