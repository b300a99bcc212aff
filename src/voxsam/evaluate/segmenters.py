"""Whatever an evaluation prompts: a session on a model, or a baseline dressed as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voxsam.errors import InputError, SessionError, unknown_name
from voxsam.evaluate.asked import Asked
from voxsam.evaluate.baselines import BASELINES, Baseline
from voxsam.evaluate.clicks import SimulatedBox
from voxsam.geometry import Plane
from voxsam.local import open_session
from voxsam.models.base import PromptableModel
from voxsam.models.registry import CARDS, load_model
from voxsam.prompts import Box, MaskPrompt, Point, Prompt
from voxsam.views import slice_of
from voxsam.volume import Mask, Volume
from voxsam.windowing import choose_window

__all__ = ["BaselineSession", "Method", "SlicePreview", "method_named", "model_of", "open_method"]

BoolArray = npt.NDArray[np.bool_]
ALL_PROMPTS = frozenset({"click", "box", "slice"})


class Preview(Protocol):
    """What a session says about one slice."""

    @property
    def mask(self) -> BoolArray:
        """(rows, columns) in array order, the whole slice."""
        ...

    @property
    def score(self) -> float | None:
        """The intersection over union that the model expects; None where nothing is expected."""
        ...


class Segmenter(Protocol):
    """The verbs of a session that an evaluation uses."""

    def add_object(self, name: str) -> int: ...
    def remove_object(self, object_id: int) -> Any: ...
    def add_prompt(self, object_id: int, prompt: Prompt) -> Any: ...
    def preview(self, object_id: int, *, plane: Plane, index: int) -> Preview: ...
    def propagate(self, object_id: int) -> Any: ...
    def refine(self, object_id: int) -> Any: ...
    def mask(self, object_id: int) -> Mask: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class SlicePreview:
    """A baseline's answer on one slice: (rows, columns) in array order."""

    mask: BoolArray
    score: float | None = None


class BaselineSession:
    """A baseline behind the verbs of a session: it sees the window that a model sees, and the same prompts.

    Parameters
    ----------
    volume : Volume
    method : Baseline
    window : str
        As for a session; of three windows the first is used.
    plane : str
        Across which drawn slices follow one another.

    Examples
    --------
    >>> from voxsam.evaluate.baselines import baseline
    >>> from voxsam.geometry import Geometry
    >>> hu = np.full((3, 16, 16), -100, np.int16)
    >>> hu[1, 4:9, 5:11] = 80
    >>> scan = Volume(hu, Geometry.from_spacing(hu.shape), modality="CT")
    >>> session = BaselineSession(scan, baseline("flood"), plane="axial")
    >>> liver = session.add_object("liver")
    >>> session.add_prompt(liver, Point((1, 6, 7)))
    >>> int(session.preview(liver, plane="axial", index=1).mask.sum())
    30
    """

    def __init__(self, volume: Volume, method: Baseline, *, window: str = "auto", plane: Plane) -> None:
        self._volume, self._method, self._plane = volume, method, plane
        self._window = choose_window(volume, window)[0]
        self._prompts: dict[int, list[Prompt]] = {}
        self._masks: dict[int, Mask] = {}
        self._pixels: npt.NDArray[np.float32] | None = None

    def add_object(self, name: str) -> int:  # noqa: ARG002 - a baseline has no use for a name
        """Begin a structure."""
        number = max(self._prompts, default=0) + 1
        self._prompts[number] = []
        return number

    def remove_object(self, object_id: int) -> None:
        """Forget a structure."""
        self._prompts.pop(object_id, None)
        self._masks.pop(object_id, None)

    def add_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Take a prompt."""
        self._prompts[object_id].append(prompt)

    def preview(self, object_id: int, *, plane: Plane, index: int) -> SlicePreview:
        """Answer on one slice from the prompts that lie on it."""
        axes = self._volume.geometry.axes_of(plane)
        order = (axes.row, axes.column)
        marks: dict[bool, list[tuple[int, ...]]] = {True: [], False: []}
        box: SimulatedBox | None = None
        for prompt in self._prompts[object_id]:
            if isinstance(prompt, Point) and round(prompt.zyx[axes.normal]) == index:
                marks[prompt.positive].append(tuple(round(prompt.zyx[axis]) for axis in order))
            if isinstance(prompt, Box) and prompt.low_zyx[axes.normal] <= index <= prompt.high_zyx[axes.normal]:
                corners = (prompt.low_zyx, prompt.high_zyx)
                low, high = (tuple(round(corner[axis]) for axis in order) for corner in corners)
                box = SimulatedBox(low, high)
        asked = Asked(
            pixels=self._window.apply(slice_of(self._volume.array, axes, index)),
            spacing_mm=tuple(self._volume.geometry.spacing_mm[axis] for axis in order),
            positive=tuple(marks[True]),
            negative=tuple(marks[False]),
            box=box,
            box_centre=_middle(box),
        )
        return SlicePreview(self._method.run(asked))

    def propagate(self, object_id: int) -> None:
        """Answer in the whole scan from all prompts."""
        geometry = self._volume.geometry
        normal = geometry.axes_of(self._plane).normal
        marks: dict[bool, list[tuple[int, ...]]] = {True: [], False: []}
        box: SimulatedBox | None = None
        flat: int | None = None
        centre: tuple[int, ...] = ()
        drawn: dict[int, BoolArray] = {}
        for prompt in self._prompts[object_id]:
            if isinstance(prompt, Point):
                marks[prompt.positive].append(tuple(round(at) for at in prompt.zyx))
            elif isinstance(prompt, Box):
                low, high = ([round(at) for at in corner] for corner in (prompt.low_zyx, prompt.high_zyx))
                flat, centre = prompt.flat_axis, _middle(SimulatedBox(tuple(low), tuple(high)))
                if flat is not None:
                    low[flat], high[flat] = 0, geometry.shape[flat] - 1
                box = SimulatedBox(tuple(low), tuple(high))
            elif isinstance(prompt, MaskPrompt):
                along = np.moveaxis(prompt.mask.array, normal, 0)
                drawn.update({index: np.asarray(along[index]) for index in prompt.slices_along(normal)})
        if self._pixels is None:
            self._pixels = self._window.apply(self._volume.array)
        asked = Asked(
            pixels=self._pixels,
            spacing_mm=geometry.spacing_mm,
            positive=tuple(marks[True]),
            negative=tuple(marks[False]),
            box=box,
            box_flat_axis=flat,
            box_centre=centre,
            drawn=drawn,
            drawn_axis=normal,
        )
        self._masks[object_id] = Mask(self._method.run(asked), geometry)

    def refine(self, object_id: int) -> None:
        """Answer anew: a baseline has no better way to take a correction in."""
        self.propagate(object_id)

    def mask(self, object_id: int) -> Mask:
        """Return what the last `propagate` found."""
        if object_id not in self._masks:
            raise SessionError(f"object {object_id} has no mask yet; call propagate({object_id}) first")
        return self._masks[object_id]

    def close(self) -> None:
        """Let the scan go."""
        self._prompts.clear()
        self._masks.clear()
        self._pixels = None


@dataclass(frozen=True)
class Method:
    """Something to evaluate: what it can do is known before a scan is opened.

    Parameters
    ----------
    name, title : str
    dimensions : frozenset of int
        2: slices; 3: whole structures.
    prompts : frozenset of str
        What it can start from: ``"click"``, ``"box"``, ``"slice"``.
    true_slices : int
        How many slices of the truth ``seed-and-propagate`` gives it.
    model : PromptableModel or str, optional
        None for a baseline.
    weights : Path, optional
        In place of the model's own.
    """

    name: str
    title: str = ""
    dimensions: frozenset[int] = frozenset({2, 3})
    prompts: frozenset[str] = ALL_PROMPTS
    true_slices: int = 1
    model: PromptableModel | str | None = None
    weights: Path | None = None


def method_named(method: str | Method) -> Method:
    """Find a model of the registry or a baseline by its exact name; a `Method` is passed on.

    Parameters
    ----------
    method : str or Method
        ``"compact@FILE"`` is the model with the weights of a file.

    Raises
    ------
    InputError
        If there is neither; names the nearest.

    Examples
    --------
    >>> method_named("filled-box").prompts
    frozenset({'box'})
    >>> method_named("compact@step-9000.safetensors").name
    'compact@step-9000'
    >>> method_named("flod")
    Traceback (most recent call last):
        ...
    voxsam.errors.InputError: no method 'flod'; did you mean 'flood'? Known: ...
    """
    if isinstance(method, Method):
        return method
    name, at, file = method.partition("@")
    if name in CARDS:
        weights = Path(file) if at else None
        shown = f"{name}@{weights.stem}" if weights else name
        return Method(shown, CARDS[name].title, model=name, weights=weights)
    if method in BASELINES:
        found = BASELINES[method]
        return Method(found.name, found.title, found.dimensions, found.prompts, found.true_slices)
    raise InputError(unknown_name("method", method, (*CARDS, *BASELINES)))


def model_of(
    method: Method, *, device: str = "auto", backend: str = "auto", precision: str = "fp32"
) -> PromptableModel | None:
    """Return the model that a method asks; None for a baseline.

    Parameters
    ----------
    method : Method
    device, backend, precision : str
        As `voxsam.load_model` takes them; nothing to a model that is loaded already.
    """
    if not isinstance(method.model, str):
        return method.model
    return _loaded(method.model, method.weights, device, backend, precision)


def open_method(
    method: Method, volume: Volume, *, plane: Plane, window: str = "auto", model: PromptableModel | None = None
) -> Segmenter:
    """Open a scan for a method.

    Parameters
    ----------
    method : Method
    volume : Volume
    plane : str
    window : str
    model : PromptableModel, optional
        From `model_of`, which is asked where none is given.
    """
    model = model or model_of(method)
    if model is None:
        return BaselineSession(volume, BASELINES[method.name], window=window, plane=plane)
    return open_session(volume, model=model, window=window, plane=plane, cache_dir=None)


@lru_cache(maxsize=4)
def _loaded(name: str, weights: Path | None, device: str, backend: str, precision: str) -> PromptableModel:
    """Load a model once a process, not once a scan."""
    return load_model(name, weights=weights, device=device, backend=backend, precision=precision)


def _middle(box: SimulatedBox | None) -> tuple[int, ...]:
    return () if box is None else tuple((low + high) // 2 for low, high in zip(box.low, box.high, strict=True))
