"""The table of models."""

from __future__ import annotations

import doctest
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import pytest
import torch

from sam_reference import TINY, TINY_SIZES, card_of, random_sam
from voxsam.errors import ModelError, WeightsError
from voxsam.models import registry
from voxsam.models.base import PromptableModel
from voxsam.models.registry import CARDS, card, load_model, resolve_device
from voxsam.models.weights import state_sha256

torch.set_num_threads(1)


def test_reading_the_table_needs_no_torch() -> None:
    script = "import sys, voxsam.models.registry as r; r.card('compact'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_complete(name: str) -> None:
    known = CARDS[name]
    assert known.name == name
    assert all((known.title, known.builder, known.licence, known.speed_class))
    module, _, function = known.builder.partition(":")
    assert module.startswith("voxsam.models.")
    assert function.startswith("build_")
    if known.weights is not None:
        assert urlsplit(known.weights.url).scheme == "https"
        assert known.weights.sha256 is None or len(known.weights.sha256) == 64
        assert known.citation


def test_the_default_needs_no_download() -> None:
    assert card("compact").weights is None
    assert card("compact").preprocessing.input_size == 256


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CARDS["compact"] = CARDS["sam-vit-b"]  # type: ignore[index]
    with pytest.raises(TypeError):
        CARDS["sam-vit-b"].options["depth"] = 1  # type: ignore[index]


@pytest.mark.parametrize("name", ["sam-vit-x", "sam_vit_b", "SAM-ViT-B", "compct"])
def test_a_near_miss_is_helped_never_guessed(name: str) -> None:
    with pytest.raises(ModelError, match=f"no model '{name}'; did you mean '(sam-vit-.|compact)'. Known: compact, "):
        card(name)


def test_a_far_miss_gets_the_list() -> None:
    with pytest.raises(ModelError, match=r"no model 'zzz'\. Known: compact, .*sam-vit-b, sam-vit-h, sam-vit-l"):
        load_model("zzz")


def test_a_model_is_loaded_by_name_with_the_weights_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sam = random_sam()
    torch.save(sam.state_dict(), tmp_path / "tiny.pth")
    tiny = replace(card_of(TINY), options=TINY_SIZES)
    monkeypatch.setattr(registry, "CARDS", MappingProxyType({tiny.name: tiny}))
    model = load_model("tiny-sam", weights=tmp_path / "tiny.pth", device="cpu")
    assert isinstance(model, PromptableModel)
    assert model.card is tiny
    assert model.weights_sha256 == state_sha256(sam.state_dict())
    with pytest.raises(WeightsError, match=r"no weights file for tiny-sam at .*gone\.pth"):
        load_model("tiny-sam", weights=str(tmp_path / "gone.pth"))


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda:0"), (1, True, "cuda:0")]
)
def test_auto_takes_the_fastest_device_here(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device() == chosen
    assert resolve_device("cpu") == "cpu"
    if cuda:
        assert resolve_device("cuda") == "cuda"
        assert resolve_device(f"cuda:{cuda - 1}") == f"cuda:{cuda - 1}"


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "gpu", ""])
def test_a_device_that_is_not_here_is_named_before_any_download(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match=f"no device '{device}' here; choose 'auto' or one of: cpu"):
        load_model("sam-vit-h", device=device)


def test_a_licence_that_is_not_permissive_is_said_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(random_sam().state_dict(), tmp_path / "own.pth")
    bound = replace(card_of(TINY), options=TINY_SIZES, licence="CC-BY-NC-4.0")
    monkeypatch.setattr(registry, "CARDS", MappingProxyType({bound.name: bound}))
    with pytest.warns(UserWarning, match=r"weights of tiny-sam are under CC-BY-NC-4\.0: make sure that your use"):
        load_model("tiny-sam", weights=tmp_path / "own.pth", device="cpu")


@pytest.mark.parametrize("name", ["sam2.1-tiny", "medsam2"])
def test_a_missing_package_is_named_before_any_download(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(registry, "ensure", lambda *_, **__: pytest.fail("it looked for weights"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=rf'{name} needs the package transformers: pip install "voxsam\[hf\]"'):
        load_model(name, device="cpu")


def test_a_file_named_as_another_models_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layouts are the same, so only the name tells: with it, wrong preprocessing would go unnoticed."""
    torch.save(random_sam().state_dict(), tmp_path / "medsam_vit_b.pth")
    tiny = replace(card_of(TINY), options=TINY_SIZES)
    monkeypatch.setattr(registry, "CARDS", MappingProxyType({tiny.name: tiny, "medsam": CARDS["medsam"]}))
    with pytest.warns(UserWarning, match=r"medsam_vit_b\.pth is the published file of medsam; as tiny-sam it gets"):
        load_model("tiny-sam", weights=tmp_path / "medsam_vit_b.pth", device="cpu")


@pytest.mark.parametrize(
    ("name", "input_size", "resize", "normal"),
    [
        ("sam-vit-b", 1024, "longest_side", True),
        ("medsam", 1024, "squash", False),
        ("mobile-sam", 1024, "longest_side", True),
        ("lite-medsam", 256, "longest_side", False),
        ("micro-sam-vit-b-medical", 1024, "longest_side", True),
    ],
)
def test_preprocessing_is_each_checkpoints_own(name: str, input_size: int, resize: str, normal: bool) -> None:
    preprocessing = card(name).preprocessing
    assert preprocessing.input_size == input_size
    assert preprocessing.resize == resize
    assert (preprocessing.std == (0.229, 0.224, 0.225)) == normal
    assert (preprocessing.stretch == "input") != normal
    assert len({repr(other.preprocessing) for other in CARDS.values()}) > 4  # part of every cache's key


def test_the_guide_names_every_model_and_its_examples_run() -> None:
    guide = Path(__file__).parents[2] / "docs" / "models.md"
    text = guide.read_text(encoding="utf-8")
    short = {name: f"`-{name.removeprefix('sam2.1-')}`" for name in CARDS}  # as in a row of several sizes
    assert [name for name in CARDS if f"`{name}`" not in text and short[name] not in text] == []
    assert all(known.licence in text for known in CARDS.values())
    assert doctest.testfile(str(guide), module_relative=False).failed == 0
