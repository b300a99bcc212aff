"""Draw what a run reached, from the logs of its parts: ``python training_curve.py LOG.jsonl ... -o OUT.png``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

SHOWN = {
    "r1.click": "one click",
    "r1.box": "a box",
    "r3.one": "after two corrections",
    "r1.memory": "slice memory alone",
}
SMOOTH = 15


def main() -> None:
    """Read the logs, smooth what was reached, draw it over the images seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    lines = [json.loads(line) for log in options.logs for line in log.read_text().splitlines()]
    lines.sort(key=lambda line: line["images"])
    figure, (reached, rate) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1), layout="tight")
    for name, title in SHOWN.items():
        points = np.array([(line["images"] / 1000, line[name]) for line in lines if name in line])
        if len(points) >= SMOOTH:
            kernel = np.ones(SMOOTH) / SMOOTH
            reached.plot(points[SMOOTH - 1 :, 0], np.convolve(points[:, 1], kernel, "valid"), label=title)
    reached.set_ylabel("IoU on training images")
    reached.legend(frameon=False, ncols=2, loc="lower center")
    reached.set_ylim(bottom=0.25)
    rate.plot([line["images"] / 1000 for line in lines], [line["rate"] for line in lines], color="0.4")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("thousand images seen")
    figure.savefig(options.output, dpi=110, metadata={"Software": ""})


if __name__ == "__main__":
    main()
