"""SAM and its relatives: the network under the published names, and as a promptable model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.errors import ModelError, PromptError, WeightsError
from voxsam.models.base import Embedding, FloatArray, ModelCard, Preprocessing, SliceLogits, SlicePrompts
from voxsam.models.checkpoints import sam_names
from voxsam.models.mask_decoder import MaskDecoder
from voxsam.models.onnx_graph import OnnxGraph
from voxsam.models.preprocessing import check_pixels, check_prompts_on, input_pixels, resized_shape, xy_to_input
from voxsam.models.prompt_encoder import PromptEncoder
from voxsam.models.runtime import Part, Runtime
from voxsam.models.sam_export import sam_graphs
from voxsam.models.tinyvit import TinyViT, fold_norms
from voxsam.models.vit import ImageEncoder
from voxsam.models.weights import load_state, read_state, state_sha256

__all__ = ["Sam", "SamModel", "build_sam"]

#: Kinds of image encoder, as cards name them in their options.
ENCODERS: Mapping[str, Callable[..., ImageEncoder | TinyViT]] = MappingProxyType(
    {"vit": ImageEncoder, "tiny-vit": TinyViT}
)

SURE = 1e-7  # how near to 0 and 1 a probability is told apart from them: logits stay within -16 and 16
LOGIT_LIMIT = 32.0  # SAM's own logits stay below; a fill of -1e4 outside a region says no more than -32
BATCH_ON_A_GPU = 8  # views; halved where the memory does not suffice


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder under the names of the published ``sam_vit_*`` state dicts.

    Parameters
    ----------
    preprocessing : Preprocessing
        Input size, mean and deviation of the pixels, and how masks are enlarged.
    encoder : {"vit", "tiny-vit"}
        Kind of the image encoder.
    channels : int
        Of image features and tokens.
    **sizes
        Of the image encoder, as `ImageEncoder` or `TinyViT` take them.

    Examples
    --------
    >>> import torch
    >>> from voxsam.models.base import Preprocessing
    >>> sam = Sam(Preprocessing(64), width=32, depth=1, heads=2, global_blocks=(0,), channels=32)
    >>> features = sam.image_encoder(sam.preprocess(torch.zeros(1, 3, 48, 64)))
    >>> tokens, maps = sam.prompt_encoder(boxes=torch.tensor([[8.0, 8.0, 40.0, 30.0]]))
    >>> masks, scores = sam.mask_decoder(features, sam.prompt_encoder.image_positions(), tokens, maps, multimask=True)
    >>> sam.postprocess(masks, resized=(48, 64), image_shape=(300, 400)).shape
    torch.Size([1, 3, 300, 400])
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        encoder: str = "vit",
        channels: int = 256,
        **sizes: Any,
    ) -> None:
        super().__init__()
        self.input_size = preprocessing.input_size
        self.mean_of = preprocessing.mean_of
        self.image_encoder = ENCODERS[encoder](input_size=self.input_size, channels=channels, **sizes)
        self.prompt_encoder = PromptEncoder(input_size=self.input_size, grid=self.image_encoder.grid, channels=channels)
        self.mask_decoder = MaskDecoder(channels=channels)
        # device given: these are constants, not weights, so they exist on a network that is built without memory too
        mean, std = (torch.tensor(values, device="cpu") * 255 for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("pixel_mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(3, 1, 1), persistent=False)

    def preprocess(self, image: Tensor) -> Tensor:
        """Normalise ``(B, 3, h, w)`` pixels of 0..255, then pad with zeros at the bottom and right to the square."""
        normal = (image - self.pixel_mean) / self.pixel_std
        return F.pad(normal, (0, self.input_size - image.shape[-1], 0, self.input_size - image.shape[-2]))

    def postprocess(self, masks: Tensor, *, resized: tuple[int, int], image_shape: tuple[int, int]) -> Tensor:
        """Bring ``(B, M, s, s)`` logits to the view: enlarge to the square, cut the padding, resize to ``(H, W)``."""
        if self.mean_of == "probabilities":  # straight to the view, as MedSAM does it
            share = F.interpolate(masks.sigmoid(), image_shape, mode="bilinear", align_corners=False)
            return torch.logit(share, eps=SURE)
        square = F.interpolate(masks, (self.input_size, self.input_size), mode="bilinear", align_corners=False)
        return F.interpolate(square[..., : resized[0], : resized[1]], image_shape, mode="bilinear", align_corners=False)


class SamModel:
    """SAM as a `PromptableModel`, preprocessed and decoded as the inference code published with its weights does.

    Parameters
    ----------
    card : ModelCard
    sam : Sam
        With its weights.
    device : str
        Where it runs, as torch names it.

    Examples
    --------
    >>> import numpy as np
    >>> from voxsam.models.base import ModelCard, Preprocessing, SlicePrompts
    >>> tiny = Preprocessing(64, std=(0.2, 0.2, 0.2))
    >>> card = ModelCard("tiny", "untrained", "voxsam.models.sam:build_sam", tiny, "Apache-2.0", 0.1, "instant")
    >>> model = SamModel(card, Sam(tiny, width=32, depth=1, heads=2, global_blocks=(0,), channels=32))
    >>> embedding = model.encode(np.zeros((30, 40, 3), np.float32))
    >>> answer = model.decode(embedding, SlicePrompts(box_xyxy=[5, 5, 20, 20]), multimask=True)
    >>> answer.logits.shape, answer.scores.shape, answer.low_res_logits.shape
    ((3, 30, 40), (3,), (3, 16, 16))
    """

    def __init__(self, card: ModelCard, sam: Sam, device: str = "cpu") -> None:
        self._card = card
        self._device = torch.device(device)
        self._sam = sam.to(self._device).eval().requires_grad_(False)
        self._positions = sam.prompt_encoder.image_positions()  # the same for every view
        self.runtime = Runtime(device=device)
        self.batch_size = BATCH_ON_A_GPU if self._device.type == "cuda" else 1
        # a plain transformer adds up a dozen blocks and more, and attends over thousands of cells at once
        encoder = Part(sam.image_encoder, sensitive=isinstance(sam.image_encoder, ImageEncoder))
        self.parts = {"encoder": encoder, "decoder": Part(sam.mask_decoder, {"tokens": (1,)})}

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        return self._card

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights in use."""
        return state_sha256(self._sam.state_dict())

    @property
    def sam(self) -> Sam:
        """The network, for those who want to go beneath `encode` and `decode`."""
        return self._sam

    def onnx_graphs(self, *, single_mask: bool = False) -> dict[str, OnnxGraph]:
        """Describe the network as graphs; see `sam_graphs`."""
        return sam_graphs(self._sam, resize=self._card.preprocessing.resize, single_mask=single_mask)

    def encode(self, pixels: FloatArray) -> Embedding:
        """Run the image encoder.

        Parameters
        ----------
        pixels : (H, W, 3) float array in 0..1

        Returns
        -------
        Embedding
            Its one feature ``"image"`` is a (C, h, w) tensor on the model's device.

        Raises
        ------
        InputError
            If shape, type or range do not fit.
        """
        return self.encode_batch([pixels])[0]

    @torch.no_grad()
    def encode_batch(self, views: Sequence[FloatArray]) -> list[Embedding]:
        """Encode several views at once, which pays on a GPU; see `encode`."""
        checked = [check_pixels(pixels) for pixels in views]
        inputs = [self._sam.preprocess(self._image(pixels)) for pixels in checked]
        features = self.parts["encoder"].run(torch.cat(inputs))
        return [
            Embedding({"image": each}, (pixels.shape[0], pixels.shape[1]))
            for each, pixels in zip(features, checked, strict=True)
        ]

    def _image(self, pixels: FloatArray) -> Tensor:
        """Bring a view to the model's size: (1, 3, h, w) in 0..255."""
        resized = torch.tensor(input_pixels(pixels, self._card.preprocessing), device=self._device)
        return resized.permute(2, 0, 1)[None]

    @torch.no_grad()
    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        """Answer prompts on an encoded view.

        Parameters
        ----------
        embedding : Embedding
            Of this model; its feature may be a numpy array, in half precision too.
        prompts : SlicePrompts
        multimask : bool
            True: the three masks for an ambiguous prompt, in the decoder's order. False: the mask for a clear prompt.

        Returns
        -------
        SliceLogits

        Raises
        ------
        PromptError
            If a mask prompt has another shape, a label is unknown, or a number is not finite.
        ModelError
            If the embedding is another model's.
        """
        features = self._features(embedding)
        side = self._sam.prompt_encoder.mask_side
        check_prompts_on(prompts, embedding.image_shape, (side, side))
        tokens, maps = self._sam.prompt_encoder(**self._encoder_input(prompts, embedding.image_shape))
        masks, scores = self.parts["decoder"].run(features, self._positions, tokens, maps, multimask=multimask)
        resized = resized_shape(embedding.image_shape, self._card.preprocessing)
        logits = self._sam.postprocess(masks, resized=resized, image_shape=embedding.image_shape)
        return SliceLogits(logits[0].cpu().numpy(), scores[0].cpu().numpy(), masks[0].cpu().numpy())

    def _features(self, embedding: Embedding) -> Tensor:
        expected = tuple(self._positions.shape[1:])
        found: Any = embedding.features.get("image")
        if found is None or tuple(found.shape) != expected:
            came = {name: tuple(value.shape) for name, value in embedding.features.items()}
            raise ModelError(
                f"{self._card.name} needs its own embedding, 'image' of shape {expected}; got {came}. "
                "Encode the view again with this model."
            )
        # a copy of an array: it may be read-only, as those mapped from a file are
        tensor = found if isinstance(found, Tensor) else torch.tensor(np.asarray(found))
        return tensor.to(self._device, torch.float32)[None]

    def _encoder_input(self, prompts: SlicePrompts, image_shape: tuple[int, int]) -> dict[str, Tensor]:
        """Move prompts to the model's input; each tensor holds one set of prompts."""
        preprocessing = self._card.preprocessing
        result: dict[str, Tensor] = {}
        if len(prompts.points_xy):
            result["points"] = self._tensor(xy_to_input(prompts.points_xy, image_shape, preprocessing))[None]
            result["labels"] = torch.tensor(prompts.point_labels, device=self._device)[None]
        if prompts.box_xyxy is not None:
            corners = xy_to_input(prompts.box_xyxy.reshape(2, 2), image_shape, preprocessing)
            result["boxes"] = self._tensor(corners).view(1, 4)
        if prompts.low_res_logits is not None:
            if not np.isfinite(prompts.low_res_logits).all():
                raise PromptError("low_res_logits must be finite; give them as the model gave them")
            result["masks"] = self._tensor(prompts.low_res_logits)[None, None]
        elif prompts.mask_logits is not None:
            result["masks"] = self._shrink(self._tensor(prompts.mask_logits).clamp(-LOGIT_LIMIT, LOGIT_LIMIT))
        return result

    def _shrink(self, mask: Tensor) -> Tensor:
        """Bring ``(H, W)`` logits to ``(1, 1, s, s)`` as the decoder gives them; the padding is outside."""
        if self._card.preprocessing.resize == "longest_side":
            longest = max(mask.shape)
            outside = min(float(mask.min()), 0.0)
            mask = F.pad(mask, (0, longest - mask.shape[1], 0, longest - mask.shape[0]), value=outside)
        side = self._sam.prompt_encoder.mask_side
        return F.interpolate(mask[None, None], (side, side), mode="bilinear", antialias=True)

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.tensor(np.asarray(array, np.float32), device=self._device)


def build_sam(card: ModelCard, weights: Path | None, device: str) -> SamModel:
    """Build SAM from its card and a weights file.

    Parameters
    ----------
    card : ModelCard
        Its ``options`` are the kind and the sizes of the image encoder, as `Sam` takes them.
    weights : Path or None
        In the published layout, or in Hugging Face's.
    device : str

    Returns
    -------
    SamModel

    Raises
    ------
    WeightsError
        If there is no file, it cannot be read safely, or it is of another model.

    Examples
    --------
    >>> from voxsam.models.registry import card
    >>> build_sam(card("sam-vit-b"), None, "cpu")
    Traceback (most recent call last):
    voxsam.errors.WeightsError: sam-vit-b needs a weights file, sam_vit_b_01ec64.pth; none was given
    """
    if weights is None:
        name = f", {card.weights.filename}" if card.weights else ""
        raise WeightsError(f"{card.name} needs a weights file{name}; none was given")
    sam = empty_sam(card.preprocessing, card.options)
    load_state(sam, sam_names(read_state(weights)), source=weights, model=card.name)
    fold_norms(sam)
    return SamModel(card, sam, device)


def empty_sam(preprocessing: Preprocessing, options: Mapping[str, Any]) -> Sam:
    """Build the network without memory for its weights: they come from the file."""
    with torch.device("meta"):
        return Sam(preprocessing, **options)
