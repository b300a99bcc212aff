"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxsam import io
from voxsam.errors import FormatError, StoreError
from voxsam.geometry import Geometry
from voxsam.io import atomic_write
from voxsam.volume import Mask

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".seg.nrrd"]


def mask(value: bool = True, side: int = 8) -> Mask:
    return Mask(np.full((side,) * 3, value), Geometry.from_spacing((side,) * 3))


def test_the_temporary_file_lies_beside_the_target_and_ends_like_it(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.seg.nrrd") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("a.seg.nrrd")
        assert not (tmp_path / "a.seg.nrrd").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.seg.nrrd"]


@pytest.mark.parametrize(("durable", "asked"), [(True, 2), (False, 0)])
def test_the_disk_is_waited_for_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, asked: int
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    with atomic_write(tmp_path / "a.txt", durable=durable) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert len(calls) == asked  # the file, and the list of names in its folder


@pytest.mark.parametrize("fault", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_failure_within_leaves_the_old_file_and_no_litter(tmp_path: Path, fault: BaseException) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def tear() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("new, but torn")
            raise fault

    with pytest.raises(FormatError if isinstance(fault, OSError) else type(fault)):
        tear()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; free some space or choose another folder"),
        (errno.EDQUOT, "disk quota is used up"),
        (errno.EACCES, "no permission to write there"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_fault_of_the_disk_is_one_line_and_the_old_mask_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str, suffix: str
) -> None:
    target = tmp_path / f"m{suffix}"
    io.save_mask(mask(), target)

    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("voxsam.io.atomic.os.fsync", full)
    with pytest.raises(FormatError, match=message) as caught:
        io.save_mask(mask(False), target)
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert io.load_mask(target).array.all()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full: /dev/full")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_while_voxels_are_written_leaves_the_old_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    target = tmp_path / f"m{suffix}"
    io.save_mask(mask(), target)
    opened = os.open

    def on_the_full_disk(path: Any, flags: int, mode: int = 0o777) -> int:
        if ".voxsam-" in str(path) and flags & os.O_CREAT:
            Path(path).symlink_to("/dev/full")
            return opened(path, os.O_WRONLY)
        return opened(path, flags, mode)

    monkeypatch.setattr("voxsam.io.atomic.os.open", on_the_full_disk)
    with pytest.raises(FormatError, match="the disk is full"):
        io.save_mask(mask(False, side=64), target)
    assert io.load_mask(target).array.all()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FormatError, match="no permission"):
        io.save_mask(mask(), tmp_path / "m.nii.gz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_folder_a_file_as_folder_and_a_folder_as_file_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / f"folder{suffix}").mkdir()
    for place, message in (
        (tmp_path / "nowhere" / f"m{suffix}", "its folder does not exist; make it first"),
        (tmp_path / "file" / f"m{suffix}", "its folder is a file"),
        (tmp_path / f"folder{suffix}", "it is a folder; give a file name"),
        (tmp_path / f"{'m' * 300}{suffix}", "the name is too long"),
    ):
        with pytest.raises(FormatError, match=message):
            io.save_mask(mask(), place)


def test_another_error_of_the_tree_can_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"), atomic_write(tmp_path / "no" / "a", error=StoreError):
        pass


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_a_new_file_obeys_the_umask_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        io.save_mask(mask(), tmp_path / "m.nii")
    finally:
        os.umask(before)
    assert (tmp_path / "m.nii").stat().st_mode & 0o777 == 0o640
    (tmp_path / "m.nii").chmod(0o604)
    io.save_mask(mask(False), tmp_path / "m.nii")
    assert (tmp_path / "m.nii").stat().st_mode & 0o777 == 0o604


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_stays_a_link_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    io.save_mask(mask(), tmp_path / "far" / "m.nii")
    (tmp_path / "m.nii").symlink_to(tmp_path / "far" / "m.nii")
    io.save_mask(mask(False), tmp_path / "m.nii")
    assert (tmp_path / "m.nii").is_symlink()
    assert not io.load_mask(tmp_path / "far" / "m.nii").array.any()


WRITER = """
import sys
import numpy as np
from voxsam import io
from voxsam.geometry import Geometry
from voxsam.volume import Mask
grid = Geometry.from_spacing((96, 96, 96))
noise = np.random.default_rng(0).random(grid.shape) < 0.5
masks = [Mask(np.where(noise, value, value).astype(np.uint8), grid) for value in (1, 2)]
io.save_mask(masks[0], sys.argv[1])
sys.stdout.write("ready\\n")
sys.stdout.flush()
while True:
    for mask in masks:
        io.save_mask(mask, sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nii", ".seg.nrrd"])
def test_a_writer_killed_at_any_moment_leaves_a_whole_mask(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"m{suffix}"
    pauses = np.random.default_rng(5).random(8) * 0.05
    for pause in pauses:
        with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(pause)
            writer.kill()
        assert io.load_mask(target).values in ((1,), (2,))


def test_the_next_save_sweeps_what_killed_saves_left(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = int(gone.stdout)
    stale, fresh, alive = (
        tmp_path / f".voxsam-{process}-{name}-mask.nii"
        for process, name in ((dead, "a"), (dead, "b"), (os.getpid(), "c"))
    )
    foreign = tmp_path / ".voxsam-settings"
    for path in (stale, fresh, alive, foreign):
        path.write_text("half a mask")
    for path in (stale, alive, foreign):
        os.utime(path, (time.time() - 7200,) * 2)
    io.save_mask(mask(), tmp_path / "mask.nii")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in (fresh, alive, foreign, tmp_path / "mask.nii")
    )
