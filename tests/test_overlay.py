"""Overlays: the mask, the prompts, left and right and the millimetres are where they must be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from voxsam.errors import FormatError, GeometryError, InputError, WindowError
from voxsam.geometry import PLANES, Geometry
from voxsam.overlay import draw_overlay, save_overlay
from voxsam.prompts import Box, MaskPrompt, Point, Scribble
from voxsam.volume import Label, Mask, Volume

GREEN, RED, YELLOW, BLUE = (64, 224, 96), (255, 72, 72), (255, 214, 64), (96, 208, 255)
MASK = (242, 89, 64)  # the first of the palette
SIDE, GAP = 480, 6


def _turned(order: tuple[int, int, int], signs: tuple[int, int, int], spacing: tuple[float, float, float]) -> Geometry:
    """A grid of a patient of 120 mm a side, whose array axes run along other world axes."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[axis]
        affine[world, 3] = -60 * sign
    return Geometry(tuple(round(120 / mm) for mm in spacing), affine)


GRIDS = {
    "upright": _turned((2, 1, 0), (1, 1, 1), (4.0, 1.0, 1.0)),
    "left-handed": _turned((2, 1, 0), (-1, 1, 1), (4.0, 1.0, 1.0)),
    "sagittal": _turned((0, 2, 1), (1, -1, -1), (5.0, 1.5, 1.0)),
}


def _scan(grid: Geometry, centre_ras: tuple[float, float, float] = (0, 0, 0), radius_mm: float = 20.0):
    """A dark scan and the mask of a ball."""
    world = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)
    ball = (np.linalg.norm(world - centre_ras, axis=1) <= radius_mm).reshape(grid.shape)
    values = np.where(ball, 60, 0).astype(np.int16)
    values[0, 0, 0] = -1000
    return Volume(values, grid, modality="CT", name="phantom"), Mask(ball, grid)


def _panel(picture: Image.Image, column: int, row: int = 0) -> np.ndarray:
    left, top = GAP + column * (SIDE + GAP), GAP + row * (SIDE + GAP)
    return np.asarray(picture)[top : top + SIDE, left : left + SIDE].astype(int)


def _where(pixels: np.ndarray, colour: tuple[int, int, int], within: int = 40) -> np.ndarray:
    """(N, 2) positions x, y of a colour."""
    return np.argwhere(np.abs(pixels - colour).max(axis=-1) < within)[:, ::-1]


@pytest.mark.parametrize("name", GRIDS)
def test_a_ball_is_round_and_of_its_size_in_every_plane(name: str) -> None:
    scan, mask = _scan(GRIDS[name])
    picture = draw_overlay(scan, mask)
    for column in range(3):
        outline = _where(_panel(picture, column), MASK)
        width, height = np.ptp(outline, axis=0) + 1
        expected = 40 / 120 * SIDE  # 40 mm in a panel of 120 mm
        assert width == pytest.approx(expected, rel=0.12)  # a voxel is up to 5 mm
        assert height == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("name", GRIDS)
def test_right_is_left_and_anterior_or_superior_is_on_top(name: str) -> None:
    scan, mask = _scan(GRIDS[name], (30.0, 20.0, -25.0), 12.0)  # right, anterior, inferior
    picture = draw_overlay(scan, mask)
    centres = [_where(_panel(picture, column), MASK).mean(axis=0) for column in range(3)]
    px_per_mm, middle = SIDE / 120, SIDE / 2
    expected = [(-30, -20), (-30, 25), (-20, 25)]  # axial R A; coronal R S; sagittal A S
    for centre, offset in zip(centres, expected, strict=True):
        np.testing.assert_allclose((centre - middle) / px_per_mm, offset, atol=3.0)


@pytest.mark.parametrize("name", GRIDS)
def test_prompts_are_drawn_where_they_are(name: str) -> None:
    grid = GRIDS[name]
    scan, mask = _scan(grid)
    centre, off = grid.to_voxel([(0, 0, 0), (30, 0, 0)])
    inside, outside = Point(tuple(np.round(centre))), Point(tuple(np.round([*off])), positive=False)
    pixels = _panel(draw_overlay(scan, mask, prompts=[inside, outside]), 0)
    for prompt, colour in ((inside, GREEN), (outside, RED)):
        r, a, _ = grid.to_world([prompt.zyx])[0]
        drawn = _where(pixels, colour)
        drawn = drawn[np.abs(drawn - [SIDE / 2 - r * SIDE / 120, SIDE / 2 - a * SIDE / 120]).max(axis=1) < 14]
        assert len(drawn) > 20
        np.testing.assert_allclose(
            (drawn.mean(axis=0) - SIDE / 2) / (SIDE / 120), (-r, -a), atol=3.5
        )  # the scan's middle is within a voxel of 0


def test_a_box_reaches_to_the_edges_of_its_corner_voxels() -> None:
    grid = GRIDS["upright"]
    scan, mask = _scan(grid)
    box = Box((15, 30, 40), (15, 89, 79))
    drawn = _where(_panel(draw_overlay(scan, mask, prompts=[box], plane="axial", slices=1), 0), YELLOW, 60)
    left, top = drawn.min(axis=0) / (SIDE / 120)
    right, bottom = (drawn.max(axis=0) + 1) / (SIDE / 120)
    # the display runs against the array: voxels 40..79 of 120 are 40 to 80 mm from either side
    np.testing.assert_allclose((left, right, top, bottom), (40, 80, 30, 90), atol=0.8)


def test_scribbles_and_given_masks_are_drawn_on_their_slices_only() -> None:
    grid = GRIDS["upright"]
    scan, mask = _scan(grid)
    given = np.zeros(grid.shape, bool)
    given[15, 20:100, 20:100] = True
    prompts = [Scribble([(15, 60, 45), (15, 60, 75)]), MaskPrompt(Mask(given, grid))]
    on = _panel(draw_overlay(scan, mask, prompts=prompts, plane="axial", slices=1), 0)
    assert len(_where(on, GREEN)) > 100
    assert len(_where(on, BLUE)) > 300
    picture = draw_overlay(scan, mask, prompts=prompts, plane="axial", slices=6)
    panels = [_panel(picture, column, row) for row in range(2) for column in range(3)]
    assert sum(len(_where(pixels, GREEN)) > 100 for pixels in panels) == 1


def test_the_prompted_slice_is_among_those_shown() -> None:
    scan, mask = _scan(GRIDS["upright"])
    for index in range(11, 19):
        picture = draw_overlay(scan, mask, prompts=[Point((index, 60, 60))], plane="axial", slices=3)
        assert sum(len(_where(_panel(picture, column), GREEN)) > 20 for column in range(3)) == 1


def test_the_scale_bar_is_to_scale() -> None:
    scan, mask = _scan(GRIDS["upright"])
    pixels = _panel(draw_overlay(scan, mask), 0)
    bar = _where(pixels[-14:, 300:], (235, 238, 242), 30)
    assert np.ptp(bar[:, 0]) + 1 == pytest.approx(20 / 120 * SIDE, abs=3)  # the longest of 1-2-5 within a quarter


def test_each_plane_has_its_letters() -> None:
    scan, mask = _scan(GRIDS["upright"])
    picture = draw_overlay(scan, mask)
    for column in range(3):
        pixels = _panel(picture, column)
        for part in (pixels[200:280, :30], pixels[200:280, -30:], pixels[:30, 200:280], pixels[-30:, 200:280]):
            assert len(_where(part, (235, 238, 242), 40)) > 10


def test_labels_are_told_apart_by_colour() -> None:
    scan, mask = _scan(GRIDS["upright"])
    labels = mask.array.astype(np.uint8)
    labels[:, :60][labels[:, :60] > 0] = 2
    two = Mask(labels, scan.geometry, {1: Label("front", (0.1, 0.9, 0.1)), 2: Label("back")})
    pixels = _panel(draw_overlay(scan, two, plane="axial", slices=1), 0)
    assert len(_where(pixels, (26, 230, 26))) > 200
    assert len(_where(pixels, (64, 166, 242))) > 200


def test_an_empty_mask_gives_a_picture_all_the_same() -> None:
    scan, mask = _scan(GRIDS["upright"])
    empty = Mask(np.zeros_like(mask.array), scan.geometry)
    assert draw_overlay(scan, empty).size == draw_overlay(scan, mask).size
    assert draw_overlay(scan, empty, plane="coronal").width == SIDE + 2 * GAP


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("plane", PLANES)
def test_a_montage_has_room_for_its_slices(plane: str, slices: int) -> None:
    scan, mask = _scan(GRIDS["sagittal"])
    picture = draw_overlay(scan, mask, plane=plane, slices=slices)
    columns = slices if slices <= 3 else -(-slices // 2)
    assert picture.width == GAP + columns * (SIDE + GAP)
    assert picture.mode == "RGB"


def test_whole_slices_show_more_than_the_surroundings() -> None:
    grid = Geometry.from_spacing((40, 300, 300), (3.0, 1.0, 1.0))
    scan, mask = _scan(grid, (150, 150, 60), 15)
    near, whole = (
        np.ptp(_where(_panel(draw_overlay(scan, mask, plane="axial", slices=1, whole_slices=w), 0), MASK), axis=0).max()
        for w in (False, True)
    )
    assert near > 2 * whole


def test_the_picture_is_written_and_read_back(tmp_path: Path) -> None:
    scan, mask = _scan(GRIDS["upright"])
    for name in ("a.png", "b.jpg"):
        save_overlay(scan, mask, tmp_path / name, window="soft-tissue", prompts=[Point((15, 60, 60))])
        with Image.open(tmp_path / name) as picture:
            assert picture.size == draw_overlay(scan, mask).size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.jpg"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    scan, mask = _scan(GRIDS["upright"])
    with pytest.raises(FormatError, match=r"\.png or \.jpg"):
        save_overlay(scan, mask, tmp_path / "a.tiff")
    with pytest.raises(FormatError, match="cannot write"):
        save_overlay(scan, mask, tmp_path / "no" / "a.png")
    with pytest.raises(GeometryError, match="the mask is on another grid"):
        draw_overlay(scan, Mask(mask.array, Geometry.from_spacing(mask.array.shape)))
    with pytest.raises(InputError, match="all, axial"):
        draw_overlay(scan, mask, plane="oblique")
    with pytest.raises(InputError, match="1 slice"):
        draw_overlay(scan, mask, slices=0)
    with pytest.raises(WindowError, match="did you mean"):
        draw_overlay(scan, mask, window="livr")
