"""What the loop promises: it learns, resumes to the step, stops when told, and ships what it averaged."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from voxsam.errors import InputError
from voxsam.models.compact_network import CompactNetwork
from voxsam.training.__main__ import main
from voxsam.training.batches import BatchMaker
from voxsam.training.checkpoints import MovingAverage, load_checkpoint
from voxsam.training.config import Config, Phase
from voxsam.training.export import export_run, shipped_state
from voxsam.training.loop import Schedule, Trainer
from voxsam.training.loss import answer_losses, iou, mask_costs
from voxsam.training.tensors import corrected, to_tensors

torch.set_num_threads(1)
SIZE = 32
TINY = Config(
    phases=(Phase(1.0, SIZE, 2),), steps=3, prompts=2, workers=0, warmup_steps=1, round_shares=(0.5, 0.5), reuse=1
)


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    Trainer(folder, TINY).run()
    return folder


def test_a_handful_of_images_is_learnt() -> None:
    trainer_batch = BatchMaker(replace(TINY, prompts=1)).make(0, images=4, size=64)
    network = CompactNetwork()
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    batch = to_tensors(trainer_batch)
    images, targets, prompts = batch.images, batch.targets, batch.prompts
    reached = []
    for _ in range(40):
        logits, scores = network.decode(network.encoder(images), prompts)
        losses = answer_losses(logits, scores, targets)
        optimiser.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        reached.append(float(losses.reached.amax(-1).mean()))
    assert reached[0] < 0.3
    assert reached[-1] > 0.6


def test_a_run_leaves_a_log_a_configuration_and_a_checkpoint(finished: Path) -> None:
    assert Config.from_json(finished / "config.json") == TINY
    assert load_checkpoint(finished / "checkpoint.pt")["step"] == 3
    assert not list(finished.glob("*.partial"))


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path, finished: Path) -> None:
    first = Trainer(tmp_path, TINY)
    for batch in first._batches():
        first.train_step(batch, 1e-3)
        break
    first.save()
    resumed, whole = Trainer(tmp_path, TINY), Trainer(tmp_path / "whole", TINY)
    assert resumed.step == 1
    assert torch.equal(weights(resumed), weights(first))
    for trainer in (resumed, whole):
        for batch in trainer._batches():
            trainer.train_step(batch, 1e-3)
    assert resumed.step == whole.step == 3
    torch.testing.assert_close(weights(resumed), weights(whole))


def test_a_run_that_is_told_to_stop_ends_after_its_step(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, TINY)
    trainer.stopping = True
    trainer.run()
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 1


def test_the_log_holds_what_was_reached_and_the_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxsam.training.loop.LOG_EVERY", 1)
    Trainer(tmp_path, replace(TINY, steps=10)).run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 10
    assert {"step", "images", "cost", "r1.best3", "r1.one", "images_per_s"} <= set(lines[0])
    scales = lines[-1]["scales"]
    assert 0.01 < min(scales.values()) <= max(scales.values()) < 10


def test_workers_make_the_same_batches_as_the_process_itself(tmp_path: Path) -> None:
    own = next(iter(Trainer(tmp_path / "a", TINY)._batches()))
    batches = Trainer(tmp_path / "b", replace(TINY, workers=1))._batches()
    theirs = next(batches)
    batches.close()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(own.images, theirs.images)
    np.testing.assert_array_equal(own.prompts.points_xy, theirs.prompts.points_xy)


def test_the_schedule_follows_the_clock_or_the_steps() -> None:
    config = Config(steps=100, warmup_steps=10, hold=0.5, learning_rate=1.0)
    by_steps, by_clock = Schedule(config), Schedule(config, began=1000.0, ends=2000.0)
    assert by_steps.progress(50, now=0.0) == by_clock.progress(0, now=1500.0) == 0.5
    assert by_clock.progress(0, now=9999.0) == 1.0
    rates = [by_steps.learning_rate(step, by_steps.progress(step, 0.0)) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.01)


def test_phases_change_where_they_say() -> None:
    config = Config(phases=(Phase(0.5, 128, 12), Phase(1.0, 256, 4)))
    assert [config.phase_at(progress).size_px for progress in (0.0, 0.49, 0.5, 1.0)] == [128, 128, 256, 256]


def test_a_perfect_answer_costs_almost_nothing_and_a_wrong_one_much() -> None:
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:12, 4:12] = 1
    right = (20 * target - 10).unsqueeze(2).expand(1, 1, 4, 16, 16)
    assert float(mask_costs(right, target).max()) < 0.01
    assert float(mask_costs(-right, target).min()) > 1
    assert iou(right, target).tolist() == [[[1.0] * 4]]
    assert iou(-right, target).max() == 0


def test_corrections_add_a_click_and_the_answer() -> None:
    batch = BatchMaker(TINY).make(0, images=2, size=SIZE)
    tensors = to_tensors(batch)
    targets, prompts = tensors.targets, tensors.prompts
    logits = torch.full((2, 2, 4, SIZE // 2, SIZE // 2), -5.0)
    after = corrected(prompts, logits, torch.zeros(2, 2, 4), targets, np.random.default_rng(0))
    assert after.point_labels.shape[2] == prompts.point_labels.shape[2] + 1
    assert (after.point_labels[..., -1] == 1).all()  # nothing was found, so something is missing
    assert after.has_mask.all()
    assert (after.mask_logits == -5).all()


def test_the_average_follows_slowly_and_its_statistics_are_measured() -> None:
    network = CompactNetwork()
    average = MovingAverage(network, 0.9)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    before = next(iter(average.network.parameters())).clone()
    average.update(network, step=1000)
    moved = next(iter(average.network.parameters())) - before
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1))
    average.settle([torch.rand(2, 3, SIZE, SIZE)])
    norm = average.network.encoder.stage2[0].norm
    assert int(norm.num_batches_tracked) == 1
    assert not average.network.training


def test_what_ships_is_the_folded_average_in_half_precision(finished: Path, tmp_path: Path) -> None:
    export_run(finished, tmp_path / "compact.safetensors")
    state = load_file(tmp_path / "compact.safetensors")
    assert not any("running_var" in name for name in state)
    assert {tensor.dtype for name, tensor in state.items() if not name.endswith("frequencies")} == {torch.float16}
    assert (tmp_path / "compact.safetensors").stat().st_size < 12e6
    with safe_open(tmp_path / "compact.safetensors", "pt") as file:
        assert file.metadata()["steps"] == "3"
        assert file.metadata()["licence"] == "Apache-2.0"


def test_weights_too_large_for_half_precision_are_refused() -> None:
    network = CompactNetwork()
    with torch.no_grad():
        network.mask_decoder.up8.weight[0] = 1e5
    with pytest.raises(InputError, match=r"up8\.weight"):
        shipped_state(network)


def test_exporting_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        export_run(tmp_path, tmp_path / "out.safetensors")


def test_the_command_line_previews_trains_and_exports(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxsam.training.__main__.keep_memory", lambda: None)  # lasts for the whole process
    monkeypatch.setattr("signal.signal", lambda *_: None)
    config = tmp_path / "tiny.json"
    config.write_text(TINY.to_json())
    assert main(["generate-preview", str(tmp_path / "p.png"), "--config", str(config), "--images", "4"]) == 0
    run = tmp_path / "run"
    assert main(["train", str(run), "--config", str(config), "--steps", "1"]) == 0
    assert main(["export", str(run), str(tmp_path / "out.safetensors")]) == 0
    with caplog.at_level(logging.ERROR):
        assert main(["export", str(tmp_path / "none"), str(tmp_path / "x.safetensors")]) == 2
    assert "no checkpoint" in caplog.text
