"""What a checkpoint holds: the weights within it, under the names of voxsam's networks, and whose they look like."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["looks_like", "sam_names", "state_within"]

#: Where training programs keep the network's weights beside their own state (optimizer, epoch, …).
WRAPPERS = ("model_state", "state_dict", "model")

#: What wrappers for training put before every name.
PREFIXES = ("module.", "sam.")

#: In the published files, but of no use here: TinyViT's classifier and batch counters, and constants of the cards.
UNUSED = re.compile(r"^image_encoder\.(norm_head|head)\.|\.num_batches_tracked$|^pixel_(mean|std)$")

_MATRIX = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

#: Hugging Face's names -> published names, in this order.
_FROM_HUGGING_FACE = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$", _MATRIX),
        (r"^vision_encoder\.", "image_encoder."),
        (r"^image_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
        (r"^image_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
        (r"^image_encoder\.layers\.", "image_encoder.blocks."),
        (r"^image_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
        (r"^image_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
        (r"^image_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
        (r"^image_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
        (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
        (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
        (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
        (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
        (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
        (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
        (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
        (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
        (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
        (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
        (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
        (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.", r"\1.layers.1."),
        (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.proj_in\.", r"\1.layers.0."),
        (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.proj_out\.", r"\1.layers.2."),
    )
)

_Shapes = Mapping[str, tuple[int, ...]]

_Names = tuple[str, ...]

_VIT_WIDTHS: Mapping[int, _Names] = {
    768: ("sam-vit-b", "medsam", "micro-sam-vit-b-medical"),
    1024: ("sam-vit-l",),
    1280: ("sam-vit-h",),
}
_TINY_VIT_STEMS: Mapping[int, _Names] = {3: ("mobile-sam",), 1: ("lite-medsam",)}
_HIERA_WIDTHS: Mapping[int, _Names] = {
    96: ("sam2.1-tiny", "medsam2"),
    112: ("sam2.1-base-plus",),
    144: ("sam2.1-large",),
}


def state_within(content: object) -> dict[str, Tensor] | None:
    """Find the state dict in what a checkpoint held.

    Parameters
    ----------
    content : object
        As read: a state dict, or one under a name such as ``"model"`` beside the state of a training.

    Returns
    -------
    dict of str to Tensor, or None
        None: there is none.

    Examples
    --------
    >>> import torch
    >>> state_within({"model": {"weight": torch.ones(1)}, "epoch": 3})
    {'weight': tensor([1.])}
    >>> state_within({"epoch": 3}) is None
    True
    """
    if not isinstance(content, dict):
        return None
    candidates: list[Any] = [content, *(content.get(name) for name in WRAPPERS)]
    return next((state for state in candidates if _is_state(state)), None)


def sam_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the weights of a SAM, from whatever layout, under the names of the published ``sam_vit_*`` files.

    Prefixes of training wrappers are cut, Hugging Face's names are translated, and what the published files hold
    beyond the network is left out. Nothing is checked: that is for `voxsam.models.weights.load_state`.

    Parameters
    ----------
    state : mapping of str to Tensor

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> import torch
    >>> list(sam_names({"module.sam.image_encoder.pos_embed": torch.ones(1)}))
    ['image_encoder.pos_embed']
    >>> list(sam_names({"vision_encoder.layers.0.layer_norm1.bias": torch.ones(1)}))
    ['image_encoder.blocks.0.norm1.bias']
    """
    names = {name: name for name in state}
    for prefix in PREFIXES:
        if names and all(name.startswith(prefix) for name in names.values()):
            names = {source: name[len(prefix) :] for source, name in names.items()}
    if any(name.startswith("vision_encoder.") for name in names.values()):
        names = {source: _published(name) for source, name in names.items()}
    return {name: state[source] for source, name in names.items() if not UNUSED.search(name)}


def looks_like(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Tell by names and shapes whose weights these are.

    Parameters
    ----------
    state : mapping of str to Tensor

    Returns
    -------
    tuple of str
        Names of the models with this layout; empty where it is unknown.

    Examples
    --------
    >>> import torch
    >>> looks_like({"image_encoder.blocks.0.attn.qkv.weight": torch.empty(3072, 1024, device="meta")})
    ('sam-vit-l',)
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in sam_names(state).items()}
    return next((found for rule in _RULES if (found := rule(shapes))), ())


def _is_state(content: Any) -> bool:
    if not isinstance(content, Mapping):
        return False
    import torch

    return bool(content) and all(isinstance(value, torch.Tensor) for value in content.values())


def _published(name: str) -> str:
    for pattern, replacement in _FROM_HUGGING_FACE:
        name = pattern.sub(replacement, name)
    return name


def _derived_from_sam(shapes: _Shapes) -> _Names:
    """Name networks that grew out of SAM, and that voxsam does not have."""
    signs = {
        "mask_decoder.hf_token.weight": "HQ-SAM",
        "image_encoder.blocks.0.Adapter.channel.0.weight": "SAM-Med2D",
        "image_encoder.blocks.0.attn.rel_pos_d": "SAM-Med3D",
    }
    return tuple(model for sign, model in signs.items() if sign in shapes)


def _vit(shapes: _Shapes) -> _Names:
    qkv = shapes.get("image_encoder.blocks.0.attn.qkv.weight", ())
    return _VIT_WIDTHS.get(qkv[1], ()) if len(qkv) == 2 else ()


def _tiny_vit(shapes: _Shapes) -> _Names:
    stem = shapes.get("image_encoder.patch_embed.seq.0.c.weight", ())
    return _TINY_VIT_STEMS.get(stem[-1], ()) if len(stem) == 4 else ()


def _hiera(shapes: _Shapes) -> _Names:
    """Tell SAM 2 by its trunk, in the published layout or in Hugging Face's (of which the prefix was translated)."""
    for trunk, projection in (("image_encoder.trunk", "proj"), ("image_encoder.backbone", "projection")):
        patches = shapes.get(f"{trunk}.patch_embed.{projection}.weight", ())
        if len(patches) != 4:
            continue
        if patches[0] == 96 and f"{trunk}.blocks.15.attn.qkv.weight" in shapes:
            return ("sam2.1-small",)
        return _HIERA_WIDTHS.get(patches[0], ())
    return ()


def _compact(shapes: _Shapes) -> _Names:
    return ("compact",) if "encoder.blocks.0.attention.query.weight" in shapes else ()


_RULES: tuple[Callable[[_Shapes], _Names], ...] = (_derived_from_sam, _vit, _tiny_vit, _hiera, _compact)
