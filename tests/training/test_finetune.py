"""Fine-tuning: what it learns, what it leaves alone, what its small files are worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from voxsam.cli import main
from voxsam.errors import Cancelled, InputError, WeightsError
from voxsam.geometry import Geometry
from voxsam.io import save_mask
from voxsam.models.adapters import ADAPTED, is_adapter
from voxsam.models.base import SlicePrompts
from voxsam.models.registry import card, load_model
from voxsam.models.weights import ensure, read_state
from voxsam.training.finetune import Finetuned, FinetuneRules, finetune
from voxsam.volume import Mask, Volume

torch.set_num_threads(1)
GRID = Geometry.from_spacing((10, 96, 80), spacing_mm=(4.0, 0.9, 0.9))
QUICK = FinetuneRules(minutes=5, steps=45, slices_per_label=3, prompts=3, learning_rate=1e-3)


def shaded_case(seed: int) -> tuple[Volume, Mask]:
    """Two bright squares side by side: only the left one is meant, which no untrained eye could know."""
    rng = np.random.default_rng(seed)
    top, left = rng.integers(20, 40), rng.integers(12, 24)
    image = 40 + 8 * rng.standard_normal(GRID.shape)
    mask = np.zeros(GRID.shape, np.uint8)
    mask[2:8, top : top + 30, left : left + 16] = 3
    image[2:8, top : top + 30, left : left + 32] += 90
    return Volume(image.astype(np.float32), GRID, modality="MR", name=f"case {seed}"), Mask(mask, GRID)


@pytest.fixture(scope="module")
def base() -> Path:
    return ensure(card("compact"))


@pytest.fixture(scope="module")
def tuned(base: Path) -> Finetuned:
    return finetune([shaded_case(seed) for seed in range(4)], base, rules=QUICK)


def test_what_the_pictures_alone_cannot_tell_is_learnt(tuned: Finetuned) -> None:
    assert tuned.gained
    assert tuned.after["1 click"] > tuned.before["1 click"] + 0.03
    assert tuned.steps == QUICK.steps


def test_the_image_encoder_stays_as_it_was(tuned: Finetuned, base: Path) -> None:
    before = read_state(base)
    for name, tensor in tuned.state.items():
        if not name.startswith(ADAPTED):
            assert torch.equal(tensor, before[name].float()), name


def test_the_file_is_small_and_says_what_it_is(tuned: Finetuned, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "left.safetensors"
    tuned.save(path, read_state(base), {"labels": "3"})
    assert is_adapter(path)
    assert not is_adapter(base)
    assert path.stat().st_size < 0.6 * base.stat().st_size


def test_an_adapted_model_answers_as_it_was_tuned(tuned: Finetuned, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "left.safetensors"
    tuned.save(path, read_state(base), {})
    adapted, plain = load_model("compact", weights=path), load_model("compact")
    pixels = np.random.default_rng(0).random((64, 64, 3), np.float32)
    asked = SlicePrompts(np.array([[30.0, 30.0]]), np.array([1]))
    one, other = (model.decode(model.encode(pixels), asked).logits for model in (adapted, plain))
    assert not np.array_equal(one, other)
    assert adapted.weights_sha256 != plain.weights_sha256


def test_an_adapter_of_other_weights_is_refused(tuned: Finetuned, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "left.safetensors"
    other = {name: tensor + 1 for name, tensor in read_state(base).items()}
    tuned.save(path, other, {})
    with pytest.raises(WeightsError, match="fine-tune again"):
        load_model("compact", weights=path)


def test_without_gain_the_weights_are_those_of_before(base: Path) -> None:
    useless = replace(QUICK, learning_rate=0.5, steps=3)
    found = finetune([shaded_case(seed) for seed in range(2)], base, rules=useless)
    if not found.gained:
        before = read_state(base)
        assert all(torch.equal(tensor, before[name].float()) for name, tensor in found.state.items())
    assert sum(found.after.values()) >= sum(found.before.values())


def test_one_case_is_too_few(base: Path) -> None:
    with pytest.raises(InputError, match="two cases"):
        finetune([shaded_case(0)], base, rules=QUICK)


def test_a_label_that_no_case_has_is_too_few(base: Path) -> None:
    with pytest.raises(InputError, match="0 of the 2 given"):
        finetune([shaded_case(0), shaded_case(1)], base, labels=[9], rules=QUICK)


def test_cancelling_stops(base: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        finetune([shaded_case(0), shaded_case(1)], base, rules=QUICK, on_progress=stop)


def test_the_command_writes_weights_that_the_other_commands_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        volume, mask = shaded_case(seed)
        affine = volume.geometry.affine[:, [2, 1, 0, 3]]
        nib.save(nib.Nifti1Image(volume.array.transpose(2, 1, 0), affine), tmp_path / f"c{seed}_img.nii.gz")
        save_mask(mask, tmp_path / f"c{seed}_seg.nii.gz")
    weights = tmp_path / "out" / "left.safetensors"
    assert main(["finetune", "--data", str(tmp_path), "-o", str(weights), "--minutes", "0.02", "--slices", "2"]) == 0
    assert "3 clicks" in capsys.readouterr().out
    assert is_adapter(weights)
    assert load_model("compact", weights=weights).card.name == "compact"
