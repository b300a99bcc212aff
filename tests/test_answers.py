"""A correction hears the mask that is there and the other prompted slices, and changes what it was made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fakes import LOGIT, FloodFillModel
from phantoms import paint
from voxsam.answers import corrected_slice
from voxsam.cropped import CroppedMask
from voxsam.embeddings import EmbeddingStore
from voxsam.geometry import Geometry
from voxsam.models.base import Embedding, Memory, SliceLogits, SlicePrompts
from voxsam.predict import SlicePrediction
from voxsam.prompts import Box, Point, Prompt
from voxsam.views import SliceStack
from voxsam.walk import drawn_logits
from voxsam.windowing import choose_window

BoolArray = npt.NDArray[np.bool_]

#: Two discs of one value on every slice, with ground between them.
LEFT = np.zeros((9, 40, 44), bool)
LEFT[:, 14:26, 6:16] = True
RIGHT = np.zeros_like(LEFT)
RIGHT[:, 14:26, 28:38] = True


@dataclass
class TrackingFlood(FloodFillModel):
    """A flood that remembers slices: from memory it answers with the last shape that it was shown."""

    memory_slots: int = 4
    asked: list[SlicePrompts] = field(default_factory=list)
    shown: list[list[int]] = field(default_factory=list)

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        self.asked.append(prompts)
        return super().decode(embedding, prompts, multimask=multimask)

    def remember(
        self, embedding: Embedding, mask_logits: npt.NDArray[np.float32], *, prompted: bool, pointer: Any = None
    ) -> Memory:
        return Memory({"shape": mask_logits}, prompted=prompted)

    def track(
        self, embedding: Embedding, memories: Sequence[tuple[int, Memory]], prompts: SlicePrompts | None = None
    ) -> SliceLogits:
        self.shown.append([distance for distance, _ in memories])
        shape = np.asarray(memories[0][1].features["shape"]) > 0
        logits = np.where(shape, np.float32(LOGIT), np.float32(-LOGIT))[None]
        return SliceLogits(logits, np.array([0.9], np.float32), logits[:, ::4, ::4].copy())


def answer(model: FloodFillModel, mask: BoolArray, prompts: Sequence[Prompt], index: int = 4) -> SlicePrediction:
    scan = paint(LEFT | RIGHT, Geometry.from_spacing(mask.shape), noise_hu=0)
    store = EmbeddingStore(model, SliceStack(scan))
    view = store.stack.view("axial", index, choose_window(scan, "auto"))
    return corrected_slice(store, view, prompts, CroppedMask.of(mask), drawn_logits(mask[index]))


def test_a_click_that_adds_finds_the_other_part() -> None:
    found = answer(FloodFillModel(), LEFT, [Point((1, 20, 10)), Point((4, 20, 33))])
    assert np.array_equal(found.mask, (LEFT | RIGHT)[4])


def test_a_box_with_the_sides_of_an_extent_is_still_loose_when_it_is_corrected() -> None:
    drawn, through = Box((4, 14, 2), (4, 26, 20)), Box((1, 14, 2), (7, 26, 20))
    for prompts, tight in (([drawn], True), ([drawn, through], False)):
        model = TrackingFlood()
        answer(model, LEFT, [*prompts, Point((4, 20, 33))])
        boxed = [asked.box_is_tight for asked in model.asked if asked.box_xyxy is not None]
        assert set(boxed) == {tight}


def test_a_box_with_an_extent_does_not_say_how_wide_the_object_is_off_its_middle() -> None:
    model = TrackingFlood()
    answer(model, LEFT, [Box((0, 2, 2), (4, 38, 40)), Point((4, 20, 33))])
    assert all(prompts.box_xyxy is None for prompts in model.asked)


def test_other_prompted_slices_are_shown() -> None:
    model = TrackingFlood()
    answer(model, LEFT | RIGHT, [Point((1, 20, 10)), Point((4, 20, 33))])
    assert model.shown == [[-3]]


def test_a_click_that_adds_takes_nothing_away() -> None:
    mask = LEFT.copy()
    mask[4, 2:6, 20:24] = True  # unlike the rest of the mask: the model by itself leaves it out
    found = answer(FloodFillModel(), mask, [Point((1, 20, 10)), Point((4, 20, 33))])
    assert np.array_equal(found.mask, mask[4] | RIGHT[4])


def test_a_click_that_takes_away_adds_nothing() -> None:
    mask = np.zeros_like(LEFT)
    mask[4, 14:26, 18:26] = True  # ground, which the model by itself follows to the slice's edges
    found = answer(FloodFillModel(), mask, [Point((1, 20, 10)), Point((4, 20, 22), positive=False)])
    assert not found.mask[20, 22]
    assert not (found.mask & ~mask[4]).any()


def test_a_click_that_takes_away_keeps_to_the_part_that_it_lies_on() -> None:
    mask = LEFT | RIGHT
    mask[4, 0:4, 0:4] = True  # wrong as well, but nobody clicked on it
    found = answer(FloodFillModel(), mask, [Point((1, 20, 10)), Point((4, 20, 29), positive=False)])
    assert found.mask[0:4, 0:4].all()
    assert not found.mask[20, 29]
