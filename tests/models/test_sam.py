"""SAM against an independent implementation, and as a promptable model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from contracts.model_contract import PromptableModelContract
from sam_reference import PUBLISHED, TINY, card_of, random_model, random_sam, random_state, reference_for
from voxsam.errors import ModelError, PromptError, WeightsError
from voxsam.models.base import Embedding, Preprocessing, PromptableModel, SlicePrompts
from voxsam.models.registry import CARDS
from voxsam.models.sam import Sam, SamModel, build_sam, empty_sam

torch.set_num_threads(1)

TOLERANCE = 1e-4
SHALLOW = {"width": 96, "depth": 3, "heads": 3, "global_blocks": (1,)}

# prompts on the 1024 input, as transformers takes them; the mask is filled in
POINTS: dict[str, Any] = {
    "input_points": torch.tensor([[[[400.5, 300.0], [17.0, 600.25], [1023.0, 0.0]]]]),
    "input_labels": torch.tensor([[[1, 0, 1]]]),
}
BOX: dict[str, Any] = {"input_boxes": torch.tensor([[[100.0, 120.5, 700.0, 640.0]]])}
MASK: dict[str, Any] = {"input_masks": 8 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(3))}
MIXES = {
    "points": POINTS,
    "one point": {"input_points": POINTS["input_points"][:, :, :1], "input_labels": POINTS["input_labels"][:, :, :1]},
    "box": BOX,
    "mask": MASK,
    "points and box": POINTS | BOX,
    "points and mask": POINTS | MASK,
    "box and mask": BOX | MASK,
    "all": POINTS | BOX | MASK,
}


def ours(sam: Sam, features: torch.Tensor, asked: dict[str, Any], *, multimask: bool) -> tuple[torch.Tensor, ...]:
    given = {
        "points": asked["input_points"][0] if "input_points" in asked else None,
        "labels": asked["input_labels"][0] if "input_labels" in asked else None,
        "boxes": asked["input_boxes"][0] if "input_boxes" in asked else None,
        "masks": asked.get("input_masks"),
    }
    tokens, maps = sam.prompt_encoder(**given)
    positions = sam.prompt_encoder.image_positions()
    return sam.mask_decoder(features, positions, tokens, maps, multimask=multimask)  # type: ignore[no-any-return]


def worst(a: Any, b: Any) -> float:
    assert a.shape == b.shape
    assert b.std() > 0.05  # alive: an idle network would agree for free
    return float(abs(a - b).max())


class Pair:
    """The same weights in both implementations, with one image encoded."""

    def __init__(self, **sizes: Any) -> None:
        self.sam = random_sam(PUBLISHED, **sizes)
        self.reference = reference_for(self.sam, **sizes)
        self.model = SamModel(card_of(PUBLISHED), self.sam)
        self.image = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.features = self.sam.image_encoder(self.image)
            self.reference_features = self.reference.get_image_embeddings(self.image)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(**SHALLOW)


def test_the_embedding_is_that_of_the_independent_implementation(pair: Pair) -> None:
    assert worst(pair.features, pair.reference_features) <= TOLERANCE


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("mix", MIXES)
def test_logits_and_scores_are_those_of_the_independent_implementation(pair: Pair, mix: str, multimask: bool) -> None:
    with torch.no_grad():
        masks, scores = ours(pair.sam, pair.features, MIXES[mix], multimask=multimask)
        expected = pair.reference(image_embeddings=pair.reference_features, multimask_output=multimask, **MIXES[mix])
    assert worst(masks, expected.pred_masks[:, 0]) <= TOLERANCE
    assert float((scores - expected.iou_scores[:, 0]).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("shape", [(300, 411), (1500, 700)])
def test_a_non_square_view_passes_the_whole_way_as_in_the_independent_implementation(
    pair: Pair, shape: tuple[int, int]
) -> None:
    grey = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    points, box = np.array([[20.0, 30.0], [250.0, 7.0]], np.float32), np.array([10.0, 20.0, 210.0, 280.0], np.float32)
    processor = transformers.SamProcessor(transformers.SamImageProcessorPil())
    inputs = processor(
        images=grey,
        input_points=[[points.tolist()]],
        input_labels=[[[1, 0]]],
        input_boxes=[[box.tolist()]],
        return_tensors="pt",
    )
    asked = {name: inputs[name].float() for name in ("pixel_values", "input_points", "input_boxes")}
    with torch.no_grad():
        expected = pair.reference(**asked, input_labels=inputs["input_labels"], multimask_output=True)
    embedding = pair.model.encode(grey.astype(np.float32) / 255)
    answer = pair.model.decode(embedding, SlicePrompts(points, np.array([1, 0]), box), multimask=True)

    assert worst(answer.low_res_logits, expected.pred_masks[0, 0].numpy()) <= TOLERANCE
    assert np.abs(answer.scores - expected.iou_scores[0, 0].numpy()).max() <= TOLERANCE
    full = processor.image_processor.post_process_masks(
        expected.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )
    assert answer.logits.shape == (3, *shape)
    assert worst(answer.logits, full[0][0].numpy()) <= 2 * TOLERANCE  # two resamplings add their rounding


@pytest.mark.slow
def test_the_real_base_model_agrees_with_the_independent_implementation() -> None:
    pair = Pair(**CARDS["sam-vit-b"].options)
    assert worst(pair.features, pair.reference_features) <= TOLERANCE
    with torch.no_grad():
        masks, scores = ours(pair.sam, pair.features, MIXES["all"], multimask=True)
        expected = pair.reference(image_embeddings=pair.reference_features, **MIXES["all"])
    assert worst(masks, expected.pred_masks[:, 0]) <= TOLERANCE
    assert float((scores - expected.iou_scores[:, 0]).abs().max()) <= TOLERANCE


# ── the published files ──────────────────────────────────────────────────────


def published_layout(width: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a ``sam_vit_*`` state dict, spelt out from the published files."""
    layout: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, *inputs: int) -> None:
        layout[f"{name}.weight"] = (outputs, *inputs)
        layout[f"{name}.bias"] = (outputs,)

    layout["image_encoder.pos_embed"] = (1, 64, 64, width)
    linear("image_encoder.patch_embed.proj", width, 3, 16, 16)
    for i in range(depth):
        block, side = f"image_encoder.blocks.{i}", 64 if i in global_blocks else 14
        linear(f"{block}.norm1", width)
        layout[f"{block}.attn.rel_pos_h"] = layout[f"{block}.attn.rel_pos_w"] = (2 * side - 1, width // heads)
        linear(f"{block}.attn.qkv", 3 * width, width)
        linear(f"{block}.attn.proj", width, width)
        linear(f"{block}.norm2", width)
        linear(f"{block}.mlp.lin1", 4 * width, width)
        linear(f"{block}.mlp.lin2", width, 4 * width)
    layout["image_encoder.neck.0.weight"] = (256, width, 1, 1)
    linear("image_encoder.neck.1", 256)
    layout["image_encoder.neck.2.weight"] = (256, 256, 3, 3)
    linear("image_encoder.neck.3", 256)

    layout["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, 128)
    for name in (*(f"point_embeddings.{i}" for i in range(4)), "not_a_point_embed", "no_mask_embed"):
        layout[f"prompt_encoder.{name}.weight"] = (1, 256)
    linear("prompt_encoder.mask_downscaling.0", 4, 1, 2, 2)
    linear("prompt_encoder.mask_downscaling.1", 4)
    linear("prompt_encoder.mask_downscaling.3", 16, 4, 2, 2)
    linear("prompt_encoder.mask_downscaling.4", 16)
    linear("prompt_encoder.mask_downscaling.6", 256, 16, 1, 1)

    def attention(name: str, inner: int) -> None:
        for projection in ("q_proj", "k_proj", "v_proj"):
            linear(f"{name}.{projection}", inner, 256)
        linear(f"{name}.out_proj", 256, inner)

    for i in range(2):
        block = f"mask_decoder.transformer.layers.{i}"
        attention(f"{block}.self_attn", 256)
        attention(f"{block}.cross_attn_token_to_image", 128)
        attention(f"{block}.cross_attn_image_to_token", 128)
        linear(f"{block}.mlp.lin1", 2048, 256)
        linear(f"{block}.mlp.lin2", 256, 2048)
        for j in range(1, 5):
            linear(f"{block}.norm{j}", 256)
    attention("mask_decoder.transformer.final_attn_token_to_image", 128)
    linear("mask_decoder.transformer.norm_final_attn", 256)
    layout["mask_decoder.iou_token.weight"] = (1, 256)
    layout["mask_decoder.mask_tokens.weight"] = (4, 256)
    layout["mask_decoder.output_upscaling.0.weight"] = (256, 64, 2, 2)
    layout["mask_decoder.output_upscaling.0.bias"] = (64,)
    linear("mask_decoder.output_upscaling.1", 64)
    layout["mask_decoder.output_upscaling.3.weight"] = (64, 32, 2, 2)
    layout["mask_decoder.output_upscaling.3.bias"] = (32,)
    for name, outputs in (
        *((f"output_hypernetworks_mlps.{i}", 32) for i in range(4)),
        ("iou_prediction_head", 4),
    ):
        linear(f"mask_decoder.{name}.layers.0", 256, 256)
        linear(f"mask_decoder.{name}.layers.1", 256, 256)
        linear(f"mask_decoder.{name}.layers.2", outputs, 256)
    return layout


@pytest.mark.parametrize(("name", "millions"), [("sam-vit-b", 93.7), ("sam-vit-l", 312.3), ("sam-vit-h", 641.1)])
def test_the_published_layout_loads_strictly_as_it_is(name: str, millions: float) -> None:
    card = CARDS[name]
    layout = published_layout(**card.options)
    state = {key: torch.empty(shape, device="meta") for key, shape in layout.items()}
    sam = empty_sam(card.preprocessing, card.options)
    sam.load_state_dict(state, strict=True, assign=True)
    parameters = sum(tensor.numel() for tensor in state.values()) / 1e6
    assert parameters == pytest.approx(millions, abs=0.06)
    assert parameters == pytest.approx(card.parameters_m, abs=0.06)
    # four bytes a weight, and a little for the zip around them
    assert card.weights is not None
    assert 4 * parameters == pytest.approx(card.weights.size_mb, rel=2e-3)


def test_the_means_and_deviations_are_constants_not_weights() -> None:
    sam = empty_sam(PUBLISHED, CARDS["sam-vit-b"].options)
    assert not {"pixel_mean", "pixel_std"} & sam.state_dict().keys()
    np.testing.assert_allclose(sam.pixel_mean.flatten(), [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(sam.pixel_std.flatten(), [58.395, 57.12, 57.375], rtol=1e-6)


def test_padding_is_zero_after_normalising() -> None:
    sam = random_sam()
    padded = sam.preprocess(torch.full((1, 3, 100, 128), 200.0))
    assert padded.shape == (1, 3, 128, 128)
    assert bool((padded[..., 100:, :] == 0).all())
    assert bool((padded[..., :100, :] != 0).all())


# ── from a file ──────────────────────────────────────────────────────────────


def test_a_model_built_from_a_file_answers_as_the_network_it_was_saved_from(tmp_path: Any) -> None:
    original = random_sam()
    torch.save(original.state_dict(), tmp_path / "tiny.pth")
    card = replace(card_of(TINY), options={"width": 32, "depth": 2, "heads": 2, "global_blocks": (1,), "window": 3,
                                           "channels": 64})  # fmt: skip
    built, direct = build_sam(card, tmp_path / "tiny.pth", "cpu"), SamModel(card, original)
    pixels = np.random.default_rng(0).random((90, 128, 3), np.float32)
    prompts = SlicePrompts(np.array([[40.0, 50.0]]), np.array([1]))
    answers = [model.decode(model.encode(pixels), prompts) for model in (built, direct)]
    np.testing.assert_array_equal(answers[0].logits, answers[1].logits)
    assert built.weights_sha256 == direct.weights_sha256
    assert built.weights_sha256 != random_model(seed=1).weights_sha256
    assert not any(parameter.requires_grad for parameter in built.sam.parameters())


def test_no_file_is_no_model() -> None:
    with pytest.raises(WeightsError, match=r"sam-vit-h needs a weights file, sam_vit_h_4b8939\.pth; none was given"):
        build_sam(CARDS["sam-vit-h"], None, "cpu")


def test_weights_of_another_size_are_refused_with_the_reason(tmp_path: Any) -> None:
    torch.save(random_sam().state_dict(), tmp_path / "tiny.pth")
    with pytest.raises(WeightsError, match=r"tiny\.pth does not hold the weights of sam-vit-b: .* missing .* shape"):
        build_sam(CARDS["sam-vit-b"], tmp_path / "tiny.pth", "cpu")


# ── as a promptable model ────────────────────────────────────────────────────


class TestTinySam(PromptableModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        return random_model()


class TestTinySquashedSam(PromptableModelContract):
    """The same network, fed views that are stretched to the square."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        return random_model(replace(TINY, resize="squash"))


class TestTinyMedSam(PromptableModelContract):
    """The same network, fed and asked as MedSAM is."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        preprocessing = Preprocessing(
            128, resize="squash", resampling="cubic", stretch="input", mean_of="probabilities"
        )
        return random_model(preprocessing)


def test_an_embedding_of_another_model_is_refused() -> None:
    model = random_model()
    foreign = Embedding({"half": np.zeros((4, 2, 2), np.float16)}, (20, 20))
    with pytest.raises(ModelError, match=r"tiny-sam needs its own embedding, 'image' of shape \(64, 8, 8\); got"):
        model.decode(foreign, SlicePrompts(box_xyxy=np.array([1.0, 1.0, 9.0, 9.0])))


def test_low_res_logits_must_be_finite() -> None:
    model = random_model()
    embedding = model.encode(np.zeros((20, 20, 3), np.float32))
    with pytest.raises(PromptError, match="low_res_logits must be finite"):
        model.decode(embedding, SlicePrompts(low_res_logits=np.full((32, 32), -np.inf, np.float32)))


@pytest.mark.parametrize("shape", [(100, 160), (160, 100), (128, 128), (61, 128)])
def test_a_mask_prompt_lands_where_the_decoder_puts_its_own_masks(shape: tuple[int, int]) -> None:
    model = random_model()
    rows, columns = np.indices(shape)
    disc = np.where(np.hypot(rows - shape[0] * 0.4, columns - shape[1] * 0.6) < min(shape) * 0.3, 6.0, -6.0)
    small = model._shrink(torch.tensor(disc, dtype=torch.float32))
    assert small.shape == (1, 1, 32, 32)
    scale = 128 / max(shape)
    back = model.sam.postprocess(small, resized=(round(shape[0] * scale), round(shape[1] * scale)), image_shape=shape)[
        0, 0
    ].numpy()
    overlap = ((back > 0) & (disc > 0)).sum() / ((back > 0) | (disc > 0)).sum()
    assert overlap > 0.9
    centre = np.argwhere(back > 0).mean(axis=0)
    np.testing.assert_allclose(centre, np.argwhere(disc > 0).mean(axis=0), atol=0.5 * max(shape) / 128)


def test_the_padding_of_a_mask_prompt_is_outside() -> None:
    small = random_model()._shrink(torch.full((64, 128), 5.0))[0, 0]
    torch.testing.assert_close(small[:15], torch.full((15, 32), 5.0))
    torch.testing.assert_close(small[17:], torch.zeros(15, 32))


def test_random_states_differ_by_seed() -> None:
    template = random_sam().state_dict()
    first, second = random_state(template, 1), random_state(template, 2)
    assert not torch.equal(first["mask_decoder.iou_token.weight"], second["mask_decoder.iou_token.weight"])
