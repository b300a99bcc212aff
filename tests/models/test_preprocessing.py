"""From a view's pixels to a model's input; `test_sam.py` compares it with an independent implementation."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import transform

from voxsam.models.base import Preprocessing
from voxsam.models.preprocessing import check_pixels, input_pixels, resize_pixels, resized_shape, xy_to_input

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


# ── as each checkpoint's own inference code does it; `test_parity.py` has the whole way ───────


def picture(shape: tuple[int, int], channels: int = 1) -> npt.NDArray[np.uint8]:
    """A smooth picture, dimmer than the range, in one channel repeated or in three."""
    noise = np.random.default_rng(0).random((shape[0] // 4 + 2, shape[1] // 4 + 2, channels))
    smooth = transform.resize(noise, (*shape, channels), order=1)
    return np.broadcast_to((20 + 180 * smooth).astype(np.uint8), (*shape, 3)).copy()


def as_view(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return image.astype(np.float32) / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(100, 130), (300, 211), (64, 700), (256, 256), (1, 9), (3, 1)])
def test_cubic_is_scikit_images_to_the_grey_level(shape: tuple[int, int], channels: int) -> None:
    image = picture(shape, channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = transform.resize(image, (256, 256), order=3, preserve_range=True, anti_aliasing=True)
    found = resize_pixels(as_view(image), Preprocessing(256, resize="squash", resampling="cubic"))
    np.testing.assert_array_equal(found, expected.astype(np.uint8))


def by_areas(row: list[int], size: int) -> list[float]:
    """The mean of a row's pixels over the area of each new one, spelt out."""
    share = len(row) / size
    means = []
    for place in range(size):
        left, right = place * share, (place + 1) * share
        parts = [max(0.0, min(right, i + 1) - max(left, i)) * value for i, value in enumerate(row)]
        means.append(sum(parts) / share)
    return means


@pytest.mark.parametrize("length", [17, 20, 40, 41])
def test_area_takes_the_mean_over_what_a_new_pixel_covers(length: int) -> None:
    row = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    image = np.broadcast_to(row[None, :, None], (length, length, 3))
    found = resize_pixels(as_view(image), Preprocessing(16, resampling="area"))
    assert found.shape == (16, 16, 3)
    np.testing.assert_allclose(found[7, :, 0], by_areas(row.tolist(), 16), atol=0.5 + 1e-9)


def test_area_rounds_as_opencv_does() -> None:
    # a mean of 2.5 goes up where the picture is halved, and to the even elsewhere
    image = np.repeat(np.tile(np.array([[2, 3], [3, 2]], np.uint8), (4, 4))[..., None], 3, axis=2)
    assert np.unique(resize_pixels(as_view(image), Preprocessing(4, resampling="area"))) == [3]
    assert np.unique(resize_pixels(as_view(image), Preprocessing(2, resampling="area"))) == [2]


def test_area_keeps_pixels_whole_where_it_enlarges() -> None:
    image = np.repeat(np.array([[0, 100], [200, 50]], np.uint8)[..., None], 3, axis=2)
    found = resize_pixels(as_view(image), Preprocessing(4, resampling="area"))[..., 0]
    np.testing.assert_array_equal(found, np.kron(image[..., 0], np.ones((2, 2), np.uint8)))
    # three from two: the one between lies on the edge, half of each
    three = resize_pixels(as_view(image), Preprocessing(3, resampling="area"))[0, :, 0]
    np.testing.assert_array_equal(three, [0, 50, 100])


#: ``cv2.resize(image, (5, 5), interpolation=cv2.INTER_AREA)`` of OpenCV 5.0, of the image below.
OPENCV = [[0, 26, 77, 160, 201], [4, 48, 136, 155, 164], [13, 94, 255, 145, 90], [98, 100, 106, 59, 35],
          [140, 104, 31, 16, 8]]  # fmt: skip


def test_area_gives_opencvs_own_numbers_where_it_enlarges() -> None:
    image = np.array([[0, 77, 201], [13, 255, 90], [140, 31, 8]], np.uint8)
    found = resize_pixels(as_view(np.repeat(image[..., None], 3, axis=2)), Preprocessing(5, resampling="area"))
    np.testing.assert_array_equal(found[..., 0], OPENCV)


def test_stretching_the_input_is_of_all_channels_together_and_before_padding() -> None:
    view = np.zeros((4, 8, 3), np.float32)
    view[..., 0], view[..., 1], view[..., 2] = 0.2, 0.4, 0.6
    found = input_pixels(view, Preprocessing(8, stretch="input"))
    np.testing.assert_allclose(found[0, 0], [0, 127.5, 255], atol=1e-4)
    assert found.shape == (4, 8, 3)


def test_stretching_the_view_is_of_each_channel_and_before_resizing() -> None:
    view = np.zeros((4, 8, 3), np.float32)
    view[:, 4:] = (0.2, 0.4, 0.6)
    found = input_pixels(view, Preprocessing(8, stretch="view"))
    assert set(np.unique(found)) <= {0.0, 255.0}
    assert found[0, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("stretch", ["none", "view", "input"])
@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_view_of_one_grey_level_stays_finite(stretch: Any, grey: float) -> None:
    found = input_pixels(np.full((5, 5, 3), grey, np.float32), Preprocessing(8, stretch=stretch))
    assert np.isfinite(found).all()
    assert found.min() == found.max()


def test_whole_prompts_are_scaled_by_the_longest_side_and_cut() -> None:
    whole = Preprocessing(256, whole_prompts=True)
    positions = np.array([[99.0, 10.0], [-3.0, 400.0]])
    np.testing.assert_array_equal(xy_to_input(positions, (300, 411), whole), [[61, 6], [-1, 249]])
