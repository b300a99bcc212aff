from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import (
    GEOMETRIES,
    GROUND_HU,
    OBJECT_HU,
    PHANTOMS,
    Phantom,
    branching,
    dice,
    ellipsoid,
    organ_that_ends,
    sphere,
    tube,
)
from voxsam.embeddings import EmbeddingStore
from voxsam.errors import Cancelled, PromptError
from voxsam.geometry import PLANES, Geometry, Plane
from voxsam.looks import Look
from voxsam.models.base import Embedding, SliceLogits, SlicePrompts
from voxsam.prompts import Box, MaskPrompt, Point, Prompt
from voxsam.propagate import CarryRules, Propagation, StopRules, propagate
from voxsam.report import SliceReport
from voxsam.views import SliceStack, slice_of
from voxsam.volume import Mask, Volume
from voxsam.walk import islands_touching
from voxsam.windowing import Window

WINDOWS = (Window(400, 40),)


class Counting(FloodFillModel):
    """Remembers what it was asked, and says the quality it was told to."""

    def __init__(self, quality: float = 0.95) -> None:
        super().__init__()
        self.heard: list[SlicePrompts] = []
        self.quality = quality

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        self.heard.append(prompts)
        answer = super().decode(embedding, prompts, multimask=multimask)
        return SliceLogits(answer.logits, np.full_like(answer.scores, self.quality), answer.low_res_logits)


def carried(
    volume: Volume,
    prompts: Sequence[Prompt],
    plane: Plane | None = None,
    *,
    model: FloodFillModel | None = None,
    **rules,
) -> Propagation:
    store = EmbeddingStore(model or FloodFillModel(), volume)
    return propagate(store, prompts, plane=plane or volume.geometry.native_plane, windows=WINDOWS, **rules)


def slices_of(found: Propagation, source: str) -> list[int]:
    return [report.index for report in found.slices if report.source == source]


def reason_at(found: Propagation, index: int) -> str:
    return next(report.reason for report in found.slices if report.index == index)


def drawn_on(phantom: Phantom, axis: int, *indices: int) -> MaskPrompt:
    drawn = np.zeros(phantom.volume.geometry.shape, bool)
    for index in indices:
        at = [slice(None)] * 3
        at[axis] = slice(index, index + 1)
        drawn[tuple(at)] = phantom.truth.array[tuple(at)]
    return MaskPrompt(Mask(drawn, phantom.volume.geometry))


@pytest.mark.parametrize("grid", GEOMETRIES)
@pytest.mark.parametrize("kind", PHANTOMS)
def test_one_click_finds_the_whole_object(kind: str, grid: str) -> None:
    phantom = PHANTOMS[kind](GEOMETRIES[grid])
    found = carried(phantom.volume, [Point(phantom.inside_zyx)])
    assert dice(found.mask, np.asarray(phantom.truth.array)) > 0.88


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("grid", GEOMETRIES)
def test_any_plane_will_do(grid: str, plane: Plane) -> None:
    phantom = ellipsoid(GEOMETRIES[grid])
    found = carried(phantom.volume, [Point(phantom.inside_zyx)], plane)
    assert dice(found.mask, np.asarray(phantom.truth.array)) > 0.88


def test_each_slice_says_where_it_came_from() -> None:
    phantom = tube(GEOMETRIES["thick-slices"])
    z = phantom.inside_zyx[0]
    found = carried(phantom.volume, [Point(phantom.inside_zyx)])
    assert [report.index for report in found.slices] == list(range(14))
    assert slices_of(found, "prompted") == [z]
    prompted = found.slices[z]
    assert prompted.overlap is None
    for report in found.slices:
        voxels = int(found.mask[report.index].sum())
        assert report.area_mm2 == pytest.approx(voxels * 0.8 * 0.8)
        assert report.quality is not None
        if report.index != z:
            neighbour = found.mask[report.index + (1 if report.index < z else -1)]
            here = found.mask[report.index]
            assert report.overlap == pytest.approx((here & neighbour).sum() / (here | neighbour).sum())
        assert not report.reason


# --- stops


def test_an_organ_that_ends_stops_it_though_something_like_it_goes_on() -> None:
    for name in ("thick-slices", "awkward"):
        phantom = organ_that_ends(GEOMETRIES[name])
        found = carried(phantom.volume, [Point(phantom.inside_zyx)], model=FloodFillModel(tolerance=0.2))
        held = np.flatnonzero(np.asarray(phantom.truth.array).any(axis=(1, 2)))
        stopped = slices_of(found, "stopped")
        assert len(stopped) == 2
        assert abs(stopped[0] - held[0]) <= 2
        assert abs(stopped[1] - held[-1]) <= 2
        assert dice(found.mask, np.asarray(phantom.truth.array)) > 0.9


def stack_of_discs(
    radii: Sequence[float], *, values: Sequence[int] | None = None, columns: Sequence[int] = ()
) -> Volume:
    """One disc a slice, 64 by 64 pixels of 1 mm, slices 2 mm apart."""
    rows, cols = np.ogrid[:64, :64]
    array = np.full((len(radii), 64, 64), GROUND_HU, np.int16)
    for z, radius in enumerate(radii):
        middle = columns[z] if columns else 32
        array[z][np.hypot(rows - 32, cols - middle) <= radius] = values[z] if values else OBJECT_HU
    return Volume(array, Geometry.from_spacing(array.shape, (2.0, 1.0, 1.0)))


def test_it_stops_where_the_object_leaks() -> None:
    volume = stack_of_discs([8, 8, 8, 20, 20])
    unboxed = CarryRules(box=False)
    found = carried(volume, [Point((0, 32, 32))], carry=unboxed)
    assert slices_of(found, "stopped") == [3]
    assert "area grew" in reason_at(found, 3)
    free = carried(volume, [Point((0, 32, 32))], carry=unboxed, stops=StopRules(max_area_ratio=99, min_overlap=0.1))
    assert slices_of(free, "propagated") == [1, 2, 3, 4]


def test_it_stops_where_the_object_moves_away() -> None:
    volume = stack_of_discs([8] * 4, columns=[32, 32, 37, 37])
    unboxed = CarryRules(box=False)
    found = carried(volume, [Point((0, 32, 32))], carry=unboxed, stops=StopRules(min_overlap=0.5))
    assert slices_of(found, "stopped") == [2]
    assert "overlap 0.44 is below 0.5" in reason_at(found, 2)
    assert slices_of(carried(volume, [Point((0, 32, 32))], carry=unboxed), "propagated") == [1, 2, 3]


def test_it_stops_where_the_object_becomes_small() -> None:
    volume = stack_of_discs([8, 7, 6, 5])
    found = carried(volume, [Point((0, 32, 32))], stops=StopRules(min_area_mm2=100))
    assert slices_of(found, "stopped") == [3]
    assert reason_at(found, 3) == "area 81.0 mm2 is below 100"


def test_it_stops_where_the_model_doubts() -> None:
    volume = stack_of_discs([8] * 4)
    found = carried(volume, [Point((1, 32, 32))], model=Counting(quality=0.2))
    assert slices_of(found, "prompted") == [1]
    assert slices_of(found, "stopped") == [0, 2]
    assert "quality 0.20 is below 0.3" in reason_at(found, 2)


def test_an_unsure_answer_to_one_click_says_so() -> None:
    volume, click = stack_of_discs([8] * 4), Point((1, 32, 32))
    unsure = carried(volume, [click], model=Counting(quality=0.16))
    assert reason_at(unsure, 1) == "the model is unsure here: add a box or another click"
    assert slices_of(unsure, "prompted") == [1]
    assert unsure.mask[1].any()
    for prompts, quality in (([click], 0.4), ([click, Point((1, 30, 30))], 0.16), ([Box((1, 20, 20), (1, 44, 44))], 0)):
        assert reason_at(carried(volume, prompts, model=Counting(quality=quality)), 1) == ""


def test_it_stops_where_the_object_looks_otherwise() -> None:
    volume = stack_of_discs([8] * 5, values=[120, 120, 120, 60, 60])
    found = carried(volume, [Point((0, 32, 32))], model=FloodFillModel(tolerance=0.2))
    assert slices_of(found, "stopped") == [3]
    assert "looks like the prompted slice" in reason_at(found, 3)


def test_likeness_is_judged_on_what_the_model_sees() -> None:
    class Evened(SliceStack):
        def prepare(self, *args: object, **options: object) -> Volume:
            return replace(self.volume, array=np.where(self.volume.array > GROUND_HU, OBJECT_HU, GROUND_HU))

    volume = stack_of_discs([8] * 5, values=[120, 120, 120, 60, 60])
    store = EmbeddingStore(FloodFillModel(tolerance=0.2), Evened(volume))
    found = propagate(store, [Point((0, 32, 32))], plane="axial", windows=WINDOWS)
    assert slices_of(found, "propagated") == [1, 2, 3, 4]


def test_it_stops_where_nothing_is_found() -> None:
    class Blind(FloodFillModel):
        def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
            answer = super().decode(embedding, prompts, multimask=multimask)
            return SliceLogits(-abs(answer.logits), answer.scores, answer.low_res_logits)

    volume = stack_of_discs([8] * 4)
    drawn = np.zeros(volume.geometry.shape, bool)
    drawn[1] = volume.array[1] > 0
    found = carried(volume, [MaskPrompt(Mask(drawn, volume.geometry))], model=Blind())
    assert slices_of(found, "stopped") == [0, 2]
    assert reason_at(found, 2) == "nothing was found"
    nothing = carried(volume, [Point((1, 32, 32))], model=Blind())
    assert not nothing.mask.any()
    assert nothing.slices == (SliceReport(1, "prompted", None, 0.0, pytest.approx(0.95), "nothing was found here"),)
    assert nothing.prompted == ()


@pytest.mark.parametrize(
    ("rules", "low", "high", "reason"),
    [
        ({"max_distance_mm": 4.0}, 4, 8, "farther than 4 mm"),
        ({"first_index": 5}, 5, 11, "first slice asked for is 5"),
        ({"last_index": 7}, 0, 7, "last slice asked for is 7"),
        ({"first_index": 6, "last_index": 6}, 6, 6, "slice asked for"),
    ],
)
def test_the_user_may_say_how_far(rules: dict[str, float], low: int, high: int, reason: str) -> None:
    volume = stack_of_discs([8] * 12)
    model = FloodFillModel()
    found = carried(volume, [Point((6, 32, 32))], stops=StopRules(**rules), model=model)  # type: ignore[arg-type]
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == list(range(low, high + 1))
    assert model.encoded == high - low + 1
    for index in slices_of(found, "stopped"):
        assert reason in reason_at(found, index)
    assert slices_of(found, "stopped") == [z for z in (low - 1, high + 1) if 0 <= z < 12]


def test_no_slice_beyond_the_scan_is_reported() -> None:
    volume = stack_of_discs([8] * 6)
    found = carried(volume, [Point((5, 32, 32))], stops=StopRules(last_index=3))
    assert [report.index for report in found.slices] == list(range(6))
    assert not slices_of(found, "stopped")


def test_a_box_with_an_extent_bounds_it() -> None:
    volume = stack_of_discs([8] * 12)
    found = carried(volume, [Box((3, 20, 20), (8, 36, 44))])
    held = np.argwhere(found.mask)
    assert held.min(0).tolist() == [3, 24, 24]
    assert held.max(0).tolist() == [8, 36, 40]
    assert slices_of(found, "prompted") == [6]
    assert slices_of(found, "stopped") == [2, 9]
    assert "outside the box" in reason_at(found, 9)


# --- what the next slice is asked with


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("box", [True, False])
@pytest.mark.parametrize("point", [True, False])
def test_what_is_carried_on_can_be_switched(mask: bool, box: bool, point: bool) -> None:
    model = Counting()
    volume = stack_of_discs([8] * 3)
    found = carried(volume, [Point((0, 32, 32))], model=model, carry=CarryRules(mask=mask, box=box, point=point))
    later = model.heard[1:]
    assert any(prompts.mask_logits is not None for prompts in later) == mask
    assert any(prompts.box_xyxy is not None for prompts in later) == box
    assert any(len(prompts.points_xy) for prompts in later) == point
    assert bool(slices_of(found, "propagated")) == (mask or box or point)


def test_the_carried_box_has_its_margin_in_millimetres_and_the_click_is_deep() -> None:
    model = Counting()
    carried(
        stack_of_discs([8] * 2), [Point((0, 30, 29))], model=model, carry=CarryRules(box_margin_mm=3.0), auto_zoom=False
    )
    prompts = model.heard[-1]
    assert prompts.box_xyxy is not None
    # columns run to the patient's left: 63 - 32 = 31
    assert prompts.box_xyxy.tolist() == [31 - 11, 31 - 11, 31 + 11, 31 + 11]
    assert np.abs(prompts.points_xy[0] - 31).max() <= 1


def test_doubtful_answers_are_asked_for_in_other_ways() -> None:
    model = Counting()
    carried(stack_of_discs([8, 8]), [Point((0, 32, 32))], model=model)
    assert len(model.heard) == 2  # one on the prompted slice, one on the next: it agreed
    model = Counting()
    carried(stack_of_discs([8, 5]), [Point((0, 32, 32))], model=model)
    assert len(model.heard) == 5


def test_islands_that_do_not_touch_the_last_mask_are_dropped() -> None:
    volume = branching(GEOMETRIES["thick-slices"]).volume
    found = carried(volume, [Point(branching(GEOMETRIES["thick-slices"]).inside_zyx)])
    assert found.mask[13].sum() > 0
    row = np.array([[True, True, False, True, False]])
    assert islands_touching(row, np.array([[False, True, False, False, True]])).tolist() == [
        [True, True, False, False, False]
    ]


# --- several prompted slices


def test_between_prompted_slices_both_ends_are_heard() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    held = np.flatnonzero(np.asarray(phantom.truth.array).any(axis=(1, 2)))
    low, high = int(held[2]), int(held[-3])
    found = carried(phantom.volume, [drawn_on(phantom, 0, low, high)])
    assert slices_of(found, "prompted") == [low, high]
    assert set(range(low + 1, high)) <= set(slices_of(found, "propagated"))
    assert dice(found.mask, np.asarray(phantom.truth.array)) > 0.95


def test_a_drawn_slice_stays_as_it_was_drawn() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    drawn = np.zeros(phantom.volume.geometry.shape, bool)
    drawn[15, 10:14, 12:30] = True  # not what the model would say
    drawn[20, 15:25, 18:25] = True
    found = carried(phantom.volume, [MaskPrompt(Mask(drawn, phantom.volume.geometry))])
    for index in (15, 20):
        assert np.array_equal(found.mask[index], drawn[index])
        assert next(r for r in found.slices if r.index == index).quality is None


def test_the_blend_goes_evenly_from_one_end_to_the_other() -> None:
    class Stubborn(FloodFillModel):
        """Whatever it is asked, it says the earlier mask, and is sure of it."""

        def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
            assert prompts.mask_logits is not None
            logits = prompts.mask_logits[None]
            return SliceLogits(logits, np.array([1.0], np.float32), logits)

    volume = stack_of_discs([10] * 9)
    rows, cols = np.ogrid[:64, :64]
    drawn = np.zeros(volume.geometry.shape, bool)
    drawn[0], drawn[8] = np.hypot(rows - 32, cols - 32) <= 8, np.hypot(rows - 32, cols - 32) <= 12
    found = carried(volume, [MaskPrompt(Mask(drawn, volume.geometry))], model=Stubborn(), auto_zoom=False)
    areas = [int(found.mask[z].sum()) for z in range(9)]
    assert areas[1:4] == [areas[0]] * 3
    assert areas[5:8] == [areas[8]] * 3
    assert all(r.overlap == pytest.approx(areas[0] / areas[8]) for r in found.slices if 0 < r.index < 8)


def test_where_the_ways_do_not_meet_the_shape_is_drawn_between() -> None:
    values = [120, 120, GROUND_HU, GROUND_HU, GROUND_HU, 120, 120]  # the object cannot be seen half way
    volume = stack_of_discs([8] * 7, values=values)
    drawn = np.zeros(volume.geometry.shape, bool)
    rows, cols = np.ogrid[:64, :64]
    for z in (1, 5):
        drawn[z] = np.hypot(rows - 32, cols - 32) <= 8
    found = carried(volume, [MaskPrompt(Mask(drawn, volume.geometry))])
    assert slices_of(found, "interpolated") == [2, 3, 4]
    assert all(np.array_equal(found.mask[z], drawn[1]) for z in (2, 3, 4))
    assert "do not meet" in reason_at(found, 3)


def test_one_side_alone_is_followed_where_the_other_end_is_empty() -> None:
    volume = stack_of_discs([8] * 6 + [0])
    drawn = np.zeros(volume.geometry.shape, bool)
    drawn[0] = volume.array[0] > 0
    found = carried(volume, [MaskPrompt(Mask(drawn, volume.geometry)), Point((6, 32, 32), positive=False)])
    assert slices_of(found, "propagated") == [1, 2, 3, 4, 5]
    assert all(reason_at(found, z) == "from one side only" for z in (1, 2, 3, 4, 5))


def test_an_object_may_look_otherwise_on_each_prompted_slice() -> None:
    volume = stack_of_discs([8] * 7, values=[120, 120, 120, 120, 40, 40, 40])
    drawn = np.zeros(volume.geometry.shape, bool)
    drawn[0] = drawn[6] = volume.array[0] > 0
    found = carried(volume, [MaskPrompt(Mask(drawn, volume.geometry))])
    assert slices_of(found, "propagated") == [1, 2, 3, 4, 5]
    alone = carried(volume, [drawn_at(volume, 0)])
    assert slices_of(alone, "stopped") == [4]


def test_the_tip_of_an_organ_does_not_say_how_it_looks() -> None:
    radii, values = [8, 8, 8, 8, 2, 8, 8], [120, 120, 120, 120, 0, 0, 0]  # its last drawn slice is hardly the organ
    volume = stack_of_discs(radii, values=values)
    found = carried(volume, [drawn_at(volume, 1), drawn_at(volume, 4)])
    assert slices_of(found, "stopped") == [5]


def drawn_at(volume: Volume, index: int) -> MaskPrompt:
    drawn = np.zeros(volume.geometry.shape, bool)
    drawn[index] = volume.array[index] > GROUND_HU
    return MaskPrompt(Mask(drawn, volume.geometry))


def test_a_click_on_another_slice_corrects_what_led_there() -> None:
    volume = stack_of_discs([8] * 9)
    here, there = Point((1, 32, 32)), Point((7, 32, 39), positive=False)
    found = carried(volume, [here, there])
    assert slices_of(found, "prompted") == [1, 7]
    assert not found.mask[7, 32, 39]
    assert found.mask[7].any()
    assert found.mask[1].sum() > found.mask[7].sum()


def test_a_negative_click_beyond_the_object_leaves_its_slice_empty() -> None:
    volume = stack_of_discs([8, 8, 8, 0, 0, 0])
    found = carried(volume, [Point((1, 32, 32)), Point((5, 32, 32), positive=False)])
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == [0, 1, 2]
    assert found.prompted == (1,)


def test_prompts_that_say_nowhere_are_refused() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    with pytest.raises(PromptError, match="no prompt says where the object is"):
        carried(phantom.volume, [Point(phantom.inside_zyx, positive=False)])


# --- the rest


def test_progress_counts_up_to_its_total() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    for prompts in ([Point(phantom.inside_zyx)], [Point(phantom.inside_zyx), Point((18, 19, 21))]):
        calls: list[tuple[int, int]] = []
        carried(phantom.volume, prompts, on_progress=lambda done, total, calls=calls: calls.append((done, total)))
        assert len({total for _, total in calls}) == 1
        done = [count for count, _ in calls]
        assert done == sorted(done)
        assert done[-1] == calls[-1][1]


def test_cancelled_stops_at_once() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    model = FloodFillModel()

    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        carried(phantom.volume, [Point(phantom.inside_zyx)], on_progress=stop, model=model)
    assert model.encoded <= 4


def test_a_scan_of_one_slice_is_no_special_case() -> None:
    volume = stack_of_discs([8])
    found = carried(volume, [Point((0, 32, 32))], "axial")
    assert found.mask.sum() > 100
    assert [report.source for report in found.slices] == ["prompted"]
    line = Volume(np.ascontiguousarray(volume.array[:, 32:33]), Geometry.from_spacing((1, 1, 64)))
    assert carried(line, [Point((0, 0, 32))], "axial").mask.sum() == 17


def test_values_that_are_not_numbers_do_not_matter() -> None:
    array = stack_of_discs([8] * 5).array.astype(np.float32)
    array[2, 30:33, 30:33] = np.nan
    volume = Volume(array, Geometry.from_spacing(array.shape, (2.0, 1.0, 1.0)))
    found = carried(volume, [Point((0, 40, 32))])
    assert slices_of(found, "propagated") == [1, 2, 3, 4]
    assert Look.of(np.full(3, np.nan)).likeness(np.zeros(3)) == 1.0
    assert Look.of(np.zeros(3)).likeness(np.full(3, np.nan)) == 1.0


def test_the_view_follows_a_small_object() -> None:
    rows, cols = np.ogrid[:256, :256]
    array = np.full((8, 256, 256), GROUND_HU, np.int16)
    for z in range(8):
        array[z][np.hypot(rows - 100, cols - 80 - z) <= 9] = OBJECT_HU
    volume = Volume(array, Geometry.from_spacing(array.shape, (2.0, 1.0, 1.0)))
    shapes: list[tuple[int, int]] = []

    class Watching(FloodFillModel):
        def encode(self, pixels: np.ndarray) -> Embedding:
            shapes.append(pixels.shape[:2])
            return super().encode(pixels)

    found = carried(volume, [Point((0, 100, 80))], model=Watching())
    assert dice(found.mask, array > 0) == 1.0
    assert shapes[0] == (256, 256)
    assert all(max(shape) < 128 for shape in shapes[1:])
    for options in ({"auto_zoom": False}, {"carry": CarryRules(near_share=0.0)}):
        shapes.clear()
        carried(volume, [Point((0, 100, 80))], model=Watching(), **options)
        assert set(shapes[2:]) == {(256, 256)}


def test_the_slices_are_those_of_the_plane() -> None:
    phantom = sphere(GEOMETRIES["permuted"])
    for plane in PLANES:
        found = carried(phantom.volume, [Point(phantom.inside_zyx)], plane)
        axes = phantom.volume.geometry.axes_of(plane)
        for report in found.slices:
            if report.source != "stopped":
                assert slice_of(found.mask, axes, report.index).any()
