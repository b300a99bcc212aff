"""What a tool without a model makes of the same prompts: the methods that a model must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from voxsam.errors import InputError, unknown_name
from voxsam.evaluate.asked import Asked, Region
from voxsam.evaluate.extras import require
from voxsam.evaluate.seeded import fast_grow_cut, graph_cut
from voxsam.interpolate import interpolate_signed_distance

__all__ = ["BASELINES", "Baseline", "baseline"]

BoolArray = npt.NDArray[np.bool_]

#: Share of the window within which flood fill takes a neighbour in: from clicks, and from a box's centre, cut to the
#: box. Fixed in advance, at what did best for flood fill on other scans.
FLOOD_TOLERANCE, FLOOD_TOLERANCE_IN_BOX = 0.05, 0.25
#: How strongly the random walker minds an edge: from clicks (the library's own), and within a box.
WALKER_BETA, WALKER_BETA_IN_BOX = 130.0, 1000.0


@dataclass(frozen=True)
class Baseline:
    """A method without a model.

    Parameters
    ----------
    name : str
    title : str
        One line for a table.
    run : callable
        From `Asked` to the mask found, of the shape of its pixels.
    dimensions : frozenset of int
        2: a slice; 3: a volume.
    prompts : frozenset of str
        What it can start from: ``"click"``, ``"box"``, ``"slice"`` (drawn slices).
    true_slices : int
        How many slices of the truth it is given in ``seed-and-propagate``.
    """

    name: str
    title: str
    run: Callable[[Asked], BoolArray]
    dimensions: frozenset[int]
    prompts: frozenset[str]
    true_slices: int = 1


def filled_box(asked: Asked) -> BoolArray:
    """Take the box itself.

    Examples
    --------
    >>> from voxsam.evaluate.clicks import SimulatedBox
    >>> asked = Asked(np.zeros((8, 9), np.float32), (1.0, 1.0), box=SimulatedBox((2, 3), (4, 6)))
    >>> int(filled_box(asked).sum()), int(filled_ellipse(asked).sum())
    (12, 8)
    """
    found = np.zeros(asked.pixels.shape, bool)
    found[asked.box_slices] = True
    return found


def filled_ellipse(asked: Asked) -> BoolArray:
    """Take the ellipse that touches the box's sides; in 3D the ellipsoid, or a cylinder over a box on one slice."""
    found = np.zeros(asked.pixels.shape, bool)
    if asked.box is None:
        return found
    size = [high - low + 1 for low, high in zip(asked.box.low, asked.box.high, strict=True)]
    squared = np.zeros(size)
    for axis, n in enumerate(size):
        if axis != asked.box_flat_axis:
            offset = (np.arange(n) - (n - 1) / 2.0) / (n / 2.0)
            squared += np.expand_dims(offset**2, [a for a in range(len(size)) if a != axis])
    found[asked.box_slices] = squared <= 1.0
    return found


def flood(asked: Asked) -> BoolArray:
    """Flood fill from each positive click, and from the middle of a box, less what floods from negative clicks."""
    tolerance = FLOOD_TOLERANCE if asked.box is None else FLOOD_TOLERANCE_IN_BOX
    fill = require("skimage.segmentation").flood
    return _grown(asked, lambda pixels, seed: np.asarray(fill(pixels, seed, tolerance=tolerance), bool))


def confidence_connected(asked: Asked) -> BoolArray:
    """Grow from each click into what lies within 2.5 deviations of its surroundings' mean (SimpleITK)."""

    def grow(pixels: npt.NDArray[np.float32], seed: tuple[int, ...]) -> BoolArray:
        image = sitk.GetImageFromArray(np.ascontiguousarray(pixels))
        grown = sitk.ConfidenceConnected(
            image, seedList=[seed[::-1]], numberOfIterations=4, multiplier=2.5, initialNeighborhoodRadius=1
        )
        return np.asarray(sitk.GetArrayFromImage(grown) > 0)

    return _grown(asked, grow)


def random_walker(asked: Asked) -> BoolArray:
    """Let random walkers decide from which seeds a pixel is reached first (scikit-image)."""
    region = Region(asked)
    if not region.foreground.any() or not region.background.any():
        return region.restore(region.foreground)
    walk = require("skimage.segmentation").random_walker
    labels = np.where(region.foreground, 1, np.where(region.background, 2, 0))
    if not (labels == 0).any():
        return region.restore(region.foreground)
    beta = WALKER_BETA if asked.box is None else WALKER_BETA_IN_BOX
    pixels = region.pixels.copy()
    pixels[0, 0] += 1e-3  # the library divides by the deviation, which an even picture does not have
    probability = walk(pixels, labels, beta=beta, mode="bf", return_full_prob=True)
    return region.restore(probability[0])


def grow_cut(asked: Asked) -> BoolArray:
    """Give each pixel to the seeds with the cheapest path to it (GrowCut, by shortest paths)."""
    region = Region(asked)
    return region.restore(fast_grow_cut(region.pixels, region.foreground, region.background))


def cut_graph(asked: Asked) -> BoolArray:
    """Cut the pixels apart where the seeds' intensities and the edges make it cheapest (graph cut)."""
    region = Region(asked)
    return region.restore(graph_cut(region.pixels, region.foreground, region.background))


def chan_vese(asked: Asked) -> BoolArray:
    """Move a contour from the box until inside and outside are each as even as can be (scikit-image, morphological)."""
    region = Region(asked)
    evolve = require("skimage.segmentation").morphological_chan_vese
    start = ~region.background
    if not start.any() or start.all():
        return region.restore(region.foreground)
    found = np.asarray(evolve(region.pixels, num_iter=40, init_level_set=start.astype(np.int8), smoothing=1), bool)
    if found[region.foreground].mean() < 0.5:  # the level set does not know which side is the object
        found = ~found
    return region.restore(_seeded(found & ~region.background, region))


def _seeded(found: BoolArray, region: Region) -> BoolArray:
    """Keep the components that hold a foreground seed."""
    components, _ = ndimage.label(found | region.foreground)
    wanted = np.unique(components[region.foreground])
    return np.asarray(np.isin(components, wanted[wanted > 0]))


def copied(asked: Asked) -> BoolArray:
    """Repeat the nearest drawn slice on every slice."""
    found = np.zeros(asked.pixels.shape, bool)
    if asked.drawn:
        indices = np.array(sorted(asked.drawn))
        along = np.moveaxis(found, asked.drawn_axis, 0)
        for index in range(len(along)):
            along[index] = asked.drawn[int(indices[np.abs(indices - index).argmin()])]
    return found


def interpolated(asked: Asked) -> BoolArray:
    """Interpolate the signed distances of drawn slices between them."""
    found = np.zeros(asked.pixels.shape, bool)
    if asked.drawn:
        row_mm, column_mm = (mm for axis, mm in enumerate(asked.spacing_mm) if axis != asked.drawn_axis)
        along = np.moveaxis(found, asked.drawn_axis, 0)
        between = interpolate_signed_distance(asked.drawn, spacing_mm=(row_mm, column_mm))
        for index, drawn in {**asked.drawn, **between}.items():
            along[index] = drawn
    return found


def _grown(asked: Asked, grow: Callable[[npt.NDArray[np.float32], tuple[int, ...]], BoolArray]) -> BoolArray:
    """Grow from all clicks within the box; what both kinds reach goes to the nearer click."""
    found = np.zeros(asked.pixels.shape, bool)
    crop = asked.box_slices
    pixels = np.ascontiguousarray(asked.pixels[crop])

    def within(marks: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        local = [tuple(at - s.start for at, s in zip(mark, crop, strict=True)) for mark in marks]
        return [mark for mark in local if all(0 <= at < n for at, n in zip(mark, pixels.shape, strict=True))]

    positive, negative = within(asked.positive), within(asked.negative)
    if asked.box is not None:
        positive += within([asked.box_centre])
    wanted, unwanted = np.zeros(pixels.shape, bool), np.zeros(pixels.shape, bool)
    for marks, reached in ((positive, wanted), (negative, unwanted)):
        for mark in marks:
            reached |= grow(pixels, mark)
    contested = np.argwhere(wanted & unwanted)
    if len(contested):
        scaled = np.asarray(asked.spacing_mm)
        to_wanted, to_unwanted = (
            np.min([np.linalg.norm((contested - mark) * scaled, axis=1) for mark in marks], axis=0)
            for marks in (np.array(positive), np.array(negative))
        )
        lost = contested[to_unwanted < to_wanted]
        unwanted[tuple(contested.T)] = False
        unwanted[tuple(lost.T)] = True
    found[crop] = wanted & ~unwanted
    return found


def _kinds(*names: str) -> frozenset[str]:
    return frozenset(names)


_SLICE, _BOTH, _VOLUME = frozenset({2}), frozenset({2, 3}), frozenset({3})

BASELINES: dict[str, Baseline] = {
    entry.name: entry
    for entry in (
        Baseline("chan-vese", "Chan-Vese contour", chan_vese, _SLICE, _kinds("box")),
        Baseline("confidence", "confidence connected", confidence_connected, _BOTH, _kinds("click", "box")),
        Baseline("copy", "copy of the seed slice", copied, _VOLUME, _kinds("slice")),
        Baseline("filled-box", "filled box", filled_box, _BOTH, _kinds("box")),
        Baseline("filled-ellipse", "filled ellipse", filled_ellipse, _BOTH, _kinds("box")),
        Baseline("flood", "flood fill", flood, _BOTH, _kinds("click", "box")),
        Baseline("graph-cut", "graph cut", cut_graph, _SLICE, _kinds("click", "box")),
        Baseline("grow-cut", "GrowCut", grow_cut, _SLICE, _kinds("click", "box")),
        Baseline("interpolate-3", "signed-distance interpolation of 3 true slices", interpolated, _VOLUME,
                 _kinds("slice"), true_slices=3),
        Baseline("interpolate-5", "signed-distance interpolation of 5 true slices", interpolated, _VOLUME,
                 _kinds("slice"), true_slices=5),
        Baseline("random-walker", "random walker", random_walker, _SLICE, _kinds("click", "box")),
    )
}  # fmt: skip


def baseline(name: str) -> Baseline:
    """Find a baseline by its exact name.

    Raises
    ------
    InputError
        If there is none of that name; names the nearest.

    Examples
    --------
    >>> baseline("flood").title
    'flood fill'
    """
    if name in BASELINES:
        return BASELINES[name]
    raise InputError(unknown_name("baseline", name, BASELINES))
