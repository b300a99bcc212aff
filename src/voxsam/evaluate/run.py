"""An evaluation from first case to last: who is asked what, in how many processes, and what came of it."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from voxsam.allocator import keep_memory
from voxsam.errors import Cancelled, InputError
from voxsam.evaluate.cases import Case
from voxsam.evaluate.groups import equivalent_diameter_mm, group_of, modality_of, size_class
from voxsam.evaluate.pictures import Picture, picture_of
from voxsam.evaluate.protocols import Answer, Bench, Protocol, Rules, protocol_named, slices_of
from voxsam.evaluate.scores import Evidence, Score
from voxsam.evaluate.segmenters import Method, method_named, model_of, open_method
from voxsam.geometry import Plane
from voxsam.models.backends.choose import check_choice
from voxsam.models.runtime import facts_of
from voxsam.volume import Mask, Volume
from voxsam.windowing import choose_window

__all__ = ["Evaluation", "Plan", "evaluate", "labels_of"]

OnProgress = Callable[[int, int], None]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class Plan:
    """What to evaluate, and how.

    Parameters
    ----------
    protocols : sequence of str
    methods : sequence of str or Method
        Models of the registry and baselines; the first is the one that the others are compared with.
    rules : Rules
    window, device, backend, precision : str
        As for a session; single precision unless told otherwise, so that figures compare anywhere.
    plane : str
        ``"auto"`` for the plane that each scan was taken in.
    only : sequence of str
        Cases and labels whose name holds one of these words; empty for all.
    limit : int or None
        At most so many cases, evenly spread over the list.
    pictures : int
        How many of the worst answers of each method and protocol to draw, in each case.

    Raises
    ------
    InputError
        If a protocol or a method is unknown, or no method can take part in a protocol.
    ModelError
        If the backend is unknown or not installed, or has no such precision.

    Examples
    --------
    >>> Plan(("slice-box",), ("filled-box", "filled-ellipse")).methods[0].title
    'filled box'
    """

    protocols: Sequence[str]
    methods: Sequence[str | Method]
    rules: Rules = field(default_factory=Rules)
    window: str = "auto"
    device: str = "auto"
    plane: Plane | str = "auto"
    only: Sequence[str] = ()
    limit: int | None = None
    pictures: int = 2
    backend: str = "auto"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        methods = tuple(method_named(method) for method in self.methods)
        for protocol in (protocol_named(name) for name in self.protocols):
            if not any(protocol.suits(method) for method in methods):
                names = ", ".join(method.name for method in methods)
                raise InputError(f"none of {names} can take part in {protocol.name}: add a method, such as 'compact'")
        if not self.protocols or not methods:
            raise InputError("an evaluation needs a protocol and a method, and one of them is missing")
        check_choice(self.backend, self.precision)
        object.__setattr__(self, "methods", methods)
        object.__setattr__(self, "protocols", tuple(self.protocols))

    def choose(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """Keep the cases that are asked for.

        Raises
        ------
        InputError
            If none is left.
        """
        chosen = tuple(case for case in cases if not self.only or any(self._wants(case, n) for n in _names(case)))
        if self.limit is not None and 0 < self.limit < len(chosen):
            chosen = tuple(chosen[i] for i in np.linspace(0, len(chosen) - 1, self.limit).round().astype(int))
        if not chosen:
            raise InputError(f"no case or label holds any of {', '.join(self.only)}; {len(cases)} cases were looked at")
        return chosen

    def wants(self, case: Case, label_name: str) -> bool:
        """Say whether a label of a case is asked for."""
        return not self.only or self._wants(case, label_name)

    def _wants(self, case: Case, label_name: str) -> bool:
        text = f"{case.dataset}/{case.name}/{label_name}".lower()
        return any(word.lower() in text for word in self.only)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a document."""
        return {
            "protocols": list(self.protocols),
            "methods": [method_named(method).name for method in self.methods],
            "rules": asdict(self.rules),
            "window": self.window,
            "plane": self.plane,
            "device": self.device,
            "backend": self.backend,
            "precision": self.precision,
            "only": list(self.only),
            "limit": self.limit,
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of a plan: a score for each answer, in an order that does not depend on the workers.

    Parameters
    ----------
    plan : Plan
    scores : tuple of Score
    pictures : tuple of Picture
    cases : int
    seconds : float
        Wall time.
    machine : mapping of str to str
    models : mapping of str to mapping of str to str
        What the model of each method was and computed with, see `voxsam.models.runtime.facts_of`; of baselines nothing.
    """

    plan: Plan
    scores: tuple[Score, ...]
    pictures: tuple[Picture, ...]
    cases: int
    seconds: float
    machine: dict[str, str]
    models: dict[str, dict[str, str]]


@dataclass(frozen=True, eq=False)
class _CaseResult:
    scores: list[Score]
    pictures: list[Picture]
    models: dict[str, dict[str, str]]


def evaluate(
    cases: Sequence[Case],
    plan: Plan,
    *,
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Ask every method everything on every case.

    Parameters
    ----------
    cases : sequence of Case
        From `voxsam.evaluate.load_cases`.
    plan : Plan
    workers : int
        1: in this process. More: so many processes of one thread each; the answers are the same.
    on_progress : callable, optional
        Called with cases done and in all; raising `Cancelled` in it stops the work.

    Raises
    ------
    InputError
        If nothing is left to ask for.
    Cancelled
        If `on_progress` raised it.
    """
    chosen, started = plan.choose(cases), time.perf_counter()
    results: dict[int, _CaseResult] = {}

    def beat() -> None:
        if on_progress:
            on_progress(len(results), len(chosen))

    beat()
    with closing((_here if workers <= 1 else _in_processes)(chosen, plan, workers, beat)) as finished:
        for number, result in finished:
            results[number] = result
            beat()
    ordered = [results[number] for number in sorted(results)]
    scores = tuple(score for result in ordered for score in result.scores)
    if not scores:
        least = plan.rules.minimum_pixels
        raise InputError(f"nothing to score: no label of {len(chosen)} cases covers {least} pixels of a slice")
    return Evaluation(
        plan=plan,
        scores=scores,
        pictures=tuple(picture for result in ordered for picture in result.pictures),
        cases=len(chosen),
        seconds=time.perf_counter() - started,
        machine={"system": platform.platform(), "processor": _processor(), "workers": str(workers)},
        models={name: facts for result in ordered for name, facts in result.models.items()},
    )


def _here(
    cases: Sequence[Case],
    plan: Plan,
    workers: int,  # noqa: ARG001 - this one is enough
    beat: Callable[[], None],
) -> Generator[tuple[int, _CaseResult], None, None]:
    for number, case in enumerate(cases):
        yield number, _run_case(case, plan, beat)


def _in_processes(
    cases: Sequence[Case], plan: Plan, workers: int, beat: Callable[[], None]
) -> Generator[tuple[int, _CaseResult], None, None]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with _one_thread_each(), ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(stop,)) as pool:
        waiting = {pool.submit(_run_case, case, plan): number for number, case in enumerate(cases)}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                beat()
                for future in done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a worker died, most likely for want of memory; run with fewer than {workers} workers"
            ) from error
        finally:
            stop.set()  # a running case ends at its next answer
            pool.shutdown(wait=True, cancel_futures=True)


_stop: Any = None  # in a worker: set by the parent to end a case early


def _begin(stop: Any) -> None:
    global _stop  # a spawned worker has no other place for what its parent gave it
    _stop = stop
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and sets the event


def _stop_if_told() -> None:
    if _stop is not None and _stop.is_set():
        raise Cancelled("the evaluation was cancelled")


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let spawned processes start with one thread each; libraries read this when they load."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _run_case(case: Case, plan: Plan, beat: Callable[[], None] = _stop_if_told) -> _CaseResult:
    volume, mask = case.read()
    plane: Plane = volume.geometry.native_plane if plan.plane == "auto" else plan.plane  # type: ignore[assignment]
    labels = [(label, name) for label, name in sorted(labels_of(case, mask).items()) if plan.wants(case, name)]
    result = _CaseResult([], [], {})
    flat = any(protocol_named(name).dimensions == 2 for name in plan.protocols)
    targets = {
        label: slices_of(case, mask, label, plane=plane, rules=plan.rules) if flat else () for label, _ in labels
    }
    for method in (method_named(method) for method in plan.methods):
        protocols = [p for p in map(protocol_named, plan.protocols) if p.suits(method)]
        if not protocols or not labels:
            continue
        model = model_of(method, device=plan.device, backend=plan.backend, precision=plan.precision)
        session = open_method(method, volume, plane=plane, window=plan.window, model=model)
        benches = [
            (name, Bench(case, mask, label, plane, plan.rules, method, session, targets[label]))
            for label, name in labels
        ]
        try:
            for protocol in protocols:
                _run_protocol(protocol, benches, volume, plan, result, beat)
        finally:
            session.close()
        if model is not None:  # now it is known whether it went otherwise than asked
            result.models[method.name] = facts_of(model)
    return result


def _run_protocol(
    protocol: Protocol,
    benches: Sequence[tuple[str, Bench]],
    volume: Volume,
    plan: Plan,
    result: _CaseResult,
    beat: Callable[[], None],
) -> None:
    worst: list[Evidence] = []
    window = choose_window(volume, plan.window)[0]
    for label_name, bench in benches:
        for answer in protocol.run(bench):
            beat()
            score = _score(protocol, bench, label_name, answer)
            result.scores.append(score)
            if answer.step == protocol.primary_step and plan.pictures > 0:
                worst.append(_evidence(score, answer, volume, window))
                worst = sorted(worst, key=lambda evidence: evidence.score.dice)[: plan.pictures]
    result.pictures.extend(picture_of(evidence) for evidence in worst)


def labels_of(case: Case, mask: Mask) -> dict[int, str]:
    """Name the labels that a case is asked for: those that it lists, or else all that its mask holds."""
    present = set(mask.values)
    if case.labels:
        return {value: name for value, name in case.labels.items() if value in present}
    return {value: mask.labels[value].name if value in mask.labels else f"label {value}" for value in sorted(present)}


def _score(protocol: Protocol, bench: Bench, label_name: str, answer: Answer) -> Score:
    case, place = bench.case, answer.place
    spacing_mm = place.spacing_mm if protocol.dimensions == 2 else bench.geometry.spacing_mm
    extent = float(np.count_nonzero(answer.truth) * np.prod(spacing_mm))
    return Score(
        protocol=protocol.name,
        method=bench.method.name,
        step=answer.step,
        dataset=case.dataset,
        case=case.name,
        patient=case.patient,
        modality=modality_of(case.modality, f"{case.name} {case.patient}"),
        body=case.body,
        label=bench.label,
        label_name=label_name,
        group=group_of(label_name),
        size_class=size_class(equivalent_diameter_mm(extent, dimensions=protocol.dimensions)),
        counted=not case.made_by_model(label_name),
        plane=place.plane,
        index=place.index,
        dice=answer.dice,
        seconds=answer.seconds,
        nsd=answer.nsd,
        dice_unbounded=answer.dice_unbounded,
        carried_mm=answer.carried_mm,
        carried_share=answer.carried_share,
        quality=answer.quality,
    )


def _evidence(score: Score, answer: Answer, volume: Volume, window: Any) -> Evidence:
    place, truth, found = answer.place, answer.truth, answer.found
    if truth.ndim == 3:  # the slice that is worst
        axes = place.axes
        wrong = np.count_nonzero(truth != found, axis=(axes.row, axes.column))
        place = replace(place, index=int(wrong.argmax()))
        truth, found = place.cut(truth), place.cut(found)
    return Evidence(
        score=score,
        pixels=window.apply(place.cut(volume.array)),
        truth=np.asarray(truth),
        found=np.asarray(found),
        spacing_mm=place.spacing_mm,
        flips=(place.axes.row_flip, place.axes.column_flip),
    )


def _names(case: Case) -> tuple[str, ...]:
    return tuple(case.labels.values()) or ("",)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123 - not a user's file
            return next(line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
