"""Random SAM weights in the published layout, and the same weights for transformers' independent SAM."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import transformers
from torch import Tensor

from voxsam.models.base import ModelCard, Preprocessing
from voxsam.models.sam import Sam, SamModel

PUBLISHED = Preprocessing(1024, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TINY = Preprocessing(128, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TINY_SIZES = {"width": 32, "depth": 2, "heads": 2, "global_blocks": (1,), "window": 3, "channels": 64}


def random_state(template: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Weights at which no part of the network is idle; norms are near one, the rest keeps the scale of its input."""
    generator = torch.Generator().manual_seed(seed)

    def fill(name: str, tensor: Tensor) -> Tensor:
        noise = torch.randn(tensor.shape, generator=generator)
        if "rel_pos" in name or "pos_embed" in name:
            return 0.3 * noise
        if tensor.ndim == 1:
            return 0.1 * noise + (name.endswith("weight"))
        if (
            tensor.ndim == 2 and len(tensor) <= 4 and "head" not in name
        ):  # learnt tokens, and the frequencies of positions
            return noise
        inputs = tensor.shape[0] if "output_upscaling" in name else tensor[0].numel()
        return noise * inputs**-0.5

    return {name: fill(name, tensor) for name, tensor in template.items()}


def random_sam(preprocessing: Preprocessing = TINY, seed: int = 0, **sizes: object) -> Sam:
    """A network with random weights."""
    sam = Sam(preprocessing, **(sizes or TINY_SIZES))  # type: ignore[arg-type]
    sam.load_state_dict(random_state(sam.state_dict(), seed))
    return sam.eval()


def card_of(preprocessing: Preprocessing, name: str = "tiny-sam") -> ModelCard:
    return ModelCard(name, "untrained", "voxsam.models.sam:build_sam", preprocessing, "Apache-2.0", 0.1, "instant")


def random_model(preprocessing: Preprocessing = TINY, seed: int = 0, **sizes: object) -> SamModel:
    return SamModel(card_of(preprocessing), random_sam(preprocessing, seed, **sizes))


RENAMED = (  # published name -> transformers' name, in this order
    (r"^image_encoder\.", "vision_encoder."),
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^(vision_encoder\.layers\.\d+)\.norm", r"\1.layer_norm"),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"point_embeddings", "point_embed"),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm", r"\1.layer_norm"),
    (r"norm_final_attn", "layer_norm_final_attn"),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
)


def transformers_name(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def reference_for(sam: Sam, attention: str = "eager", **sizes: object) -> transformers.SamModel:
    """transformers' SAM with the weights of `sam`, checked to hold all of them and no other.

    The published decoder normalises with torch's own epsilon, 1e-5; transformers' default there is 1e-6.
    """
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": sizes["width"],
            "num_hidden_layers": sizes["depth"],
            "num_attention_heads": sizes["heads"],
            "global_attn_indexes": list(sizes["global_blocks"]),  # type: ignore[call-overload]
            "image_size": sam.input_size,
            "window_size": sizes.get("window", 14),
        },
        prompt_encoder_config={"image_size": sam.input_size},
        mask_decoder_config={"layer_norm_eps": 1e-5},
        attn_implementation=attention,
    )
    with torch.device("meta"):
        reference = transformers.SamModel(config)
    state = {transformers_name(name): tensor for name, tensor in sam.state_dict().items()}
    positions = "positional_embedding"
    state[f"shared_image_embedding.{positions}"] = state[f"prompt_encoder.shared_embedding.{positions}"]
    reference.load_state_dict(state, strict=True, assign=True)
    return reference.eval().requires_grad_(False)
