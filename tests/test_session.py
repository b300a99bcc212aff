from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxsam.errors import SessionError
from voxsam.geometry import Geometry, PlaneAxes
from voxsam.prompts import MaskPrompt, Point
from voxsam.report import Report, SliceReport
from voxsam.session import CroppedMask, History, ObjectState, Preview, SessionState, without_prompt
from voxsam.views import slice_of
from voxsam.volume import Mask

RED = (0.9, 0.1, 0.1)


def state_with(*masks: CroppedMask) -> SessionState:
    return SessionState(tuple(ObjectState(n, f"object {n}", RED, mask=mask) for n, mask in enumerate(masks, start=1)))


def blob(size: int, *, seed: int = 0) -> CroppedMask:
    return CroppedMask.of(np.random.default_rng(seed).random((size, size, size)) > 0.5)


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(1, 12)] * 3), st.floats(0, 1), st.integers(0, 2**31))
def test_a_mask_is_the_same_after_packing(shape: tuple[int, int, int], share: float, seed: int) -> None:
    whole = np.random.default_rng(seed).random(shape) < share**3
    small = CroppedMask.of(whole)
    assert np.array_equal(small.to_array(), whole)
    assert small == CroppedMask.of(whole.copy())
    assert hash(small) == hash(CroppedMask.of(whole.copy()))
    assert small.nbytes <= whole.size // 8 + 1


@settings(deadline=None, max_examples=60)
@given(st.permutations(range(3)), st.tuples(*[st.integers(1, 12)] * 3), st.floats(0, 1), st.integers(0, 2**31))
def test_one_slice_of_a_packed_mask_is_that_of_the_whole(
    order: list[int], shape: tuple[int, int, int], share: float, seed: int
) -> None:
    whole = np.random.default_rng(seed).random(shape) < share**3
    axes = PlaneAxes(*order, row_flip=False, column_flip=True)
    for index in range(shape[axes.normal]):
        assert np.array_equal(CroppedMask.of(whole).slice_of(axes, index), slice_of(whole, axes, index))


def test_masks_of_one_box_but_other_voxels_differ() -> None:
    whole = np.zeros((4, 8, 8), bool)
    whole[1:3, 2:6, 2:6] = True
    holed = whole.copy()
    holed[1, 3, 3] = False
    assert CroppedMask.of(whole) != CroppedMask.of(holed)
    assert CroppedMask.of(whole) != CroppedMask.of(np.roll(whole, 1, axis=2))
    assert CroppedMask.of(whole) != 3


def test_states_compare_by_value_and_reports_do_not_count() -> None:
    one = ObjectState(1, "liver", RED, (Point((1, 2, 3)),), blob(6), Report(volume_ml=1.0))
    other = ObjectState(1, "liver", RED, (Point((1, 2, 3)),), blob(6), Report(volume_ml=2.0))
    assert SessionState((one,)) == SessionState((other,))
    assert SessionState((one,)) != SessionState((replace(other, mask=blob(6, seed=1)),))


def test_an_object_is_replaced_in_its_place() -> None:
    state = state_with(blob(3), blob(3), blob(3))
    changed = replace(state.object(2), name="spleen")
    assert [item.name for item in state.with_object(changed).objects] == ["object 1", "spleen", "object 3"]
    assert [item.id for item in state.without_object(2).objects] == [1, 3]
    assert [item.id for item in state.objects] == [1, 2, 3]


def test_an_unknown_object_is_an_error_with_the_way_out() -> None:
    with pytest.raises(SessionError, match="add one with add_object"):
        SessionState().object(1)


def test_a_mask_is_stale_until_its_prompts_are_heard() -> None:
    item = ObjectState(1, "liver", RED)
    assert not item.is_stale
    assert replace(item, prompts=(Point((1, 2, 3)),)).is_stale
    heard = replace(item, prompts=(Point((1, 2, 3)),), answered=(Point((1, 2, 3)),))
    assert not heard.is_stale
    assert replace(heard, prompts=()).is_stale
    assert replace(heard, prompts=(Point((4, 5, 6)),)).is_stale


def test_of_equal_prompts_the_last_is_taken_back() -> None:
    twice = ObjectState(1, "liver", RED, (Point((1, 2, 3)), Point((4, 5, 6)), Point((1, 2, 3))))
    assert without_prompt(twice, Point((1, 2, 3))).prompts == (Point((1, 2, 3)), Point((4, 5, 6)))
    with pytest.raises(SessionError, match="no such prompt"):
        without_prompt(twice, Point((1, 2, 3), positive=False))


def test_undo_and_redo_walk_the_snapshots() -> None:
    states = [state_with(*[blob(3, seed=n) for n in range(count)]) for count in range(5)]
    history = History(states[0])
    for state in states[1:]:
        history.push(state)
    assert history.can_undo
    assert not history.can_redo
    assert [history.undo() for _ in range(4)] == states[3::-1]
    assert not history.can_undo
    assert [history.redo() for _ in range(4)] == states[1:]


def test_the_budget_lets_the_oldest_go() -> None:
    size = blob(64).nbytes
    history = History(SessionState(), budget_mb=3.5 * size / 2**20)
    for n in range(10):
        history.push(state_with(blob(64, seed=n)))
    assert history.nbytes <= 3.5 * size
    steps = 0
    while history.can_undo:
        history.undo()
        steps += 1
    assert steps == 3
    assert history.now == state_with(blob(64, seed=6))


def test_what_snapshots_share_counts_once() -> None:
    shared = blob(64)
    history = History(state_with(shared), budget_mb=1)
    for n in range(200):
        item = history.now.object(1)
        history.push(history.now.with_object(replace(item, prompts=(*item.prompts, Point((n, 0, 0))))))
    assert history.nbytes == 0
    assert len([history.undo() for _ in range(200)]) == 200


def test_drawn_masks_count_too() -> None:
    drawn = MaskPrompt(Mask(np.ones((8, 8, 8), bool), Geometry.from_spacing((8, 8, 8))))
    history = History(SessionState((ObjectState(1, "a", RED, (drawn,)),)))
    assert history.nbytes == 0
    history.push(SessionState())
    assert history.nbytes == 64  # eight voxels a byte


def test_two_hundred_edits_of_a_large_organ_stay_small_and_undo_is_quick() -> None:
    z, y, x = np.ogrid[:100, :250, :250]
    whole = np.zeros((200, 512, 512), bool)
    whole[50:150, 100:350, 100:350] = (z - 50) ** 2 / 50**2 + (y - 125) ** 2 / 125**2 + (x - 125) ** 2 / 125**2 <= 1
    mask = CroppedMask.of(whole)
    assert 200 * mask.nbytes < 300 * 2**20
    history = History(state_with(mask))
    history.push(state_with(blob(8)))
    started = time.perf_counter()
    history.undo()
    assert time.perf_counter() - started < 0.02


def test_a_preview_is_positive_inside() -> None:
    assert Preview("axial", 3, np.array([[-1.0, 2.0]], np.float32), 0.9).mask.tolist() == [[False, True]]


def test_pixels_on_which_alternatives_disagree_are_uncertain() -> None:
    answer, other = np.array([[-9.0, 9.0, 9.0]], np.float32), np.array([[-9.0, -9.0, 9.0]], np.float32)
    preview = Preview("axial", 3, answer, 0.9, (other,))
    assert preview.uncertainty.round(2).tolist() == [[0.0, 1.0, 0.0]]


def test_a_report_is_rounded_to_what_it_means() -> None:
    line = SliceReport(3, "stopped", 0.123456, 12.3456, None, "overlap 0.12 is below 0.2")
    assert line.to_json() == {
        "index": 3,
        "source": "stopped",
        "overlap": 0.123,
        "area_mm2": 12.35,
        "quality": None,
        "reason": "overlap 0.12 is below 0.2",
    }
    assert Report(slices=(line,)).of_source("prompted") == ()
