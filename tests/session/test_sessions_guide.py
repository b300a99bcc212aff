"""The examples of docs/sessions.md run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "sessions.md"


def test_the_guides_examples_run_one_after_the_other(tmp_path: Path, sample_dir: Path) -> None:
    (tmp_path / "ct_abdomen.nii.gz").symlink_to(sample_dir / "ct_abdomen.nii.gz")
    script = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
    environment = {**os.environ, "VOXSAM_SESSIONS": str(tmp_path / "sessions")}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(r"[\d.]+ mL\n\(\)\n", run.stdout)
    assert (tmp_path / "work.json").is_file()
    assert (tmp_path / "organs.seg.nrrd").is_file()
    assert len(list((tmp_path / "sessions").iterdir())) == 1
