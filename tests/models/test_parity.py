"""Each model against an independent implementation: the same file, the same view, the same answers.

The networks are those of the packages ``segment-anything``, ``mobilesam-mirror`` and ``transformers``; the way of a
view to them and of a mask back is spelt out here from each checkpoint's published inference script.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import transform
from torch import Tensor, nn
from torch.nn import functional as F

from independent_sam import decoded, tiny_sam, vit_sam
from sam_reference import random_sam, reference_for
from voxsam.models.base import Embedding, Preprocessing, SliceLogits, SlicePrompts
from voxsam.models.checkpoints import looks_like, sam_names
from voxsam.models.registry import CARDS
from voxsam.models.sam import SamModel, build_sam, empty_sam

torch.set_num_threads(1)

TOLERANCE = 1e-4
View = npt.NDArray[np.uint8]

POINTS, LABELS = np.array([[200.0, 130.0], [31.0, 205.0]], np.float32), np.array([1, 0])
BOX = np.array([120.0, 60.0, 330.5, 222.0], np.float32)
PROMPTS = {
    "a point": SlicePrompts(POINTS[:1], LABELS[:1]),
    "points": SlicePrompts(POINTS, LABELS),
    "a box": SlicePrompts(box_xyxy=BOX),
    "points and a box": SlicePrompts(POINTS, LABELS, BOX),
}


def grey_view(shape: tuple[int, int], seed: int = 0) -> View:
    """A dim, smooth picture, as a window leaves it."""
    noise = np.random.default_rng(seed).random((shape[0] // 8 + 2, shape[1] // 8 + 2))
    smooth = transform.resize(noise, shape, order=1)
    return np.repeat((30 + 150 * smooth).astype(np.uint8)[..., None], 3, axis=2)


def worst(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert b.std() > 0.02  # alive: an idle network would agree for free
    return float(np.abs(a - b).max())


# ── how each published script goes about a view ──────────────────────────────


def sam_input(sam: Any, image: View) -> tuple[Tensor, tuple[int, int]]:
    """Resize the longest side by Pillow; mean, deviation and padding are the network's own."""
    size = sam.image_encoder.img_size
    scale = size / max(image.shape[:2])
    h, w = (int(side * scale + 0.5) for side in image.shape[:2])
    resized = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
    return sam.preprocess(torch.tensor(resized).permute(2, 0, 1)[None].float()), (h, w)


def micro_sam_input(sam: Any, image: View) -> tuple[Tensor, tuple[int, int]]:
    """Stretch each channel from its darkest to its brightest pixel, cut to 8 bits, then as SAM."""
    stretched = image.astype("float32")
    stretched -= stretched.min(axis=(0, 1))
    stretched /= stretched.max(axis=(0, 1)) + 1e-7
    return sam_input(sam, (stretched * 255).astype("uint8"))


def medsam_input(sam: Any, image: View) -> tuple[Tensor, tuple[int, int]]:
    """Squash to the square by scikit-image's cubic spline, stretch to 0..1."""
    size = sam.image_encoder.img_size
    square = transform.resize(image, (size, size), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    unit = (square - square.min()) / max(square.max() - square.min(), 1e-8)
    return torch.tensor(unit).permute(2, 0, 1)[None].float(), (size, size)


def lite_medsam_input(sam: Any, image: View) -> tuple[Tensor, tuple[int, int]]:
    """Halve a view of 512 by the mean of 2 x 2 pixels (OpenCV's area filter), stretch to 0..1, pad with zeros."""
    h, w = image.shape[0] // 2, image.shape[1] // 2
    assert w == 256
    halved = (image.reshape(h, 2, w, 2, 3).astype(int).sum(axis=(1, 3)) + 2) // 4
    unit = (halved - halved.min()) / max(halved.max() - halved.min(), 1e-8)
    padded = np.pad(unit, ((0, 256 - h), (0, 256 - w), (0, 0)))
    return torch.tensor(padded).permute(2, 0, 1)[None].float(), (h, w)


def at_scale(positions: npt.NDArray[np.float32], shape: tuple[int, int], resized: tuple[int, int]) -> Tensor:
    return torch.tensor(positions.reshape(-1, 2) * np.array([resized[1] / shape[1], resized[0] / shape[0]])).float()


def at_256_cut(positions: npt.NDArray[np.float32], shape: tuple[int, int], resized: tuple[int, int]) -> Tensor:
    return torch.tensor([[int(v * (256 / max(shape))) for v in pair] for pair in positions.reshape(-1, 2)]).float()


def enlarged(sam: Any, logits: Tensor, shape: tuple[int, int], resized: tuple[int, int]) -> Tensor:
    result: Tensor = sam.postprocess_masks(logits, resized, shape)
    return result


def enlarged_lite(sam: Any, logits: Tensor, shape: tuple[int, int], resized: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[..., : resized[0], : resized[1]], shape, mode="bilinear", align_corners=False)


def enlarged_shares(sam: Any, logits: Tensor, shape: tuple[int, int], resized: tuple[int, int]) -> Tensor:
    return F.interpolate(logits.sigmoid(), shape, mode="bilinear", align_corners=False)


# ── the pairs ────────────────────────────────────────────────────────────────


class Pair:
    """The same random weights: in the package's network, and in voxsam by way of the published file layout."""

    def __init__(
        self,
        name: str,
        sam: Any,
        folder: Path,
        *,
        shape: tuple[int, int] = (300, 411),
        to_input: Callable[..., Any] = sam_input,
        scaled: Callable[..., Tensor] = at_scale,
        to_view: Callable[..., Tensor] = enlarged,
        **changes: Any,
    ) -> None:
        known = CARDS[name]
        size = changes.pop("input_size", known.preprocessing.input_size)
        self.card = replace(
            known,
            preprocessing=replace(known.preprocessing, input_size=size),
            options=MappingProxyType({**known.options, **changes}),
        )
        self.sam, self.to_input, self.scaled, self.to_view = sam, to_input, scaled, to_view
        self.image = grey_view(shape)
        file = folder / "published.pth"
        torch.save({key: value for key, value in sam.state_dict().items() if not key.startswith("pixel_")}, file)
        self.model: SamModel = build_sam(self.card, file, "cpu")
        self.embedding: Embedding = self.model.encode(self.image.astype(np.float32) / 255)
        with torch.no_grad():
            inputs, self.resized = to_input(sam, self.image)
            self.features: Tensor = sam.image_encoder(inputs)

    def expected(self, prompts: SlicePrompts, *, multimask: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Ask the package: masks on the view, scores, low-resolution logits."""
        shape = (self.image.shape[0], self.image.shape[1])
        asked: dict[str, Tensor] = {}
        if len(prompts.points_xy):
            asked["points"] = self.scaled(prompts.points_xy, shape, self.resized)[None]
            asked["labels"] = torch.tensor(prompts.point_labels)[None]
        if prompts.box_xyxy is not None:
            asked["boxes"] = self.scaled(prompts.box_xyxy, shape, self.resized).reshape(1, 4)
        if prompts.low_res_logits is not None:
            asked["masks"] = torch.tensor(prompts.low_res_logits)[None, None]
        with torch.no_grad():
            low_res, scores = decoded(self.sam, self.features, multimask=multimask, **asked)
            return self.to_view(self.sam, low_res, shape, self.resized)[0], scores[0], low_res[0]


VITS = {
    "sam-vit-b": {"width": 768, "depth": 2, "heads": 12, "global_blocks": (1,), "input_size": 256},
    "sam-vit-l": {"width": 1024, "depth": 2, "heads": 16, "global_blocks": (1,), "input_size": 256},
    "sam-vit-h": {"width": 1280, "depth": 2, "heads": 16, "global_blocks": (1,), "input_size": 256},
    "medsam": {"width": 768, "depth": 2, "heads": 12, "global_blocks": (1,), "input_size": 256},
    "micro-sam-vit-b-medical": {"width": 768, "depth": 2, "heads": 12, "global_blocks": (1,), "input_size": 256},
}
WAYS: dict[str, dict[str, Any]] = {
    "medsam": {"to_input": medsam_input, "to_view": enlarged_shares},
    "micro-sam-vit-b-medical": {"to_input": micro_sam_input},
    "lite-medsam": {
        "shape": (402, 512), "to_input": lite_medsam_input, "scaled": at_256_cut, "to_view": enlarged_lite,
    },
}  # fmt: skip
FAMILIES = (*VITS, "mobile-sam", "lite-medsam")


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    name, folder = request.param, tmp_path_factory.mktemp("published")
    if name in VITS:
        return Pair(name, vit_sam(**VITS[name]), folder, **WAYS.get(name, {}), **VITS[name])  # type: ignore[arg-type]
    return Pair(name, tiny_sam(**stem_of(name)), folder, **WAYS.get(name, {}))


def stem_of(name: str) -> dict[str, int]:
    return {"stem": 1} if name == "lite-medsam" else {}


def test_the_embedding_is_the_same(pair: Pair) -> None:
    assert worst(pair.embedding.features["image"], pair.features[0]) <= TOLERANCE


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("asked", PROMPTS)
def test_logits_masks_and_scores_are_the_same(pair: Pair, asked: str, multimask: bool) -> None:
    answer = pair.model.decode(pair.embedding, PROMPTS[asked], multimask=multimask)
    masks, scores, low_res = pair.expected(PROMPTS[asked], multimask=multimask)
    assert worst(answer.low_res_logits, low_res) <= TOLERANCE
    assert float(np.abs(answer.scores - scores.numpy()).max()) <= TOLERANCE
    compare_on_view(pair, answer, masks)


def test_an_answer_fed_back_gives_the_same(pair: Pair) -> None:
    earlier = pair.model.decode(pair.embedding, PROMPTS["a box"]).low_res_logits[0]
    again = SlicePrompts(POINTS, LABELS, low_res_logits=earlier)
    masks, scores, low_res = pair.expected(again, multimask=True)
    answer = pair.model.decode(pair.embedding, again, multimask=True)
    assert worst(answer.low_res_logits, low_res) <= TOLERANCE
    assert float(np.abs(answer.scores - scores.numpy()).max()) <= TOLERANCE
    compare_on_view(pair, answer, masks)


def compare_on_view(pair: Pair, answer: SliceLogits, masks: Tensor) -> None:
    if pair.card.preprocessing.mean_of == "probabilities":
        logits = torch.tensor(answer.logits)
        assert worst(logits.sigmoid(), masks) <= TOLERANCE
        assert float(((logits > 0) == (masks > 0.5)).float().mean()) > 0.9999
    else:
        assert worst(answer.logits, masks) <= TOLERANCE


# ── the published layouts ────────────────────────────────────────────────────


def published(name: str) -> nn.Module:
    """The package's network at its published size; without memory for what it holds, where it can be so built."""
    options = dict(CARDS[name].options)
    if options.pop("encoder", "vit") == "tiny-vit":
        return tiny_sam(**options)
    with torch.device("meta"):
        return vit_sam(**options)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_packages_names_and_shapes_are_those_that_the_card_loads(name: str) -> None:
    state = published(name).state_dict()
    card = CARDS[name]
    expected = empty_sam(card.preprocessing, card.options).state_dict()
    layout = sam_names(state)
    assert {key: tuple(value.shape) for key, value in layout.items()} == {
        key: tuple(value.shape) for key, value in expected.items()
    }
    assert name in looks_like(state)
    assert sum(value.numel() for value in layout.values()) / 1e6 == pytest.approx(card.parameters_m, abs=0.06)
    assert card.weights is not None
    held = sum(value.numel() * value.element_size() for key, value in state.items() if "pixel_" not in key)
    assert held / 1e6 == pytest.approx(card.weights.size_mb, rel=6e-3)  # and a little for the zip around them


# ── other layouts of the same weights ────────────────────────────────────────

SHALLOW = {"width": 96, "depth": 2, "heads": 3, "global_blocks": (1,)}


@pytest.mark.parametrize("tied", [True, False], ids=["as published", "with the table twice"])
def test_hugging_faces_layout_gives_the_same_model(tmp_path: Path, tied: bool) -> None:
    preprocessing = Preprocessing(256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    original = random_sam(preprocessing, **SHALLOW)
    reference = reference_for(original, **SHALLOW)
    state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    if tied:  # safetensors keeps one of two names of the same table
        del state["prompt_encoder.shared_embedding.positional_embedding"]
    save_file(state, tmp_path / "model.safetensors")
    card = replace(CARDS["sam-vit-b"], preprocessing=preprocessing, options=SHALLOW)
    model = build_sam(card, tmp_path / "model.safetensors", "cpu")
    assert model.weights_sha256 == SamModel(card, original).weights_sha256

    image = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    box = torch.tensor([[[40.0, 30.0, 200.0, 220.0]]])
    with torch.no_grad():
        features = model.sam.image_encoder(image)
        expected = reference(pixel_values=image, input_boxes=box, multimask_output=True)
        assert worst(features, reference.get_image_embeddings(image)) <= TOLERANCE
        tokens, maps = model.sam.prompt_encoder(boxes=box[0])
        positions = model.sam.prompt_encoder.image_positions()
        masks, scores = model.sam.mask_decoder(features, positions, tokens, maps, multimask=True)
    assert worst(masks, expected.pred_masks[:, 0]) <= TOLERANCE
    assert float((scores - expected.iou_scores[:, 0]).abs().max()) <= TOLERANCE


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"model_state": state, "decoder_state": {"out.weight": torch.ones(2)}},
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "epoch": 7},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"sam.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"module.sam.{name}": tensor for name, tensor in state.items()},
        lambda state: state | {"pixel_mean": torch.ones(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)},
    ],
    ids=["micro-sam", "MedSAM's training", "data parallel", "wrapped", "wrapped twice", "with constants"],
)
def test_checkpoints_of_trainings_give_the_same_model(tmp_path: Path, wrapped: Callable[[Any], Any]) -> None:
    preprocessing = Preprocessing(64)
    original = random_sam(preprocessing, width=32, depth=1, heads=2, global_blocks=(0,), channels=32)
    card = replace(
        CARDS["micro-sam-vit-b-medical"],
        preprocessing=preprocessing,
        options={"width": 32, "depth": 1, "heads": 2, "global_blocks": (0,), "channels": 32},
    )
    torch.save(wrapped(original.state_dict()), tmp_path / "checkpoint.pt")
    model = build_sam(card, tmp_path / "checkpoint.pt", "cpu")
    assert model.weights_sha256 == SamModel(card, original).weights_sha256
