"""The command line, in this process, with a flood fill for a model."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from safetensors.numpy import load_file

import voxsam.cli
from fakes import FloodFillModel
from phantoms import Phantom, awkward_geometry, dice, sphere
from voxsam.cli import main
from voxsam.errors import Cancelled, ModelError
from voxsam.io import load_mask, load_volume, save_mask
from voxsam.models.base import SliceLogits
from voxsam.prompts import Point, dump_prompts
from voxsam.volume import Mask
from voxsam.windowing import PRESETS, Window, choose_window


@pytest.fixture
def flood(monkeypatch: pytest.MonkeyPatch) -> FloodFillModel:
    model = FloodFillModel()

    def load_model(name: str, **_: object) -> FloodFillModel:
        if name != "compact":
            raise ModelError(f"no model '{name}'; did you mean 'compact'?")
        return model

    monkeypatch.setattr("voxsam.models.registry.load_model", load_model)
    return model


@pytest.fixture
def ball() -> Phantom:
    return sphere(awkward_geometry())


@pytest.fixture
def scan(ball: Phantom, tmp_path: Path) -> Path:
    """The phantom as a NIfTI file, tilted and left-handed or not, as the phantom is."""
    affine = ball.volume.geometry.affine[:, [2, 1, 0, 3]]
    path = tmp_path / "ball.nii.gz"
    nib.save(nib.Nifti1Image(ball.volume.array.T, affine), path)
    return path


@pytest.fixture
def inside(ball: Phantom) -> str:
    """A click in the ball, as R,A,S."""
    ras = ball.volume.geometry.to_world([ball.inside_zyx])[0]
    return ",".join(f"{mm:.4f}" for mm in ras)


def segment(scan: Path, output: Path, *more: object) -> int:
    return main(["segment", str(scan), "-o", str(output), "--no-cache", *map(str, more)])


def test_a_click_becomes_a_mask_on_the_scans_own_grid(
    flood: FloodFillModel, ball: Phantom, scan: Path, inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mask.nii.gz"
    assert segment(scan, output, "--point", inside, "--label-name", "ball") == 0
    kept, given = nib.load(output), nib.load(scan)
    assert kept.shape == given.shape
    np.testing.assert_array_equal(kept.affine, given.affine)
    assert kept.get_data_dtype() == np.uint8
    assert dice(np.asarray(kept.dataobj).T > 0, ball.truth.array) > 0.9
    said = capsys.readouterr()
    volume_ml = said.out.removeprefix("ball: ").split(" mL in ")[0]
    assert len(volume_ml.replace(".", "")) == 3
    assert float(volume_ml) == pytest.approx(load_mask(output).volume_ml(), rel=0.005)
    assert str(output) in said.out
    assert not said.err


def test_voxels_are_counted_as_the_header_does(
    flood: FloodFillModel, ball: Phantom, scan: Path, inside: str, tmp_path: Path
) -> None:
    ijk = ",".join(str(n) for n in reversed(ball.inside_zyx))
    assert segment(scan, tmp_path / "a.nii.gz", "--point", inside) == 0
    assert segment(scan, tmp_path / "b.nii.gz", "--point", ijk, "--space", "ijk") == 0
    one, two = (load_mask(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    np.testing.assert_array_equal(one.array, two.array)


def test_a_negative_number_is_no_option(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment(scan, tmp_path / "m.nii.gz", "--point", "-9000,-20,30") == 2
    assert "outside the scan" in capsys.readouterr().err
    assert segment(scan, tmp_path / "m.nii.gz", "--box=-9000,-20,30,-8000,-10,30") == 2
    assert "outside the scan" in capsys.readouterr().err


def test_a_box_and_a_negative_click_on_one_object(
    flood: FloodFillModel, ball: Phantom, scan: Path, tmp_path: Path
) -> None:
    z = ball.inside_zyx[0]
    z_low, y_low, x_low = np.argwhere(ball.truth.array[z : z + 1]).min(axis=0).tolist()
    _, y_high, x_high = np.argwhere(ball.truth.array[z : z + 1]).max(axis=0).tolist()
    assert z_low == 0
    box = f"{x_low},{y_low},{z},{x_high},{y_high},{z}"
    assert segment(scan, tmp_path / "m.nii.gz", "--space", "ijk", "--box", box, "--negative", f"0,0,{z}") == 0
    assert dice(load_mask(tmp_path / "m.nii.gz").array > 0, ball.truth.array) > 0.9


def test_the_report_repeats_the_run(flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    assert segment(scan, tmp_path / "a.nii.gz", "--point", inside, "--report", report) == 0
    document = json.loads(report.read_text())
    assert document["schema"] == "voxsam-report/1"
    assert document["model"]["weights_sha256"] == flood.weights_sha256
    assert document["volume_ml"] > 0
    assert document["versions"]["voxsam"]
    assert document["slices"]
    assert segment(scan, tmp_path / "b.nii.gz", "--prompts", report) == 0
    np.testing.assert_array_equal(load_mask(tmp_path / "a.nii.gz").array, load_mask(tmp_path / "b.nii.gz").array)


def test_the_report_repeats_a_run_with_settings_of_its_own(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, first = tmp_path / "run.json", tmp_path / "a.nii.gz"
    look = ("--plane", "coronal", "--window", "900,150.5", "--enhance", "denoise,clahe")
    assert segment(scan, first, "--point", inside, *look, "--report", report, "--label", 3) == 0
    assert segment(scan, tmp_path / "plain.nii.gz", "--point", inside) == 0
    assert not np.array_equal(load_mask(first).array > 0, load_mask(tmp_path / "plain.nii.gz").array > 0)
    kept = json.loads(report.read_text())["command"]
    assert kept["scan"] == str(scan)
    assert (kept["plane"], kept["window"], kept["enhance"]) == ("coronal", "900,150.5", ["denoise", "clahe"])
    assert (kept["model"], kept["weights"], kept["device"]) == ("compact", None, "auto")
    assert (kept["channel"], kept["series"], kept["space"], kept["cache"]) == (None, None, "ras", None)
    assert (kept["label"], kept["label_name"]) == (3, "")

    capsys.readouterr()
    again = tmp_path / "again.json"
    assert segment(scan, tmp_path / "b.nii.gz", "--prompts", report, "--label", 3, "--report", again) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"from {report}: plane coronal, window 900,150.5, enhance denoise,clahe, model compact" in said
    np.testing.assert_array_equal(load_mask(tmp_path / "b.nii.gz").array, load_mask(first).array)
    assert json.loads(again.read_text())["settings"] == json.loads(report.read_text())["settings"]

    assert segment(scan, tmp_path / "c.nii.gz", "--prompts", report, "--plane", "auto", "--report", again) == 0
    assert "plane" not in capsys.readouterr().err
    assert json.loads(again.read_text())["settings"]["plane"] == "axial"


def test_a_typed_window_wins_over_one_that_the_report_fitted(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path
) -> None:
    report, again = tmp_path / "run.json", tmp_path / "again.json"
    fitted = ("--enhance", "local,clahe", "--report", report)
    assert segment(scan, tmp_path / "a.nii.gz", "--point", inside, *fitted) == 0
    assert segment(scan, tmp_path / "b.nii.gz", "--prompts", report) == 0
    np.testing.assert_array_equal(load_mask(tmp_path / "a.nii.gz").array, load_mask(tmp_path / "b.nii.gz").array)
    typed = ("--window", "900,150", "--report", again)
    assert segment(scan, tmp_path / "c.nii.gz", "--prompts", report, *typed) == 0
    used = json.loads(again.read_text())["settings"]
    assert (used["windows"][0]["width"], used["enhance"]) == (900, ["clahe"])


def test_a_report_of_other_weights_says_so(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "run.json"
    assert segment(scan, tmp_path / "a.nii.gz", "--point", inside, "--report", report) == 0
    flood.tolerance = 0.09
    capsys.readouterr()
    assert segment(scan, tmp_path / "b.nii.gz", "--prompts", report) == 0
    assert "other weights of compact" in capsys.readouterr().err


def test_several_enhancements_take_commas_or_repeats(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path
) -> None:
    masks = []
    for number, given in enumerate((["--enhance", "clahe, denoise"], ["--enhance", "denoise", "--enhance", "clahe"])):
        output, report = tmp_path / f"{number}.nii.gz", tmp_path / f"{number}.json"
        assert segment(scan, output, "--point", inside, *given, "--report", report) == 0
        assert json.loads(report.read_text())["settings"]["enhance"] == ["denoise", "clahe"]
        masks.append(load_mask(output).array)
    np.testing.assert_array_equal(*masks)


def test_an_overlay_is_a_picture(flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path) -> None:
    picture = tmp_path / "o.png"
    assert segment(scan, tmp_path / "m.nii.gz", "--point", inside, "--overlay", picture) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_overlay_shows_the_window_and_the_name_of_the_run(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Mask, Window]] = []

    def save_overlay(_: object, mask: Mask, __: object, *, window: Window, **___: object) -> None:
        drawn.append((mask, window))

    monkeypatch.setattr("voxsam.overlay.save_overlay", save_overlay)
    picture = ("--overlay", tmp_path / "o.png", "--label", 2)
    named = (*picture, "--label-name", "ball")
    both = tmp_path / "both.nii.gz"
    assert segment(scan, both, "--point", inside, *named, "--window", "900,150") == 0
    assert segment(scan, both, "--point", inside, *named, "--window", "multi") == 0
    assert segment(scan, both, "--into", both, "--point", inside, *picture, "--enhance", "local") == 0
    assert [mask.labels[2].name for mask, _ in drawn[:2]] == ["ball", "ball"]
    assert {mask.values for mask, _ in drawn} == {(2,)}
    assert drawn[0][1] == Window(900, 150)
    assert drawn[1][1].name in PRESETS
    assert drawn[2][1] != choose_window(load_volume(scan))[0]


def test_an_empty_mask_is_said_to_be_empty(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    decode = FloodFillModel.decode

    def nothing(*given: Any, **more: Any) -> SliceLogits:
        answer = decode(*given, **more)
        return replace(answer, logits=np.full_like(answer.logits, -8), low_res_logits=answer.low_res_logits * 0 - 8)

    monkeypatch.setattr(FloodFillModel, "decode", nothing)
    assert segment(scan, tmp_path / "m.nii.gz", "--point", inside) == 0
    said = capsys.readouterr()
    assert "object: 0 mL" in said.out
    assert said.err.count("\n") == 1
    assert "nothing was found at the prompts; add a box or another click" in said.err


def test_an_unsure_model_is_said_to_be_unsure(
    flood: FloodFillModel, ball: Phantom, scan: Path, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    decode = FloodFillModel.decode

    def unsure(*given: Any, **more: Any) -> SliceLogits:
        answer = decode(*given, **more)
        return replace(answer, scores=answer.scores * np.float32(0.2))

    monkeypatch.setattr(FloodFillModel, "decode", unsure)
    assert segment(scan, tmp_path / "m.nii.gz", "--point", inside) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"the model is unsure (its own estimate is 0.19 of 1 on axial slice {ball.inside_zyx[0]})" in said


def test_objects_gather_in_one_file(flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path) -> None:
    both = tmp_path / "both.seg.nrrd"
    assert segment(scan, both, "--point", inside, "--label", 2, "--label-name", "ball") == 0
    assert segment(scan, tmp_path / "air.nii.gz", "--point", "1,1,1", "--space", "ijk") == 0
    assert segment(scan, both, "--into", both, "--mask-prompt", tmp_path / "air.nii.gz",
                   "--label", 5, "--label-name", "ground") == 0  # fmt: skip
    mask = load_mask(both)
    assert set(mask.values) == {2, 5}
    assert {value: label.name for value, label in mask.labels.items()} == {2: "ball", 5: "ground"}
    assert segment(scan, both, "--into", both, "--point", inside, "--label", 2) == 0
    assert load_mask(both).labels[2].name == "ball"  # a name stays unless another is given


def test_embedding_ahead_saves_encoding_later(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    assert main(["embed", str(scan), "--cache", str(cache)]) == 0
    assert "20 axial slices, 20 of them new" in capsys.readouterr().out
    assert main(["embed", str(scan), "--cache", str(cache)]) == 0
    assert "20 axial slices, 0 of them new" in capsys.readouterr().out


def test_embedding_with_several_workers_makes_the_same_cache(
    flood: FloodFillModel, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for workers in ("1", "3"):
        assert main(["embed", str(scan), "--cache", str(tmp_path / workers), "--workers", workers]) == 0
        assert "20 axial slices, 20 of them new" in capsys.readouterr().out
    one, three = (
        {path.name: load_file(path) for path in (tmp_path / workers).glob("*/*.safetensors")} for workers in "13"
    )
    assert len(one) == 20
    assert one.keys() == three.keys()
    assert all(np.array_equal(one[name]["grey"], three[name]["grey"]) for name in one)


def test_info_says_where_a_prompt_may_lie(ball: Phantom, scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(scan)]) == 0
    said = capsys.readouterr().out
    grid = load_volume(scan).geometry
    for word in ("40 x 48 x 20 (i, j, k)", "1.4 x 0.9 x 4 mm", "tilted by", "RAS bounds", "--point", "fingerprint"):
        assert word in said
    assert load_volume(scan).fingerprint in said.replace("\n", "").replace(" ", "")
    point = said.split("--point")[1].split()[0]
    assert grid.contains(grid.to_voxel([[float(mm) for mm in point.split(",")]])).all()


def test_the_command_to_try_can_be_copied(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a folder [of mine] with a name that is longer than any terminal is wide, or almost any"
    folder.mkdir()
    copy = folder / "it's a scan.nii.gz"
    copy.write_bytes(scan.read_bytes())
    assert main(["info", str(copy)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("try"))
    assert shlex.split(line)[1:4] == ["voxsam", "segment", str(copy)]


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "sam-vit-b" in capsys.readouterr().out
    assert main(["models", "--verbose"]) == 0
    said = capsys.readouterr().out
    assert "Apache-2.0" in said
    assert "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth\n" in said  # whole, on a line


def test_samples_are_listed_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample"]) == 0
    said = capsys.readouterr().out
    assert "ct-abdomen" in said
    assert "slicer-ct-liver" in said
    assert main(["sample", "mr-head", "-o", str(tmp_path)]) == 0
    assert "3 lesion" in capsys.readouterr().out
    assert (tmp_path / "mr_head_truth.nii.gz").is_file()


@pytest.mark.offline
def test_a_download_offline_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "slicer-ct-chest", "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "offline" in error


@pytest.mark.parametrize("command", ["", "segment", "info", "embed", "models", "sample", "evaluate"])
def test_every_command_has_a_help_worth_reading(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*filter(None, [command]), "--help"]) == 0
    assert len(capsys.readouterr().out) > 300


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("voxsam 0.")


def test_an_unknown_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "x", "--pint", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--pint" in error


def test_a_cancel_is_quiet_and_leaves_nothing(
    flood: FloodFillModel, scan: Path, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = set(tmp_path.iterdir())
    for stop in (KeyboardInterrupt, Cancelled):

        def decode(*_: object, stop: type[BaseException] = stop, **__: object) -> None:
            raise stop

        monkeypatch.setattr(FloodFillModel, "decode", decode)
        assert segment(scan, tmp_path / "m.nii.gz", "--point", inside) == 130
        assert "rror" not in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_an_internal_fault_is_one_line_and_exit_1(tmp_path: Path) -> None:
    script = (
        "import sys, voxsam.cli, voxsam.cli_info\n"
        "def broken(*_, **__): raise ZeroDivisionError('two\\nlines')\n"
        "voxsam.cli_info.load_volume = broken\n"
        "sys.exit(voxsam.cli.main(sys.argv[1:]))\n"
    )
    plain = subprocess.run([sys.executable, "-c", script, "info", "x"], capture_output=True, text=True, check=False)
    assert plain.returncode == 1
    assert plain.stderr.count("\n") == 1
    assert "internal error: ZeroDivisionError: two lines at" in plain.stderr
    full = subprocess.run(
        [sys.executable, "-c", script, "info", "x", "--debug"], capture_output=True, text=True, check=False
    )
    assert full.returncode == 1
    assert "Traceback" in full.stderr


def test_debug_shows_where_an_error_arose(tmp_path: Path) -> None:
    with pytest.raises(voxsam.cli.VoxsamError, match="nothing_here"):
        main(["info", str(tmp_path / "nothing_here.nii"), "--debug"])


def test_progress_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxsam.cli_progress import progress

    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress("Counting sheep") as on_progress:
        on_progress(1, 2)
    assert "Counting sheep" in screen.getvalue()
    quiet = io.StringIO()
    monkeypatch.setattr(sys, "stderr", quiet)
    with progress("Counting sheep") as on_progress:
        on_progress(1, 2)
    assert not quiet.getvalue()


def test_prompts_of_a_resampled_copy_need_a_word(
    flood: FloodFillModel, ball: Phantom, scan: Path, inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = load_volume(scan)
    clicks = tmp_path / "clicks.json"
    clicks.write_text(json.dumps(dump_prompts([Point(ball.inside_zyx)], original)))
    copy = tmp_path / "copy.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.load(scan).dataobj) + 1, nib.load(scan).affine), copy)
    assert segment(copy, tmp_path / "m.nii.gz", "--prompts", clicks) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert segment(copy, tmp_path / "m.nii.gz", "--prompts", clicks, "--any-scan") == 0
    assert (tmp_path / "m.nii.gz").is_file()


def test_a_mask_prompt_may_come_from_any_format(
    flood: FloodFillModel, ball: Phantom, scan: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.nrrd"
    save_mask(ball.truth, drawn, like=load_volume(scan))
    assert segment(scan, tmp_path / "m.nii.gz", "--mask-prompt", drawn) == 0
    assert dice(load_mask(tmp_path / "m.nii.gz").array > 0, ball.truth.array) > 0.9


def test_a_mask_prompt_may_be_one_of_several_labels(
    flood: FloodFillModel, ball: Phantom, scan: Path, tmp_path: Path
) -> None:
    labels = np.where(ball.truth.array, 4, 0).astype(np.uint8)
    labels[0, 0, :3] = 1
    drawn = tmp_path / "organs.nii.gz"
    save_mask(Mask(labels, ball.truth.geometry), drawn, like=load_volume(scan))
    assert segment(scan, tmp_path / "m.nii.gz", "--mask-prompt", f"{drawn}:4") == 0
    assert dice(load_mask(tmp_path / "m.nii.gz").array > 0, ball.truth.array) > 0.9
    assert segment(scan, drawn, "--mask-prompt", f"{drawn}:4") == 2
