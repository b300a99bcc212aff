"""SAM 2's network as transformers implements it, taken apart into the steps that a view, a prompt and a memory need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.errors import ModelError
from voxsam.models.base import Preprocessing

__all__ = ["Answer", "Sam2Network", "empty_network"]

PATCH = 16  # input pixels a cell of the coarsest features
MEMORY_CHANNELS = 64
PADDING_LABEL = -1


@dataclass(frozen=True, eq=False)
class Answer:
    """What the mask decoder says.

    Parameters
    ----------
    masks : (M, h, w) tensor
        Logits, four to a cell.
    scores : (M,) tensor
        Predicted IoU.
    tokens : (M, C) tensor
        What `Sam2Network.pointer` makes a pointer of.
    presence : (1,) tensor
        Positive where the decoder sees the object at all.
    """

    masks: Tensor
    scores: Tensor
    tokens: Tensor
    presence: Tensor


class Sam2Encoder(nn.Module):
    """The image encoder, and what the mask decoder always makes of its finer features.

    Parameters
    ----------
    module : transformers.Sam2VideoModel
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.vision = module.vision_encoder
        self.finest, self.fine = module.mask_decoder.conv_s0, module.mask_decoder.conv_s1

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Encode normalised ``(B, 3, s, s)`` images into `Sam2Network.feature_shapes`, each ``(B, C, h, w)``."""
        finest, fine, image = self.vision(image, return_dict=True).fpn_hidden_states
        return {"image": image, "fine": self.fine(fine), "finest": self.finest(finest)}


class Sam2Network:
    """The steps of SAM 2, each a function of tensors; nothing is remembered between them.

    Parameters
    ----------
    module : transformers.Sam2VideoModel
        With its weights; all is calculated in their precision.
    device : torch.device
    """

    def __init__(self, module: Any, device: torch.device) -> None:
        self.module = module.to(device).eval().requires_grad_(False)
        self.device = device
        self.encoder = Sam2Encoder(module)
        self.dtype: torch.dtype = module.no_memory_embedding.dtype
        config = module.config
        self.input_size: int = config.image_size
        self.mask_side: int = 4 * self.input_size // PATCH
        self.channels: int = config.vision_config.fpn_hidden_size
        self.memory_reach: int = config.num_maskmem - 1
        self.pointer_reach: int = config.max_object_pointers_in_encoder - 1
        grid = self.input_size // PATCH
        self.feature_shapes = {
            "image": (self.channels, grid, grid),
            "fine": (self.channels // 4, 2 * grid, 2 * grid),
            "finest": (self.channels // 8, 4 * grid, 4 * grid),
        }
        self.memory_shape = (MEMORY_CHANNELS, grid, grid)
        # constants of the grid, the same for every view
        self._decoder_positions = module.get_image_wide_positional_embeddings()
        image_like = torch.Size((1, self.channels, grid, grid))
        memory_like = torch.Size((1, MEMORY_CHANNELS, grid, grid))
        self._image_positions = module.vision_encoder.neck.position_encoding(image_like, device, self.dtype)
        self._memory_positions = module.memory_encoder.position_encoding(memory_like, device, self.dtype)

    def without_memory(self, image: Tensor) -> Tensor:
        """Mark ``(1, C, h, w)`` image features as those of a view that nothing is known of."""
        nothing: Tensor = self.module.no_memory_embedding
        return image + nothing.view(1, -1, 1, 1)

    def with_memory(
        self, image: Tensor, memories: Sequence[tuple[int, Tensor]], pointers: Sequence[tuple[int, Tensor]]
    ) -> Tensor:
        """Let ``(1, C, h, w)`` image features attend to what is known of other views.

        Parameters
        ----------
        image : (1, C, h, w) tensor
        memories : sequence of (int, (c, h, w) tensor)
            What `memory` made of a view, with the number of slices to it; 0 for every view that a user answered.
        pointers : sequence of (int, (C,) tensor)
            With the number of slices to its view.

        Returns
        -------
        (1, C, h, w) tensor
        """
        keys = [as_sequence(memory[None]) for _, memory in memories]
        positions = [self._positions_of(distance) for distance, _ in memories]
        pieces = self.channels // MEMORY_CHANNELS  # a pointer is cut into pieces as wide as a memory
        if pointers:
            keys.append(torch.stack([pointer for _, pointer in pointers]).reshape(-1, 1, MEMORY_CHANNELS))
            positions.append(self._pointer_positions([distance for distance, _ in pointers], pieces))
        attended: Tensor = self.module.memory_attention(
            as_sequence(image),
            torch.cat(keys),
            as_sequence(self._image_positions),
            torch.cat(positions),
            len(pointers) * pieces,
        )
        return attended.reshape(-1, self.channels).T.reshape(image.shape)

    def answer(
        self,
        image: Tensor,
        features: dict[str, Tensor],
        points_xy: Tensor | None,
        labels: Tensor | None,
        mask: Tensor | None,
        *,
        multimask: bool,
    ) -> Answer:
        """Ask the mask decoder.

        Parameters
        ----------
        image : (1, C, h, w) tensor
            From `without_memory` or `with_memory`.
        features : dict of str to Tensor
            The finer ones.
        points_xy : (N, 2) tensor or None
            Pixels of the input.
        labels : (N,) tensor or None
            1, 0; 2 and 3 for the corners of a box.
        mask : (1, 1, s, s) tensor or None
            Logits of an earlier answer.
        multimask : bool
            True: three masks. False: one; of the three, where the single one is not stable.
        """
        if points_xy is None or labels is None:
            points_xy = torch.zeros(1, 2, device=self.device, dtype=self.dtype)
            labels = torch.full((1,), PADDING_LABEL, device=self.device)
        sparse, dense = self.module.prompt_encoder(
            input_points=points_xy[None, None], input_labels=labels[None, None], input_boxes=None, input_masks=mask
        )
        masks, scores, tokens, presence = self.module.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=self._decoder_positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            high_resolution_features=[features["finest"], features["fine"]],
        )
        return Answer(masks[0, 0], scores[0, 0], tokens[0, 0], presence.view(1))

    def pointer(self, token: Tensor) -> Tensor:
        """Turn the ``(C,)`` token of a mask into a ``(C,)`` pointer: its object, as later views are shown it."""
        projected: Tensor = self.module.object_pointer_proj(token.view(1, 1, -1))
        return projected.view(-1)

    def wants_multimask(self, points: int) -> bool:
        """Tell whether tracking takes the best of three masks, for so many points on the view."""
        config = self.module.config
        allowed: bool = config.multimask_output_in_sam and config.multimask_output_for_tracking
        return allowed and config.multimask_min_pt_num <= points <= config.multimask_max_pt_num

    def drawn_pointer(self, image: Tensor, features: dict[str, Tensor], mask: Tensor) -> Tensor:
        """Return the ``(C,)`` pointer of a drawn ``(1, 1, s, s)`` mask of 0 and 1 on the input's pixels.

        The published code takes it from the decoder's one mask (transformers' video model from the best of three).
        """
        small = self.module.mask_downsample(mask)
        return self.pointer(self.answer(image, features, None, None, small, multimask=False).tokens[0])

    def absent_pointer(self) -> Tensor:
        """Return the ``(C,)`` pointer of an object that is not in the view."""
        absent: Tensor = self.module.no_object_pointer[0]
        return absent

    def memory(self, image: Tensor, inside: Tensor, *, present: bool) -> Tensor:
        """Make a memory of a view and its answer.

        Parameters
        ----------
        image : (1, C, h, w) tensor
            Features as the encoder gave them.
        inside : (1, 1, s, s) tensor
            Probability of the object on the input's pixels.
        present : bool
            Whether the object is in the view.

        Returns
        -------
        (c, h, w) tensor
            In half precision where it fits, and rounded as the published code rounds it, to bfloat16.
        """
        config = self.module.config
        logits = inside * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        features: Tensor = self.module.memory_encoder(image, logits)[0]
        absent = self.module.occlusion_spatial_embedding_parameter
        if not present and absent is not None:
            features = features + absent.view(1, -1, 1, 1)
        rounded = features[0].to(torch.bfloat16)
        half = rounded.half()
        return half if bool(half.isfinite().all()) else rounded.float()

    def enlarged(self, masks: Tensor) -> Tensor:
        """Bring ``(1, 1, h, w)`` logits of the decoder to the input's pixels."""
        return F.interpolate(masks, (self.input_size, self.input_size), mode="bilinear", align_corners=False)

    def _positions_of(self, distance: int) -> Tensor:
        """Where the cells of a memory are: in its view, and how far away that is."""
        away: Tensor = self.module.memory_temporal_positional_encoding[distance - 1]
        return as_sequence(self._memory_positions) + away

    def _pointer_positions(self, distances: Sequence[int], pieces: int) -> Tensor:
        """How far away the views of pointers are: waves of falling frequency, projected to ``(N * pieces, 1, c)``."""
        half = self.channels // 2
        exponents = 2 * (torch.arange(half, device=self.device) // 2) / half
        relative = torch.tensor(distances, dtype=torch.float32, device=self.device) / self.pointer_reach
        angles = relative[:, None] / 10000.0**exponents
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.dtype)
        projected: Tensor = self.module.temporal_positional_encoding_projection_layer(waves)
        return projected[:, None].repeat_interleave(pieces, dim=0)


def empty_network(
    preprocessing: Preprocessing,
    *,
    widths: Sequence[int],
    heads: Sequence[int],
    depths: Sequence[int],
    global_blocks: Sequence[int],
    windows: Sequence[int] = (8, 4, 14, 7),
    position_side: int = 7,
    channels: int = 256,
) -> Any:
    """Build SAM 2.1 without memory for its weights: they come from the file.

    Parameters
    ----------
    preprocessing : Preprocessing
        Its input size is the network's.
    widths, heads, depths, windows : sequence of int
        Of the image encoder's four stages; `windows` in cells of each stage.
    global_blocks : sequence of int
        Blocks of the image encoder that see the whole image.
    position_side : int
        Side of the learnt table of positions.
    channels : int
        Of image features and tokens.

    Returns
    -------
    transformers.Sam2VideoModel

    Raises
    ------
    ModelError
        If transformers is not installed.
    """
    try:
        from transformers import Sam2VideoConfig, Sam2VideoModel
    except ImportError as error:
        raise ModelError(
            f'SAM 2 needs the package transformers, with Sam2VideoModel ({error}): pip install "voxsam[hf]"'
        ) from error
    size = preprocessing.input_size
    grid = size // PATCH
    config = Sam2VideoConfig(
        image_size=size,
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [size, size],
                "hidden_size": widths[0],
                "num_attention_heads": heads[0],
                "embed_dim_per_stage": list(widths),
                "num_attention_heads_per_stage": list(heads),
                "blocks_per_stage": list(depths),
                "global_attention_blocks": list(global_blocks),
                "window_size_per_stage": list(windows),
                "window_positional_embedding_background_size": [position_side, position_side],
            },
            "model_type": "sam2_vision_model",
            "backbone_channel_list": list(widths[::-1]),
            "backbone_feature_sizes": [[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]],
            "fpn_hidden_size": channels,
        },
        prompt_encoder_config={"image_size": size, "patch_size": PATCH, "hidden_size": channels},
        mask_decoder_config={"hidden_size": channels},
        memory_attention_hidden_size=channels,
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_encoder_hidden_size=channels,
        memory_encoder_output_channels=MEMORY_CHANNELS,
        mask_downsampler_embed_dim=channels,
        memory_fuser_embed_dim=channels,
        memory_fuser_intermediate_dim=4 * channels,
    )
    with torch.device("meta"):
        network = Sam2VideoModel(config)
    # its angles are constants, not weights: no file holds them
    network.memory_attention = type(network.memory_attention)(config)
    return network


def as_sequence(maps: Tensor) -> Tensor:
    """Turn ``(1, C, h, w)`` maps into ``(h * w, 1, C)`` tokens."""
    return maps.flatten(2).permute(2, 0, 1)
