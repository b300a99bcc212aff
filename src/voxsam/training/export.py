"""From a run to the file that ships."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from voxsam.errors import InputError
from voxsam.models.compact_network import CompactNetwork
from voxsam.training.config import Config
from voxsam.training.loop import Trainer

__all__ = ["export_run", "shipped_state"]

log = logging.getLogger(__name__)
HALF_LIMIT = 3.0e4  # half precision ends at 65504


def export_run(folder: Path, output: Path) -> None:
    """Write the averaged weights of a run, normalisations folded in, as half-precision safetensors.

    Parameters
    ----------
    folder : Path
        Of the run.
    output : Path
        Written beside and renamed, so that it is whole or not there.

    Raises
    ------
    InputError
        If there is no checkpoint, or a weight does not fit half precision.
    """
    if not (folder / "checkpoint.pt").exists():
        raise InputError(f"{folder} holds no checkpoint.pt; train there first")
    config = Config.from_json(folder / "config.json")
    trainer = Trainer(folder, config)
    trainer.settle(config.phases[-1])
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    metadata = {
        "model": "voxsam compact",
        "licence": "Apache-2.0",
        "steps": str(trainer.step),
        "images": str(trainer.images_seen),
        "config": replace(config, data=None).to_json(),  # a folder of one machine means nothing elsewhere
    }
    save_file(shipped_state(trainer.average.network), partial, metadata)
    partial.chmod(0o644)  # safetensors writes for its owner alone, a wheel is for everyone
    partial.replace(output)
    log.info("wrote %s, %.1f MB", output, output.stat().st_size / 1e6)


def shipped_state(network: CompactNetwork) -> dict[str, Tensor]:
    """Fold a network, in place, and return its weights in half precision; the position frequencies stay single.

    Raises
    ------
    InputError
        If a weight is too large for half precision.
    """
    state = {}
    for name, tensor in network.eval().fold().state_dict().items():
        largest = float(tensor.abs().max())
        if not largest < HALF_LIMIT:  # so written, NaN fails
            raise InputError(f"{name} reaches {largest:g}, too large for half precision; look at the run's scales")
        keep = name.endswith("frequencies")
        state[name] = tensor.detach().to(torch.float32 if keep else torch.float16).contiguous()
    return state
