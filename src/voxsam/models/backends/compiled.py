"""A part of a model that another runtime runs: compiled when it is first called, and called as before."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from voxsam.models.backends.structure import leaves, with_tensors
from voxsam.models.onnx_graph import OnnxGraph
from voxsam.models.runtime import Part

__all__ = ["CompiledPart", "Engine"]

Array = npt.NDArray[Any]
#: Takes arrays by name, and gives arrays in the graph's order.
Run = Callable[[dict[str, Array]], Sequence[Array]]


class Engine(Protocol):
    """A runtime that reads ONNX files."""

    def compile(self, path: Path) -> Run:
        """Make the graph in a file ready to run; the file may go away afterwards."""
        ...


class CompiledPart:
    """Stands in for a part's function.

    Each form of call, which is what the arguments hold and the length of every axis that is not free, has a graph of
    its own.

    Parameters
    ----------
    part : Part
    engine : Engine

    Examples
    --------
    >>> from voxsam.models.backends.onnx_engine import OnnxEngine
    >>> double = CompiledPart(Part(nn.Upsample(scale_factor=2.0)), OnnxEngine(threads=1))
    >>> double(torch.ones(1, 1, 3, 3)).shape
    torch.Size([1, 1, 6, 6])
    """

    def __init__(self, part: Part, engine: Engine) -> None:
        self._part, self._engine = part, engine
        self._signature = inspect.signature(part.run.forward if isinstance(part.run, nn.Module) else part.run)
        self._compiled: dict[tuple[Any, ...], tuple[Run, Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer as the part would, with tensors on the CPU."""
        bound = self._signature.bind(*args, **kwargs)
        held = [leaf for name, value in bound.arguments.items() for leaf in leaves(value, name)]
        form = tuple((name, self._form(name, value)) for name, value in held)
        if form not in self._compiled:
            self._compiled[form] = self._compile(bound, dict(held))
        run, template = self._compiled[form]
        arrays = run({name: _array(value) for name, value in held if isinstance(value, Tensor)})
        results = iter(arrays)
        return with_tensors(template, lambda _: torch.from_numpy(next(results)))

    def _form(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        free = self._free_axes(name)
        return value.dtype, tuple(0 if axis in free else length for axis, length in enumerate(value.shape))

    def _free_axes(self, name: str) -> tuple[int, ...]:
        return next((axes for known, axes in self._part.free_axes.items() if fnmatchcase(name, known)), ())

    def _compile(self, bound: inspect.BoundArguments, held: dict[str, Any]) -> tuple[Run, Any]:
        tensors = {name: value.contiguous() for name, value in held.items() if isinstance(value, Tensor)}
        flat = _Flat(self._part.run, bound)
        free = {name: {axis: f"{name}.{axis}" for axis in self._free_axes(name)} for name in tensors}
        with tempfile.TemporaryDirectory(prefix="voxsam-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "part.onnx"
            OnnxGraph(flat, tensors, (), {name: axes for name, axes in free.items() if axes}).write(path)
            return self._engine.compile(path), flat.template


class _Flat(nn.Module):
    """A function of nested arguments as one of tensors in a row; `template` then has the form of its result."""

    def __init__(self, run: Callable[..., Any], bound: inspect.BoundArguments) -> None:
        super().__init__()
        self._run, self._bound = run, bound
        self.owner = run if isinstance(run, nn.Module) else getattr(run, "__self__", None)  # holds the weights
        self.template: Any = None

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        args, kwargs = with_tensors((self._bound.args, self._bound.kwargs), lambda _: next(given))
        result = self._run(*args, **kwargs)
        self.template = with_tensors(result, lambda tensor: torch.empty(0, dtype=tensor.dtype))
        return tuple(value for _, value in leaves(result, "") if isinstance(value, Tensor))


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().contiguous().numpy())
