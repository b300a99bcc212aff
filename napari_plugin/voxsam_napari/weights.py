"""Which models have their weights on this machine, and how those are fetched; for the worker's thread."""

from __future__ import annotations

from voxsam.models.registry import CARDS, card
from voxsam_napari.worker import OnProgress

__all__ = ["fetch_weights", "models_here"]


def models_here() -> dict[str, bool]:
    """Say of each model whether it can be used at once; large files are not read for it."""
    from voxsam.models.weights import find  # brings torch, which takes a second to load

    return {name: find(known, verified=False) is not None for name, known in CARDS.items()}


def fetch_weights(name: str, on_progress: OnProgress) -> None:
    """Download a model's weights; the panel has shown their licence.

    Raises
    ------
    WeightsError
        If there is no network or no room, or what came is damaged.
    """
    from voxsam.models.weights import download

    download(card(name), on_progress=on_progress)
