"""``voxsam evaluate``: simulated clicks and boxes against a truth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console

from voxsam.cli_options import BackendOption, PrecisionOption
from voxsam.cli_progress import progress

if TYPE_CHECKING:
    from voxsam.evaluate.scores import Score

__all__ = ["evaluate_command"]

_DEFAULT_METHODS = ("compact", "flood", "random-walker", "filled-box", "filled-ellipse")
_DEFAULT_PROTOCOLS = ("slice-box", "slice-clicks")


def evaluate_command(
    data: Annotated[
        Path,
        typer.Option(
            help="Images with labels: a folder of pairs (imagesTr/ and labelsTr/, or X_img.nii.gz and X_seg.nii.gz), "
            "a folder with manifest.json or dataset.json, or a MONAI datalist.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for evaluation.html, .md, .json and scores.csv.")
    ],
    protocol: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads annotations at run time
        typer.Option(
            help="slice-box, slice-clicks, seed-and-propagate or cvpr25; give it again for several. "
            f"Without: {' and '.join(_DEFAULT_PROTOCOLS)}."
        ),
    ] = None,
    method: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="A model (compact, or compact@WEIGHTS.safetensors) or a baseline (flood, random-walker, grow-cut, "
            "graph-cut, chan-vese, confidence, filled-box, filled-ellipse, copy, interpolate-3, interpolate-5); give "
            f"it again for several, the first is compared with the others. Without: {', '.join(_DEFAULT_METHODS)}."
        ),
    ] = None,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Only cases and labels whose name holds this word, such as liver; may be given again."),
    ] = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="At most so many cases, evenly spread.")] = None,  # noqa: UP045
    slices: Annotated[int, typer.Option(min=0, help="Slices drawn for each label of a case; 0 for all.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes, one thread each; answers do not change.")] = 1,
    seed: Annotated[int, typer.Option(help="Draws slices, jitters boxes; the same seed gives the same numbers.")] = 0,
    window: Annotated[str, typer.Option(help="auto, a preset, or WIDTH,LEVEL.")] = "auto",
    plane: Annotated[str, typer.Option(help="auto (as the scan was taken), axial, coronal or sagittal.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
) -> None:
    """Measure how well prompts are answered, against labels that you have.

    A simulated user clicks where a structure is deepest, then where the largest error is deepest, or draws a box.
    Models and model-free baselines get the same slices, boxes and rules in the same run. The tables are means over
    labels with 95 % intervals; evaluation.html shows the worst answers first.
    """
    from voxsam.evaluate import Plan, Rules, evaluate, load_cases, summarise, write_reports
    from voxsam.evaluate.reports import scope_table, slice_table

    plan = Plan(
        tuple(protocol or _DEFAULT_PROTOCOLS),
        tuple(method or _DEFAULT_METHODS),
        rules=Rules(slices_per_label=slices, seed=seed),
        window=window,
        plane=plane,
        device=device,
        backend=backend,
        precision=precision,
        only=tuple(only or ()),
        limit=limit,
    )
    cases = load_cases(data)
    with progress("Evaluating cases") as on_progress:
        evaluation = evaluate(cases, plan, workers=workers, on_progress=on_progress)
    files = write_reports(evaluation, output)
    summary = summarise(evaluation.scores, seed=seed)
    names = tuple(dict.fromkeys(score.method for score in evaluation.scores))
    table = slice_table(summary, names) or "\n\n".join(
        f"{name}\n{scope_table(summary, name, 'all', names)}" for name in plan.protocols
    )
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(table)
    console.print(f"\nMeans over {_count(evaluation.scores)} labels; written in {evaluation.seconds:.0f} s:")
    for file in files:
        console.print(f"  {file}")


def _count(scores: Iterable[Score]) -> int:
    return len({(score.dataset, score.label_name) for score in scores if score.counted})
