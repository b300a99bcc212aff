"""voxsam: prompt a CT or MR volume with a few clicks or a box, get a 3D mask on the patient's own grid.

>>> import voxsam
>>> scan = voxsam.load_volume("ct.nii.gz")  # doctest: +SKIP
>>> session = voxsam.open_session(scan)  # doctest: +SKIP
>>> liver = session.add_object("liver")  # doctest: +SKIP
>>> session.add_prompt(liver, voxsam.Point((42, 210, 180)))  # voxel (z, y, x)  # doctest: +SKIP
>>> report = session.propagate(liver)  # doctest: +SKIP
>>> voxsam.save_mask(session.mask(liver), "liver.nii.gz")  # doctest: +SKIP

Everything loads on first use: ``import voxsam`` brings neither torch nor a viewer.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from voxsam.errors import (
        Cancelled,
        FormatError,
        GeometryError,
        InputError,
        ModelError,
        PromptError,
        SessionError,
        StoreError,
        Superseded,
        VolumeError,
        VoxsamError,
        WeightsError,
        WindowError,
    )
    from voxsam.geometry import Geometry
    from voxsam.io import load_mask, load_volume, save_mask
    from voxsam.local import LocalSession, find_journal, load_session, open_session
    from voxsam.models.registry import load_model
    from voxsam.prompts import Box, MaskPrompt, Point, Scribble, dump_prompts, load_prompts
    from voxsam.propagate import StopRules
    from voxsam.report import Report
    from voxsam.segment import Segmentation, segment_volume
    from voxsam.session import Event, Preview, Session, SessionState
    from voxsam.volume import Label, Mask, Volume
    from voxsam.windowing import Window

__all__ = [  # noqa: RUF022 - sorted without regard to case
    "Box",
    "Cancelled",
    "dump_prompts",
    "Event",
    "find_journal",
    "FormatError",
    "Geometry",
    "GeometryError",
    "InputError",
    "Label",
    "load_mask",
    "load_model",
    "load_prompts",
    "load_session",
    "load_volume",
    "LocalSession",
    "Mask",
    "MaskPrompt",
    "ModelError",
    "open_session",
    "Point",
    "Preview",
    "PromptError",
    "Report",
    "save_mask",
    "Scribble",
    "segment_volume",
    "Segmentation",
    "Session",
    "SessionError",
    "SessionState",
    "StopRules",
    "StoreError",
    "Superseded",
    "Volume",
    "VolumeError",
    "VoxsamError",
    "WeightsError",
    "Window",
    "WindowError",
]

#: Where each public name lives.
_HOMES = {
    "voxsam.errors": (
        "Cancelled",
        "FormatError",
        "GeometryError",
        "InputError",
        "ModelError",
        "PromptError",
        "SessionError",
        "StoreError",
        "Superseded",
        "VolumeError",
        "VoxsamError",
        "WeightsError",
        "WindowError",
    ),
    "voxsam.geometry": ("Geometry",),
    "voxsam.io": ("load_mask", "load_volume", "save_mask"),
    "voxsam.local": ("LocalSession", "find_journal", "load_session", "open_session"),
    "voxsam.models.registry": ("load_model",),
    "voxsam.prompts": ("Box", "MaskPrompt", "Point", "Scribble", "dump_prompts", "load_prompts"),
    "voxsam.propagate": ("StopRules",),
    "voxsam.report": ("Report",),
    "voxsam.segment": ("Segmentation", "segment_volume"),
    "voxsam.session": ("Event", "Preview", "Session", "SessionState"),
    "voxsam.volume": ("Label", "Mask", "Volume"),
    "voxsam.windowing": ("Window",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'voxsam' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
