"""Measure segmentation by simulated clicks and boxes against a truth, for any session and for model-free baselines.

===================== ==========================================================================================
module                 what it holds
===================== ==========================================================================================
`cases`                images with labels: a manifest, a folder of pairs, a MONAI datalist
`targets`, `groups`    slices to ask for; what a label is, and how large
`propagation`          the seed slice of a structure, its ends, and how far a mask is carried
`clicks`               the simulated user
`protocols`            slice-clicks, slice-box, seed-and-propagate, cvpr25
`segmenters`           models and baselines behind the verbs of a session
`asked`                what a baseline is given: a picture and the marks on it
`baselines`, `seeded`  flood fill, random walker, GrowCut, graph cut, Chan-Vese, filled boxes, interpolation
`extras`               optional packages, imported where used
`metrics`              Dice, surface Dice, clicks needed, area under the clicks
`run`                  cases over processes
`summary`              means over labels with intervals over patients; paired differences
`scores`, `pictures`   one line, and one picture, for each answer
`reports`, `gallery`   JSON, CSV, Markdown; HTML with the worst answers first
===================== ==========================================================================================
"""

from voxsam.evaluate.cases import Case, load_cases
from voxsam.evaluate.metrics import dice, surface_dice
from voxsam.evaluate.protocols import PROTOCOLS, Rules
from voxsam.evaluate.reports import write_reports
from voxsam.evaluate.run import Evaluation, Plan, evaluate
from voxsam.evaluate.segmenters import Method, method_named
from voxsam.evaluate.summary import Summary, summarise

__all__ = [
    "PROTOCOLS",
    "Case",
    "Evaluation",
    "Method",
    "Plan",
    "Rules",
    "Summary",
    "dice",
    "evaluate",
    "load_cases",
    "method_named",
    "summarise",
    "surface_dice",
    "write_reports",
]
