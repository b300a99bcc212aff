"""Which runtime a model gets: what was asked, what is installed, and what the processor has."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

from voxsam.errors import ModelError, unknown_name
from voxsam.models.base import ModelCard
from voxsam.models.runtime import Runtime

__all__ = ["BACKENDS", "PRECISIONS", "check_choice", "choose_runtime", "device_for"]

BACKENDS = ("auto", "torch", "torch-compiled", "openvino", "onnxruntime")
PRECISIONS = ("auto", "fp32", "bf16")

#: The extra that installs each; the packages it brings.
_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}
_PACKAGES = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnxruntime", "onnx")}
_CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one on ARM


def check_choice(backend: str, precision: str, device: str = "cpu") -> None:
    """Refuse what no model can run on, before anything is loaded.

    Parameters
    ----------
    backend : str
    precision : str
    device : str
        As torch names it.

    Raises
    ------
    ModelError
        If a name is unknown, the backend is not installed or not for this device, or it has no such precision.

    Examples
    --------
    >>> check_choice("torhc", "auto")
    Traceback (most recent call last):
    voxsam.errors.ModelError: no backend 'torhc'; did you mean 'torch'? Known: auto, torch, torch-compiled, ...
    """
    if backend not in BACKENDS:
        raise ModelError(unknown_name("backend", backend, BACKENDS))
    if precision not in PRECISIONS:
        raise ModelError(unknown_name("precision", precision, PRECISIONS))
    if backend in _EXTRAS and not _installed(backend):
        raise ModelError(
            f"backend {backend} needs packages that are not installed; pip install 'voxsam[{_EXTRAS[backend]}]', "
            "or take backend torch"
        )
    if backend == "onnxruntime" and precision == "bf16":
        raise ModelError("onnxruntime computes in fp32 on a CPU; take backend openvino or torch for bf16")
    if backend in _EXTRAS and device != "cpu":
        raise ModelError(f"{backend} runs on the CPU, not on {device}; take backend torch, or device cpu")


def device_for(backend: str, device: str) -> str:
    """Settle the device where the backend leaves no choice.

    Examples
    --------
    >>> device_for("openvino", "auto"), device_for("torch", "auto")
    ('cpu', 'auto')
    """
    return "cpu" if device == "auto" and backend in _EXTRAS else device


def choose_runtime(card: ModelCard, *, backend: str = "auto", precision: str = "auto", device: str = "cpu") -> Runtime:
    """Choose what a model computes with.

    Left to itself, it takes OpenVINO or ONNX Runtime, where installed, for encoders that are not fast anyway: getting
    them ready takes seconds. bf16 is for image encoders alone, and chosen only where it is fast: in OpenVINO on
    processors with instructions for it, and on CUDA.

    Parameters
    ----------
    card : ModelCard
    backend : {"auto", "torch", "torch-compiled", "openvino", "onnxruntime"}
    precision : {"auto", "fp32", "bf16"}
    device : str
        As torch names it.

    Returns
    -------
    Runtime

    Raises
    ------
    ModelError
        If names are unknown, a package is missing, or the device or processor cannot do it.

    Examples
    --------
    >>> from voxsam.models.registry import card
    >>> choose_runtime(card("compact"))
    Runtime(backend='torch', precision='fp32', device='cpu', decoder='', remark='')
    """
    check_choice(backend, precision, device)
    decoder = "torch" if backend == "torch-compiled" else ""  # every number of clicks would be compiled anew
    if device != "cpu":
        backend = "torch" if backend == "auto" else backend
        return Runtime(backend, _precision_on(device) if precision == "auto" else precision, device, decoder)
    if backend == "auto":
        backend = "torch" if card.speed_class.startswith("fast") else _fastest(precision)
    if backend == "openvino" and _installed("onnxruntime"):
        decoder = "onnxruntime"  # quicker on small graphs
    if precision == "auto":
        precision = "bf16" if backend == "openvino" and has_bf16() else "fp32"
    elif precision == "bf16" and not has_bf16():
        raise ModelError("this processor has no instructions for bf16, so it would be slower; take precision fp32")
    return Runtime(backend, precision, device, decoder)


def has_bf16() -> bool:
    """Say whether the processor computes in bf16 by instructions of its own."""
    if _installed("openvino"):
        from voxsam.models.backends.openvino_engine import processor_has_bf16

        return processor_has_bf16()
    if platform.system() != "Linux":
        return False
    words = _CPUINFO.read_text(encoding="utf-8", errors="replace").split() if _CPUINFO.is_file() else []
    return not _BF16_FLAGS.isdisjoint(words)


def _installed(backend: str) -> bool:
    return all(find_spec(package) is not None for package in _PACKAGES[backend])


def _fastest(precision: str) -> str:
    here = [name for name in ("openvino", "onnxruntime") if _installed(name)]
    if precision == "bf16":
        here = [name for name in here if name == "openvino"]
    return here[0] if here else "torch"


def _precision_on(device: str) -> str:
    """Half the digits and several times the speed on a CUDA device; elsewhere as on a CPU."""
    import torch

    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
