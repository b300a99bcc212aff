"""``voxsam export``: a model as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from voxsam.cli_options import WeightsOption
from voxsam.cli_progress import progress

__all__ = ["export_command"]


def export_command(
    model: Annotated[str, typer.Argument(help="A name that `voxsam models` lists.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")],
    weights: WeightsOption = None,
    single_mask: Annotated[
        bool, typer.Option("--single-mask", help="Have the decoder return one mask instead of four.")
    ] = False,
) -> None:
    """Write an image model's encoder and decoder as ONNX, for a browser or another program.

    The decoder's inputs and outputs are named as in the export published with SAM.

    [bold]Example[/bold]

      voxsam export sam-vit-b -o graphs
    """
    from voxsam.models.export import export_model
    from voxsam.models.registry import load_model

    with progress("Downloading weights", of_bytes=True) as on_progress:
        loaded = load_model(
            model, weights=weights, device="cpu", backend="torch", precision="fp32", on_progress=on_progress
        )
    console = Console(highlight=False, soft_wrap=True)
    for path in export_model(loaded, output, single_mask=single_mask):
        console.print(f"{escape(str(path))}  {path.stat().st_size / 2**20:.1f} MB")
