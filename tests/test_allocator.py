from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from voxsam.allocator import keep_memory

FAULTS = """
import resource, sys, threading
import numpy as np
from voxsam.allocator import keep_memory

def work():
    pixels = np.ones(2**24, np.float32)  # 64 MiB; up to 32 MiB glibc learns to keep by itself
    for _ in range(3):
        (pixels + 1) * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        (pixels + 1) * 2
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

faults = []
if "keep" in sys.argv:
    keep_memory()
if "thread" in sys.argv:
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
else:
    work()
print(*faults)
"""

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")


def faults(*how: str) -> int:
    said = subprocess.run([sys.executable, "-c", FAULTS, *how], capture_output=True, text=True, check=True)
    return int(said.stdout)


@on_glibc
@pytest.mark.parametrize("where", ["main", "thread"])
def test_kept_memory_is_not_faulted_in_again(where: str) -> None:
    huge_pages = 5 * 2 * 2**26 // 2**21  # the least that is faulted in
    assert faults(where) >= huge_pages
    assert faults(where, "keep") < huge_pages / 10


def test_the_answer_says_whether_anything_was_done() -> None:
    assert keep_memory() is (platform.libc_ver()[0] == "glibc")


def test_other_allocators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not keep_memory()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())  # musl has no mallopt
    assert not keep_memory()
