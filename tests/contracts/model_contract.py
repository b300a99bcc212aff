"""What every promptable model must do; each sibling's tests inherit this and provide the `model` fixture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from voxsam.errors import InputError, PromptError, VoxsamError
from voxsam.models.base import Embedding, ModelCard, PromptableModel, SliceLogits, SlicePrompts

SHAPE = (60, 80)

Pixels = npt.NDArray[np.float32]


def view(shape: tuple[int, int] = SHAPE, seed: int = 0) -> Pixels:
    """A bright disc on a dim, noisy ground."""
    rows, columns = np.indices(shape)
    disc = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < min(shape) / 4
    grey = 0.3 + 0.4 * disc + 0.05 * np.random.default_rng(seed).standard_normal(shape)
    return np.repeat(np.clip(grey, 0, 1)[:, :, None], 3, axis=2).astype(np.float32)


def disc_logits(shape: tuple[int, int] = SHAPE) -> Pixels:
    rows, columns = np.indices(shape)
    return np.where(np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < min(shape) / 4, 6, -6).astype(np.float32)


def click(x: float = 40, y: float = 30, *, positive: bool = True) -> SlicePrompts:
    return SlicePrompts(np.array([[x, y]], np.float32), np.array([int(positive)]))


BOX = np.array([22.0, 12.0, 58.0, 48.0], np.float32)
PROMPTS = {
    "a click": click(),
    "a background click": click(5, 5, positive=False),
    "many clicks": SlicePrompts(np.array([[40.0, 30], [35, 25], [5, 5], [75, 50]]), np.array([1, 1, 0, 0])),
    "a box": SlicePrompts(box_xyxy=BOX),
    "a box of one pixel": SlicePrompts(box_xyxy=np.array([40.0, 30, 40, 30])),
    "a mask": SlicePrompts(mask_logits=disc_logits()),
    "a click and a box": SlicePrompts(np.array([[40.0, 30]]), np.array([1]), BOX),
    "a click and a mask": SlicePrompts(np.array([[40.0, 30]]), np.array([1]), mask_logits=disc_logits()),
    "all": SlicePrompts(np.array([[40.0, 30], [5, 5]]), np.array([1, 0]), BOX, disc_logits()),
    "a click outside the view": click(200, -30),
}


def same(a: SliceLogits, b: SliceLogits) -> bool:
    return bool(
        np.array_equal(a.logits, b.logits)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.low_res_logits, b.low_res_logits)
    )


def stored(embedding: Embedding) -> Embedding:
    """As it comes back from disk: numpy, half precision, read-only."""
    features = {name: array.astype(np.float16) for name, array in embedding.to_arrays().items()}
    for array in features.values():
        array.flags.writeable = False
    return Embedding(features, embedding.image_shape)


class PromptableModelContract:
    """What every promptable model must do."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        raise NotImplementedError("the sibling provides its model")

    @pytest.fixture(scope="class")
    @classmethod
    def embedding(cls, model: PromptableModel) -> Embedding:
        return model.encode(view())

    def test_it_is_a_promptable_model_with_a_card_and_a_hash(self, model: PromptableModel) -> None:
        assert isinstance(model, PromptableModel)
        assert isinstance(model.card, ModelCard)
        assert len(model.weights_sha256) == 64
        assert set(model.weights_sha256) <= set("0123456789abcdef")
        assert model.weights_sha256 == model.weights_sha256

    @pytest.mark.parametrize("multimask", [False, True])
    @pytest.mark.parametrize("asked", PROMPTS)
    def test_every_kind_of_prompt_is_answered_on_the_views_own_pixels(
        self, model: PromptableModel, embedding: Embedding, asked: str, multimask: bool
    ) -> None:
        answer = model.decode(embedding, PROMPTS[asked], multimask=multimask)
        masks = 3 if multimask else 1
        assert answer.logits.shape == (masks, *SHAPE)
        assert answer.scores.shape == (masks,)
        assert answer.low_res_logits.ndim == 3
        assert len(answer.low_res_logits) == masks
        for array in (answer.logits, answer.scores, answer.low_res_logits):
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
        assert answer.best in range(masks)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (33, 301), (301, 33), (64, 64)])
    def test_a_view_of_any_shape_is_encoded_and_answered(self, model: PromptableModel, shape: tuple[int, int]) -> None:
        embedding = model.encode(view(shape))
        assert embedding.image_shape == shape
        middle = click(shape[1] // 2, shape[0] // 2)
        for prompts in (middle, SlicePrompts(mask_logits=disc_logits(shape)), SlicePrompts(box_xyxy=np.zeros(4))):
            answer = model.decode(embedding, prompts)
            assert answer.logits.shape == (1, *shape)
            assert np.isfinite(answer.logits).all()

    def test_an_answer_can_be_fed_back_as_it_came(self, model: PromptableModel, embedding: Embedding) -> None:
        first = model.decode(embedding, click(), multimask=True)
        again = SlicePrompts(
            click(30, 20).points_xy, click().point_labels, low_res_logits=first.low_res_logits[first.best]
        )
        second = model.decode(embedding, again)
        assert second.logits.shape == (1, *SHAPE)
        assert np.isfinite(second.logits).all()
        assert not np.array_equal(second.logits, model.decode(embedding, click(30, 20)).logits)  # it was looked at

    def test_the_models_own_logits_go_before_those_of_the_view(
        self, model: PromptableModel, embedding: Embedding
    ) -> None:
        low_res = model.decode(embedding, click()).low_res_logits[0]
        both = SlicePrompts(mask_logits=disc_logits(), low_res_logits=low_res)
        assert same(model.decode(embedding, both), model.decode(embedding, SlicePrompts(low_res_logits=low_res)))

    def test_a_mask_prompt_is_looked_at(self, model: PromptableModel, embedding: Embedding) -> None:
        inside = model.decode(embedding, SlicePrompts(mask_logits=disc_logits()))
        assert not np.array_equal(
            inside.logits, model.decode(embedding, SlicePrompts(mask_logits=-disc_logits())).logits
        )

    def test_logits_far_beyond_a_models_own_are_understood(self, model: PromptableModel, embedding: Embedding) -> None:
        filled = disc_logits()
        filled[:, :10] = -1e30  # what lies outside a region
        filled[:, 10:12] = -np.inf
        assert np.isfinite(model.decode(embedding, SlicePrompts(mask_logits=filled)).logits).all()

    def test_the_three_masks_keep_their_order_and_differ_from_one_another(
        self, model: PromptableModel, embedding: Embedding
    ) -> None:
        first = model.decode(embedding, click(), multimask=True)
        assert same(first, model.decode(embedding, click(), multimask=True))
        assert not np.array_equal(first.logits[0], first.logits[1])
        assert not np.array_equal(first.logits[1], first.logits[2])
        assert first.scores[first.best] == first.scores.max()

    def test_the_same_question_gets_the_same_answer(self, model: PromptableModel) -> None:
        answers = [model.decode(model.encode(view()), PROMPTS["all"], multimask=True) for _ in range(2)]
        assert same(*answers)

    def test_nothing_is_remembered_between_calls(self, model: PromptableModel, embedding: Embedding) -> None:
        before = model.decode(embedding, click())
        other = model.encode(view((70, 40), seed=1))
        model.decode(other, SlicePrompts(mask_logits=disc_logits((70, 40))), multimask=True)
        assert same(before, model.decode(embedding, click()))

    def test_neither_pixels_nor_prompts_nor_features_are_changed(self, model: PromptableModel) -> None:
        pixels, mask = view(), disc_logits()
        embedding = model.encode(pixels)
        features = {name: array.copy() for name, array in embedding.to_arrays().items()}
        model.decode(embedding, SlicePrompts(mask_logits=mask), multimask=True)
        np.testing.assert_array_equal(pixels, view())
        np.testing.assert_array_equal(mask, disc_logits())
        for name, array in embedding.to_arrays().items():
            np.testing.assert_array_equal(array, features[name])

    def test_read_only_pixels_and_views_with_strides_are_welcome(self, model: PromptableModel) -> None:
        frozen = view()
        frozen.flags.writeable = False
        flipped = np.ascontiguousarray(view()[::-1])[::-1]  # the same pixels, stored upside down
        answers = [model.decode(model.encode(pixels), click()) for pixels in (view(), frozen, flipped)]
        assert same(answers[0], answers[1])
        assert same(answers[0], answers[2])

    @pytest.mark.parametrize("asked", PROMPTS)
    def test_features_stored_in_half_precision_give_nearly_the_same_answer(
        self, model: PromptableModel, embedding: Embedding, asked: str
    ) -> None:
        exact = model.decode(embedding, PROMPTS[asked], multimask=True)
        halved = model.decode(stored(embedding), PROMPTS[asked], multimask=True)
        spread = max(float(exact.logits.std()), 1e-3)
        assert np.abs(exact.logits - halved.logits).max() < 0.1 * spread
        assert np.mean((exact.logits > 0) == (halved.logits > 0)) > 0.99
        np.testing.assert_allclose(halved.scores, exact.scores, atol=0.02)

    def test_another_view_gives_another_answer(self, model: PromptableModel, embedding: Embedding) -> None:
        inverted = model.encode(1 - view())
        assert not np.array_equal(model.decode(embedding, click()).logits, model.decode(inverted, click()).logits)

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((60, 80), np.float32),
            np.zeros((60, 80, 1), np.float32),
            np.zeros((3, 60, 80), np.float32),
            np.zeros((0, 80, 3), np.float32),
            np.zeros((60, 80, 3), np.uint8),
            np.full((60, 80, 3), 255.0, np.float32),
            np.full((60, 80, 3), -1.0, np.float32),
            np.full((60, 80, 3), np.nan, np.float32),
        ],
        ids=["grey", "one channel", "channels first", "empty", "8 bit", "0..255", "negative", "NaN"],
    )
    def test_pixels_that_are_no_view_are_refused(self, model: PromptableModel, pixels: Pixels) -> None:
        with pytest.raises(InputError, match="view"):
            model.encode(pixels)

    @pytest.mark.parametrize(
        ("prompts", "reason"),
        [
            (SlicePrompts(np.array([[1.0, 2.0]]), np.array([2])), "labels"),
            (SlicePrompts(np.array([[1.0, np.nan]]), np.array([1])), "finite"),
            (SlicePrompts(box_xyxy=np.array([30.0, 10, 20, 40])), "box"),
            (SlicePrompts(box_xyxy=np.array([np.inf, 10, 20, 40])), "box"),
            (SlicePrompts(mask_logits=np.zeros((80, 60), np.float32)), "mask_logits must be"),
            (SlicePrompts(mask_logits=np.full(SHAPE, np.nan, np.float32)), "NaN"),
            (SlicePrompts(low_res_logits=np.zeros((7, 7), np.float32)), "low_res_logits must be"),
        ],
        ids=["label", "point", "box inside out", "box", "mask shape", "mask", "low-res shape"],
    )
    def test_prompts_that_do_not_fit_are_refused(
        self, model: PromptableModel, embedding: Embedding, prompts: SlicePrompts, reason: str
    ) -> None:
        with pytest.raises(PromptError, match=reason):
            model.decode(embedding, prompts)

    def test_an_embedding_of_another_model_is_refused(self, model: PromptableModel) -> None:
        foreign = Embedding({"no such feature": np.zeros((4, 2, 2), np.float16)}, SHAPE)
        with pytest.raises(VoxsamError, match="embedding"):
            model.decode(foreign, click())
