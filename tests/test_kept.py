from __future__ import annotations

import numpy as np
import pytest

from fakes import FloodFillModel
from phantoms import GROUND_HU, OBJECT_HU
from voxsam.embeddings import EmbeddingStore
from voxsam.geometry import Geometry
from voxsam.kept import KeptStep
from voxsam.prompts import Box, MaskPrompt, Point, Prompt
from voxsam.propagate import propagate
from voxsam.volume import Mask, Volume
from voxsam.walk import Step
from voxsam.windowing import Window

GEOMETRY = Geometry.from_spacing((20, 256, 256), (2.0, 1.0, 1.0))


def step_with(mask: np.ndarray) -> Step:
    logits = np.where(mask, 4.0, -4.0).astype(np.float32)
    return Step(3, logits, mask, float(mask.sum()), overlap=0.9, quality=0.8, reason="so")


def test_a_kept_step_comes_back_with_its_mask_and_the_logits_near_it() -> None:
    mask = np.zeros((200, 300), bool)
    mask[5:40, 250:299] = np.random.default_rng(0).random((35, 49)) > 0.5
    kept = KeptStep.of(step_with(mask), logits=True)
    whole = kept.whole()
    assert np.array_equal(whole.mask, mask)
    assert np.array_equal(whole.to_logits() > 0, mask)
    assert whole.to_logits()[150, 20] < -4
    assert (whole.index, whole.overlap, whole.quality, whole.reason) == (3, 0.9, 0.8, "so")
    assert kept.nbytes < 0.1 * (mask.nbytes + step_with(mask).to_logits().nbytes)


def test_an_empty_step_takes_nothing_and_an_entire_one_loses_nothing() -> None:
    empty = step_with(np.zeros((60, 50), bool))
    assert KeptStep.of(empty).nbytes == 0
    assert not KeptStep.of(empty).whole().mask.any()
    full = step_with(np.eye(50, dtype=bool))
    assert np.array_equal(KeptStep.entire(full).whole().to_logits(), full.to_logits())


@pytest.mark.parametrize("said", ["drawn", "box", "drawn at both ends"])
def test_propagation_keeps_what_the_object_fills_and_not_whole_slices(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.full(GEOMETRY.shape, GROUND_HU, np.int16)
    array[1:19, 100:140, 90:130] = OBJECT_HU
    truth = array > GROUND_HU
    drawn = truth.copy()
    drawn[2:18] &= said == "drawn"
    prompts: dict[str, Prompt] = {
        "drawn": MaskPrompt(Mask(drawn, GEOMETRY)),
        "box": Box((1, 98, 88), (18, 141, 131)),
        "drawn at both ends": MaskPrompt(Mask(drawn, GEOMETRY)),
    }
    kept: list[int] = []
    of = KeptStep.of

    def counted(step: Step, *, logits: bool = False) -> KeptStep:
        kept.append(of(step, logits=logits).nbytes)
        return of(step, logits=logits)

    monkeypatch.setattr(KeptStep, "of", counted)
    monkeypatch.delattr(KeptStep, "entire")
    volume = Volume(array, GEOMETRY, modality="CT")
    store = EmbeddingStore(FloodFillModel(), volume)
    found = propagate(store, [prompts[said]], plane="axial", windows=(Window(400, 40),))
    assert np.array_equal(found.mask, truth)
    assert len(kept) >= 18
    assert max(kept) < 0.1 * 5 * 256 * 256  # a mask and its logits are five bytes a voxel


def test_what_clicks_will_correct_is_kept_entire(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.full(GEOMETRY.shape, GROUND_HU, np.int16)
    array[1:19, 100:140, 90:130] = OBJECT_HU
    entire: list[int] = []
    whole = KeptStep.entire

    def counted(step: Step) -> KeptStep:
        entire.append(step.index)
        return whole(step)

    monkeypatch.setattr(KeptStep, "entire", counted)
    store = EmbeddingStore(FloodFillModel(), Volume(array, GEOMETRY, modality="CT"))
    clicks = [Point((4, 120, 110)), Point((12, 120, 125), positive=False)]
    propagate(store, clicks, plane="axial", windows=(Window(400, 40),))
    assert set(entire) == {12}
