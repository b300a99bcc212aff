"""What a model computes with: the parts that another runtime may take over, and what a report says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from voxsam.models.base import PromptableModel

__all__ = ["Part", "Runtime", "facts_of", "runtime_of"]


@dataclass(frozen=True)
class Part:
    """A piece of a model's network, so that another runtime can take its place.

    Models keep theirs in a dict named ``parts``, the one that encodes a view as ``"encoder"``, and go through it.

    Parameters
    ----------
    run : callable
        Takes and returns tensors, alone or in mappings, sequences and dataclasses.
    free_axes : mapping of str to tuple of int
        Axes whose length changes from call to call, by the input's name, such as ``{"prompts.points_xy": (2,)}``;
        a ``*`` stands for any name.
    sensitive : bool
        In reduced precision, products with weights alone are reduced: sums along the way and the scores of attention
        would lose too much.
    """

    run: Callable[..., Any]
    free_axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sensitive: bool = False


@dataclass(frozen=True)
class Runtime:
    """What a model computes with; part of every report.

    Parameters
    ----------
    backend : {"torch", "torch-compiled", "openvino", "onnxruntime"}
    precision : {"fp32", "bf16", "fp16"}
        Of the arithmetic of the image encoder; everything after it is single precision.
    device : str
        As torch names it.
    decoder : str
        What runs everything after the encoder, where that is another backend.
    remark : str
        What went otherwise than was asked; empty where nothing did.

    Examples
    --------
    >>> Runtime("openvino", "bf16").to_json()
    {'backend': 'openvino', 'precision': 'bf16', 'device': 'cpu'}
    """

    backend: str = "torch"
    precision: str = "fp32"
    device: str = "cpu"
    decoder: str = ""
    remark: str = ""

    def to_json(self) -> dict[str, str]:
        """Return what a report keeps; and nothing of what is empty."""
        return {name: text for name, text in asdict(self).items() if text}


def runtime_of(model: object) -> Runtime:
    """Return what a model computes with: its ``runtime`` where it has one, else torch in single precision.

    Examples
    --------
    >>> runtime_of(object()).backend
    'torch'
    """
    found = getattr(model, "runtime", None)
    return found if isinstance(found, Runtime) else Runtime()


def facts_of(model: PromptableModel) -> dict[str, str]:
    """Return what a report says of a model: name, licence, hash of the weights, and what it computes with."""
    card = model.card
    facts = {"name": card.name, "licence": card.licence, "weights_sha256": model.weights_sha256}
    return {**facts, **runtime_of(model).to_json()}
