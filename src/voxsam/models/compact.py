"""The embedded default, compact, as a promptable model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxsam.errors import ModelError, PromptError, WeightsError
from voxsam.models.adapters import adapted_state, is_adapter
from voxsam.models.base import Embedding, FloatArray, Memory, ModelCard, SliceLogits, SlicePrompts
from voxsam.models.compact_encoder import CHANNELS, STRIDES
from voxsam.models.compact_export import compact_graphs
from voxsam.models.compact_memory import MemoryBatch, looks_of
from voxsam.models.compact_network import CompactNetwork
from voxsam.models.compact_prior import LOOSE, TIGHT, answer_in_box
from voxsam.models.compact_prompts import PromptBatch
from voxsam.models.onnx_graph import OnnxGraph
from voxsam.models.preprocessing import check_pixels, check_prompts_on, resized_shape
from voxsam.models.runtime import Part, Runtime
from voxsam.models.weights import ensure, load_state, read_state, state_sha256

__all__ = ["CompactModel", "build_compact"]

MULTIPLE_PX = 16  # the coarsest features
MEMORY_SLOTS = 3
MEMORY_PARTS = {"match", "inside", "object_looks", "surrounding_looks"}
PADDING_LABEL = -1
BATCH_ON_A_GPU = 32  # views; halved where the memory does not suffice
LOGIT_LIMIT = 20.0  # as in training; a fill of -1e4 outside a region says no more
#: Of the decoder's inputs: points, and the height and width of maps.
FREE_AXES = {
    "features.*": (2, 3), "prompts.points_xy": (2,), "prompts.point_labels": (2,), "prompts.mask_logits": (2, 3),
    "prompts.memory.match": (2, 3), "prompts.memory.inside": (2, 3),
}  # fmt: skip


class CompactModel:
    """A `CompactNetwork` as a `PromptableModel` and a `TrackingModel`.

    Parameters
    ----------
    card : ModelCard
    network : CompactNetwork
        With its weights, and `CompactNetwork.fold` applied.
    device : str
        Where it runs, as torch names it.

    Examples
    --------
    >>> from voxsam.models.registry import card
    >>> model = CompactModel(card("compact"), CompactNetwork().eval().fold())
    >>> embedding = model.encode(np.zeros((30, 40, 3), np.float32))
    >>> answer = model.decode(embedding, SlicePrompts(box_xyxy=[5, 5, 20, 20]), multimask=True)
    >>> answer.logits.shape, answer.scores.shape, answer.low_res_logits.shape
    ((3, 30, 40), (3,), (3, 96, 128))
    """

    def __init__(self, card: ModelCard, network: CompactNetwork, device: str = "cpu") -> None:
        self._card = card
        self._device = torch.device(device)
        network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.eval().requires_grad_(False)
        self.runtime = Runtime(device=device)
        self.batch_size = BATCH_ON_A_GPU if self._device.type == "cuda" else 1
        self.parts = {"encoder": Part(network.encoder, {"images": (2, 3)}), "decoder": Part(network.decode, FREE_AXES)}

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        return self._card

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights in use."""
        return state_sha256(self._network.state_dict())

    @property
    def network(self) -> CompactNetwork:
        """The network, for those who want to go beneath `encode` and `decode`."""
        return self._network

    def onnx_graphs(self, *, single_mask: bool = False) -> dict[str, OnnxGraph]:
        """Describe the network as graphs; see `compact_graphs`."""
        size = self._card.preprocessing.input_size
        return compact_graphs(self._network, input_size=size, single_mask=single_mask)

    def encode(self, pixels: FloatArray) -> Embedding:
        """Run the image encoder.

        Parameters
        ----------
        pixels : (H, W, 3) float array in 0..1

        Returns
        -------
        Embedding
            Its features are (C, h, w) tensors on the model's device, named as in `compact_network.CHANNELS`.

        Raises
        ------
        InputError
            If shape, type or range do not fit.
        """
        return self.encode_batch([pixels])[0]

    @torch.no_grad()
    def encode_batch(self, views: Sequence[FloatArray]) -> list[Embedding]:
        """Encode several views at once, which pays on a GPU; those of another shape follow in their own batch."""
        checked = [check_pixels(pixels) for pixels in views]
        shapes = [(pixels.shape[0], pixels.shape[1]) for pixels in checked]
        encoded: dict[int, Embedding] = {}
        for shape in dict.fromkeys(shapes):
            chosen = [index for index, other in enumerate(shapes) if other == shape]
            images = torch.cat([self._image(checked[index]) for index in chosen])
            features = self.parts["encoder"].run(images.contiguous(memory_format=torch.channels_last))
            for place, index in enumerate(chosen):
                encoded[index] = Embedding({name: feature[place] for name, feature in features.items()}, shape)
        return [encoded[index] for index in range(len(views))]

    def _image(self, pixels: FloatArray) -> Tensor:
        """Bring a view to the network's input: (1, 3, h, w), padded."""
        image_shape = (pixels.shape[0], pixels.shape[1])
        image = torch.tensor(pixels, device=self._device).permute(2, 0, 1)[None]
        image = F.interpolate(
            image, resized_shape(image_shape, self._card.preprocessing), mode="bilinear", antialias=True
        )
        return pad_to(image, self._input_shape(image_shape))

    @torch.no_grad()
    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        """Answer prompts on an encoded view.

        Parameters
        ----------
        embedding : Embedding
            Of this model; its features may be numpy arrays, in half precision too.
        prompts : SlicePrompts
        multimask : bool
            True: the three alternatives, as the decoder orders them. False: the one answer.

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
        return self._answer(self._features(embedding), embedding.image_shape, prompts, None, multimask=multimask)

    @property
    def memory_slots(self) -> int:
        """How many memories `track` makes use of: the nearest for places, all of them for looks."""
        return MEMORY_SLOTS

    @torch.no_grad()
    def remember(self, embedding: Embedding, mask_logits: FloatArray, *, prompted: bool, pointer: Any = None) -> Memory:
        """Make a memory of a view and its answer.

        Parameters
        ----------
        embedding : Embedding
            Of this model.
        mask_logits : (H, W) float array
            On the view's own pixels; positive inside.
        prompted : bool
        pointer : Any
            Not used.

        Returns
        -------
        Memory

        Raises
        ------
        ModelError
            If the embedding is another model's.
        PromptError
            If the mask has another shape than the view.
        """
        del pointer  # the masks say it all
        known = SlicePrompts(mask_logits=np.asarray(mask_logits, np.float32))
        check_prompts_on(known, embedding.image_shape, (0, 0))
        match = self._features(embedding)["match"]
        mask = self._mask(known, embedding.image_shape)
        if mask is None:
            raise PromptError("a memory needs a mask; none was given")
        inside = F.avg_pool2d(mask.sigmoid()[None, None], 2)
        objects, surroundings = looks_of(match, inside)
        parts = {"match": match, "inside": inside, "object_looks": objects, "surrounding_looks": surroundings}
        return Memory(parts, prompted)

    @torch.no_grad()
    def track(
        self,
        embedding: Embedding,
        memories: Sequence[tuple[int, Memory]],
        prompts: SlicePrompts | None = None,
    ) -> SliceLogits:
        """Find on a view what the memories show; see `TrackingModel.track`.

        Raises
        ------
        ModelError
            If the embedding is another model's, there is no memory, or a memory is of a view of another shape.
        """
        if not memories:
            raise ModelError(f"{self._card.name} was asked to track without a memory; call decode, or remember a view")
        features = self._features(embedding)
        shown = [(offset, self._recalled(memory)) for offset, memory in memories]
        nearest = min(shown, key=lambda memory: abs(memory[0]))[1]
        if nearest["match"].shape != features["match"].shape:
            raise ModelError(
                f"the memory is of a view whose features are {tuple(nearest['match'].shape)}, this view's are "
                f"{tuple(features['match'].shape)}; remember the same region of the other slice"
            )
        objects, surroundings = (
            torch.stack([memory[name] for _, memory in sorted(shown, key=lambda memory: memory[0])]).mean(0)
            for name in ("object_looks", "surrounding_looks")
        )
        given = torch.ones(1, 1, dtype=torch.bool, device=self._device)
        memory = MemoryBatch(nearest["match"], nearest["inside"], objects, surroundings, given)
        return self._answer(features, embedding.image_shape, prompts, memory)

    def _recalled(self, memory: Memory) -> dict[str, Tensor]:
        """Bring a memory back to the device, from wherever it was kept."""
        if set(memory.features) != MEMORY_PARTS:
            raise ModelError(f"{self._card.name} needs its own memory; got one of {sorted(memory.features)}")
        return {
            name: (found if isinstance(found, Tensor) else torch.tensor(np.asarray(found))).to(
                self._device, torch.float32
            )
            for name, found in memory.features.items()
        }

    def _answer(
        self,
        features: dict[str, Tensor],
        image_shape: tuple[int, int],
        prompts: SlicePrompts | None,
        memory: MemoryBatch | None,
        *,
        multimask: bool = False,
    ) -> SliceLogits:
        height, width = self._input_shape(image_shape)
        if prompts is not None:
            check_prompts_on(prompts, image_shape, (height // 2, width // 2))
        batch = self._batch(prompts, image_shape, memory)
        answers, scores = self.parts["decoder"].run(features, batch)
        low_res, scores = answers[0, 0].float(), scores[0, 0].float()
        if prompts is not None and prompts.box_xyxy is not None and memory is None and not multimask:
            boxed = answer_in_box(
                low_res,
                scores,
                batch.boxes_xyxy[0, 0],
                batch.points_xy[0, 0],
                batch.point_labels[0, 0],
                rules=TIGHT if prompts.box_is_tight else LOOSE,
            )
            low_res, scores = boxed.logits[None], boxed.score[None]
        else:
            chosen = slice(1, None) if multimask else slice(0, 1)
            low_res, scores = low_res[chosen], scores[chosen]
        return SliceLogits(self._to_view(low_res, image_shape), scores.cpu().numpy(), low_res.cpu().numpy())

    def _input_shape(self, image_shape: tuple[int, int]) -> tuple[int, int]:
        """Shape of the network's input for a view: its longer side scaled, both sides padded no more than needed."""
        height, width = resized_shape(image_shape, self._card.preprocessing)
        return -(-height // MULTIPLE_PX) * MULTIPLE_PX, -(-width // MULTIPLE_PX) * MULTIPLE_PX

    def _features(self, embedding: Embedding) -> dict[str, Tensor]:
        height, width = self._input_shape(embedding.image_shape)
        expected = {name: (CHANNELS[name], height // step, width // step) for name, step in STRIDES.items()}
        came = {name: tuple(value.shape) for name, value in embedding.features.items()}
        if came != expected:
            raise ModelError(
                f"{self._card.name} needs its own embedding, {expected}; got {came}. "
                "Encode the view again with this model."
            )
        return {name: self._feature(embedding.features[name]) for name in expected}

    def _feature(self, found: Any) -> Tensor:
        # a copy of an array: it may be read-only, as those mapped from a file are
        tensor = found if isinstance(found, Tensor) else torch.tensor(np.asarray(found))
        return tensor.to(self._device, torch.float32)[None].contiguous(memory_format=torch.channels_last)

    def _batch(
        self, prompts: SlicePrompts | None, image_shape: tuple[int, int], memory: MemoryBatch | None
    ) -> PromptBatch:
        # the last point is padding: the network needs at least one
        given = np.zeros((0, 2), np.float32) if prompts is None else prompts.points_xy
        points = self._to_input(np.concatenate([given, np.zeros((1, 2), np.float32)]), image_shape)
        known = [] if prompts is None else prompts.point_labels.tolist()
        labels = torch.tensor([*known, PADDING_LABEL], device=self._device)
        box = None if prompts is None else prompts.box_xyxy
        mask = None if prompts is None else self._mask(prompts, image_shape)
        corners = np.zeros((2, 2), np.float32) if box is None else box.reshape(2, 2)
        height, width = self._input_shape(image_shape)
        shape = (1, 1, height // 2, width // 2)
        return PromptBatch(
            points.view(1, 1, -1, 2),
            labels.view(1, 1, -1),
            self._to_input(corners, image_shape).view(1, 1, 4),
            torch.tensor([[box is not None]], device=self._device),
            torch.zeros(shape, device=self._device) if mask is None else mask.view(shape),
            torch.tensor([[mask is not None]], device=self._device),
            memory,
        )

    def _to_input(self, points_xy: FloatArray, image_shape: tuple[int, int]) -> Tensor:
        """Move pixel centres of the view to the network's input, where pixel centres are whole numbers too."""
        height, width = resized_shape(image_shape, self._card.preprocessing)
        scale_xy = np.array([width / image_shape[1], height / image_shape[0]])
        moved = (np.asarray(points_xy, np.float64) + 0.5) * scale_xy - 0.5
        return torch.tensor(moved, dtype=torch.float32, device=self._device)

    def _mask(self, prompts: SlicePrompts, image_shape: tuple[int, int]) -> Tensor | None:
        """Return an earlier answer as the decoder gives it, (h, w); None if there is none."""
        if prompts.low_res_logits is not None:
            if not np.isfinite(prompts.low_res_logits).all():
                raise PromptError("low_res_logits must be finite; give them as the model gave them")
            return torch.tensor(prompts.low_res_logits, device=self._device).float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        if prompts.mask_logits is None:
            return None
        mask = torch.tensor(prompts.mask_logits, device=self._device).float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        resized = F.interpolate(
            mask[None, None], resized_shape(image_shape, self._card.preprocessing), mode="bilinear", antialias=True
        )
        outside = min(float(mask.min()), 0.0)
        return F.avg_pool2d(pad_to(resized, self._input_shape(image_shape), value=outside), 2)[0, 0]

    def _to_view(self, low_res: Tensor, image_shape: tuple[int, int]) -> FloatArray:
        """Bring (M, h, w) logits to the view's pixels: enlarge to the input, cut the padding, resize."""
        height, width = resized_shape(image_shape, self._card.preprocessing)
        full = F.interpolate(low_res[None], self._input_shape(image_shape), mode="bilinear", align_corners=False)
        logits = F.interpolate(full[..., :height, :width], image_shape, mode="bilinear", align_corners=False)
        return np.asarray(logits[0].cpu().numpy(), np.float32)


def build_compact(card: ModelCard, weights: Path | None, device: str) -> CompactModel:
    """Build the embedded default from its card and its weights file.

    Parameters
    ----------
    card : ModelCard
    weights : Path or None
        As ``python -m voxsam.training export`` writes it, or ``voxsam finetune``.
    device : str

    Returns
    -------
    CompactModel

    Raises
    ------
    WeightsError
        If there is no file, it cannot be read safely, or it is of another model.

    Examples
    --------
    >>> from voxsam.models.registry import card
    >>> build_compact(card("compact"), None, "cpu")
    Traceback (most recent call last):
    voxsam.errors.WeightsError: compact needs its weights file, compact.safetensors; none was given
    """
    if weights is None:
        raise WeightsError(f"{card.name} needs its weights file, {card.name}.safetensors; none was given")
    network = CompactNetwork().eval().fold()
    state = read_state(weights)
    if is_adapter(weights):
        state = adapted_state(weights, read_state(ensure(card)))
    load_state(network, state, source=weights, model=card.name)
    return CompactModel(card, network, device)


def pad_to(image: Tensor, shape: tuple[int, int], *, value: float = 0.0) -> Tensor:
    """Pad (..., h, w) at the bottom and right."""
    return F.pad(image, (0, shape[1] - image.shape[-1], 0, shape[0] - image.shape[-2]), value=value)
