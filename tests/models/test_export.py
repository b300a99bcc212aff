"""ONNX files of models: ONNX Runtime gives what the model gives, asked under the names of SAM's own export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from contracts.model_contract import BOX, PROMPTS, view
from fakes import FloodFillModel
from sam_reference import TINY, random_model
from voxsam.cli import main
from voxsam.errors import ModelError
from voxsam.models.base import Preprocessing, SlicePrompts
from voxsam.models.compact import CompactModel
from voxsam.models.compact_prior import answer_in_box
from voxsam.models.export import export_model
from voxsam.models.preprocessing import input_pixels, xy_to_input
from voxsam.models.registry import load_model

SHAPES = [(60, 80), (80, 60), (50, 256)]
SAM_INPUTS = ["image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"]
OUTPUTS = ["masks", "iou_predictions", "low_res_masks"]


class Exported:
    """The two files of a model, in ONNX Runtime."""

    def __init__(self, folder: Path, name: str) -> None:
        for part in ("encoder", "decoder"):
            onnx.checker.check_model(folder / f"{name}_{part}.onnx")
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / f"{name}_{part}.onnx", providers=["CPUExecutionProvider"])
            for part in ("encoder", "decoder")
        )

    def encode(self, image: np.ndarray) -> dict[str, np.ndarray]:
        names = [entry.name for entry in self.encoder.get_outputs()]
        return dict(zip(names, self.encoder.run(None, {"image": image}), strict=True))

    def decode(self, embedding: dict[str, np.ndarray], **asked: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(OUTPUTS, self.decoder.run(OUTPUTS, {**embedding, **asked}), strict=True))


def official(
    prompts: SlicePrompts, shape: tuple[int, int], preprocessing: Preprocessing, mask_shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Ask as the published examples do: scaled positions, corners among the points, a padding point without a box."""
    points, labels = [*prompts.points_xy], [*prompts.point_labels]
    if prompts.box_xyxy is not None:
        points, labels = [*points, *prompts.box_xyxy.reshape(2, 2)], [*labels, 2, 3]
    coords = xy_to_input(np.array(points, np.float32).reshape(-1, 2), shape, preprocessing)
    if prompts.box_xyxy is None:
        coords, labels = np.concatenate([coords, np.zeros((1, 2))]), [*labels, -1]
    mask = prompts.low_res_logits
    return {
        "point_coords": coords[None].astype(np.float32),
        "point_labels": np.array([labels], np.float32),
        "mask_input": (np.zeros(mask_shape) if mask is None else mask)[None, None].astype(np.float32),
        "has_mask_input": np.array([mask is not None], np.float32),
        "orig_im_size": np.array(shape, np.float32),
    }


def asked(low_res: np.ndarray) -> dict[str, SlicePrompts]:
    known = {name: prompts for name, prompts in PROMPTS.items() if prompts.mask_logits is None}
    return {**known, "an earlier answer": replace(PROMPTS["a click"], low_res_logits=low_res),
            "a box and an earlier answer": SlicePrompts(box_xyxy=BOX, low_res_logits=low_res)}  # fmt: skip


def compare(model: Any, exported: Exported, shape: tuple[int, int], image: np.ndarray) -> None:
    pixels = view(shape)
    embedding, found = model.encode(pixels), exported.encode(image)
    for name, feature in embedding.to_arrays().items():
        same = found.get("image_embeddings", found.get(f"image_embeddings.{name}"))
        np.testing.assert_allclose(same[0], feature, atol=1e-4)
    low_res = model.decode(embedding, PROMPTS["a click"]).low_res_logits[0]
    for name, prompts in asked(low_res).items():
        answer = exported.decode(found, **official(prompts, shape, model.card.preprocessing, low_res.shape))
        for multimask, chosen in ((False, slice(1)), (True, slice(1, 4))):
            expected = model.decode(embedding, prompts, multimask=multimask)
            if isinstance(model, CompactModel) and prompts.box_xyxy is not None and not multimask:
                masks, scores = (torch.from_numpy(answer[key][0]) for key in ("low_res_masks", "iou_predictions"))
                box, points = (model._to_input(xy, shape) for xy in (prompts.box_xyxy.reshape(2, 2), prompts.points_xy))
                boxed = answer_in_box(masks, scores, box.view(4), points, torch.from_numpy(prompts.point_labels))
                said = torch.from_numpy(expected.low_res_logits[0]).sigmoid()
                np.testing.assert_allclose(boxed.logits.sigmoid(), said, atol=1e-2, err_msg=name)
                continue  # the graph is the network alone
            np.testing.assert_allclose(answer["masks"][0, chosen], expected.logits, atol=1e-3, err_msg=name)
            np.testing.assert_allclose(answer["iou_predictions"][0, chosen], expected.scores, atol=1e-4, err_msg=name)
            np.testing.assert_allclose(
                answer["low_res_masks"][0, chosen], expected.low_res_logits, atol=1e-3, err_msg=name
            )


def sam_image(model: Any, shape: tuple[int, int]) -> np.ndarray:
    pixels = input_pixels(view(shape), model.card.preprocessing).astype(np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("resize", ["longest_side", "squash"])
def test_sam_answers_under_the_published_names(tmp_path: Path, resize: Any) -> None:
    model = random_model(replace(TINY, resize=resize))
    export_model(model, tmp_path)
    exported = Exported(tmp_path, "tiny-sam")
    assert [entry.name for entry in exported.encoder.get_outputs()] == ["image_embeddings"]
    assert [entry.name for entry in exported.decoder.get_inputs()] == SAM_INPUTS
    assert [entry.name for entry in exported.decoder.get_outputs()] == OUTPUTS
    assert exported.decoder.get_inputs()[1].shape == [1, "num_points", 2]
    for shape in SHAPES:
        compare(model, exported, shape, sam_image(model, shape))


def test_masks_that_are_averaged_as_probabilities_are_so_in_the_graph(tmp_path: Path) -> None:
    model = random_model(replace(TINY, resize="squash", mean_of="probabilities"))
    export_model(model, tmp_path)
    compare(model, Exported(tmp_path, "tiny-sam"), (60, 80), sam_image(model, (60, 80)))


def test_a_single_mask_is_the_best_alternative_for_a_point_and_the_one_answer_for_more(tmp_path: Path) -> None:
    model = random_model()
    export_model(model, tmp_path, single_mask=True)
    exported, embedding = Exported(tmp_path, "tiny-sam"), model.encode(view())
    found = exported.encode(sam_image(model, (60, 80)))
    for name, several in (("a click", True), ("many clicks", False), ("a click and a box", False)):
        expected = model.decode(embedding, PROMPTS[name], multimask=several)
        answer = exported.decode(found, **official(PROMPTS[name], (60, 80), model.card.preprocessing, (32, 32)))
        assert answer["masks"].shape == (1, 1, 60, 80)
        np.testing.assert_allclose(answer["masks"][0, 0], expected.logits[expected.best], atol=1e-3)


def test_the_shipped_model_answers_in_onnx_runtime_as_in_torch(tmp_path: Path) -> None:
    model = load_model("compact", device="cpu")
    assert isinstance(model, CompactModel)
    assert main(["export", "compact", "-o", str(tmp_path / "graphs")]) == 0
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == [
        "compact.json", "compact_decoder.onnx", "compact_encoder.onnx",
    ]  # fmt: skip
    exported = Exported(tmp_path / "graphs", "compact")
    for shape in SHAPES:
        compare(model, exported, shape, model._image(view(shape)).contiguous().numpy())
    note = json.loads((tmp_path / "graphs" / "compact.json").read_text())
    assert note["weights_sha256"] == model.weights_sha256
    assert note["preprocessing"]["input_size"] == 256
    assert note["inputs"]["encoder"]["image"] == [1, 3, "height", "width"]


def test_a_model_without_graphs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="flood-fill has no ONNX graphs"):
        export_model(FloodFillModel(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_the_package_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxsam.models.export.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'voxsam\[onnx\]'"):
        export_model(random_model(), tmp_path)
