"""Speed on a CUDA device, as a ratio against the independent implementation on the same device in the same run.

Opt-in: ``pytest tests/benchmarks/bench_cuda.py``, where there is such a device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from independent_sam import vit_sam
from voxsam.models.backends.apply import use_runtime
from voxsam.models.registry import CARDS
from voxsam.models.sam import build_sam

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda"
SIZES: dict[str, Any] = {"width": 768, "depth": 12, "heads": 12, "global_blocks": (2, 5, 8, 11)}
BATCH, SIDE = 4, 1024


def seconds(work: Callable[[], object]) -> float:
    """Time that passes until the device is done."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


@torch.no_grad()
def test_vit_b_runs_5_times_as_fast_compiled_in_bf16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network: Any = vit_sam(**SIZES, input_size=SIDE)
    published = {name: value for name, value in network.state_dict().items() if not name.startswith("pixel_")}
    torch.save(published, tmp_path / "sam-vit-b.pth")
    model = build_sam(CARDS["sam-vit-b"], tmp_path / "sam-vit-b.pth", DEVICE)
    use_runtime(model, backend="torch-compiled", precision="bf16", device=DEVICE)
    network.to(DEVICE)
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=DEVICE)
    works = (
        lambda: [network.image_encoder(image[None]) for image in images],  # as the published predictor does
        lambda: model.parts["encoder"].run(images),
    )
    expected, found = torch.cat(works[0]()), works[1]()  # compiles
    rows = [[seconds(work) for work in works] for _ in range(10)]
    ratio = median(theirs / ours for theirs, ours in rows)
    error = float((found - expected).norm() / expected.norm())
    with capsys.disabled():
        print(f"\n{DEVICE}: {ratio:.2f}x as fast, relative error {error:.1e}")  # noqa: T201 - what it is run for
    assert error <= 2e-2
    assert ratio >= 5
