"""The protocols by name: what a simulated user does, step by step, with any session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voxsam.errors import InputError, unknown_name
from voxsam.evaluate.cases import Case
from voxsam.evaluate.clicks import (
    SimulatedBox,
    SimulatedClick,
    challenge_box,
    challenge_click,
    challenge_slice,
    corrective_click,
    first_click,
    jittered_box,
    largest_component,
    tight_box,
)
from voxsam.evaluate.metrics import dice, surface_dice
from voxsam.evaluate.propagation import carried, middle_slice, outer_slices, true_slices_of
from voxsam.evaluate.segmenters import Method, Segmenter
from voxsam.evaluate.targets import SlicePlace, SliceTarget, seed_of, slice_targets
from voxsam.geometry import Geometry, Plane
from voxsam.prompts import Box, MaskPrompt, Point, Prompt
from voxsam.volume import Mask

__all__ = ["PROTOCOLS", "Answer", "Bench", "Protocol", "Rules", "protocol_named", "slices_of"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """The numbers of the protocols.

    Parameters
    ----------
    clicks : int
        Clicks on a slice, and corrective clicks in 3D.
    slices_per_label : int
        Slices drawn for each label of each case; 0 for all.
    minimum_pixels : int
        Least area of a target on a slice, in native pixels.
    jitter : float
        How far a hand-drawn box may be off, as a share of its sides.
    tolerance_mm : float
        Of the surface Dice.
    seed : int
    """

    clicks: int = 5
    slices_per_label: int = 3
    minimum_pixels: int = 40
    jitter: float = 0.1
    tolerance_mm: float = 2.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method said after one step, on a slice or in the whole scan."""

    step: str
    place: SlicePlace
    truth: BoolArray
    found: BoolArray
    dice: float
    seconds: float
    nsd: float | None = None
    dice_unbounded: float | None = None
    carried_mm: float | None = None
    carried_share: float | None = None
    quality: float | None = None


@dataclass(frozen=True, eq=False)
class Bench:
    """One method on one label of one case.

    Parameters
    ----------
    case : Case
    mask : Mask
    label : int
    plane : str
    rules : Rules
    method : Method
    session : Segmenter
    slices : tuple of SliceTarget
        What to ask for on slices, the same for every method; see `slices_of`.
    """

    case: Case
    mask: Mask
    label: int
    plane: Plane
    rules: Rules
    method: Method
    session: Segmenter
    slices: tuple[SliceTarget, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """The scan's grid."""
        return self.mask.geometry

    def generator(self, *names: object) -> np.random.Generator:
        """Randomness of a target's own, whatever ran before it."""
        key = seed_of(self.rules.seed, self.case.dataset, self.case.name, self.label, *names)
        return np.random.default_rng(key)


@dataclass(frozen=True)
class Protocol:
    """What a simulated user does.

    Parameters
    ----------
    name, title : str
    dimensions : int
        2: slices; 3: whole structures.
    starts : frozenset of str
        The prompts that it begins with; a method that takes none of them is left out.
    run : callable
        From a `Bench` to its answers.
    primary_step : str
        The step by which the worst targets are found.
    """

    name: str
    title: str
    dimensions: int
    starts: frozenset[str]
    run: Callable[[Bench], Iterator[Answer]] = field(compare=False)
    primary_step: str = ""

    def suits(self, method: Method) -> bool:
        """Say whether a method can take part."""
        return self.dimensions in method.dimensions and bool(self.starts & method.prompts)


def slices_of(case: Case, mask: Mask, label: int, *, plane: Plane, rules: Rules) -> tuple[SliceTarget, ...]:
    """Draw the slices on which a label of a case is asked for."""
    seed = seed_of(rules.seed, case.dataset, case.name, label)
    count, least = rules.slices_per_label, rules.minimum_pixels
    return slice_targets(mask, label, plane=plane, count=count, seed=seed, minimum_pixels=least)


def slice_clicks(bench: Bench) -> Iterator[Answer]:
    """Click the deepest point of the target, then the deepest point of the largest error, again and again."""
    for target in bench.slices:
        with _Trial(bench) as trial:
            click: SimulatedClick | None = first_click(target.truth, target.place.spacing_mm)
            for number in range(1, bench.rules.clicks + 1):
                if click is not None:
                    trial.say(Point(target.place.to_zyx(click.position), positive=click.positive))
                answer = trial.on_slice(clicks_step(number), target, asked_anew=click is not None)
                yield answer
                click = corrective_click(target.truth, answer.found, target.place.spacing_mm)


def slice_box(bench: Bench) -> Iterator[Answer]:
    """Draw the tight box, and click the largest error once; apart from that, draw the box as a hand does."""
    for target in bench.slices:
        with _Trial(bench) as trial:
            trial.say(_flat_box(target.place, tight_box(target.truth)))
            answer = trial.on_slice("box", target)
            yield answer
            click = corrective_click(target.truth, answer.found, target.place.spacing_mm)
            if click is not None:
                trial.say(Point(target.place.to_zyx(click.position), positive=click.positive))
            yield trial.on_slice("box + 1 click", target, asked_anew=click is not None)
        with _Trial(bench) as trial:
            drawn = jittered_box(target.truth, bench.generator(target.place.index), fraction=bench.rules.jitter)
            trial.say(_flat_box(target.place, drawn))
            yield trial.on_slice("jittered box", target)


def seed_and_propagate(bench: Bench) -> Iterator[Answer]:
    """Segment the middle slice by a box, by a click and two corrections, or give its true mask; then propagate."""
    truth = largest_component(bench.mask.array == bench.label, connectivity=3)
    place = middle_slice(truth, bench.geometry, bench.plane)
    on_slice = np.ascontiguousarray(place.cut(truth), dtype=bool)
    if np.count_nonzero(on_slice) < bench.rules.minimum_pixels:
        return
    target = SliceTarget(place, bench.label, on_slice)
    if "box" in bench.method.prompts:
        with _Trial(bench) as trial:
            trial.say(_flat_box(place, tight_box(on_slice)))
            yield trial.propagated("box", place, truth)
    if "click" in bench.method.prompts and 2 in bench.method.dimensions:
        with _Trial(bench) as trial:
            click: SimulatedClick | None = first_click(on_slice, place.spacing_mm)
            for _ in range(3):
                if click is not None:
                    trial.say(Point(place.to_zyx(click.position), positive=click.positive))
                    seen = trial.on_slice("", target)
                    click = corrective_click(on_slice, seen.found, place.spacing_mm)
            yield trial.propagated("3 clicks", place, truth)
    if "slice" in bench.method.prompts:
        with _Trial(bench) as trial:
            trial.say(MaskPrompt(Mask(true_slices_of(truth, place, bench.method.true_slices), bench.geometry)))
            yield trial.propagated("true slice", place, truth)


def cvpr25(bench: Bench) -> Iterator[Answer]:
    """Follow the CVPR 2025 challenge: its box, then clicks at the deepest point of the largest 3D error."""
    truth = np.asarray(bench.mask.array == bench.label)
    normal = bench.geometry.axes_of(bench.plane).normal
    seed = seed_of(2025 + bench.rules.seed, bench.case.dataset, bench.case.name, bench.label) % 2**32
    along = np.moveaxis(truth, normal, 0)
    drawn = challenge_box(along, np.random.RandomState(seed))
    middle = challenge_slice(along)
    place = SlicePlace(bench.geometry, bench.plane, middle)
    on_slice = SimulatedBox((middle, *drawn.low[1:]), (middle, *drawn.high[1:]))
    with _Trial(bench) as trial:
        for box in (on_slice, drawn):  # where it was drawn, and how far the structure goes
            low, high = (_axis_back(corner, normal) for corner in (box.low, box.high))
            trial.say(_solid_box(SimulatedBox(low, high), bench.geometry.shape, normal))
        answer = trial.in_volume("box", place, truth)
        yield answer
        for number in range(1, bench.rules.clicks + 1):
            click = challenge_click(truth, answer.found)
            if click is not None:
                z, y, x = click.position
                trial.say(Point((z, y, x), positive=click.positive))
            answer = trial.in_volume(clicks_step(number), place, truth, asked_anew=click is not None)
            yield answer


def clicks_step(number: int) -> str:
    """Name the step after a number of clicks."""
    return f"{number} click" if number == 1 else f"{number} clicks"


class _Trial:
    """One object of a session, from its first prompt to its removal."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._seconds = 0.0
        self._last: BoolArray | None = None
        self._quality: float | None = None

    def __enter__(self) -> _Trial:
        self._object = self._bench.session.add_object(f"label {self._bench.label}")
        return self

    def __exit__(self, *_: object) -> None:
        self._bench.session.remove_object(self._object)

    def say(self, prompt: Prompt) -> None:
        started = time.perf_counter()
        self._bench.session.add_prompt(self._object, prompt)
        self._seconds += time.perf_counter() - started

    def on_slice(self, step: str, target: SliceTarget, *, asked_anew: bool = True) -> Answer:
        """Ask for the slice; the last answer stands where no prompt was added."""
        if asked_anew or self._last is None:
            started, place = time.perf_counter(), target.place
            preview = self._bench.session.preview(self._object, plane=place.plane, index=place.index)
            self._last, self._quality = np.asarray(preview.mask, bool), preview.score
            self._seconds += time.perf_counter() - started
        found = self._last
        overlap = dice(target.truth, found)
        return Answer(step, target.place, target.truth, found, overlap, self._taken(), quality=self._quality)

    def in_volume(self, step: str, place: SlicePlace, truth: BoolArray, *, asked_anew: bool = True) -> Answer:
        """Ask for the whole structure, and score it as the challenge does."""
        if self._last is None:
            self._last = self._propagate()
        elif asked_anew:
            self._last = self._propagate(refine=True)
        found, seconds = self._last, self._taken()
        overlap, rules = dice(truth, found), self._bench.rules
        nsd = 0.0
        if overlap > 0.2:  # the challenge counts the surface only from there
            nsd = surface_dice(truth, found, place.geometry.spacing_mm, tolerance_mm=rules.tolerance_mm)
        return Answer(step, place, truth, found, overlap, seconds, nsd)

    def propagated(self, step: str, place: SlicePlace, truth: BoolArray) -> Answer:
        """Propagate, and score the answer between the structure's first and last slice."""
        found = self._propagate()
        bounded = outer_slices(found, truth, place)
        far = carried(truth, bounded, place)
        return Answer(
            step,
            place,
            truth,
            bounded,
            dice(truth, bounded),
            self._taken(),
            surface_dice(truth, bounded, place.geometry.spacing_mm, tolerance_mm=self._bench.rules.tolerance_mm),
            dice(truth, found),
            far.distance_mm,
            far.share,
        )

    def _propagate(self, *, refine: bool = False) -> BoolArray:
        """Ask for the whole structure; a correction `refine`s what is there, as a front end does."""
        started, session = time.perf_counter(), self._bench.session
        (session.refine if refine else session.propagate)(self._object)
        found = np.asarray(self._bench.session.mask(self._object).array, bool)
        self._seconds += time.perf_counter() - started
        return found

    def _taken(self) -> float:
        taken, self._seconds = self._seconds, 0.0
        return taken


def _flat_box(place: SlicePlace, drawn: SimulatedBox) -> Box:
    wide = _at_least_two(drawn, tuple(place.geometry.shape[axis] for axis in (place.axes.row, place.axes.column)))
    return Box(place.to_zyx(wide.low), place.to_zyx(wide.high))


def _solid_box(drawn: SimulatedBox, shape: Sequence[int], normal: int) -> Box:
    """Make a box of voxels; flat across the slices at most, since one that is flat in them lies on another plane."""
    wide = _at_least_two(drawn, shape, but=normal)
    (z0, y0, x0), (z1, y1, x1) = wide.low, wide.high
    return Box((z0, y0, x0), (z1, y1, x1))


def _at_least_two(drawn: SimulatedBox, shape: Sequence[int], *, but: int | None = None) -> SimulatedBox:
    """Widen a box that is one voxel wide, which no user can draw; not along the axis `but`."""
    low, high = list(drawn.low), list(drawn.high)
    for axis, size in enumerate(shape):
        if low[axis] == high[axis] and axis != but:
            high[axis] = min(size - 1, high[axis] + 1)
            low[axis] = max(0, high[axis] - 1)
    return SimulatedBox(tuple(low), tuple(high))


def _axis_back(corner: Sequence[int], normal: int) -> tuple[int, ...]:
    rest = list(corner[1:])
    rest.insert(normal, corner[0])
    return tuple(rest)


PROTOCOLS: dict[str, Protocol] = {
    entry.name: entry
    for entry in (
        Protocol("slice-box", "a box on a slice", 2, frozenset({"box"}), slice_box, "box"),
        Protocol("slice-clicks", "clicks on a slice", 2, frozenset({"click"}), slice_clicks, "3 clicks"),
        Protocol(
            "seed-and-propagate",
            "one slice, carried through the structure",
            3,
            frozenset({"box", "click", "slice"}),
            seed_and_propagate,
            "true slice",
        ),
        Protocol("cvpr25", "the CVPR 2025 challenge in 3D", 3, frozenset({"box"}), cvpr25, "5 clicks"),
    )
}


def protocol_named(name: str) -> Protocol:
    """Find a protocol by its exact name.

    Raises
    ------
    InputError
        If there is none of that name; names the nearest.

    Examples
    --------
    >>> protocol_named("slice-box").title
    'a box on a slice'
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    raise InputError(unknown_name("protocol", name, PROTOCOLS))
