"""Prompts as a JSON document: voxel and world positions, the scan they belong to, a schema version."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.cropped import CroppedMask
from voxsam.errors import InputError, PromptError
from voxsam.geometry import Geometry
from voxsam.prompts.kinds import Box, MaskPrompt, Point, Prompt, Scribble, check_prompt
from voxsam.volume import Mask, Volume

__all__ = ["SCHEMA", "dump_prompts", "load_prompts"]

#: The schema version that this voxsam writes and reads.
SCHEMA = "voxsam-prompts/1"

FloatArray = npt.NDArray[np.float64]


def dump_prompts(prompts: Sequence[Prompt], volume: Volume) -> dict[str, Any]:
    """Write prompts as a document that ``json`` can hold.

    Parameters
    ----------
    prompts : sequence of Prompt
        On the grid of `volume`; may be empty.
    volume : Volume
        The scan they were given on; its fingerprint, shape, affine and name go into the document.

    Raises
    ------
    PromptError, GeometryError
        If a prompt lies outside the scan, or a mask prompt is on another grid.

    Examples
    --------
    >>> scan = Volume(np.zeros((4, 8, 8), np.int16), Geometry.from_spacing((4, 8, 8), spacing_mm=(5.0, 1.0, 1.0)))
    >>> dump_prompts([Point((1, 2, 3))], scan)["prompts"]
    [{'type': 'point', 'voxel_zyx': [1.0, 2.0, 3.0], 'world_ras': [3.0, 2.0, 5.0], 'positive': True}]
    """
    for prompt in prompts:
        check_prompt(prompt, volume.geometry)
    return {
        "schema": SCHEMA,
        "scan": {
            "fingerprint": volume.fingerprint,
            "shape": list(volume.geometry.shape),
            "affine": volume.geometry.affine.tolist(),
            "name": volume.name,
        },
        "prompts": [_entry_of(prompt, volume.geometry) for prompt in prompts],
    }


def load_prompts(document: Mapping[str, Any], volume: Volume, *, any_scan: bool = False) -> tuple[Prompt, ...]:
    """Read prompts back from a document.

    Parameters
    ----------
    document : mapping
        As `dump_prompts` wrote it. By hand, ``voxel_zyx`` alone is enough where the fingerprint is right, and
        ``world_ras`` alone with `any_scan`.
    volume : Volume
        The scan to put them on.
    any_scan : bool
        True: where the document belongs to another scan, place its prompts by their world positions. Meant for a
        resampled, cropped or reoriented copy of the same scan. A box stays along the voxel axes: it is the box
        around the turned one, and one on a slice stays on one slice. A mask prompt takes the nearest voxels.

    Raises
    ------
    PromptError
        If the document has another schema, lacks something, belongs to another scan, or places a prompt outside.

    Examples
    --------
    >>> scan = Volume(np.zeros((4, 8, 8), np.int16), Geometry.from_spacing((4, 8, 8), spacing_mm=(5.0, 1.0, 1.0)))
    >>> finer = Volume(np.zeros((20, 8, 8), np.int16), Geometry.from_spacing((20, 8, 8)))
    >>> load_prompts(dump_prompts([Point((1, 2, 3))], scan), finer, any_scan=True)
    (Point(zyx=(5.0, 2.0, 3.0), positive=True),)
    """
    if not isinstance(document, Mapping):
        raise PromptError(f"a prompts document is a JSON object, got {type(document).__name__}")
    if document.get("schema") != SCHEMA:
        raise PromptError(
            f"expected prompts of schema {SCHEMA!r}, got {document.get('schema')!r}; "
            f"write them with `dump_prompts`, or update voxsam if they are from a newer one"
        )
    scan = document.get("scan")
    fingerprint = scan.get("fingerprint") if isinstance(scan, Mapping) else None
    entries = document.get("prompts")
    if not isinstance(entries, list):
        raise PromptError(f"expected a list under 'prompts', got {type(entries).__name__}")
    if fingerprint == volume.fingerprint:
        target = _Target(volume.geometry, volume.geometry, by_world=False)
    elif any_scan:
        target = _Target(volume.geometry, _scan_geometry(scan), by_world=True)
    else:
        raise _of_another_scan(scan, volume)
    return tuple(_read(entry, number, target) for number, entry in enumerate(entries, start=1))


@dataclass(frozen=True, eq=False)
class _Target:
    """Where prompts go: the grid to put them on, and the one they were given on (None where not said)."""

    geometry: Geometry
    source: Geometry | None
    by_world: bool

    def points(self, entry: Mapping[str, Any]) -> FloatArray:
        """Read positions as (N, 3) voxels of the target's grid."""
        if not self.by_world and "voxel_zyx" in entry:
            return _numbers(entry, "voxel_zyx")
        if "world_ras" not in entry:
            wanted = "'world_ras'" if self.by_world else "'voxel_zyx' or 'world_ras'"
            raise PromptError(f"expected {wanted}, got {_keys(entry)}")
        return self.geometry.to_voxel(_numbers(entry, "world_ras"))


def _entry_of(prompt: Prompt, geometry: Geometry) -> dict[str, Any]:
    if isinstance(prompt, Point):
        return {"type": "point", **_positions(np.array(prompt.zyx), geometry), "positive": prompt.positive}
    if isinstance(prompt, Box):
        return {"type": "box", **_positions(np.array([prompt.low_zyx, prompt.high_zyx]), geometry)}
    if isinstance(prompt, Scribble):
        return {"type": "scribble", **_positions(prompt.points_zyx, geometry), "positive": prompt.positive}
    low, high = np.array(prompt.bounds_zyx)
    return {
        "type": "mask",
        **_positions(np.array([low, high], dtype=np.float64), geometry),
        "bits": base64.b64encode(zlib.compress(prompt.packed.packed.tobytes())).decode("ascii"),
    }


def _positions(points_zyx: FloatArray, geometry: Geometry) -> dict[str, Any]:
    return {"voxel_zyx": points_zyx.tolist(), "world_ras": geometry.to_world(points_zyx).tolist()}


def _read(entry: Any, number: int, target: _Target) -> Prompt:
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    try:
        if not isinstance(kind, str) or kind not in _READERS:
            raise PromptError(f"expected a 'type' out of {', '.join(_READERS)}; got {kind!r}")
        prompt = _READERS[kind](entry, target)
        check_prompt(prompt, target.geometry)
    except InputError as error:
        raise PromptError(f"prompt {number} of the document: {error}") from error
    return prompt


def _read_point(entry: Mapping[str, Any], target: _Target) -> Point:
    return Point(tuple(_exactly(target.points(entry), 1)[0].tolist()), _positive(entry))


def _read_scribble(entry: Mapping[str, Any], target: _Target) -> Scribble:
    return Scribble(target.points(entry), _positive(entry))


def _read_box(entry: Mapping[str, Any], target: _Target) -> Box:
    low, high = _exactly(target.points(entry), 2)
    if target.by_world and target.source is not None:
        low, high = _box_around(_numbers(entry, "world_ras"), target.source, target.geometry)
    return Box(tuple(low.tolist()), tuple(high.tolist()))


def _read_mask(entry: Mapping[str, Any], target: _Target) -> MaskPrompt:
    if target.source is None:
        raise PromptError("a mask on another scan needs the 'shape' and 'affine' of its own scan in the document")
    low, high = _exactly(_numbers(entry, "voxel_zyx"), 2).astype(np.int64)
    if (low < 0).any() or (high < low).any() or (high >= target.source.shape).any():
        raise PromptError(f"expected mask corners within the scan, got {low.tolist()} and {high.tolist()}")
    shape = tuple((high - low + 1).tolist())
    count = int(np.prod(shape))
    try:
        stream = base64.b64decode(entry["bits"], validate=True)
        packed = np.frombuffer(zlib.decompressobj().decompress(stream, count // 8 + 2), np.uint8)  # never a bomb
    except (KeyError, TypeError, binascii.Error, zlib.error, ValueError) as error:
        raise PromptError("expected the mask's packed bits in base64 under 'bits', got something else") from error
    if len(packed) != (count + 7) // 8:
        raise PromptError(f"expected {count} bits for a mask of shape {shape}, got {len(packed) * 8}")
    crop = np.unpackbits(packed, count=count).reshape(shape).astype(bool)
    if not target.by_world:
        first = (int(low[0]), int(low[1]), int(low[2]))
        return MaskPrompt.of_packed(CroppedMask.placed(crop, first, target.geometry.shape), target.geometry)
    array = np.zeros(target.geometry.shape, bool)
    _place_nearest(crop, low, target.source, array, target.geometry)
    return MaskPrompt(Mask(array, target.geometry))


_READERS: dict[str, Callable[[Mapping[str, Any], _Target], Prompt]] = {
    "point": _read_point,
    "box": _read_box,
    "scribble": _read_scribble,
    "mask": _read_mask,
}


def _box_around(corners_ras: FloatArray, source: Geometry, geometry: Geometry) -> tuple[FloatArray, FloatArray]:
    """Turn a box of one grid into the box around it on another; what was flat stays flat."""
    ends = source.to_voxel(corners_ras)
    voxels = geometry.to_voxel(source.to_world(list(product(*zip(*ends.tolist(), strict=True)))))
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    for axis in np.flatnonzero(np.abs(ends[1] - ends[0]) < 0.5):
        nearest = int(np.argmax(np.abs(geometry.directions.T @ source.directions[:, axis])))
        low[nearest] = high[nearest] = (low[nearest] + high[nearest]) / 2.0
    return low, high


def _place_nearest(
    crop: npt.NDArray[np.bool_],
    low: npt.NDArray[np.int64],
    source: Geometry,
    array: npt.NDArray[np.bool_],
    geometry: Geometry,
) -> None:
    """Fill `array` on `geometry` with the nearest voxels of `crop`, which starts at `low` on `source`."""
    edges = zip((low - 0.5).tolist(), (low + crop.shape - 0.5).tolist(), strict=True)
    around = geometry.to_voxel(source.to_world(list(product(*edges))))
    first = np.maximum(np.floor(around.min(axis=0)), 0).astype(int)
    stop = np.minimum(np.ceil(around.max(axis=0)) + 1, geometry.shape).astype(int)
    rows, columns = (np.arange(first[axis], stop[axis]) for axis in (1, 2))
    for z in range(first[0], stop[0]):  # a slice at a time: positions take 24 bytes a voxel
        here = np.stack(np.meshgrid([z], rows, columns, indexing="ij"), axis=-1)[0]
        there = np.floor(source.to_voxel(geometry.to_world(here).reshape(-1, 3)) + 0.5).astype(int) - low
        inside = ((there >= 0) & (there < crop.shape)).all(axis=1)
        found = np.zeros(len(there), bool)
        found[inside] = crop[tuple(there[inside].T)]
        array[z, first[1] : stop[1], first[2] : stop[2]] = found.reshape(here.shape[:2])


def _scan_geometry(scan: Any) -> Geometry | None:
    """Read the grid that the document's prompts were given on; None where it does not say."""
    if not isinstance(scan, Mapping) or "shape" not in scan or "affine" not in scan:
        return None
    try:
        return Geometry(tuple(scan["shape"]), np.array(scan["affine"], dtype=np.float64))
    except (TypeError, ValueError) as error:  # a GeometryError is a ValueError
        raise PromptError(f"the document's scan has no usable shape and affine: {error}") from error


def _of_another_scan(scan: Any, volume: Volume) -> PromptError:
    if not isinstance(scan, Mapping) or "fingerprint" not in scan:
        came = "a document that names no scan"
    else:
        came = f"those of {_called(scan.get('name'), scan.get('shape'), str(scan['fingerprint']))}"
    wanted = _called(volume.name, list(volume.geometry.shape), volume.fingerprint)
    return PromptError(
        f"these prompts belong to another scan: expected those of {wanted}; got {came}. "
        f"Open their own scan, or place them by their world positions with any_scan=True "
        f"(on the command line: --any-scan)"
    )


def _called(name: Any, shape: Any, fingerprint: str) -> str:
    return f"{f'{name!r}, ' if name else ''}shape {shape}, fingerprint {fingerprint[:12]}"


def _numbers(entry: Mapping[str, Any], key: str) -> FloatArray:
    """Read one position or a list of them as (N, 3)."""
    try:
        values = np.array(entry[key], dtype=np.float64)
    except KeyError as error:
        raise PromptError(f"expected {key!r}, got {_keys(entry)}") from error
    except (TypeError, ValueError) as error:
        raise PromptError(f"expected numbers under {key!r}, got {str(entry[key])[:80]}") from error
    if values.ndim not in (1, 2) or values.shape[-1] != 3 or not np.isfinite(values).all():
        raise PromptError(f"expected positions of three finite numbers under {key!r}, got {str(entry[key])[:80]}")
    return values.reshape(-1, 3)


def _exactly(points: FloatArray, count: int) -> FloatArray:
    if len(points) != count:
        raise PromptError(f"expected {count} position{'s' * (count > 1)}, got {len(points)}")
    return points


def _positive(entry: Mapping[str, Any]) -> bool:
    value = entry.get("positive", True)
    if not isinstance(value, bool):
        raise PromptError(f"expected true or false under 'positive', got {value!r}")
    return value


def _keys(entry: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(repr, entry)))
