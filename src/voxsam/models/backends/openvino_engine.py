"""OpenVINO on the CPU, in single precision or in bf16."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import openvino

from voxsam.models.backends.compiled import Run

__all__ = ["OpenVinoEngine", "processor_has_bf16"]

_NAMES = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """Runs graphs in OpenVINO.

    Parameters
    ----------
    precision : {"fp32", "bf16"}
        Of the arithmetic; inputs and outputs are single precision either way.
    threads : int
    """

    def __init__(self, precision: str, threads: int) -> None:
        self._settings = {
            "INFERENCE_PRECISION_HINT": _NAMES[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }

    def compile(self, path: Path) -> Run:
        """Make the graph in a file ready to run.

        Parameters
        ----------
        path : Path

        Returns
        -------
        callable
        """
        compiled = _core().compile_model(_core().read_model(path), "CPU", self._settings)
        request = compiled.create_infer_request()
        names = {name for entry in compiled.inputs for name in entry.names}

        def run(arrays: dict[str, npt.NDArray[Any]]) -> Sequence[npt.NDArray[Any]]:
            given = {name: array for name, array in arrays.items() if name in names}
            return list(request.infer(given, share_inputs=True).values())

        return run


def processor_has_bf16() -> bool:
    """Say whether the processor computes in bf16 by instructions of its own."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=1)
def _core() -> openvino.Core:
    return openvino.Core()
