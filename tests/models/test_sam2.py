"""SAM 2 as a promptable and as a tracking model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from contracts.model_contract import PromptableModelContract, click, disc_logits, view
from contracts.tracking_contract import TrackingModelContract, moved_disc, moved_view
from phantoms import awkward_geometry, sphere
from sam2_reference import TINY, as_published, card_of, image_model, normalised, random_model, random_module
from voxsam.embeddings import EmbeddingStore
from voxsam.errors import ModelError, PromptError, WeightsError
from voxsam.models.base import SlicePrompts, TrackingModel
from voxsam.models.registry import CARDS
from voxsam.models.runtime import Part, Runtime
from voxsam.models.sam2 import Sam2Model, build_sam2
from voxsam.windowing import Window

torch.set_num_threads(1)

TOLERANCE = 1e-4
SQUARE = (128, 128)


class TestTinySam2(PromptableModelContract, TrackingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> TrackingModel:
        return random_model()


# ── on one view, against transformers' model of single images ───────────────


@pytest.fixture(scope="module")
def module() -> Any:
    return random_module()


POINTS = SlicePrompts(np.array([[60.5, 40.0], [17.0, 90.25], [127.0, 0.0]]), np.array([1, 0, 1]))
BOX = SlicePrompts(box_xyxy=np.array([20.0, 12.5, 90.0, 64.0]))
MASK = SlicePrompts(low_res_logits=8 * np.random.default_rng(3).standard_normal((32, 32)).astype(np.float32))
MIXES = {
    "points": POINTS,
    "one point": click(60, 40),
    "box": BOX,
    "mask": MASK,
    "points and box": replace(POINTS, box_xyxy=BOX.box_xyxy),
    "points and mask": replace(POINTS, low_res_logits=MASK.low_res_logits),
    "box and mask": replace(BOX, low_res_logits=MASK.low_res_logits),
}


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("mix", MIXES)
def test_logits_and_scores_are_those_of_the_image_model(module: Any, mix: str, multimask: bool) -> None:
    prompts, model = MIXES[mix], Sam2Model(card_of(), module)
    pixels = view(SQUARE)
    asked: dict[str, Any] = {"pixel_values": normalised([pixels]), "multimask_output": multimask}
    if len(prompts.points_xy):
        asked["input_points"] = torch.tensor(prompts.points_xy)[None, None]
        asked["input_labels"] = torch.tensor(prompts.point_labels)[None, None]
    if prompts.box_xyxy is not None:
        asked["input_boxes"] = torch.tensor(prompts.box_xyxy)[None, None]
    if prompts.low_res_logits is not None:
        asked["input_masks"] = torch.tensor(prompts.low_res_logits)[None, None]
    with torch.no_grad():
        expected = image_model(module)(**asked)
    answer = model.decode(model.encode(pixels), prompts, multimask=multimask)
    assert float(expected.pred_masks.std()) > 0.05  # alive: an idle network would agree for free
    assert np.abs(answer.low_res_logits - expected.pred_masks[0, 0].numpy()).max() <= TOLERANCE
    assert np.abs(answer.scores - expected.iou_scores[0, 0].numpy()).max() <= TOLERANCE


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
def test_a_view_is_stretched_to_the_square_and_normalised_and_its_masks_are_brought_back(
    module: Any, resampling: Any
) -> None:
    model = Sam2Model(card_of(replace(TINY, resampling=resampling)), module)
    grey = np.random.default_rng(5).integers(0, 256, (75, 211, 3), dtype=np.uint8)
    squashed = np.asarray(Image.fromarray(grey).resize(SQUARE, Image.Resampling[resampling.upper()]), np.float32) / 255
    embedding = model.encode(grey.astype(np.float32) / 255)
    same_embedding = model.encode(squashed)
    for name, feature in embedding.features.items():
        torch.testing.assert_close(feature, same_embedding.features[name])
    answer = model.decode(embedding, SlicePrompts(np.array([[211.0, 37.5]]), np.array([1])))
    same_answer = model.decode(same_embedding, SlicePrompts(np.array([[128.0, 64.0]]), np.array([1])))
    np.testing.assert_allclose(answer.low_res_logits, same_answer.low_res_logits, atol=TOLERANCE)
    assert answer.logits.shape == (1, 75, 211)


def test_a_mask_prompt_lands_where_the_decoder_puts_its_own_masks() -> None:
    model = random_model()
    disc = disc_logits((100, 160))
    small = model._squashed(torch.tensor(disc), 32)
    back = model._to_view(small[0], (100, 160))[0].numpy()
    overlap = ((back > 0) & (disc > 0)).sum() / ((back > 0) | (disc > 0)).sum()
    assert overlap > 0.9
    np.testing.assert_allclose(np.argwhere(back > 0).mean(axis=0), np.argwhere(disc > 0).mean(axis=0), atol=0.5)


def test_several_views_are_encoded_together_as_alone() -> None:
    model = random_model()
    views = [view(SQUARE), view((33, 301), seed=1), view((50, 1), seed=2)]
    for together, pixels in zip(model.encode_batch(views), views, strict=True):
        alone = model.encode(pixels)
        assert together.image_shape == alone.image_shape
        for name, feature in alone.features.items():
            torch.testing.assert_close(together.features[name], feature, atol=TOLERANCE, rtol=0)


def test_the_encoder_can_be_run_by_something_else() -> None:
    model = random_model()
    run, calls = model.parts["encoder"].run, []
    model.parts["encoder"] = Part(lambda image: calls.append(tuple(image.shape)) or run(image))
    model.encode(view())
    assert calls == [(1, 3, 128, 128)]
    assert model.runtime == Runtime()


# ── from view to view ────────────────────────────────────────────────────────


def test_its_own_answer_is_remembered_with_the_pointer_that_came_with_it() -> None:
    model = random_model()
    embedding = model.encode(moved_view(0))
    answer = model.decode(embedding, click(), multimask=True)
    for chosen in range(3):
        own = model.remember(embedding, answer.logits[chosen], prompted=True, pointer=answer.pointer)
        expected = model._network.pointer(answer.pointer.answer.tokens[chosen])
        assert torch.equal(own.features["pointer"], expected)


def test_an_answer_that_was_corrected_is_remembered_as_drawn() -> None:
    model = random_model()
    embedding = model.encode(moved_view(0))
    answer = model.decode(embedding, click())
    corrected = np.where(moved_disc(0) > 0, 4.0, -4.0).astype(np.float32)
    by_pointer = model.remember(embedding, corrected, prompted=True, pointer=answer.pointer)
    as_drawn = model.remember(embedding, corrected, prompted=True)
    for name in by_pointer.features:
        assert torch.equal(by_pointer.features[name], as_drawn.features[name])


def test_an_empty_mask_says_that_the_object_is_not_there() -> None:
    model = random_model()
    embedding = model.encode(moved_view(0))
    empty = model.remember(embedding, np.full((60, 80), -3, np.float32), prompted=True)
    assert torch.equal(empty.features["pointer"], model._network.absent_pointer())


def test_where_the_object_is_not_in_the_view_the_answer_is_empty() -> None:
    model = Sam2Model(card_of(), random_module(presence=-9.0))
    here, there = model.encode(moved_view(0)), model.encode(moved_view(1))
    memory = model.remember(here, moved_disc(0), prompted=True)
    answer = model.track(there, [(-1, memory)])
    assert (answer.logits == -1024).all()
    gone = model.remember(there, answer.logits[0], prompted=False, pointer=answer.pointer)
    assert torch.equal(gone.features["pointer"], model._network.absent_pointer())


def test_a_pointer_of_another_model_is_refused() -> None:
    model = random_model()
    with pytest.raises(ModelError, match="tiny-sam2 needs the pointer of its own answer, or none; got dict"):
        model.remember(model.encode(moved_view(0)), moved_disc(0), prompted=True, pointer={})


def test_low_res_logits_must_be_finite() -> None:
    model = random_model()
    infinite = SlicePrompts(low_res_logits=np.full((32, 32), -np.inf, np.float32))
    with pytest.raises(PromptError, match="low_res_logits must be finite"):
        model.decode(model.encode(view()), infinite)


def test_memories_take_half_the_room_of_their_numbers_and_lose_nothing_in_it() -> None:
    model = random_model()
    spatial = model.remember(model.encode(moved_view(0)), moved_disc(0), prompted=True).features["spatial"]
    assert spatial.dtype == torch.float16
    assert torch.equal(spatial, spatial.bfloat16().half())


def test_the_store_keeps_its_embeddings_on_disk(tmp_path: Path) -> None:
    volume = sphere(awkward_geometry()).volume
    first = EmbeddingStore(random_model(), volume, cache_dir=tmp_path)
    a_view = first.stack.view("axial", 3, (Window(400, 40),))
    answers = []
    for store in (first, EmbeddingStore(random_model(), volume, cache_dir=tmp_path)):
        embedding = store.get(a_view)
        memory = store.remember(embedding, np.ones(embedding.image_shape, np.float32), prompted=True)
        answers.append(store.track(embedding, [(-1, memory)]).logits)
    np.testing.assert_array_equal(answers[0], answers[1])


# ── from a file ──────────────────────────────────────────────────────────────


def test_published_files_and_those_of_hugging_face_give_the_same_model(tmp_path: Path, module: Any) -> None:
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.save({"model": as_published(state)}, tmp_path / "published.pt")
    save_file(state, tmp_path / "model.safetensors")
    save_file(as_published({name: tensor.clone() for name, tensor in state.items()}), tmp_path / "bare.safetensors")
    direct = Sam2Model(card_of(), module)
    embedding, box = direct.encode(view()), SlicePrompts(box_xyxy=np.array([22.0, 12, 58, 48]))
    for name in ("published.pt", "model.safetensors", "bare.safetensors"):
        built = build_sam2(card_of(), tmp_path / name, "cpu")
        assert built.weights_sha256 == direct.weights_sha256
        torch.testing.assert_close(built.encode(view()).features["image"], embedding.features["image"])
        answers = [model.decode(embedding, box).logits for model in (built, direct)]
        np.testing.assert_allclose(*answers, atol=TOLERANCE)
        memory = direct.remember(embedding, disc_logits(), prompted=True)
        answers = [model.track(embedding, [(-1, memory)]).logits for model in (built, direct)]
        np.testing.assert_allclose(*answers, atol=TOLERANCE)
    assert random_model(seed=1).weights_sha256 != direct.weights_sha256


def test_no_file_is_no_model() -> None:
    with pytest.raises(WeightsError, match=r"medsam2 needs a weights file, MedSAM2_latest\.pt; none was given"):
        build_sam2(CARDS["medsam2"], None, "cpu")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"no_obj_ptr": None}, r"1 missing \(no_object_pointer\)"),
        ({"obj_ptr_proj.layers.9.bias": torch.ones(2)}, r"1 unknown \(obj_ptr_proj\.layers\.9\.bias\)"),
        ({"maskmem_tpos_enc": torch.ones(5, 1, 1, 64)}, r"1 of another shape \(memory_temporal_positional_encoding: "),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_a_file_that_lacks_something_or_holds_more_is_refused_with_the_reason(
    tmp_path: Path, module: Any, change: dict[str, Any], reason: str
) -> None:
    state = {
        name: tensor for name, tensor in (as_published(module.state_dict()) | change).items() if tensor is not None
    }
    torch.save({"model": state}, tmp_path / "changed.pt")
    with pytest.raises(WeightsError, match=rf"changed\.pt does not hold the weights of tiny-sam2: {reason}"):
        build_sam2(card_of(), tmp_path / "changed.pt", "cpu")


def test_weights_of_another_size_are_refused_with_the_reason(tmp_path: Path, module: Any) -> None:
    torch.save({"model": as_published(module.state_dict())}, tmp_path / "tiny.pt")
    with pytest.raises(WeightsError, match=r"tiny\.pt does not hold the weights of sam2\.1-large: .* missing .* shape"):
        build_sam2(CARDS["sam2.1-large"], tmp_path / "tiny.pt", "cpu")


def test_a_transformers_without_sam_2_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "sam2.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r'SAM 2 needs the package transformers.*: pip install "voxsam\[hf\]"$'):
        build_sam2(CARDS["sam2.1-tiny"], tmp_path / "sam2.pt", "cpu")


def test_the_published_cards_have_the_published_preprocessing() -> None:
    for name in ("sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large"):
        assert CARDS[name].preprocessing == replace(TINY, input_size=1024)
    assert CARDS["medsam2"].preprocessing == replace(TINY, input_size=512, resampling="bicubic")


@pytest.mark.slow
def test_the_published_tiny_size_runs_at_its_published_input(tmp_path: Path) -> None:
    model = Sam2Model(CARDS["medsam2"], random_module(CARDS["medsam2"].preprocessing, **CARDS["medsam2"].options))
    here, above = (model.encode(moved_view(index, (200, 160))) for index in (0, 1))
    memory = model.remember(here, moved_disc(0, (200, 160)), prompted=True)
    answer = model.track(above, [(-1, memory)])
    assert answer.logits.shape == (1, 200, 160)
    assert answer.low_res_logits.shape == (1, 128, 128)
    assert model.memory_slots == 16
