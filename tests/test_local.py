from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import voxsam
from contracts.session_contract import SessionContract
from fakes import FloodFillModel
from phantoms import GEOMETRIES, Phantom, dice, ellipsoid
from voxsam.errors import GeometryError, Superseded, WindowError
from voxsam.local import LocalSession, open_session
from voxsam.prompts import Box, Point
from voxsam.propagate import StopRules
from voxsam.session import CroppedMask
from voxsam.views import slice_of


@pytest.fixture(params=["isotropic", "awkward", "permuted"])
def phantom(request: pytest.FixtureRequest) -> Phantom:
    return ellipsoid(GEOMETRIES[request.param])


@pytest.fixture
def session(phantom: Phantom) -> Iterator[LocalSession]:
    with open_session(phantom.volume, model=FloodFillModel()) as session:
        yield session


class TestLocalSession(SessionContract):
    pass


def test_an_unknown_plane_or_window_is_refused_at_opening(phantom: Phantom) -> None:
    with pytest.raises(GeometryError, match="no plane 'oblique'"):
        open_session(phantom.volume, model=FloodFillModel(), plane="oblique")  # type: ignore[arg-type]
    with pytest.raises(WindowError, match="did you mean 'liver'"):
        open_session(phantom.volume, model=FloodFillModel(), window="livr")


def test_each_view_is_encoded_once(phantom: Phantom) -> None:
    model = FloodFillModel()
    session = open_session(phantom.volume, model=model, plane="axial")
    organ = session.add_object()
    session.add_prompt(organ, Point(phantom.inside_zyx))
    session.propagate(organ)
    encoded = model.encoded
    session.propagate(organ)
    session.preview(organ, plane="axial", index=phantom.inside_zyx[session.volume.geometry.axes_of("axial").normal])
    assert model.encoded == encoded


def test_a_preview_of_a_propagated_slice_does_not_unpack_the_others(
    phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(phantom.volume, model=FloodFillModel(), plane="axial")
    organ = session.add_object()
    session.add_prompt(organ, Point(phantom.inside_zyx))
    session.propagate(organ)
    axes = phantom.volume.geometry.axes_of("axial")
    index = phantom.inside_zyx[axes.normal] + 1
    expected = slice_of(session.mask(organ).array, axes, index)
    monkeypatch.delattr(CroppedMask, "to_array")
    assert np.array_equal(session.preview(organ, index=index).mask, expected)


def test_stop_rules_reach_the_propagation(phantom: Phantom) -> None:
    session = open_session(phantom.volume, model=FloodFillModel(), plane="axial")
    organ = session.add_object()
    session.add_prompt(organ, Point(phantom.inside_zyx))
    normal = session.volume.geometry.axes_of("axial").normal
    here = phantom.inside_zyx[normal]
    session.propagate(organ, stops=StopRules(first_index=here, last_index=here + 1))
    others = tuple({0, 1, 2} - {normal})
    assert np.flatnonzero(session.mask(organ).array.any(axis=others)).tolist() == [here, here + 1]


def test_a_preview_corrects_the_propagated_mask(phantom: Phantom) -> None:
    session = open_session(phantom.volume, model=FloodFillModel(), plane="axial")
    organ = session.add_object()
    session.add_prompt(organ, Point(phantom.inside_zyx))
    session.propagate(organ)
    axes = session.volume.geometry.axes_of("axial")
    index = phantom.inside_zyx[axes.normal] + 1
    whole = session.preview(organ, index=index).mask
    row, column = np.argwhere(whole)[0]
    zyx = np.zeros(3)
    zyx[[axes.normal, axes.row, axes.column]] = index, row, column
    session.add_prompt(organ, Point(tuple(zyx), positive=False))
    corrected = session.preview(organ, index=index).mask
    assert not corrected[row, column]
    assert corrected.any()
    session.refine(organ)
    assert np.array_equal(slice_of(session.mask(organ).array > 0, axes, index), corrected)


def test_prompts_that_change_during_propagation_win(phantom: Phantom) -> None:
    session = open_session(phantom.volume, model=FloodFillModel())
    organ = session.add_object()
    session.add_prompt(organ, Point(phantom.inside_zyx))

    def change(done: int, total: int) -> None:
        if len(session.state.object(organ).prompts) == 1:
            session.add_prompt(organ, Point((0, 0, 0), positive=False))

    with pytest.raises(Superseded, match="the newer one wins"):
        session.propagate(organ, on_progress=change)
    assert session.state.object(organ).mask is None


def test_another_thread_may_edit_while_one_propagates(phantom: Phantom) -> None:
    session = open_session(phantom.volume, model=FloodFillModel())
    organ = session.add_object()
    session.add_prompt(organ, Point(phantom.inside_zyx))
    started, go_on = threading.Event(), threading.Event()

    def pause(done: int, total: int) -> None:
        started.set()
        assert go_on.wait(10)

    worker = threading.Thread(target=lambda: session.propagate(organ, on_progress=pause))
    worker.start()
    assert started.wait(10)
    other = session.add_object("other")
    session.add_prompt(other, Point((0, 0, 0)))
    go_on.set()
    worker.join(10)
    assert session.state.object(organ).mask is not None
    assert session.state.object(other).prompts == (Point((0, 0, 0)),)


def test_the_plane_follows_the_box(phantom: Phantom) -> None:
    session = open_session(phantom.volume, model=FloodFillModel())
    organ = session.add_object()
    axes = phantom.volume.geometry.axes_of("sagittal")
    low, high = np.argwhere(phantom.truth.array).min(0), np.argwhere(phantom.truth.array).max(0)
    low[axes.normal] = high[axes.normal] = phantom.inside_zyx[axes.normal]
    session.add_prompt(organ, Box(tuple(low), tuple(high)))
    assert session.propagate(organ).settings["plane"] == "sagittal"


def test_the_names_are_the_same_everywhere(tmp_path: Path) -> None:
    phantom = ellipsoid(GEOMETRIES["thick-slices"])
    voxsam.save_mask(voxsam.Mask(np.asarray(phantom.volume.array), phantom.volume.geometry), tmp_path / "ct.nii.gz")
    z, y, x = phantom.inside_zyx
    held = np.argwhere(np.asarray(phantom.truth.array)[z])

    scan = voxsam.load_volume(tmp_path / "ct.nii.gz")
    session = voxsam.open_session(scan, model="compact")
    liver = session.add_object("liver")
    session.add_prompt(liver, voxsam.Point((z, y, x)))
    session.add_prompt(liver, voxsam.Box((z, *held.min(0)), (z, *held.max(0))))
    preview = session.preview(liver, plane="axial", index=z)
    session.propagate(liver)
    mask = session.mask(liver)
    voxsam.save_mask(mask, tmp_path / "liver.nii.gz")

    assert dice(preview.mask, np.asarray(phantom.truth.array)[z]) > 0.85
    assert dice(np.asarray(mask.array), np.asarray(phantom.truth.array)) > 0.6
    back = voxsam.load_mask(tmp_path / "liver.nii.gz", like=scan)
    assert np.array_equal(back.array != 0, mask.array)
