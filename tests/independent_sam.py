"""SAM and MobileSAM as other packages have them, with random weights in the layout of the published files.

The packages ``segment-anything`` and ``mobilesam-mirror`` carry the published code. Their top level asks for
torchvision, which only their picture transforms use, and TinyViT asks timm for three things that have no effect in an
answer; so the networks are imported past the one, and with stand-ins for the other.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


class _NoDrop(nn.Module):
    """Takes the place of timm's DropPath, whose rate is zero here."""

    def __init__(self, drop_prob: float | None = None) -> None:
        super().__init__()


_TIMM: Mapping[str, Mapping[str, Any]] = {
    "timm": {},
    "timm.models": {},
    "timm.models.layers": {
        "DropPath": _NoDrop,
        "to_2tuple": lambda side: (side, side),
        "trunc_normal_": nn.init.trunc_normal_,
    },
    "timm.models.registry": {"register_model": lambda build: build},
}


@contextmanager
def _timm_stand_ins() -> Iterator[None]:
    """Be timm, as far as TinyViT asks, while it is imported."""
    real = {name: sys.modules.get(name) for name in _TIMM}
    for name, content in _TIMM.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for name, module in real.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def modeling_of(package: str) -> Any:
    """Import a package's networks without what its top level imports."""
    if package not in sys.modules:
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations
        bare = ModuleType(package)
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules[package] = bare
    with _timm_stand_ins():
        return importlib.import_module(f"{package}.modeling")


def _sam(package: str, encoder: nn.Module, *, grid: int, input_size: int) -> nn.Module:
    modeling = modeling_of(package)
    sam = modeling.Sam(
        image_encoder=encoder,
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=256,
            image_embedding_size=(grid, grid),
            input_image_size=(input_size, input_size),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    if torch.get_default_device().type != "meta":
        sam.load_state_dict(random_weights(sam.state_dict()), strict=False)  # mean and deviation stay
    return sam.eval().requires_grad_(False)  # type: ignore[no-any-return]


def vit_sam(*, width: int, depth: int, heads: int, global_blocks: Sequence[int], input_size: int = 1024) -> nn.Module:
    """segment-anything's own SAM; on the meta device without values."""
    encoder = modeling_of("segment_anything").ImageEncoderViT(
        depth=depth,
        embed_dim=width,
        img_size=input_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=heads,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=list(global_blocks),
        window_size=14,
        out_chans=256,
    )
    return _sam("segment_anything", encoder, grid=input_size // 16, input_size=input_size)


def tiny_sam(*, stem: int = 4, depths: Sequence[int] = (2, 2, 6, 2)) -> nn.Module:
    """MobileSAM's own network; with a stem of 1, as LiteMedSAM publishes it.

    LiteMedSAM took MobileSAM's encoder, and a stem of two convolutions of one pixel each: its 256 x 256 pixels lie on
    the grid on which MobileSAM has the patches of 1024 x 1024.
    """
    modeling = modeling_of("mobile_sam")
    encoder = modeling.TinyViT(
        img_size=1024,
        in_chans=3,
        num_classes=1000,
        embed_dims=[64, 128, 160, 320],
        depths=list(depths),
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        mlp_ratio=4.0,
        drop_rate=0.0,
        drop_path_rate=0.0,
        use_checkpoint=False,
        mbconv_expand_ratio=4.0,
        local_conv_size=3,
        layer_lr_decay=0.8,
    )
    if stem == 1:
        conv = importlib.import_module("mobile_sam.modeling.tiny_vit_sam").Conv2d_BN
        encoder.patch_embed.seq = nn.Sequential(conv(3, 32, 1, 1, 0), nn.GELU(), conv(32, 64, 1, 1, 0))
        del encoder.norm_head, encoder.head
    sam = _sam("mobile_sam", encoder, grid=64, input_size=1024 if stem == 4 else 256)
    sam.train()
    return sam.eval()  # TinyViT takes its attention terms over when it leaves training


def random_weights(template: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Weights at which no part of the network is idle, and none runs away."""
    generator = torch.Generator().manual_seed(seed)

    def fill(name: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.clone()
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            return 0.5 + noise.abs()
        if "rel_pos" in name or "pos_embed" in name or "attention_biases" in name:
            return 0.3 * noise
        if tensor.ndim == 1:
            return 0.1 * noise + (name.endswith("weight"))
        if tensor.ndim == 2 and len(tensor) <= 4 and "head" not in name:  # learnt tokens, frequencies of positions
            return noise
        inputs = tensor.shape[0] if "output_upscaling" in name else tensor[0].numel()
        return noise * inputs**-0.5  # type: ignore[no-any-return]

    return {name: fill(name, tensor) for name, tensor in template.items() if not name.startswith("pixel_")}


def decoded(
    sam: Any,
    features: Tensor,
    *,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
    multimask: bool,
) -> tuple[Tensor, Tensor]:
    """Ask the package's own prompt encoder and mask decoder: low-resolution logits, scores."""
    sparse, dense = sam.prompt_encoder(points=None if points is None else (points, labels), boxes=boxes, masks=masks)
    logits, scores = sam.mask_decoder(
        image_embeddings=features,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )
    return logits, scores
