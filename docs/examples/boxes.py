"""Show how the embedded model takes boxes, drawn tight and loose: a table of mean Dice over labels.

``python boxes.py SCANS``: SCANS as ``voxsam evaluate --data`` takes them; one slice of each structure. Each box is
given twice, as one drawn on the slice and as one drawn through the slices.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from voxsam.allocator import keep_memory
from voxsam.evaluate import Case, Rules, load_cases
from voxsam.evaluate.asked import Asked
from voxsam.evaluate.baselines import filled_ellipse
from voxsam.evaluate.clicks import SimulatedBox, challenge_box, jittered_box, tight_box
from voxsam.evaluate.metrics import dice
from voxsam.evaluate.protocols import slices_of
from voxsam.evaluate.reports import markdown_table
from voxsam.evaluate.run import labels_of
from voxsam.evaluate.targets import SliceTarget, seed_of
from voxsam.local import open_session
from voxsam.models.base import PromptableModel
from voxsam.models.registry import load_model
from voxsam.prompts import Box

ELLIPSE, ON, THROUGH = "ellipse", "drawn on the slice", "drawn through the slices"


def boxes_of(target: SliceTarget, seed: int) -> dict[str, SimulatedBox]:
    """Draw the boxes of one structure: tight, as a hand does, and too large on every side."""
    box, shape = tight_box(target.truth), target.truth.shape
    challenge = challenge_box(target.truth[None], np.random.RandomState(seed % 2**32))
    sides = [high - low + 1 for low, high in zip(box.low, box.high, strict=True)]
    return {
        "tight": box,
        "off by a tenth": jittered_box(target.truth, np.random.default_rng(seed), fraction=0.1),
        "up to 5 px of 256 out": SimulatedBox(challenge.low[1:], challenge.high[1:]),
        "1/8 out": _grown(box, [round(side / 8) for side in sides], shape),
        "1/4 out": _grown(box, [round(side / 4) for side in sides], shape),
    }


def _grown(box: SimulatedBox, by: list[int], shape: tuple[int, ...]) -> SimulatedBox:
    low = tuple(max(0, start - step) for start, step in zip(box.low, by, strict=True))
    high = tuple(min(size - 1, stop + step) for stop, step, size in zip(box.high, by, shape, strict=True))
    return SimulatedBox(low, high)


def given(target: SliceTarget, box: SimulatedBox) -> dict[str, Box]:
    """Give a box as one on the slice, and as one through the slices beside it."""
    low, high = (np.array(target.place.to_zyx(corner)) for corner in (box.low, box.high))
    normal = target.place.axes.normal
    beside = np.eye(3, dtype=int)[normal]
    last = target.place.geometry.shape[normal] - 1
    through = (low - beside).clip(0), np.minimum(high + beside, high + (last - high) * beside)
    return {name: Box(tuple(a), tuple(b)) for name, (a, b) in {ON: (low, high), THROUGH: through}.items()}


def scores_of(case: Case, model: PromptableModel, rules: Rules) -> Iterator[tuple[str, str, str, float]]:
    """Yield (label, box, way, Dice) for the structures of a case."""
    volume, mask = case.read()
    plane = mask.geometry.native_plane
    session = open_session(volume, model=model, plane=plane)
    for label, name in labels_of(case, mask).items():
        if case.made_by_model(name):
            continue
        for target in slices_of(case, mask, label, plane=plane, rules=rules):
            seed = seed_of(rules.seed, case.dataset, case.name, label)
            for kind, box in boxes_of(target, seed).items():
                found = filled_ellipse(Asked(np.zeros(target.truth.shape, np.float32), (1.0, 1.0), box=box))
                yield f"{case.dataset} {name}", kind, ELLIPSE, dice(target.truth, found)
                for way, prompt in given(target, box).items():
                    asked = session.add_object(way)
                    session.add_prompt(asked, prompt)
                    answer = session.preview(asked, plane=plane, index=target.place.index)
                    session.remove_object(asked)
                    yield f"{case.dataset} {name}", kind, way, dice(target.truth, np.asarray(answer.mask, bool))
    session.close()


def main() -> None:
    """Ask every box both ways, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    model = load_model("compact", weights=options.weights, device="cpu", precision="fp32")
    scores: dict[tuple[str, str], dict[str, list[float]]] = {}
    for case in load_cases(options.scans):
        for label, kind, way, score in scores_of(case, model, Rules(slices_per_label=1)):
            scores.setdefault((way, kind), {}).setdefault(label, []).append(score)
    kinds = list(dict.fromkeys(kind for _, kind in scores))
    rows = [
        [way, *(f"{mean(map(mean, scores[way, kind].values())):.3f}" for kind in kinds)]
        for way in (ELLIPSE, ON, THROUGH)
    ]
    sys.stdout.write(markdown_table(["", *kinds], rows) + "\n")


if __name__ == "__main__":
    main()
