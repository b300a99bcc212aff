"""A correction helps where it was made, and spoils nothing elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fakes import FloodFillModel
from phantoms import GEOMETRIES, dice, paint
from voxsam.errors import Cancelled
from voxsam.geometry import Geometry
from voxsam.local import LocalSession, open_session
from voxsam.prompts import Box, Point
from voxsam.volume import Mask, Volume

BoolArray = npt.NDArray[np.bool_]

#: A rod through all slices, and an appendix beside it on slices 10 to 15, of the same value.
ROD = np.zeros((24, 40, 44), bool)
ROD[:, 14:26, 10:22] = True
APPENDIX = np.zeros_like(ROD)
APPENDIX[10:16, 16:24, 22:34] = True


@pytest.fixture
def scan() -> Volume:
    return paint(ROD | APPENDIX, Geometry.from_spacing(ROD.shape, (2.0, 1.0, 1.0)), noise_hu=0)


def with_mask(scan: Volume, mask: BoolArray) -> tuple[LocalSession, int]:
    """A session in which a propagation found this mask, from a click on slice 2."""
    session = open_session(scan, model=FloodFillModel(), plane="axial")
    organ = session.add_object("organ", mask=Mask(mask, scan.geometry))
    return session, organ


def changed_slices(session: LocalSession, organ: int, before: BoolArray, axis: int = 0) -> list[int]:
    changed = np.asarray(session.mask(organ).array) ^ before
    return np.flatnonzero(changed.any(axis=tuple({0, 1, 2} - {axis}))).tolist()


def propagated(scan: Volume) -> tuple[LocalSession, int, BoolArray]:
    session = open_session(scan, model=FloodFillModel(), plane="axial")
    organ = session.add_object("organ")
    session.add_prompt(organ, Point((2, 20, 15)))
    session.propagate(organ)
    return session, organ, np.array(session.mask(organ).array)


def test_a_drawn_slice_is_carried_to_where_the_object_was_missing(scan: Volume) -> None:
    session = open_session(scan, model=FloodFillModel(), plane="axial")
    organ = session.add_object("organ")
    session.add_prompt(organ, Point((2, 20, 15)))
    session.propagate(organ, reach=(0, 8))
    before = np.array(session.mask(organ).array)
    assert not before[9:].any()
    session.add_prompt(organ, Point((20, 20, 15)))
    session.refine(organ)
    after = np.array(session.mask(organ).array)
    assert np.array_equal(after[:9], before[:9])
    assert dice(after[16:], ROD[16:]) == 1.0  # up to the end of the scan, where there was nothing
    lines = {line.index: line for line in session.state.object(organ).report.slices}  # type: ignore[union-attr]
    assert lines[20].source == "prompted"
    assert lines[22].reason == "corrected from slice 20"
    assert lines[2].source == "prompted"


def test_a_correction_dies_out_where_the_mask_was_right(scan: Volume) -> None:
    session = open_session(scan, model=FloodFillModel(), plane="axial")
    organ = session.add_object("organ")
    session.add_prompt(organ, Point((12, 20, 15)))
    session.propagate(organ)
    before = np.array(session.mask(organ).array)
    assert before[14, 20, 30]  # the appendix was taken for the object
    session.add_prompt(organ, Point((14, 20, 30), positive=False))
    session.refine(organ)
    changed = np.asarray(session.mask(organ).array) ^ before
    assert changed[14, 20, 30]
    assert set(changed_slices(session, organ, before)) <= {13, 14, 15}
    assert not changed[:, :, :20].any()  # nor on the rod's far side


def test_slices_with_prompts_of_their_own_stay(scan: Volume) -> None:
    session, organ, _ = propagated(scan)
    session.add_prompt(organ, Point((13, 20, 15)))
    session.propagate(organ)
    before = np.array(session.mask(organ).array)
    drawn = np.array(before[11])
    drawn[:, 22:] = False
    session.accept_slice(organ, drawn, plane="axial", index=11)
    session.refine(organ)
    assert np.array_equal(np.asarray(session.mask(organ).array)[13:], before[13:])


def test_a_slice_drawn_on_another_plane_corrects_along_that_plane(scan: Volume) -> None:
    session, organ, before = propagated(scan)
    axes = scan.geometry.axes_of("coronal")
    assert axes.normal == 1
    drawn = np.array(before[:, 5, :])
    drawn[4:8, 30:36] = True  # something that the axial propagation did not see
    session.accept_slice(organ, drawn, plane="coronal", index=5)
    session.refine(organ)
    after = np.array(session.mask(organ).array)
    assert np.array_equal(after[:, 5, :], drawn)
    assert 5 in changed_slices(session, organ, before, axis=1)
    assert np.array_equal(after[:, 14:26, 10:22], before[:, 14:26, 10:22])
    assert not session.state.object(organ).is_stale
    session.propagate(organ)  # across axial slices, and the drawing stays as it was drawn
    assert np.array_equal(np.asarray(session.mask(organ).array)[:, 5, :], drawn)


def test_a_prompt_that_was_taken_back_makes_the_whole_mask_anew(scan: Volume) -> None:
    session, organ, before = propagated(scan)
    wrong = Point((12, 20, 30), positive=False)
    session.add_prompt(organ, wrong)
    session.refine(organ)
    session.remove_prompt(organ, wrong)
    session.refine(organ)
    assert np.array_equal(session.mask(organ).array, before)


def test_a_box_with_an_extent_bounds_the_whole_mask_anew(scan: Volume) -> None:
    session, organ, _ = propagated(scan)
    session.add_prompt(organ, Box((4, 12, 8), (18, 28, 23)))
    session.refine(organ)
    after = np.asarray(session.mask(organ).array)
    assert not after[19:].any()
    assert not after[:, :, 24:].any()


def test_a_cancelled_refinement_leaves_the_state_before_it(scan: Volume) -> None:
    session, organ, _ = propagated(scan)
    session.add_prompt(organ, Point((12, 20, 30), positive=False))
    before, calls = session.state, []

    def stop(done: int, total: int) -> None:
        calls.append((done, total))
        if len(calls) > 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        session.refine(organ, on_progress=stop)
    assert session.state == before
    shares = []
    session.refine(organ, on_progress=lambda done, total: shares.append(done / total))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_an_object_made_of_a_mask_is_corrected_where_a_click_says_so() -> None:
    geometry = GEOMETRIES["isotropic"]
    truth = np.zeros(geometry.shape, bool)
    truth[8:24, 10:30, 12:32] = True
    scan = paint(truth, geometry, noise_hu=0)
    wrong = truth.copy()
    wrong[16] = False
    wrong[16, 10:30, 12:20] = True
    session, organ = with_mask(scan, wrong)
    session.add_prompt(organ, Point((16, 20, 28)))
    session.refine(organ)
    after = np.asarray(session.mask(organ).array)
    assert dice(after[16], truth[16]) > 0.95
    assert np.array_equal(np.delete(after, 16, axis=0), np.delete(wrong, 16, axis=0))
