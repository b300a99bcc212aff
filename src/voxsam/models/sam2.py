"""SAM 2.1 and MedSAM2: promptable on one view, and tracking from view to view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxsam.errors import ModelError, PromptError, WeightsError
from voxsam.models.base import Embedding, FloatArray, Memory, ModelCard, SliceLogits, SlicePrompts
from voxsam.models.preprocessing import check_pixels, check_prompts_on, input_pixels, xy_to_input
from voxsam.models.runtime import Part, Runtime
from voxsam.models.sam2_keys import from_published
from voxsam.models.sam2_memories import chosen_memories
from voxsam.models.sam2_network import Answer, Sam2Network, empty_network
from voxsam.models.weights import load_state, read_state, state_sha256

__all__ = ["Sam2Model", "build_sam2"]

LOGIT_LIMIT = 32.0  # SAM's own logits stay below; a fill of -1e4 outside a region says no more than -32
ABSENT_LOGIT = -1024.0  # as published, where the object is not in the view
CORNER_LABELS = (2, 3)
BATCH_ON_A_GPU = 4  # views that are encoded together


@dataclass(frozen=True, eq=False)
class OwnAnswer:
    """What `SliceLogits.pointer` holds: an answer as the decoder gave it, to know it again in `Sam2Model.remember`."""

    answer: Answer


class Sam2Model:
    """SAM 2 as a `TrackingModel`, preprocessed and decoded as the published predictors do.

    How `track` uses memories, as published: every prompted one (of more than `memory_slots`, the nearest), as if
    it were no distance away; unprompted ones up to 6 slices away, with their distance; and, of all up to 15 slices
    away that lie where tracking comes from, a pointer: the object in a few numbers. Tracking comes from where the
    unprompted memories lie, or else the nearest prompted one; it may come from both sides. Distances of pointers are
    told as in a scan of at least 16 slices (the published predictor stretches those of shorter videos).

    Parameters
    ----------
    card : ModelCard
        Its views are stretched to the square input.
    module : transformers.Sam2VideoModel
        With its weights.
    device : str
        Where it runs, as torch names it.

    Examples
    --------
    >>> model = Sam2Model(card, module)  # doctest: +SKIP
    >>> here, above = (model.encode(pixels) for pixels in views)  # doctest: +SKIP
    >>> answer = model.decode(here, SlicePrompts(box_xyxy=[5, 5, 20, 20]))  # doctest: +SKIP
    >>> memory = model.remember(here, answer.logits[0], prompted=True, pointer=answer.pointer)  # doctest: +SKIP
    >>> model.track(above, [(-1, memory)]).logits.shape  # doctest: +SKIP
    (1, 512, 512)
    """

    def __init__(self, card: ModelCard, module: Any, device: str = "cpu") -> None:
        self._card = card
        self._device = torch.device(device)
        self._network = Sam2Network(module, self._device)
        self.runtime = Runtime(device=device)
        self.batch_size = BATCH_ON_A_GPU if self._device.type == "cuda" else 1
        self.parts = {"encoder": Part(self._network.encoder)}
        mean, std = card.preprocessing.mean, card.preprocessing.std
        self._mean = torch.tensor(mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self._device).view(1, 3, 1, 1)

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        return self._card

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights in use, whichever layout their file had."""
        return state_sha256(self._network.module.state_dict())

    @property
    def memory_slots(self) -> int:
        """How many memories `track` makes use of: what pointers reach, and the view they start from."""
        return self._network.pointer_reach + 1

    def encode(self, pixels: FloatArray) -> Embedding:
        """Run the image encoder.

        Parameters
        ----------
        pixels : (H, W, 3) float array in 0..1

        Returns
        -------
        Embedding
            Its features ``"image"``, ``"fine"`` and ``"finest"`` are (C, h, w) tensors on the model's device.

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
        features = self.parts["encoder"].run(torch.cat([self._image(pixels) for pixels in checked]))
        return [
            Embedding({name: maps[i] for name, maps in features.items()}, (pixels.shape[0], pixels.shape[1]))
            for i, pixels in enumerate(checked)
        ]

    @torch.no_grad()
    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        """Answer prompts on an encoded view.

        Parameters
        ----------
        embedding : Embedding
            Of this model; its features may be numpy arrays, in half precision too.
        prompts : SlicePrompts
        multimask : bool
            True: the three masks for an ambiguous prompt, in the decoder's order. False: the one for a clear prompt,
            or the best of the three where that one is not stable.

        Returns
        -------
        SliceLogits
            Its pointer belongs to all of its masks; `remember` finds the one that was chosen.

        Raises
        ------
        PromptError
            If a mask prompt has another shape, a label is unknown, or a number is not finite.
        ModelError
            If the embedding is another model's.
        """
        features = self._features(embedding)
        asked = self._asked(prompts, embedding.image_shape)
        image = self._network.without_memory(features["image"])
        return self._logits(self._network.answer(image, features, *asked, multimask=multimask), embedding.image_shape)

    @torch.no_grad()
    def remember(self, embedding: Embedding, mask_logits: FloatArray, *, prompted: bool, pointer: Any = None) -> Memory:
        """Make a memory of a view and its answer.

        An answer of this model's, known by its pointer and still as it was, is remembered as the decoder gave it. Any
        other mask is taken as drawn, and gets a pointer of its own.

        Parameters
        ----------
        embedding : Embedding
            Of this model.
        mask_logits : (H, W) float array
            The answer on the view's own pixels; positive inside.
        prompted : bool
            True: the mask is sharp, what is positive is inside. False: as likely as it says.
        pointer : Any
            `SliceLogits.pointer` of the answer.

        Returns
        -------
        Memory

        Raises
        ------
        PromptError
            If the mask has another shape or holds NaN.
        ModelError
            If the embedding, or the pointer, is another model's.
        """
        features = self._features(embedding)
        check_prompts_on(SlicePrompts(mask_logits=mask_logits), embedding.image_shape, (0, 0))
        mask = self._tensor(mask_logits).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        own = self._recognised(mask, pointer)
        drawn_in = bool((mask > 0).any())
        if own is None:
            logits, present = self._squashed(mask), drawn_in
            drawn = (self._squashed((mask > 0).to(mask)) >= 0.5).to(mask)
            inside = drawn if prompted else logits.sigmoid()
            shown = self._network.drawn_pointer(features["image"], features, drawn) if present else None
        else:
            logits = self._network.enlarged(own.masks[None])
            present = bool(own.presence > 0) or (prompted and drawn_in)
            inside = (logits > 0).to(logits) if prompted else logits.sigmoid()
            shown = self._network.pointer(own.tokens[0]) if present else None
        spatial = self._network.memory(features["image"], inside, present=present)
        return Memory(
            {"spatial": spatial, "pointer": self._network.absent_pointer() if shown is None else shown}, prompted
        )

    @torch.no_grad()
    def track(
        self,
        embedding: Embedding,
        memories: Sequence[tuple[int, Memory]],
        prompts: SlicePrompts | None = None,
    ) -> SliceLogits:
        """Find on a view what the memories show.

        Parameters
        ----------
        embedding : Embedding
            Of the view that is asked about.
        memories : sequence of (int, Memory)
            With the number of slices from this view to the remembered one: negative before it, positive after it.
        prompts : SlicePrompts, optional
            What else is known about this view.

        Returns
        -------
        SliceLogits
            One mask; all -1024 where the object is not in this view.

        Raises
        ------
        PromptError
            If the prompts do not fit the view.
        ModelError
            If there are no memories, or the embedding or a memory is another model's.
        """
        if not memories:
            raise ModelError(f"{self._card.name} needs a memory to track by; remember a view whose answer is known")
        features = self._features(embedding)
        asked = self._asked(prompts, embedding.image_shape) if prompts is not None else (None, None, None)
        spatial, pointers = chosen_memories(
            [(offset, memory.prompted) for offset, memory in memories],
            slots=self.memory_slots,
            memory_reach=self._network.memory_reach,
            pointer_reach=self._network.pointer_reach,
        )
        image = self._network.with_memory(
            features["image"],
            [(distance, self._remembered(memories[i][1], "spatial")) for distance, i in spatial],
            [(distance, self._remembered(memories[i][1], "pointer")) for distance, i in pointers],
        )
        points = 0 if asked[0] is None else len(asked[0])
        answer = self._network.answer(image, features, *asked, multimask=self._network.wants_multimask(points))
        best = int(answer.scores.argmax())
        masks = answer.masks[best : best + 1]
        one = Answer(
            torch.where(answer.presence > 0, masks, ABSENT_LOGIT),
            answer.scores[best : best + 1],
            answer.tokens[best : best + 1],
            answer.presence,
        )
        return self._logits(one, embedding.image_shape)

    def _image(self, pixels: FloatArray) -> Tensor:
        """Bring a view to the input: (1, 3, s, s), normalised."""
        resized = torch.tensor(input_pixels(pixels, self._card.preprocessing), device=self._device)
        image = resized.permute(2, 0, 1)[None] / 255
        return ((image - self._mean) / self._std).to(self._network.dtype)

    def _logits(self, answer: Answer, image_shape: tuple[int, int]) -> SliceLogits:
        return SliceLogits(
            self._to_view(answer.masks, image_shape).float().cpu().numpy(),
            answer.scores.float().cpu().numpy(),
            answer.masks.float().cpu().numpy(),
            OwnAnswer(answer),
        )

    def _to_view(self, masks: Tensor, image_shape: tuple[int, int]) -> Tensor:
        """Bring ``(M, h, w)`` logits of the decoder to ``(M, H, W)`` of the view."""
        return F.interpolate(masks[None], image_shape, mode="bilinear", align_corners=False)[0]

    def _squashed(self, mask: Tensor, side: int | None = None) -> Tensor:
        """Bring ``(H, W)`` values of the view to ``(1, 1, s, s)`` of the input."""
        side = side or self._network.input_size
        return F.interpolate(mask[None, None], (side, side), mode="bilinear", antialias=True)

    def _recognised(self, mask: Tensor, pointer: Any) -> Answer | None:
        """Return the one answer whose mask this is; None if it is none of them."""
        if pointer is None:
            return None
        if not isinstance(pointer, OwnAnswer):
            raise ModelError(
                f"{self._card.name} needs the pointer of its own answer, or none; got {type(pointer).__name__}"
            )
        answer = pointer.answer
        shown = self._to_view(answer.masks, (mask.shape[0], mask.shape[1])) > 0
        for index in range(len(shown)):
            if torch.equal(shown[index], mask > 0):
                one = slice(index, index + 1)
                return Answer(answer.masks[one], answer.scores[one], answer.tokens[one], answer.presence)
        return None

    def _features(self, embedding: Embedding) -> dict[str, Tensor]:
        expected = self._network.feature_shapes
        came = {name: tuple(value.shape) for name, value in embedding.features.items()}
        if came != expected:
            raise ModelError(
                f"{self._card.name} needs its own embedding, {expected}; got {came}. "
                "Encode the view again with this model."
            )
        return {name: self._tensor(embedding.features[name])[None] for name in expected}

    def _remembered(self, memory: Memory, name: str) -> Tensor:
        expected = {"spatial": self._network.memory_shape, "pointer": (self._network.channels,)}
        came = {key: tuple(value.shape) for key, value in memory.features.items()}
        if came != expected:
            raise ModelError(
                f"{self._card.name} needs its own memory, {expected}; got {came}. Remember the view with this model."
            )
        return self._tensor(memory.features[name])

    def _asked(
        self, prompts: SlicePrompts, image_shape: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Move prompts to the input: positions, labels, mask. The corners of a box are points of their own kind."""
        side = self._network.mask_side
        check_prompts_on(prompts, image_shape, (side, side))
        corners = np.zeros((0, 2)) if prompts.box_xyxy is None else prompts.box_xyxy.reshape(2, 2)
        points = np.concatenate([corners, prompts.points_xy])
        labels = [*CORNER_LABELS[: len(corners)], *prompts.point_labels.tolist()]
        mask = None
        if prompts.low_res_logits is not None:
            if not np.isfinite(prompts.low_res_logits).all():
                raise PromptError("low_res_logits must be finite; give them as the model gave them")
            mask = self._tensor(prompts.low_res_logits)[None, None]
        elif prompts.mask_logits is not None:
            mask = self._squashed(self._tensor(prompts.mask_logits).clamp(-LOGIT_LIMIT, LOGIT_LIMIT), side)
        if not labels:
            return None, None, mask
        moved = xy_to_input(points.astype(np.float32), image_shape, self._card.preprocessing)
        return self._tensor(moved), torch.tensor(labels, device=self._device), mask

    def _tensor(self, values: Any) -> Tensor:
        # a copy of an array: it may be read-only, as those mapped from a file are
        tensor = values if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
        return tensor.to(self._device, self._network.dtype)


def build_sam2(card: ModelCard, weights: Path | None, device: str) -> Sam2Model:
    """Build SAM 2 from its card and a weights file.

    Parameters
    ----------
    card : ModelCard
        Its ``options`` are the sizes of the image encoder, as `empty_network` takes them.
    weights : Path or None
        A state dict in the published layout, or in that of transformers.
    device : str

    Returns
    -------
    Sam2Model

    Raises
    ------
    ModelError
        If transformers is not installed.
    WeightsError
        If there is no file, it cannot be read safely, or it is of another model.

    Examples
    --------
    >>> from voxsam.models.registry import card
    >>> build_sam2(card("sam2.1-tiny"), None, "cpu")
    Traceback (most recent call last):
    voxsam.errors.WeightsError: sam2.1-tiny needs a weights file, sam2.1_hiera_tiny.pt; none was given
    """
    if weights is None:
        name = f", {card.weights.filename}" if card.weights else ""
        raise WeightsError(f"{card.name} needs a weights file{name}; none was given")
    module = empty_network(card.preprocessing, **card.options)
    state = from_published(read_state(weights), module.state_dict().keys())
    load_state(module, state, source=weights, model=card.name)
    return Sam2Model(card, module, device)
