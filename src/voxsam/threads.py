"""Several things at a time, in threads: for work that leaves the interpreter alone while it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["each_in_threads"]

T = TypeVar("T")


def each_in_threads(
    work: Callable[[T], object], items: Iterable[T], *, threads: int, on_done: Callable[[int], None]
) -> int:
    """Do the work for each item, so many at a time.

    Parameters
    ----------
    work : callable
    items : iterable
        Taken one by one, when a thread is nearly free.
    threads : int
    on_done : callable
        Called in this thread with the number of items that are done. What it raises, as `Cancelled`, stops the rest;
        so does a failure of the work, and Ctrl-C. Items that are under way are finished first.

    Returns
    -------
    int
        How many items there were.

    Examples
    --------
    >>> squares = []
    >>> each_in_threads(lambda n: squares.append(n * n), range(4), threads=2, on_done=lambda done: None)
    4
    >>> sorted(squares)
    [0, 1, 4, 9]
    """
    waiting: set[Future[object]] = set()
    done = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="voxsam")
    try:
        for item in items:
            waiting.add(pool.submit(work, item))
            if len(waiting) > threads:  # one lies ready, so that no thread waits
                done += _some(waiting)
                on_done(done)
        while waiting:
            done += _some(waiting)
            on_done(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return done


def _some(waiting: set[Future[object]]) -> int:
    """Wait for the next to finish, take the finished ones out, and raise what one of them raised."""
    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
    waiting -= finished
    for future in finished:
        future.result()
    return len(finished)
