"""The names of the published weights."""

from __future__ import annotations

import pytest
import torch

from sam2_reference import SMALL, TINY_SIZES, as_published, random_module
from voxsam.models.registry import CARDS
from voxsam.models.sam2_keys import from_published, published_name
from voxsam.models.sam2_network import empty_network

NAMES = ("sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large", "medsam2")

Layout = dict[str, tuple[int, ...]]


def linear(layout: Layout, name: str, outputs: int, *inputs: int) -> None:
    layout[f"{name}.weight"] = (outputs, *inputs)
    layout[f"{name}.bias"] = (outputs,)


def layers(layout: Layout, name: str, *widths: int) -> None:
    for i in range(len(widths) - 1):
        linear(layout, f"{name}.layers.{i}", widths[i + 1], widths[i])


def attention(layout: Layout, name: str, inner: int, keys: int = 256) -> None:
    linear(layout, f"{name}.q_proj", inner, 256)
    linear(layout, f"{name}.k_proj", inner, keys)
    linear(layout, f"{name}.v_proj", inner, keys)
    linear(layout, f"{name}.out_proj", 256, inner)


def encoder_layout(
    widths: tuple[int, ...], depths: tuple[int, ...], windows: tuple[int, ...] = (8,), position_side: int = 7
) -> Layout:
    layout: Layout = {}
    trunk = "image_encoder.trunk"
    layout[f"{trunk}.pos_embed"] = (1, widths[0], position_side, position_side)
    layout[f"{trunk}.pos_embed_window"] = (1, widths[0], windows[0], windows[0])
    linear(layout, f"{trunk}.patch_embed.proj", widths[0], 3, 7, 7)
    stages = [stage for stage, depth in enumerate(depths) for _ in range(depth)]
    for i, stage in enumerate(stages):
        block, before, width = f"{trunk}.blocks.{i}", widths[stages[max(i - 1, 0)]], widths[stage]
        linear(layout, f"{block}.norm1", before)
        linear(layout, f"{block}.attn.qkv", 3 * width, before)
        linear(layout, f"{block}.attn.proj", width, width)
        linear(layout, f"{block}.norm2", width)
        layers(layout, f"{block}.mlp", width, 4 * width, width)
        if before != width:
            linear(layout, f"{block}.proj", width, before)
    for i, width in enumerate(widths[::-1]):
        linear(layout, f"image_encoder.neck.convs.{i}.conv", 256, width, 1, 1)
    return layout


def prompt_layout() -> Layout:
    layout: Layout = {"sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128)}
    for name in (*(f"point_embeddings.{i}" for i in range(4)), "not_a_point_embed", "no_mask_embed"):
        layout[f"sam_prompt_encoder.{name}.weight"] = (1, 256)
    for i, shape in {0: (4, 1, 2, 2), 1: (4,), 3: (16, 4, 2, 2), 4: (16,), 6: (256, 16, 1, 1)}.items():
        linear(layout, f"sam_prompt_encoder.mask_downscaling.{i}", *shape)
    return layout


def decoder_layout() -> Layout:
    layout: Layout = {}
    decoder = "sam_mask_decoder"
    for i in range(2):
        block = f"{decoder}.transformer.layers.{i}"
        attention(layout, f"{block}.self_attn", 256)
        attention(layout, f"{block}.cross_attn_token_to_image", 128)
        attention(layout, f"{block}.cross_attn_image_to_token", 128)
        layers(layout, f"{block}.mlp", 256, 2048, 256)
        for j in range(1, 5):
            linear(layout, f"{block}.norm{j}", 256)
    attention(layout, f"{decoder}.transformer.final_attn_token_to_image", 128)
    linear(layout, f"{decoder}.transformer.norm_final_attn", 256)
    for name, tokens in (("iou_token", 1), ("mask_tokens", 4), ("obj_score_token", 1)):
        layout[f"{decoder}.{name}.weight"] = (tokens, 256)
    for i, inputs, outputs in ((0, 256, 64), (3, 64, 32)):
        layout[f"{decoder}.output_upscaling.{i}.weight"] = (inputs, outputs, 2, 2)
        layout[f"{decoder}.output_upscaling.{i}.bias"] = (outputs,)
    linear(layout, f"{decoder}.output_upscaling.1", 64)
    linear(layout, f"{decoder}.conv_s0", 32, 256, 1, 1)
    linear(layout, f"{decoder}.conv_s1", 64, 256, 1, 1)
    for i in range(4):
        layers(layout, f"{decoder}.output_hypernetworks_mlps.{i}", 256, 256, 256, 32)
    layers(layout, f"{decoder}.iou_prediction_head", 256, 256, 256, 4)
    layers(layout, f"{decoder}.pred_obj_score_head", 256, 256, 256, 1)
    return layout


def memory_layout() -> Layout:
    layout: Layout = {
        "maskmem_tpos_enc": (7, 1, 1, 64),
        "no_mem_embed": (1, 1, 256),
        "no_mem_pos_enc": (1, 1, 256),
        "no_obj_ptr": (1, 256),
        "no_obj_embed_spatial": (1, 64),
    }
    linear(layout, "mask_downsample", 1, 1, 4, 4)
    layers(layout, "obj_ptr_proj", 256, 256, 256, 256)
    linear(layout, "obj_ptr_tpos_proj", 64, 256)
    for i in range(4):
        block = f"memory_attention.layers.{i}"
        attention(layout, f"{block}.self_attn", 256)
        attention(layout, f"{block}.cross_attn_image", 256, keys=64)
        linear(layout, f"{block}.linear1", 2048, 256)
        linear(layout, f"{block}.linear2", 256, 2048)
        for j in range(1, 4):
            linear(layout, f"{block}.norm{j}", 256)
    linear(layout, "memory_attention.norm", 256)
    encoder = "memory_encoder"
    for i, (inputs, outputs) in enumerate([(1, 4), (4, 16), (16, 64), (64, 256)]):
        linear(layout, f"{encoder}.mask_downsampler.encoder.{3 * i}", outputs, inputs, 3, 3)
        linear(layout, f"{encoder}.mask_downsampler.encoder.{3 * i + 1}", outputs)
    linear(layout, f"{encoder}.mask_downsampler.encoder.12", 256, 256, 1, 1)
    linear(layout, f"{encoder}.pix_feat_proj", 256, 256, 1, 1)
    for i in range(2):
        block = f"{encoder}.fuser.layers.{i}"
        layout[f"{block}.gamma"] = (256,)
        linear(layout, f"{block}.dwconv", 256, 1, 7, 7)
        linear(layout, f"{block}.norm", 256)
        linear(layout, f"{block}.pwconv1", 1024, 256)
        linear(layout, f"{block}.pwconv2", 256, 1024)
    linear(layout, f"{encoder}.out_proj", 64, 256, 1, 1)
    return layout


def published_layout(name: str) -> Layout:
    """Names and shapes of a ``sam2.1_hiera_*.pt``, spelt out from the published files."""
    sizes = {key: CARDS[name].options[key] for key in CARDS[name].options if key not in ("heads", "global_blocks")}
    return encoder_layout(**sizes) | prompt_layout() | decoder_layout() | memory_layout()


@pytest.mark.parametrize("name", NAMES)
def test_the_published_layout_is_that_of_the_network_under_other_names(name: str) -> None:
    layout, card = published_layout(name), CARDS[name]
    state = {key: torch.empty(shape, device="meta") for key, shape in layout.items()}
    expected = empty_network(card.preprocessing, **card.options).state_dict()
    renamed = from_published(state, expected.keys())
    assert {key: tensor.shape for key, tensor in renamed.items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }
    parameters = sum(tensor.numel() for tensor in state.values()) / 1e6
    assert parameters == pytest.approx(card.parameters_m, abs=0.06)
    assert card.weights is not None
    assert 4 * parameters == pytest.approx(card.weights.size_mb, rel=2e-3)  # four bytes each, and the zip around them


def test_weights_go_there_and_back_unchanged() -> None:
    state = random_module(SMALL).state_dict()
    back = from_published(as_published(state), state.keys())
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_weights_under_transformers_names_stay_as_they_are() -> None:
    state = random_module(SMALL).state_dict()
    kept = from_published(state, state.keys())
    assert kept.keys() == state.keys()
    assert all(kept[name] is state[name] for name in state)


def test_what_is_missing_or_unknown_is_left_to_the_loader() -> None:
    expected = empty_network(SMALL, **TINY_SIZES).state_dict()
    state = as_published(random_module(SMALL).state_dict())
    del state["no_obj_ptr"], state["sam_prompt_encoder.point_embeddings.2.weight"]
    state["optimizer.step"] = torch.ones(1)
    renamed = from_published(state, expected.keys())
    assert expected.keys() - renamed.keys() == {"no_object_pointer", "prompt_encoder.point_embed.weight"}
    assert renamed.keys() - expected.keys() == {
        "optimizer.step",
        *(f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in (0, 1, 3)),
    }


def test_no_two_weights_share_a_name_but_the_table_that_is_there_twice() -> None:
    names = [published_name(name) for name in empty_network(SMALL, **TINY_SIZES).state_dict()]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"}
