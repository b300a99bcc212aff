"""Models as ONNX files, for programs that have no torch."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from voxsam.errors import ModelError
from voxsam.models.base import PromptableModel

__all__ = ["export_model"]


def export_model(model: PromptableModel, folder: str | Path, *, single_mask: bool = False) -> list[Path]:
    """Write a model's image encoder and decoder as ONNX, with a note of how views are prepared for them.

    Parameters
    ----------
    model : PromptableModel
        An image model, on the CPU.
    folder : path
        Made where it does not exist.
    single_mask : bool
        Have the decoder return one mask instead of four.

    Returns
    -------
    list of Path
        ``NAME_encoder.onnx``, ``NAME_decoder.onnx``, ``NAME.json``, and whatever weights were too large for them.

    Raises
    ------
    ModelError
        If the model has no such graphs, or the package to write them is missing.

    Examples
    --------
    >>> from voxsam.models.registry import load_model
    >>> export_model(load_model("compact", device="cpu"), "graphs")  # doctest: +SKIP
    [PosixPath('graphs/compact_encoder.onnx'), PosixPath('graphs/compact_decoder.onnx'), ...]
    """
    name, describe = model.card.name, getattr(model, "onnx_graphs", None)
    if describe is None:
        raise ModelError(f"{name} has no ONNX graphs: it remembers slices, which they cannot; export an image model")
    if find_spec("onnx") is None:
        raise ModelError("export needs a package that is not installed; pip install 'voxsam[onnx]'")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    graphs = describe(single_mask=single_mask)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as unfinished:
        for part, graph in graphs.items():
            graph.write(Path(unfinished) / f"{name}_{part}.onnx")
        note = {**_note(model), "inputs": {part: _shapes(graph) for part, graph in graphs.items()}}
        (Path(unfinished) / f"{name}.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        written = sorted(Path(unfinished).iterdir(), key=lambda path: (path.suffix != ".onnx", "decoder" in path.name))
        for path in written:
            path.replace(folder / path.name)
    return [folder / path.name for path in written]


def _note(model: PromptableModel) -> dict[str, Any]:
    card = model.card
    return {
        "model": card.name,
        "licence": card.licence,
        "citation": card.citation,
        "weights_sha256": model.weights_sha256,
        "preprocessing": asdict(card.preprocessing),
    }


def _shapes(graph: Any) -> dict[str, list[int | str]]:
    return {
        name: [graph.free_axes.get(name, {}).get(axis, length) for axis, length in enumerate(tensor.shape)]
        for name, tensor in graph.inputs.items()
    }
