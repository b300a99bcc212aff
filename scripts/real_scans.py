"""Segment organs and lesions of real scans with `voxsam segment`; print a table, write overlays.

Three ways of asking, as a person might: one click in the largest slice; a box around the organ; the box and two
corrective clicks, each in the middle of the largest error. Run with VOXSAM_DATA set:
``python scripts/real_scans.py docs/images``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import voxsam
from voxsam.evaluate.clicks import challenge_click, first_click
from voxsam.evaluate.metrics import dice

#: Case of the manifest, label, what it is, the window, and whether its licence lets the picture be shown.
TARGETS = (
    ("case11", 6, "CT, liver (BTCV, manual)", "auto", False),
    ("case11", 3, "CT, left kidney (BTCV, manual)", "auto", False),
    ("case11", 1, "CT, spleen (BTCV, manual)", "auto", False),
    ("STS_002_CT", 1, "CT, sarcoma (IBSI, manual)", "soft tissue", True),
    ("STS_002_MR_T1", 1, "MR T1, sarcoma (IBSI, manual)", "auto", True),
    ("STS_008_MR_T1", 1, "MR T1, sarcoma (IBSI, manual)", "auto", True),
    ("case01", 1, "MR T2, liver (CHAOS, manual)", "auto", False),
    ("case01", 2, "MR T2, right kidney (CHAOS, manual)", "auto", False),
    ("t2_t2__t2_seg-manual", 1, "MR T2, spinal cord (SCT, manual)", "auto", True),
    ("example_mr_sm", 1, "MR, spleen (TotalSegmentator's answer)", "auto", True),
)


def ras(volume: voxsam.Volume, *voxels: np.ndarray) -> str:
    """Write voxel positions (z, y, x) as the command line takes them."""
    return ",".join(f"{x:.4f}" for x in volume.geometry.to_world(np.array(voxels, float)).ravel())


def run(scan: Path, prompts: list[str], out: Path, window: str) -> tuple[np.ndarray, float]:
    """Run the command; return its mask and how long the whole of it took in seconds."""
    command = [sys.executable, "-m", "voxsam.cli", "segment", str(scan), "-o", str(out), *prompts, "--window", window]
    started = time.perf_counter()  # of the whole command, start of the program and reading included
    command += ["--no-cache", "--overlay", str(picture_of(out))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    seconds = time.perf_counter() - started
    return voxsam.load_mask(out).array > 0, seconds


def picture_of(mask: Path) -> Path:
    """Say where the overlay of a mask lies."""
    return mask.with_name(mask.name.replace(".nii.gz", ".png"))


def click_in_the_middle(truth: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Click the deepest voxel of the largest slice."""
    z = int(truth.sum(axis=(1, 2)).argmax())
    return np.array([z, *first_click(truth[z], spacing_mm[1:]).position])


def main(pictures: Path) -> None:
    """Segment every target in each way; print the table."""
    data = Path(os.environ["VOXSAM_DATA"])
    cases = {entry["case"]: entry for entry in json.loads((data / "manifest.json").read_text())["eval"]}
    print("| scan | one click | box | box + 2 clicks | seconds |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case, label, title, window, shown in TARGETS:
            scan = data / cases[case]["image"]
            volume = voxsam.load_volume(scan)
            truth = voxsam.load_mask(data / cases[case]["mask"]).array == label
            low, high = np.argwhere(truth).min(axis=0), np.argwhere(truth).max(axis=0)
            click = click_in_the_middle(truth, volume.geometry.spacing_mm)
            ways = [["--point", ras(volume, click)], ["--box", ras(volume, low, high)]]
            scores, seconds = [], []
            for _ in range(4):
                out = Path(folder) / f"{case}-{label}-{len(scores)}.nii.gz"
                found, spent = run(scan, ways[min(len(scores), len(ways) - 1)], out, window)
                scores.append(dice(truth, found))
                seconds.append(spent)
                if len(scores) >= 2 and (correction := challenge_click(truth, found)) is not None:
                    flag = "--point" if correction.positive else "--negative"
                    ways.append([*ways[-1], flag, ras(volume, np.array(correction.position))])
            print(f"| {title} | {scores[0]:.2f} | {scores[1]:.2f} | {scores[3]:.2f} | {seconds[-1]:.1f} |", flush=True)
            if shown:
                name = f"real-{case.lower().replace('_', '-')}-{label}.png"
                (pictures / name).write_bytes(picture_of(out).read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
