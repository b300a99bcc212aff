"""``voxsam evaluate``: one table, four files, one line for a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxsam.cli import main

ONLY_BASELINES = ["--method", "flood", "--method", "filled-ellipse", "--slices", "1"]


def test_the_command_prints_the_table_and_writes_the_reports(
    cases_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--data", str(cases_dir), "-o", str(tmp_path / "out"), *ONLY_BASELINES]) == 0
    said = capsys.readouterr().out
    assert "| Dice | box | 1 click | 3 clicks | 5 clicks |" in said
    assert "| filled-ellipse | 0." in said
    assert "Means over 3 labels" in said
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "evaluation.json", "evaluation.md", "evaluation.html", "scores.csv"
    }  # fmt: skip


def test_a_protocol_in_3d_prints_its_own_table(
    cases_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--protocol", "seed-and-propagate", "--method", "copy", "--method", "interpolate-3", "--limit", "2"]
    assert main(["evaluate", "--data", str(cases_dir), "-o", str(tmp_path), *arguments]) == 0
    assert "true slice: carried mm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "flod"], "did you mean 'flood'"),
        (["--protocol", "slices"], "no protocol 'slices'"),
        (["--method", "compact@nowhere.safetensors"], "nowhere.safetensors"),
        (["--only", "unicorn", *ONLY_BASELINES], "holds any of unicorn"),
        (["--window", "livr", *ONLY_BASELINES], "did you mean 'liver'"),
        (["--plane", "diagonal", *ONLY_BASELINES], "diagonal"),
        (["--backend", "openvno", *ONLY_BASELINES], "did you mean 'openvino'"),
        (["--precision", "fp23", *ONLY_BASELINES], "did you mean 'fp32'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    cases_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["evaluate", "--data", str(cases_dir), "-o", str(tmp_path), *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert "\n" not in said


def test_a_missing_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(tmp_path / "no"), "-o", str(tmp_path), *ONLY_BASELINES]) == 2
    assert "no evaluation data at" in capsys.readouterr().err
