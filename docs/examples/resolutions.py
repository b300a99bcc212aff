"""Evaluate the embedded model on the same scans with views of other sizes than the 256 pixels it was made for.

``python resolutions.py SCANS -o OUT --sizes 192 256 320``: SCANS as ``voxsam evaluate --data`` takes them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from voxsam.allocator import keep_memory
from voxsam.evaluate import Method, Plan, Rules, evaluate, load_cases, write_reports
from voxsam.models.compact import CompactModel
from voxsam.models.registry import load_model


def main() -> None:
    """Evaluate every size, paired."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[192, 256, 320])
    parser.add_argument("--slices", type=int, default=1, help="slices of each structure to evaluate")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    shipped = load_model("compact", device="cpu", precision="fp32")
    if not isinstance(shipped, CompactModel):
        raise SystemExit("compact is not the model that this example was written for")
    methods = []
    for size in options.sizes:
        card = replace(shipped.card, preprocessing=replace(shipped.card.preprocessing, input_size=size))
        methods.append(Method(f"compact-{size}", f"{size} pixels", model=CompactModel(card, shipped.network)))
    plan = Plan(("slice-box", "slice-clicks"), methods, rules=Rules(slices_per_label=options.slices))
    write_reports(evaluate(load_cases(options.scans), plan), options.output)


if __name__ == "__main__":
    main()
