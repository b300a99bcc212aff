"""Parts by torch's compiler: the same answers, and a way on where there is no compiler."""

from __future__ import annotations

import contextlib
import locale
import logging
import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from contracts.model_contract import click, view
from sam_reference import random_model
from voxsam.models.backends.apply import in_precision, use_runtime
from voxsam.models.backends.torch_compiled import TorchCompiled
from voxsam.models.runtime import Runtime, runtime_of
from voxsam.models.sam import SamModel

torch.set_num_threads(1)


def refuses(_run: Any) -> Any:
    def run(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand much more about it")

    return run


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> SamModel:
    """A model whose encoder torch traces as its compiler would, batches included, and runs as traced."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = random_model()
    use_runtime(model, backend="torch-compiled", precision="fp32")
    return model


@pytest.fixture
def utf8() -> Iterator[None]:
    """A locale in which torch can read its own templates; a window that was opened before may have left another."""
    before = locale.setlocale(locale.LC_CTYPE)
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    yield
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with the system's C++ compiler")
@torch.no_grad()
def test_what_is_compiled_answers_as_before(utf8: None) -> None:
    layers = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)).eval()
    compiled, x = TorchCompiled(layers), torch.randn(3, 8)
    torch.testing.assert_close(compiled(x), layers(x), atol=1e-5, rtol=1e-5)
    assert compiled._compiled is not None


def test_a_whole_encoder_is_traced_in_one_piece_for_batches_of_any_size(traced: SamModel) -> None:
    model, views = random_model(), [view(), view()[::-1].copy(), view()]
    assert runtime_of(traced) == Runtime("torch-compiled", "fp32", "cpu", "torch")
    for batch in (views[:1], views):
        found = traced.encode_batch(batch)
        for embedding, expected in zip(found, model.encode_batch(batch), strict=True):
            np.testing.assert_allclose(embedding.to_arrays()["image"], expected.to_arrays()["image"], atol=1e-5)
    assert traced.parts["encoder"].run._compiled is not None  # type: ignore[attr-defined]
    expected_logits = model.decode(found[0], click()).logits
    np.testing.assert_allclose(traced.decode(found[0], click()).logits, expected_logits, atol=1e-4)


@pytest.mark.parametrize("refuse", [lambda run: refuses(run), lambda run: refuses(run)()], ids=["later", "at once"])
def test_where_nothing_can_be_compiled_it_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refuse: Any
) -> None:
    monkeypatch.setattr(torch, "compile", refuse)
    with caplog.at_level(logging.WARNING):
        run = TorchCompiled(torch.neg)
        assert [run(torch.ones(())).item() for _ in range(2)] == [-1.0, -1.0]
    (said,) = caplog.messages
    assert said.endswith("runs uncompiled, which is slower: no C++ compiler")


def test_memory_that_does_not_suffice_is_no_compilers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "compile", lambda run: run)
    with pytest.raises(torch.OutOfMemoryError):
        TorchCompiled(full)(torch.ones(()))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@torch.no_grad()
def test_reduced_precision_holds_for_batches_and_comes_back_single(precision: str) -> None:
    """As on a GPU: autocast around a batch of slices."""
    model = random_model()
    encoder = model.parts["encoder"].run
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images, (model.card.preprocessing.input_size,) * 2)
    found, expected = in_precision(encoder, precision, "cpu")(images), encoder(images)
    assert found.dtype == torch.float32
    assert 1e-5 < float((found - expected).norm() / expected.norm()) < 0.02


def test_a_locale_that_torch_cannot_read_its_templates_in_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: Any) -> Any:
        return b"\xe2".decode("ascii")

    monkeypatch.setattr(torch, "compile", lambda _: unreadable)
    assert TorchCompiled(torch.neg)(torch.ones(())).item() == -1.0
