"""What a checkpoint holds, and whose it looks like; `test_parity.py` loads the layouts for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from independent_sam import tiny_sam
from sam_reference import random_sam
from voxsam.errors import WeightsError
from voxsam.models.base import Preprocessing
from voxsam.models.checkpoints import looks_like, sam_names, state_within
from voxsam.models.registry import CARDS
from voxsam.models.sam import build_sam, empty_sam

torch.set_num_threads(1)

STATE = {"weight": torch.ones(2), "bias": torch.zeros(2)}


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


# ── the state dict within ────────────────────────────────────────────────────


@pytest.mark.parametrize("wrapper", ["model", "model_state", "state_dict"])
def test_weights_are_found_beside_the_state_of_a_training(wrapper: str) -> None:
    assert state_within({"epoch": 3, wrapper: STATE, "optimizer": {"lr": 1e-4}}) is STATE


@pytest.mark.parametrize("content", [None, [], {}, {"epoch": 3}, {"model": {}}, {"model": {"a": 1}}, STATE | {"a": 1}])
def test_what_is_no_table_of_tensors_is_none(content: Any) -> None:
    assert state_within(content) is None


# ── names ────────────────────────────────────────────────────────────────────


def test_a_prefix_is_cut_only_where_all_names_have_it() -> None:
    assert list(sam_names({"module.a": empty(1), "b": empty(1)})) == ["module.a", "b"]
    assert list(sam_names({"module.sam.a": empty(1), "module.sam.b": empty(1)})) == ["a", "b"]


def test_what_the_published_files_hold_beyond_the_network_is_left_out() -> None:
    unused = ("image_encoder.norm_head.weight", "image_encoder.head.bias", "image_encoder.a.bn.num_batches_tracked",
              "pixel_mean", "pixel_std")  # fmt: skip
    assert sam_names(dict.fromkeys((*unused, "image_encoder.a.bn.weight"), empty(1))).keys() == {
        "image_encoder.a.bn.weight"
    }
    # other heads are the network's own
    head = "mask_decoder.iou_prediction_head.layers.0.weight"
    assert list(sam_names({head: empty(1)})) == [head]


@pytest.mark.parametrize("name", ["sam-vit-b", "sam-vit-l", "sam-vit-h"])
def test_every_name_of_hugging_faces_has_its_published_one(name: str) -> None:
    card = CARDS[name]
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": card.options["width"],
            "num_hidden_layers": card.options["depth"],
            "num_attention_heads": card.options["heads"],
            "global_attn_indexes": list(card.options["global_blocks"]),
        }
    )
    with torch.device("meta"):
        state = transformers.SamModel(config).state_dict()
    expected = empty_sam(card.preprocessing, card.options).state_dict()
    assert {key: value.shape for key, value in sam_names(state).items()} == {
        key: value.shape for key, value in expected.items()
    }
    assert name in looks_like(state)


# ── whose they look like ─────────────────────────────────────────────────────

HIERA = {
    "sam2.1-tiny": (96, 12),
    "medsam2": (96, 12),
    "sam2.1-small": (96, 16),
    "sam2.1-base-plus": (112, 24),
    "sam2.1-large": (144, 48),
}


@pytest.mark.parametrize(("trunk", "patches"), [("trunk", "proj"), ("backbone", "projection")])
@pytest.mark.parametrize("name", HIERA)
def test_sam_2_is_told_by_its_trunk(name: str, trunk: str, patches: str) -> None:
    width, depth = HIERA[name]
    encoder = f"{'image' if trunk == 'trunk' else 'vision'}_encoder.{trunk}"
    state = {f"{encoder}.patch_embed.{patches}.weight": empty(width, 3, 7, 7)}
    state |= {f"{encoder}.blocks.{index}.attn.qkv.weight": empty(3, 3) for index in range(depth)}
    assert name in looks_like(state)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("mask_decoder.hf_token.weight", "HQ-SAM"),
        ("image_encoder.blocks.0.Adapter.channel.0.weight", "SAM-Med2D"),
        ("image_encoder.blocks.0.attn.rel_pos_d", "SAM-Med3D"),
    ],
)
def test_relatives_that_voxsam_does_not_have_are_named(name: str, model: str) -> None:
    state = random_sam().state_dict() | {name: torch.ones(1)}
    assert looks_like(state) == (model,)


@pytest.mark.parametrize("state", [{}, STATE, {"image_encoder.blocks.0.attn.qkv.weight": empty(3 * 384, 384)}])
def test_what_is_unknown_gets_no_name(state: Any) -> None:
    assert looks_like(state) == ()


def test_a_file_of_another_model_says_which_it_looks_like(tmp_path: Path) -> None:
    options = {"width": 1024, "depth": 1, "heads": 16, "global_blocks": ()}
    large = random_sam(Preprocessing(64), **options)
    torch.save(large.state_dict(), tmp_path / "large.pth")
    torch.save(tiny_sam(depths=(1, 1, 1, 1)).state_dict(), tmp_path / "mobile.pt")
    for name, file, like in (
        ("sam-vit-b", "large.pth", "sam-vit-l"),
        ("mobile-sam", "large.pth", "sam-vit-l"),
        ("lite-medsam", "mobile.pt", "mobile-sam"),
        ("medsam", "mobile.pt", "mobile-sam"),
    ):
        with pytest.raises(WeightsError) as caught:
            build_sam(CARDS[name], tmp_path / file, "cpu")
        said = str(caught.value)
        assert f"{file} does not hold the weights of {name}, it looks like {like}: " in said
        assert "\n" not in said


def test_a_damaged_file_of_the_right_model_says_what_is_wrong_with_it_alone(tmp_path: Path) -> None:
    state = random_sam(Preprocessing(64), width=1024, depth=1, heads=16, global_blocks=()).state_dict()
    del state["mask_decoder.iou_token.weight"]
    torch.save(state | {"surplus": torch.ones(1)}, tmp_path / "large.pth")
    with pytest.raises(WeightsError, match=r"hold the weights of sam-vit-l: \d+ missing .*; 1 unknown \(surplus\)"):
        build_sam(CARDS["sam-vit-l"], tmp_path / "large.pth", "cpu")
