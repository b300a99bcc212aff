"""The models that voxsam knows, by exact name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from voxsam.errors import ModelError, unknown_name
from voxsam.models.backends.choose import check_choice, device_for
from voxsam.models.base import ModelCard, PromptableModel
from voxsam.models.cards import CARDS
from voxsam.models.weights import ensure

__all__ = ["CARDS", "card", "load_model", "resolve_device"]


def card(name: str) -> ModelCard:
    """Look a model up by its exact name.

    Parameters
    ----------
    name : str

    Returns
    -------
    ModelCard

    Raises
    ------
    ModelError
        If there is none of that name, with the nearest one.

    Examples
    --------
    >>> card("sam-vit-b").weights.filename
    'sam_vit_b_01ec64.pth'
    >>> card("sam-vitb")
    Traceback (most recent call last):
    voxsam.errors.ModelError: no model 'sam-vitb'; did you mean 'sam-vit-b'? Known: compact, ...
    """
    if name in CARDS:
        return CARDS[name]
    raise ModelError(unknown_name("model", name, sorted(CARDS)))


def load_model(
    name: str,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> PromptableModel:
    """Load a model by its name, downloading its weights the first time if they do not ship with voxsam.

    It warns of a licence that is not permissive, and of a file that has the name of another model's weights.

    Parameters
    ----------
    name : str
        As in `CARDS`.
    weights : path, optional
        A weights file of your own, or a folder that holds the published one.
    device : str
        ``"auto"`` takes CUDA, else MPS, else the CPU; otherwise as torch names it.
    backend : {"auto", "torch", "torch-compiled", "openvino", "onnxruntime"}
        What computes; ``"auto"`` goes by what is installed and by the model, see `backends.choose.choose_runtime`.
    precision : {"auto", "fp32", "bf16"}
        Of the image encoder; ``"auto"`` goes by the backend and the processor.
    on_progress : callable, optional
        Called with (bytes done, bytes in all) during a download.

    Returns
    -------
    PromptableModel

    Raises
    ------
    ModelError
        If there is no such model, device, backend or precision here, or a package is missing.
    WeightsError
        If the weights are missing, damaged, unsafe to read, or of another model.

    Examples
    --------
    >>> load_model("sam-vit-b", weights="no_such_file.pth", device="cpu")
    Traceback (most recent call last):
    voxsam.errors.WeightsError: no weights file for sam-vit-b at no_such_file.pth
    """
    chosen = card(name)
    # all of it before a long download
    if chosen.needs and find_spec(chosen.needs) is None:
        raise ModelError(f'{name} needs the package {chosen.needs}: pip install "voxsam[hf]"')
    where = resolve_device(device_for(backend, device))
    check_choice(backend, precision, where)
    path = ensure(chosen, weights, on_progress=on_progress)
    module, _, function = chosen.builder.partition(":")
    build: Callable[[ModelCard, Path, str], PromptableModel] = getattr(import_module(module), function)
    model = build(chosen, path, where)
    for remark in _remarks(chosen, path):
        warnings.warn(remark, stacklevel=2)
    from voxsam.models.backends.apply import use_runtime

    use_runtime(model, backend=backend, precision=precision, device=where)
    if where == "cpu":
        return model
    from voxsam.models.backends.guard import guarded

    return guarded(model, lambda: build(chosen, path, "cpu"))


def _remarks(chosen: ModelCard, path: Path) -> Iterator[str]:
    if not chosen.permissive:
        yield f"the weights of {chosen.name} are under {chosen.licence}: make sure that your use is allowed"
    for other in CARDS.values():
        if other.name != chosen.name and other.weights is not None and other.weights.filename == path.name:
            yield f"{path.name} is the published file of {other.name}; as {chosen.name} it gets other preprocessing"


def resolve_device(device: str = "auto") -> str:
    """Choose where a model runs.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Returns
    -------
    str
        As torch names it.

    Raises
    ------
    ModelError
        If there is no such device here, with those that are.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    import torch

    here = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    here += ["mps"] if torch.backends.mps.is_available() else []
    here += ["cpu"]
    if device == "auto":
        return here[0]
    if device not in here and not (device == "cuda" and here[0].startswith("cuda")):
        raise ModelError(f"no device '{device}' here; choose 'auto' or one of: {', '.join(here)}")
    return device
