"""What the generator promises: batches that depend on their step alone, targets that can be seen, honest prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voxsam.training.batches import Batch, BatchMaker
from voxsam.training.config import Config
from voxsam.training.drawings import LARGEST_SHARE
from voxsam.training.intensities import degrade, render, to_display
from voxsam.training.noise import NoiseBank
from voxsam.training.preview import save_preview
from voxsam.training.prompts import KINDS, correction_click, earlier_logits, first_prompt, jitter_box
from voxsam.training.scenes import Scene, invent_scene, next_slice

SIZE = 64
SMALL = Config(workers=0)


@pytest.fixture(scope="module")
def bank() -> NoiseBank:
    return NoiseBank(0)


@pytest.fixture(scope="module")
def maker() -> BatchMaker:
    return BatchMaker(SMALL)


@pytest.fixture(scope="module")
def batch(maker: BatchMaker) -> Batch:
    return maker.make(0, images=8, size=SIZE)


def disc(size: int = SIZE, radius: float = 14, centre: tuple[float, float] = (32, 30)) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def same(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_the_same_step_gives_the_same_batch_in_any_maker(maker: BatchMaker, batch: Batch) -> None:
    maker.make(5, images=2, size=SIZE)  # whatever was made before
    assert same(maker.make(0, images=8, size=SIZE), batch)
    assert same(BatchMaker(SMALL).make(0, images=8, size=SIZE), batch)


def test_another_step_or_seed_gives_another_batch(maker: BatchMaker, batch: Batch) -> None:
    assert not same(maker.make(1, images=8, size=SIZE), batch)
    assert not same(BatchMaker(replace(SMALL, seed=1)).make(0, images=8, size=SIZE), batch)


def test_targets_are_neither_specks_nor_the_whole_image(maker: BatchMaker) -> None:
    alone = BatchMaker(replace(SMALL, pair_share=0.0)).make(0, images=8, size=SIZE)
    areas = alone.targets.sum((2, 3))
    assert areas.min() >= 12
    assert areas.max() <= LARGEST_SHARE * SIZE**2


def test_the_images_of_a_pair_show_the_same_structures_a_little_further_on() -> None:
    pairs = BatchMaker(replace(SMALL, pair_share=1.0)).make(1, images=16, size=SIZE)
    assert (pairs.partners[pairs.partners] == np.arange(16)).all()
    assert (pairs.partners != np.arange(16)).all()
    here, there = pairs.targets, pairs.targets[pairs.partners]
    overlap = (here & there).sum((2, 3)) / np.maximum((here | there).sum((2, 3)), 1)
    assert 0.4 < np.median(overlap) < 1  # alike, not the same
    assert not (pairs.images == pairs.images[pairs.partners]).all((1, 2, 3)).any()  # each has noise of its own


def test_what_ended_before_a_slice_is_only_asked_for_by_what_is_known_of_its_neighbour() -> None:
    maker = BatchMaker(replace(SMALL, pair_share=1.0))
    ended = 0
    for step in range(6):
        pairs = maker.make(step, images=8, size=SIZE)
        empty = ~pairs.targets.any((2, 3))
        ended += int(empty.sum())
        assert (pairs.has_memory | pairs.has_mask)[empty].all()
        assert not (pairs.point_labels[empty] == 1).any()
    assert ended > 0


def test_an_image_without_a_pair_has_no_memory() -> None:
    alone = BatchMaker(replace(SMALL, pair_share=0.0)).make(0, images=8, size=SIZE)
    assert (alone.partners == np.arange(8)).all()
    assert not alone.has_memory.any()


def test_the_next_slice_shows_the_same_regions_somewhat_changed(bank: NoiseBank) -> None:
    rng = np.random.default_rng(0)
    scene = invent_scene(rng, bank, SIZE)
    following = [next_slice(scene, rng, bank) for _ in range(10)]
    for slice_ in following:
        assert set(np.unique(slice_.labels)) <= set(range(len(scene.parents)))
        assert slice_.parents == scene.parents
    shown = set(np.unique(scene.labels))
    assert any(shown - set(np.unique(slice_.labels)) for slice_ in following)  # some end
    assert 0.5 < np.mean([(slice_.labels == scene.labels).mean() for slice_ in following]) < 1


def test_images_use_their_range(batch: Batch) -> None:
    assert batch.images.shape == (8, 3, SIZE, SIZE)
    assert batch.images.dtype == np.uint8
    assert np.ptp(batch.images.reshape(8, -1), axis=1).min() > 40


def test_first_clicks_say_the_truth(batch: Batch) -> None:
    for b, p, n in np.argwhere(batch.point_labels >= 0):
        x, y = batch.points_xy[b, p, n].astype(int)
        assert batch.targets[b, p, y, x] == (batch.point_labels[b, p, n] == 1)


def test_every_first_prompt_says_something(batch: Batch) -> None:
    assert ((batch.point_labels >= 0).any(-1) | batch.has_box | batch.has_mask | batch.has_memory).all()


def test_all_kinds_of_first_prompts_occur(bank: NoiseBank) -> None:
    rng = np.random.default_rng(0)
    prompts = [first_prompt(disc(), rng, bank, neighbour=disc(radius=11), paired=True) for _ in range(150)]
    assert {prompt.kind for prompt in prompts} == set(range(len(KINDS)))
    for prompt in prompts:
        assert (prompt.mask_logits is not None) == (KINDS[prompt.kind] == "mask")
        assert prompt.memory_logits is not None or KINDS[prompt.kind] != "memory"
        assert (prompt.box_xyxy is None) or (prompt.box_xyxy[2:] >= prompt.box_xyxy[:2]).all()


def test_boxes_stay_near_what_they_mean() -> None:
    rng = np.random.default_rng(0)
    tight = np.array([17, 19, 43, 45])
    boxes = np.stack([jitter_box(disc(), rng) for _ in range(200)])
    assert np.abs(boxes - tight).max() <= 1.2 * 27 + 2
    assert np.abs(np.median(boxes, 0) - tight).max() < 3


def test_an_earlier_answer_resembles_its_structure(bank: NoiseBank) -> None:
    rng = np.random.default_rng(0)
    half = disc()[::2, ::2]
    overlaps = []
    for _ in range(40):
        answer = earlier_logits(disc(), rng, bank, None) > 0
        overlaps.append((answer & half).sum() / (answer | half).sum())
    assert np.median(overlaps) > 0.6
    assert min(overlaps) < 0.9  # it is not the truth


def test_a_correction_lands_in_the_deepest_error() -> None:
    target, answer = disc(32, 9, (16, 16)), disc(32, 9, (16, 9))
    for seed in range(20):
        click = correction_click(target, answer, np.random.default_rng(seed))
        assert click is not None
        x, y, label = click
        row, column = int(y) // 2, int(x) // 2
        assert target[row, column] != answer[row, column]
        assert label == target[row, column]


def test_a_perfect_answer_needs_no_correction() -> None:
    assert correction_click(disc(), disc(), np.random.default_rng(0)) is None


def test_a_scene_knows_what_lies_inside_what() -> None:
    scene = Scene(np.zeros((SIZE, SIZE), np.int16))
    body = scene.paint(disc(radius=28))
    organ = scene.paint(disc(radius=12))
    lesion = scene.paint(disc(radius=4))
    assert scene.parents == [-1, 0, body, organ]
    assert scene.family(body) == {body, organ, lesion}
    assert scene.family(lesion) == {lesion}
    assert scene.paint(np.zeros((SIZE, SIZE), bool)) == 0


def test_scenes_vary_and_are_rendered_to_finite_display_values(bank: NoiseBank) -> None:
    rng = np.random.default_rng(3)
    for _ in range(25):
        scene = invent_scene(rng, bank, SIZE)
        assert scene.labels.max() < len(scene.parents)
        image, noise = degrade(render(scene, rng, bank), rng, bank)
        shown = to_display(image, rng)
        assert shown.shape == (3, SIZE, SIZE)
        assert noise > 0
        assert np.isfinite(shown).all()
        assert 0 <= shown.min() <= shown.max() <= 1


def test_noise_has_unit_variance_and_the_scale_asked_for(bank: NoiseBank) -> None:
    rng = np.random.default_rng(0)
    for scale in (1.0, 8.0):
        fields = np.stack([bank.cut(rng, 200, scale_px=scale) for _ in range(10)])
        assert 0.8 < fields.std() < 1.2
        neighbours = np.corrcoef(fields[:, 4:].ravel(), fields[:, :-4].ravel())[0, 1]
        assert (neighbours > 0.7) == (scale == 8.0)


def test_a_preview_is_a_picture(batch: Batch, tmp_path: Path) -> None:
    from PIL import Image

    save_preview(batch, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size == (2 * 4 * SIZE, 2 * SIZE)


def test_only_the_training_part_is_packed(packed: Path) -> None:
    cases = json.loads((packed / "cases.json").read_text())
    assert [(case["name"], case["kind"]) for case in cases] == [("a_MR__seg", "MR"), ("shapes_seg", "labels")]


def test_real_slices_take_their_share_of_a_batch(packed: Path) -> None:
    config = replace(SMALL, data=str(packed), real_image_share=0.5, real_label_share=0.4)
    sources = BatchMaker(config).make(0, images=24, size=SIZE).sources
    assert set(sources.tolist()) >= {1, 2}


def test_a_configuration_reads_back_as_it_was_written(tmp_path: Path) -> None:
    config = replace(SMALL, steps=7, round_shares=(0.5, 0.5))
    (tmp_path / "config.json").write_text(config.to_json())
    assert Config.from_json(tmp_path / "config.json") == config


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"stepz": 3}')
    with pytest.raises(ValueError, match="stepz"):
        Config.from_json(tmp_path / "config.json")


def test_a_flat_image_is_shown_without_complaint() -> None:
    flat = np.full((SIZE, SIZE), 0.5, np.float32)
    for seed in range(60):
        shown = to_display(flat, np.random.default_rng(seed))
        assert np.isfinite(shown).all()
        assert 0 <= shown.min() <= shown.max() <= 1
