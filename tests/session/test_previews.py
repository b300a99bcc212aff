"""Latest wins: a newer preview or an edit overtakes a running one, and an edit overtakes a propagation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import GEOMETRIES, Phantom, ellipsoid
from voxsam.errors import Cancelled, SessionError, Superseded
from voxsam.local import LocalSession, open_session
from voxsam.models.base import Embedding, SliceLogits, SlicePrompts
from voxsam.previews import prompts_since
from voxsam.prompts import Box, Point
from voxsam.session import Event, ObjectState, Preview


class SlowModel(FloodFillModel):
    """Stops before it answers, until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        self.asked.set()
        assert self.go_on.wait(20)
        return super().decode(embedding, prompts, multimask=multimask)


@pytest.fixture
def phantom() -> Phantom:
    return ellipsoid(GEOMETRIES["isotropic"])


class Running:
    """Work in a thread, with what came of it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.answer: object = None
        self._work, self._thread = work, threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._work()
        except (Cancelled, SessionError) as error:
            self.answer = error

    def ended(self) -> object:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.answer


@pytest.fixture
def model() -> SlowModel:
    return SlowModel()


@pytest.fixture
def session(phantom: Phantom, model: SlowModel) -> LocalSession:
    session = open_session(phantom.volume, model=model, plane="axial")
    session.add_prompt(session.add_object("organ"), Point(phantom.inside_zyx))
    return session


def test_a_newer_preview_overtakes_a_running_one_and_all_that_wait(
    session: LocalSession, model: SlowModel, phantom: Phantom
) -> None:
    index = phantom.inside_zyx[0]
    first = Running(lambda: session.preview(1, index=index))
    assert model.asked.wait(20)
    waiting = [Running(lambda: session.preview(1, index=index)) for _ in range(3)]
    while session._latest._count < 4:
        time.sleep(0.001)
    last = Running(lambda: session.preview(1, index=index))
    while session._latest._count < 5:
        time.sleep(0.001)
    model.go_on.set()
    assert isinstance(last.ended(), Preview)
    for older in (first, *waiting):
        assert isinstance(older.ended(), Superseded)
    assert model.decoded == 2  # those that waited in line asked nothing


def test_a_new_prompt_overtakes_a_running_preview(session: LocalSession, model: SlowModel, phantom: Phantom) -> None:
    running = Running(lambda: session.preview(1, index=phantom.inside_zyx[0]))
    assert model.asked.wait(20)
    session.add_prompt(1, Point((0, 0, 0), positive=False))  # is taken at once: nothing waits for the model
    model.go_on.set()
    assert isinstance(running.ended(), Superseded)


def test_an_edit_of_another_object_leaves_a_preview_alone(
    session: LocalSession, model: SlowModel, phantom: Phantom
) -> None:
    running = Running(lambda: session.preview(1, index=phantom.inside_zyx[0]))
    assert model.asked.wait(20)
    session.change_object(session.add_object("other"), name="spleen")
    model.go_on.set()
    assert isinstance(running.ended(), Preview)


@pytest.mark.parametrize(
    "edit",
    [
        lambda session: session.add_prompt(1, Point((0, 0, 0), positive=False)),
        lambda session: session.undo(),
        lambda session: session.remove_object(1),
        lambda session: session.close(),
    ],
    ids=["a prompt", "undo", "its removal", "closing"],
)
def test_an_edit_ends_a_running_propagation_and_wins(
    session: LocalSession, model: SlowModel, edit: Callable[[LocalSession], object]
) -> None:
    running = Running(lambda: session.propagate(1))
    assert model.asked.wait(20)
    edit(session)
    after = session.state
    model.go_on.set()
    assert isinstance(running.ended(), Superseded)
    assert session.state == after
    assert model.decoded < 5  # it did not go on to the end


def test_a_newer_propagation_overtakes_an_older_one(session: LocalSession, model: SlowModel) -> None:
    older = Running(lambda: session.propagate(1))
    assert model.asked.wait(20)
    newer = Running(lambda: session.propagate(1))
    model.go_on.set()
    answers = [older.ended(), newer.ended()]
    assert isinstance(answers[0], Superseded)
    assert session.state.object(1).report is answers[1]


def test_an_event_may_edit_the_session_that_tells_it(phantom: Phantom) -> None:
    session = open_session(phantom.volume, model=FloodFillModel())

    def answer(event: Event) -> None:
        if len(session.state.objects) < 3:
            session.add_object()

    session.subscribe(answer)
    session.add_object()
    assert len(session.state.objects) == 3


def test_what_was_said_since_counts_equal_prompts_one_by_one() -> None:
    one, other = Point((1, 2, 3)), Box((1, 2, 3), (1, 5, 6))
    item = ObjectState(1, "organ", (1.0, 0.0, 0.0), prompts=(one, one, other), answered=(one,))
    assert prompts_since(item) == ((one, other), ())
    assert prompts_since(replace(item, prompts=(other,), answered=(one, one))) == ((other,), (one,))


def test_a_preview_of_a_mask_made_of_all_prompts_is_the_mask(phantom: Phantom) -> None:
    session = open_session(phantom.volume, model=FloodFillModel(), plane="axial")
    organ = session.add_object(mask=phantom.truth)
    z = phantom.inside_zyx[0]
    shown = session.preview(organ, index=z)
    assert np.array_equal(shown.mask, np.asarray(phantom.truth.array)[z])
    assert shown.score is None
    assert len(session.preview(organ, index=z, multimask=True).candidates) == 3
