"""From a view's pixels to a model's input; `test_sam.py` compares it with an independent implementation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxsam.models.base import Preprocessing
from voxsam.models.preprocessing import check_pixels, resize_pixels, resized_shape, xy_to_input

LONGEST = Preprocessing(256)
SQUASH = Preprocessing(256, resize="squash")


def test_it_needs_no_torch() -> None:
    script = "import sys, voxsam.models.preprocessing; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_the_longest_side_fills_the_input_and_the_aspect_is_kept(height: int, width: int) -> None:
    h, w = resized_shape((height, width), LONGEST)
    assert max(h, w) == 256
    assert min(h, w) >= 1
    assert abs(h - height * 256 / max(height, width)) <= 0.5 or h == 1
    assert abs(w - width * 256 / max(height, width)) <= 0.5 or w == 1


@pytest.mark.parametrize("preprocessing", [LONGEST, SQUASH])
def test_the_far_edge_of_the_view_is_the_far_edge_of_its_place_in_the_input(preprocessing: Preprocessing) -> None:
    h, w = resized_shape((100, 70), preprocessing)
    np.testing.assert_allclose(xy_to_input(np.array([[70.0, 100.0]]), (100, 70), preprocessing), [[w, h]])
    np.testing.assert_allclose(xy_to_input(np.zeros((1, 2)), (100, 70), preprocessing), [[0, 0]])


def test_no_points_are_no_points() -> None:
    assert xy_to_input(np.zeros((0, 2), np.float32), (10, 10), LONGEST).shape == (0, 2)


def test_a_view_of_the_inputs_own_size_keeps_its_grey_levels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_pixels(grey.astype(np.float32) / 255, LONGEST), grey)


def test_shrinking_averages_so_that_nothing_thin_is_lost() -> None:
    lines = np.zeros((2048, 2048, 3), np.float32)
    lines[::8] = 1  # one bright row in each row of the input
    assert resize_pixels(lines, LONGEST)[10:-10].min() > 20


def test_rounding_beyond_the_range_is_cut_off() -> None:
    pixels = check_pixels(np.array([[[-1e-4, 0.5, 1 + 1e-4]]]))
    np.testing.assert_array_equal(pixels, np.array([[[0, 0.5, 1]]], np.float32))
