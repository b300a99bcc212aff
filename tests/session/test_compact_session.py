"""The verbs of a session with the shipped model on a drawn scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phantoms import GEOMETRIES, Phantom, dice, ellipsoid
from voxsam.local import load_session, open_session
from voxsam.prompts import Box, Point
from voxsam.session import Session


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return ellipsoid(GEOMETRIES["thick-slices"])


def test_the_shipped_model_takes_a_session_from_the_first_click_to_the_file(phantom: Phantom, tmp_path: Path) -> None:
    truth = np.asarray(phantom.truth.array)
    z, y, x = phantom.inside_zyx
    held = np.argwhere(truth[z])
    path = tmp_path / "work.voxsam-journal"
    with open_session(phantom.volume, journal=path) as session:
        assert isinstance(session, Session)
        organ = session.add_object("organ")
        hover = session.preview(organ, index=z, extra=Point((z, y, x)))
        assert hover.score is not None
        session.add_prompt(organ, Box((z, *held.min(0)), (z, *held.max(0))))
        preview = session.preview(organ, index=z)
        assert dice(preview.mask, truth[z]) > 0.85
        session.propagate(organ, reach="up")
        session.propagate(organ, reach="down")
        found = np.array(session.mask(organ).array)
        assert np.array_equal(found[z], preview.mask)  # what was shown is what is taken
        session.accept_slice(organ, truth[z + 1], plane="axial", index=z + 1)
        session.refine(organ)
        after = np.array(session.mask(organ).array)
        assert np.array_equal(after[z + 1], truth[z + 1])
        assert np.array_equal(after[: z + 1], found[: z + 1])
        assert dice(after, truth) >= dice(found, truth)
        session.save(tmp_path / "work.json")
        before = session.state
    with open_session(phantom.volume, journal=path) as again:
        assert again.state == before
        again.undo()
        again.undo()
        assert np.array_equal(again.mask(organ).array, found)
    with load_session(tmp_path / "work.json", phantom.volume) as loaded:
        assert loaded.state == before
        assert loaded.problems == ()
