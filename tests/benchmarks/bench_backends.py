"""Speed of other runtimes, as ratios against the independent implementation in torch, in the same run.

Opt-in: ``OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_backends.py``. Both sides keep freed memory, as voxsam's own
programs do, and take turns; the time is that of the processor, which other work on the machine changes little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.kept_memory import keep_all_memory
from independent_sam import tiny_sam, vit_sam
from voxsam.models.backends.apply import use_runtime
from voxsam.models.backends.choose import has_bf16
from voxsam.models.base import PromptableModel, SlicePrompts
from voxsam.models.compact import CompactModel
from voxsam.models.compact_network import CompactNetwork
from voxsam.models.registry import CARDS, load_model
from voxsam.models.sam import SamModel, build_sam

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not has_bf16(), reason="the processor has no bf16 instructions"),
]
ONE_CLICK = SlicePrompts(points_xy=np.array([[120.0, 130.0]], np.float32), point_labels=np.array([1]))
PRODUCT = 1024  # rows and columns
MOST_ERROR = 2e-2  # of TinyViT's embedding in bf16, relative; of the random weights that both sides share

torch.set_num_threads(1)
keep_all_memory()


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@torch.no_grad()
def ratios(benchmark: BenchmarkFixture, reference: Callable[[], object], *, rounds: int, **works: Any) -> list[float]:
    """How many times faster than the reference each is: medians of rounds in which all take turns."""
    for work in works.values():
        work()  # compiles
    rows = [[seconds(work) for work in (reference, *works.values())] for _ in range(rounds)]
    found = [median(row[0] / row[1 + index] for row in rows) for index in range(len(works))]
    benchmark.extra_info["reference, ms"] = 1000 * median(row[0] for row in rows)
    benchmark.extra_info |= dict(zip(works, found, strict=True))
    benchmark.pedantic(next(iter(works.values())), rounds=1)
    return found


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def on(backend: str, precision: str, build: Callable[[], SamModel]) -> SamModel:
    model = build()
    use_runtime(model, backend=backend, precision=precision)
    return model


def sam_of(name: str, network: nn.Module, folder: Path) -> Callable[[], SamModel]:
    published = {key: value for key, value in network.state_dict().items() if not key.startswith("pixel_")}
    torch.save(published, folder / f"{name}.pth")
    return lambda: build_sam(CARDS[name], folder / f"{name}.pth", "cpu")


@torch.no_grad()
def test_vit_b_runs_twice_as_fast_in_openvino_bf16(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    network: Any = vit_sam(width=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11))
    model = on("openvino", "bf16", sam_of("sam-vit-b", network, tmp_path))
    image = torch.randn(1, 3, 1024, 1024)
    found: list[Tensor] = []

    def encode() -> None:
        found[:] = [model.parts["encoder"].run(image)]

    (ratio,) = ratios(benchmark, lambda: network.image_encoder(image), rounds=3, bf16=encode)
    error = relative_error(found[0], network.image_encoder(image))
    benchmark.extra_info["relative error"] = error
    assert error <= 1e-2
    assert ratio >= 2.0


@torch.no_grad()
def test_tiny_vit_runs_2_4_times_as_fast_in_openvino_bf16(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    network: Any = tiny_sam()
    build, image = sam_of("mobile-sam", network, tmp_path), torch.randn(1, 3, 1024, 1024)
    models = {name: on(*name, build) for name in (("openvino", "bf16"), ("openvino", "fp32"), ("onnxruntime", "fp32"))}
    works = {" ".join(name): lambda m=model: m.parts["encoder"].run(image) for name, model in models.items()}
    bf16, *_ = ratios(benchmark, lambda: network.image_encoder(image), rounds=7, **works)
    expected = network.image_encoder(image)
    errors = [relative_error(work(), expected) for work in works.values()]
    benchmark.extra_info["relative errors"] = errors
    assert errors[0] <= MOST_ERROR
    assert max(errors[1:]) <= 1e-4
    assert bf16 >= 2.4


@torch.no_grad()
def test_the_mask_decoder_runs_2_5_times_as_fast_for_each_prompt(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    network: Any = tiny_sam()
    build = sam_of("mobile-sam", network, tmp_path)
    features, positions = torch.randn(1, 256, 64, 64), network.prompt_encoder.get_dense_pe()
    tokens, maps = network.prompt_encoder(
        points=(torch.tensor([[[500.0, 375.0]]]), torch.ones(1, 1)), boxes=None, masks=None
    )

    def reference() -> Any:
        return network.mask_decoder(
            image_embeddings=features, image_pe=positions, sparse_prompt_embeddings=tokens,
            dense_prompt_embeddings=maps, multimask_output=False,
        )  # fmt: skip

    works = {}
    for backend in ("openvino", "onnxruntime"):
        part = on(backend, "fp32", build).parts["decoder"]
        works[backend] = lambda part=part: part.run(features, positions, tokens, maps, multimask=False)
        assert relative_error(works[backend]()[0], reference()[0]) < 1e-4
    found = ratios(benchmark, reference, rounds=15, **works)
    assert max(found) >= 2.5


def compact_on(backend: str, precision: str) -> CompactModel:
    model = load_model("compact", device="cpu", backend=backend, precision=precision)
    assert isinstance(model, CompactModel)
    return model


def answer(model: PromptableModel, pixels: np.ndarray) -> None:
    model.decode(model.encode(pixels), ONE_CLICK)


def product_in_openvino() -> Callable[[], object]:
    """A product of matrices in fp32, by the library that makes the most of this processor."""
    shape = openvino.PartialShape([PRODUCT, PRODUCT])
    left, right = (opset13.parameter(shape, openvino.Type.f32) for _ in range(2))
    graph = openvino.Model([opset13.matmul(left, right, False, False)], [left, right])
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    factors = [np.random.default_rng(0).random((PRODUCT, PRODUCT), np.float32) for _ in range(2)]
    return lambda: request.infer(factors, share_inputs=True, share_outputs=True)


@torch.no_grad()
def test_compact_reaches_the_machines_limit_in_openvino_and_twice_torchs_speed_in_bf16(
    benchmark: BenchmarkFixture,
) -> None:
    pixels = np.random.default_rng(0).random((256, 256, 3), np.float32)
    eager, exact, reduced = compact_on("torch", "fp32"), compact_on("openvino", "fp32"), compact_on("openvino", "bf16")
    with FlopCounterMode(display=False) as counter:
        answer(eager, pixels)
    product = product_in_openvino()
    product()
    works = {
        "exact": lambda: answer(exact, pixels),
        "bf16": lambda: answer(reduced, pixels),
        "torch": lambda: answer(eager, pixels),
        "product": product,
    }
    as_trained, image = CompactNetwork().eval().requires_grad_(False), torch.rand(1, 3, 256, 256)
    embedding = eager.encode(pixels)

    def reference() -> None:
        as_trained.encoder(image)
        eager.decode(embedding, ONE_CLICK)

    faster, twice, *_ = ratios(benchmark, reference, rounds=25, **works)
    whole, limit = (benchmark.extra_info["reference, ms"] / benchmark.extra_info[name] for name in ("exact", "product"))
    share = limit * counter.get_total_flops() / (2 * PRODUCT**3) / whole
    benchmark.extra_info |= {"GFLOP": counter.get_total_flops() / 1e9, "of OpenVINO's products": share}
    square = torch.rand(PRODUCT, PRODUCT)
    torchs = median(seconds(lambda: torch.mm(square, square)) for _ in range(15)) / (limit / 1000)
    benchmark.extra_info["of torch's products"] = share * torchs
    assert share * torchs >= 0.8
    assert faster >= 1.0
    assert twice >= 2.0
