from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from voxsam.models import cores
from voxsam.models.cores import share_cores, usable_cores
from voxsam.models.runtime import Runtime


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "wished", "workers", "threads"),
    [(1, None, 1, 1), (2, None, 2, 1), (16, None, 4, 4), (8, 2, 2, 4), (2, 5, 5, 1)],
)
def test_each_worker_has_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, count: int, wished: int | None, workers: int, threads: int
) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: count)
    assert share_cores(Runtime(), wished) == workers
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("runtime", [Runtime("openvino"), Runtime("onnxruntime"), Runtime(device="cuda")])
def test_other_runtimes_and_devices_take_one_slice_at_a_time(runtime: Runtime) -> None:
    before = torch.get_num_threads()
    assert share_cores(runtime, 4) == 1
    assert torch.get_num_threads() == before


def test_cores_are_counted_where_the_system_does_not_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores() == 1
