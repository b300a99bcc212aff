"""No backend costs accuracy: its masks are those of torch in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from phantoms import awkward_geometry, branching, organ_that_ends, sphere
from voxsam.embeddings import EmbeddingStore
from voxsam.evaluate import load_cases
from voxsam.models.backends.choose import has_bf16
from voxsam.models.base import PromptableModel
from voxsam.models.registry import load_model
from voxsam.predict import predict_slice
from voxsam.prompts import Box, Point, Prompt
from voxsam.views import SliceStack
from voxsam.volume import Volume
from voxsam.windowing import choose_window

RUNTIMES = [("openvino", "fp32"), ("onnxruntime", "fp32")]
if has_bf16():
    RUNTIMES += [("openvino", "bf16"), ("torch", "bf16")]
LEAST_DICE = 0.995

Question = tuple[int, list[Prompt]]


def questions(volume: Volume, truth: np.ndarray) -> Iterator[Question]:
    """A box and a click on the slice where the object is largest, and on one beside it."""
    axis = volume.geometry.axes_of(volume.geometry.native_plane).normal
    areas = np.moveaxis(truth, axis, 0).reshape(truth.shape[axis], -1).sum(1)
    held = np.flatnonzero(areas)
    for index in {int(areas.argmax()), int(held[len(held) // 3])}:
        where = np.argwhere(np.moveaxis(truth, axis, 0)[index])
        places = (where.min(0), where.max(0), where[len(where) // 2])
        low, high, middle = (np.insert(place, axis, index) for place in places)
        yield index, [Box(tuple(low.tolist()), tuple(high.tolist()))]
        yield index, [Point(tuple(middle.tolist()))]


@cache
def model_on(backend: str, precision: str) -> PromptableModel:
    return load_model("compact", device="cpu", backend=backend, precision=precision)


def masks_of(model: PromptableModel, volume: Volume, asked: list[Question]) -> list[np.ndarray]:
    store, windows = EmbeddingStore(model, SliceStack(volume)), choose_window(volume)
    views = [store.stack.view(volume.geometry.native_plane, index, windows) for index, _ in asked]
    return [predict_slice(store, view, prompts).mask for view, (_, prompts) in zip(views, asked, strict=True)]


def dice(masks: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Of all pixels together."""
    pairs = list(zip(masks, others, strict=True))
    inside = sum(2 * np.count_nonzero(one & other) for one, other in pairs)
    return inside / sum(np.count_nonzero(one) + np.count_nonzero(other) for one, other in pairs)


Scan = tuple[Volume, list[Question], list[np.ndarray]]


def scan_of(volume: Volume, truth: np.ndarray) -> Scan:
    """With the masks that torch gives in fp32."""
    asked = list(questions(volume, truth))
    return volume, asked, masks_of(model_on("torch", "fp32"), volume, asked)


@pytest.fixture(scope="module")
def phantoms() -> list[Scan]:
    grid = awkward_geometry()
    return [
        scan_of(phantom.volume, np.asarray(phantom.truth.array) > 0)
        for phantom in (sphere(grid), branching(grid), organ_that_ends(grid))
    ]


@pytest.fixture(scope="module")
def real_scans(data_dir: Path) -> list[Scan]:
    """The first scan of each source, and the label that is largest in it."""
    scans = []
    for case in {case.dataset: case for case in reversed(load_cases(data_dir))}.values():
        volume, labels = case.read()
        array = np.asarray(labels.array)
        scans.append(scan_of(volume, array == np.bincount(array[array > 0]).argmax()))
    return scans


@pytest.mark.parametrize(("backend", "precision"), RUNTIMES)
def test_masks_of_phantoms_are_those_of_torch_in_fp32(phantoms: list[Scan], backend: str, precision: str) -> None:
    for volume, asked, exact in phantoms:
        assert dice(masks_of(model_on(backend, precision), volume, asked), exact) >= LEAST_DICE


@pytest.mark.realdata
@pytest.mark.parametrize(("backend", "precision"), RUNTIMES)
def test_masks_of_real_scans_are_those_of_torch_in_fp32(real_scans: list[Scan], backend: str, precision: str) -> None:
    model = model_on(backend, precision)
    found, exact = [], []
    for volume, asked, masks in real_scans:
        found += masks_of(model, volume, asked)
        exact += masks
    each = [dice([one], [other]) for one, other in zip(found, exact, strict=True) if other.any()]
    assert len(each) > 40
    assert dice(found, exact) >= LEAST_DICE
    assert np.mean(each) >= LEAST_DICE
    assert min(each) >= 0.97  # two border pixels of the smallest
