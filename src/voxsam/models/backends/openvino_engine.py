"""OpenVINO on the CPU, in single precision or in bf16."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import openvino
from openvino import opset13

from voxsam.models.backends.compiled import Run

__all__ = ["OpenVinoEngine", "processor_has_bf16"]

_SHAPING = ("Transpose", "Reshape", "Unsqueeze", "Squeeze")  # exporters put them between weights and products
_NAMES = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """Runs graphs in OpenVINO.

    Parameters
    ----------
    precision : {"fp32", "bf16"}
        Of the arithmetic; inputs and outputs are single precision either way.
    threads : int
    weights_alone : bool
        In bf16, multiply with weights in it; everything between such products stays single precision.
    """

    def __init__(self, precision: str, threads: int, *, weights_alone: bool = False) -> None:
        self._reduces_products = weights_alone and precision == "bf16"
        self._settings = {
            "INFERENCE_PRECISION_HINT": _NAMES["fp32" if self._reduces_products else precision],
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
        graph = _core().read_model(path)
        if self._reduces_products:
            _reduce_products_with_weights(graph)
        compiled = _core().compile_model(graph, "CPU", self._settings)
        request = compiled.create_infer_request()
        names = {name for entry in compiled.inputs for name in entry.names}

        def run(arrays: dict[str, npt.NDArray[Any]]) -> Sequence[npt.NDArray[Any]]:
            given = {name: array for name, array in arrays.items() if name in names}
            return list(request.infer(given, share_inputs=True).values())

        return run


def processor_has_bf16() -> bool:
    """Say whether the processor computes in bf16 by instructions of its own."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _reduce_products_with_weights(graph: openvino.Model) -> None:
    """Let products with weights take and give bf16, so that what lies between them is left as it is."""
    for operation in graph.get_ordered_ops():
        if operation.get_type_name() != "MatMul" or not any(map(_is_constant, operation.input_values())):
            continue
        takers = operation.output(0).get_target_inputs()
        for entry in operation.inputs():
            entry.replace_source_output(opset13.convert(entry.get_source_output(), openvino.Type.bf16).output(0))
        result = opset13.convert(operation.output(0), openvino.Type.f32).output(0)
        for taker in takers:
            taker.replace_source_output(result)
    graph.validate_nodes_and_infer_types()


def _is_constant(value: openvino.Output) -> bool:
    node = value.get_node()
    return bool(node.get_type_name() == "Constant") or (
        node.get_type_name() in _SHAPING and _is_constant(node.input_value(0))
    )


@lru_cache(maxsize=1)
def _core() -> openvino.Core:
    return openvino.Core()
