"""An MR-like head, FLAIR in look: dark fluid, grey matter brighter than white, a bright lesion without a rim."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from shapes import Array, Grid, Noise, Painter, ellipsoid, majority, tilted_grid, tube, union

SEED = 20260412
LABELS = {1: "brain", 2: "ventricles", 3: "lesion"}
GREY, WHITE, FLUID, FAT, MUSCLE, BONE = 470.0, 335.0, 70.0, 560.0, 250.0, 40.0


class Patient:
    """Everything random about the patient, drawn once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.bend = [Noise(rng, 45.0, plus=(Noise(rng, 140.0), 1.4)) for _ in range(3)]
        self.noise = {
            "bump": Noise(rng, 26.0), "texture": Noise(rng, 14.0), "fine": Noise(rng, 6.0),
            "fold": Noise(rng, 30.0), "crease": Noise(rng, 22.0), "leaf": Noise(rng, 12.0),
        }  # fmt: skip
        self.coil = Noise(rng, 300.0)

    def slice(self, raw: Array) -> Painter:
        """Start a thin slice at world positions `raw`, bent as the patient's own anatomy differs from the drawing."""
        points = raw + np.stack([1.6 * bend(raw) for bend in self.bend])
        value, label = np.full(raw.shape[1:], np.float32(4)), np.zeros(raw.shape[1:], np.uint8)
        return Painter(points, value, label, 1.0, {name: field(raw) for name, field in self.noise.items()})


def base_of_skull(p: Array) -> Array:
    """Millimetres below the floor of the skull, which rises to the front."""
    return -54 + 0.52 * np.clip(p[1] + 12, 0, 70) - p[2]


def paint_scalp(s: Painter) -> None:
    """Paint skin, fat, neck, face, skull with its marrow, sinuses and eyes."""
    p, texture, fine = s.points, s.noise["texture"], s.noise["fine"]
    head = ellipsoid(p, (0, 0, 6), (78, 99, 88))
    neck = tube(p, [(0, -28, -40, 50), (0, -34, -140, 56)])
    face = union(ellipsoid(p, (0, 50, -58), (60, 46, 60)), ellipsoid(p, (0, 98, -52), (11, 16, 20)), 8)
    skin = union(union(head, neck, 25), face, 22) + 0.8 * s.noise["bump"]
    s.paint(skin, 300.0)
    s.paint(skin + 2.0, FAT + 30 * texture)
    deep = skin + 5.5 + 1.5 * s.noise["bump"]
    s.paint(np.maximum(deep, p[2] + 22 - 0.2 * p[1]), MUSCLE + 40 * texture + 25 * fine)
    s.paint(np.maximum(np.maximum(deep, p[2] + 30), 0.22 - np.abs(s.noise["fold"])) + 1, FAT - 90)
    skull = ellipsoid(p, (0, -3, 10), (74, 92, 80))
    s.paint(np.maximum(skull + 0.5, base_of_skull(p) - 5), BONE)
    s.paint(np.maximum(np.abs(skull + 3.6) - 1.1, -30 - p[2]), 190 + 40 * fine)
    for side in (-1, 1):
        s.paint(ellipsoid(p, (side * 32, 68, -34), (17, 22, 16)), FAT - 60)
        s.paint(ellipsoid(p, (side * 32, 78, -34), (12.5, 12.5, 12.5)), 150.0)
        s.paint(ellipsoid(p, (side * 32, 78, -34), (11.5, 11.5, 11.5)), 60.0)
        s.paint(ellipsoid(p, (side * 26, 58, -62), (14, 17, 19)), 14.0)
    s.paint(ellipsoid(p, (0, 62, -44), (13, 26, 14)) + s.noise["bump"], 14.0)
    s.paint(tube(p, [(0, 30, -70, 9), (0, 2, -100, 10), (0, -2, -150, 10)]), 10.0)


def paint_brain(s: Painter) -> None:
    """Paint the cerebrum with folds, cerebellum, brainstem; fluid around and within."""
    p, fine = s.points, s.noise["fine"]
    inside = np.maximum(ellipsoid(p, (0, -4, 12), (68, 85.5, 73)), base_of_skull(p))
    s.paint(inside, 330.0)  # dura
    s.paint(inside + 1.2, FLUID + 8 * s.noise["texture"])
    cerebrum = union(ellipsoid(p, (0, -3, 16), (65, 82, 65)), ellipsoid(p, (0, 40, 0), (48, 36, 26)), 10)
    for side in (-1, 1):
        cerebrum = union(cerebrum, ellipsoid(p, (side * 40, -2, -20), (23, 40, 21)), 8)
    below_tentorium = np.maximum(p[1] + 27 + 0.25 * np.abs(p[0]), p[2] + 10)
    cerebrum = np.maximum(np.maximum(cerebrum, -below_tentorium), base_of_skull(p) + 2.5)
    depth = -cerebrum
    open_mm = np.clip(1.6 - 0.07 * depth, 0.2, 1.6)  # sulci close towards their floor
    fold = np.minimum(np.abs(s.noise["fold"]) * 11, np.abs(s.noise["crease"]) * 9)
    sulcus = np.where(depth < 17, open_mm - fold, np.float32(-20))
    fissure = np.where((p[2] > 26) | (np.abs(p[1] + 5) > 42), 1.1 - np.abs(p[0]), np.float32(-20))
    sylvian = np.maximum(np.abs(p[2] - 0.32 * (p[1] - 10)) - 1.6, 30 - np.abs(p[0]))
    pial = np.maximum(np.maximum(np.maximum(cerebrum, sulcus), fissure), -np.maximum(sylvian, np.abs(p[1] - 8) - 26))
    grey = GREY + 14 * s.noise["texture"] + 9 * fine
    white = WHITE + 10 * s.noise["texture"] + 5 * fine
    s.paint(pial, grey, 1)
    s.paint(np.maximum(pial + 3.4, 3.6 - fold * 0.9 - np.clip(depth - 14, 0, 9)), white, 1, edge_mm=1.6)
    cerebellum = ellipsoid(p, (0, -54, -34), (51, 33, 25)) + 0.8 * s.noise["bump"]
    leaves = np.abs(np.mod(p[2] * 0.9 + 0.25 * np.abs(p[0]) + 3 * s.noise["leaf"], 7) - 3.5)
    s.paint(np.maximum(cerebellum, np.where(cerebellum > -7, 0.35 - leaves, np.float32(-20))), grey - 15, 1)
    s.paint(np.maximum(cerebellum + 5, 1.2 - leaves + np.clip(cerebellum + 16, -9, 9) * 0.12), white, 1, edge_mm=1.6)
    stem = union(tube(p, [(0, -22, 2, 15), (0, -22, -30, 15), (0, -30, -60, 10), (0, -36, -140, 7)]),
                 ellipsoid(p, (0, -14, -30), (18, 14, 15)), 6)  # fmt: skip
    s.paint(np.maximum(np.sqrt(p[0] ** 2 + (p[1] + 36) ** 2) - 11, np.maximum(p[2] + 55, -150 - p[2])), FLUID)
    s.paint(stem, white + 18, 1)
    for side in (-1, 1):
        s.paint(ellipsoid(p, (side * 13, -14, 14), (11, 15, 10)), GREY - 25, 1, edge_mm=2.5)  # thalamus
        s.paint(ellipsoid(p, (side * 25, 6, 11), (6, 18, 12), -side * 18), GREY - 12, 1, edge_mm=2.5)  # putamen
        s.paint(ellipsoid(p, (side * 14, 20, 18), (6, 12, 11)), GREY - 5, 1, edge_mm=2.0)  # caudate
    paint_ventricles(s)


def paint_ventricles(s: Painter) -> None:
    """Paint the lateral, third and fourth ventricles, with the thin bright rim that FLAIR shows."""
    p = s.points
    fluid = np.maximum(np.abs(p[0]) - 2.2, ellipsoid(p, (0, -10, 8), (10, 14, 11)))
    fluid = np.minimum(fluid, ellipsoid(p, (0, -40, -32), (9, 6, 11)))
    for side in (-1, 1):
        horn = tube(p, [(side * 9, 38, 20, 3.6), (side * 10, 12, 28, 6.2), (side * 15, -22, 30, 6.8),
                        (side * 24, -42, 20, 7.2), (side * 25, -62, 14, 3.2)])  # fmt: skip
        lower = tube(p, [(side * 24, -42, 20, 6), (side * 33, -26, 0, 3.6), (side * 31, -6, -9, 2.4)])
        fluid = np.minimum(fluid, np.minimum(horn, lower))
    fluid = fluid + 0.6 * s.noise["bump"]
    s.paint(fluid - 1.3, GREY - 10, 1, edge_mm=2.4)
    s.paint(fluid, FLUID - 8 + 4 * s.noise["fine"], 2)


def paint_lesion(s: Painter) -> None:
    """Paint a swelling in the right frontal white matter, darker in its middle, that follows the tissue."""
    part = s.around((36, 32, 34), (34, 36, 34))
    if part is None:
        return
    p, bump = part.points, part.noise["bump"]
    fingers = 3.5 * bump + 2.2 * part.noise["crease"]
    mass = union(ellipsoid(p, (36, 30, 34), (17, 20, 15), 20), ellipsoid(p, (30, 46, 30), (10, 12, 9)), 8) + fingers
    mass = np.where(part.label == 1, mass, np.float32(20))  # fluid and bone are spared
    part.paint(mass, 620 + 35 * part.noise["texture"] + 15 * part.noise["fine"], 3, edge_mm=4.5)
    part.paint(np.maximum(ellipsoid(p, (38, 30, 35), (8, 9, 7)) + 1.5 * bump, mass), 410.0, 3, edge_mm=4.0)


def thin_slice(patient: Patient, raw: Array) -> Painter:
    """Paint one thin slice at world positions `raw`."""
    s = patient.slice(raw)
    paint_scalp(s)
    paint_brain(s)
    paint_lesion(s)
    return s


def build() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], Grid]:
    """Make the scan: signal (i, j, k), labels (i, j, k) and the grid."""
    rng = np.random.default_rng(SEED)
    patient = Patient(rng)
    thin = partial(thin_slice, patient)
    grid = tilted_grid((192, 232, 40), (0.95, 0.95, 4.0), "LAS", (-13.0, 4.0, 3.0))  # LAS: a left-handed grid
    scan, truth = np.empty(grid.shape, np.int16), np.empty(grid.shape, np.uint8)
    for k in range(grid.shape[2]):
        raw = grid.plane(k)
        slabs = [thin(grid.plane(k + part / 3)) for part in (-1, 0, 1)]  # a 4 mm slice averages what lies within it
        signal = ndimage.gaussian_filter(np.mean([slab.value for slab in slabs], axis=0), 0.6)
        coils = 0.14 * patient.coil(raw) - 0.0011 * (raw[1] - 10) - 0.0008 * raw[0]
        signal = signal * np.exp(coils)
        real, imaginary = rng.standard_normal((2, *signal.shape)) * 13.0
        scan[:, :, k] = np.round(np.hypot(signal + real, imaginary)).T  # a magnitude image's noise is Rician
        truth[:, :, k] = majority([slab.label for slab in slabs]).T
    return scan, truth, grid
