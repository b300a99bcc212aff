from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import LOGIT, FloodFillModel
from phantoms import GEOMETRIES, Phantom, awkward_geometry, dice, ellipsoid, sphere, two_touching
from voxsam.cuts import SliceCut, cut_prompts
from voxsam.embeddings import EmbeddingStore
from voxsam.errors import PromptError
from voxsam.geometry import PLANES, Geometry, Plane
from voxsam.models.base import Embedding, SliceLogits, SlicePrompts
from voxsam.predict import SlicePrediction, overlap_of, predict_slice, to_pixels
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from voxsam.views import OUTSIDE_LOGIT, View, ViewFrame, slice_of
from voxsam.volume import Mask, Volume
from voxsam.windowing import Window
from voxsam.zoom import ZoomRules, bounds_of, stability, union_of

WINDOWS = (Window(400, 40),)


class Listening(FloodFillModel):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[SlicePrompts] = []

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        self.heard.append(prompts)
        return super().decode(embedding, prompts, multimask=multimask)


class Deaf(FloodFillModel):
    """Hears the first click alone."""

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        first = SlicePrompts(prompts.points_xy[:1], prompts.point_labels[:1])
        return super().decode(embedding, first, multimask=multimask)


def asked(
    phantom: Phantom, prompts: list[Prompt], plane: Plane = "axial", *, model: FloodFillModel | None = None, **options
) -> tuple[SlicePrediction, np.ndarray]:
    axes = phantom.volume.geometry.axes_of(plane)
    index = phantom.inside_zyx[axes.normal]
    store = EmbeddingStore(model or FloodFillModel(), phantom.volume)
    prediction = predict_slice(store, View(plane, index, WINDOWS), prompts, **options)
    return prediction, np.asarray(slice_of(phantom.truth.array, axes, index))


def box_around(phantom: Phantom, plane: Plane) -> Box:
    """The tight flat box on the slice through the phantom's middle."""
    axes = phantom.volume.geometry.axes_of(plane)
    on_slice = np.argwhere(phantom.truth.array)
    on_slice = on_slice[on_slice[:, axes.normal] == phantom.inside_zyx[axes.normal]]
    return Box(tuple(on_slice.min(0)), tuple(on_slice.max(0)))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("grid", GEOMETRIES)
@pytest.mark.parametrize("auto_zoom", [True, False])
def test_each_kind_of_prompt_finds_the_object_in_each_plane(grid: str, plane: Plane, auto_zoom: bool) -> None:
    phantom = ellipsoid(GEOMETRIES[grid])
    z, y, x = phantom.inside_zyx
    axes = phantom.volume.geometry.axes_of(plane)
    end = np.array([z, y, x])
    end[axes.column] += 3
    drawn = np.asarray(phantom.truth.array).copy()
    for prompt in (
        Point((z, y, x)),
        box_around(phantom, plane),
        Scribble([(z, y, x), tuple(end)]),
        MaskPrompt(Mask(drawn, phantom.volume.geometry)),
    ):
        prediction, truth = asked(phantom, [prompt], plane, auto_zoom=auto_zoom)
        assert prediction.logits.shape == truth.shape
        assert prediction.logits.dtype == np.float32
        assert dice(prediction.mask, truth) > 0.9, prompt


def test_a_negative_click_takes_its_part_away() -> None:
    phantom = two_touching(GEOMETRIES["isotropic"])
    model = FloodFillModel(tolerance=0.2)  # floods both
    z, y, x = phantom.inside_zyx
    both, truth = asked(phantom, [Point((z, y, x))], model=model)
    assert dice(both.mask, truth) < 0.8
    one, _ = asked(phantom, [Point((z, y, x)), Point((z, y, x + 18), positive=False)], model=model)
    assert dice(one.mask, truth) > 0.95


def test_negative_clicks_alone_mean_nothing_is_here() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    model = FloodFillModel()
    prediction, _ = asked(phantom, [Point(phantom.inside_zyx, positive=False)], model=model)
    assert not prediction.mask.any()
    assert prediction.logits.max() == OUTSIDE_LOGIT
    assert model.encoded == 0


def test_negative_clicks_correct_an_earlier_answer() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    whole, truth = asked(phantom, [Point(phantom.inside_zyx)])
    z, y, x = phantom.inside_zyx
    corrected, _ = asked(phantom, [Point((z, y, x + 8), positive=False)], mask_logits=whole.logits)
    assert not corrected.mask[y, x + 8]
    assert 0.5 < dice(corrected.mask, truth) < 1.0


def test_prompts_on_other_slices_say_nothing_and_the_nearest_is_named() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    z, y, x = phantom.inside_zyx
    with pytest.raises(PromptError, match=f"no prompt lies on axial slice {z}.*nearest prompted slice is {z + 3}"):
        asked(phantom, [Point((z + 3, y, x)), Point((z - 7, y, x))])
    with pytest.raises(PromptError, match="boxes drawn on another plane do not count"):
        asked(phantom, [box_around(phantom, "coronal")])


def test_an_earlier_answer_alone_is_refined() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    _, truth = asked(phantom, [Point(phantom.inside_zyx)])
    rough = np.where(np.roll(truth, 2, axis=1), np.float32(5), np.float32(-5))
    prediction, _ = asked(phantom, [], mask_logits=rough)
    assert dice(prediction.mask, truth) > 0.98


def test_candidates_come_on_the_whole_slice() -> None:
    phantom = sphere(GEOMETRIES["awkward"])
    prediction, truth = asked(phantom, [Point(phantom.inside_zyx)], multimask=True)
    assert len(prediction.candidates) == 3
    assert {candidate.logits.shape for candidate in prediction.candidates} == {truth.shape}
    assert asked(phantom, [Point(phantom.inside_zyx)])[0].candidates == ()


def test_several_boxes_are_united() -> None:
    phantom = two_touching(GEOMETRIES["isotropic"])
    z, y, x = phantom.inside_zyx
    boxes: list[Prompt] = [Box((z, y - 9, x - 9), (z, y + 9, x + 8)), Box((z, y - 9, x + 9), (z, y + 9, x + 27))]
    prediction, truth = asked(phantom, boxes)
    assert prediction.mask.sum() > 1.8 * truth.sum()


@pytest.mark.parametrize("plane", PLANES)
def test_clicks_are_obeyed_by_a_model_that_does_not_hear_them(plane: Plane) -> None:
    phantom = sphere(GEOMETRIES["awkward"])
    axes, middle = phantom.volume.geometry.axes_of(plane), np.array(phantom.inside_zyx)
    on_slice = np.argwhere(phantom.truth.array)
    edge = on_slice[on_slice[:, axes.normal] == middle[axes.normal]].min(0)[axes.column]
    wanted, unwanted = middle.copy(), middle.copy()
    wanted[axes.column], unwanted[axes.column] = edge - 2, edge + 1
    prompts: list[Prompt] = [Point(tuple(middle)), Point(tuple(wanted)), Point(tuple(unwanted), positive=False)]
    prediction, truth = asked(phantom, prompts, plane, model=Deaf(), auto_zoom=False)
    assert prediction.mask[wanted[axes.row], wanted[axes.column]]
    assert not prediction.mask[unwanted[axes.row], unwanted[axes.column]]
    assert prediction.mask[middle[axes.row], middle[axes.column]]
    assert (prediction.mask != truth).sum() < 0.3 * truth.sum()


# --- from voxels to pixels


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("grid", GEOMETRIES)
def test_the_models_click_and_box_show_the_voxels_that_were_meant(grid: str, plane: Plane) -> None:
    """Paint the prompted voxels white: the pixels under the model's prompts are white."""
    geometry = GEOMETRIES[grid]
    axes = geometry.axes_of(plane)
    at = np.array(geometry.shape) // 2
    low, high = at - 3, at + 4
    low[axes.normal] = high[axes.normal] = at[axes.normal]
    array = np.zeros(geometry.shape, np.int16)
    array[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = 1000
    store = EmbeddingStore(FloodFillModel(), Volume(array, geometry))
    view = View(plane, int(at[axes.normal]), (Window.from_range(0, 1000),))
    cut = cut_prompts([Box(tuple(low), tuple(high)), Point(tuple(at))], geometry, plane, view.index)
    prompts = to_pixels(cut, store.stack.frame(view))
    shown = store.stack.pixels(view)[..., 0] > 0.5
    rows, columns = np.nonzero(shown)
    assert prompts.box_xyxy is not None
    assert np.abs(prompts.box_xyxy - (columns.min(), rows.min(), columns.max(), rows.max())).max() < 0.51
    x, y = np.rint(prompts.points_xy[0]).astype(int)
    assert shown[y, x]


def test_the_model_is_told_whether_a_box_was_drawn_on_the_slice() -> None:
    phantom = sphere(GEOMETRIES["awkward"])
    frame = EmbeddingStore(FloodFillModel(), phantom.volume).stack.frame(View("axial", 9, (Window.from_range(0, 1),)))
    drawn, through = Box((9, 4, 4), (9, 12, 12)), Box((7, 4, 4), (11, 12, 12))
    for box, tight in ((drawn, True), (through, False)):
        cut = cut_prompts([box], phantom.volume.geometry, "axial", 9)
        assert to_pixels(cut, frame).box_is_tight is tight


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(PLANES),
    st.tuples(*[st.integers(2, 30)] * 3),
    st.tuples(*[st.floats(0.3, 6.0)] * 3),
    st.tuples(*[st.floats(0, 1)] * 3),
)
def test_pixels_and_voxels_agree_both_ways(
    plane: Plane, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], share: tuple[float, ...]
) -> None:
    geometry = awkward_geometry(shape, spacing_mm)
    point = np.array(share) * (np.array(shape) - 1)
    normal = geometry.axes_of(plane).normal
    point[normal] = round(point[normal])
    frame = ViewFrame.of(geometry, plane, int(point[normal]))
    prompts = to_pixels(SliceCut(point[None], np.ones(1, int)), frame)
    assert np.allclose(frame.to_zyx(prompts.points_xy)[0], point, atol=1e-3)


def test_clicks_outside_a_region_are_left_out() -> None:
    geometry = GEOMETRIES["isotropic"]
    frame = ViewFrame.of(geometry, "axial", 5, (0, 20, 0, 20))
    cut = SliceCut(np.array([[5.0, 10, 10], [5, 30, 30]]), np.array([1, 0]))
    assert to_pixels(cut, frame).point_labels.tolist() == [1]


def test_clicks_are_shown_one_after_the_other_with_the_last_answer() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    z, y, x = phantom.inside_zyx
    model = Listening()
    clicks: list[Prompt] = [Point((z, y, x)), Point((z, y, x + 14), positive=False), Point((z, y + 2, x))]
    asked(phantom, clicks, model=model, auto_zoom=False)
    assert [len(prompts.points_xy) for prompts in model.heard] == [1, 2, 3]
    assert [prompts.low_res_logits is None for prompts in model.heard] == [True, False, False]


# --- auto-zoom


def small_sphere() -> Phantom:
    return sphere(Geometry.from_spacing((9, 256, 300), (3.0, 0.8, 0.8)), radius_mm=8.0)


@pytest.mark.parametrize("kind", ["click", "box", "clicks"])
def test_a_small_object_is_looked_at_from_nearer(kind: str) -> None:
    phantom = small_sphere()
    z, y, x = phantom.inside_zyx
    prompts: dict[str, list[Prompt]] = {
        "click": [Point((z, y, x))],
        "box": [box_around(phantom, "axial")],
        "clicks": [Point((z, y, x)), Point((z, y + 3, x))],
    }
    model = Listening()
    prediction, truth = asked(phantom, prompts[kind], model=model)
    assert prediction.zoomed_to is not None
    assert prediction.view.region is None
    row, row_stop, column, column_stop = prediction.zoomed_to
    assert row_stop - row == column_stop - column < 100
    assert row < y - 10 < y + 10 < row_stop
    assert model.heard[-1].mask_logits is not None
    assert prediction.mask.sum() > 0.9 * truth.sum()
    assert (prediction.logits[: row - 1] == OUTSIDE_LOGIT).all()


def test_a_region_is_square_in_millimetres() -> None:
    phantom = sphere(Geometry.from_spacing((9, 128, 256), (3.0, 1.6, 0.8)), radius_mm=8.0)
    prediction, _ = asked(phantom, [box_around(phantom, "axial")])
    assert prediction.zoomed_to is not None
    row, row_stop, column, column_stop = prediction.zoomed_to
    assert (row_stop - row) * 1.6 == pytest.approx((column_stop - column) * 0.8, rel=0.05)


def test_a_large_object_is_not() -> None:
    prediction, _ = asked(sphere(GEOMETRIES["isotropic"], radius_mm=15), [Point((15, 19, 21))])
    assert prediction.zoomed_to is None


def test_zoom_can_be_switched_off() -> None:
    assert asked(small_sphere(), [Point(small_sphere().inside_zyx)], auto_zoom=False)[0].zoomed_to is None
    rules = ZoomRules(below_share=0.0)
    assert asked(small_sphere(), [Point(small_sphere().inside_zyx)], zoom=rules)[0].zoomed_to is None


class Unsure(FloodFillModel):
    """Its first answers hardly clear the threshold, and what it says of a region is something else."""

    def __init__(self, *, sure: float, worse_from_near: bool = False, score_from_near: float | None = None) -> None:
        super().__init__()
        self._sure, self._worse, self._score = sure, worse_from_near, score_from_near

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        answer = super().decode(embedding, prompts, multimask=multimask)
        logits = answer.logits * (self._sure / LOGIT)
        if self._worse and embedding.image_shape[0] < 150:
            logits = -logits
        if self._score is not None and embedding.image_shape[0] < 150:
            answer = replace(answer, scores=np.full_like(answer.scores, self._score))
        return replace(answer, logits=logits)


def test_a_single_clicks_shaky_mask_does_not_choose_the_region() -> None:
    phantom = small_sphere()
    z, y, x = phantom.inside_zyx
    assert asked(phantom, [Point((z, y, x))], model=Unsure(sure=0.5))[0].zoomed_to is None
    assert asked(phantom, [box_around(phantom, "axial")], model=Unsure(sure=0.5))[0].zoomed_to is not None
    two: list[Prompt] = [Point((z, y, x)), Point((z, y + 1, x))]
    assert asked(phantom, two, model=Unsure(sure=0.5))[0].zoomed_to is not None


def test_a_nearer_look_that_disagrees_is_not_taken() -> None:
    phantom = small_sphere()
    prediction, truth = asked(phantom, [box_around(phantom, "axial")], model=Unsure(sure=8.0, worse_from_near=True))
    assert prediction.zoomed_to is None
    assert dice(prediction.mask, truth) > 0.95


def test_a_surer_nearer_look_at_a_box_need_not_agree() -> None:
    phantom, box = small_sphere(), [box_around(small_sphere(), "axial")]
    for score, taken in ((1.0, True), (0.5, False)):
        model = Unsure(sure=8.0, worse_from_near=True, score_from_near=score)
        assert (asked(phantom, box, model=model)[0].zoomed_to is not None) == taken
    two: list[Prompt] = [Point(phantom.inside_zyx), Point(tuple(np.add(phantom.inside_zyx, (0, 1, 0))))]
    surer = Unsure(sure=8.0, worse_from_near=True, score_from_near=1.0)
    assert asked(phantom, two, model=surer)[0].zoomed_to is None


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(8, 400), st.integers(8, 400)),
    st.tuples(st.floats(0.2, 4.0), st.floats(0.2, 4.0)),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_region_holds_its_object_and_lies_on_the_slice(
    shape: tuple[int, int], spacing_mm: tuple[float, float], shares: tuple[float, ...]
) -> None:
    frame = ViewFrame.of(Geometry.from_spacing((3, *shape), (2.0, *spacing_mm)), "axial", 1)
    rows = sorted(int(share * (shape[0] - 1)) for share in shares[:2])
    columns = sorted(int(share * (shape[1] - 1)) for share in shares[2:])
    bounds = (rows[0], rows[1] + 1, columns[0], columns[1] + 1)
    region = ZoomRules().region_around(bounds, frame)
    if region is not None:
        assert 0 <= region[0] <= bounds[0] < bounds[1] <= region[1] <= shape[0]
        assert 0 <= region[2] <= bounds[2] < bounds[3] <= region[3] <= shape[1]
        assert union_of(region, bounds) == region


def test_small_moves_of_an_object_keep_its_region() -> None:
    frame = ViewFrame.of(Geometry.from_spacing((3, 512, 512)), "axial", 1)
    regions = {ZoomRules().region_around((200 + d, 240 + d, 300, 335), frame) for d in range(6)}
    assert len(regions) <= 2


def test_stability_and_overlap() -> None:
    assert stability(np.array([5.0, 0.5, -0.5, -5.0], np.float32)) == pytest.approx(1 / 3)
    assert stability(np.full(3, -9.0, np.float32)) == 0.0
    assert overlap_of(np.zeros(3, bool), np.zeros(3, bool)) == 1.0
    assert bounds_of(np.zeros((3, 3), bool)) is None
