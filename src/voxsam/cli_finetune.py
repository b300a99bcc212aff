"""``voxsam finetune``: teach the embedded model structures of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from voxsam.cli_progress import note, progress

if TYPE_CHECKING:
    from voxsam.training.finetune import Finetuned

__all__ = ["finetune_command"]


def finetune_command(
    data: Annotated[
        Path,
        typer.Option(
            help="Scans with label maps: a folder of pairs (imagesTr/ and labelsTr/, or X_img.nii.gz and "
            "X_seg.nii.gz), a folder with manifest.json or dataset.json, or a MONAI datalist.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The adapted weights, such as liver.safetensors.")],
    label: Annotated[
        Optional[list[int]],  # noqa: UP045 - typer reads annotations at run time
        typer.Option(help="Only structures with this value; may be given again. Without: all."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of training, after the scans were encoded.")] = 10.0,
    cases: Annotated[int, typer.Option(min=2, help="At most so many scans, evenly spread.")] = 10,
    slices: Annotated[int, typer.Option(min=1, help="Slices of each structure of a scan.")] = 12,
    seed: Annotated[int, typer.Option(help="Draws slices and prompts.")] = 0,
) -> None:
    """Adapt the embedded model to structures of your own, from about ten scans, on a laptop.

    A fifth of the scans is held back and says which weights are kept. Use the file with ``--weights``, and measure it
    on other scans with ``voxsam evaluate --method compact --method compact@FILE``.
    """
    import voxsam.io as io
    from voxsam.evaluate.cases import load_cases
    from voxsam.models.registry import card
    from voxsam.models.weights import ensure, read_state
    from voxsam.training.finetune import FinetuneRules, finetune

    found = load_cases(data)
    step = max(1.0, len(found) / cases)
    chosen = [found[int(step * number)] for number in range(min(cases, len(found)))]
    pairs = []
    with progress("Reading scans") as on_progress:
        for number, case in enumerate(chosen):
            on_progress(number, len(chosen))
            volume = io.load_volume(case.image)
            pairs.append((volume, io.load_mask(case.mask, like=volume)))
    base = ensure(card("compact"))
    rules = FinetuneRules(minutes=minutes, slices_per_label=slices, seed=seed)
    with progress("Fine-tuning (percent)") as on_progress:
        tuned = finetune(pairs, base, labels=label, rules=rules, on_progress=on_progress)
    _show(tuned)
    if not tuned.gained:
        note("nothing was gained on the held-out scans, so the weights are those of before; give more or other scans")
    facts = {"cases": str(len(pairs)), "labels": ", ".join(map(str, label)) if label else "all"}
    tuned.save(output, read_state(base), facts)
    note(f"wrote {output}, {output.stat().st_size / 1e6:.1f} MB; use it with --weights {output}")


def _show(tuned: Finetuned) -> None:
    table = Table("Dice on held-out slices", "before", "after")
    for step in tuned.before:
        table.add_row(step, f"{tuned.before[step]:.3f}", f"{tuned.after[step]:.3f}")
    Console().print(table)
