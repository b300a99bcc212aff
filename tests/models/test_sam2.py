"""SAM 2 as a promptable and as a tracking model."""

from __future__ import annotations

import pytest
import torch

from contracts.model_contract import PromptableModelContract
from contracts.tracking_contract import TrackingModelContract
from sam2_reference import random_model
from voxsam.models.base import TrackingModel

torch.set_num_threads(1)


class TestTinySam2(PromptableModelContract, TrackingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> TrackingModel:
        return random_model()
