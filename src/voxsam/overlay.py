"""A picture of a mask on its scan: upright, to scale, with the prompts, fit to be shown to someone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from voxsam.errors import FormatError, InputError
from voxsam.geometry import PLANES, Plane
from voxsam.io.atomic import atomic_write
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from voxsam.views import Region, SliceStack, View, ViewFrame, slice_of
from voxsam.volume import Label, Mask, Volume
from voxsam.windowing import Window, choose_window

__all__ = ["draw_overlay", "save_overlay"]

Colour: TypeAlias = tuple[int, int, int]
BoolArray = npt.NDArray[np.bool_]

_SIDE = 480  # pixels of a panel's square
_FINE = 2  # drawn so many times larger, then reduced: smooth lines
_GAP, _FOOT = 6, 46  # between panels; below them
_GROUND: Colour = (12, 14, 18)
_INK, _FAINT = (235, 238, 242), (160, 168, 178)
_POSITIVE, _NEGATIVE, _BOX, _DRAWN = (64, 224, 96), (255, 72, 72), (255, 214, 64), (96, 208, 255)
#: Labels without a colour of their own take the next one.
_PALETTE = (
    *((0.95, 0.35, 0.25), (0.25, 0.65, 0.95), (0.95, 0.75, 0.2), (0.45, 0.8, 0.4), (0.75, 0.5, 0.9)),
    *((0.2, 0.8, 0.8), (0.95, 0.55, 0.75), (0.7, 0.55, 0.35), (0.6, 0.7, 0.15), (0.5, 0.55, 0.95)),
)
#: What is left, right, top and bottom of a panel: radiological convention, as `Geometry.axes_of` shows it.
_LETTERS: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}


@dataclass(frozen=True, eq=False)
class _Panel:
    """One view and how its pixels lie on the picture."""

    view: View
    frame: ViewFrame
    size: tuple[int, int]  # of the drawn slice: width, height, in fine pixels
    px_per_mm: float

    @classmethod
    def fit(cls, view: View, frame: ViewFrame) -> _Panel:
        height_mm, width_mm = (n * mm for n, mm in zip(frame.shape, frame.pixel_mm, strict=True))
        px_per_mm = _SIDE * _FINE / max(height_mm, width_mm)
        return cls(view, frame, (max(1, round(width_mm * px_per_mm)), max(1, round(height_mm * px_per_mm))), px_per_mm)

    def place(self, points_zyx: npt.ArrayLike) -> list[tuple[float, float]]:
        """Map voxel positions (N, 3) to (x, y) on the drawn slice; pixel edges are whole numbers there."""
        scale = np.divide(self.size, (self.frame.shape[1], self.frame.shape[0]))
        return [(float(x), float(y)) for x, y in (self.frame.to_xy(points_zyx) + 0.5) * scale]

    def enlarged(self, inside: BoolArray) -> BoolArray:
        """Show a slice of a mask, its outline as smooth as the grid allows."""
        grey = Image.fromarray(np.rint(self.frame.slice_to_view(inside.astype(np.float32)) * 255).astype(np.uint8))
        return np.asarray(np.asarray(grey.resize(self.size, Image.Resampling.BILINEAR)) > 127)


def save_overlay(
    volume: Volume,
    mask: Mask,
    path: str | Path,
    *,
    plane: Plane | Literal["all"] = "all",
    window: str | Window = "auto",
    prompts: Sequence[Prompt] = (),
    slices: int = 6,
    whole_slices: bool = False,
) -> None:
    """Write `draw_overlay`'s picture to a file; an interrupted write leaves the old file.

    Parameters
    ----------
    volume, mask, plane, window, prompts, slices, whole_slices
        See `draw_overlay`.
    path : str or Path
        Ends in ``.png`` (or ``.jpg``).

    Raises
    ------
    FormatError
        If the ending is neither, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from voxsam.geometry import Geometry
    >>> grid = Geometry.from_spacing((8, 32, 32), spacing_mm=(5.0, 1.0, 1.0))
    >>> array = np.zeros(grid.shape, np.int16)
    >>> array[2:6, 10:20, 12:22] = 100
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_overlay(Volume(array, grid), Mask(array > 0, grid), Path(folder) / "overlay.png")
    ...     (Path(folder) / "overlay.png").stat().st_size > 0
    True
    """
    path = Path(path)
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if path.suffix.lower() not in formats:
        raise FormatError(f"an overlay is written as .png or .jpg, got {path.name!r}")
    picture = draw_overlay(
        volume, mask, plane=plane, window=window, prompts=prompts, slices=slices, whole_slices=whole_slices
    )
    packed = BytesIO()
    picture.save(packed, formats[path.suffix.lower()], quality=90, compress_level=6)  # 9 takes ten times as long
    with atomic_write(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def draw_overlay(
    volume: Volume,
    mask: Mask,
    *,
    plane: Plane | Literal["all"] = "all",
    window: str | Window = "auto",
    prompts: Sequence[Prompt] = (),
    slices: int = 6,
    whole_slices: bool = False,
) -> Image.Image:
    """Draw a mask and its prompts on slices of the scan.

    Patient upright, right on the left (radiological convention), square millimetres, a scale bar on each panel.

    Parameters
    ----------
    volume : Volume
    mask : Mask
        On the volume's grid.
    plane : {"all", "axial", "coronal", "sagittal"}
        ``"all"``: one slice of each plane, through the first positive click that is inside the mask, else where
        the mask is largest. A plane: several of its slices, evenly through the mask, those with prompts first.
    window : str or Window
        See `voxsam.windowing.choose_window`; of three windows the middle one is shown.
    prompts : sequence of Prompt
        Drawn on the slices that they lie on: green plus, red minus, yellow box, blue outline of a given mask.
    slices : int
        At most so many slices of one plane.
    whole_slices : bool
        False: show the mask and its surroundings.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    GeometryError
        If the mask is on another grid.
    InputError
        If the plane is unknown, or `slices` below 1.
    WindowError
        If the window is unknown.
    """
    volume.geometry.require_same(mask.geometry, "the mask")
    if plane != "all" and plane not in PLANES:
        raise InputError(f"no plane {plane!r}; choose one of all, {', '.join(PLANES)}")
    if slices < 1:
        raise InputError(f"expected 1 slice or more, got {slices}")
    windows = choose_window(volume, window)
    shown = windows[len(windows) // 2]
    stack = SliceStack(volume)
    chosen = _three_planes(mask, prompts) if plane == "all" else _through(mask, prompts, plane, slices)
    panels = []
    for its_plane, index in chosen:
        region = None if whole_slices else _around(mask, its_plane)
        view = View(its_plane, index, (shown,), region)
        panels.append(_Panel.fit(view, stack.frame(view)))
    columns = len(panels) if len(panels) <= 3 else -(-len(panels) // 2)
    rows = -(-len(panels) // columns)
    step = _SIDE + _GAP
    picture = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP + _FOOT), _GROUND)
    for at, panel in enumerate(panels):
        drawn = _draw_panel(panel, stack, mask, prompts).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        picture.paste(drawn, (_GAP + at % columns * step, _GAP + at // columns * step))
    _draw_foot(picture, volume, mask, shown, prompts)
    return picture


def _three_planes(mask: Mask, prompts: Sequence[Prompt]) -> list[tuple[Plane, int]]:
    clicks = [np.floor(np.array(p.zyx) + 0.5).astype(int) for p in prompts if isinstance(p, Point) and p.positive]
    last = np.asarray(mask.geometry.shape) - 1
    for click in clicks:
        if ((click >= 0) & (click <= last)).all() and mask.array[tuple(click)]:
            return [(plane, int(click[mask.geometry.axes_of(plane).normal])) for plane in PLANES]
    return [(plane, int(np.argmax(_areas(mask, plane)))) for plane in PLANES if _areas(mask, plane).any()] or [
        (plane, mask.geometry.shape[mask.geometry.axes_of(plane).normal] // 2) for plane in PLANES
    ]


def _through(mask: Mask, prompts: Sequence[Prompt], plane: Plane, count: int) -> list[tuple[Plane, int]]:
    """Choose slices evenly through the mask; a prompted slice takes the place of the one nearest to it."""
    held = np.flatnonzero(_areas(mask, plane))
    if not held.size:
        return [(plane, mask.geometry.shape[mask.geometry.axes_of(plane).normal] // 2)]
    count = min(count, len(held))
    even = held[np.round((np.arange(count) + 0.5) * len(held) / count - 0.5).astype(int)].tolist()
    axis = mask.geometry.axes_of(plane).normal
    prompted = sorted(
        {index for prompt in prompts for index in _slices_of(prompt, axis) if held[0] <= index <= held[-1]}
    )
    free = list(even)
    for index in prompted[:count]:
        nearest = min(free, key=lambda other: abs(other - index))
        free.remove(nearest)
        even[even.index(nearest)] = index
    return [(plane, index) for index in sorted(set(even), reverse=plane != "sagittal")]  # from the head, from the front


def _slices_of(prompt: Prompt, axis: int) -> Iterator[int]:
    """Slices along an axis that a click, a stroke or a box on one slice was drawn on."""
    if isinstance(prompt, Point):
        yield int(np.floor(prompt.zyx[axis] + 0.5))
    elif isinstance(prompt, Scribble):
        yield from np.unique(prompt.voxels_zyx()[:, axis]).tolist()
    elif isinstance(prompt, Box) and prompt.flat_axis == axis:
        yield int(np.floor(prompt.low_zyx[axis] + 0.5))


def _areas(mask: Mask, plane: Plane) -> npt.NDArray[np.intp]:
    """Voxels of the mask on each slice of a plane."""
    normal = mask.geometry.axes_of(plane).normal
    return np.asarray(np.count_nonzero(mask.array, axis=tuple(axis for axis in range(3) if axis != normal)))


def _around(mask: Mask, plane: Plane, *, times: float = 2.5, at_least_mm: float = 120.0) -> Region | None:
    """Choose what of the slices to show: the mask's box and its surroundings, the same on each slice."""
    axes, spacing = mask.geometry.axes_of(plane), mask.geometry.spacing_mm
    box = [np.flatnonzero(mask.array.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not box[0].size:
        return None
    extent = {axis: (box[axis][-1] - box[axis][0] + 1) * spacing[axis] for axis in (axes.row, axes.column)}
    side = max(at_least_mm, times * max(extent.values()))
    region: list[int] = []
    for axis in (axes.row, axes.column):
        length, wanted = mask.geometry.shape[axis], min(round(side / spacing[axis]) or 1, mask.geometry.shape[axis])
        start = min(max(0, round((box[axis][0] + box[axis][-1] + 1 - wanted) / 2)), length - wanted)
        region += [start, start + wanted]
    return region[0], region[1], region[2], region[3]


def _draw_panel(panel: _Panel, stack: SliceStack, mask: Mask, prompts: Sequence[Prompt]) -> Image.Image:
    grey = Image.fromarray(np.rint(stack.pixels(panel.view) * 255).astype(np.uint8))
    pixels = np.asarray(grey.resize(panel.size, Image.Resampling.BICUBIC)).astype(np.float32)
    here = slice_of(mask.array, panel.frame.axes, panel.frame.index)
    for value in np.unique(here[here != 0]).tolist():
        inside = panel.enlarged(here == value)
        colour = _colour_of(mask, int(value))
        pixels[inside] = 0.74 * pixels[inside] + 0.26 * np.asarray(colour)
        pixels[_outline(inside, 2 * _FINE)] = colour
    for prompt in prompts:
        if isinstance(prompt, MaskPrompt):
            given = panel.enlarged(prompt.packed.slice_of(panel.frame.axes, panel.frame.index))
            pixels[_outline(given, _FINE)] = _DRAWN
    drawn = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(drawn)
    for prompt in prompts:
        _draw_prompt(draw, panel, prompt)
    square = Image.new("RGB", (_SIDE * _FINE, _SIDE * _FINE), (0, 0, 0))
    square.paste(drawn, ((square.width - drawn.width) // 2, (square.height - drawn.height) // 2))
    _draw_frame(ImageDraw.Draw(square), panel, stack.volume.geometry.shape[panel.frame.axes.normal])
    return square


def _outline(inside: BoolArray, width: int) -> BoolArray:
    """Return the border of a mask, `width` pixels to the inside."""
    return np.asarray(inside & ~ndimage.binary_erosion(inside, iterations=width, border_value=1))


def _draw_prompt(draw: ImageDraw.ImageDraw, panel: _Panel, prompt: Prompt) -> None:
    axes, index = panel.frame.axes, panel.frame.index
    if isinstance(prompt, Point) and np.floor(prompt.zyx[axes.normal] + 0.5) == index:
        _draw_sign(draw, panel.place([prompt.zyx])[0], positive=prompt.positive)
    elif isinstance(prompt, Scribble):
        voxels = prompt.voxels_zyx()
        for x, y in panel.place(voxels[voxels[:, axes.normal] == index]):
            dot = 2.0 * _FINE
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=_POSITIVE if prompt.positive else _NEGATIVE)
    elif isinstance(prompt, Box):
        low, high = np.array(prompt.low_zyx), np.array(prompt.high_zyx)
        if low[axes.normal] - 0.5 <= index <= high[axes.normal] + 0.5:
            (x0, y0), (x1, y1) = panel.place([low, high])
            half_x, half_y = _half_voxel(panel)
            left, right, top, bottom = (
                min(x0, x1) - half_x,
                max(x0, x1) + half_x,
                min(y0, y1) - half_y,
                max(y0, y1) + half_y,
            )
            draw.rectangle((left, top, right, bottom), outline=(0, 0, 0), width=3 * _FINE)
            draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=_BOX, width=2 * _FINE - 1)


def _half_voxel(panel: _Panel) -> tuple[float, float]:
    """Half a voxel along x and y of the drawn slice: a box reaches to the edges of its corner voxels."""
    row_start, row_stop, column_start, column_stop = panel.frame.region
    return panel.size[0] / (column_stop - column_start) / 2, panel.size[1] / (row_stop - row_start) / 2


def _draw_sign(draw: ImageDraw.ImageDraw, at: tuple[float, float], *, positive: bool) -> None:
    """Draw a plus or a minus with a dark edge, legible on any grey."""
    (x, y), arm = at, 8 * _FINE
    for width, colour, longer in (
        (6 * _FINE, (0, 0, 0), 2 * _FINE),
        (3 * _FINE, _POSITIVE if positive else _NEGATIVE, 0),
    ):
        draw.line((x - arm - longer, y, x + arm + longer, y), fill=colour, width=width)
        if positive:
            draw.line((x, y - arm - longer, x, y + arm + longer), fill=colour, width=width)
    if positive:  # the vertical bar's edge crossed the horizontal bar
        draw.line((x - arm, y, x + arm, y), fill=_POSITIVE, width=3 * _FINE)


def _draw_frame(draw: ImageDraw.ImageDraw, panel: _Panel, slices: int) -> None:
    """Letters of the directions, which slice it is, a scale bar."""
    side, pad = _SIDE * _FINE, 8 * _FINE
    left, right, top, bottom = _LETTERS[panel.view.plane]
    _write(draw, (pad, side / 2), left, "lm", 20)
    _write(draw, (side - pad, side / 2), right, "rm", 20)
    _write(draw, (side / 2, pad), top, "mt", 20)
    _write(draw, (side / 2, side - pad), bottom, "mb", 20)
    _write(draw, (pad, pad), f"{panel.view.plane} {panel.view.index} / {slices - 1}", "lt", 15)
    length_mm = _bar_mm(side / panel.px_per_mm / 4)
    end, y = side - pad, side - pad
    start = end - length_mm * panel.px_per_mm
    for width, colour in ((6 * _FINE, (0, 0, 0)), (3 * _FINE, _INK)):
        draw.line((start, y - _FINE, end, y - _FINE), fill=colour, width=width)
    label = f"{length_mm / 10:g} cm" if length_mm >= 10 else f"{length_mm:g} mm"
    _write(draw, ((start + end) / 2, y - 7 * _FINE), label, "mb", 15)


def _bar_mm(at_most_mm: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, 50 ... mm that is not longer."""
    decade = 10.0 ** np.floor(np.log10(at_most_mm))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= at_most_mm * (1 + 1e-9)))


def _draw_foot(picture: Image.Image, volume: Volume, mask: Mask, window: Window, prompts: Sequence[Prompt]) -> None:
    draw = ImageDraw.Draw(picture)
    y = picture.height - _FOOT // 2 - _GAP // 2
    x = float(2 * _GAP)
    for value in mask.values or ():
        name = mask.labels[value].name if value in mask.labels else f"label {value}" if len(mask.values) > 1 else "mask"
        draw.rectangle((x, y - 7, x + 14, y + 7), fill=_colour_of(mask, value))
        text = f"{name} {_short_ml(mask.volume_ml(value))} mL"
        _write(draw, (x + 21, y), text, "lm", 16, fine=1)
        x += 21 + draw.textlength(text, font=_font(16)) + 20
    if not mask.values:
        _write(draw, (x, y), "the mask is empty", "lm", 16, fine=1)
    facts = [volume.name, volume.modality, f"W {window.width:.4g}  L {window.level:.4g}"]
    facts += [f"{len(prompts)} prompt{'s' * (len(prompts) > 1)}"] if prompts else []
    right = "   ".join(fact for fact in facts if fact)
    room = picture.width - 2 * _GAP - x
    while len(right) > 4 and draw.textlength(right, font=_font(14)) > room:
        right = "..." + right[4:]
    _write(draw, (picture.width - 2 * _GAP, y), right, "rm", 14, fine=1, colour=_FAINT)


def _short_ml(volume_ml: float) -> str:
    return f"{volume_ml:.0f}" if volume_ml >= 100 else f"{volume_ml:.3g}"


def _colour_of(mask: Mask, value: int) -> Colour:
    label = mask.labels.get(value)
    rgb = _PALETTE[(value - 1) % len(_PALETTE)] if label is None or label == Label(label.name) else label.color_rgb
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    anchor: str,
    size: int,
    *,
    fine: int = _FINE,
    colour: Colour = _INK,
) -> None:
    draw.text(at, text, fill=colour, font=_font(size * fine), anchor=anchor, stroke_width=fine, stroke_fill=(0, 0, 0))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
