"""What every tracking model must do; each sibling's tests inherit this beside `PromptableModelContract`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from contracts.model_contract import SHAPE, click, disc_logits, same, stored, view
from voxsam.errors import PromptError, VoxsamError
from voxsam.models.base import Embedding, Memory, SliceLogits, SlicePrompts, TrackingModel

Logits = npt.NDArray[np.float32]


def moved_disc(index: int, shape: tuple[int, int] = SHAPE) -> Logits:
    """Where the disc is on a slice: it drifts to the right."""
    return np.roll(disc_logits(shape), 2 * index, axis=1)


def moved_view(index: int, shape: tuple[int, int] = SHAPE) -> Logits:
    return np.roll(view(shape, seed=abs(index)), 2 * index, axis=1)


@dataclass(frozen=True, eq=False)
class Scan:
    """A few slices, encoded, and a memory of the middle one."""

    embeddings: dict[int, Embedding]
    prompted: Memory


def as_arrays(memory: Memory) -> Memory:
    """As it comes out of a process or a file: numpy, read-only."""
    features = Embedding(memory.features, SHAPE).to_arrays()
    for array in features.values():
        array.flags.writeable = False
    return Memory(features, memory.prompted)


def is_one_mask(answer: SliceLogits, shape: tuple[int, int] = SHAPE) -> bool:
    arrays = (answer.logits, answer.scores, answer.low_res_logits)
    return (
        answer.logits.shape == (1, *shape)
        and answer.scores.shape == (1,)
        and len(answer.low_res_logits) == 1
        and all(array.dtype == np.float32 and bool(np.isfinite(array).all()) for array in arrays)
    )


class TrackingModelContract:
    """What every tracking model must do."""

    @pytest.fixture(scope="class")
    @classmethod
    def scan(cls, model: TrackingModel) -> Scan:
        embeddings = {index: model.encode(moved_view(index)) for index in (-2, -1, 0, 1, 2)}
        return Scan(embeddings, model.remember(embeddings[0], moved_disc(0), prompted=True))

    def test_it_is_a_tracking_model(self, model: TrackingModel) -> None:
        assert isinstance(model, TrackingModel)
        assert model.memory_slots >= 1

    @pytest.mark.parametrize("prompted", [False, True])
    def test_a_memory_says_whether_a_user_made_it(self, model: TrackingModel, scan: Scan, prompted: bool) -> None:
        memory = model.remember(scan.embeddings[0], moved_disc(0), prompted=prompted)
        assert isinstance(memory, Memory)
        assert memory.prompted is prompted
        assert memory.features
        assert all(np.isfinite(array).all() for array in as_arrays(memory).features.values())

    @pytest.mark.parametrize("index", [-2, -1, 1, 2])
    def test_a_slice_on_either_side_gets_one_mask_on_its_own_pixels(
        self, model: TrackingModel, scan: Scan, index: int
    ) -> None:
        assert is_one_mask(model.track(scan.embeddings[index], [(-index, scan.prompted)]))

    @pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (33, 301)])
    def test_views_of_any_shape_are_remembered_and_tracked(self, model: TrackingModel, shape: tuple[int, int]) -> None:
        here, above = (model.encode(moved_view(index, shape)) for index in (0, 1))
        memory = model.remember(here, moved_disc(0, shape), prompted=True)
        assert is_one_mask(model.track(above, [(-1, memory)]), shape)

    def test_what_was_remembered_matters(self, model: TrackingModel, scan: Scan) -> None:
        elsewhere = model.remember(scan.embeddings[0], np.roll(moved_disc(0), 25, axis=1), prompted=True)
        answers = [model.track(scan.embeddings[1], [(-1, memory)]) for memory in (scan.prompted, elsewhere)]
        assert not np.array_equal(answers[0].logits, answers[1].logits)

    def test_a_walk_goes_on_from_its_own_answers(self, model: TrackingModel, scan: Scan) -> None:
        memories: list[tuple[int, Memory]] = [(0, scan.prompted)]
        for index in (1, 2):
            answer = model.track(scan.embeddings[index], relative(memories, index))
            assert is_one_mask(answer)
            memory = model.remember(scan.embeddings[index], answer.logits[0], prompted=False, pointer=answer.pointer)
            assert is_one_mask(model.track(scan.embeddings[-1], [(index + 1, memory), (1, scan.prompted)]))
            memories.append((index, memory))

    def test_the_pointer_of_an_answer_may_be_left_out(self, model: TrackingModel, scan: Scan) -> None:
        answer = model.track(scan.embeddings[1], [(-1, scan.prompted)])
        memory = model.remember(scan.embeddings[1], answer.logits[0], prompted=False)
        assert is_one_mask(model.track(scan.embeddings[2], [(-2, scan.prompted), (-1, memory)]))

    @pytest.mark.parametrize("chosen", [0, 1, 2])
    def test_any_of_three_answers_can_be_remembered(self, model: TrackingModel, scan: Scan, chosen: int) -> None:
        answer = model.decode(scan.embeddings[0], click(), multimask=True)
        memory = model.remember(scan.embeddings[0], answer.logits[chosen], prompted=True, pointer=answer.pointer)
        assert is_one_mask(model.track(scan.embeddings[1], [(-1, memory)]))

    def test_the_same_question_gets_the_same_answer_whatever_was_asked_between(
        self, model: TrackingModel, scan: Scan
    ) -> None:
        def ask() -> SliceLogits:
            return model.track(scan.embeddings[1], [(-1, scan.prompted)])

        before = ask()
        other = model.remember(scan.embeddings[2], -moved_disc(2), prompted=False)
        model.track(scan.embeddings[-2], [(4, other)])
        model.decode(scan.embeddings[1], click())
        assert same(before, ask())

    def test_objects_are_tracked_side_by_side_as_they_are_alone(self, model: TrackingModel, scan: Scan) -> None:
        marks = {"left": np.roll(moved_disc(0), -15, axis=1), "right": np.roll(moved_disc(0), 15, axis=1)}
        memories = {name: model.remember(scan.embeddings[0], mark, prompted=True) for name, mark in marks.items()}
        together = {name: [model.track(scan.embeddings[i], [(-i, memories[name])]) for i in (1, 2)] for name in marks}
        for name, answers in together.items():
            alone = model.remember(scan.embeddings[0], marks[name], prompted=True)
            for i, answer in zip((1, 2), answers, strict=True):
                assert same(answer, model.track(scan.embeddings[i], [(-i, alone)]))

    def test_the_order_of_memories_does_not_matter(self, model: TrackingModel, scan: Scan) -> None:
        memories = [(-2, scan.prompted)] + [
            (index - 2, model.remember(scan.embeddings[index], moved_disc(index), prompted=False)) for index in (-1, 1)
        ]
        answers = [model.track(scan.embeddings[2], some).logits for some in (memories, memories[::-1])]
        np.testing.assert_allclose(answers[0], answers[1], atol=1e-3)

    def test_more_memories_than_there_are_slots_are_welcome(self, model: TrackingModel, scan: Scan) -> None:
        found = model.remember(scan.embeddings[0], moved_disc(0), prompted=False)
        crowd = [(-distance, found) for distance in range(1, 3 * model.memory_slots + 2)]
        assert is_one_mask(model.track(scan.embeddings[1], [*crowd, (1, scan.prompted)]))
        assert is_one_mask(model.track(scan.embeddings[1], [(offset, scan.prompted) for offset, _ in crowd]))

    @pytest.mark.parametrize("offset", [-40, 0, 40])
    @pytest.mark.parametrize("prompted", [False, True])
    def test_one_memory_is_enough_wherever_it_is(
        self, model: TrackingModel, scan: Scan, offset: int, prompted: bool
    ) -> None:
        memory = model.remember(scan.embeddings[0], moved_disc(0), prompted=prompted)
        assert is_one_mask(model.track(scan.embeddings[1], [(offset, memory)]))

    def test_prompts_on_the_view_are_looked_at(self, model: TrackingModel, scan: Scan) -> None:
        alone = model.track(scan.embeddings[1], [(-1, scan.prompted)])
        for prompts in (
            click(60, 20),
            SlicePrompts(box_xyxy=np.array([2.0, 2, 30, 30])),
            SlicePrompts(mask_logits=np.roll(moved_disc(1), 20, axis=1)),
            SlicePrompts(low_res_logits=-alone.low_res_logits[0]),
        ):
            answer = model.track(scan.embeddings[1], [(-1, scan.prompted)], prompts)
            assert is_one_mask(answer)
            assert not np.array_equal(answer.logits, alone.logits)

    def test_an_empty_mask_can_be_remembered(self, model: TrackingModel, scan: Scan) -> None:
        empty = model.remember(scan.embeddings[1], np.full(SHAPE, -5, np.float32), prompted=True)
        assert is_one_mask(model.track(scan.embeddings[2], [(-1, empty), (-2, scan.prompted)]))

    def test_logits_far_beyond_a_models_own_can_be_remembered(self, model: TrackingModel, scan: Scan) -> None:
        drawn = np.where(moved_disc(0) > 0, np.float32(1e30), np.float32(-np.inf))
        for prompted in (False, True):
            memory = model.remember(scan.embeddings[0], drawn, prompted=prompted)
            assert is_one_mask(model.track(scan.embeddings[1], [(-1, memory)]))

    def test_a_memory_and_an_embedding_may_have_been_stored(self, model: TrackingModel, scan: Scan) -> None:
        exact = model.track(scan.embeddings[1], [(-1, scan.prompted)])
        assert same(exact, model.track(scan.embeddings[1], [(-1, as_arrays(scan.prompted))]))
        memory = model.remember(stored(scan.embeddings[0]), moved_disc(0), prompted=True)
        halved = model.track(stored(scan.embeddings[1]), [(-1, memory)])
        assert np.mean((exact.logits > 0) == (halved.logits > 0)) > 0.98

    def test_nothing_that_was_given_is_changed(self, model: TrackingModel, scan: Scan) -> None:
        mask = moved_disc(1)
        before = [as_arrays(scan.prompted).features, scan.embeddings[1].to_arrays()]
        before = [{name: array.copy() for name, array in features.items()} for features in before]
        memory = model.remember(scan.embeddings[1], mask, prompted=False)
        model.track(scan.embeddings[1], [(-1, scan.prompted), (1, memory)], SlicePrompts(mask_logits=mask))
        np.testing.assert_array_equal(mask, moved_disc(1))
        for features, now in zip(
            before, (as_arrays(scan.prompted).features, scan.embeddings[1].to_arrays()), strict=True
        ):
            for name, array in features.items():
                np.testing.assert_array_equal(now[name], array)

    @pytest.mark.parametrize(
        ("mask", "reason"),
        [(np.zeros(SHAPE[::-1], np.float32), "mask_logits must be"), (np.full(SHAPE, np.nan, np.float32), "NaN")],
        ids=["shape", "NaN"],
    )
    def test_a_mask_that_does_not_fit_is_not_remembered(
        self, model: TrackingModel, scan: Scan, mask: Logits, reason: str
    ) -> None:
        with pytest.raises(PromptError, match=reason):
            model.remember(scan.embeddings[0], mask, prompted=True)

    def test_prompts_that_do_not_fit_are_refused_here_too(self, model: TrackingModel, scan: Scan) -> None:
        with pytest.raises(PromptError, match="labels"):
            model.track(scan.embeddings[1], [(-1, scan.prompted)], SlicePrompts(np.array([[1.0, 2.0]]), np.array([2])))

    def test_without_a_memory_there_is_nothing_to_track(self, model: TrackingModel, scan: Scan) -> None:
        with pytest.raises(VoxsamError, match="memory"):
            model.track(scan.embeddings[1], [])

    def test_what_belongs_to_another_model_is_refused(self, model: TrackingModel, scan: Scan) -> None:
        foreign = Embedding({"no such feature": np.zeros((4, 2, 2), np.float16)}, SHAPE)
        with pytest.raises(VoxsamError, match="embedding"):
            model.remember(foreign, moved_disc(0), prompted=True)
        with pytest.raises(VoxsamError, match="embedding"):
            model.track(foreign, [(-1, scan.prompted)])
        with pytest.raises(VoxsamError, match="memory"):
            model.track(scan.embeddings[1], [(-1, Memory(foreign.features, prompted=True))])


def relative(memories: Sequence[tuple[int, Memory]], index: int) -> list[tuple[int, Memory]]:
    """Memories by the number of slices from `index`."""
    return [(there - index, memory) for there, memory in memories]
