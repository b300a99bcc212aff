from __future__ import annotations

import threading

import pytest

from voxsam.errors import Cancelled
from voxsam.threads import each_in_threads


def test_items_are_worked_on_at_the_same_time() -> None:
    together = threading.Barrier(3)
    assert each_in_threads(lambda _: together.wait(10), range(6), threads=3, on_done=lambda _: None) == 6


def test_no_more_items_are_taken_than_can_be_worked_on_soon() -> None:
    taken: list[int] = []
    go_on = threading.Semaphore(0)

    def items() -> object:
        for n in range(8):
            taken.append(n)
            assert len(taken) <= finished + 4  # two at work, one ready, one in hand
            go_on.release()
            yield n

    finished = 0

    def done(count: int) -> None:
        nonlocal finished
        finished = count

    each_in_threads(lambda _: go_on.acquire(), items(), threads=2, on_done=done)  # type: ignore[arg-type]
    assert finished == 8


@pytest.mark.parametrize("fault", [Cancelled("stop"), KeyboardInterrupt()])
def test_what_the_callback_raises_stops_the_rest(fault: BaseException) -> None:
    begun: list[int] = []

    def stop(done: int) -> None:
        raise fault

    with pytest.raises(type(fault)):
        each_in_threads(begun.append, range(100), threads=2, on_done=stop)
    assert len(begun) <= 3
    assert not any(thread.name.startswith("voxsam") for thread in threading.enumerate())


def test_a_failure_of_the_work_comes_through() -> None:
    def fail(n: int) -> None:
        raise ValueError(f"{n} is broken")

    with pytest.raises(ValueError, match="broken"):
        each_in_threads(fail, range(100), threads=2, on_done=lambda _: None)


def test_nothing_to_do_is_done_at_once() -> None:
    assert each_in_threads(lambda _: None, [], threads=2, on_done=lambda _: None) == 0
