"""Which memories SAM 2 makes use of."""

from __future__ import annotations

from voxsam.models.sam2_memories import chosen_memories


def chosen(memories: list[tuple[int, bool]], slots: int = 16) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """What is used, as (distance told, offset)."""
    spatial, pointers = chosen_memories(memories, slots=slots, memory_reach=6, pointer_reach=15)
    return [(distance, memories[i][0]) for distance, i in spatial], [(away, memories[i][0]) for away, i in pointers]


def test_prompted_memories_count_as_no_distance_away_on_either_side() -> None:
    spatial, _ = chosen([(-30, True), (4, True), (-1, False)])
    assert spatial == [(0, -30), (0, 4), (1, -1)]


def test_found_memories_are_attended_to_up_to_six_slices_away_and_pointed_to_up_to_fifteen() -> None:
    walked = [(offset, False) for offset in range(-20, 0)]
    spatial, pointers = chosen([(-21, True), *walked])
    assert spatial == [(0, -21), *((away, -away) for away in range(6, 0, -1))]
    assert pointers == [(21, -21), *((away, -away) for away in range(1, 16))]


def test_pointers_come_from_where_tracking_comes_from() -> None:
    assert chosen([(-3, True), (5, True), (-1, False)])[1] == [(3, -3), (1, -1)]
    assert chosen([(-3, True), (5, True), (1, False)])[1] == [(5, 5), (1, 1)]
    assert chosen([(-3, True), (5, True), (1, False), (-1, False)])[1] == [(3, -3), (5, 5), (1, 1), (1, -1)]


def test_before_the_first_step_tracking_comes_from_the_nearest_prompted_slice() -> None:
    assert chosen([(-1, True), (5, True)])[1] == [(1, -1)]
    assert chosen([(-8, True), (1, True)])[1] == [(1, 1)]
    assert chosen([(-2, True), (2, True)])[1] == [(2, -2), (2, 2)]


def test_what_was_prompted_on_the_view_itself_is_used_and_what_was_found_there_is_not() -> None:
    spatial, pointers = chosen([(0, True), (0, False), (-1, False)])
    assert spatial == [(0, 0), (1, -1)]
    assert pointers == [(0, 0), (1, -1)]


def test_of_too_many_prompted_memories_the_nearest_are_used() -> None:
    spatial, _ = chosen([(offset, True) for offset in (-9, -2, 1, 3, 30)], slots=3)
    assert spatial == [(0, -2), (0, 1), (0, 3)]


def test_a_memory_out_of_reach_is_better_than_none() -> None:
    assert chosen([(-40, False)]) == ([(6, -40)], [])
    assert chosen([(0, False)]) == ([(1, 0)], [])
