"""What the panels show: plain functions from a session's state to the panels' frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from voxsam.geometry import Geometry, Plane
from voxsam.models.registry import CARDS
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from voxsam.report import Report, SliceReport
from voxsam.session import ObjectState, SessionState
from voxsam.terminology import CODES
from voxsam.volume import Volume
from voxsam.windowing import MULTI, PRESETS
from voxsam_napari.grid import SliceView
from voxsam_napari.panels import (
    EnhanceChoice,
    MeasureShown,
    ModelChoice,
    ObjectRow,
    ObjectsShown,
    PromptRow,
    StripShown,
    StripSlice,
    WindowChoice,
)

__all__ = [
    "DEVICES",
    "enhancements_for",
    "facts_of",
    "hint_for",
    "measure_shown",
    "model_choices",
    "numbers_of",
    "objects_shown",
    "plane_of",
    "prompt_rows",
    "stem_of",
    "strip_plane",
    "strip_shown",
    "view_of",
    "windows_for",
]

#: Under this estimate of its own overlap with the truth, or overlap with its neighbour, a slice is worth a look.
DOUBTFUL_BELOW = 0.7
#: Where a model may run; the session says what is not there.
DEVICES = ("auto", "cpu", "cuda", "mps")
_KINDS: Mapping[type, str] = {Point: "point", Box: "box", Scribble: "scribble", MaskPrompt: "mask"}
_WHOLE_SCAN = "takes a while, because it looks at the whole scan"


def facts_of(volume: Volume) -> str:
    """Word a scan in one line.

    Examples
    --------
    >>> scan = Volume(np.zeros((2, 3, 4), np.int16), Geometry.from_spacing((2, 3, 4), (5.0, 0.7, 0.7)), modality="CT")
    >>> facts_of(scan)
    'CT · 4 × 3 × 2 voxels · 0.7 × 0.7 × 5 mm'
    """
    z, y, x = volume.geometry.shape
    depth, height, width = (f"{spacing:.3g}" for spacing in volume.geometry.spacing_mm)
    facts = (volume.modality, _by(x, y, z) + " voxels", _by(width, height, depth) + " mm")
    return " · ".join(fact for fact in facts if fact)


def _by(*sides: object) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sides))


def windows_for(volume: Volume) -> tuple[WindowChoice, ...]:
    """List the windows that make sense for a scan: the presets are in HU, so for CT alone."""
    automatic = WindowChoice("auto", "Automatic")
    if volume.modality not in ("CT", ""):
        return (automatic,)
    presets = (
        WindowChoice(
            name, f"{name.replace('-', ' ').capitalize()}: {preset.shows}", preset.window.width, preset.window.level
        )
        for name, preset in sorted(PRESETS.items())
    )
    return automatic, WindowChoice("multi", f"Three at once: {', '.join(MULTI)}"), *presets


def enhancements_for(volume: Volume) -> tuple[EnhanceChoice, ...]:
    """List what can be done about low contrast."""
    ct = "for MR: a CT has no bias field" if volume.modality == "CT" else ""
    return (
        EnhanceChoice("local", "a window fitted to what the prompts point at", title="Local window"),
        EnhanceChoice("clahe", "even out contrast within each slice (CLAHE)", title="Local contrast"),
        EnhanceChoice("n4", f"take out slow changes of brightness (N4); {_WHOLE_SCAN}", ct, title="Even brightness"),
        EnhanceChoice("denoise", f"smooth noise and keep edges; {_WHOLE_SCAN}", title="Less noise"),
    )


def model_choices(ready: Mapping[str, bool] | None = None) -> tuple[ModelChoice, ...]:
    """List the models, the smallest first; `ready` says whose weights are on this machine."""
    known = ready or {}
    return tuple(
        ModelChoice(
            name=card.name,
            title=card.title,
            licence=card.licence,
            weights="in the package" if card.weights is None else f"{card.weights.size_mb:.0f} MB to download",
            citation=card.citation,
            ready=known.get(card.name, card.weights is None),
        )
        for card in sorted(CARDS.values(), key=lambda card: (card.weights is not None, card.parameters_m))
    )


def objects_shown(
    state: SessionState,
    current: int | None,
    volumes_ml: Mapping[int, float],
    *,
    labels: tuple[str, ...],
    protected: str,
    enabled: bool,
) -> ObjectsShown:
    """List the objects; `labels` are the layers that could be taken as a start."""
    rows = tuple(
        ObjectRow(
            item.id,
            item.name,
            item.color_rgb,
            locked=item.locked,
            visible=item.visible,
            code="" if item.code is None else f"{item.code.meaning} ({item.code.scheme} {item.code.value})",
            volume_ml=volumes_ml.get(item.id),
            stale=item.mask is not None and item.is_stale,
        )
        for item in state.objects
    )
    return ObjectsShown(
        rows=rows,
        current=current,
        overlap=state.overlap,
        labels=labels,
        protected=protected if protected in labels else "",
        known_names=tuple(sorted(CODES)),
        enabled=enabled,
    )


def prompt_rows(item: ObjectState | None, geometry: Geometry) -> tuple[PromptRow, ...]:
    """List what was said about an object; a row's key is the prompt's place in the order."""
    prompts = () if item is None else item.prompts
    return tuple(
        PromptRow(
            key,
            _KINDS[type(prompt)],
            _worded(prompt, view_of(prompt, geometry)),
            positive=getattr(prompt, "positive", True),
        )
        for key, prompt in enumerate(prompts)
    )


def _worded(prompt: Prompt, view: SliceView) -> str:
    return f"{_KINDS[type(prompt)].capitalize()} on {view.plane} {view.index}"


def view_of(prompt: Prompt, geometry: Geometry) -> SliceView:
    """Tell which slice to look at to see a prompt."""
    if isinstance(prompt, Box):
        low, high = np.array(prompt.low_zyx), np.array(prompt.high_zyx)
        plane = geometry.native_plane if prompt.flat_axis is None else geometry.plane_across(prompt.flat_axis)
        middle = (low + high) / 2
    elif isinstance(prompt, MaskPrompt):
        low, high = np.array(prompt.bounds_zyx)
        flat = [axis for axis in range(3) if low[axis] == high[axis]]
        plane = geometry.plane_across(flat[0]) if flat else geometry.native_plane
        middle = (low + high) / 2.0
    elif isinstance(prompt, Scribble):
        points = np.asarray(prompt.points_zyx)
        flat = [axis for axis in range(3) if np.ptp(np.round(points[:, axis])) == 0]
        native = geometry.axes_of(geometry.native_plane).normal
        plane = geometry.native_plane if native in flat or not flat else geometry.plane_across(flat[0])
        middle = points[len(points) // 2]
    else:
        plane, middle = geometry.native_plane, np.array(prompt.zyx)
    return SliceView(plane, int(np.round(middle[geometry.axes_of(plane).normal])))


def plane_of(report: Report | None, geometry: Geometry) -> Plane:
    """Name the plane that a mask was propagated across; that of the scan where there is no mask yet."""
    plane = None if report is None else report.settings.get("plane")
    return plane if plane is not None else geometry.native_plane


def strip_plane(item: ObjectState | None, geometry: Geometry | None, view: SliceView | None) -> Plane | None:
    """Name the plane whose slices the strip shows: the mask's, else the one that is looked at."""
    if geometry is None:
        return None
    report = None if item is None else item.report
    return plane_of(report, geometry) if report is not None or view is None else view.plane


def strip_shown(item: ObjectState | None, geometry: Geometry, view: SliceView | None) -> StripShown:
    """Draw the strip along the slices: of the mask's plane, or of the one that is looked at where there is no mask."""
    report = None if item is None else item.report
    plane = strip_plane(item, geometry, view) or geometry.native_plane
    count = geometry.shape[geometry.axes_of(plane).normal]
    current = view.index if view is not None and view.plane == plane else 0
    lines = {line.index: _strip_slice(line) for line in ([] if report is None else report.slices)}
    if item is not None:
        answered = set() if report is None else set(item.answered)
        for prompt in item.prompts:
            index = _index_of(prompt, geometry, plane)
            if prompt not in answered and index is not None and index not in lines:
                lines[index] = StripSlice(index, "prompted", reason="not propagated yet")
    return StripShown(tuple(lines[index] for index in sorted(lines)), count, current, plane)


def numbers_of(window: str, windows: tuple[WindowChoice, ...]) -> tuple[float, float]:
    """Return a window's width and level: as typed, or those of the preset; soft tissue's where they are not fixed.

    Examples
    --------
    >>> numbers_of("350,50", ())
    (350.0, 50.0)
    """
    width, comma, level = window.partition(",")
    if comma:
        return float(width), float(level)
    known = {choice.name: choice for choice in windows}
    for name in (window, "soft-tissue"):
        choice = known.get(name)
        if choice is not None and choice.width is not None and choice.level is not None:
            return choice.width, choice.level
    return 400.0, 40.0


def hint_for(item: ObjectState | None, *, is_open: bool) -> str:
    """Say what to do next, in one line."""
    if not is_open:
        return "Choose an image under Scan."
    if item is None or not item.prompts:
        return "Click on the object; right-click or Ctrl+click on what does not belong to it."
    if item.locked:
        return "This object is locked; unlock it to change it."
    if item.mask is None:
        return "Correct with more clicks, then propagate."
    return "Refine, or propagate anew." if item.is_stale else "Click where it is wrong, then refine."


def stem_of(name: str) -> str:
    """Return a file's name without what it ends with.

    Examples
    --------
    >>> stem_of("ct_abdomen.nii.gz")
    'ct_abdomen'
    """
    return name.partition(".")[0] or name


def measure_shown(item: ObjectState | None, measured: Any, *, view_3d: bool) -> MeasureShown:
    """Word an object's measurements; empty ones where there is no mask."""
    if item is None or item.mask is None or measured is None:
        return MeasureShown(name="" if item is None else item.name, view_3d=view_3d)
    values = measured.intensity
    return MeasureShown(
        name=item.name,
        volume_ml=measured.volume_ml,
        longest_mm=measured.longest_mm,
        perpendicular_mm=measured.perpendicular_mm,
        slice_index=measured.slice_index,
        mean=None if values is None else values.mean,
        std=None if values is None else values.std,
        minimum=None if values is None else values.minimum,
        median=None if values is None else values.median,
        maximum=None if values is None else values.maximum,
        unit="" if values is None else values.unit,
        stale=item.is_stale,
        view_3d=view_3d,
    )


def _index_of(prompt: Prompt, geometry: Geometry, plane: Plane) -> int | None:
    """Tell which slice of a plane a prompt was made on: a point lies on one of each."""
    if isinstance(prompt, Point):
        return int(np.round(prompt.zyx[geometry.axes_of(plane).normal]))
    view = view_of(prompt, geometry)
    return view.index if view.plane == plane else None


def _strip_slice(line: SliceReport) -> StripSlice:
    source = str(line.source)
    weak = any(value is not None and value < DOUBTFUL_BELOW for value in (line.quality, line.overlap))
    if source != "stopped" and (weak or (line.reason and source != "prompted")):
        source = "doubtful"
    return StripSlice(line.index, source, line.quality, line.overlap, line.area_mm2, line.reason)
