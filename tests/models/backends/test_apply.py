"""Precision and backend of a model's parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.model_contract import click, view
from fakes import FloodFillModel
from sam_reference import random_model
from voxsam.errors import ModelError
from voxsam.models.backends import apply
from voxsam.models.backends.apply import use_runtime
from voxsam.models.backends.choose import has_bf16
from voxsam.models.runtime import Runtime, runtime_of

needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="the processor has no bf16 instructions")


@needs_bf16
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bf16_is_for_the_encoder_alone_and_stays_near(backend: str) -> None:
    model, reduced = random_model(), random_model()
    use_runtime(reduced, backend=backend, precision="bf16")
    embedding = model.encode(view())
    expected, found = embedding.to_arrays()["image"], reduced.encode(view()).to_arrays()["image"]
    assert found.dtype == np.float32
    assert 1e-4 < np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.02  # of random weights
    same = [each.decode(embedding, click()).logits for each in (model, reduced)]
    np.testing.assert_allclose(same[0], same[1], atol=1e-4)
    assert (runtime_of(reduced).backend, runtime_of(reduced).precision) == (backend, "bf16")


def test_torch_in_fp32_is_left_as_it_is() -> None:
    model = random_model()
    parts = dict(model.parts)
    use_runtime(model, backend="torch", precision="fp32")
    assert model.parts == parts


def test_a_model_without_parts_runs_as_it_does() -> None:
    model = FloodFillModel()
    use_runtime(model)
    with pytest.raises(ModelError, match="flood-fill runs in torch and in fp32 alone"):
        use_runtime(model, backend="openvino")
    with pytest.raises(ModelError, match="flood-fill runs in torch and in fp32 alone"):
        use_runtime(model, precision="bf16")


def test_the_decoder_may_be_another_backends() -> None:
    model = random_model()
    use_runtime(model, backend="openvino", precision="fp32")
    engines = {name: type(part.run._engine).__name__ for name, part in model.parts.items()}  # type: ignore[attr-defined]
    assert engines == {"encoder": "OpenVinoEngine", "decoder": "OnnxEngine"}
    assert runtime_of(model) == Runtime("openvino", "fp32", decoder="onnxruntime")


def test_threads_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr("voxsam.models.backends.onnx_engine.OnnxEngine", lambda threads: asked.append(threads))
    monkeypatch.setattr(
        "voxsam.models.backends.openvino_engine.OpenVinoEngine", lambda _, threads, **_rest: asked.append(threads)
    )
    for backend in ("openvino", "onnxruntime"):
        apply._engine(backend, "fp32")
    assert asked == [3, 3]


@needs_bf16
def test_a_sensitive_part_loses_less_in_bf16() -> None:
    def error(sensitive: bool) -> float:
        model, reduced = random_model(), random_model()
        reduced.parts["encoder"] = replace(reduced.parts["encoder"], sensitive=sensitive)
        use_runtime(reduced, backend="openvino", precision="bf16")
        expected, found = (each.encode(view()).to_arrays()["image"] for each in (model, reduced))
        return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

    assert 1e-4 < error(True) < 0.8 * error(False)


def test_sams_plain_transformer_is_sensitive() -> None:
    assert random_model().parts["encoder"].sensitive
