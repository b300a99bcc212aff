"""The image encoders of the other families, in OpenVINO and ONNX Runtime as in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import sam2_reference
from contracts.model_contract import view
from independent_sam import random_weights
from sam_reference import TINY, card_of
from voxsam.models.backends.apply import use_runtime
from voxsam.models.sam import Sam, SamModel

torch.set_num_threads(1)


def tiny_vit() -> SamModel:
    sam = Sam(TINY, encoder="tiny-vit", channels=32, stem=4, widths=(8, 8, 16, 16), depths=(1, 1, 2, 1),
              heads=(1, 1, 2, 2), windows=(3, 3, 5, 3))  # fmt: skip
    sam.load_state_dict(random_weights(sam.state_dict()), strict=False)
    return SamModel(card_of(TINY), sam.eval())


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("build", [tiny_vit, sam2_reference.random_model], ids=["TinyViT", "SAM 2"])
def test_the_embedding_is_torchs(build: Callable[[], Any], backend: str) -> None:
    model, other = build(), build()
    use_runtime(other, backend=backend, precision="fp32")
    expected, found = model.encode(view()).to_arrays(), other.encode(view()).to_arrays()
    assert found.keys() == expected.keys()
    for name, feature in expected.items():
        np.testing.assert_allclose(found[name], feature, atol=1e-4 * max(1.0, np.abs(feature).max()), err_msg=name)
