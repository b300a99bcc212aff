"""Train one small network for each part left out of the recipe, and evaluate them all on the same scans.

``python ablate.py PACKED SCANS -o OUT --steps 300``: PACKED as ``python -m voxsam.training prepare`` writes it, SCANS
as ``voxsam evaluate --data`` takes them. What is in OUT already is not trained again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from voxsam.allocator import keep_memory
from voxsam.evaluate import Plan, Rules, evaluate, load_cases, write_reports
from voxsam.training.config import PARTS, Config, Phase
from voxsam.training.export import export_run
from voxsam.training.loop import Trainer

VARIANTS = {
    "full": {},
    "no real data": {"real_image_share": 0.0, "real_label_share": 0.0},
    "no pairs": {"pair_share": 0.0},
    **{f"no {part}": {"without": (part,)} for part in PARTS},
}


def main() -> None:
    """Train what is missing, then evaluate everything, paired."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("scans", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=96, help="side of the training images in pixels")
    parser.add_argument("--slices", type=int, default=1, help="slices of each structure to evaluate")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    base = Config(
        phases=(Phase(1.0, options.size, 12),),
        steps=options.steps,
        prompts=2,
        pair_share=0.2,
        real_image_share=0.3,
        learning_rate=1.2e-3,
        hold=0.5,
        warmup_steps=40,
        ema=0.98,
        workers=0,
        seed=7,
        data=str(options.packed),
    )
    methods = []
    for name, change in VARIANTS.items():
        folder = options.output / name.replace(" ", "-")
        weights = folder.with_suffix(".safetensors")
        if not weights.exists():
            Trainer(folder, replace(base, **change)).run()
            export_run(folder, weights)
        methods.append(f"compact@{weights}")
    plan = Plan(("slice-box", "slice-clicks"), methods, rules=Rules(slices_per_label=options.slices))
    write_reports(evaluate(load_cases(options.scans), plan), options.output)


if __name__ == "__main__":
    main()
