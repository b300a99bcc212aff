"""A simulated user, step by step, with a fake model behind a real session and with baselines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import GEOMETRIES, Phantom, ellipsoid, organ_that_ends, sphere, two_touching
from voxsam.errors import InputError, SessionError
from voxsam.evaluate.cases import Case
from voxsam.evaluate.clicks import SimulatedBox
from voxsam.evaluate.metrics import dice
from voxsam.evaluate.propagation import carried, middle_slice, outer_slices
from voxsam.evaluate.protocols import PROTOCOLS, Answer, Bench, Rules, _solid_box, protocol_named, slices_of
from voxsam.evaluate.segmenters import BaselineSession, Method, method_named, open_method
from voxsam.evaluate.targets import SlicePlace
from voxsam.geometry import Geometry
from voxsam.prompts import Box, Point
from voxsam.volume import Mask

FAKE = Method("flood-fill", model=FloodFillModel())


def run(protocol: str, phantom: Phantom, method: Method = FAKE, **rules: object) -> list[Answer]:
    plane = phantom.volume.geometry.native_plane
    session = open_method(method, phantom.volume, plane=plane)
    case = Case("phantom", Path("i"), Path("m"))
    numbers = Rules(**rules)  # type: ignore[arg-type]
    slices = slices_of(case, phantom.truth, 1, plane=plane, rules=numbers)
    bench = Bench(case, phantom.truth, 1, plane, numbers, method, session, slices)
    try:
        return list(PROTOCOLS[protocol].run(bench))
    finally:
        session.close()


@pytest.fixture(params=["isotropic", "thick-slices", "awkward", "permuted"])
def ball(request: pytest.FixtureRequest) -> Iterator[Phantom]:
    return sphere(GEOMETRIES[request.param])  # type: ignore[return-value]


def test_one_click_finds_a_bright_ball_on_every_grid(ball: Phantom) -> None:
    answers = run("slice-clicks", ball)
    assert [answer.step for answer in answers[:5]] == ["1 click", "2 clicks", "3 clicks", "4 clicks", "5 clicks"]
    assert len(answers) == 15
    assert min(answer.dice for answer in answers) > 0.9
    assert all(answer.dice == dice(answer.truth, answer.found) for answer in answers)


def test_a_box_finds_a_bright_ball_on_every_grid(ball: Phantom) -> None:
    answers = run("slice-box", ball, slices_per_label=2)
    assert [answer.step for answer in answers] == ["box", "box + 1 click", "jittered box"] * 2
    assert min(answer.dice for answer in answers if answer.step == "box") > 0.85


def test_clicks_separate_two_organs_that_touch() -> None:
    answers = run("slice-clicks", two_touching(GEOMETRIES["isotropic"]))
    assert all(answer.dice > 0.9 for answer in answers if answer.step == "5 clicks")


def test_the_same_seed_asks_for_the_same_slices_whoever_answers() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    mine = run("slice-box", phantom)
    theirs = run("slice-box", phantom, method_named("filled-box"))
    other = run("slice-box", phantom, seed=7)
    assert [answer.place.index for answer in mine] == [answer.place.index for answer in theirs]
    assert [answer.place.index for answer in mine] != [answer.place.index for answer in other]


def test_filled_boxes_answer_boxes_only() -> None:
    box = method_named("filled-box")
    assert PROTOCOLS["slice-box"].suits(box)
    assert not PROTOCOLS["slice-clicks"].suits(box)
    answers = run("slice-box", sphere(GEOMETRIES["isotropic"]), box)
    by_step = {answer.step: answer for answer in answers[:3]}
    assert by_step["box"].dice == by_step["box + 1 click"].dice
    assert 0.8 < by_step["box"].dice < 0.95


def test_a_structure_one_pixel_wide_is_boxed_two_wide() -> None:
    array = np.zeros((3, 60, 60), bool)
    array[1, 5:50, 30] = True
    phantom = Phantom(
        sphere(GEOMETRIES["isotropic"]).volume, Mask(array, Geometry.from_spacing(array.shape)), (1, 20, 30)
    )
    volume = type(phantom.volume)(np.where(array, 100, -50).astype(np.int16), phantom.truth.geometry, modality="CT")
    answers = run("slice-box", Phantom(volume, phantom.truth, (1, 20, 30)), method_named("filled-box"))
    assert answers[0].dice == pytest.approx(2 / 3)


def test_a_mask_is_carried_through_a_ball(ball: Phantom) -> None:
    answers = {answer.step: answer for answer in run("seed-and-propagate", ball)}
    assert set(answers) == {"box", "3 clicks", "true slice"}
    for answer in answers.values():
        assert answer.dice > 0.8
        assert answer.nsd is not None
        assert answer.nsd > 0.8
        assert answer.dice_unbounded is not None
        assert answer.dice_unbounded <= answer.dice
        assert answer.carried_share is not None
        assert answer.carried_share >= 0.5


def test_an_answer_that_runs_on_is_cut_at_the_ends_for_one_score_and_not_for_the_other() -> None:
    phantom = organ_that_ends(GEOMETRIES["isotropic"])
    (answer,) = run("seed-and-propagate", phantom, method_named("copy"))
    assert answer.step == "true slice"
    assert answer.dice == 1.0
    assert answer.dice_unbounded is not None
    assert answer.dice_unbounded < 0.8
    assert answer.carried_share == 1.0


def test_more_true_slices_interpolate_better() -> None:
    phantom = ellipsoid(GEOMETRIES["isotropic"])
    three, five = (
        run("seed-and-propagate", phantom, method_named(name))[0].dice for name in ("interpolate-3", "interpolate-5")
    )
    assert three < five
    assert five > 0.8


def test_a_structure_too_small_for_a_seed_slice_is_left_out() -> None:
    assert run("seed-and-propagate", sphere(GEOMETRIES["isotropic"], radius_mm=3.0), method_named("copy")) == []


def test_the_challenge_gives_a_box_and_five_clicks() -> None:
    answers = run("cvpr25", sphere(GEOMETRIES["thick-slices"]))
    assert [answer.step for answer in answers] == ["box", "1 click", "2 clicks", "3 clicks", "4 clicks", "5 clicks"]
    assert answers[-1].dice > 0.8
    assert all(answer.truth.ndim == 3 for answer in answers)


def test_the_challenge_draws_its_box_on_the_middle_of_the_slices_that_hold_the_structure() -> None:
    block = np.zeros((16, 40, 40), bool)
    block[2:8, 8:20, 8:30] = block[15, 4:8, 4:8] = True  # held by 2..7 and 15: the middle one is 5, that of the span 8
    geometry = Geometry.from_spacing(block.shape)
    volume = sphere(GEOMETRIES["isotropic"]).volume
    volume = type(volume)(np.where(block, 100, -50).astype(np.int16), geometry, modality="CT")
    answer = run("cvpr25", Phantom(volume, Mask(block, geometry), (5, 10, 10)))[0]
    assert answer.place.index == 5
    assert answer.found[2:8].tolist() == block[2:8].tolist()


def test_the_challenge_counts_no_surface_below_a_fifth_of_dice() -> None:
    array = np.zeros((12, 40, 40), bool)
    array[2:9, 4:6, 4:36] = array[2:9, 4:36, 34:36] = True  # an L: its box is mostly empty
    geometry = Geometry.from_spacing(array.shape)
    phantom = Phantom(sphere(GEOMETRIES["isotropic"]).volume, Mask(array, geometry), (3, 4, 4))
    volume = type(phantom.volume)(np.where(array, 100, -50).astype(np.int16), geometry, modality="CT")
    answers = run("cvpr25", Phantom(volume, phantom.truth, (3, 4, 4)), method_named("filled-box"))
    assert answers[0].dice < 0.25
    assert answers[0].nsd == 0.0 or answers[0].dice > 0.2


def test_a_challenge_without_an_error_asks_no_more() -> None:
    block = np.zeros((12, 40, 40), bool)
    block[2:9, 8:20, 8:30] = True
    geometry = Geometry.from_spacing(block.shape)
    phantom = Phantom(sphere(GEOMETRIES["isotropic"]).volume, Mask(block, geometry), (5, 10, 10))
    volume = type(phantom.volume)(np.where(block, 100, -50).astype(np.int16), geometry, modality="CT")
    answers = run("cvpr25", Phantom(volume, phantom.truth, (5, 10, 10)), method_named("flood"))
    assert {answer.dice for answer in answers} == {1.0}


def test_how_far_a_mask_is_carried_stops_at_the_first_bad_slice() -> None:
    truth = np.zeros((11, 8, 8), bool)
    truth[:, 2:6, 2:6] = True
    found = truth.copy()
    found[7] = False  # and right again beyond
    place = SlicePlace(Geometry.from_spacing(truth.shape, (3.0, 1.0, 1.0)), "axial", 5)
    far = carried(truth, found, place)
    assert far.distance_mm == pytest.approx((1 + 5) * 3.0 / 2)
    assert far.share == pytest.approx(6 / 10)
    assert carried(truth[:1], found[:1], SlicePlace(Geometry.from_spacing((1, 8, 8)), "axial", 0)).share == 1.0


def test_an_empty_structure_has_no_middle() -> None:
    with pytest.raises(InputError, match="holds none"):
        middle_slice(np.zeros((3, 4, 4), bool), Geometry.from_spacing((3, 4, 4)), "axial")


def test_the_ends_are_those_of_the_truth() -> None:
    truth, found = np.zeros((9, 4, 4), bool), np.ones((9, 4, 4), bool)
    truth[3:6] = True
    kept = outer_slices(found, truth, SlicePlace(Geometry.from_spacing((9, 4, 4)), "axial", 4))
    assert np.flatnonzero(kept.any(axis=(1, 2))).tolist() == [3, 4, 5]


def test_a_baseline_answers_from_the_prompts_of_its_slice_only() -> None:
    phantom = sphere(GEOMETRIES["isotropic"])
    z, y, x = phantom.inside_zyx
    session = open_method(method_named("flood"), phantom.volume, plane="axial")
    assert isinstance(session, BaselineSession)
    thing = session.add_object("thing")
    session.add_prompt(thing, Point((z, y, x)))
    session.add_prompt(thing, Box((z + 3, 2, 2), (z + 3, 30, 30)))
    with pytest.raises(SessionError, match="call propagate"):
        session.mask(thing)
    assert dice(session.preview(thing, plane="axial", index=z).mask, phantom.truth.array[z]) > 0.95
    assert not session.preview(thing, plane="axial", index=z + 1).mask.any()
    session.remove_object(thing)
    assert session.add_object("other") == 1


def test_unknown_names_are_met_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'slice-clicks'"):
        protocol_named("slice-click")
    with pytest.raises(InputError, match="did you mean 'compact'"):
        method_named("compcat")
    weights = method_named("compact@weights/step-9.safetensors").weights
    assert weights == Path("weights/step-9.safetensors")


@pytest.mark.parametrize("thin", [1, 2])
def test_a_structure_one_voxel_wide_is_boxed_across_the_slices_all_the_same(thin: int) -> None:
    drawn = SimulatedBox((2, 9, 9), tuple(9 if axis == thin else (6, 20, 20)[axis] for axis in range(3)))
    box = _solid_box(drawn, (12, 32, 32), normal=0)
    assert box.flat_axis is None
    one_slice = SimulatedBox((4, 9, 9), (4, 20, 20))
    assert _solid_box(one_slice, (12, 32, 32), normal=0).flat_axis == 0
