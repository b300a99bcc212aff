"""What must hold for the repository as a whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 420
BINARY = {".gz", ".safetensors", ".png", ".jpg", ".nrrd", ".dcm", ".nii"}


def tracked(*patterns: str) -> list[Path]:
    """Files that git holds, or would; all below the root where there is no git (an unpacked source archive)."""
    found = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],  # noqa: S607
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = found.stdout.split("\0") if found.returncode == 0 else []
    return sorted(ROOT / name for name in names if name and (ROOT / name).is_file())


def run_python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout


def test_the_nouns_and_io_work_without_torch() -> None:
    """A machine without torch can open a scan, prompt it on paper, and save a mask."""
    script = """
import sys
sys.modules["torch"] = None  # importing it now fails
import numpy as np, tempfile, pathlib
import voxsam, voxsam.io, voxsam.windowing, voxsam.samples
path, truth = voxsam.samples.get_sample("mr-head", tempfile.mkdtemp())
scan, mask = voxsam.load_volume(path), voxsam.load_mask(truth)
voxsam.save_mask(mask, pathlib.Path(path).with_name("copy.nii.gz"), like=scan)
print(voxsam.windowing.choose_window(scan)[0].width > 0)
"""
    assert run_python(script).strip() == "True"


SOURCES = [path for path in tracked("*.py") if "tests" not in path.relative_to(ROOT).parts]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_stays_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_no_file_names_a_folder_of_someones_machine() -> None:
    private = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|mnt|work|farm)/")
    text = [path for path in tracked() if path.suffix not in BINARY]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if private.search(line)
    ]
    assert not found


def test_nothing_forbidden_is_in_the_sources() -> None:
    smells = re.compile(r"except Exception|except:|^\s*print\(|NotImplementedError|\b(TODO|FIXME|XXX)\b", re.MULTILINE)
    found = [path.name for path in tracked("src/*.py") if smells.search(path.read_text(encoding="utf-8"))]
    assert not found
    assert not [path.name for path in tracked("src/*.py") if path.stem in {"utils", "util", "helpers", "common"}]


def test_no_file_is_too_large_to_clone() -> None:
    assert not [path.name for path in tracked() if path.stat().st_size > 14 * 2**20]


def test_every_decision_has_the_same_parts() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "Status: " in text
        for part in ("Context", "Decision", "Turned down", "Consequences"):
            assert f"\n## {part}\n" in text, page.name


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in tracked("*.md")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_scripts_are_well_formed() -> None:
    scripts = [*tracked("scripts/*.sh"), ROOT / ".ci" / "run"]
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)  # noqa: S607
        assert "set -euo pipefail" in script.read_text(encoding="utf-8")
        assert os.access(script, os.X_OK)
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def blocks_of(language: str, page: Path) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readmes_python_runs(tmp_path: Path, sample_dir: Path) -> None:
    blocks = blocks_of("python", ROOT / "README.md")
    assert blocks
    (tmp_path / "ct_abdomen.nii.gz").symlink_to(sample_dir / "ct_abdomen.nii.gz")
    for block in blocks:
        result = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "liver.nii.gz").is_file()


def test_the_readmes_commands_exist() -> None:
    from typer.main import get_command

    from voxsam.cli import app

    command = get_command(app)
    known = {name: {o for p in sub.params for o in p.opts} for name, sub in command.commands.items()}
    text = "".join(blocks_of("sh", ROOT / "README.md")).replace("\\\n", " ")
    calls = re.findall(r"^voxsam (\w+)([^\n]*)$", text, re.MULTILINE)
    assert calls
    for name, rest in calls:
        assert name in known
        assert set(re.findall(r"(?<= )--?[a-z][\w-]*", rest)) <= known[name]


def test_the_comparison_with_a_truth_runs(sample_dir: Path) -> None:
    truth = str(sample_dir / "mr_head_truth.nii.gz")
    call = [sys.executable, str(ROOT / "docs" / "examples" / "compare_with_truth.py"), truth, truth, "3"]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert "truth 28.1 mL" in said
