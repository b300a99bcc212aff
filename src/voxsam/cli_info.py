"""``voxsam info``: what a scan is, and where a prompt may lie."""

from __future__ import annotations

import shlex

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voxsam.cli_options import ChannelOption, ScanArgument, SeriesOption
from voxsam.io import load_volume
from voxsam.volume import Volume

__all__ = ["info_command"]


def info_command(scan: ScanArgument, channel: ChannelOption = None, series: SeriesOption = None) -> None:
    """Say what a scan is: grid, orientation, range, window, and where a prompt may lie.

    [bold]Example[/bold]

      voxsam info ct.nii.gz
    """
    from voxsam.windowing import choose_window

    volume = load_volume(scan, channel=channel, series=series)
    grid = volume.geometry
    (chosen,) = choose_window(volume)
    middle = grid.to_world([[(n - 1) / 2 for n in grid.shape]])[0].tolist()
    low, high = grid.bounds_ras
    rows = (
        ("scan", volume.name or str(scan)),
        ("modality", volume.modality or "not stated"),
        ("voxels", " x ".join(str(n) for n in reversed(grid.shape)) + f" (i, j, k), {volume.array.dtype}"),
        ("spacing", " x ".join(f"{mm:.4g}" for mm in reversed(grid.spacing_mm)) + " mm"),
        ("orientation", f"{grid.orientation[::-1]}{_tilt(volume)}; taken {grid.native_plane}"),
        ("values", _range(volume)),
        ("window", f"width {chosen.width:.6g}, level {chosen.level:.6g} ({chosen.name or 'automatic'})"),
        ("RAS bounds", f"{_triple(low)} to {_triple(high)} mm"),
        ("fingerprint", volume.fingerprint),
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table)
    part = [] if channel is None else ["--channel", str(channel)]
    part += ["--series", series] if series else []
    point = _triple(middle).replace(" ", "")
    call = shlex.join(["voxsam", "segment", str(scan), *part, "-o", "mask.nii.gz", "--point", point])
    console.print(f"[bold]try[/bold]          {escape(call)}", soft_wrap=True)  # whole, to be copied


def _tilt(volume: Volume) -> str:
    """Say by how much the grid is turned against the patient's axes, where it is."""
    grid = volume.geometry
    along = [abs(grid.directions[world, axis]) for axis, world in enumerate(grid.world_axes)]
    degrees = float(np.degrees(np.arccos(min(1.0, min(along)))))
    return f", tilted by {degrees:.1f}°" if degrees > 0.05 else ""


def _range(volume: Volume) -> str:
    array = volume.array
    finite = array if array.dtype.kind != "f" else array[np.isfinite(array)]
    unit = " HU" if volume.modality == "CT" else ""
    missing = f", {array.size - finite.size} voxels not finite" if finite.size < array.size else ""
    return f"{finite.min():g} to {finite.max():g}{unit}{missing}"


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{round(value, 1) + 0.0:.1f}" for value in values)  # + 0.0: no minus zero
