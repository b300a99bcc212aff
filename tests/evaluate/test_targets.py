"""Slices are drawn evenly, by seed, and only where there is enough to ask for."""

from __future__ import annotations

import numpy as np
import pytest

from phantoms import GEOMETRIES, sphere
from voxsam.evaluate.targets import SlicePlace, slice_targets
from voxsam.geometry import PLANES, Geometry, Plane
from voxsam.volume import Mask


@pytest.mark.parametrize("grid", GEOMETRIES)
@pytest.mark.parametrize("plane", PLANES)
def test_a_pixel_of_a_slice_is_the_voxel_it_came_from(grid: str, plane: Plane) -> None:
    geometry = GEOMETRIES[grid]
    array = np.arange(np.prod(geometry.shape)).reshape(geometry.shape)
    place = SlicePlace(geometry, plane, 3)
    cut = place.cut(array)
    for row, column in ((0, 0), (2, 5), (cut.shape[0] - 1, cut.shape[1] - 1)):
        assert array[place.to_zyx((row, column))] == cut[row, column]
    assert place.spacing_mm == tuple(geometry.spacing_mm[a] for a in (place.axes.row, place.axes.column))


def test_small_slices_and_small_components_are_left_out() -> None:
    array = np.zeros((6, 30, 30), np.uint8)
    array[1, 2:8, 2:8] = 1  # 36 pixels
    array[2, 2:8, 2:9] = 1  # 42
    array[3, 2:8, 2:8] = array[3, 20:26, 20:26] = 1  # twice 36
    array[4, 2:12, 2:12] = array[4, 20:24, 20:24] = 1  # 100 and 16
    targets = slice_targets(Mask(array, Geometry.from_spacing(array.shape)), 1, plane="axial", count=0, seed=0)
    assert [(t.place.index, int(t.truth.sum())) for t in targets] == [(2, 42), (4, 100)]


def test_the_draw_is_even_and_follows_the_seed() -> None:
    mask = sphere(GEOMETRIES["isotropic"]).truth

    def indices(seed: int) -> list[int]:
        drawn = slice_targets(mask, 1, plane="axial", count=3, seed=seed)
        return [target.place.index for target in drawn]

    assert indices(5) == indices(5)
    assert len({tuple(indices(seed)) for seed in range(8)}) > 1
    low, middle, high = indices(0)
    assert low < middle < high
    assert high - low > 5
