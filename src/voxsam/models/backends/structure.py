"""Nested arguments and results as named tensors, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

__all__ = ["leaves", "with_tensors"]


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """List what nested mappings, dataclasses and sequences hold, with the path to each.

    Parameters
    ----------
    value : Any
    name : str
        Of the whole.

    Examples
    --------
    >>> dict(leaves({"half": 1, "deep": (2, None)}, "features"))
    {'features.half': 1, 'features.deep.0': 2, 'features.deep.1': None}
    """
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, tuple | list):
        items = [(str(index), item) for index, item in enumerate(value)]
    elif is_dataclass(value):
        items = [(part.name, getattr(value, part.name)) for part in fields(value)]
    else:
        yield name, value
        return
    for key, item in items:
        yield from leaves(item, f"{name}.{key}")


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a nested value with each tensor changed, taken in the order of `leaves`; the rest stays as it is.

    Parameters
    ----------
    value : Any
    change : callable

    Examples
    --------
    >>> import torch
    >>> with_tensors({"a": torch.ones(1), "b": None}, lambda tensor: tensor + 1)
    {'a': tensor([2.]), 'b': None}
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: with_tensors(item, change) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(with_tensors(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: with_tensors(getattr(value, part.name), change) for part in fields(value)})
    return value
