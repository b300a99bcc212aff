"""How the cores of a processor are shared out: many threads on one slice, or a thread each on many."""

from __future__ import annotations

import os

import torch

from voxsam.models.runtime import Runtime

__all__ = ["share_cores", "usable_cores"]

MOST_WORKERS = 4  # each holds a slice's activations, up to half a gigabyte with the largest encoders


def usable_cores() -> int:
    """Count the cores that this process may run on.

    Examples
    --------
    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(runtime: Runtime, workers: int | None = None) -> int:
    """Decide how many slices are encoded at a time, and leave each the threads that are its share.

    Encoders lose time between their steps when many threads work on each, so that slices side by side go through
    faster. Other runtimes than torch, and other devices than the CPU, take one slice at a time. It concerns the whole
    process: only a program's entry does it.

    Parameters
    ----------
    runtime : Runtime
        Of the model.
    workers : int, optional
        How many are wished for. Without: one a core, at most `MOST_WORKERS`.

    Returns
    -------
    int
        How many slices to encode at a time.

    Examples
    --------
    >>> share_cores(Runtime("openvino"), 3)
    1
    """
    if runtime.backend != "torch" or runtime.device != "cpu":
        return 1
    cores = usable_cores()
    wanted = workers or min(cores, MOST_WORKERS)
    torch.set_num_threads(max(1, cores // wanted))
    return wanted
