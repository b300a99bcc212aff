"""``voxsam segment`` and ``embed``: the commands that look at a scan with a model."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from voxsam.cli_options import (
    BackendOption,
    CacheOption,
    ChannelOption,
    DeviceOption,
    EnhanceOption,
    ModelOption,
    NoCacheOption,
    PlaneOption,
    PrecisionOption,
    ScanArgument,
    SeriesOption,
    WeightsOption,
    WindowOption,
    WorkersOption,
)
from voxsam.cli_outputs import check_outputs
from voxsam.cli_parse import Asked, MaskFile, Space, one_of, read_document, read_prompts
from voxsam.cli_progress import note, progress
from voxsam.cli_repeat import Settings, settings_of, warn_of_other_weights
from voxsam.errors import InputError
from voxsam.geometry import PLANES
from voxsam.io import atomic_write, load_mask, load_volume, merge_into, save_mask
from voxsam.volume import Label, Mask, Volume

if TYPE_CHECKING:
    from voxsam.prompts import Prompt
    from voxsam.segment import PlaneChoice, Segmentation, Workspace

__all__ = ["embed_command", "segment_command"]

_UNNAMED = "object"
#: Below this estimate of its own overlap on a prompted slice, a model is called unsure.
_SURE = 0.4
_WHAT, _OUT = "What to segment", "What to write"


def segment_command(
    context: typer.Context,
    scan: ScanArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The mask: .nii.gz, .nii, .nrrd or .seg.nrrd, on the scan's own grid.",
            rich_help_panel=_OUT,
        ),
    ],
    point: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--point", "-p", metavar="R,A,S", help="In the object; may be given again.", rich_help_panel=_WHAT
        ),
    ] = None,
    negative: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--negative", "-n", metavar="R,A,S", help="Not in the object; may be given again.", rich_help_panel=_WHAT
        ),
    ] = None,
    box: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--box",
            "-b",
            metavar="r0,a0,s0,r1,a1,s1",
            help="Two opposite corners: tight on one slice, or holding the object on several; may be given again.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    prompts: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--prompts", help="Prompts as JSON, or a run's report, settings included.", rich_help_panel=_WHAT),
    ] = None,
    mask_prompt: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--mask-prompt",
            metavar="FILE[:LABEL]",
            help="A drawn or earlier mask on the scan's grid; of several labels, the one with that number.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    space: Annotated[
        Space,
        typer.Option(
            "--space",
            help="ras: world millimetres. ijk: voxels, as the file's header counts them.",
            rich_help_panel=_WHAT,
        ),
    ] = Space.ras,
    any_scan: Annotated[
        bool,
        typer.Option(
            "--any-scan", help="Take --prompts of a resampled copy by their world positions.", rich_help_panel=_WHAT
        ),
    ] = False,
    plane: PlaneOption = "auto",
    window: WindowOption = "auto",
    enhance: EnhanceOption = None,
    model: ModelOption = "compact",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    label: Annotated[
        int, typer.Option("--label", min=1, max=65535, help="Value of the object in the mask.", rich_help_panel=_OUT)
    ] = 1,
    label_name: Annotated[
        str,
        typer.Option(
            "--label-name", help="Its name, for files that hold names; without: object.", rich_help_panel=_OUT
        ),
    ] = "",
    into: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--into", help="Add the object to the labels of this mask.", rich_help_panel=_OUT),
    ] = None,
    report: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--report", help="Prompts, model, versions, slices as JSON.", rich_help_panel=_OUT),
    ] = None,
    overlay: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--overlay", help="A picture (.png) of the slices with the mask on them.", rich_help_panel=_OUT),
    ] = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    channel: ChannelOption = None,
    series: SeriesOption = None,
) -> None:
    """Segment one object from a few clicks or a box.

    Positions are RAS+ millimetres, as viewers show them; with --space ijk, voxels as the file's header counts them
    (NIfTI i,j,k; column, row, slice otherwise). `voxsam info SCAN` says where the scan lies.

    [bold]Examples[/bold]

      voxsam segment ct.nii.gz -o liver.nii.gz --point -62.5,30,71

      voxsam segment ct.nii.gz -o liver.nii.gz --space ijk
        --box 150,160,29,20,60,29 --negative 88,120,29

      voxsam segment mr.nrrd -o organs.seg.nrrd --into organs.seg.nrrd
        --label 2 --label-name spleen --point 40,-12,88

      voxsam segment dicom/ -o tumour.nii.gz --point 12,-80,45
        --report tumour.json --overlay tumour.png

      voxsam segment dicom/ -o again.nii.gz --prompts tumour.json
    """
    started = time.perf_counter()
    masks = [MaskFile.parse(text) for text in mask_prompt or ()]
    read = [*(prompts or ()), *(mask.path for mask in masks), *filter(None, [weights])]
    check_outputs(output, report, overlay, scan=scan, inputs=read, into=into)
    documents = [read_document(path) for path in prompts or ()]
    typed = _settings(plane, window, enhance, model)
    settings = settings_of(typed, documents, lambda name: _is_typed(context, name), note)
    cache_dir = _cache_dir(cache, no_cache)
    machine = _machine(device, backend, precision)
    volume = _load(scan, channel, series)
    asked = Asked(
        point or (), negative or (), box or (), space=space, documents=documents, masks=masks,
        any_scan=any_scan,
    )  # fmt: skip
    given = read_prompts(asked, volume)
    _check_planned(given, settings.plane, volume)
    target = _target_of(into, volume)
    workspace = _workspace(volume, settings, weights, machine, cache_dir)
    warn_of_other_weights(documents, settings.model, workspace.store.model.weights_sha256, note)
    with progress("Segmenting slices") as on_progress:
        result = workspace.segment(given, plane=settings.plane, on_progress=on_progress)
    mask = _labelled(result.mask, label, label_name, target)

    save_mask(mask, output, like=volume)
    if report is not None:
        command = {
            "scan": str(scan), "output": str(output), **settings.to_json(), "weights": _text(weights),
            **machine, "channel": channel, "series": series, "label": label, "label_name": label_name,
            "into": _text(into), "space": space.value, "any_scan": any_scan, "cache": _text(cache_dir),
        }  # fmt: skip
        _write_json({**result.report.to_json(), "command": command}, report)
    if overlay is not None:
        _write_overlay(volume, result, given, overlay, label, mask.labels[label])
    seconds = time.perf_counter() - started
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{escape(mask.labels[label].name)}: {_volume(result.report.volume_ml)} in {seconds:.1f} s")
    for path in filter(None, (output, report, overlay)):
        console.print(f"  {escape(str(path))}")
    remark = _remark(result)
    if remark:
        note(remark)


def embed_command(
    scan: ScanArgument,
    plane: PlaneOption = "auto",
    window: WindowOption = "auto",
    enhance: EnhanceOption = None,
    model: ModelOption = "compact",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    cache: CacheOption = None,
    channel: ChannelOption = None,
    series: SeriesOption = None,
) -> None:
    """Run the image encoder over every slice ahead of time, so that prompts are answered at once.

    What is done is kept when you stop it (Ctrl-C), and a later run goes on from there.

    [bold]Example[/bold]

      voxsam embed ct.nii.gz --model sam-vit-b
    """
    from voxsam.models.cores import share_cores
    from voxsam.models.runtime import runtime_of
    from voxsam.segment import choose_plane

    settings = _settings(plane, window, enhance, model)
    machine = _machine(device, backend, precision)
    volume = _load(scan, channel, series)
    workspace = _workspace(volume, settings, weights, machine, _cache_dir(cache, no_cache=False))
    chosen = choose_plane(settings.plane, (), volume.geometry)
    count = volume.geometry.shape[volume.geometry.axes_of(chosen).normal]
    views = [workspace.stack.view(chosen, index, workspace.windows) for index in range(count)]
    threads = share_cores(runtime_of(workspace.store.model), workers)
    with progress("Encoding slices") as on_progress:
        fresh = workspace.store.precompute(views, on_progress=on_progress, nearest_to=count // 2, threads=threads)
    folder = workspace.store.folder
    where = f"in {folder}" if folder else "in memory only: no cache folder could be written"
    Console(highlight=False, soft_wrap=True).print(f"{count} {chosen} slices, {fresh} of them new, {where}")


def _load(scan: Path, channel: int | None, series: str | None) -> Volume:
    return load_volume(scan, channel=channel, series=series)


def _settings(plane: str, window: str, enhance: list[str] | None, model: str) -> Settings:
    """Check what needs no scan to be checked."""
    from voxsam.enhance import check_enhancements
    from voxsam.models.registry import card

    names = [name.strip() for given in enhance or () for name in given.split(",")]
    return Settings(
        cast("PlaneChoice", one_of(plane, "--plane", ("auto", *PLANES))), window,
        check_enhancements(filter(None, names)), card(model).name,
    )  # fmt: skip


def _machine(device: str, backend: str, precision: str) -> dict[str, str]:
    """Find what this machine does not have before a scan is read; ``auto`` spares the look."""
    from voxsam.models.backends.choose import check_choice
    from voxsam.models.registry import resolve_device

    check_choice(backend, precision)
    if device != "auto":
        resolve_device(device)
    return {"device": device, "backend": backend, "precision": precision}


def _check_planned(prompts: tuple[Prompt, ...], plane: PlaneChoice, volume: Volume) -> None:
    """Find prompts that say nothing on the plane before the model is loaded."""
    from voxsam.seeds import plan_seeds
    from voxsam.segment import choose_plane

    plan_seeds(prompts, volume.geometry, choose_plane(plane, prompts, volume.geometry))


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _text(value: Path | str | None) -> str | None:
    return None if value is None else str(value)


def _workspace(
    volume: Volume, settings: Settings, weights: Path | None, machine: dict[str, str], cache_dir: Path | str | None
) -> Workspace:
    """Open a scan for a model; what the user typed is checked before a download, not after it."""
    from voxsam.models.registry import load_model
    from voxsam.segment import Workspace
    from voxsam.windowing import choose_window

    windows = choose_window(volume, settings.window)
    with progress("Downloading weights", of_bytes=True) as on_progress:
        network = load_model(settings.model, weights=weights, on_progress=on_progress, **machine)
    return Workspace.open(volume, model=network, window=windows, enhance=settings.enhance, cache_dir=cache_dir)


def _cache_dir(cache: Path | None, no_cache: bool) -> Path | str | None:
    if cache is not None and no_cache:
        raise InputError("--cache and --no-cache were both given; choose one")
    return None if no_cache else cache or "auto"


def _target_of(into: Path | None, volume: Volume) -> Mask | None:
    if into is None:
        return None
    return load_mask(into, like=volume)


def _labelled(mask: Mask, label: int, name: str, target: Mask | None) -> Mask:
    """Give the object its value and name, among others where there are some."""
    if target is not None:
        return merge_into(target, mask, label, name)
    values = mask.array.astype(np.uint8 if label < 256 else np.uint16) * label
    return Mask(values, mask.geometry, {label: Label(name or _UNNAMED)}, mask.header)


def _write_json(document: dict[str, Any], path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _write_overlay(
    volume: Volume, result: Segmentation, prompts: tuple[Prompt, ...], path: Path, value: int, label: Label
) -> None:
    """Draw the object as it was looked at, under its own name."""
    from voxsam.overlay import save_overlay
    from voxsam.windowing import Window

    windows = [Window(**window) for window in result.report.settings["windows"]]
    mask = _labelled(result.mask, value, label.name, None)
    if label != Label(label.name):  # a colour of its own
        mask = replace(mask, labels={value: label})
    shown = windows[len(windows) // 2]
    save_overlay(volume, mask, path, prompts=prompts, plane=result.report.settings["plane"], window=shown)


def _volume(volume_ml: float) -> str:
    """Write three digits that count, however small the object.

    Examples
    --------
    >>> _volume(1234.4), _volume(5.0), _volume(0.000012345), _volume(0)
    ('1234 mL', '5.00 mL', '0.0000123 mL', '0 mL')
    """
    if volume_ml >= 100 or volume_ml == 0:
        return f"{volume_ml:.0f} mL"
    return f"{np.format_float_positional(volume_ml, precision=3, fractional=False, unique=False)} mL"


def _remark(result: Segmentation) -> str:
    """Say where a mask is empty or the model unsure; nothing otherwise."""
    if not result.report.volume_ml:
        return "nothing was found at the prompts; add a box or another click"
    prompted = [(s.quality, s.index) for s in result.report.of_source("prompted") if s.quality is not None]
    quality, index = min(prompted, default=(1.0, 0))
    if quality >= _SURE:
        return ""
    return (
        f"the model is unsure (its own estimate is {quality:.2f} of 1 on {result.report.settings['plane']} slice "
        f"{index}): add a box or a corrective click, and look at the overlay"
    )
