"""Which slices the prompts say something about, which of them come first, and what bounds the object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxsam.cuts import SliceCut, cut_prompts, indices_of, is_within
from voxsam.errors import PromptError
from voxsam.geometry import Geometry, Plane
from voxsam.prompts import Box, Point, Prompt, Scribble
from voxsam.zoom import Bounds

__all__ = ["SeedPlan", "is_prompted", "main_indices", "plan_seeds"]

_NEGATIVE_ONLY, _CLICKED, _BOXED, _DRAWN = range(4)


@dataclass(frozen=True)
class SeedPlan:
    """The slices to begin at.

    Parameters
    ----------
    cuts : mapping of int to SliceCut
        What was said on each prompted slice.
    main : tuple of int
        Slices that are segmented by their own prompts: drawn or boxed ones, else the one clicked first.
    corrections : tuple of int
        The others: their clicks correct what the main slices lead to.
    bounds : Bounds or None
        Rows and columns of the boxes with an extent.
    first_index, last_index : int
        Slices of those boxes, and of every prompt; the whole scan where no box has an extent.

    Examples
    --------
    >>> grid = Geometry.from_spacing((9, 32, 32))
    >>> plan = plan_seeds([Box((2, 5, 5), (6, 20, 20)), Point((5, 9, 9))], grid, "axial")
    >>> plan.main, plan.corrections, (plan.first_index, plan.last_index)
    ((4,), (5,), (2, 6))
    """

    cuts: Mapping[int, SliceCut]
    main: tuple[int, ...]
    corrections: tuple[int, ...]
    bounds: Bounds | None
    first_index: int
    last_index: int


def plan_seeds(prompts: Sequence[Prompt], geometry: Geometry, plane: Plane) -> SeedPlan:
    """Decide where to begin.

    Parameters
    ----------
    prompts : sequence of Prompt
        Of one object, on this grid.
    geometry : Geometry
    plane : {"axial", "coronal", "sagittal"}

    Returns
    -------
    SeedPlan

    Raises
    ------
    PromptError
        If nothing says on a slice of this plane where the object is.
    """
    extents = [prompt for prompt in prompts if isinstance(prompt, Box) and _has_extent(prompt)]
    others = [prompt for prompt in prompts if not _has_extent(prompt)]
    cuts = {
        index: cut_prompts(prompts, geometry, plane, index, extents=False)
        for index in sorted({index for prompt in others for index in indices_of(prompt, geometry, plane)})
    }
    for middle, boxes in _boxed_by_extents(prompts, geometry, plane).items():
        boxed = cut_prompts(boxes, geometry, plane, middle)
        own = cuts.get(middle, SliceCut())
        cuts[middle] = replace(own, boxes=(*own.boxes, *boxed.boxes), loose=own.loose | boxed.loose)
    main = _main_of(cuts, others, geometry, plane)
    spans = [index for box in extents for index in indices_of(box, geometry, plane)]
    held = (*cuts, *spans)
    return SeedPlan(
        cuts=cuts,
        main=main,
        corrections=tuple(index for index in sorted(cuts) if index not in main),
        bounds=_bounds_of(extents, geometry, plane),
        first_index=min(held) if extents else 0,
        last_index=max(held) if extents else geometry.shape[geometry.axes_of(plane).normal] - 1,
    )


def is_prompted(prompts: Sequence[Prompt], geometry: Geometry, plane: Plane, index: int) -> bool:
    """Say whether a slice has prompts of its own: inside a box with an extent alone does not count.

    Examples
    --------
    >>> grid = Geometry.from_spacing((9, 32, 32))
    >>> [is_prompted([Box((2, 5, 5), (6, 20, 20)), Point((5, 9, 9))], grid, "axial", z) for z in (3, 4, 5)]
    [False, True, True]
    """
    own = any(index in indices_of(prompt, geometry, plane) for prompt in prompts if not _has_extent(prompt))
    return own or index in _boxed_by_extents(prompts, geometry, plane)


def main_indices(prompts: Sequence[Prompt], geometry: Geometry, plane: Plane) -> tuple[int, ...]:
    """Return `SeedPlan.main`; nothing where no prompt says where the object is."""
    try:
        return plan_seeds(prompts, geometry, plane).main
    except PromptError:
        return ()


def _boxed_by_extents(prompts: Iterable[Prompt], geometry: Geometry, plane: Plane) -> dict[int, list[Box]]:
    """Return boxes with an extent by the slice in their middle; not those within which a box was drawn on a slice."""
    boxes = [prompt for prompt in prompts if isinstance(prompt, Box)]
    drawn = [box for box in boxes if not _has_extent(box) and indices_of(box, geometry, plane)]
    found: dict[int, list[Box]] = {}
    for box in filter(_has_extent, boxes):
        if not any(is_within(own, box) for own in drawn):
            span = indices_of(box, geometry, plane)
            found.setdefault(span[len(span) // 2], []).append(box)
    return found


def _has_extent(prompt: Prompt) -> bool:
    return isinstance(prompt, Box) and prompt.flat_axis is None


def _main_of(
    cuts: Mapping[int, SliceCut], prompts: Iterable[Prompt], geometry: Geometry, plane: Plane
) -> tuple[int, ...]:
    """Return the slices where the most was said."""
    strengths = {index: _strength_of(cut) for index, cut in cuts.items()}
    most = max(strengths.values(), default=_NEGATIVE_ONLY)
    if most == _NEGATIVE_ONLY:
        raise PromptError(
            "no prompt says where the object is: expected a positive click or stroke, a mask, or a box on one of the "
            f"{plane} slices or with an extent; got {'negative clicks' if cuts else 'boxes on another plane'} alone"
        )
    if most >= _BOXED:
        return tuple(index for index, strength in strengths.items() if strength >= _BOXED)
    clicked = next(p for p in prompts if isinstance(p, Point | Scribble) and p.positive)
    indices = indices_of(clicked, geometry, plane)
    return (indices[len(indices) // 2],)


def _strength_of(cut: SliceCut) -> int:
    if cut.given is not None:
        return _DRAWN
    if cut.boxes:
        return _BOXED
    return _CLICKED if len(cut.positive_zyx) else _NEGATIVE_ONLY


def _bounds_of(extents: Sequence[Box], geometry: Geometry, plane: Plane) -> Bounds | None:
    if not extents:
        return None
    axes = geometry.axes_of(plane)
    low = np.min([box.low_zyx for box in extents], axis=0)
    high = np.max([box.high_zyx for box in extents], axis=0)
    low, high = np.floor(low + 0.5).astype(int), np.floor(high + 0.5).astype(int)
    return int(low[axes.row]), int(high[axes.row]) + 1, int(low[axes.column]), int(high[axes.column]) + 1
