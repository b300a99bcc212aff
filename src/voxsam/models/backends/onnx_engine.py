"""ONNX Runtime, on the CPU and in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime

from voxsam.models.backends.compiled import Run

__all__ = ["OnnxEngine"]

_WARNINGS_AND_WORSE = 3  # ONNX Runtime's scale: 2 warns of what it optimises away


class OnnxEngine:
    """Runs graphs in ONNX Runtime.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = _WARNINGS_AND_WORSE

    def compile(self, path: Path) -> Run:
        """Make the graph in a file ready to run.

        Parameters
        ----------
        path : Path

        Returns
        -------
        callable
        """
        session = onnxruntime.InferenceSession(str(path), self._options, providers=["CPUExecutionProvider"])
        names = {entry.name for entry in session.get_inputs()}  # an input that changes nothing is left out

        def run(arrays: dict[str, npt.NDArray[Any]]) -> Sequence[npt.NDArray[Any]]:
            results: list[npt.NDArray[Any]] = session.run(None, {name: arrays[name] for name in names})
            return results

        return run
