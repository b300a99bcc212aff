"""Bad input on the command line: one clear line, exit 2, nothing written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import voxsam.models.registry
from fakes import FloodFillModel
from voxsam.cli import main

Case = Callable[[Path], list[str]]

GOOD = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)
PLACE = ["--point", "3,3,4"]


@pytest.fixture(autouse=True)
def _flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood fill stands for every model that there is."""

    def load_model(name: str, **_: object) -> FloodFillModel:
        voxsam.models.registry.card(name)
        return FloodFillModel()

    monkeypatch.setattr(voxsam.models.registry, "load_model", load_model)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:  # type: ignore[type-arg]
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def good(folder: Path) -> Path:
    return write(folder / "good.nii.gz", GOOD)


def missing(folder: Path) -> list[str]:
    return [str(folder / "nothing.nii.gz"), *PLACE]


def no_image(folder: Path) -> list[str]:
    (folder / "letter.nii.gz").write_text("Dear doctor,")
    return [str(folder / "letter.nii.gz"), *PLACE]


def no_known_format(folder: Path) -> list[str]:
    (folder / "letter.txt").write_text("Dear doctor,")
    return [str(folder / "letter.txt"), *PLACE]


def truncated(folder: Path) -> list[str]:
    whole = write(folder / "whole.nii.gz", np.random.default_rng(0).integers(0, 999, (30, 30, 30)).astype(np.int16))
    torn = folder / "torn.nii.gz"
    torn.write_bytes(whole.read_bytes()[:-2000])
    return [str(torn), *PLACE]


def four_dimensions(folder: Path) -> list[str]:
    return [str(write(folder / "4d.nii.gz", np.stack([GOOD, GOOD], axis=-1))), *PLACE]


def no_such_channel(folder: Path) -> list[str]:
    return [str(write(folder / "4d.nii.gz", np.stack([GOOD, GOOD], axis=-1))), "--channel", "2", *PLACE]


def colours(folder: Path) -> list[str]:
    pixels = np.zeros((6, 7, 8), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    return [str(write(folder / "rgb.nii.gz", pixels)), *PLACE]


def only_nan(folder: Path) -> list[str]:
    return [str(write(folder / "nan.nii.gz", np.full((6, 7, 8), np.nan, np.float32))), *PLACE]


def singular(folder: Path) -> list[str]:
    path = write(folder / "flat.nii", GOOD)
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(content[:348])
    header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    return [str(path), *PLACE]


def outside(folder: Path) -> list[str]:
    return [str(good(folder)), "--point", "3,3,400"]


def empty_box(folder: Path) -> list[str]:
    return [str(good(folder)), "--box", "3,3,4,3,3,4"]


def another_scan(folder: Path) -> list[str]:
    document = {"schema": "voxsam-prompts/1", "scan": {"fingerprint": "0" * 64, "name": "other"}, "prompts": []}
    (folder / "p.json").write_text(json.dumps(document))
    return [str(good(folder)), "--prompts", str(folder / "p.json")]


def no_json(folder: Path) -> list[str]:
    (folder / "p.json").write_text("{")
    return [str(good(folder)), "--prompts", str(folder / "p.json")]


def no_prompts_file(folder: Path) -> list[str]:
    return [str(good(folder)), "--prompts", str(folder / "nothing.json")]


def nothing_asked(folder: Path) -> list[str]:
    return [str(good(folder))]


def only_negative(folder: Path) -> list[str]:
    return [str(good(folder)), "--negative", "3,3,4"]


def two_numbers(folder: Path) -> list[str]:
    return [str(good(folder)), "--point", "3,3"]


def unknown_model(folder: Path) -> list[str]:
    return [str(good(folder)), "--model", "compct", *PLACE]


def unknown_window(folder: Path) -> list[str]:
    return [str(good(folder)), "--window", "livr", *PLACE]


def unknown_plane(folder: Path) -> list[str]:
    return [str(good(folder)), "--plane", "axal", *PLACE]


def unknown_enhancement(folder: Path) -> list[str]:
    return [str(good(folder)), "--enhance", "clahee", *PLACE]


def unknown_space(folder: Path) -> list[str]:
    return [str(good(folder)), "--space", "lps", *PLACE]


def unknown_format(folder: Path) -> list[str]:
    return [str(good(folder)), "-o", str(folder / "mask.jpg"), *PLACE]


def folder_is_a_file(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return [str(good(folder)), "-o", str(folder / "file" / "mask.nii.gz"), *PLACE]


def no_such_folder(folder: Path) -> list[str]:
    return [str(good(folder)), "-o", str(folder / "nowhere" / "mask.nii.gz"), *PLACE]


def output_is_a_folder(folder: Path) -> list[str]:
    (folder / "mask.nii.gz").mkdir()
    return [str(good(folder)), "-o", str(folder / "mask.nii.gz"), *PLACE]


def overlay_is_no_png(folder: Path) -> list[str]:
    return [str(good(folder)), "--overlay", str(folder / "o.jpg"), *PLACE]


def into_another_grid(folder: Path) -> list[str]:
    write(folder / "other.nii.gz", np.zeros((3, 3, 3), np.uint8))
    return [str(good(folder)), "--into", str(folder / "other.nii.gz"), *PLACE]


def empty_mask_prompt(folder: Path) -> list[str]:
    write(folder / "empty.nii.gz", np.zeros(GOOD.shape, np.uint8))
    return [str(good(folder)), "--mask-prompt", str(folder / "empty.nii.gz")]


def cache_and_none(folder: Path) -> list[str]:
    return [str(good(folder)), "--cache", str(folder), "--no-cache", *PLACE]


def cache_is_a_file(folder: Path) -> list[str]:
    (folder / "cache").write_text("")
    return [str(good(folder)), "--cache", str(folder / "cache"), *PLACE]


def outside_in_ijk(folder: Path) -> list[str]:
    return [str(good(folder)), "--space", "ijk", "--point", "3,3,400"]


def box_on_another_plane(folder: Path) -> list[str]:
    return [str(good(folder)), "--plane", "axial", "--box", "1,3,1,4,3,5"]


def unknown_device(folder: Path) -> list[str]:
    return [str(good(folder)), "--device", "toaster", *PLACE]


def several_labels(folder: Path) -> list[str]:
    labels = np.zeros(GOOD.shape, np.uint8)
    labels[1:3], labels[4] = 2, 7
    return [str(good(folder)), "--mask-prompt", str(write(folder / "organs.nii.gz", labels))]


def no_such_label(folder: Path) -> list[str]:
    drawn = write(folder / "organs.nii.gz", np.ones(GOOD.shape, np.uint8))
    return [str(good(folder)), "--mask-prompt", f"{drawn}:7"]


def report_without_prompts(folder: Path) -> list[str]:
    (folder / "r.json").write_text(json.dumps({"schema": "voxsam-report/1", "prompts": {}}))
    return [str(good(folder)), "--prompts", str(folder / "r.json")]


def report_with_damaged_settings(folder: Path) -> list[str]:
    document = {"schema": "voxsam-report/1", "prompts": {"prompts": [1]}, "settings": {"windows": [{"width": 3}]}}
    (folder / "r.json").write_text(json.dumps(document))
    return [str(good(folder)), "--prompts", str(folder / "r.json")]


def output_is_the_scan(folder: Path) -> list[str]:
    return [str(good(folder)), "-o", str(folder / "good.nii.gz"), *PLACE]


def output_links_to_the_scan(folder: Path) -> list[str]:
    scan = good(folder)
    (folder / "link.nii.gz").symlink_to(scan)
    return [str(scan), "-o", str(folder / "link.nii.gz"), *PLACE]


def output_is_another_name_of_the_scan(folder: Path) -> list[str]:
    scan = good(folder)
    (folder / "hard.nii.gz").hardlink_to(scan)
    return [str(scan), "-o", str(folder / "hard.nii.gz"), *PLACE]


def report_is_the_scan(folder: Path) -> list[str]:
    return [str(good(folder)), "--report", str(folder / "good.nii.gz"), *PLACE]


def report_is_the_output(folder: Path) -> list[str]:
    same = str(folder / "same.nii.gz")
    return [str(good(folder)), "-o", same, "--report", same, *PLACE]


def report_is_the_prompts(folder: Path) -> list[str]:
    (folder / "p.json").write_text("{}")
    return [str(good(folder)), "--prompts", str(folder / "p.json"), "--report", str(folder / "p.json")]


def output_is_the_mask_prompt(folder: Path) -> list[str]:
    drawn = str(write(folder / "drawn.nii.gz", np.ones(GOOD.shape, np.uint8)))
    return [str(good(folder)), "--mask-prompt", drawn, "-o", drawn]


def report_is_the_mask_to_add_to(folder: Path) -> list[str]:
    other = str(write(folder / "other.nii.gz", np.ones(GOOD.shape, np.uint8)))
    return [str(good(folder)), "--into", other, "--report", other, *PLACE]


def report_is_a_slice_of_the_dicom_folder(folder: Path) -> list[str]:
    (folder / "study").mkdir()
    (folder / "study" / "IM0001").write_bytes(b"a slice")
    return [str(folder / "study"), "--report", str(folder / "study" / "IM0001"), *PLACE]


def report_is_a_slice_beside_the_one_given(folder: Path) -> list[str]:
    for name in ("IM0001", "IM0002"):
        (folder / name).write_bytes(bytes(128) + b"DICM" + bytes(100))
    return [str(folder / "IM0001"), "--report", str(folder / "IM0002"), *PLACE]


CASES: list[tuple[Case, tuple[str, ...]]] = [
    (missing, ("nothing.nii.gz",)),
    (no_image, ("letter.nii.gz",)),
    (no_known_format, ("letter.txt",)),
    (truncated, ("torn.nii.gz",)),
    (four_dimensions, ("--channel", "2")),
    (no_such_channel, ("channel",)),
    (colours, ("rgb.nii.gz",)),
    (only_nan, ("NaN",)),
    (singular, ("singular",)),
    (outside, ("outside the scan", "RAS (0, 0, 0) to (5, 6, 7) mm")),
    (empty_box, ("empty",)),
    (another_scan, ("scan",)),
    (no_json, ("p.json", "JSON")),
    (no_prompts_file, ("nothing.json", "No such file")),
    (nothing_asked, ("--point", "voxsam info")),
    (only_negative, ("positive",)),
    (two_numbers, ("--point takes 3 numbers", "3,3")),
    (unknown_model, ("no model 'compct'", "did you mean 'compact'")),
    (unknown_window, ("no window 'livr'", "did you mean 'liver'")),
    (unknown_plane, ("--plane 'axal'", "did you mean 'axial'")),
    (unknown_enhancement, ("clahee", "did you mean 'clahe'")),
    (unknown_space, ("--space", "lps", "ras")),
    (unknown_format, ("mask.jpg", ".nii.gz")),
    (folder_is_a_file, ("mask.nii.gz", "folder")),
    (no_such_folder, ("mask.nii.gz", "folder")),
    (output_is_a_folder, ("mask.nii.gz", "folder")),
    (overlay_is_no_png, ("o.jpg", ".png")),
    (outside_in_ijk, ("--point 3,3,400 (i,j,k", "0,0,0 to 5,6,7", "outside the scan")),
    (box_on_another_plane, ("another plane", "axial")),
    (unknown_device, ("no device 'toaster'",)),
    (several_labels, ("organs.nii.gz has several labels (2, 7)", "--mask-prompt", "organs.nii.gz:2")),
    (no_such_label, ("organs.nii.gz has no label 7; it has 1",)),
    (report_without_prompts, ("r.json", "without prompts")),
    (report_with_damaged_settings, ("r.json", "settings")),
    (output_is_the_scan, ("--output", "good.nii.gz", "over the scan")),
    (output_links_to_the_scan, ("--output", "link.nii.gz", "over the scan")),
    (output_is_another_name_of_the_scan, ("--output", "hard.nii.gz", "over the scan")),
    (report_is_the_scan, ("--report", "over the scan")),
    (report_is_the_output, ("--output and --report", "same.nii.gz")),
    (report_is_the_prompts, ("--report", "p.json")),
    (output_is_the_mask_prompt, ("--output", "drawn.nii.gz")),
    (report_is_the_mask_to_add_to, ("--report", "--into")),
    (report_is_a_slice_of_the_dicom_folder, ("--report", "IM0001")),
    (report_is_a_slice_beside_the_one_given, ("--report", "IM0002")),
    (into_another_grid, ("grid",)),
    (empty_mask_prompt, ("empty",)),
    (cache_and_none, ("--cache", "--no-cache")),
    (cache_is_a_file, ("cache",)),
]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize(("case", "words"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_bad_input_is_one_clear_line(
    case: Case, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    arguments = case(folder)
    before = contents(tmp_path)
    output = [] if "-o" in arguments else ["-o", str(tmp_path / "mask.nii.gz")]
    assert main(["segment", *arguments, *output]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("voxsam: ")
    assert said.err.count("\n") == 1, said.err
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err
    assert not said.out
    assert contents(tmp_path) == before


@pytest.mark.parametrize("case", [only_negative, box_on_another_plane, unknown_device, unknown_model])
def test_a_fault_of_the_prompts_is_found_before_the_model_is_loaded(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_model(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(voxsam.models.registry, "load_model", load_model)
    assert main(["segment", *case(tmp_path), "-o", str(tmp_path / "mask.nii.gz")]) == 2


def test_a_place_that_nobody_may_write_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Root may write anywhere but in the kernel's own folder."""
    assert main(["segment", str(good(tmp_path)), "-o", "/proc/mask.nii.gz", "--no-cache", *PLACE]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot write /proc/mask.nii.gz" in error


@pytest.mark.parametrize("protected", ["folder", "file"])
def test_a_missing_permission_is_found_before_any_work(
    protected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root, as whom tests may run, has every permission: the question is answered for it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("kept")
    closed = folder if protected == "folder" else folder / "file"
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK or Path(path) != closed.resolve())

    def load_volume(*_: object, **__: object) -> None:
        raise AssertionError("the scan was read")

    monkeypatch.setattr("voxsam.cli_segment.load_volume", load_volume)
    call = ["segment", str(good(tmp_path)), "-o", str(tmp_path / "m.nii.gz"), "--report", str(folder / "file"), *PLACE]
    assert main(call) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"cannot write {folder / 'file'}" in error


def test_a_full_disk_leaves_the_old_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mask.nii.gz"
    output.write_bytes(b"the mask of yesterday")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["segment", str(good(tmp_path)), "-o", str(output), "--no-cache", *PLACE]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the disk is full" in error
    assert output.read_bytes() == b"the mask of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.nii.gz", "mask.nii.gz"]


def test_a_file_that_may_not_grow_leaves_the_old_mask(tmp_path: Path) -> None:
    """A limit of the system on a file's size, as a quota sets it: the write itself fails, half-way."""
    output = tmp_path / "mask.nii"
    output.write_bytes(b"the mask of yesterday")
    scan = write(tmp_path / "scan.nii.gz", np.random.default_rng(0).integers(0, 99, (160, 160, 80)).astype(np.int16))
    script = (
        "import resource, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import fakes, voxsam.models.registry\n"
        "voxsam.models.registry.load_model = lambda *_, **__: fakes.FloodFillModel()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "from voxsam.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    call = [sys.executable, "-c", script, "segment", str(scan), "-o", str(output), "--no-cache", "-p", "80,80,40"]
    result = subprocess.run(call, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert "cannot write" in result.stderr
    assert output.read_bytes() == b"the mask of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.nii", "scan.nii.gz"]
