"""``--backend`` and ``--precision`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from phantoms import awkward_geometry, sphere
from voxsam.cli import main
from voxsam.io import load_mask


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    ball = sphere(awkward_geometry())
    nib.save(nib.Nifti1Image(ball.volume.array.T, ball.volume.geometry.affine[:, [2, 1, 0, 3]]), tmp_path / "ball.nii")
    return tmp_path / "ball.nii"


def test_the_mask_does_not_depend_on_the_backend_and_the_report_names_it(scan: Path) -> None:
    folder, ball = scan.parent, sphere(awkward_geometry())
    inside = ",".join(str(mm) for mm in ball.volume.geometry.to_world([ball.inside_zyx])[0])
    reports = {}
    for backend in ("torch", "onnxruntime"):
        call = ["segment", str(scan), "-o", str(folder / f"{backend}.nii"), "--no-cache", "--backend", backend,
                "--precision", "fp32", f"--point={inside}", "--report", str(folder / f"{backend}.json")]  # fmt: skip
        assert main([*call, "--device", "cpu"]) == 0
        reports[backend] = json.loads((folder / f"{backend}.json").read_text())
        model, command = reports[backend]["model"], reports[backend]["command"]
        assert (model["backend"], model["precision"], model["device"]) == (backend, "fp32", "cpu")
        assert (command["backend"], command["precision"]) == (backend, "fp32")
    masks = [np.asarray(load_mask(folder / f"{backend}.nii").array) > 0 for backend in reports]
    assert masks[0].any()
    assert np.count_nonzero(masks[0] != masks[1]) <= 0.005 * np.count_nonzero(masks[0])
    assert len({report["model"]["weights_sha256"] for report in reports.values()}) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--backend", "openvno"], "no backend 'openvno'; did you mean 'openvino'?"),
        (["--precision", "fp8"], "no precision 'fp8'"),
        (["--backend", "onnxruntime", "--precision", "bf16"], "take backend openvino or torch for bf16"),
    ],
)
@pytest.mark.parametrize("command", ["segment", "embed"])
def test_a_wrong_choice_is_told_on_one_line_before_the_scan_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, options: list[str], reason: str
) -> None:
    out = ["-o", str(tmp_path / "m.nii.gz"), "--point", "0,0,0"] if command == "segment" else []
    (tmp_path / "scan.nii.gz").write_bytes(b"no scan")
    assert main([command, str(tmp_path / "scan.nii.gz"), *out, *options]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
