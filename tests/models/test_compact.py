"""The embedded default: its network, and the contract of every promptable model."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from contracts.model_contract import BOX, SHAPE, PromptableModelContract, click, disc_logits, view
from voxsam.errors import WeightsError
from voxsam.models.base import Embedding, PromptableModel, SlicePrompts
from voxsam.models.compact import CompactModel, build_compact
from voxsam.models.compact_encoder import CHANNELS, STRIDES
from voxsam.models.compact_network import CompactNetwork
from voxsam.models.compact_prompts import PromptBatch
from voxsam.models.registry import CARDS

torch.set_num_threads(1)
SIZE = 64
GIVEN = [name for name in PromptBatch.__dataclass_fields__ if name not in ("memory", "recalled")]


def random_network(seed: int = 0) -> CompactNetwork:
    """An untrained network whose statistics are not the initial ones."""
    torch.manual_seed(seed)
    network = CompactNetwork()
    network.encoder(torch.rand(4, 3, SIZE, SIZE))
    return network.eval()


def prompts(sets: int = 1, *, shift: float = 0.0) -> PromptBatch:
    points = torch.tensor([[20.0, 24.0], [40.0, 44.0], [0.0, 0.0]]).expand(1, sets, 3, 2) + shift
    labels = torch.tensor([1, 0, -1]).expand(1, sets, 3)
    box = torch.tensor([10.0, 12.0, 40.0, 44.0]).expand(1, sets, 4)
    mask = torch.linspace(-3, 3, (SIZE // 2) ** 2).view(1, 1, SIZE // 2, SIZE // 2).expand(1, sets, -1, -1)
    yes = torch.ones(1, sets, dtype=torch.bool)
    return PromptBatch(points, labels, box, yes, mask, yes)


class TestCompact(PromptableModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> PromptableModel:
        return CompactModel(CARDS["compact"], random_network().fold())


@torch.no_grad()
def test_the_network_keeps_its_budget() -> None:
    network = CompactNetwork()
    assert sum(parameter.numel() for parameter in network.parameters()) < 6e6


@torch.no_grad()
@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (128, 48)])
def test_features_have_the_shapes_that_their_names_promise(shape: tuple[int, int]) -> None:
    features = random_network().encoder(torch.rand(2, 3, *shape))
    assert {name: tuple(feature.shape) for name, feature in features.items()} == {
        name: (2, CHANNELS[name], shape[0] // step, shape[1] // step) for name, step in STRIDES.items()
    }


@torch.no_grad()
def test_folding_the_normalisation_changes_nothing() -> None:
    network, image = random_network(), torch.rand(1, 3, SIZE, SIZE)
    folded = copy.deepcopy(network).fold()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    for name, feature in network.encoder(image).items():
        torch.testing.assert_close(folded.encoder(image)[name], feature, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_several_prompt_sets_are_answered_as_each_alone() -> None:
    network = random_network()
    features = network.encoder(torch.rand(1, 3, SIZE, SIZE))
    one, other = prompts(), prompts(shift=5.0)
    both = PromptBatch(*(torch.cat([getattr(one, name), getattr(other, name)], 1) for name in GIVEN))
    logits, scores = network.decode(features, both)
    for index, alone in enumerate((one, other)):
        expected, quality = network.decode(features, alone)
        torch.testing.assert_close(logits[:, index : index + 1], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores[:, index : index + 1], quality, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_padded_points_say_nothing() -> None:
    network = random_network()
    features = network.encoder(torch.rand(1, 3, SIZE, SIZE))
    given = prompts()
    without = PromptBatch(
        given.points_xy[:, :, :2],
        given.point_labels[:, :, :2],
        given.boxes_xyxy,
        given.has_box,
        given.mask_logits,
        given.has_mask,
    )
    torch.testing.assert_close(network.decode(features, given), network.decode(features, without))


@torch.no_grad()
def test_scales_stay_near_one_through_the_encoder() -> None:
    stages: list[float] = []
    network = random_network()
    for block in network.encoder.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: stages.append(float(output.std())))
    network.encoder(torch.rand(1, 3, 128, 128))
    assert 0.05 < min(stages) <= max(stages) < 10


def test_a_click_is_looked_at_where_it_is() -> None:
    """Mirrored view, mirrored click: the click's own map moves with it."""
    model = CompactModel(CARDS["compact"], random_network().fold())
    embedding = model.encode(view())
    left, right = (model.decode(embedding, click(x)).logits[0] for x in (10, 70))
    change = np.abs(left - right)
    rows = slice(20, 40)
    assert change[rows, 5:16].mean() + change[rows, 65:76].mean() > 2 * change[:8].mean()


def test_views_are_padded_no_more_than_needed() -> None:
    model = CompactModel(CARDS["compact"], random_network().fold())
    features = model.encode(view((30, 120))).features
    assert tuple(features["sixteenth"].shape) == (128, 4, 16)  # 64 x 256


def test_a_mask_of_the_view_reads_as_the_models_own(tmp_path: Path) -> None:
    model = CompactModel(CARDS["compact"], random_network().fold())
    embedding = model.encode(view((256, 256)))
    drawn = disc_logits((256, 256))
    own = np.asarray(torch.nn.functional.avg_pool2d(torch.from_numpy(drawn)[None], 2)[0])
    a = model.decode(embedding, SlicePrompts(mask_logits=drawn))
    b = model.decode(embedding, SlicePrompts(low_res_logits=own))
    np.testing.assert_allclose(a.logits, b.logits, atol=1e-3)


def test_weights_are_read_strictly_in_half_precision(tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in random_network().fold().state_dict().items()}
    save_file(state, tmp_path / "ours.safetensors")
    model = build_compact(CARDS["compact"], tmp_path / "ours.safetensors", "cpu")
    answer = model.decode(model.encode(view()), SlicePrompts(box_xyxy=BOX))
    assert answer.logits.shape == (1, *SHAPE)
    state.pop("encoder.norm.weight")
    save_file(state, tmp_path / "torn.safetensors")
    with pytest.raises(WeightsError, match=r"encoder\.norm\.weight"):
        build_compact(CARDS["compact"], tmp_path / "torn.safetensors", "cpu")


def test_without_weights_there_is_no_model() -> None:
    with pytest.raises(WeightsError, match="needs its weights file"):
        build_compact(CARDS["compact"], None, "cpu")


def test_an_embedding_of_another_size_is_refused_with_both_shapes() -> None:
    model = CompactModel(CARDS["compact"], random_network().fold())
    embedding = model.encode(view())
    with pytest.raises(Exception, match="needs its own embedding"):
        model.decode(Embedding(embedding.features, (80, 60)), click())
