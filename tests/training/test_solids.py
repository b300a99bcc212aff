"""Invented anatomy in space: what a plane cuts of a column and of a heart has the shape that anatomy gives it."""

import numpy as np
import pytest
from scipy import ndimage

from voxsam.training import scenes
from voxsam.training.intensities import render
from voxsam.training.noise import NoiseBank
from voxsam.training.solids import Plane, heart, vertebral_column

SIZE = 96
SIDE = np.linspace(-3, 3, SIZE, dtype=np.float32)
ACROSS, DOWN = np.meshgrid(SIDE, SIDE)
LEVEL = np.zeros_like(ACROSS)


def axial(z: float = 0.0) -> Plane:
    return Plane(ACROSS, DOWN, LEVEL + np.float32(z))


def sagittal() -> Plane:
    return Plane(LEVEL, ACROSS, DOWN)


@pytest.mark.parametrize("seed", range(5))
def test_an_axial_cut_of_a_column_shows_the_cord_in_its_canal_behind_the_body(seed: int) -> None:
    parts = dict(vertebral_column(axial(), np.random.default_rng(seed)).parts)
    body, canal, cord = parts["bone:body 0"], parts["fluid:canal"], parts["cord:cord"]
    assert (cord <= canal).all()
    assert cord.any()
    assert not (canal & body).any()
    assert DOWN[body].mean() < DOWN[canal].mean() < DOWN[parts["bone:spinous process 0"]].mean()
    assert ACROSS[parts["bone:left wing 0"]].mean() < -0.3 < 0.3 < ACROSS[parts["bone:right wing 0"]].mean()


@pytest.mark.parametrize("seed", range(5))
def test_a_sagittal_cut_shows_bodies_and_discs_in_turn(seed: int) -> None:
    parts = vertebral_column(sagittal(), np.random.default_rng(seed)).parts
    order = np.zeros(SIZE, int)  # along the middle of the bodies
    for name, mask in parts:
        rows = mask[:, np.abs(ACROSS[0]) < 0.1].any(1)
        order[rows & (order == 0)] = 1 if name.startswith("bone:body") else 2 if name.startswith("disc") else 0
    changes = order[order > 0][np.flatnonzero(np.diff(order[order > 0], prepend=0))]
    assert len(changes) >= 3
    assert (np.diff(changes) != 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_left_ventricle_of_a_short_axis_cut_is_closed_in_by_its_wall(seed: int) -> None:
    parts = dict(heart(axial(0.2), np.random.default_rng(seed)).parts)
    wall, cavity = parts["wall:left wall"], parts["blood:left ventricle"]
    assert cavity.any()
    assert (ndimage.binary_dilation(cavity) <= wall).all()  # the cavity is painted over it


def test_nothing_but_shape_tells_where_the_parts_of_a_vertebra_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "SOLID_SHARE", 1.0)
    monkeypatch.setattr(scenes, "HEART_SHARE", 0.0)
    bank = NoiseBank(0)
    differences = []
    for seed in range(8):
        scene = scenes.invent_scene(np.random.default_rng(seed), bank, SIZE)
        assert scene.shading is not None
        scene.shading[...] = 0
        image = render(scene, np.random.default_rng(seed), bank)
        values = {region: image[scene.labels == region].mean() for region in np.unique(scene.labels)}
        differences += [
            abs(values[region] - values[same]) for region, same in scene.alike.items() if {region, same} <= set(values)
        ]
    assert len(differences) > 20
    assert np.median(differences) < 0.06


def test_the_parts_of_a_solid_can_be_asked_for_together_and_in_the_next_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "SOLID_SHARE", 1.0)
    bank, rng = NoiseBank(0), np.random.default_rng(3)
    scene = scenes.invent_scene(rng, bank, SIZE)
    following = scenes.next_slice(scene, rng, bank)
    shown = set(np.unique(scene.labels).tolist())
    assert any(len(group & shown) > 1 for group in scene.groups)
    assert following.alike == scene.alike
    assert following.shading is not None
    assert following.shading.shape == scene.labels.shape
