"""The names of SAM 2's weights: as published in ``sam2*.pt`` files, and as transformers calls them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["from_published", "published_name"]

POINTS = "prompt_encoder.point_embed.weight"  # published as one table a kind of point
POINT_KINDS = 4  # background, foreground, first and second corner of a box

#: transformers' name -> published name; every rule is tried, in this order.
RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
        (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
        (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
        (r"^shared_image_embedding\.", "prompt_encoder.shared_embedding."),  # the same table, twice
        (r"^prompt_encoder\.", "sam_prompt_encoder."),
        (r"^mask_decoder\.", "sam_mask_decoder."),
        (r"\.shared_embedding\.positional_embedding$", ".pe_layer.positional_encoding_gaussian_matrix"),
        (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
        (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
        (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
        (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
        (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
        (r"\.upscale_conv1\.", ".output_upscaling.0."),
        (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
        (r"\.upscale_conv2\.", ".output_upscaling.3."),
        # a first and a last layer, and one between them if there are three
        (r"(\.blocks\.\d+|\.transformer\.layers\.\d+)\.mlp\.proj_out\.", r"\1.mlp.layers.1."),
        (r"(_mlps\.\d+|_head|object_pointer_proj)\.layers\.0\.", r"\1.layers.1."),
        (r"\.proj_in\.", ".layers.0."),
        (r"\.proj_out\.", ".layers.2."),
        (r"^memory_encoder\.mask_downsampler\.layers\.0\.conv\.", "memory_encoder.mask_downsampler.encoder.0."),
        (r"^memory_encoder\.mask_downsampler\.layers\.0\.layer_norm\.", "memory_encoder.mask_downsampler.encoder.1."),
        (r"^memory_encoder\.mask_downsampler\.layers\.1\.conv\.", "memory_encoder.mask_downsampler.encoder.3."),
        (r"^memory_encoder\.mask_downsampler\.layers\.1\.layer_norm\.", "memory_encoder.mask_downsampler.encoder.4."),
        (r"^memory_encoder\.mask_downsampler\.layers\.2\.conv\.", "memory_encoder.mask_downsampler.encoder.6."),
        (r"^memory_encoder\.mask_downsampler\.layers\.2\.layer_norm\.", "memory_encoder.mask_downsampler.encoder.7."),
        (r"^memory_encoder\.mask_downsampler\.layers\.3\.conv\.", "memory_encoder.mask_downsampler.encoder.9."),
        (r"^memory_encoder\.mask_downsampler\.layers\.3\.layer_norm\.", "memory_encoder.mask_downsampler.encoder.10."),
        (r"\.mask_downsampler\.final_conv\.", ".mask_downsampler.encoder.12."),
        (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
        (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
        (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
        (r"\.depthwise_conv\.", ".dwconv."),
        (r"\.pointwise_conv", ".pwconv"),
        (r"^(memory_encoder\.fuser\.layers\.\d+)\.scale$", r"\1.gamma"),
        (r"\.o_proj\.", ".out_proj."),
        (r"\.layer_norm(\d|_final_attn|)\.", r".norm\1."),
        (r"^object_pointer_proj\.", "obj_ptr_proj."),
        (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
        (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
        (r"^no_memory_embedding$", "no_mem_embed"),
        (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
        (r"^no_object_pointer$", "no_obj_ptr"),
        (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    )
)


def published_name(name: str) -> str:
    """Return the name that a weight of transformers' SAM 2 has in the published files.

    Parameters
    ----------
    name : str
        As in the state dict of transformers' ``Sam2VideoModel``.

    Returns
    -------
    str

    Examples
    --------
    >>> published_name("vision_encoder.backbone.blocks.3.mlp.proj_out.bias")
    'image_encoder.trunk.blocks.3.mlp.layers.1.bias'
    >>> published_name("memory_attention.layers.0.cross_attn_image.o_proj.weight")
    'memory_attention.layers.0.cross_attn_image.out_proj.weight'
    """
    for pattern, replacement in RULES:
        name = pattern.sub(replacement, name)
    return name


def from_published(state: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Give published weights the names of transformers; weights that have them already stay as they are.

    Nothing is left out and nothing made up: what is missing stays missing, and what no name is known for keeps its own,
    so that a strict loader can say so.

    Parameters
    ----------
    state : mapping of str to Tensor
        A published state dict, or one of transformers.
    expected : collection of str
        transformers' names of the weights that the network has.

    Returns
    -------
    dict of str to Tensor
    """
    import torch

    rest = dict(state)
    renamed: dict[str, Tensor] = {}
    for name in expected:
        published = published_name(name)
        if name in rest:
            renamed[name] = state[name]
            rest.pop(name)
        elif published in state:  # may be asked for twice
            renamed[name] = state[published]
            rest.pop(published, None)
    kinds = [f"sam_prompt_encoder.point_embeddings.{kind}.weight" for kind in range(POINT_KINDS)]
    if POINTS in expected and all(kind in rest for kind in kinds):
        renamed[POINTS] = torch.cat([rest.pop(kind) for kind in kinds])
    return renamed | rest
