"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = [
    "BackendOption",
    "CacheOption",
    "ChannelOption",
    "DeviceOption",
    "EnhanceOption",
    "ModelOption",
    "NoCacheOption",
    "PlaneOption",
    "PrecisionOption",
    "ScanArgument",
    "SeriesOption",
    "WeightsOption",
    "WindowOption",
    "WorkersOption",
]

HOW = "How"

ScanArgument = Annotated[
    Path, typer.Argument(help="NIfTI, NRRD or MetaImage file, a DICOM folder, or one file of a series.")
]
ChannelOption = Annotated[
    Optional[int],  # noqa: UP045 - typer reads annotations at run time
    typer.Option("--channel", min=0, help="Which volume of a 4D file, counted from 0."),
]
SeriesOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--series", help="Which series of a DICOM folder that holds several: its UID, as the error lists it."),
]
PlaneOption = Annotated[
    str, typer.Option("--plane", help="auto (as the scan was taken), axial, coronal or sagittal.", rich_help_panel=HOW)
]
WindowOption = Annotated[
    str,
    typer.Option(
        "--window", help="auto, a CT preset (liver, lung, bone, …), WIDTH,LEVEL, or multi.", rich_help_panel=HOW
    ),
]
EnhanceOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--enhance", help="clahe, n4, denoise or local; several with commas between.", rich_help_panel=HOW),
]
ModelOption = Annotated[str, typer.Option("--model", help="A name that `voxsam models` lists.", rich_help_panel=HOW)]
WeightsOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--weights", help="A weights file of your own for that model.", rich_help_panel=HOW),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=HOW)]
CacheOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--cache", help="Where to keep what the encoder saw; without: your cache folder.", rich_help_panel=HOW
    ),
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Leave nothing of the scan on the disk.", rich_help_panel=HOW)
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        help="What computes: torch, torch-compiled (for GPUs), openvino or onnxruntime; auto goes by what is installed "
        "and the model.",
        rich_help_panel=HOW,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Of the image encoder: fp32 or bf16; auto goes by the backend and the processor.",
        rich_help_panel=HOW,
    ),
]
WorkersOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--workers",
        min=1,
        help="Slices encoded at a time; without: one for each processor core, at most four.",
        rich_help_panel=HOW,
    ),
]
