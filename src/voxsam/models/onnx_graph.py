"""A piece of a network as an ONNX file: what other runtimes read, and what `voxsam export` writes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["OnnxGraph"]

OPSET = 17  # the first with layer normalisation


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """One function of tensors, ready to be written.

    Parameters
    ----------
    module : Module
        Takes the inputs in their order, and returns a tensor or a tuple of them.
    inputs : mapping of str to Tensor
        Examples, by name.
    outputs : sequence of str
        Names of what comes out.
    free_axes : mapping of str to mapping of int to str
        Names of the axes whose length is left open, by input or output.

    Examples
    --------
    >>> import tempfile
    >>> graph = OnnxGraph(nn.Linear(2, 1), {"x": torch.zeros(4, 2)}, ["y"], {"x": {0: "count"}, "y": {0: "count"}})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     graph.write(Path(folder) / "linear.onnx")
    ...     (Path(folder) / "linear.onnx").stat().st_size > 0
    True
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    free_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    @torch.no_grad()
    def write(self, path: Path) -> None:
        """Write the graph with its weights; those beyond two gigabytes go into files beside it, as the format has it.

        Parameters
        ----------
        path : Path
            Its folder exists.
        """
        with warnings.catch_warnings():
            # torch's newer exporter needs a compiler of its own and half a minute for what takes a second here
            warnings.simplefilter("ignore", DeprecationWarning)
            # shapes that are not left open are constants on purpose
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            warnings.filterwarnings("ignore", "Constant folding", UserWarning)
            torch.onnx.export(
                self.module.eval(),
                tuple(self.inputs.values()),
                str(path),
                dynamo=False,
                input_names=list(self.inputs),
                output_names=list(self.outputs),
                dynamic_axes={name: dict(axes) for name, axes in self.free_axes.items()},
                opset_version=OPSET,
            )
