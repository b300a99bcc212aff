"""Small random SAM 2 networks, and transformers' own image and video models with the same weights."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor

from voxsam.models.base import ModelCard, Preprocessing
from voxsam.models.sam2 import Sam2Model
from voxsam.models.sam2_keys import published_name
from voxsam.models.sam2_network import empty_network

TINY = Preprocessing(128, resize="squash", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TINY_SIZES: dict[str, Any] = {
    "widths": (16, 32, 64, 128),
    "heads": (1, 2, 4, 8),
    "depths": (1, 1, 2, 1),
    "global_blocks": (3,),
    "windows": (8, 4, 6, 7),
    "channels": 128,  # twice a memory's, so that pointers are cut in two
}


def card_of(preprocessing: Preprocessing = TINY, **sizes: Any) -> ModelCard:
    return ModelCard(
        "tiny-sam2", "untrained", "voxsam.models.sam2:build_sam2", preprocessing, "Apache-2.0", 1.0, "instant",
        options=sizes or TINY_SIZES,
    )  # fmt: skip


def random_state(template: dict[str, Tensor], seed: int = 0, presence: float = 1.0) -> dict[str, Tensor]:
    """Weights at which no part of the network is idle, and none makes much of little.

    With the `presence` given, the object is in every view; with less, it is not in some.
    """
    generator = torch.Generator().manual_seed(seed)

    def fill(name: str, tensor: Tensor) -> Tensor:
        noise = torch.randn(tensor.shape, generator=generator)
        if "pos_embed" in name:
            return 0.3 * noise
        if name == "mask_decoder.pred_obj_score_head.proj_out.bias":
            return torch.full_like(tensor, presence, device="cpu")
        if tensor.ndim == 1:
            return 0.1 * noise + (name.endswith(("weight", "scale")))
        if re.search(
            r"(no_\w+|_tokens?|_embed|parameter|positional_(embedding|encoding))(\.weight)?$", name
        ):  # learnt tables
            return noise
        inputs = tensor.shape[0] if "upscale_conv" in name else tensor[0].numel()
        return noise * inputs**-0.5

    return {name: fill(name, tensor) for name, tensor in template.items()}


def random_module(preprocessing: Preprocessing = TINY, seed: int = 0, presence: float = 1.0, **sizes: Any) -> Any:
    """A network with random weights."""
    module = empty_network(preprocessing, **(sizes or TINY_SIZES))
    state = random_state(module.state_dict(), seed, presence)
    state["shared_image_embedding.positional_embedding"] = state["prompt_encoder.shared_embedding.positional_embedding"]
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def as_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in the layout of the published files."""
    state = dict(state)
    kinds = state.pop("prompt_encoder.point_embed.weight")
    renamed = {published_name(name): tensor for name, tensor in state.items()}
    return renamed | {f"sam_prompt_encoder.point_embeddings.{i}.weight": kinds[i : i + 1] for i in range(len(kinds))}


def random_model(preprocessing: Preprocessing = TINY, seed: int = 0) -> Sam2Model:
    return Sam2Model(card_of(preprocessing), random_module(preprocessing, seed))


def image_model(module: Any) -> Any:
    """transformers' model of single images, with the weights that it shares with the video model."""
    config = transformers.Sam2Config(
        vision_config=module.config.vision_config,
        prompt_encoder_config=module.config.prompt_encoder_config.to_dict() | {"model_type": "sam2_prompt_encoder"},
        mask_decoder_config=module.config.mask_decoder_config.to_dict() | {"model_type": "sam2_mask_decoder"},
    )
    model = transformers.Sam2Model(config)
    model.load_state_dict({name: module.state_dict()[name] for name in model.state_dict()}, strict=True)
    return model.eval().requires_grad_(False)


def normalised(views: list[npt.NDArray[np.float32]], preprocessing: Preprocessing = TINY) -> Tensor:
    """Views that are as large as the input already, as the network takes them: (N, 3, s, s)."""
    pixels = torch.tensor(np.rint(np.stack(views) * 255) / 255).float().permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


SLICES = 12
SMALL = replace(TINY, input_size=64)
OBJECTS = {"liver": ((20.0, 30.0), (1.0, -0.5), 12.0), "kidney": ((45.0, 15.0), (0.0, 1.5), 7.0)}


def disc(name: str, index: int) -> npt.NDArray[np.bool_]:
    """Where an object is on a slice of 64 x 64 pixels: it drifts and shrinks."""
    (row, column), (down, right), radius = OBJECTS[name]
    rows, columns = np.indices((SMALL.input_size, SMALL.input_size))
    away = np.hypot(rows - row - down * index, columns - column - right * index)
    return np.asarray(away < radius - 0.25 * index)


def phantom_view(index: int) -> npt.NDArray[np.float32]:
    """A slice with both objects, as large as the `SMALL` input."""
    grey = 0.2 + 0.5 * disc("liver", index) + 0.3 * disc("kidney", index)
    grey += 0.1 * np.random.default_rng(index).standard_normal(grey.shape)
    return np.repeat(np.clip(grey, 0, 1)[..., None], 3, axis=2).astype(np.float32)
