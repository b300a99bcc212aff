"""Parts that OpenVINO and ONNX Runtime run: they answer as torch does, whatever the shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contracts.model_contract import PROMPTS, PromptableModelContract, disc_logits, view
from sam_reference import random_model
from voxsam.models.backends import choose
from voxsam.models.backends.apply import use_runtime
from voxsam.models.backends.compiled import CompiledPart, Engine
from voxsam.models.backends.onnx_engine import OnnxEngine
from voxsam.models.backends.openvino_engine import OpenVinoEngine
from voxsam.models.base import PromptableModel
from voxsam.models.compact import CompactModel
from voxsam.models.registry import load_model
from voxsam.models.runtime import Part, runtime_of

BACKENDS = ("openvino", "onnxruntime")


def alone(backend: str) -> Callable[[str], bool]:
    """As if no other backend were installed, so that this one runs every part."""
    return lambda name: name == backend


def exact(backend: str) -> CompactModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "_installed", alone(backend))
        model = load_model("compact", device="cpu", backend=backend, precision="fp32")
    assert isinstance(model, CompactModel)
    return model


class TestCompactInOpenVino(PromptableModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        return exact("openvino")


class TestTinySamInOnnxRuntime(PromptableModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        model = random_model()
        use_runtime(model, backend="onnxruntime")
        return model


@pytest.fixture(scope="module")
def models() -> dict[str, CompactModel]:
    return {backend: exact(backend) for backend in ("torch", *BACKENDS)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(60, 80), (200, 256), (70, 256)])
def test_the_shipped_weights_give_the_same_logits_at_every_shape_of_view(
    models: dict[str, CompactModel], backend: str, shape: tuple[int, int]
) -> None:
    embeddings = {name: models[name].encode(view(shape)) for name in ("torch", backend)}
    for name, feature in embeddings["torch"].to_arrays().items():
        np.testing.assert_allclose(embeddings[backend].to_arrays()[name], feature, atol=1e-4)
    for asked, prompts in PROMPTS.items():
        if prompts.mask_logits is not None and shape != prompts.mask_logits.shape:
            continue
        for multimask in (False, True):
            expected, answer = (
                models[name].decode(embeddings[name], prompts, multimask=multimask) for name in ("torch", backend)
            )
            # a box is answered by a mean of probabilities, whose logits magnify rounding where they are all but 0 or 1
            most = 6 if prompts.box_xyxy is not None and not multimask else np.inf
            found, wanted = (np.clip(each.logits, -most, most) for each in (answer, expected))
            np.testing.assert_allclose(found, wanted, atol=1e-3, err_msg=asked)
            np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-4, err_msg=asked)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_remembered_slice_is_found_alike(models: dict[str, CompactModel], backend: str) -> None:
    found = []
    for name in ("torch", backend):
        model = models[name]
        for shape in ((60, 80), (70, 256)):
            memory = model.remember(model.encode(view(shape)), disc_logits(shape), prompted=True)
            found.append(model.track(model.encode(view(shape, seed=1)), [(1, memory)]).logits)
    np.testing.assert_allclose(found[2], found[0], atol=1e-3)
    np.testing.assert_allclose(found[3], found[1], atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sam_gives_the_same_logits(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(choose, "_installed", alone(backend))
    model, other = random_model(), random_model()
    use_runtime(other, backend=backend, precision="fp32")
    embeddings = [each.encode(view()) for each in (model, other)]
    np.testing.assert_allclose(*(each.to_arrays()["image"] for each in embeddings), atol=1e-4)
    for asked, prompts in PROMPTS.items():
        for multimask in (False, True):
            expected = model.decode(embeddings[0], prompts, multimask=multimask)
            answer = other.decode(embeddings[1], prompts, multimask=multimask)
            np.testing.assert_allclose(answer.logits, expected.logits, atol=1e-3, err_msg=asked)
            np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-4, err_msg=asked)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_weights_keep_their_hash_and_the_report_says_what_computed(
    models: dict[str, CompactModel], backend: str
) -> None:
    assert models[backend].weights_sha256 == models["torch"].weights_sha256
    assert runtime_of(models[backend]).to_json() == {"backend": backend, "precision": "fp32", "device": "cpu"}


# ── any function ─────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Question:
    where: Tensor
    hint: Tensor | None = None


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(2, 3)

    def forward(self, features: dict[str, Tensor], question: Question, *, doubled: bool) -> dict[str, Tensor]:
        answer = self.project(question.where) + features["mean"]
        if question.hint is not None:
            answer = answer + question.hint
        return {"answer": answer * (2 if doubled else 1), "least": answer.amin(1)}


class Counting:
    """Counts what an engine compiles."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.count = engine, 0

    def compile(self, path):  # type: ignore[no-untyped-def]
        self.count += 1
        return self.engine.compile(path)


@pytest.mark.parametrize("engine", [OnnxEngine(1), OpenVinoEngine("fp32", 1)], ids=BACKENDS)
def test_any_nested_call_is_answered_and_compiled_once_for_each_form(engine: Engine) -> None:
    network, counting = Network().eval().requires_grad_(False), Counting(engine)
    compiled = CompiledPart(Part(network, {"question.*": (1,)}), counting)
    features = {"mean": torch.rand(1, 1, 3), "unused": torch.rand(7)}
    calls = [
        (Question(torch.rand(1, 4, 2)), False),
        (Question(torch.rand(1, 9, 2)), False),  # another length of a free axis
        (Question(torch.rand(1, 4, 2)), True),
        (Question(torch.rand(1, 4, 2), torch.rand(1, 1, 3)), True),
        (Question(torch.rand(1, 5, 2)), False),
    ]
    for question, doubled in calls:
        answer = compiled(features, question, doubled=doubled)
        expected = network(features, question, doubled=doubled)
        assert answer.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(answer[name], expected[name])
    assert counting.count == 3


def test_an_answer_is_not_overwritten_by_the_next_one() -> None:
    for engine in (OnnxEngine(1), OpenVinoEngine("fp32", 1)):
        compiled = CompiledPart(Part(nn.ReLU()), engine)
        first = compiled(torch.ones(1, 4))
        compiled(torch.full((1, 4), 7.0))
        torch.testing.assert_close(first, torch.ones(1, 4))
