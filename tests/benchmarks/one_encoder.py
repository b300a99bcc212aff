"""Run one image encoder in a process of its own, and say as JSON what it took.

``python one_encoder.py {reference|voxsam} {vit-b|tiny-vit} {kept|default} PASSES``; the first pass is not counted.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules

from benchmarks.kept_memory import keep_all_memory
from independent_sam import random_weights, tiny_sam, vit_sam
from voxsam.models.tinyvit import TinyViT, fold_norms
from voxsam.models.vit import ImageEncoder

SIZES = {"width": 768, "depth": 12, "heads": 12, "global_blocks": (2, 5, 8, 11)}


def encoder_of(whose: str, name: str) -> Any:
    if whose == "reference":
        sam = vit_sam(**SIZES) if name == "vit-b" else tiny_sam()  # type: ignore[arg-type]
        return sam.image_encoder
    encoder = ImageEncoder(**SIZES) if name == "vit-b" else TinyViT()  # type: ignore[arg-type]
    encoder.load_state_dict(random_weights(encoder.state_dict()))
    fold_norms(encoder)
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def main(whose: str, name: str, memory: str, passes: str) -> None:
    torch.set_num_threads(1)
    if memory == "kept":
        keep_all_memory()
    encoder = encoder_of(whose, name)
    image = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    encoder(image)
    seconds = []
    for _ in range(int(passes)):
        began = time.process_time()
        features = encoder(image)
        seconds.append(time.process_time() - began)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mb": peak_mb, "sample": features[0, :4, 0, :4].tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
