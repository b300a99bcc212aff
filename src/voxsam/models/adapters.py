"""Weights that differ from the embedded ones only in what answers prompts: small files, made by fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from voxsam.errors import WeightsError
from voxsam.models.weights import read_state, state_sha256

__all__ = ["ADAPTED", "adapted_state", "is_adapter", "part_of", "save_adapter"]

#: What an adapter holds; the image encoder stays as it is, and so do the embeddings that are stored already.
ADAPTED = ("prompt_encoder.", "mask_decoder.")
KIND = "voxsam compact adapter"


def part_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a network's state that an adapter holds."""
    return {name: tensor for name, tensor in state.items() if name.startswith(ADAPTED)}


def is_adapter(path: Path) -> bool:
    """Say whether a file holds an adapter, by its own words."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("model") == KIND
    except (OSError, SafetensorError):
        return False  # whoever reads it says what it is


def save_adapter(path: Path, state: Mapping[str, Tensor], base: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write the adapted part of a network in half precision, whole or not at all.

    Parameters
    ----------
    path : Path
    state : mapping of str to tensor
        Of the adapted network.
    base : mapping of str to tensor
        Of the network that it was made from.
    facts : mapping of str to str
        What a reader should know: data, labels, gains.
    """
    kept = {name: (t if name.endswith("frequencies") else t.half()).contiguous() for name, t in part_of(state).items()}
    metadata = {**facts, "model": KIND, "base_sha256": state_sha256(base)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    save_file(kept, partial, metadata)
    partial.chmod(0o644)
    partial.replace(path)


def adapted_state(path: Path, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put an adapter on the weights that it was made from.

    Parameters
    ----------
    path : Path
    base : mapping of str to tensor

    Returns
    -------
    dict of str to tensor
        The whole network's state.

    Raises
    ------
    WeightsError
        If it was made from other weights.
    """
    with safe_open(path, "pt") as file:
        made_from = (file.metadata() or {}).get("base_sha256", "")
    own = state_sha256(base)
    if made_from != own:
        raise WeightsError(
            f"{path} adapts weights with sha256 {made_from[:12]}..., this voxsam ships {own[:12]}...; "
            "fine-tune again with this version, or use the version that it was made with"
        )
    return {**base, **read_state(path)}
