"""Batches made as tensors: what the generator on the device promises, proven on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from voxsam.training.config import Config, Phase
from voxsam.training.device_batches import DeviceMaker
from voxsam.training.device_prompts import boxes_of, connected_to, corrected_on_device, deep_points, depth_of, jittered
from voxsam.training.device_scenes import Dice, draw_scenes, following_slices, photograph
from voxsam.training.loop import Trainer
from voxsam.training.prompts import KINDS
from voxsam.training.tensors import TensorBatch

SIZE = 64
SMALL = Config(workers=0)


@pytest.fixture
def dice() -> Dice:
    return Dice(torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def batch() -> TensorBatch:
    return DeviceMaker(SMALL, "cpu").make(0, images=16, size=SIZE)


def disc(radius: float, centre: tuple[float, float] = (30.0, 28.0)) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return torch.hypot(rows - centre[0], columns - centre[1]) < radius


def test_the_same_step_gives_the_same_batch(batch: TensorBatch) -> None:
    again = DeviceMaker(SMALL, "cpu").make(0, images=16, size=SIZE)
    other = DeviceMaker(SMALL, "cpu").make(1, images=16, size=SIZE)
    assert torch.equal(again.images, batch.images)
    assert torch.equal(again.targets, batch.targets)
    assert not torch.equal(other.images, batch.images)


def test_images_use_their_range_and_targets_their_shares(batch: TensorBatch) -> None:
    assert batch.images.shape == (16, 3, SIZE, SIZE)
    assert batch.images.min() >= 0
    assert batch.images.max() <= 1
    assert (batch.images.flatten(1).std(1) > 0.02).float().mean() > 0.9
    assert batch.targets.shape == (16, SMALL.prompts, SIZE // 2, SIZE // 2)


def test_partners_show_the_same_structures(batch: TensorBatch) -> None:
    assert torch.equal(batch.partners[batch.partners], torch.arange(16))
    here, there = batch.targets[:8] > 0.5, batch.targets[8:] > 0.5
    overlap = (here & there).sum((-1, -2)) / (here | there).sum((-1, -2)).clamp_min(1)
    assert 0.3 < overlap.median() < 1


def test_clicks_lie_in_their_targets_and_boxes_around_them(batch: TensorBatch) -> None:
    prompts, click = batch.prompts, KINDS.index("click")
    told = 0
    for b, p in np.argwhere(batch.kinds.numpy() == click):
        x, y = prompts.points_xy[b, p, 0].long() // 2
        told += 1
        assert batch.targets[b, p, y, x] > 0
    assert told > 3
    assert prompts.has_box.any()
    assert (prompts.boxes_xyxy[..., 2:] >= prompts.boxes_xyxy[..., :2]).all()


def test_every_first_prompt_says_something(batch: TensorBatch) -> None:
    prompts = batch.prompts
    said = (prompts.point_labels >= 0).any(-1) | prompts.has_box | prompts.has_mask | batch.has_memory
    empty = ~(batch.targets > 0).flatten(2).any(-1)
    assert (said | empty).all()


def test_regions_lie_in_their_parents_families(dice: Dice) -> None:
    scenes = draw_scenes(dice, 6, SIZE)
    family = scenes.family(torch.tensor([[1, 4]]).expand(6, -1))
    assert family[:, 0, 1].all()
    assert family[:, 0, 4].all()  # the cavity lies inside the skin
    assert not family[:, 1, 1].any()


def test_what_follows_resembles_what_went_before(dice: Dice) -> None:
    scenes = draw_scenes(dice, 12, SIZE)
    following = following_slices(dice, scenes)
    same = (scenes.labels == following.labels).float().mean((1, 2))
    assert 0.5 < same.median() < 1
    images = photograph(dice, [scenes, following])
    both = torch.stack([image.flatten(1) for image in images])
    assert torch.corrcoef(both[:, 0])[0, 1] > 0.3


def test_depth_is_nearly_the_distance_to_the_border() -> None:
    mask = disc(15)
    exact = torch.from_numpy(ndimage.distance_transform_edt(mask.numpy()))
    depth = depth_of(mask[None, None])[0, 0]
    inside = mask & (exact > 1)
    assert ((depth - exact).abs()[inside] <= 2.5).all()
    assert (depth[~mask] == 0).all()


def test_deep_points_are_deep(dice: Dice) -> None:
    depth = depth_of(torch.stack([disc(12), disc(12, (20.0, 40.0))])[None])
    points = deep_points(dice, depth, anywhere=0.0)
    for found, centre in zip(points[0].float(), ((30.0, 28.0), (20.0, 40.0)), strict=True):
        assert torch.hypot(found[0] - centre[0], found[1] - centre[1]) < 7


def test_a_component_is_what_is_connected_with_a_pixel() -> None:
    mask = disc(6) | disc(6, (10.0, 50.0))
    part = connected_to(mask[None], torch.tensor([[30, 28]]))[0]
    assert torch.equal(part, disc(6))


def test_boxes_are_the_outer_pixels(dice: Dice) -> None:
    mask = torch.zeros(1, 2, SIZE, SIZE, dtype=torch.bool)
    mask[0, 0, 10:20, 30:45] = True
    boxes = boxes_of(mask)
    assert boxes[0].tolist() == [[30, 10, 44, 19], [0, 0, 0, 0]]
    drawn = torch.cat([jittered(dice, boxes[:, :1], SIZE) for _ in range(200)])[:, 0]
    assert (drawn.median(0).values - boxes[0, 0]).abs().max() < 3


def test_a_correction_lands_in_an_error_and_says_the_truth(dice: Dice, batch: TensorBatch) -> None:
    logits = torch.full((16, SMALL.prompts, 4, SIZE // 2, SIZE // 2), -3.0)
    after = corrected_on_device(dice, batch.prompts, logits, torch.zeros(16, SMALL.prompts, 4), batch.targets)
    assert after.point_labels.shape[-1] == batch.prompts.point_labels.shape[-1] + 1
    for b, p in np.argwhere((batch.targets > 0.5).flatten(2).any(-1).numpy()):
        x, y = after.points_xy[b, p, -1].long() // 2
        assert after.point_labels[b, p, -1] == 1
        assert batch.targets[b, p, y, x] > 0.5


def test_a_run_with_batches_from_the_device_learns_and_resumes(tmp_path: Path) -> None:
    config = replace(SMALL, steps=4, prompts=2, phases=(Phase(1.0, SIZE, 4),), warmup_steps=1)
    trainer = Trainer(tmp_path, config, on_device=True, autocast=False)
    trainer.run()
    assert trainer.step == 4
    again = Trainer(tmp_path, replace(config, steps=6), on_device=True, autocast=False)
    again.run()
    assert again.step == 6
    assert again.images_seen == 24


def test_real_slices_are_sampled_on_the_device(packed: Path) -> None:
    maker = DeviceMaker(replace(SMALL, data=str(packed), real_image_share=1.0), "cpu")
    batch = maker.make(0, images=8, size=SIZE)
    assert (batch.sources == 2).all()
    organ = batch.targets[:, 0] > 0.5
    inside, outside = batch.images[:, 0, ::2, ::2][organ], batch.images[:, 0, ::2, ::2][~organ]
    assert organ.any()
    assert inside.median() > outside.median() + 0.3  # the organ of the prepared scan is bright
