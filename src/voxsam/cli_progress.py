"""What goes to standard error: notes, and a progress bar for work that takes an ``on_progress`` callback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["note", "progress"]


def note(message: str) -> None:
    """Say something on one line of standard error.

    Examples
    --------
    >>> note("nothing was found")
    """
    sys.stderr.write(f"voxsam: note: {' '.join(message.split())}\n")


@contextmanager
def progress(title: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Lend a callback ``on_progress(done, total)`` that draws a bar; nothing is drawn where nobody looks.

    The bar goes away at the end. Ctrl-C raises `KeyboardInterrupt` in the work, as anywhere.

    Parameters
    ----------
    title : str
        What is being done.
    of_bytes : bool
        Count in megabytes.

    Examples
    --------
    >>> with progress("Counting") as on_progress:
    ...     on_progress(1, 2)
    """
    console = Console(stderr=True)
    count = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield on_progress
