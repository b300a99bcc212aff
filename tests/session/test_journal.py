from __future__ import annotations

import json
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import GEOMETRIES, Phantom, ellipsoid, paint
from voxsam.errors import SessionError
from voxsam.journal import Journal, read_journal
from voxsam.local import LocalSession, find_journal, load_session, open_session
from voxsam.prompts import Point
from voxsam.volume import Volume


@pytest.fixture(autouse=True)
def sessions_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOXSAM_SESSIONS", str(tmp_path / "sessions"))
    return tmp_path / "sessions"


@pytest.fixture
def phantom() -> Phantom:
    return ellipsoid(GEOMETRIES["awkward"])


def opened(volume: Volume, journal: Path | str | None = "auto", **options: object) -> LocalSession:
    return open_session(volume, model=FloodFillModel(), journal=journal, **options)  # type: ignore[arg-type]


def worked_on(session: LocalSession, phantom: Phantom) -> int:
    organ = session.add_object("organ")
    session.add_prompt(organ, Point(phantom.inside_zyx))
    session.propagate(organ)
    return organ


def test_a_session_goes_on_where_its_journal_ends_with_undo_and_redo(phantom: Phantom) -> None:
    with opened(phantom.volume) as session:
        organ = worked_on(session, phantom)
        session.add_object("second")
        session.undo()
        before, path = session.state, session.journal_path
    assert path is not None
    with opened(phantom.volume, path) as again:
        assert again.state == before
        assert again.problems == ()
        report = again.state.object(organ).report
        assert report is not None
        assert report.of_source("prompted")
        again.redo()
        assert [item.name for item in again.state.objects] == ["organ", "second"]
        for _ in range(4):
            again.undo()
        assert again.state.objects == ()
        assert not again.can_undo
        assert again.add_object() == 3  # ids are not used again


def test_a_session_without_an_edit_leaves_no_file(phantom: Phantom, sessions_dir: Path) -> None:
    with opened(phantom.volume) as session:
        assert session.journal_path is None
    assert not list(sessions_dir.iterdir())
    assert find_journal(phantom.volume) is None


def test_the_last_journal_of_the_scan_is_found_once_nobody_works_on_it(phantom: Phantom) -> None:
    other = paint(np.asarray(phantom.truth.array), phantom.volume.geometry, seed=9)
    with opened(phantom.volume) as first:
        first.add_object("one")
        earlier = first.journal_path
    with opened(phantom.volume) as second:
        second.add_object("two")
        later = second.journal_path
        assert find_journal(phantom.volume) == earlier
    assert find_journal(phantom.volume) == later != earlier
    assert find_journal(other) is None


def test_a_journal_is_for_the_user_alone_and_names_no_patient(sessions_dir: Path) -> None:
    phantom = ellipsoid(GEOMETRIES["awkward"])
    named = Volume(np.asarray(phantom.volume.array), phantom.volume.geometry, name="DOE^JANE.nii.gz")
    with opened(named) as session:
        worked_on(session, phantom)
        path = session.journal_path
        session.save(sessions_dir / "work.json")
    assert path is not None
    assert b"DOE" not in path.read_bytes() + (sessions_dir / "work.json").read_bytes() + path.name.encode()
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(sessions_dir.stat().st_mode) == 0o700


def test_a_journal_of_another_scan_is_refused_in_one_line(phantom: Phantom) -> None:
    with opened(phantom.volume) as session:
        session.add_object()
        path = session.journal_path
    before = path.read_bytes()  # type: ignore[union-attr]
    other = ellipsoid(GEOMETRIES["isotropic"]).volume
    with pytest.raises(SessionError, match="belongs to another scan: expected fingerprint") as caught:
        opened(other, path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before  # type: ignore[union-attr]


def test_two_sessions_do_not_write_into_one_journal(phantom: Phantom, tmp_path: Path) -> None:
    with opened(phantom.volume, tmp_path / "work.voxsam-journal") as session:
        session.add_object()
        with pytest.raises(SessionError, match="another session is at work on"):
            opened(phantom.volume, tmp_path / "work.voxsam-journal")
    opened(phantom.volume, tmp_path / "work.voxsam-journal").close()


def test_whatever_is_torn_off_the_end_the_edits_before_it_are_there(phantom: Phantom, tmp_path: Path) -> None:
    path = tmp_path / "work.voxsam-journal"
    states = []
    with opened(phantom.volume, path) as session:
        for step in range(4):
            session.add_object(f"object {step}")
            states.append(session.state)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[-2], ends[-1], 7):
        path.write_bytes(whole[:cut])
        with opened(phantom.volume, path) as again:
            assert again.state == states[-2]
            assert again.problems == ()  # nobody was told that the last edit was taken
            again.add_object("after the crash")
        with opened(phantom.volume, path) as twice:
            assert [item.name for item in twice.state.objects][-1] == "after the crash"


def test_a_damaged_record_ends_what_is_taken_and_the_file_is_put_aside(phantom: Phantom, tmp_path: Path) -> None:
    path = tmp_path / "work.voxsam-journal"
    with opened(phantom.volume, path) as session:
        for step in range(5):
            session.add_object(f"object {step}")
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:3], lines[3].replace(b"object 2", b"object X"), *lines[4:]])
    path.write_bytes(damaged)
    with opened(phantom.volume, path) as again:
        assert [item.name for item in again.state.objects] == ["object 0", "object 1"]
        (problem,) = again.problems
        assert (
            "record 3 of work.voxsam-journal is damaged: the 2 edits before it were taken, 3 were left out" in problem
        )
    assert (tmp_path / "work.voxsam-journal.damaged").read_bytes() == damaged
    with opened(phantom.volume, path) as twice:
        assert twice.problems == ()
        assert len(twice.state.objects) == 2


def test_what_is_no_journal_is_refused(phantom: Phantom, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello\n")
    with pytest.raises(SessionError, match="is no journal that this voxsam can read"):
        opened(phantom.volume, path)
    newer = Journal.create(tmp_path / "new", {})
    newer.close()
    text = (tmp_path / "new").read_text().replace("journal/1", "journal/9")
    (tmp_path / "new").write_text(text)
    with pytest.raises(SessionError, match="got 'something else'"):  # its checksum does not fit any more
        read_journal(tmp_path / "new")


def test_an_edit_that_does_not_reach_the_disk_is_not_taken(phantom: Phantom, tmp_path: Path) -> None:
    path = tmp_path / "work.voxsam-journal"
    with opened(phantom.volume, path) as session:
        session.add_object("first")
        before, size = session.state, path.stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, hard))  # the next record is cut off on its way
        try:
            with pytest.raises(SessionError, match=r"cannot write the journal .*; the edit was not taken"):
                session.add_object("second")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert session.state == before
        assert path.stat().st_size == size
        session.add_object("third")
        after = session.state
    with opened(phantom.volume, path) as again:
        assert again.state == after


def test_a_folder_that_cannot_be_written_to_is_said_and_work_goes_on(
    phantom: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VOXSAM_SESSIONS", str(tmp_path / "file" / "sessions"))
    with opened(phantom.volume) as session:
        assert session.problems[0].startswith("nothing is saved by itself: ")
        session.add_object("organ")
        assert session.journal_path is None


def test_a_loaded_session_begins_a_journal_of_its_own(phantom: Phantom, tmp_path: Path) -> None:
    with opened(phantom.volume, None) as session:
        organ = worked_on(session, phantom)
        session.save(tmp_path / "work.json")
    with load_session(tmp_path / "work.json", phantom.volume, model=FloodFillModel(), journal="auto") as loaded:
        loaded.change_object(organ, name="liver")
        loaded.undo()
        loaded.add_object("second")
        before, edits, path = loaded.state, loaded._history.edits, loaded.journal_path
    with opened(phantom.volume, path) as again:
        assert again.state == before
        assert len(again._history.edits) == len(edits) == 4
        again.undo()
        assert not again.can_undo
    with pytest.raises(SessionError, match="exists already"):
        load_session(tmp_path / "work.json", phantom.volume, model=FloodFillModel(), journal=path)


def test_a_record_is_a_checksum_and_json(phantom: Phantom, tmp_path: Path) -> None:
    path = tmp_path / "work.voxsam-journal"
    with opened(phantom.volume, path) as session:
        session.add_object("organ")
    header, first = (json.loads(line.split(" ", 1)[1]) for line in path.read_text().splitlines())
    assert header["scan"]["fingerprint"] == phantom.volume.fingerprint
    assert header["settings"]["model"]["name"] == "flood-fill"
    assert "voxsam" in header["versions"]
    assert first["edit"] == "add_object"
