from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import GEOMETRIES, Phantom, ellipsoid, paint
from voxsam.errors import SessionError
from voxsam.geometry import Geometry
from voxsam.local import LocalSession, load_session, open_session
from voxsam.prompts import Box, Point, Scribble
from voxsam.session_file import read_session
from voxsam.terminology import CODES
from voxsam.views import slice_of
from voxsam.volume import Mask, Volume
from voxsam.windowing import Window


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return ellipsoid(GEOMETRIES["awkward"])


def worked_on(phantom: Phantom) -> LocalSession:
    """A session with everything in it that a file has to hold."""
    session = open_session(phantom.volume, model=FloodFillModel(), window=Window(300, 20), plane="axial")
    z, y, x = phantom.inside_zyx
    organ = session.add_object("organ ü", color_rgb=(0.1, 0.2, 0.3), code=CODES["left kidney"])
    session.add_prompt(organ, Point((z, y + 0.25, x)))
    session.propagate(organ, reach="up")
    session.propagate(organ)
    session.add_prompt(organ, Scribble([(z, y, x), (z, y + 3, x)], positive=True))
    session.add_prompt(organ, Box((z, y - 5, x - 5), (z, y + 5, x + 5)))
    rest = session.add_object("rest", mask=Mask(~np.asarray(phantom.truth.array), phantom.volume.geometry))
    session.accept_slice(rest, slice_of(phantom.truth.array, phantom.volume.geometry.axes_of("axial"), 3) | True,
                         plane="axial", index=3)  # fmt: skip
    session.protect(phantom.truth)
    session.set_overlap("overwrite")
    session.change_object(rest, locked=True, visible=False)
    return session


@pytest.fixture
def saved(phantom: Phantom, tmp_path: Path) -> Path:
    with worked_on(phantom) as session:
        session.save(tmp_path / "work.json")
    return tmp_path / "work.json"


def loaded(path: Path, volume: Volume, **options: object) -> LocalSession:
    return load_session(path, volume, model=FloodFillModel(), **options)  # type: ignore[arg-type]


def test_everything_comes_back(phantom: Phantom, tmp_path: Path) -> None:
    with worked_on(phantom) as session:
        session.save(tmp_path / "work.json")
        with loaded(tmp_path / "work.json", phantom.volume) as again:
            assert again.problems == ()
            assert again.state == session.state
            assert again.state.object(1).is_stale
            assert again._history.edits == tuple(
                edit.to_be_found() if hasattr(edit, "to_be_found") else edit for edit in session._history.edits
            )
            again.save(tmp_path / "again.json")
            assert again.add_object() == 3
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("work.json", "again.json"))
    assert first == second
    assert first["settings"]["windows"] == [{"width": 300.0, "level": 20.0, "name": ""}]


def test_a_session_of_another_scan_is_refused_in_one_line(phantom: Phantom, saved: Path) -> None:
    other = paint(np.asarray(phantom.truth.array), phantom.volume.geometry, seed=5)
    with pytest.raises(SessionError, match=r"work\.json belongs to another scan") as caught:
        loaded(saved, other)
    assert "\n" not in str(caught.value)


def test_on_a_finer_copy_of_the_scan_prompts_are_placed_by_their_world_positions(phantom: Phantom, saved: Path) -> None:
    coarse = phantom.volume.geometry
    affine = coarse.affine.copy()
    affine[:3, 0] /= 2  # two slices for one; the first one stays where it is
    fine = Geometry((2 * coarse.shape[0], *coarse.shape[1:]), affine)
    copy = Volume(np.repeat(np.asarray(phantom.volume.array), 2, axis=0), fine, modality="CT")
    with loaded(saved, copy, any_scan=True) as session:
        z, y, x = phantom.inside_zyx
        point = session.state.object(1).prompts[0]
        assert isinstance(point, Point)
        assert point.zyx == pytest.approx((2 * z, y + 0.25, x))
        assert session.state.object(1).code == CODES["left kidney"]
        assert session.state.object(1).mask is None
        assert any("the mask of object 1 (organ ü)" in problem for problem in session.problems)
        session.propagate(1)
        assert session.mask(1).array.any()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.999])
def test_of_a_file_that_ends_early_what_is_whole_is_opened(phantom: Phantom, saved: Path, share: float) -> None:
    text = saved.read_text()
    whole = read_session(saved)
    saved.write_text(text[: int(len(text) * share)])
    with loaded(saved, phantom.volume) as session:
        assert session.problems
        assert all("\n" not in problem for problem in session.problems)
        assert any("ends early" in problem for problem in session.problems)
        names = [item.name for item in session.state.objects]
        assert names == [part["name"] for part in whole.parts["objects"]][: len(names)]
        session.add_object("work goes on")


def test_a_damaged_mask_is_left_out_and_named_and_the_rest_is_there(phantom: Phantom, saved: Path) -> None:
    document = json.loads(saved.read_text())
    bits = document["objects"][0]["mask"]["bits"]
    document["objects"][0]["mask"]["bits"] = bits[:20] + ("A" if bits[20] != "A" else "B") + bits[21:]
    document["objects"][1]["color_rgb"] = "red"
    saved.write_text(json.dumps(document))
    with loaded(saved, phantom.volume) as session:
        (organ,) = session.state.objects
        assert organ.mask is None
        assert len(organ.prompts) == 3
        assert len(session.problems) == 2
        assert any("the mask of object 1 (organ ü)" in problem for problem in session.problems)
        assert any("object 2 (rest) of work.json is damaged" in problem for problem in session.problems)


def test_a_damaged_line_costs_that_line(phantom: Phantom, saved: Path) -> None:
    lines = saved.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"name": "rest"' in line)
    lines[at] = lines[at][:50]
    saved.write_text("\n".join(lines))
    with loaded(saved, phantom.volume) as session:
        assert [item.id for item in session.state.objects] == [1]
        assert session.problems == (f"line {at + 1} of work.json is damaged and was left out (one of the objects)",)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "voxsam-session/9"}', "hello", "\x00\x01"])
def test_what_is_no_session_is_refused(phantom: Phantom, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SessionError, match="is no session that this voxsam can read") as caught:
        loaded(tmp_path / "x.json", phantom.volume)
    assert "\n" not in str(caught.value)
    with pytest.raises(SessionError, match="cannot read the session"):
        loaded(tmp_path / "missing.json", phantom.volume)


def test_damaged_settings_are_replaced_by_the_usual_ones(phantom: Phantom, saved: Path) -> None:
    document = json.loads(saved.read_text())
    document["settings"]["windows"] = [{"width": -3, "level": 0}]
    document["overlap"] = "sometimes"
    saved.write_text(json.dumps(document))
    with loaded(saved, phantom.volume) as session:
        assert len(session.state.objects) == 2
        assert any("the usual settings are used" in problem for problem in session.problems)
        assert any("overlap policy" in problem for problem in session.problems)


def test_edits_after_a_damaged_one_are_left_out(phantom: Phantom, saved: Path) -> None:
    document = json.loads(saved.read_text())
    document["edits"][2] = {"edit": "conjure", "object": 1}
    saved.write_text(json.dumps(document))
    with loaded(saved, phantom.volume) as session:
        assert len(session._history.edits) == 2
        assert session.state.object(1).mask is not None  # the masks do not depend on them
        assert any("no edit 'conjure' is known" in problem for problem in session.problems)


def test_a_full_disk_leaves_the_old_files(phantom: Phantom, tmp_path: Path) -> None:
    with worked_on(phantom) as session:
        session.save(tmp_path / "work.json")
        session.save_masks(tmp_path / "masks.nii.gz")
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        session.add_object("more")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            with pytest.raises(SessionError, match="cannot write"):
                session.save(tmp_path / "work.json")
            with pytest.raises(Exception, match="cannot write"):
                session.save_masks(tmp_path / "masks.nii.gz")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
