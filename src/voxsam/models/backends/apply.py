"""Give a model the runtime that was chosen for it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from voxsam.errors import ModelError
from voxsam.models.backends.choose import choose_runtime
from voxsam.models.backends.compiled import CompiledPart, Engine
from voxsam.models.backends.structure import with_tensors
from voxsam.models.backends.torch_compiled import TorchCompiled
from voxsam.models.base import PromptableModel
from voxsam.models.runtime import Part, Runtime

__all__ = ["in_precision", "use_runtime"]

ENCODER = "encoder"
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def use_runtime(model: PromptableModel, *, backend: str = "auto", precision: str = "auto", device: str = "cpu") -> None:
    """Let a model's parts be run by a backend, in a precision; see `choose_runtime`.

    Parameters
    ----------
    model : PromptableModel
        Changed in place. One without ``parts`` (see `Part`) stays as it is.
    backend : {"auto", "torch", "torch-compiled", "openvino", "onnxruntime"}
    precision : {"auto", "fp32", "bf16"}
    device : str
        Where the model is, as torch names it.

    Raises
    ------
    ModelError
        If it cannot be as asked.
    """
    parts: MutableMapping[str, Part] | None = getattr(model, "parts", None)
    if parts is None:
        if backend not in ("auto", "torch") or precision not in ("auto", "fp32"):
            raise ModelError(f"{model.card.name} runs in torch and in fp32 alone; leave out backend and precision")
        return
    runtime = choose_runtime(model.card, backend=backend, precision=precision, device=device)
    if runtime == Runtime(device=device):
        return
    for name, part in parts.items():
        is_encoder = name == ENCODER
        backend = runtime.backend if is_encoder else runtime.decoder or runtime.backend
        precision = runtime.precision if is_encoder else "fp32"
        parts[name] = replace(part, run=_run_of(part, backend, precision, runtime.device))
    model.runtime = runtime  # type: ignore[attr-defined]  # who has parts has this too


def _run_of(part: Part, backend: str, precision: str, device: str) -> Callable[..., Any]:
    if backend in ("torch", "torch-compiled"):
        run = TorchCompiled(part.run) if backend == "torch-compiled" else part.run
        return run if precision == "fp32" else in_precision(run, precision, device)
    return CompiledPart(part, _engine(backend, precision, sensitive=part.sensitive))


def _engine(backend: str, precision: str, *, sensitive: bool = False) -> Engine:
    if backend == "openvino":
        from voxsam.models.backends.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(precision, threads=torch.get_num_threads(), weights_alone=sensitive)
    from voxsam.models.backends.onnx_engine import OnnxEngine

    return OnnxEngine(threads=torch.get_num_threads())


def in_precision(run: Callable[..., Any], precision: str, device: str) -> Callable[..., Any]:
    """Return a function that computes in reduced precision where that is safe, and returns single precision.

    Parameters
    ----------
    run : callable
    precision : {"bf16", "fp16"}
    device : str

    Examples
    --------
    >>> product = in_precision(torch.mm, "bf16", "cpu")(torch.full((1, 1), 1.001), torch.ones(1, 1))
    >>> product.dtype, product.item()
    (torch.float32, 1.0)
    """
    kind = torch.device(device).type

    def reduced(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(kind, dtype=_TYPES[precision]):
            result = run(*args, **kwargs)
        return with_tensors(result, _single)

    return reduced


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
