"""SAM 2's published code, from the package ``sam2``, at any size. Its configuration and download packages stay out."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from voxsam.models.base import Preprocessing

HOW_TO_INSTALL = "the published code is not installed: SAM2_BUILD_CUDA=0 pip install --no-deps sam2"


def published_model(preprocessing: Preprocessing, **sizes: Any) -> Any:
    """``SAM2Base``, as the files ``sam2.1_hiera_*.yaml`` configure it.

    Parameters
    ----------
    preprocessing : Preprocessing
    sizes : dict
        As a card's options give them.
    """
    package = _package()
    size, channels = preprocessing.input_size, sizes.get("channels", 256)
    rotary = {
        "rope_theta": 10000.0,
        "feat_sizes": (size // 16, size // 16),
        "embedding_dim": channels,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": 0.1,
    }
    attention = package.memory_attention.MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=2048,
        dropout=0.1,
        pos_enc_at_attn=False,
        self_attention=package.transformer.RoPEAttention(**rotary),
        d_model=channels,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=package.transformer.RoPEAttention(rope_k_repeat=True, kv_in_dim=64, **rotary),
    )
    return package.base.SAM2Base(
        image_encoder=_image_encoder(package, channels, sizes),
        memory_attention=package.memory_attention.MemoryAttention(
            d_model=channels, pos_enc_at_input=True, layer=attention, num_layers=4
        ),
        memory_encoder=_memory_encoder(package, channels),
        num_maskmem=7,
        image_size=size,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        binarize_mask_from_pts_for_mem_enc=True,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    ).eval()


def _package() -> SimpleNamespace:
    """The parts of the package that make up the network, or a skipped test."""
    for name, contents in {
        "hydra": {"initialize_config_module": None},
        "hydra.core": {},
        "hydra.core.global_hydra": {
            "GlobalHydra": SimpleNamespace(instance=lambda: SimpleNamespace(is_initialized=lambda: True))
        },
        "iopath": {},
        "iopath.common": {},
        "iopath.common.file_io": {"g_pathmgr": None},
    }.items():
        module = ModuleType(name)
        vars(module).update(contents)
        sys.modules.setdefault(name, module)
    pytest.importorskip("sam2", reason=HOW_TO_INSTALL)
    from sam2.modeling import memory_attention, memory_encoder, position_encoding, sam2_base
    from sam2.modeling.backbones import hieradet, image_encoder
    from sam2.modeling.sam import transformer

    return SimpleNamespace(
        base=sam2_base,
        hiera=hieradet,
        image_encoder=image_encoder,
        memory_attention=memory_attention,
        memory_encoder=memory_encoder,
        positions=position_encoding,
        transformer=transformer,
    )


def _image_encoder(package: SimpleNamespace, channels: int, sizes: dict[str, Any]) -> Any:
    side = sizes.get("position_side", 7)
    trunk = package.hiera.Hiera(
        embed_dim=sizes["widths"][0],
        num_heads=sizes["heads"][0],
        stages=sizes["depths"],
        global_att_blocks=sizes["global_blocks"],
        window_pos_embed_bkg_spatial_size=(side, side),
        window_spec=sizes.get("windows", (8, 4, 14, 7)),
    )
    neck = package.image_encoder.FpnNeck(
        position_encoding=_sine(package, channels),
        d_model=channels,
        backbone_channel_list=list(sizes["widths"][::-1]),
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return package.image_encoder.ImageEncoder(scalp=1, trunk=trunk, neck=neck)


def _memory_encoder(package: SimpleNamespace, channels: int) -> Any:
    block = package.memory_encoder.CXBlock(
        dim=channels, kernel_size=7, padding=3, layer_scale_init_value=1e-6, use_dwconv=True
    )
    return package.memory_encoder.MemoryEncoder(
        in_dim=channels,
        out_dim=64,
        position_encoding=_sine(package, 64),
        mask_downsampler=package.memory_encoder.MaskDownSampler(embed_dim=channels, kernel_size=3, stride=2, padding=1),
        fuser=package.memory_encoder.Fuser(block, num_layers=2),
    )


def _sine(package: SimpleNamespace, features: int) -> Any:
    return package.positions.PositionEmbeddingSine(
        num_pos_feats=features, normalize=True, scale=None, temperature=10000
    )
