"""The edits of a session as JSON, for journals and session files."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from voxsam.cropped import CroppedMask
from voxsam.edits import (
    KEEP,
    AcceptSlice,
    AddObject,
    AddPrompt,
    ChangeObject,
    Color,
    Edit,
    Protect,
    Reach,
    RemoveObject,
    RemovePrompt,
    Segmented,
    SetOverlap,
)
from voxsam.errors import InputError, SessionError
from voxsam.prompts import MaskPrompt, Prompt, dump_prompts, load_prompts
from voxsam.prompts.document import SCHEMA as PROMPTS_SCHEMA
from voxsam.report import Report, SliceReport
from voxsam.terminology import Code
from voxsam.volume import Volume

__all__ = ["Codec", "mask_from_json", "mask_to_json", "report_from_json", "report_to_json", "scan_to_json"]

Document = Mapping[str, Any]


def scan_to_json(volume: Volume) -> dict[str, Any]:
    """Say which scan a file is about: by its voxels and grid, and never by a name, which may be a patient's."""
    return {
        "fingerprint": volume.fingerprint,
        "modality": volume.modality,
        "shape": list(volume.geometry.shape),
        "affine": volume.geometry.affine.tolist(),
    }


def mask_to_json(mask: CroppedMask) -> dict[str, Any]:
    """Write a mask: its box, and the packed bits.

    Examples
    --------
    >>> small = CroppedMask.of(np.ones((1, 2, 4), bool))
    >>> mask_from_json(mask_to_json(small), (1, 2, 4)) == small
    True
    """
    bits = base64.b64encode(zlib.compress(mask.packed.tobytes(), 1)).decode("ascii")
    return {"low_zyx": list(mask.low_zyx), "box_shape": list(mask.box_shape), "bits": bits}


def mask_from_json(document: Document, shape: tuple[int, int, int]) -> CroppedMask:
    """Read a mask of a scan of this shape.

    Raises
    ------
    SessionError
        If it is damaged, or reaches outside.
    """
    try:
        low, sides = (tuple(int(n) for n in document[key]) for key in ("low_zyx", "box_shape"))
        count = int(np.prod(sides))
        inside = all(a >= 0 and n >= 0 and a + n <= whole for a, n, whole in zip(low, sides, shape, strict=True))
        stream = zlib.decompressobj()
        packed = stream.decompress(base64.b64decode(document["bits"], validate=True), count // 8 + 2)  # never a bomb
        if not inside or len(packed) != (count + 7) // 8 or not stream.eof:
            raise SessionError(f"expected {count} bits of a mask within {shape}, got {len(packed)} bytes")
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise SessionError(f"a mask is damaged ({error})") from error
    bits = np.frombuffer(packed, np.uint8)
    return CroppedMask(shape, (low[0], low[1], low[2]), (sides[0], sides[1], sides[2]), bits)


def report_to_json(report: Report | None) -> dict[str, Any] | None:
    """Write a report without the scan's name."""
    if report is None:
        return None
    document = report.to_json()
    document["scan"] = {key: value for key, value in document["scan"].items() if key != "name"}
    document["prompts"] = _nameless(document["prompts"])
    return document


def report_from_json(document: Document | None) -> Report | None:
    """Read a report; its numbers are rounded.

    Raises
    ------
    SessionError
        If it is damaged.
    """
    if document is None:
        return None
    parts = ("scan", "prompts", "model", "settings", "volume_ml", "timings_s", "versions")
    try:
        lines = tuple(SliceReport(**line) for line in document["slices"])
        return Report(slices=lines, **{part: document[part] for part in parts})
    except (KeyError, TypeError) as error:
        raise SessionError(f"a report is damaged ({error})") from error


class Codec:
    """Writes and reads the edits of one scan.

    Parameters
    ----------
    volume : Volume

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> from voxsam.prompts import Point
    >>> codec = Codec(Volume(np.zeros((4, 8, 8)), Geometry.from_spacing((4, 8, 8))))
    >>> document = codec.edit_to_json(AddPrompt(1, Point((1, 2, 3))))
    >>> document["edit"], codec.edit_from_json(document)
    ('add_prompt', AddPrompt(object_id=1, prompt=Point(zyx=(1.0, 2.0, 3.0), positive=True)))
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def prompts_to_json(self, prompts: Sequence[Prompt]) -> list[Any]:
        """Write prompts as entries of a prompts' document."""
        return cast("list[Any]", dump_prompts(prompts, self._volume)["prompts"])

    def prompts_from_json(self, entries: Any) -> tuple[Prompt, ...]:
        """Read entries of a prompts' document of this very scan; `PromptError` where one is damaged."""
        scan = {"fingerprint": self._volume.fingerprint, **_grid(self._volume)}
        return load_prompts({"schema": PROMPTS_SCHEMA, "scan": scan, "prompts": entries}, self._volume)

    def edit_to_json(self, edit: Edit) -> dict[str, Any]:
        """Write an edit, with what a model found where that is in it."""
        return {"edit": _name_of(edit), **_WRITERS[type(edit)](self, edit)}

    def edit_from_json(self, document: Document) -> Edit:
        """Read an edit.

        Raises
        ------
        SessionError
            If it is damaged, or of a kind that this voxsam does not know.
        """
        kind = document.get("edit")
        if kind not in _READERS:
            raise SessionError(f"no edit {kind!r} is known; it may be from a newer voxsam")
        try:
            return _READERS[kind](self, document)
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise SessionError(f"an edit ({kind}) is damaged: {error}") from error

    def one_to_json(self, prompt: Prompt) -> Any:
        """Write one prompt."""
        return self.prompts_to_json([prompt])[0]

    def one_from_json(self, entry: Any) -> Prompt:
        """Read one prompt."""
        return self.prompts_from_json([entry])[0]

    def mask_prompt_from_json(self, entry: Any) -> MaskPrompt:
        """Read one prompt that has to be a mask."""
        prompt = self.one_from_json(entry)
        if not isinstance(prompt, MaskPrompt):
            raise SessionError(f"expected a drawn mask, got {prompt}")
        return prompt

    def mask_from_json(self, document: Document | None) -> CroppedMask | None:
        """Read a mask of this scan; None stays None."""
        return None if document is None else mask_from_json(document, self._volume.geometry.shape)


def code_to_json(code: Code | None) -> str | None:
    """Write a code as 3D Slicer does, in one line."""
    return None if code is None else code.entry


def code_from_json(entry: str | None) -> Code | None:
    """Read it back."""
    return None if entry is None else Code.from_entry(entry)


def color_from_json(values: Any) -> Color:
    """Read red, green and blue."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def reach_from_json(reach: Any) -> Reach:
    """Read a reach: a word, or two slices."""
    return cast("Reach", reach if isinstance(reach, str) else (int(reach[0]), int(reach[1])))


def _grid(volume: Volume) -> dict[str, Any]:
    return {"shape": list(volume.geometry.shape), "affine": volume.geometry.affine.tolist()}


def _nameless(document: Document) -> dict[str, Any]:
    scan = {key: value for key, value in document.get("scan", {}).items() if key != "name"}
    return {**document, "scan": scan} if document else {}


def _name_of(edit: Edit) -> str:
    return edit.way if isinstance(edit, Segmented) else _NAMES[type(edit)]


def _write_change(_: Codec, edit: Any) -> dict[str, Any]:
    said = {name: getattr(edit, name) for name in ("name", "color_rgb", "locked", "visible")}
    changes = {name: value for name, value in said.items() if value is not None}
    return {"object": edit.object_id, **changes, **({} if edit.code is KEEP else {"code": code_to_json(edit.code)})}


def _read_change(_: Codec, document: Document) -> Edit:
    return ChangeObject(
        int(document["object"]),
        document.get("name"),
        color_from_json(document["color_rgb"]) if "color_rgb" in document else None,
        code_from_json(document["code"]) if "code" in document else KEEP,
        document.get("locked"),
        document.get("visible"),
    )


def _write_segmented(_: Codec, edit: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"object": edit.object_id}
    if edit.way == "propagate":
        document["reach"] = edit.reach if isinstance(edit.reach, str) else list(edit.reach)
        document["stops"] = None if edit.stops is None else dict(edit.stops)
    if edit.found is not None:
        document["found"], document["report"] = mask_to_json(edit.found), report_to_json(edit.report)
    return document


def _read_segmented(codec: Codec, document: Document) -> Edit:
    return Segmented(
        int(document["object"]),
        document["edit"],
        reach_from_json(document.get("reach", "whole")),
        document.get("stops"),
        codec.mask_from_json(document.get("found")),
        report_from_json(document.get("report")),
    )


_NAMES: dict[type[Any], str] = {
    AddObject: "add_object",
    ChangeObject: "change_object",
    RemoveObject: "remove_object",
    AddPrompt: "add_prompt",
    RemovePrompt: "remove_prompt",
    AcceptSlice: "accept_slice",
    SetOverlap: "set_overlap",
    Protect: "protect",
}

_WRITERS: dict[type[Any], Callable[[Codec, Any], dict[str, Any]]] = {
    AddObject: lambda codec, edit: {
        "object": edit.object_id,
        "name": edit.name,
        "color_rgb": list(edit.color_rgb),
        "code": code_to_json(edit.code),
        "prompt": None if edit.prompt is None else codec.one_to_json(edit.prompt),
    },
    ChangeObject: _write_change,
    RemoveObject: lambda _, edit: {"object": edit.object_id},
    AddPrompt: lambda codec, edit: {"object": edit.object_id, "prompt": codec.one_to_json(edit.prompt)},
    RemovePrompt: lambda codec, edit: {"object": edit.object_id, "prompt": codec.one_to_json(edit.prompt)},
    AcceptSlice: lambda codec, edit: {
        "object": edit.object_id,
        "prompt": codec.one_to_json(edit.prompt),
        "plane": edit.plane,
        "index": edit.index,
    },
    Segmented: _write_segmented,
    SetOverlap: lambda _, edit: {"policy": edit.policy},
    Protect: lambda _, edit: {"mask": None if edit.mask is None else mask_to_json(edit.mask)},
}

_READERS: dict[Any, Callable[[Codec, Document], Edit]] = {
    "add_object": lambda codec, d: AddObject(
        int(d["object"]),
        str(d["name"]),
        color_from_json(d["color_rgb"]),
        code_from_json(d["code"]),
        None if d["prompt"] is None else codec.mask_prompt_from_json(d["prompt"]),
    ),
    "change_object": _read_change,
    "remove_object": lambda _, d: RemoveObject(int(d["object"])),
    "add_prompt": lambda codec, d: AddPrompt(int(d["object"]), codec.one_from_json(d["prompt"])),
    "remove_prompt": lambda codec, d: RemovePrompt(int(d["object"]), codec.one_from_json(d["prompt"])),
    "accept_slice": lambda codec, d: AcceptSlice(
        int(d["object"]), codec.mask_prompt_from_json(d["prompt"]), d["plane"], int(d["index"])
    ),
    "propagate": _read_segmented,
    "refine": _read_segmented,
    "set_overlap": lambda _, d: SetOverlap(d["policy"]),
    "protect": lambda codec, d: Protect(codec.mask_from_json(d["mask"])),
}
