"""What a user says about one object, and its JSON document."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grids import geometries, rotation
from voxsam.errors import GeometryError, PromptError
from voxsam.geometry import Geometry
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, Scribble, check_prompts, dump_prompts, load_prompts
from voxsam.volume import Label, Mask, Volume

GRID = Geometry.from_spacing((10, 20, 30), spacing_mm=(5.0, 1.0, 0.5), origin_mm=(-7.0, 3.0, 40.0))


def scan(grid: Geometry = GRID, value: int = 0, name: str = "ct.nii.gz") -> Volume:
    return Volume(np.full(grid.shape, value, np.int16), grid, name=name)


def drawn(grid: Geometry = GRID) -> MaskPrompt:
    array = np.zeros(grid.shape, bool)
    array[3:5, 4:9, 10:14] = True
    array[3, 4, 10] = False
    return MaskPrompt(Mask(array, grid))


ALL: tuple[Prompt, ...] = (
    Point((1, 2, 3)),
    Point((1.25, 2, 3), positive=False),
    Box((4, 9, 12), (4, 3, 2)),
    Box((1, 1, 1), (5, 6, 7)),
    Scribble(np.array([(1, 2, 3), (1, 8, 9.5)]), positive=False),
    drawn(),
)


# ── points, boxes, scribbles, masks ──


def test_points_and_boxes_and_scribbles_and_masks_compare_by_value() -> None:
    twins = (
        Point((1, 2, 3)),
        Point((1.25, 2, 3), positive=False),
        Box((4, 3, 2), (4, 9, 12)),
        Box((5, 6, 7), (1, 1, 1)),
        Scribble(np.array([(1, 2, 3), (1, 8, 9.5)]), positive=False),
        drawn(),
    )
    assert twins == ALL
    assert [hash(prompt) for prompt in twins] == [hash(prompt) for prompt in ALL]
    assert len(set(ALL)) == len(ALL)
    assert all(one != other for i, one in enumerate(ALL) for other in ALL[i + 1 :])


def test_a_positive_scribble_is_not_its_negative() -> None:
    assert Scribble(np.zeros((1, 3))) != Scribble(np.zeros((1, 3)), positive=False)


@pytest.mark.parametrize("zyx", [(1, 2), (1, 2, 3, 4), (1, 2, float("nan")), (1, 2, float("inf")), "abc", None, 7])
def test_a_point_that_is_not_three_finite_numbers_is_refused(zyx: Any) -> None:
    with pytest.raises(PromptError, match="a point is three"):
        Point(zyx)


def test_a_point_takes_an_array_and_holds_plain_floats() -> None:
    point = Point(np.array([1, 2, 3]))  # type: ignore[arg-type]
    assert point.zyx == (1.0, 2.0, 3.0)
    assert type(point.zyx[0]) is float


def test_a_box_sorts_any_two_opposite_corners() -> None:
    box = Box((5, 1, 7), (1, 6, 1))
    assert (box.low_zyx, box.high_zyx) == ((1.0, 1.0, 1.0), (5.0, 6.0, 7.0))


@pytest.mark.parametrize(
    ("box", "axis"),
    [
        (Box((4, 3, 2), (4, 9, 12)), 0),
        (Box((1, 3, 2), (4, 3.2, 12)), 1),
        (Box((1, 1, 7), (4, 9, 7)), 2),
        (ALL[3], None),
    ],
)
def test_a_box_one_voxel_thick_is_flat_along_that_axis(box: Box, axis: int | None) -> None:
    assert box.flat_axis == axis


@pytest.mark.parametrize("corners", [((1, 2, 3), (1, 2, 3)), ((1, 2, 3), (1, 2, 9)), ((1, 2, 3), (1.2, 2.2, 3.2))])
def test_an_empty_box_is_refused_with_the_way_out(corners: tuple[Any, Any]) -> None:
    with pytest.raises(PromptError, match=r"the box is empty.*draw it wider, or click a point"):
        Box(*corners)


def test_a_box_over_the_edge_can_be_clipped() -> None:
    assert Box((-3, 2, 2), (99, 4, 4)).clipped_to(GRID) == Box((0, 2, 2), (9, 4, 4))
    with pytest.raises(PromptError, match="outside the scan"):
        Box((20, 2, 2), (30, 4, 4)).clipped_to(GRID)


@pytest.mark.parametrize(
    "points", [np.zeros((0, 3)), np.zeros((2, 2)), np.zeros(3), np.full((1, 3), np.nan), "stroke", [[1, 2], [1, 2, 3]]]
)
def test_a_scribble_that_is_no_list_of_positions_is_refused(points: Any) -> None:
    with pytest.raises(PromptError, match=r"a scribble is an \(N, 3\) list"):
        Scribble(points)


def test_a_scribble_has_its_own_copy() -> None:
    points = np.zeros((1, 3))
    scribble = Scribble(points)
    points[0, 0] = 5.0
    assert scribble.points_zyx[0, 0] == 0.0


@given(st.lists(st.tuples(*(st.floats(-40, 40),) * 3), min_size=1, max_size=6))
def test_a_stroke_passes_each_voxel_once_and_leaves_no_gap(points: list[tuple[float, float, float]]) -> None:
    voxels = Scribble(np.array(points)).voxels_zyx()
    assert len(np.unique(voxels, axis=0)) == len(voxels)
    distances = np.abs(voxels[:, None] - voxels[None]).max(axis=-1)
    reached, border = {0}, [0]
    while border:
        near = set(np.flatnonzero(distances[border.pop()] <= 1).tolist()) - reached
        reached |= near
        border += near
    assert len(reached) == len(voxels)
    ends = {tuple(np.floor(np.array(point) + 0.5).astype(int).tolist()) for point in points}
    assert ends <= {tuple(voxel) for voxel in voxels.tolist()}


def test_a_stroke_along_the_very_edge_keeps_to_the_voxels_of_the_scan() -> None:
    edge = Scribble(np.array([(9.4999999, 19.4999999, 29.4999999), (-0.5, -0.5, -0.5)]))
    check_prompts([edge], GRID)
    voxels = edge.voxels_zyx()
    assert voxels.min(axis=0).tolist() == [0, 0, 0]
    assert voxels.max(axis=0).tolist() == [9, 19, 29]


def test_a_mask_prompt_tells_its_slices_and_bounds() -> None:
    assert drawn().slices_along(0) == (3, 4)
    assert drawn().bounds_zyx == ((3, 4, 10), (4, 8, 13))


def test_an_integer_mask_with_one_label_becomes_a_bool_prompt() -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[1, 2, 3] = 7
    prompt = MaskPrompt(Mask(array, GRID, labels={7: Label("tumour")}))
    assert prompt.mask.array.dtype == np.bool_
    assert prompt.mask.labels[1].name == "tumour"


def test_an_empty_mask_and_one_of_several_labels_are_refused() -> None:
    array = np.zeros(GRID.shape, np.uint8)
    with pytest.raises(PromptError, match="is empty"):
        MaskPrompt(Mask(array, GRID))
    array[0, 0, :2] = 3, 5
    with pytest.raises(PromptError, match=r"labels 3, 5; choose one: `mask.of_label\(3\)`"):
        MaskPrompt(Mask(array, GRID))


@given(geometries(), st.tuples(*(st.floats(-5, 15),) * 3))
def test_a_world_position_becomes_its_voxel(grid: Geometry, zyx: tuple[float, float, float]) -> None:
    ras = grid.to_world([zyx])[0]
    tolerance = 1e-6 / min(grid.spacing_mm)
    np.testing.assert_allclose(Point.from_ras(ras, grid).zyx, zyx, atol=tolerance)
    np.testing.assert_allclose(Scribble.from_ras([ras], grid).points_zyx, [zyx], atol=tolerance)
    other = (zyx[0], zyx[1] + 3, zyx[2] + 4)
    box = Box.from_ras(grid.to_world([other])[0], ras, grid)
    np.testing.assert_allclose((box.low_zyx, box.high_zyx), (zyx, other), atol=tolerance)


# ── on the scan ──


def test_prompts_on_the_scan_pass() -> None:
    check_prompts(ALL, GRID)


def test_no_prompt_is_refused() -> None:
    with pytest.raises(PromptError, match="no prompt"):
        check_prompts([], GRID)


@pytest.mark.parametrize(
    "prompt", [Point((10, 2, 3)), Box((2, 3, 4), (2, 9, 31)), Scribble(np.array([(1, 1, 1), (1, 1, -4)]))]
)
def test_a_prompt_outside_is_refused_with_the_bounds_in_voxels_and_millimetres(prompt: Prompt) -> None:
    with pytest.raises(PromptError) as caught:
        check_prompts([Point((1, 1, 1)), prompt], GRID)
    message = str(caught.value)
    assert type(prompt).__name__.lower() in message
    assert "(0, 0, 0) to (9, 19, 29)" in message
    assert "RAS (-7, 3, 40) to (7.5, 22, 85) mm" in message
    assert "\n" not in message


def test_a_mask_prompt_of_another_grid_is_refused() -> None:
    with pytest.raises(GeometryError, match="the mask prompt is on another grid"):
        check_prompts([drawn()], Geometry.from_spacing(GRID.shape))


# ── the document ──


def test_prompts_return_from_json_as_they_were() -> None:
    text = json.dumps(dump_prompts(ALL, scan()))
    assert load_prompts(json.loads(text), scan()) == ALL


@given(geometries(), st.data())
def test_any_prompt_on_any_grid_returns_as_it_was(grid: Geometry, data: st.DataObject) -> None:
    inside = st.tuples(*(st.floats(-0.49, n - 0.51) for n in grid.shape))
    prompts: list[Prompt] = [Point(data.draw(inside)), Scribble(np.array(data.draw(st.lists(inside, min_size=1))))]
    array = np.zeros(grid.shape, bool)
    array[tuple(data.draw(st.tuples(*(st.integers(0, n - 1) for n in grid.shape))))] = True
    prompts.append(MaskPrompt(Mask(array, grid)))
    volume = scan(grid)
    document = json.loads(json.dumps(dump_prompts(prompts, volume)))
    assert load_prompts(document, volume) == tuple(prompts)
    assert load_prompts(document, scan(grid, value=1), any_scan=True)[2] == prompts[2]


def test_no_prompts_are_a_document_too() -> None:
    assert load_prompts(dump_prompts([], scan()), scan()) == ()


def test_the_document_says_schema_scan_and_both_positions() -> None:
    document = dump_prompts(ALL[:1], scan())
    assert document["schema"] == "voxsam-prompts/1"
    assert document["scan"] == {
        "fingerprint": scan().fingerprint,
        "shape": [10, 20, 30],
        "affine": GRID.affine.tolist(),
        "name": "ct.nii.gz",
    }
    assert document["prompts"] == [
        {"type": "point", "voxel_zyx": [1.0, 2.0, 3.0], "world_ras": [-5.5, 5.0, 45.0], "positive": True}
    ]


def test_a_prompt_outside_is_not_written() -> None:
    with pytest.raises(PromptError, match="outside the scan"):
        dump_prompts([Point((99, 0, 0))], scan())


def test_prompts_of_another_scan_are_refused_with_both_scans_and_the_way_out() -> None:
    document = dump_prompts(ALL, scan(value=1, name="tuesday.nii"))
    with pytest.raises(
        PromptError, match=r"belong to another scan.*'ct.nii.gz'.*'tuesday.nii'.*any_scan=True.*--any-scan"
    ) as caught:
        load_prompts(document, scan())
    assert "\n" not in str(caught.value)


def test_a_document_that_names_no_scan_is_another_scans() -> None:
    document = dump_prompts(ALL, scan())
    del document["scan"]
    with pytest.raises(PromptError, match="names no scan"):
        load_prompts(document, scan())


def test_positions_alone_are_enough_by_hand() -> None:
    document = dump_prompts([], scan())
    document["prompts"] = [{"type": "point", "voxel_zyx": [1, 2, 3]}, {"type": "point", "world_ras": [-5.5, 5, 45]}]
    assert load_prompts(document, scan()) == (Point((1, 2, 3)), Point((1, 2, 3)))
    document["prompts"] = [{"type": "box", "world_ras": [[-5.5, 5, 45], [-4, 8, 45]]}]
    del document["scan"]
    assert load_prompts(document, scan(), any_scan=True) == (Box((1, 2, 3), (1, 5, 6)),)


REORIENTED = Geometry(  # the same space, axes (x, y, z) instead of (z, y, x), x flipped
    (30, 20, 10), np.array([[-0.5, 0, 0, 7.5], [0, 1, 0, 3.0], [0, 0, 5, 40.0], [0, 0, 0, 1]])
)


def test_prompts_keep_their_place_in_a_reoriented_copy() -> None:
    loaded = load_prompts(dump_prompts(ALL, scan()), scan(REORIENTED), any_scan=True)
    assert loaded[0] == Point((26, 2, 1))
    assert loaded[2] == Box((17, 3, 4), (27, 9, 4))
    assert isinstance(loaded[2], Box)
    assert loaded[2].flat_axis == 2
    assert loaded[3] == Box((22, 1, 1), (28, 6, 5))
    mask = loaded[5]
    assert isinstance(mask, MaskPrompt)
    np.testing.assert_array_equal(mask.mask.array, drawn().mask.array.transpose(2, 1, 0)[::-1])


def test_a_mask_keeps_its_volume_in_a_finer_copy() -> None:
    fine = Geometry((50, 20, 30), GRID.affine @ np.diag([0.2, 1, 1, 1]))
    (prompt,) = load_prompts(dump_prompts([drawn()], scan()), scan(fine), any_scan=True)
    assert isinstance(prompt, MaskPrompt)
    assert prompt.mask.volume_ml() == pytest.approx(drawn().mask.volume_ml(), rel=0.15)


def test_a_flat_box_stays_on_one_slice_of_a_tilted_copy() -> None:
    affine = GRID.affine.copy()
    affine[:3, :3] = rotation(0.1, 0.05, 0.0) @ affine[:3, :3]
    tilted = Geometry(GRID.shape, affine)
    (box,) = load_prompts(dump_prompts([Box((4, 3, 5), (4, 9, 12))], scan()), scan(tilted), any_scan=True)
    assert isinstance(box, Box)
    assert box.flat_axis == 0


def test_a_prompt_outside_the_other_scan_is_refused_by_number() -> None:
    cropped = Geometry((2, 20, 30), GRID.affine)
    with pytest.raises(PromptError, match="prompt 2 of the document: a point lies outside"):
        load_prompts(dump_prompts([Point((1, 1, 1)), Point((7, 1, 1))], scan()), scan(cropped), any_scan=True)
    with pytest.raises(PromptError, match="prompt 1 of the document: the mask prompt is empty"):
        load_prompts(dump_prompts([drawn()], scan()), scan(cropped), any_scan=True)


POINT = {"type": "point", "voxel_zyx": [1, 2, 3]}
MASK = {"type": "mask", "voxel_zyx": [[0, 0, 0], [1, 1, 1]], "bits": "eJz7DwABAAEA"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("point", "expected a 'type'"),
        ({"type": "circle"}, "point, box, scribble, mask; got 'circle'"),
        ({"type": ["point"]}, "expected a 'type'"),
        ({"type": "point"}, "expected 'voxel_zyx' or 'world_ras', got 'type'"),
        ({**POINT, "voxel_zyx": [1, 2]}, "three finite numbers"),
        ({**POINT, "voxel_zyx": [1, 2, "x"]}, "expected numbers"),
        ({**POINT, "voxel_zyx": [1, 2, None]}, "three finite numbers"),
        ({**POINT, "voxel_zyx": [[1, 2, 3], [1, 2, 3]]}, "expected 1 position, got 2"),
        ({**POINT, "voxel_zyx": []}, "three finite numbers"),
        ({**POINT, "voxel_zyx": {"z": 1}}, "expected numbers"),
        ({**POINT, "positive": "no"}, "expected true or false"),
        ({"type": "box", "voxel_zyx": [[1, 2, 3]]}, "expected 2 positions, got 1"),
        ({"type": "box", "voxel_zyx": [[1, 2, 3], [1, 2, 3]]}, "the box is empty"),
        ({"type": "mask", "voxel_zyx": [[0, 0, 0], [1, 1, 99]], "bits": ""}, "mask corners within the scan"),
        ({"type": "mask", "voxel_zyx": [[2, 0, 0], [1, 1, 9]], "bits": ""}, "mask corners within the scan"),
        ({"type": "mask", "bits": ""}, "expected 'voxel_zyx'"),
        ({**MASK, "bits": "?"}, "packed bits in base64"),
        ({**MASK, "bits": "AAAA"}, "packed bits in base64"),
        ({**MASK, "bits": None}, "packed bits in base64"),
        ({**MASK, "voxel_zyx": [[0, 0, 0], [5, 5, 5]]}, "expected 216 bits"),
    ],
)
def test_a_broken_entry_is_refused_on_one_line_with_its_number(entry: Any, message: str) -> None:
    document = dump_prompts([Point((0, 0, 0))], scan())
    document["prompts"].append(entry)
    with pytest.raises(PromptError, match=message) as caught:
        load_prompts(document, scan())
    assert str(caught.value).startswith("prompt 2 of the document: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "is a JSON object, got list"),
        ({}, "expected prompts of schema 'voxsam-prompts/1', got None"),
        ({"schema": "voxsam-prompts/9"}, "update voxsam"),
        ({"schema": "voxsam-prompts/1"}, "expected a list under 'prompts'"),
        ({"schema": "voxsam-prompts/1", "prompts": {}}, "expected a list under 'prompts', got dict"),
    ],
)
def test_what_is_no_prompts_document_is_refused(document: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        load_prompts(document, scan())


@pytest.mark.parametrize("shape", [[10, 20], None, "abc", [10, 20, "x"]])
def test_a_broken_grid_of_the_other_scan_is_refused(shape: Any) -> None:
    document = dump_prompts([drawn()], scan(value=1))
    document["scan"]["shape"] = shape
    with pytest.raises(PromptError, match="no usable shape and affine"):
        load_prompts(document, scan(), any_scan=True)


def test_a_mask_of_another_scan_needs_that_scans_grid() -> None:
    document = dump_prompts([drawn()], scan(value=1))
    del document["scan"]["affine"]
    with pytest.raises(PromptError, match="a mask on another scan needs"):
        load_prompts(document, scan(), any_scan=True)


def test_a_point_of_another_scan_needs_its_world_position() -> None:
    document = dump_prompts([], scan(value=1))
    document["prompts"] = [POINT]
    with pytest.raises(PromptError, match="expected 'world_ras', got 'type', 'voxel_zyx'"):
        load_prompts(document, scan(), any_scan=True)
