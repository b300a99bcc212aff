"""From scores to a table: means over labels, with intervals that respect patients, and paired differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from voxsam.evaluate.metrics import area_under_clicks, clicks_needed
from voxsam.evaluate.scores import Score

__all__ = ["Estimate", "Line", "Observation", "Summary", "macro_mean", "observe", "summarise"]

RESAMPLES = 2000
#: A corrective click spoils an answer if Dice falls by more than this.
SPOILT_BY = 0.01
NOC_THRESHOLDS = (0.80, 0.85, 0.90)

LabelKey = tuple[str, str]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Observation:
    """One number of one target: a Dice, a count of clicks, an area under the clicks."""

    protocol: str
    method: str
    column: str
    score: Score
    value: float

    @property
    def label(self) -> LabelKey:
        """What a mean over labels counts as one: a structure of a dataset."""
        return self.score.dataset, self.score.label_name


@dataclass(frozen=True)
class Estimate:
    """A mean over labels, with its 95 % bootstrap interval over patients.

    Parameters
    ----------
    mean, low, high : float
    labels, targets : int
        How many it was taken over.
    """

    mean: float
    low: float
    high: float
    labels: int
    targets: int

    def to_json(self) -> dict[str, float | int]:
        """Return the numbers, rounded."""
        return {
            "mean": round(self.mean, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "labels": self.labels,
            "targets": self.targets,
        }


@dataclass(frozen=True)
class Line:
    """One cell of a table."""

    scope: str
    protocol: str
    method: str
    column: str
    estimate: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return the line as a document."""
        return {
            "scope": self.scope,
            "protocol": self.protocol,
            "method": self.method,
            "column": self.column,
            **self.estimate.to_json(),
        }


@dataclass(frozen=True, eq=False)
class Summary:
    """The tables of an evaluation.

    Parameters
    ----------
    lines : tuple of Line
        Scopes: ``"all"`` (every label whose truth a person made: the mean that counts), ``"group: ..."``,
        ``"size: ..."``, ``"modality: ..."``, and ``"truth made by a model"``, which no other scope holds.
    differences : tuple of Line
        Of the first method less the one named, on the targets that both answered; scope ``"all"`` and groups.
    by_label : mapping
        (protocol, dataset, label name) to method to column to `Estimate`.
    by_case : mapping
        (protocol, dataset, case) to method to column to mean.
    """

    lines: tuple[Line, ...]
    differences: tuple[Line, ...]
    by_label: Mapping[tuple[str, str, str], Mapping[str, Mapping[str, Estimate]]]
    by_case: Mapping[tuple[str, str, str], Mapping[str, Mapping[str, float]]]

    def find(self, scope: str, protocol: str, method: str, column: str) -> Estimate | None:
        """Look one cell up."""
        wanted = (scope, protocol, method, column)
        return next(
            (line.estimate for line in self.lines if (line.scope, line.protocol, line.method, line.column) == wanted),
            None,
        )

    def columns(self, protocol: str) -> tuple[str, ...]:
        """Return a protocol's columns, in order of their first appearance."""
        return tuple(dict.fromkeys(line.column for line in self.lines if line.protocol == protocol))

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every scope, in order."""
        return tuple(dict.fromkeys(line.scope for line in self.lines))


def observe(scores: Iterable[Score]) -> list[Observation]:
    """Turn scores into the numbers that are averaged.

    Each step gives its Dice; beside it come, by protocol, NoC (``slice-clicks``), the surface Dice and how far a mask
    was carried (``seed-and-propagate``), area under the clicks and spoilt clicks (``cvpr25``).
    """
    rows: dict[tuple[Any, ...], list[Score]] = defaultdict(list)
    for score in scores:
        rows[score.protocol, score.method, score.target].append(score)
    seen: list[Observation] = []
    for (protocol, method, _), steps in rows.items():
        seen.extend(Observation(protocol, method, score.step, score, score.dice) for score in steps)
        extra = _EXTRAS.get(protocol)
        if extra:
            seen.extend(Observation(protocol, method, name, steps[0], value) for name, value in extra(steps))
    return seen


def macro_mean(observations: Sequence[Observation], *, seed: int = 0) -> Estimate:
    """Average over targets, then cases, then labels; the interval draws patients anew.

    Raises
    ------
    ValueError
        If there is nothing to average.
    """
    if not observations:
        raise ValueError("no observation to average")
    cases: dict[tuple[LabelKey, str, str], list[float]] = defaultdict(list)
    for seen in observations:
        cases[seen.label, seen.score.patient, seen.score.case].append(seen.value)
    labels = {label: row for row, label in enumerate(dict.fromkeys(label for label, _, _ in cases))}
    patients = {patient: column for column, patient in enumerate(dict.fromkeys(patient for _, patient, _ in cases))}
    totals, counts = np.zeros((2, len(labels), len(patients)))
    for (label, patient, _), values in cases.items():
        totals[labels[label], patients[patient]] += np.mean(values)
        counts[labels[label], patients[patient]] += 1
    mean = float((totals.sum(1) / counts.sum(1)).mean())
    if len(patients) == 1:
        return Estimate(mean, mean, mean, len(labels), len(observations))
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(patients), np.full(len(patients), 1.0 / len(patients)), RESAMPLES)
    total, count = drawn @ totals.T, drawn @ counts.T  # (resamples, labels)
    present = count > 0
    means = np.where(present, total / np.maximum(count, 1), 0.0).sum(1) / present.sum(1)
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    return Estimate(mean, low, high, len(labels), len(observations))


def summarise(scores: Sequence[Score], *, seed: int = 0) -> Summary:
    """Make the tables.

    Parameters
    ----------
    scores : sequence of Score
    seed : int
        Of the bootstrap.
    """
    observations = observe(scores)
    cells: dict[tuple[str, str, str, str], list[Observation]] = defaultdict(list)
    for seen in observations:
        for scope in _scopes_of(seen.score):
            cells[scope, seen.protocol, seen.method, seen.column].append(seen)
    order = {scope: number for number, scope in enumerate(sorted({key[0] for key in cells}, key=_scope_order))}
    lines = tuple(
        Line(*key, macro_mean(seen, seed=seed)) for key, seen in sorted(cells.items(), key=lambda kv: order[kv[0][0]])
    )
    return Summary(
        lines=lines,
        differences=_differences(cells, seed),
        by_label=_each(observations, lambda score: score.label_name, lambda seen: macro_mean(seen, seed=seed)),
        by_case=_each(observations, lambda score: score.case, lambda seen: float(np.mean([s.value for s in seen]))),
    )


def _scopes_of(score: Score) -> tuple[str, ...]:
    if not score.counted:
        return ("truth made by a model",)
    scopes = ("all", f"group: {score.group}", f"size: {score.size_class}")
    return (*scopes, f"modality: {score.modality}") if score.modality else scopes


def _scope_order(scope: str) -> tuple[int, str]:
    first = ("all", "group: tumour", "group: vessel")
    kinds = ("group", "size: u", "size: 1", "size: 2", "size: o", "modality", "truth")
    if scope in first:
        return first.index(scope), ""
    return len(first) + next(number for number, kind in enumerate(kinds) if scope.startswith(kind)), scope


def _differences(cells: Mapping[tuple[str, str, str, str], list[Observation]], seed: int) -> tuple[Line, ...]:
    first = next(iter(cells))[2]
    lines = []
    for (scope, protocol, method, column), others in cells.items():
        own = cells.get((scope, protocol, first, column))
        if method == first or not own or not (scope == "all" or scope.startswith("group")):
            continue
        values = {seen.score.target: seen.value for seen in others}
        paired = [
            Observation(protocol, method, column, seen.score, seen.value - values[seen.score.target])
            for seen in own
            if seen.score.target in values
        ]
        if paired:
            lines.append(Line(scope, protocol, method, column, macro_mean(paired, seed=seed)))
    return tuple(sorted(lines, key=lambda line: _scope_order(line.scope)))


def _each(
    observations: Iterable[Observation],
    name_of: Callable[[Score], str],
    of: Callable[[Sequence[Observation]], Value],
) -> dict[tuple[str, str, str], dict[str, dict[str, Value]]]:
    """Take one number of the observations of each protocol, dataset and name, method and column."""
    cells: dict[tuple[str, str, str], dict[str, dict[str, list[Observation]]]] = defaultdict(dict)
    for seen in observations:
        row = cells[seen.protocol, seen.score.dataset, name_of(seen.score)]
        row.setdefault(seen.method, {}).setdefault(seen.column, []).append(seen)
    return {
        key: {method: {c: of(held) for c, held in columns.items()} for method, columns in methods.items()}
        for key, methods in sorted(cells.items())
    }


def _noc(steps: Sequence[Score]) -> Iterable[tuple[str, float]]:
    dices = [score.dice for score in steps]
    return [(f"NoC@{round(100 * limit)}", float(clicks_needed(dices, limit))) for limit in NOC_THRESHOLDS]


def _carried(steps: Sequence[Score]) -> Iterable[tuple[str, float]]:
    for score in steps:
        for name, value in (
            ("NSD", score.nsd),
            ("without ends", score.dice_unbounded),
            ("carried mm", score.carried_mm),
            ("carried share", score.carried_share),
        ):
            if value is not None:
                yield f"{score.step}: {name}", value


def _challenge(steps: Sequence[Score]) -> Iterable[tuple[str, float]]:
    box, clicks = steps[0], steps[1:]
    if not clicks:
        return
    yield "final NSD", clicks[-1].nsd or 0.0
    yield "AUC", area_under_clicks([score.dice for score in clicks])
    yield "AUC NSD", area_under_clicks([score.nsd or 0.0 for score in clicks])
    changes = np.diff([score.dice for score in steps])
    yield "spoilt clicks", float((changes < -SPOILT_BY).mean())
    yield "ended below its box", float(clicks[-1].dice < box.dice)
    yield "seconds", sum(score.seconds for score in steps)


_EXTRAS: dict[str, Callable[[Sequence[Score]], Iterable[tuple[str, float]]]] = {
    "slice-clicks": _noc,
    "seed-and-propagate": _carried,
    "cvpr25": _challenge,
}
