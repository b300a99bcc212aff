"""Which runtime a model gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from voxsam.errors import ModelError
from voxsam.models.backends import choose
from voxsam.models.backends.choose import choose_runtime, has_bf16
from voxsam.models.registry import CARDS, load_model
from voxsam.models.runtime import Runtime

SLOW, FAST = CARDS["sam-vit-b"], CARDS["compact"]


def machine(monkeypatch: pytest.MonkeyPatch, *, installed: set[str], bf16: bool) -> None:
    monkeypatch.setattr(choose, "_installed", lambda backend: backend in installed)
    monkeypatch.setattr(choose, "has_bf16", lambda: bf16)


@pytest.mark.parametrize(
    ("installed", "bf16", "expected"),
    [
        (set(), True, ("torch", "fp32")),
        ({"openvino"}, True, ("openvino", "bf16")),
        ({"openvino"}, False, ("openvino", "fp32")),
        ({"openvino", "onnxruntime"}, True, ("openvino", "bf16", "cpu", "onnxruntime")),
        ({"onnxruntime"}, True, ("onnxruntime", "fp32")),
    ],
)
def test_a_slow_encoder_gets_the_fastest_that_is_here(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], bf16: bool, expected: tuple[str, ...]
) -> None:
    machine(monkeypatch, installed=installed, bf16=bf16)
    assert choose_runtime(SLOW) == Runtime(*expected)
    assert choose_runtime(FAST) == Runtime()  # getting it ready takes longer than it saves


def test_a_wish_goes_before_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, installed={"openvino"}, bf16=True)
    assert choose_runtime(SLOW, backend="torch") == Runtime()
    assert choose_runtime(SLOW, precision="fp32") == Runtime("openvino", "fp32")
    assert choose_runtime(FAST, backend="openvino") == Runtime("openvino", "bf16")
    assert choose_runtime(FAST, precision="bf16") == Runtime("torch", "bf16")
    machine(monkeypatch, installed={"onnxruntime"}, bf16=True)
    assert choose_runtime(SLOW, precision="bf16") == Runtime("torch", "bf16")  # what it has no precision for is left


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"backend": "openvio"}, r"no backend 'openvio'; did you mean 'openvino'\?"),
        ({"precision": "fp8"}, "no precision 'fp8'"),
        ({"backend": "openvino"}, r"pip install 'voxsam\[openvino\]'"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "fp32 on a CPU"),
        ({"backend": "onnxruntime", "device": "cuda:0"}, "runs on the CPU, not on cuda:0"),
        ({"precision": "bf16"}, "no instructions for bf16"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, wish: dict[str, str], reason: str
) -> None:
    machine(monkeypatch, installed={"onnxruntime"}, bf16=False)
    with pytest.raises(ModelError, match=reason):
        choose_runtime(SLOW, **wish)


def test_a_wish_that_cannot_be_is_refused_before_weights_are_looked_for() -> None:
    with pytest.raises(ModelError, match="fp32 on a CPU"):
        load_model("sam-vit-b", weights="no_such_file.pth", backend="onnxruntime", precision="bf16")


def test_the_processors_flags_tell_of_bf16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choose, "_installed", lambda _: False)
    monkeypatch.setattr(choose.platform, "system", lambda: "Linux")
    monkeypatch.setattr(choose, "_CPUINFO", tmp_path / "cpuinfo")
    assert not has_bf16()
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512f avx512bw\n")
    assert not has_bf16()
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n")
    assert has_bf16()
    monkeypatch.setattr(choose.platform, "system", lambda: "Windows")
    assert not has_bf16()


def test_a_fast_card_is_told_by_its_words() -> None:
    assert choose_runtime(replace(SLOW, speed_class="fast: a second")) == Runtime()
