"""Fine-tuning on a user's own scans: the image encoder stays, what answers prompts learns their structures.

Every slice is encoded once; then each step costs what a prompt costs, so that a laptop's CPU is enough. The adapted
weights are those of the moment that answered the held-out scans best; they are no worse there than the weights that
they were made from.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxsam.errors import InputError
from voxsam.models.adapters import ADAPTED, save_adapter
from voxsam.models.compact_network import CompactNetwork
from voxsam.models.compact_prompts import PromptBatch
from voxsam.models.weights import read_state
from voxsam.training.drawings import Target
from voxsam.training.loss import answer_losses, iou
from voxsam.training.noise import NoiseBank
from voxsam.training.prompts import FIRST_CLICKS, FirstPrompt, bounds, correction_click, first_prompt
from voxsam.training.tensors import corrected
from voxsam.views import SliceStack, slice_of
from voxsam.volume import Mask, Volume
from voxsam.windowing import choose_window

__all__ = ["FinetuneRules", "Finetuned", "Sample", "finetune", "samples_of"]

OnProgress = Callable[[int, int], None]
STEPS_PER_LOOK = 60
SIDE_PX = 256
HELD_OUT_STEPS = ("box", "1 click", "3 clicks")


@dataclass(frozen=True)
class FinetuneRules:
    """How long and how far.

    Parameters
    ----------
    minutes : float
        Of training; encoding the scans comes before.
    steps : int or None
        End after so many, if that is sooner.
    slices_per_label : int
        Drawn, evenly spread, for each label of each case.
    prompts : int
        Targets asked for at once on a slice.
    learning_rate : float
    held_out : float
        Share of the cases that is not trained on, one at least: they say when to stop.
    seed : int
    """

    minutes: float = 10.0
    steps: int | None = None
    slices_per_label: int = 12
    prompts: int = 4
    learning_rate: float = 2e-4
    held_out: float = 0.2
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Sample:
    """An encoded slice with the structures on it.

    Parameters
    ----------
    features : mapping of str to (1, C, h, w) half-precision tensor
    targets : list of Target
        On the network's own pixels.
    """

    features: Mapping[str, Tensor]
    targets: list[Target]


@dataclass(frozen=True, eq=False)
class Finetuned:
    """What fine-tuning found.

    Parameters
    ----------
    state : mapping of str to tensor
        Of the whole network.
    before, after : mapping of str to float
        Mean Dice on the held-out slices, by what was said: a box, one click, three clicks.
    steps, slices, held_out_slices : int
    """

    state: Mapping[str, Tensor]
    before: Mapping[str, float]
    after: Mapping[str, float]
    steps: int
    slices: int
    held_out_slices: int

    @property
    def gained(self) -> bool:
        """The adapted weights answer the held-out scans better."""
        return sum(self.after.values()) > sum(self.before.values())

    def save(self, path: Path, base: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        """Write the adapted part as a small file; see `save_adapter`."""
        told = {f"dice {when}: {step}": f"{dice:.4f}" for when, found in self._found for step, dice in found.items()}
        save_adapter(path, self.state, base, {**facts, **told, "steps": str(self.steps)})

    @property
    def _found(self) -> tuple[tuple[str, Mapping[str, float]], ...]:
        return ("before", self.before), ("after", self.after)


def finetune(
    cases: Sequence[tuple[Volume, Mask]],
    base: Path,
    *,
    labels: Iterable[int] | None = None,
    rules: FinetuneRules | None = None,
    on_progress: OnProgress | None = None,
) -> Finetuned:
    """Adapt the embedded model to structures of one's own.

    Parameters
    ----------
    cases : sequence of (Volume, Mask)
        Scans with their label maps on the same grid; two at least, ten are good.
    base : Path
        Weights to start from.
    labels : iterable of int, optional
        Only these; all labels without.
    rules : FinetuneRules, optional
    on_progress : callable, optional
        Called as ``on_progress(done, total)``, in percent; raising `Cancelled` in it stops.

    Returns
    -------
    Finetuned

    Raises
    ------
    InputError
        If there are fewer than two cases with anything to learn from.
    """
    rules = rules or FinetuneRules()
    network = CompactNetwork().eval().fold()
    network.load_state_dict({name: tensor.float() for name, tensor in read_state(base).items()})
    wanted = None if labels is None else frozenset(labels)
    encoded = []
    for number, (volume, mask) in enumerate(cases):
        if on_progress is not None:
            on_progress(30 * number // len(cases), 100)
        encoded.append(samples_of(network, volume, mask, labels=wanted, per_label=rules.slices_per_label))
    told = [samples for samples in encoded if samples]
    if len(told) < 2:
        raise InputError(
            f"fine-tuning needs two cases with a structure to learn, one of them to check on; {len(told)} of the "
            f"{len(cases)} given had one. Give more cases, or other labels"
        )
    held = max(1, round(rules.held_out * len(told)))
    training = [sample for samples in told[held:] for sample in samples]
    checking = [sample for samples in told[:held] for sample in samples]
    return _Tuner(network, training, checking, rules).run(on_progress)


@torch.no_grad()
def samples_of(
    network: CompactNetwork, volume: Volume, mask: Mask, *, labels: frozenset[int] | None = None, per_label: int = 12
) -> list[Sample]:
    """Encode slices of a scan on which its labels are seen, evenly spread over each.

    Parameters
    ----------
    network : CompactNetwork
        Folded.
    volume : Volume
    mask : Mask
        On the volume's grid.
    labels : frozenset of int, optional
    per_label : int

    Returns
    -------
    list of Sample
        Across the plane that the scan was taken in.

    Raises
    ------
    InputError
        If the mask is on another grid.
    """
    if mask.geometry.shape != volume.geometry.shape:
        raise InputError(
            f"the label map of {volume.name or 'a scan'} has shape {mask.geometry.shape}, the scan "
            f"{volume.geometry.shape}; resample it to the scan's grid first"
        )
    stack, windows = SliceStack(volume), choose_window(volume, "auto")
    plane = volume.geometry.native_plane
    axes = volume.geometry.axes_of(plane)
    values = [value for value in mask.values if value and (labels is None or value in labels)]
    wanted: dict[int, list[int]] = {}
    for value in values:
        held = np.flatnonzero((mask.array == value).any(axis=(axes.row, axes.column)))
        for index in held[np.unique(np.linspace(0, len(held) - 1, per_label).round().astype(int))].tolist():
            wanted.setdefault(index, []).append(value)
    found = []
    for index, present in sorted(wanted.items()):
        view = stack.view(plane, index, windows)
        frame, labelled = stack.frame(view), slice_of(np.asarray(mask.array), axes, index)
        image = torch.from_numpy(stack.pixels(view)).permute(2, 0, 1)[None]
        scale = SIDE_PX / max(image.shape[2:])
        image = F.interpolate(
            image, [max(1, round(s * scale)) for s in image.shape[2:]], mode="bilinear", antialias=True
        )
        height, width = image.shape[2:]
        padding = (0, SIDE_PX - width, 0, SIDE_PX - height)  # square, as the network was trained
        features = network.encoder(F.pad(image, padding).contiguous(memory_format=torch.channels_last))
        targets = []
        for value in present:
            shown = torch.from_numpy(frame.slice_to_view((labelled == value).astype(np.float32)))[None, None]
            fitted = F.pad(F.interpolate(shown, (height, width), mode="bilinear", antialias=True), padding)
            on_grid = (fitted[0, 0] > 0.5).numpy()
            if on_grid[::2, ::2].sum() >= 4:
                targets.append(Target(on_grid, None))
        if targets:
            found.append(Sample({name: feature.half() for name, feature in features.items()}, targets))
    return found


class _Tuner:
    """One fine-tuning: steps, looks at the held-out slices, the best state so far."""

    def __init__(
        self, network: CompactNetwork, training: list[Sample], checking: list[Sample], rules: FinetuneRules
    ) -> None:
        self.network, self.rules = network, rules
        self.training, self.checking = training, checking
        self.rng, self.bank = np.random.default_rng(rules.seed), NoiseBank(rules.seed)
        network.requires_grad_(False)
        adapted = [p for name, p in network.named_parameters() if name.startswith(ADAPTED)]
        for parameter in adapted:
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(adapted, lr=rules.learning_rate, weight_decay=0.01, foreach=True)

    def run(self, on_progress: OnProgress | None) -> Finetuned:
        before = best = self._check()
        state, steps = self._state(), 0
        began = time.monotonic()
        while (done := self._done(began, steps)) < 1:
            if on_progress is not None:
                on_progress(30 + int(70 * done), 100)
            for _ in range(STEPS_PER_LOOK):
                if (done := self._done(began, steps)) >= 1:
                    break
                self._step(self.rules.learning_rate * min(1.0, (steps + 1) / 30) * (0.05 + 0.95 * (1 - done)))
                steps += 1
            found = self._check()
            if sum(found.values()) > sum(best.values()):
                best, state = found, self._state()
        return Finetuned(state, before, best, steps, len(self.training), len(self.checking))

    def _done(self, began: float, steps: int) -> float:
        """Share of the time or of the steps that is used up, whichever is more."""
        of_time = (time.monotonic() - began) / (60 * self.rules.minutes)
        return max(of_time, steps / self.rules.steps if self.rules.steps else 0.0)

    def _step(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        sample = self.training[self.rng.integers(len(self.training))]
        targets = [sample.targets[i] for i in self.rng.integers(len(sample.targets), size=self.rules.prompts)]
        prompts = _batched([first_prompt(t.mask, self.rng, self.bank) for t in targets], targets)
        truth = _covered(targets)
        features = {name: feature.float() for name, feature in sample.features.items()}
        cost, rounds = torch.zeros(()), 1 + int(self.rng.integers(3))
        for turn in range(rounds):
            logits, scores = self.network.decode(features, prompts)
            cost = cost + answer_losses(logits, scores, truth).total / rounds
            if turn + 1 < rounds:
                prompts = corrected(prompts, logits.detach(), scores.detach(), truth, self.rng)
        self.optimiser.zero_grad(set_to_none=True)
        cost.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0, foreach=True)
        self.optimiser.step()

    @torch.no_grad()
    def _check(self) -> dict[str, float]:
        """Mean Dice on the held-out slices from a tight box, and from clicks in the deepest error."""
        dice: dict[str, list[float]] = {step: [] for step in HELD_OUT_STEPS}
        for sample in self.checking:
            features = {name: feature.float() for name, feature in sample.features.items()}
            for target in sample.targets:
                for step, reached in self._answers(features, target):
                    dice[step].append(2 * reached / (1 + reached))
        return {step: float(np.mean(values)) for step, values in dice.items()}

    def _answers(self, features: dict[str, Tensor], target: Target) -> Iterator[tuple[str, float]]:
        truth, shape = _covered([target]), target.mask.shape
        half = truth[0, 0].numpy() > 0.5
        boxed = FirstPrompt(
            1, np.zeros((FIRST_CLICKS, 2), np.float32), np.full(FIRST_CLICKS, -1), bounds(target.mask), None
        )
        logits, _ = self.network.decode(features, _batched([boxed], [target]))
        yield "box", float(iou(logits, truth)[0, 0, 0])
        clicks: list[tuple[float, float, int]] = []
        said, prompts = np.zeros_like(half), _batched([_clicked([], shape)], [target])
        for number in (1, 2, 3):
            click = correction_click(half, said, np.random.default_rng(number))
            if click is not None:
                clicks.append(click)
            earlier = None if number == 1 else logits[:, :, 0]
            prompts = _batched([_clicked(clicks, shape)], [target])
            if earlier is not None:
                prompts = replace(
                    prompts, mask_logits=earlier.clamp(-20, 20), has_mask=torch.ones(1, 1, dtype=torch.bool)
                )
            logits, _ = self.network.decode(features, prompts)
            said = (logits[0, 0, 0] > 0).numpy()
            if f"{number} click{'s' * (number > 1)}" in HELD_OUT_STEPS:
                yield f"{number} click{'s' * (number > 1)}", float(iou(logits, truth)[0, 0, 0])

    def _state(self) -> dict[str, Tensor]:
        return copy.deepcopy(self.network.state_dict())


def _clicked(clicks: Sequence[tuple[float, float, int]], shape: tuple[int, ...]) -> FirstPrompt:
    xy, labels = np.zeros((FIRST_CLICKS, 2), np.float32), np.full(FIRST_CLICKS, -1)
    for i, (x, y, label) in enumerate(clicks):
        xy[i], labels[i] = (min(x, shape[1] - 1), min(y, shape[0] - 1)), label
    return FirstPrompt(0, xy, labels, None, None)


def _covered(targets: Sequence[Target]) -> Tensor:
    """(1, P, h / 2, w / 2): how much of each cell a target covers."""
    return F.avg_pool2d(torch.from_numpy(np.stack([target.mask for target in targets])).float()[None], 2)


def _batched(prompts: Sequence[FirstPrompt], targets: Sequence[Target]) -> PromptBatch:
    height, width = targets[0].mask.shape
    empty = np.zeros((height // 2, width // 2), np.float32)
    return PromptBatch(
        torch.from_numpy(np.stack([p.points_xy for p in prompts]))[None],
        torch.from_numpy(np.stack([p.point_labels for p in prompts]))[None],
        torch.from_numpy(np.stack([np.zeros(4, np.float32) if p.box_xyxy is None else p.box_xyxy for p in prompts]))[
            None
        ],
        torch.tensor([[p.box_xyxy is not None for p in prompts]]),
        torch.from_numpy(np.stack([empty if p.mask_logits is None else p.mask_logits for p in prompts]))[None].float(),
        torch.tensor([[p.mask_logits is not None for p in prompts]]),
    )
