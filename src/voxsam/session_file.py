"""A session as a JSON document: the scan it is about, settings, objects, and the edits that lead there.

Each object and each edit has a line of its own, so that what is whole of a damaged file can be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from voxsam.edit_json import (
    Codec,
    code_from_json,
    code_to_json,
    color_from_json,
    mask_to_json,
    report_from_json,
    report_to_json,
    scan_to_json,
)
from voxsam.edits import Edit, Segmented, SetOverlap
from voxsam.errors import InputError, SessionError, VoxsamError
from voxsam.geometry import PLANES, Plane
from voxsam.io.atomic import atomic_write, reason_of
from voxsam.journal import plain
from voxsam.prompts import load_prompts
from voxsam.prompts.document import SCHEMA as PROMPTS_SCHEMA
from voxsam.state import ObjectState, SessionState
from voxsam.volume import Volume
from voxsam.windowing import Window

__all__ = [
    "SCHEMA",
    "Look",
    "SessionDocument",
    "edits_from_document",
    "objects_placed",
    "read_session",
    "session_to_json",
    "state_from_document",
    "write_session",
]

SCHEMA = "voxsam-session/1"
_LISTS = ("objects", "edits")
_PLANES: tuple[Plane | Literal["auto"], ...] = ("auto", *PLANES)


@dataclass(frozen=True)
class Look:
    """How a scan is looked at.

    Parameters
    ----------
    plane : {"auto", "axial", "coronal", "sagittal"}
    windows : tuple of Window, or "auto"
    enhance : tuple of str
    """

    plane: Plane | Literal["auto"] = "auto"
    windows: tuple[Window, ...] | str = "auto"
    enhance: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SessionDocument:
    """What a session file holds, not looked at yet.

    Parameters
    ----------
    name : str
        Of the file.
    parts : mapping
        Its members; ``objects`` and ``edits`` are lists of mappings.
    problems : tuple of str
        What of the file is not whole.
    """

    name: str
    parts: Mapping[str, Any]
    problems: tuple[str, ...] = ()

    @property
    def model(self) -> Mapping[str, Any]:
        """Name and hash of the weights; empty where the file does not say."""
        model = self.settings.get("model")
        return model if isinstance(model, Mapping) else {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """How the scan was looked at; empty where the file does not say."""
        settings = self.parts.get("settings")
        return settings if isinstance(settings, Mapping) else {}

    @property
    def look(self) -> Look:
        """Return how the scan was looked at; `SessionError` where that is damaged."""
        used = self.settings
        try:
            windows = tuple(Window(each["width"], each["level"], each.get("name", "")) for each in used["windows"])
            plane = {name: name for name in _PLANES}[used["plane"]]
            return Look(plane, windows, tuple(str(name) for name in used["enhance"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SessionError(f"the settings of {self.name} are damaged: {error!r}") from error

    def is_of(self, volume: Volume) -> bool:
        """Say whether it is about this very scan."""
        scan = self.parts.get("scan")
        return isinstance(scan, Mapping) and scan.get("fingerprint") == volume.fingerprint

    @property
    def edits(self) -> Sequence[Mapping[str, Any]]:
        """The edits, still as JSON."""
        return tuple(self.parts.get("edits", ()))


def session_to_json(
    volume: Volume,
    state: SessionState,
    edits: Sequence[Edit],
    *,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return a session as a document that `json.dump` takes.

    Parameters
    ----------
    volume : Volume
    state : SessionState
    edits : sequence of Edit
        What led to it.
    settings : mapping
        How the scan is looked at; JSON values.
    versions : mapping of str to str
    """
    codec = Codec(volume)
    steps = (edit.to_be_found() if isinstance(edit, Segmented) else edit for edit in edits)
    return {
        "schema": SCHEMA,
        "scan": scan_to_json(volume),
        "settings": dict(settings),
        "versions": dict(versions),
        "overlap": state.overlap,
        "protected": None if state.protected is None else mask_to_json(state.protected),
        "objects": [_object_to_json(item, codec) for item in state.objects],
        "edits": [codec.edit_to_json(edit) for edit in steps],
    }


def write_session(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write a session's document, whole or not at all.

    Raises
    ------
    SessionError
        If the file cannot be written; an old one is then as it was.
    """
    text = "{\n" + ",\n".join(_member(key, value) for key, value in document.items()) + "\n}\n"
    with atomic_write(path, error=SessionError) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_session(path: str | os.PathLike[str]) -> SessionDocument:
    """Read a session file; of a damaged one, what is whole.

    Raises
    ------
    SessionError
        If it is missing, no session file, or nothing of it is whole.
    """
    where = Path(path)
    try:
        text = where.read_text(encoding="utf-8", errors="replace")
    except OSError as fault:
        raise SessionError(f"cannot read the session {where}: {reason_of(fault)}") from fault
    problems: tuple[str, ...] = ()
    try:
        parts = json.loads(text)
    except ValueError:
        parts, problems = _salvaged(text, where.name)
    schema = parts.get("schema") if isinstance(parts, dict) else None
    if schema != SCHEMA:
        raise SessionError(
            f"{where} is no session that this voxsam can read: expected {SCHEMA!r}, got "
            f"{'something else' if schema is None else repr(schema)}"
        )
    for name in _LISTS:
        if not isinstance(parts.setdefault(name, []), list):
            raise SessionError(f"{where} is damaged: expected a list under {name!r}")
        parts[name] = [part for part in parts[name] if isinstance(part, Mapping)]
    return SessionDocument(where.name, parts, problems)


def state_from_document(document: SessionDocument, volume: Volume) -> tuple[SessionState, tuple[str, ...]]:
    """Put the objects back together; what of them is damaged is left out and named.

    Parameters
    ----------
    document : SessionDocument
    volume : Volume
        Its own scan.

    Returns
    -------
    SessionState
    tuple of str
        A line for everything that was left out.
    """
    codec, problems = Codec(volume), list(document.problems)
    objects: list[ObjectState] = []
    for part, item, called in _bare_objects(document, problems):
        found = {name: _read(name, called, part, codec, problems) for name in _READERS}
        if found.get("answered") is None:
            found["answered"] = found["prompts"]
        objects.append(replace(item, **found))
    try:
        state = SetOverlap(document.parts.get("overlap", "keep")).apply(SessionState())
        protected = codec.mask_from_json(document.parts.get("protected"))
    except (SessionError, InputError) as error:
        problems.append(f"the overlap policy or the protected region of {document.name} was left out: {error}")
        return SessionState(tuple(objects)), tuple(problems)
    return replace(state, objects=tuple(objects), protected=protected), tuple(problems)


def objects_placed(document: SessionDocument, volume: Volume) -> tuple[tuple[ObjectState, ...], tuple[str, ...]]:
    """Place the prompts of another scan's session by their world positions; masks are left out.

    Returns
    -------
    tuple of ObjectState
    tuple of str
        A line for everything that was left out.
    """
    problems = list(document.problems)
    objects: list[ObjectState] = []
    for part, item, called in _bare_objects(document, problems):
        entries = {"schema": PROMPTS_SCHEMA, "scan": document.parts.get("scan"), "prompts": part.get("prompts")}
        try:
            objects.append(replace(item, prompts=load_prompts(entries, volume, any_scan=True)))
        except InputError as error:
            problems.append(f"the prompts of {called} were left out: {error}")
            objects.append(item)
        if part.get("mask") is not None:
            problems.append(f"the mask of {called} is on another scan's grid and was left out; propagate it again")
    return tuple(objects), tuple(problems)


def _bare_objects(
    document: SessionDocument, problems: list[str]
) -> Iterator[tuple[Mapping[str, Any], ObjectState, str]]:
    """Yield each object without prompts and masks, and what to call it; name the damaged ones."""
    seen: set[int] = set()
    for number, part in enumerate(document.parts["objects"], start=1):
        called = f"object {part.get('id', number)} ({part.get('name', 'without a name')}) of {document.name}"
        try:
            item = ObjectState(
                int(part["id"]),
                str(part["name"]),
                color_from_json(part["color_rgb"]),
                code=code_from_json(part.get("code")),
                locked=bool(part.get("locked", False)),
                visible=bool(part.get("visible", True)),
            )
            if item.id in seen or item.id < 1:
                raise SessionError("its id is not one of its own")
        except (KeyError, TypeError, ValueError, AttributeError, VoxsamError) as error:
            problems.append(f"{called} is damaged and was left out: {error!r}")
            continue
        seen.add(item.id)
        yield part, item, called


def edits_from_document(document: SessionDocument, codec: Codec) -> tuple[tuple[Edit, ...], tuple[str, ...]]:
    """Read the edits up to the first that is damaged."""
    edits: list[Edit] = []
    try:
        edits.extend(codec.edit_from_json(part) for part in document.edits)
    except SessionError as error:
        return tuple(edits), (f"edit {len(edits) + 1} of {document.name} and those after it were left out: {error}",)
    return tuple(edits), ()


def _object_to_json(item: ObjectState, codec: Codec) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "color_rgb": list(item.color_rgb),
        "code": code_to_json(item.code),
        "locked": item.locked,
        "visible": item.visible,
        "prompts": codec.prompts_to_json(item.prompts),
        "answered": None if item.answered == item.prompts else codec.prompts_to_json(item.answered),
        "mask": None if item.mask is None else mask_to_json(item.mask),
        "report": report_to_json(item.report),
    }


def _read(name: str, called: str, part: Mapping[str, Any], codec: Codec, problems: list[str]) -> Any:
    """Read what may be damaged alone; where it is, name it and go on without."""
    try:
        return _READERS[name](codec, part.get(name))
    except (SessionError, InputError, AttributeError, TypeError) as error:
        problems.append(f"the {name} of {called} cannot be read and was left out: {error}")
        return () if name == "prompts" else None


_READERS: dict[str, Callable[[Codec, Any], Any]] = {
    "prompts": lambda codec, value: codec.prompts_from_json(value),
    "answered": lambda codec, value: None if value is None else codec.prompts_from_json(value),
    "mask": lambda codec, value: codec.mask_from_json(value),
    "report": lambda _, value: report_from_json(value),
}


def _member(key: str, value: Any) -> str:
    if key not in _LISTS:
        return f'"{key}": {json.dumps(value, allow_nan=False, default=plain)}'
    lines = ",\n".join(json.dumps(each, allow_nan=False, default=plain) for each in value)
    return f'"{key}": [\n{lines}\n]'


def _salvaged(text: str, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read the lines of a damaged file that are whole."""
    parts: dict[str, Any] = {}
    problems: list[str] = []
    within = ""
    for number, line in enumerate(text.splitlines(), start=1):
        piece = line.strip().rstrip(",")
        if piece in ("{", "}", "]", ""):
            within = "" if piece == "]" else within
            continue
        opened = next((each for each in _LISTS if piece == f'"{each}": ['), None)
        if opened:
            within = opened
            parts[opened] = []
            continue
        try:
            if within:
                parts[within].append(json.loads(piece))
            else:
                parts.update(json.loads("{" + piece + "}"))
        except ValueError:
            problems.append(f"line {number} of {name} is damaged and was left out{_in(within)}")
            if within == "edits":  # those after it build on it
                break
    if not text.rstrip().endswith("}"):
        problems.append(f"{name} ends early: what came after line {len(text.splitlines())} is lost")
    return parts, tuple(problems)


def _in(within: str) -> str:
    return f" (one of the {within})" if within else ""
