"""Segment organs and lesions of real scans with `voxsam segment`; print a table, write overlays.

Ways of asking, as a person might: one click in the largest slice; a tight box on that slice; that box and two
corrective clicks, each in the middle of the largest error in 3D; a box through all slices. With VOXSAM_DATA set:
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
from PIL import Image

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


def main(pictures: Path) -> None:
    """Segment every target in each way; print the table."""
    data = Path(os.environ["VOXSAM_DATA"])
    cases = {entry["case"]: entry for entry in json.loads((data / "manifest.json").read_text())["eval"]}
    print("| scan | one click | box on a slice | box on a slice + 2 clicks | box through all slices | seconds |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case, label, title, window, shown in TARGETS:
            scan = data / cases[case]["image"]
            volume = voxsam.load_volume(scan)
            truth = voxsam.load_mask(data / cases[case]["mask"]).array == label
            ways = first_ways(volume, truth)
            scores, seconds = [], []
            while len(scores) < len(ways):
                out = Path(folder) / f"{case}-{label}-{len(scores)}.nii.gz"
                found, spent = run(scan, ways[len(scores)], out, window)
                scores.append(dice(truth, found))
                seconds.append(spent)
                if 3 <= len(scores) <= 4 and (correction := challenge_click(truth, found)) is not None:
                    flag = "--point" if correction.positive else "--negative"
                    ways.append([*ways[-1], flag, ras(volume, np.array(correction.position))])
            dices = " | ".join(f"{score:.2f}" for score in (scores[0], scores[2], scores[-1], scores[1]))
            print(f"| {title} | {dices} | {np.median(seconds):.1f} |", flush=True)
            if shown:
                name = f"real-{case.lower().replace('_', '-')}.jpg"
                Image.open(picture_of(out)).convert("RGB").save(pictures / name, quality=85)


def first_ways(volume: voxsam.Volume, truth: np.ndarray) -> list[list[str]]:
    """Ask by one click, by a box through all slices, by a box on the largest slice."""
    z = int(truth.sum(axis=(1, 2)).argmax())
    click = np.array([z, *first_click(truth[z], volume.geometry.spacing_mm[1:]).position])
    inside, flat = np.argwhere(truth), np.argwhere(truth[z : z + 1]) + np.array([z, 0, 0])
    boxes = [["--box", ras(volume, voxels.min(axis=0), voxels.max(axis=0))] for voxels in (inside, flat)]
    return [["--point", ras(volume, click)], *boxes]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
