from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from qtpy.QtCore import QThread

from voxsam.errors import Cancelled, SessionError
from voxsam_napari.worker import Job, Worker, line_of


@pytest.fixture
def worker(qapp: Any) -> Iterator[Worker]:
    worker = Worker()
    yield worker
    assert worker.stop(timeout_s=10)


def test_edits_run_in_order_on_one_thread_and_answer_on_the_gui_thread(worker: Worker, qtbot: Any) -> None:
    ran, answered = [], []

    def edit(number: int) -> Job:
        def run(_: Any) -> int:
            ran.append((number, threading.current_thread().name))
            return number

        return Job(run, lambda value: answered.append((value, QThread.currentThread())))

    for number in range(20):
        worker.edit(edit(number))
    qtbot.waitUntil(lambda: len(answered) == 20)
    assert ran == [(number, "voxsam") for number in range(20)]
    assert answered == [(number, worker.thread()) for number in range(20)]


def test_of_work_of_a_kind_only_the_newest_is_done_and_edits_go_first(worker: Worker, qtbot: Any) -> None:
    gate, ran = threading.Event(), []
    worker.edit(Job(lambda _: gate.wait(10)))
    for kind in ("measure", "preview"):
        for number in range(5):
            worker.newest(kind, Job(lambda _, what=f"{kind} {number}": ran.append(what)))
    worker.edit(Job(lambda _: ran.append("edit")))
    gate.set()
    qtbot.waitUntil(lambda: len(ran) == 3)
    assert ran == ["edit", "preview 4", "measure 4"]


def test_long_work_tells_its_progress_and_stops_when_cancelled(worker: Worker, qtbot: Any) -> None:
    seen, failed, started = [], [], threading.Event()

    def run(on_progress: Any) -> None:
        for done in range(10_000):
            on_progress(done, 10_000)
            started.set()
            threading.Event().wait(0.001)

    job = worker.edit(Job(run, failed=failed.append, progress=lambda done, total: seen.append((done, total))))
    assert started.wait(10)
    qtbot.waitUntil(lambda: bool(seen))
    worker.cancel(job)
    qtbot.waitUntil(lambda: bool(failed))
    assert isinstance(failed[0], Cancelled)
    assert len(seen) < 10_000


def test_what_waits_is_cancelled_without_having_begun(worker: Worker, qtbot: Any) -> None:
    gate, ran, failed = threading.Event(), [], []
    worker.edit(Job(lambda _: gate.wait(10)))
    job = worker.edit(Job(lambda _: ran.append(1), failed=failed.append))
    worker.cancel(job)
    gate.set()
    qtbot.waitUntil(lambda: bool(failed))
    assert not ran


def test_a_fault_reaches_the_user_and_the_thread_goes_on(worker: Worker, qtbot: Any) -> None:
    def broken(_: Any) -> None:
        raise ZeroDivisionError("by chance")

    with qtbot.waitSignal(worker.failed, timeout=5000) as caught:
        worker.edit(Job(broken, name="sum"))
    assert caught.args[0] == "sum"
    assert line_of(caught.args[1]) == "this should not happen: ZeroDivisionError: by chance; your work is kept"
    answers: list[int] = []
    worker.edit(Job(lambda _: 7, answers.append))
    qtbot.waitUntil(lambda: answers == [7])


def test_stopping_cancels_long_work_finishes_edits_and_says_goodbye_last(qapp: Any) -> None:
    worker, done, started = Worker(), [], threading.Event()

    def long(on_progress: Any) -> None:
        started.set()
        while True:
            on_progress(0, 1)

    worker.edit(Job(long, progress=lambda *_: None))
    assert started.wait(10)
    worker.edit(Job(lambda _: done.append("edit")))
    worker.newest("preview", Job(lambda _: done.append("preview")))
    assert worker.stop(last=lambda: done.append("closed"), timeout_s=10)
    assert done == ["edit", "closed"]
    assert not worker.is_alive
    worker.edit(Job(lambda _: done.append("late")))
    assert done == ["edit", "closed"]


def test_errors_are_worded_in_one_line() -> None:
    assert line_of(SessionError("nothing\nto undo")) == "nothing to undo"
    assert line_of(OSError(28, "No space left on device")) == "No space left on device; nothing was lost"
