"""A change goes on to the slices beside it for as long as it has something to say there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fakes import FloodFillModel
from phantoms import paint
from voxsam.changes import carry_change, touching_within
from voxsam.embeddings import EmbeddingStore
from voxsam.geometry import Geometry
from voxsam.stops import StopRules
from voxsam.views import SliceStack
from voxsam.walk import CarryRules, Step, Walker
from voxsam.windowing import choose_window

BoolArray = npt.NDArray[np.bool_]

#: A rod through all slices; beside it, on slices 4 to 9, what a first answer had missed.
ROD = np.zeros((14, 40, 44), bool)
ROD[:, 14:26, 10:22] = True
PART = np.zeros_like(ROD)
PART[4:10, 16:24, 22:34] = True


@pytest.fixture
def walker() -> Walker:
    return walker_on(ROD | PART)


def walker_on(truth: BoolArray) -> Walker:
    scan = paint(truth, Geometry.from_spacing(truth.shape, (2.0, 1.0, 1.0)), noise_hu=0)
    store = EmbeddingStore(FloodFillModel(), SliceStack(scan))
    view = store.stack.view("axial", 6, choose_window(scan, "auto"))
    return Walker(store, view, stops=StopRules(), carry=CarryRules(), zoom=None)


def step_of(walker: Walker, index: int, mask: BoolArray) -> Step:
    return Step(index, None, mask, walker.area_of(mask))


def carried(walker: Walker, masks: dict[int, BoolArray], indices: range, **how: object) -> dict[int, BoolArray]:
    start = step_of(walker, 6, (ROD | PART)[6])
    told = walker.told_by([start])
    changes = carry_change(walker, told, start, ROD[6], masks, indices, **how)  # type: ignore[arg-type]
    return {changed.index: changed.step.mask for changed in changes}


def test_a_change_is_carried_to_where_nothing_is_new(walker: Walker) -> None:
    found = carried(walker, {index: ROD[index] for index in range(14)}, range(7, 14))
    assert list(found) == [7, 8, 9]  # where the part ends
    for index, mask in found.items():
        assert np.array_equal(mask, (ROD | PART)[index])


def test_a_change_that_grows_by_more_than_half_goes_no_further() -> None:
    leak = np.zeros_like(ROD)
    leak[8:10, 12:28, 22:38] = True
    masks = {index: ROD[index] for index in range(14)}
    assert list(carried(walker_on(ROD | PART | leak), masks, range(7, 14))) == [7]
    assert list(carried(walker_on(ROD | PART), masks, range(7, 14))) == [7, 8, 9]


def test_nothing_beside_the_change_is_touched(walker: Walker) -> None:
    wrong = {index: ROD[index].copy() for index in range(14)}
    for mask in wrong.values():
        mask[14:26, 10:12] = False  # wrong too, but on the far side
    found = carried(walker, wrong, range(7, 14))
    assert not any(mask[14:26, 10:12].any() for mask in found.values())
    assert found[7][20, 30]


def test_near_another_prompted_slice_what_was_there_counts_for_more(walker: Walker) -> None:
    masks = {index: ROD[index] for index in range(14)}
    free, held = carried(walker, masks, range(7, 10)), carried(walker, masks, range(7, 10), anchor=10)
    widths = [int(np.count_nonzero(held[index] & PART[index])) for index in held]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < np.count_nonzero(free[9] & PART[9])


def test_a_slice_with_a_better_answer_of_its_own_ends_a_change(walker: Walker) -> None:
    masks = {index: ROD[index] for index in range(14)}
    assert list(carried(walker, masks, range(7, 14), weak={8: 1.0})) == [7]
    assert list(carried(walker, masks, range(7, 14), weak={8: 0.5})) == [7, 8, 9]


def test_touching_within_keeps_off_what_is_far() -> None:
    difference, changed = np.zeros((9, 30), bool), np.zeros((9, 30), bool)
    difference[4, 2:28] = True
    changed[4, 2:5] = True
    kept = touching_within(difference, changed, (2, 2))
    assert np.flatnonzero(kept[4]).tolist() == [2, 3, 4, 5, 6]
    assert not touching_within(difference, np.zeros_like(changed), (2, 2)).any()
