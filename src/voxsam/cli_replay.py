"""``voxsam replay``: make a session's masks again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape

from voxsam.cli_options import ChannelOption, ScanArgument, SeriesOption
from voxsam.cli_outputs import check_outputs
from voxsam.cli_progress import note, progress
from voxsam.io import load_volume

__all__ = ["replay_command"]


def replay_command(
    session: Annotated[Path, typer.Argument(help="A session that was saved as JSON.")],
    scan: ScanArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The masks as one label map: .nii.gz, .nii, .nrrd or .seg.nrrd."),
    ],
    only: Annotated[
        Optional[list[int]],  # noqa: UP045 - typer reads annotations at run time
        typer.Option("--object", help="The number of an object to write; may be given again. Without: all."),
    ] = None,
    weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--weights", help="A weights file of your own for the session's model."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Leave nothing of the scan on the disk.")] = False,
    channel: ChannelOption = None,
    series: SeriesOption = None,
) -> None:
    """Make the masks of a saved session again, from its prompts and edits alone.

    On the same machine, with the same versions and weights, they are the same to the voxel; otherwise voxsam says
    what is not as it was, and by how many voxels the masks differ from those that were saved.

    [bold]Example[/bold]

      voxsam replay work.json ct.nii.gz -o organs.seg.nrrd
    """
    from voxsam.models.registry import load_model
    from voxsam.replay import replay
    from voxsam.session_file import read_session

    check_outputs(output, None, None, scan=scan, inputs=[session, *filter(None, [weights])])
    document = read_session(session)
    volume = load_volume(scan, channel=channel, series=series)
    model = None if weights is None else load_model(str(document.model.get("name")), weights=weights, device=device)
    cache_dir = None if no_cache else "auto"
    with progress("Replaying edits") as on_progress:
        again = replay(document, volume, model=model, device=device, cache_dir=cache_dir, on_progress=on_progress)
    with again.session as made:
        made.save_masks(output, object_ids=only)
        console = Console(highlight=False, soft_wrap=True)
        for item in made.state.objects:
            if item.mask is not None and (not only or item.id in only):
                volume_ml = item.mask.voxels * volume.geometry.voxel_volume_mm3 / 1000
                console.print(f"{item.id} {escape(item.name)}: {volume_ml:.4g} mL")
    console.print(f"  {escape(str(output))}")
    for line in (*again.differences, *again.changed):
        note(line)
    if not again.changed:
        console.print("the masks are those that were saved, to the voxel")
