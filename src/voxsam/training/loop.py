"""The training loop: batches, rounds of corrections, steps, a log of what is reached."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxsam.models.compact_network import CompactNetwork
from voxsam.models.compact_prompts import PromptBatch
from voxsam.training.batches import Batch, BatchMaker
from voxsam.training.checkpoints import MovingAverage, load_checkpoint, save_checkpoint
from voxsam.training.config import Config, Phase
from voxsam.training.device_batches import DeviceMaker
from voxsam.training.device_prompts import corrected_on_device
from voxsam.training.device_scenes import Dice
from voxsam.training.drawings import SOURCES
from voxsam.training.loss import answer_losses
from voxsam.training.prompts import KINDS
from voxsam.training.starting import network_from_weights
from voxsam.training.tensors import TensorBatch, corrected, remembered, to_tensors

__all__ = ["Schedule", "Trainer"]

log = logging.getLogger(__name__)
LOG_EVERY = 50
SETTLING_BATCHES = 16


@dataclass(frozen=True)
class Schedule:
    """How far a run is, and its learning rate: by steps, or by the clock where a machine is lent for a time.

    Parameters
    ----------
    config : Config
    began, ends : float or None
        Unix seconds; None counts steps.
    """

    config: Config
    began: float | None = None
    ends: float | None = None

    def progress(self, step: int, now: float) -> float:
        """Share of the run that is done, 0..1."""
        if self.began is not None and self.ends is not None:
            return min(1.0, max(0.0, (now - self.began) / (self.ends - self.began)))
        return min(1.0, step / self.config.steps)

    def learning_rate(self, step: int, progress: float) -> float:
        """Warm up, hold, then a cosine to a hundredth."""
        config = self.config
        warm = min(1.0, (step + 1) / config.warmup_steps)
        fall = max(0.0, (progress - config.hold) / max(1 - config.hold, 1e-9))
        return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


class Trainer:
    """One run in one folder: ``config.json``, ``log.jsonl``, ``checkpoint.pt``.

    Parameters
    ----------
    folder : Path
        Resumed if it holds a checkpoint.
    config : Config
    ends : float or None
        Unix seconds at which to be done; None: after ``config.steps``.
    autocast : bool
        Compute in bfloat16 where it is safe.
    device : str
        Where to train, as torch names it. On anything but the CPU, batches are made there too.
    on_device : bool, optional
        Make batches on the device; without, wherever that is not the CPU.
    start : Path, optional
        Weights to start from, such as those that ship; without, a new run starts from nothing.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        *,
        ends: float | None = None,
        autocast: bool = True,
        device: str = "cpu",
        on_device: bool | None = None,
        start: Path | None = None,
    ) -> None:
        self.folder, self.config, self.autocast = folder, config, autocast
        self.device = torch.device(device)
        self._on_device = self.device.type != "cpu" if on_device is None else on_device
        torch.manual_seed(config.seed)
        fresh = start is None or (folder / "checkpoint.pt").exists()
        self.network = CompactNetwork() if fresh or start is None else network_from_weights(start, self._few_images())
        self.network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in place
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), foreach=True)
        self.average = MovingAverage(self.network, config.ema)
        self.step, self.images_seen, self.began = 0, 0, time.time()
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()
        (folder / "config.json").write_text(config.to_json())  # a resumed run may have been given another
        self.schedule = Schedule(config, None if ends is None else self.began, ends)
        self._reached: dict[str, list[float]] = defaultdict(list)
        self._costs: list[float] = []
        self.stopping = False  # set it from elsewhere to end after the present step

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run lies."""
        return self.folder / "checkpoint.pt"

    def run(self) -> None:
        """Train until the schedule ends, or `stopping` is set; leaves a checkpoint."""
        saved = logged = time.time()
        seen = self.images_seen
        for batch in self._batches():
            progress = self.schedule.progress(self.step, time.time())
            rate = self.schedule.learning_rate(self.step, progress)
            self.train_step(batch, rate)
            now = time.time()
            if self.step % LOG_EVERY == 0:
                self._log(progress, rate, (self.images_seen - seen) / (now - logged))
                logged, seen = now, self.images_seen
            if self.stopping:
                break
            if now - saved > 60 * self.config.checkpoint_minutes:
                self.save()
                saved = now
        self.save(settle=not self.stopping)

    def train_step(self, batch: TensorBatch, rate: float) -> float:
        """Take one step on a batch with its rounds of corrections; returns the cost."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([self.config.seed, self.step, 7])
        images, targets, prompts = batch.images, batch.targets, batch.prompts
        rounds = 1 + int(rng.choice(len(self.config.round_shares), p=self.config.round_shares))
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            features = self.network.encoder(images)
            memory = remembered(features["match"], batch)
            prompts = replace(prompts, recalled=self.network.mask_decoder.recalled(features, memory))
        cost = images.new_zeros(())
        for turn in range(rounds):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                logits, scores = self.network.decode(features, prompts)
            losses = answer_losses(logits, scores, targets)
            cost = cost + losses.total / rounds
            self._note(batch, turn, losses.reached, scores.detach())
            if turn + 1 < rounds:
                prompts = self._corrected(prompts, logits.detach(), scores.detach(), targets, rng)
        self.optimiser.zero_grad(set_to_none=True)
        cost.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm, foreach=True)
        self.optimiser.step()
        self.step += 1
        self.images_seen += len(images)
        self.average.update(self.network, self.step)
        self._costs.append(float(cost.detach()))
        return self._costs[-1]

    def save(self, *, settle: bool = False) -> None:
        """Write the checkpoint; `settle` first measures the batch statistics of the averaged weights."""
        if settle:
            self.settle()
        state = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "images_seen": self.images_seen,
            "began": self.began,
        }
        save_checkpoint(self.checkpoint, state)

    def _few_images(self) -> Iterator[Tensor]:
        maker = BatchMaker(replace(self.config, reuse=1))
        phase = self.config.phases[0]
        for i in range(4):
            yield to_tensors(maker.make(10**8 + i, images=2 * phase.images, size=phase.size_px)).images

    def settle(self, phase: Phase | None = None, *, batches: int = SETTLING_BATCHES) -> None:
        """Measure the batch statistics of the averaged weights on fresh images; without a `phase`, the present one."""
        maker = BatchMaker(replace(self.config, reuse=1))
        phase = phase or self.config.phase_at(self.schedule.progress(self.step, time.time()))
        fresh = (maker.make(10**8 + i, images=2 * phase.images, size=phase.size_px) for i in range(batches))
        self.average.settle(to_tensors(batch).images.to(self.device) for batch in fresh)

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoint)
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch_rng"])
        self.step, self.images_seen, self.began = state["step"], state["images_seen"], state["began"]
        log.info("resumed at step %d, %d images", self.step, self.images_seen)

    def _batches(self) -> Iterator[TensorBatch]:
        """Yield batches until the schedule ends; every batch depends on its step alone, so a resumed run repeats it."""
        if self._on_device:
            maker = DeviceMaker(self.config, str(self.device))
            while (progress := self.schedule.progress(self.step, time.time())) < 1:
                phase = self.config.phase_at(progress)
                yield maker.make(self.step, images=phase.images, size=phase.size_px)
        else:
            yield from map(to_tensors, self._made_by_processes())

    def _made_by_processes(self) -> Iterator[Batch]:
        executor: Executor | None = None
        waiting: deque[Future[Batch]] = deque()
        ahead = self.step
        if self.config.workers:
            executor = ProcessPoolExecutor(
                self.config.workers, get_context("spawn"), initializer=_start_worker, initargs=(self.config,)
            )
        else:
            _start_worker(self.config, niceness=0)
        try:
            while (progress := self.schedule.progress(self.step, time.time())) < 1:
                phase = self.config.phase_at(progress)
                if executor is None:
                    yield _make(self.step, phase.images, phase.size_px)
                    continue
                while len(waiting) < 2 * self.config.workers + 2:
                    waiting.append(executor.submit(_make, ahead, phase.images, phase.size_px))
                    ahead += 1
                yield waiting.popleft().result()
        finally:
            if executor is not None:
                executor.shutdown(cancel_futures=True)

    def _corrected(
        self, prompts: PromptBatch, logits: Tensor, scores: Tensor, targets: Tensor, rng: np.random.Generator
    ) -> PromptBatch:
        if not self._on_device:
            return corrected(prompts, logits, scores, targets, rng)
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        return corrected_on_device(Dice(generator), prompts, logits, scores, targets)

    def _note(self, batch: TensorBatch, turn: int, reached: Tensor, scores: Tensor) -> None:
        reached, scores = reached.cpu(), scores.float().cpu()
        one = reached[..., 0].numpy()
        best = reached[..., 1:].amax(-1).numpy()
        picked = reached[..., 1:].gather(-1, scores[..., 1:].argmax(-1, keepdim=True))[..., 0].numpy()
        self._reached[f"r{turn + 1}.one"].append(float(one.mean()))
        self._reached[f"r{turn + 1}.best3"].append(float(best.mean()))
        self._reached[f"r{turn + 1}.picked"].append(float(picked.mean()))
        self._reached["score_error"].append(float((scores - reached).abs().mean()))
        if turn:
            return
        kinds, sources = batch.kinds.cpu().numpy(), batch.sources.cpu().numpy()
        for i, kind in enumerate(KINDS):
            chosen = kinds == i
            if chosen.any():
                self._reached[f"r1.{kind}"] += one[chosen].tolist()
        for i, source in enumerate(SOURCES):
            if (sources == i).any():
                self._reached[f"r1.{source}"] += one[sources == i].ravel().tolist()

    def _log(self, progress: float, rate: float, speed: float) -> None:
        line: dict[str, object] = {
            "step": self.step,
            "images": self.images_seen,
            "progress": round(progress, 4),
            "rate": round(rate, 7),
            "images_per_s": round(speed, 2),
            "cost": round(float(np.mean(self._costs)), 4),
            **{name: round(float(np.mean(values)), 4) for name, values in sorted(self._reached.items())},
        }
        if self.step % (10 * LOG_EVERY) == 0:
            line["scales"] = self.activation_scales()
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        log.info("step %d images %d cost %.3f", self.step, self.images_seen, line["cost"])
        self._reached.clear()
        self._costs.clear()

    @torch.no_grad()
    def activation_scales(self) -> dict[str, float]:
        """Return the standard deviation of what each stage of the encoder puts out; all should stay near 1."""
        maker = BatchMaker(replace(self.config, reuse=1, real_label_share=0.0, real_image_share=0.0))
        images = to_tensors(maker.make(10**9, images=4, size=128)).images.to(self.device)
        encoder, scales = self.network.encoder.eval(), dict[str, float]()
        hooks = [
            module.register_forward_hook(
                lambda _m, _i, out, name=name: scales.__setitem__(name, round(float(out.float().std()), 3))
            )
            for name, module in encoder.named_modules()
            if name and (name.count(".") == 0 or (name.startswith("blocks.") and name.count(".") == 1))
        ]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            encoder(images)
        for hook in hooks:
            hook.remove()
        encoder.train()
        return scales


_maker: BatchMaker | None = None


def _start_worker(config: Config, niceness: int = 10) -> None:
    global _maker  # one maker a process: its noise takes a second to make
    if niceness:
        os.nice(max(0, niceness - os.nice(0)))  # a polite parent's worker must not starve
        torch.set_num_threads(1)
    _maker = BatchMaker(config)


def _make(step: int, images: int, size: int) -> Batch:
    if _maker is None:
        raise RuntimeError("no batch maker in this process; `_start_worker` starts one")
    return _maker.make(step, images=images, size=size)
