"""Which range of values becomes black to white: presets, automatic windows, windows fitted to prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from voxsam.errors import WindowError, unknown_name
from voxsam.geometry import Geometry
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from voxsam.volume import Volume

__all__ = ["MULTI", "PRESETS", "Preset", "Window", "WindowSpec", "automatic_window", "choose_window", "window_around"]

FloatArray = npt.NDArray[np.float32]

#: Percentiles of the non-zero voxels that an automatic window spans where values have no unit (MR and others).
_PERCENTILES = (0.5, 99.5)
#: A volume is looked at through about this many voxels, evenly spread; percentiles do not need more.
_SAMPLE_SIZE = 2_000_000
#: Below this, a CT voxel is air or lung and says nothing about which tissue the scan is of.
_AIR_HU = -500.0
#: A box is sampled with so many voxels along each axis, a mask with this cubed: enough for a median.
_MEANT_A_SIDE = 64


@dataclass(frozen=True)
class Window:
    """A range of voxel values shown from black to white.

    Parameters
    ----------
    width : float
        From black to white, in the volume's unit (HU for CT); more than 0.
    level : float
        Value shown as mid-grey.
    name : str, optional
        Where it comes from; two windows of other names and the same numbers are equal.

    Raises
    ------
    WindowError
        If `width` is not positive, or a number is not finite.

    Examples
    --------
    >>> Window(400, 40).low, Window(400, 40).high
    (-160.0, 240.0)
    >>> Window(400, 40).apply(np.array([-1000, 40, 3000]))
    array([0. , 0.5, 1. ], dtype=float32)
    """

    width: float
    level: float
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        width, level = float(self.width), float(self.level)
        if not (np.isfinite(width) and np.isfinite(level) and width > 0):
            raise WindowError(f"a window has a width above 0 and a finite level, got width {width:g}, level {level:g}")
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "level", level)

    @classmethod
    def from_range(cls, low: float, high: float, name: str = "") -> Window:
        """Make the window that shows `low` as black and `high` as white.

        Examples
        --------
        >>> Window.from_range(-160, 240)
        Window(width=400.0, level=40.0, name='')
        """
        return cls(float(high) - float(low), (float(low) + float(high)) / 2, name)

    @property
    def low(self) -> float:
        """The value that is just black."""
        return self.level - self.width / 2

    @property
    def high(self) -> float:
        """The value that is just white."""
        return self.level + self.width / 2

    def apply(self, values: npt.NDArray[Any]) -> FloatArray:
        """Map voxel values to grey.

        Parameters
        ----------
        values : array of any shape
            Left as it is. NaN becomes black.

        Returns
        -------
        float32 array of the same shape, in 0..1
        """
        exact = np.float64 if values.dtype.itemsize > 4 else np.float32
        grey: FloatArray = np.subtract(values, exact(self.low), dtype=exact).astype(np.float32, copy=False)
        grey /= np.float32(self.width)
        np.nan_to_num(grey, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        np.clip(grey, 0.0, 1.0, out=grey)
        return grey


@dataclass(frozen=True)
class Preset:
    """A CT window that radiologists use, with where its numbers are published.

    Parameters
    ----------
    window : Window
        In HU; carries the preset's name.
    shows : str
        What it is for.
    source : str
        Citation.
    """

    window: Window
    shows: str
    source: str

    @property
    def name(self) -> str:
        """The exact name it is chosen by."""
        return self.window.name


_RADIOPAEDIA = "Murphy A, Baba Y, et al. Windowing (CT). Radiopaedia.org, doi:10.53347/rID-52108"
_OHIF = "OHIF Viewer, defaultWindowLevelPresets.ts, github.com/OHIF/Viewers"
_STONE = "Orthanc Stone Web viewer, configuration.json, orthanc.uclouvain.be/hg/orthanc-stone"

#: Name, width, level, what for, source. Where a source gives a range, the value lies within it.
_TABLE = (
    ("abdomen", 400, 50, "organs of the belly", _RADIOPAEDIA),
    ("angio", 600, 300, "vessels filled with contrast agent", _STONE),
    ("bone", 1800, 400, "cortical and trabecular bone, fractures", _RADIOPAEDIA),
    ("brain", 80, 40, "grey and white matter", _RADIOPAEDIA),
    ("liver", 150, 30, "lesions in liver and spleen", _RADIOPAEDIA),
    ("lung", 1500, -600, "lung parenchyma, airways, nodules", _RADIOPAEDIA),
    ("mediastinum", 350, 50, "heart, great vessels, lymph nodes", _RADIOPAEDIA),
    ("neck", 375, 40, "soft tissues of head and neck (source: width 350-400, level 20-60)", _RADIOPAEDIA),
    ("pelvis", 400, 40, "bladder, prostate, uterus, muscle; the viewer's soft tissue window", _OHIF),
    ("soft-tissue", 400, 40, "any soft tissue; the automatic choice for CT", _OHIF),
    ("spine", 250, 50, "discs, cord and muscle along the spine", _RADIOPAEDIA),
    ("stroke", 40, 40, "early ischaemia", _RADIOPAEDIA),
    ("subdural", 215, 75, "blood along the skull (source: width 130-300, level 50-100)", _RADIOPAEDIA),
    ("temporal-bone", 2800, 600, "inner ear, mastoid", _RADIOPAEDIA),
)

#: Every CT preset by its name.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {name: Preset(Window(width, level, name), shows, source) for name, width, level, shows, source in _TABLE}
)

#: The three presets that ``"multi"`` shows at once, one a channel: together they cover lung to cortical bone.
MULTI: tuple[str, str, str] = ("lung", "soft-tissue", "bone")

#: One window, or three that become a view's three channels.
WindowSpec: TypeAlias = tuple[Window, ...]


def choose_window(volume: Volume, spec: str | Window | Sequence[Window] = "auto") -> WindowSpec:
    """Turn what a user asked for into windows.

    Parameters
    ----------
    volume : Volume
        What ``"auto"`` looks at.
    spec : str, Window, or sequence of Window
        ``"auto"`` (see `automatic_window`), a name of `PRESETS`, ``"WIDTH,LEVEL"`` such as ``"400,40"``,
        ``"multi"`` (the CT windows of `MULTI` as three channels), or windows as they are.

    Returns
    -------
    tuple of 1 or 3 Window

    Raises
    ------
    WindowError
        If the name is unknown, the numbers make no window, or a CT preset is asked for on another modality.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> scan = Volume(np.full((2, 3, 4), 50, np.int16), Geometry.from_spacing((2, 3, 4)), modality="CT")
    >>> choose_window(scan, "liver")
    (Window(width=150.0, level=30.0, name='liver'),)
    >>> choose_window(scan, "1200,-400")
    (Window(width=1200.0, level=-400.0, name='1200,-400'),)
    >>> choose_window(scan, "livr")
    Traceback (most recent call last):
        ...
    voxsam.errors.WindowError: no window 'livr'; did you mean 'liver'? Known: auto, multi, WIDTH,LEVEL, abdomen, ...
    """
    if isinstance(spec, Window):
        return (spec,)
    if not isinstance(spec, str):
        if len(spec) not in (1, 3):
            raise WindowError(f"give one window, or three (one a channel), got {len(spec)}")
        return tuple(spec)
    name = "-".join(spec.strip().lower().replace("_", " ").split())
    if name == "auto":
        return (automatic_window(volume),)
    if "," in spec:
        return (_parsed(spec),)
    if name == "local":
        raise WindowError("'local' is an enhancement: it needs prompts to fit the window to; see `window_around`")
    if name != "multi" and name not in PRESETS:
        raise WindowError(unknown_name("window", spec, ("auto", "multi", "WIDTH,LEVEL", *PRESETS)))
    if volume.modality not in ("", "CT"):
        raise WindowError(
            f"window {spec!r} is in Hounsfield units, and this scan is {volume.modality}; "
            "use 'auto', or WIDTH,LEVEL in the scan's own unit"
        )
    return tuple(PRESETS[n].window for n in (MULTI if name == "multi" else (name,)))


def automatic_window(volume: Volume) -> Window:
    """Choose a window from the whole volume, never from one slice (neighbours would flicker).

    CT in Hounsfield units: the soft tissue window, unless most of the patient in the picture is bone or lung.
    Anything else (MR, PET, CT with an offset): the 0.5 to 99.5 percentiles of the non-zero voxels.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    Window

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> ramp = np.arange(1001, dtype=np.int16).reshape(1, 1, -1)
    >>> window = automatic_window(Volume(ramp, Geometry.from_spacing(ramp.shape), modality="MR"))
    >>> round(window.low), round(window.high)
    (6, 995)
    """
    values = sample_of(volume.array)
    if volume.modality == "CT" and values.min() < 0:  # CT stored with an offset is not in HU, whatever its tag says
        return _window_of_ct(values)
    return _window_of_percentiles(values)


def window_around(volume: Volume, prompts: Sequence[Prompt], *, margin_mm: float = 20.0) -> Window:
    """Fit a window to what the prompts point at and its surroundings, for lesions that hardly stand out.

    The object's median value becomes mid-grey; the width is six times the median distance of the surroundings'
    values from it, and no less than eight times the object's noise. It is never wider than the automatic window, so
    that air or bone nearby cannot spoil it.

    Parameters
    ----------
    volume : Volume
    prompts : sequence of Prompt
        Positive ones say what the object is (negative ones only if there are no others).
    margin_mm : float
        How far around the prompts the surroundings reach.

    Returns
    -------
    Window

    Raises
    ------
    WindowError
        If there is no prompt.

    Examples
    --------
    >>> values = np.full((20, 20, 20), 100, np.int16)
    >>> values[:, :, 12:] = 70  # the object, 30 HU darker than its surroundings
    >>> values[0, 0, 0] = -1000
    >>> scan = Volume(values, Geometry.from_spacing(values.shape), modality="CT")
    >>> window_around(scan, [Point((10, 10, 15))])
    Window(width=180.0, level=70.0, name='around prompts')
    """
    if not prompts:
        raise WindowError("a window is fitted to the surroundings of prompts, and there is none; use 'auto'")
    widest = automatic_window(volume)
    crop, inside = _surroundings(volume, _telling(prompts), margin_mm)
    values = crop[inside & np.isfinite(crop)].astype(np.float32)
    if not values.size:
        return widest
    level = float(np.median(values))
    noise = 1.4826 * float(np.median(np.abs(values - level)))
    spread = float(np.median(np.abs(sample_of(crop) - level)))
    half = min(max(3 * spread, 4 * noise), widest.width / 2)
    return Window(2 * half if half > 0 else widest.width, level, "around prompts")


def _telling(prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """Return the prompts that say what the object looks like."""
    positive = [prompt for prompt in prompts if isinstance(prompt, Box | MaskPrompt) or prompt.positive]
    return positive or prompts


def _surroundings(
    volume: Volume, prompts: Sequence[Prompt], margin_mm: float
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Cut out what lies within the margin of the prompts; mark in it the voxels that are surely meant."""
    geometry = volume.geometry
    meant = np.concatenate([_meant_voxels(prompt, geometry) for prompt in prompts])
    last = np.asarray(geometry.shape) - 1
    meant = np.clip(meant, 0, last)
    ends = np.concatenate([np.clip(_ends(prompt), 0, last) for prompt in prompts])
    margin = np.ceil(margin_mm / np.asarray(geometry.spacing_mm)).astype(np.intp)
    low = np.maximum(ends.min(axis=0) - margin, 0)
    high = np.minimum(ends.max(axis=0) + margin, last)
    crop = volume.array[tuple(slice(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True))]
    inside = np.zeros(crop.shape, bool)
    inside[tuple((meant - low).T)] = True
    return crop, inside


def _ends(prompt: Prompt) -> npt.NDArray[np.intp]:
    """Voxels between which the prompt lies."""
    if isinstance(prompt, Point):
        ends = np.array([prompt.zyx])
    elif isinstance(prompt, Box):
        ends = np.array([prompt.low_zyx, prompt.high_zyx])
    elif isinstance(prompt, Scribble):
        ends = prompt.points_zyx
    else:
        ends = np.array(prompt.bounds_zyx)
    return np.floor(ends + 0.5).astype(np.intp)


def _meant_voxels(prompt: Prompt, geometry: Geometry, *, reach_mm: float = 2.0) -> npt.NDArray[np.intp]:
    """Voxels (N, 3) of the object: around a point, along a scribble, in the middle half of a box, of a mask."""
    if isinstance(prompt, MaskPrompt):
        held = np.flatnonzero(prompt.packed.box)
        taken = held[:: -(-held.size // _MEANT_A_SIDE**3)]
        return np.stack(np.unravel_index(taken, prompt.packed.box_shape), axis=-1) + prompt.packed.low_zyx
    if isinstance(prompt, Scribble):
        return prompt.voxels_zyx()
    ends = _ends(prompt)
    if isinstance(prompt, Box):
        quarter = (ends[1] - ends[0]) // 4
        low, high = ends[0] + quarter, ends[1] - quarter
    else:
        reach = (reach_mm / np.asarray(geometry.spacing_mm)).astype(np.intp)
        low, high = ends[0] - reach, ends[0] + reach
    sides = [
        np.linspace(a, b, min(b - a + 1, _MEANT_A_SIDE)).round().astype(np.intp)
        for a, b in zip(low.tolist(), high.tolist(), strict=True)
    ]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)


def sample_of(array: npt.NDArray[Any], size: int = _SAMPLE_SIZE) -> FloatArray:
    """Take about `size` finite values, evenly spread and always the same ones.

    Parameters
    ----------
    array : array of any shape
        With at least one finite value.
    size : int
        At most this many values.

    Returns
    -------
    1D float32 array
        All finite values where the array is small enough. Where the sampled ones are all NaN, all finite ones.
    """
    steps = [1] * array.ndim
    while np.prod([-(-n // step) for n, step in zip(array.shape, steps, strict=True)]) > size:
        longest = int(np.argmax([n / step for n, step in zip(array.shape, steps, strict=True)]))
        steps[longest] += 1
    for stride in (steps, [1] * array.ndim):
        values = np.asarray(array[tuple(slice(None, None, step) for step in stride)], np.float32).ravel()
        values = values[np.isfinite(values)]
        if values.size:
            return values
    raise WindowError("no finite value to choose a window from")


def _window_of_ct(values: FloatArray) -> Window:
    """Soft tissue, unless less than a quarter of what is not air falls into that window."""
    soft, bone, lung = (PRESETS[name].window for name in ("soft-tissue", "bone", "lung"))
    patient = values[values > _AIR_HU]
    if not patient.size:
        return lung
    below, above = float(np.mean(patient < soft.low)), float(np.mean(patient > soft.high))
    if 1.0 - below - above >= 0.25:
        return soft
    return bone if above > below else lung


def _window_of_percentiles(values: FloatArray) -> Window:
    shown = values[values != 0]
    low, high = np.percentile(shown if shown.size else values, _PERCENTILES).tolist()
    if high <= low:  # one value nearly everywhere: show what else there is
        low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5, low + 0.5
    return Window.from_range(low, high, f"percentiles {_PERCENTILES[0]:g}-{_PERCENTILES[1]:g}")


def _parsed(spec: str) -> Window:
    parts = spec.split(",")
    try:
        width, level = (float(part) for part in parts)
    except ValueError:
        raise WindowError(f"a window in numbers is WIDTH,LEVEL, such as 400,40; got {spec!r}") from None
    return Window(width, level, spec.replace(" ", ""))
