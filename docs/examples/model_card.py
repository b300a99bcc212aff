"""Make what the model card shows of single structures: a table by label, and a sheet of the worst answers.

``python model_card.py SCANS -o OUT --show DATASET ...``: SCANS as ``voxsam evaluate --data`` takes them. Writes
``by-label.md``, with 95 % intervals where a label has more than one patient, and ``failures.png``: of each label of the
data sets that may be shown, the slice that came out worst.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from voxsam.allocator import keep_memory
from voxsam.evaluate import Plan, evaluate, load_cases, summarise
from voxsam.evaluate.pictures import Picture
from voxsam.evaluate.reports import SLICE_COLUMNS, label_cell, markdown_table
from voxsam.evaluate.summary import Estimate, Summary

COLUMNS, SIDE, CAPTION = 4, 240, 36


def main() -> None:
    """Evaluate the embedded model on slices, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--show", nargs="+", default=[], help="data sets whose licence lets them be shown")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    plan = Plan(("slice-box", "slice-clicks"), ["compact"], pictures=1000)
    evaluation = evaluate(load_cases(options.scans), plan)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "by-label.md").write_text(label_table(summarise([s for s in evaluation.scores if s.counted])))
    shown = [p for p in evaluation.pictures if p.score.dataset in options.show and p.score.counted]
    if shown:
        sheet(worst_of_each_label(shown)).save(options.output / "failures.png", optimize=True)


def label_table(summary: Summary) -> str:
    """Return a Markdown table: data set, label, and Dice after a box and after clicks."""
    rows = [
        [dataset, label, *(label_cell(_found(summary, of, dataset, label, column)) for _, of, column in SLICE_COLUMNS)]
        for protocol, dataset, label in summary.by_label
        if protocol == "slice-box"
    ]
    return markdown_table(["data set", "label", *(title for title, _, _ in SLICE_COLUMNS)], rows) + "\n"


def _found(summary: Summary, protocol: str, dataset: str, label: str, column: str) -> Estimate | None:
    return summary.by_label.get((protocol, dataset, label), {}).get("compact", {}).get(column)


def worst_of_each_label(pictures: list[Picture]) -> list[Picture]:
    """Return one picture a label, the worst first."""
    worst: dict[tuple[str, str], Picture] = {}
    for picture in sorted(pictures, key=lambda each: each.score.dice):
        worst.setdefault((picture.score.dataset, picture.score.label_name), picture)
    return list(worst.values())[: 3 * COLUMNS]


def sheet(pictures: list[Picture]) -> Image.Image:
    """Lay pictures out in rows, each with what it is of and its Dice."""
    rows = -(-len(pictures) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * SIDE, rows * (SIDE + CAPTION)), (16, 21, 27))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for number, picture in enumerate(pictures):
        left, top = number % COLUMNS * SIDE, number // COLUMNS * (SIDE + CAPTION)
        drawn = Image.open(io.BytesIO(picture.png)).convert("RGB")
        drawn.thumbnail((SIDE - 8, SIDE - 8))
        page.paste(drawn, (left + (SIDE - drawn.width) // 2, top + (SIDE - drawn.height) // 2))
        score = picture.score
        asked = score.step if score.step != "box" else "a box"
        draw.text((left + 6, top + SIDE), f"{score.label_name}\n{asked}: Dice {score.dice:.2f}", "white", font)
    return page


if __name__ == "__main__":
    main()
