from __future__ import annotations

import numpy as np
import pytest

from phantoms import GEOMETRIES
from voxsam.cuts import CLICKS_A_STROKE, MOST_TURNS, SliceCut, anchors_of, cut_prompts, indices_of
from voxsam.errors import PromptError
from voxsam.geometry import PLANES, Geometry
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from voxsam.seeds import is_prompted, main_indices, plan_seeds
from voxsam.volume import Mask

GRID = Geometry.from_spacing((12, 30, 40))


def mask_on(*indices: int) -> MaskPrompt:
    drawn = np.zeros(GRID.shape, bool)
    for index in indices:
        drawn[index, 5:10, 5:12] = True
    return MaskPrompt(Mask(drawn, GRID))


def test_clicks_keep_their_order_and_their_sign() -> None:
    cut = cut_prompts(
        [Point((4, 1, 2)), Point((5, 9, 9)), Point((4.4, 3, 4), positive=False), Point((3.5, 5, 6))], GRID, "axial", 4
    )
    assert cut.points_zyx.tolist() == [[4, 1, 2], [4.4, 3, 4], [3.5, 5, 6]]
    assert cut.point_labels.tolist() == [1, 0, 1]
    assert cut.positive_zyx.tolist() == [[4, 1, 2], [3.5, 5, 6]]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("grid", GEOMETRIES.values(), ids=GEOMETRIES)
def test_a_click_on_the_outermost_edge_lies_on_a_slice(plane: str, grid: Geometry) -> None:
    last = np.array(grid.shape) - 0.5
    for zyx in (last, np.full(3, -0.5)):
        (index,) = indices_of(Point(tuple(zyx)), grid, plane)  # type: ignore[arg-type]
        assert 0 <= index < grid.shape[grid.axes_of(plane).normal]  # type: ignore[arg-type]


def test_a_box_speaks_on_its_own_plane_only() -> None:
    flat = Box((4, 5, 6), (4, 15, 26))
    assert cut_prompts([flat], GRID, "axial", 4).boxes == (flat,)
    assert cut_prompts([flat], GRID, "axial", 5).is_empty
    assert cut_prompts([flat], GRID, "coronal", 8).is_empty


def test_a_box_with_an_extent_is_cut() -> None:
    box = Box((2, 5, 6), (8, 15, 26))
    assert cut_prompts([box], GRID, "axial", 3).boxes == (Box((3, 5, 6), (3, 15, 26)),)
    assert cut_prompts([box], GRID, "sagittal", 20).boxes == (Box((2, 5, 20), (8, 15, 20)),)
    assert cut_prompts([box], GRID, "axial", 9).is_empty


def test_a_box_drawn_on_a_slice_goes_before_those_that_pass_through_it() -> None:
    through, drawn = Box((2, 5, 6), (8, 15, 26)), Box((4, 6, 7), (4, 10, 20))
    assert cut_prompts([through, drawn], GRID, "axial", 4).boxes == (drawn,)
    assert cut_prompts([through, drawn], GRID, "axial", 5).boxes == (Box((5, 5, 6), (5, 15, 26)),)


def test_a_box_is_loose_where_it_has_the_sides_of_one_with_an_extent() -> None:
    through, drawn, same = Box((2, 5, 6), (8, 15, 26)), Box((4, 6, 7), (4, 10, 20)), Box((4, 5, 6), (4, 15, 26))
    for prompts, loose in (([drawn], False), ([through, drawn], False), ([through, same], True), ([through], True)):
        cut = cut_prompts(prompts, GRID, "axial", 4)
        assert (cut.boxes[0] in cut.loose) is loose
        plan = plan_seeds(prompts, GRID, "axial")
        assert [box in plan.cuts[z].loose for z in plan.main for box in plan.cuts[z].boxes] == [loose]


def test_parts_of_a_cut_keep_which_box_is_loose() -> None:
    drawn, through = Box((4, 20, 7), (4, 26, 20)), Box((2, 5, 6), (8, 15, 26))
    parts = cut_prompts([through, drawn], GRID, "axial", 4).by_box()
    assert [part.boxes[0] in part.loose for part in parts] == [False, True]


def test_a_stroke_becomes_a_few_clicks_along_it() -> None:
    stroke = Scribble([(4, 10, 2), (4, 10, 33)], positive=False)
    cut = cut_prompts([stroke], GRID, "axial", 4)
    assert len(cut.points_zyx) == CLICKS_A_STROKE
    assert not cut.point_labels.any()
    columns = cut.points_zyx[:, 2]
    assert np.ptp(np.diff(columns)) <= 1
    assert columns[0] > 2
    assert columns[-1] < 33
    assert len(cut_prompts([Scribble([(4, 10, 2), (4, 10, 4)])], GRID, "axial", 4).points_zyx) == 3


def test_a_stroke_through_slices_speaks_on_each() -> None:
    stroke = Scribble([(3, 10, 10), (6, 10, 10)])
    assert list(indices_of(stroke, GRID, "axial")) == [3, 4, 5, 6]
    assert cut_prompts([stroke], GRID, "axial", 5).points_zyx.tolist() == [[5, 10, 10]]


def test_drawn_masks_are_united() -> None:
    other = np.zeros(GRID.shape, bool)
    other[4, 20, 20] = True
    cut = cut_prompts([mask_on(4), MaskPrompt(Mask(other, GRID))], GRID, "axial", 4)
    assert cut.given is not None
    assert cut.given.sum() == 36


def test_several_boxes_are_asked_about_one_by_one() -> None:
    left, right = Box((4, 2, 2), (4, 10, 10)), Box((4, 2, 20), (4, 10, 30))
    prompts: list[Prompt] = [left, right, Point((4, 5, 5)), Point((4, 5, 25)), Point((4, 5, 15), positive=False)]
    parts = cut_prompts(prompts, GRID, "axial", 4).by_box()
    assert [part.boxes for part in parts] == [(left,), (right,)]
    assert [part.positive_zyx.tolist() for part in parts] == [[[4, 5, 5]], [[4, 5, 25]]]
    assert all((part.point_labels == 0).sum() == 1 for part in parts)
    alone = cut_prompts([*prompts, Point((4, 25, 25))], GRID, "axial", 4).by_box()
    assert alone[2].boxes == ()
    assert alone[2].positive_zyx.tolist() == [[4, 25, 25]]


def test_turns_begin_at_the_first_thing_that_is_wanted() -> None:
    labels = np.array([0, 1, 0])
    turns = SliceCut(np.zeros((3, 3)), labels).in_turns()
    assert [turn.point_labels.tolist() for turn in turns] == [[0, 1], [0, 1, 0]]
    boxed = SliceCut(np.zeros((2, 3)), np.array([1, 1]), (Box((4, 2, 2), (4, 9, 9)),)).in_turns()
    assert [len(turn.points_zyx) for turn in boxed] == [0, 1, 2]
    alone = SliceCut(boxes=(Box((4, 2, 2), (4, 9, 9)),))
    assert len(alone.in_turns()) == 2
    assert len(alone.in_turns(after_mask=True)) == 1
    corrected = SliceCut(np.zeros((2, 3)), np.array([0, 1])).in_turns(after_mask=True)
    assert [turn.point_labels.tolist() for turn in corrected] == [[0], [0, 1]]
    assert len(SliceCut().in_turns(after_mask=True)) == 1
    many = SliceCut(np.zeros((30, 3)), np.ones(30, int)).in_turns()
    assert len(many) == MOST_TURNS
    assert len(many[-1].points_zyx) == 30


def test_anchors_lie_where_the_object_was_said_to_be() -> None:
    cut = cut_prompts(
        [Point((4, 1, 2)), Point((4, 20, 20), positive=False), Box((4, 5, 6), (4, 7, 9))], GRID, "axial", 4
    )
    anchors = anchors_of(cut, GRID.axes_of("axial"), (30, 40))
    assert anchors.sum() == 13
    assert anchors[1, 2]


def test_drawn_and_boxed_slices_come_first() -> None:
    prompts = [Point((2, 9, 9)), Box((4, 5, 5), (4, 9, 9)), mask_on(6, 8), Point((9, 9, 9), positive=False)]
    plan = plan_seeds(prompts, GRID, "axial")
    assert plan.main == (4, 6, 8)
    assert plan.corrections == (2, 9)
    assert (plan.bounds, plan.first_index, plan.last_index) == (None, 0, 11)


def test_of_clicks_the_first_positive_one_comes_first() -> None:
    prompts = [Point((2, 9, 9), positive=False), Point((7, 9, 9)), Point((3, 9, 9))]
    plan = plan_seeds(prompts, GRID, "axial")
    assert plan.main == (7,)
    assert plan.corrections == (2, 3)


def test_an_extent_bounds_all_and_counts_in_its_middle() -> None:
    plan = plan_seeds([Box((2, 5, 6), (8, 15, 26))], GRID, "axial")
    assert plan.main == (5,)
    assert plan.cuts[5].boxes == (Box((5, 5, 6), (5, 15, 26)),)
    assert plan.bounds == (5, 16, 6, 27)
    assert (plan.first_index, plan.last_index) == (2, 8)


def test_a_box_drawn_on_the_middle_slice_goes_before_the_extents_own() -> None:
    drawn = Box((5, 6, 7), (5, 10, 20))
    plan = plan_seeds([Box((2, 5, 6), (8, 15, 26)), drawn], GRID, "axial")
    assert plan.cuts[5].boxes == (drawn,)


def test_a_box_drawn_off_the_middle_says_where_an_extent_begins() -> None:
    prompts = [Box((7, 6, 7), (7, 10, 20)), Box((2, 5, 6), (8, 15, 26))]
    plan = plan_seeds(prompts, GRID, "axial")
    assert plan.main == (7,)
    assert (plan.bounds, plan.first_index, plan.last_index) == ((5, 16, 6, 27), 2, 8)
    assert [z for z in range(12) if is_prompted(prompts, GRID, "axial", z)] == [7]


def test_two_extents_with_one_middle_are_both_begun_there() -> None:
    plan = plan_seeds([Box((2, 5, 6), (8, 15, 16)), Box((3, 5, 26), (7, 15, 36))], GRID, "axial")
    assert plan.main == (5,)
    assert plan.cuts[5].boxes == (Box((5, 5, 6), (5, 15, 16)), Box((5, 5, 26), (5, 15, 36)))


def test_a_box_drawn_beside_an_extent_leaves_it_its_own() -> None:
    beside = Box((5, 6, 30), (5, 10, 38))
    through = Box((2, 5, 6), (8, 15, 26))
    assert cut_prompts([through, beside], GRID, "axial", 5).boxes == (beside, Box((5, 5, 6), (5, 15, 26)))
    plan = plan_seeds([through, beside], GRID, "axial")
    assert plan.cuts[5].boxes == (beside, Box((5, 5, 6), (5, 15, 26)))


def test_a_prompt_outside_the_extent_widens_it() -> None:
    plan = plan_seeds([Box((2, 5, 6), (8, 15, 26)), Point((10, 9, 9))], GRID, "axial")
    assert (plan.first_index, plan.last_index) == (2, 10)


def test_the_middle_of_an_extent_counts_as_prompted() -> None:
    prompts = [Box((2, 5, 6), (8, 15, 26))]
    assert [z for z in range(12) if is_prompted(prompts, GRID, "axial", z)] == [5]
    assert main_indices(prompts, GRID, "axial") == (5,)
    assert main_indices([Point((1, 1, 1), positive=False)], GRID, "axial") == ()


@pytest.mark.parametrize(
    ("prompts", "came"),
    [
        ([Point((2, 9, 9), positive=False)], "negative clicks"),
        ([Box((4, 5, 5), (4, 9, 9))], "boxes on another plane"),
    ],
)
def test_prompts_that_say_nowhere_are_refused(prompts: list[Prompt], came: str) -> None:
    with pytest.raises(PromptError, match=came):
        plan_seeds(prompts, GRID, "coronal" if came.startswith("boxes") else "axial")
