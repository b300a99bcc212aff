"""A CT-like abdomen in the portal venous phase, from the lung bases to below the kidneys."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from shapes import Array, Grid, Noise, Painter, ellipsoid, majority, tilted_grid, tube, union

SEED = 20260411
LABELS = {
    1: "liver", 2: "spleen", 3: "right kidney", 4: "left kidney", 5: "stomach", 6: "aorta", 7: "inferior vena cava",
    8: "pancreas", 9: "gallbladder", 10: "spine", 11: "liver tumour",
}  # fmt: skip


class Patient:
    """Everything random about the patient, drawn once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.bend = [Noise(rng, 38.0, plus=(Noise(rng, 150.0), 2.4)) for _ in range(3)]
        self.noise = {
            "bump": Noise(rng, 30.0), "knob": Noise(rng, 17.0), "texture": Noise(rng, 16.0), "fine": Noise(rng, 7.0),
            "vein": Noise(rng, 40.0), "sheet": Noise(rng, 40.0), "strand": Noise(rng, 22.0),
        }  # fmt: skip
        self.loops = [
            (rng.uniform((-88, -14, -135), (88, 70, -14)), rng.uniform((14, 13, 11), (30, 21, 19)),
             rng.uniform(0, 180), rng.choice(["fluid", "fluid", "contrast", "gas", "collapsed"]))
            for _ in range(46)
        ]  # fmt: skip

    def slice(self, raw: Array) -> Painter:
        """Start a thin slice at world positions `raw`, bent as the patient's own anatomy differs from the drawing."""
        points = raw + np.stack([2.2 * bend(raw) for bend in self.bend])
        value, label = np.full(raw.shape[1:], np.float32(-1000)), np.zeros(raw.shape[1:], np.uint8)
        noise = {name: field(raw) for name, field in self.noise.items()}
        return Painter(points, value, label, 1.4, noise)


def wall_depth(p: Array) -> Array:
    """Millimetres under the skin, about."""
    x, y = (p[0] / 162) ** 2, ((p[1] + 2) / np.where(p[1] > 0, np.float32(116), np.float32(108))) ** 2
    return (1 - np.sqrt(np.sqrt(x * x + y * y + np.float32(1.35) * x * y))) * 118  # squarer than an ellipse


def paint_wall(s: Painter) -> Array:
    """Paint skin, fat, muscle, ribs; return the signed distance to the cavity inside them."""
    p, bump, texture, fine = s.points, s.noise["bump"], s.noise["texture"], s.noise["fine"]
    depth = wall_depth(p) + 0.8 * bump
    fat_mm = 15 + 5 * np.clip(-p[2] / 80, -0.6, 1) + 2.0 * bump
    s.paint(-depth, 30.0)  # skin
    s.paint(2.2 - depth, -104 + 6 * texture + 4 * fine)
    s.paint(np.maximum((np.abs(s.noise["strand"]) - 0.04) * 10, 5 - depth), -74.0)  # septa
    s.paint(fat_mm - depth, 55 + 6 * texture + 5 * fine)
    layers = np.abs((depth - fat_mm - 6.0) * 0.9) - 0.7  # fat between the layers of muscle
    s.paint(np.maximum(layers, p[1] - 75), -35.0)
    inner_mm = fat_mm + 11 + 3 * np.clip(-p[1] / 60, 0, 1)
    across = (np.mod(p[2] + 0.62 * p[1] + 12, 29) - 14.5) / 1.55  # ribs run down to the front
    rib = np.sqrt((depth - fat_mm - 7.5) ** 2 + across**2) - 4.2
    rib = np.maximum(rib, np.maximum(-p[2] - 45 - 0.3 * p[1] + 0.07 * np.abs(p[0]), np.abs(p[1]) - 82))
    s.paint(rib, 420.0)
    s.paint(rib + 2.2, 190 + 40 * fine)
    cavity = inner_mm - depth
    s.paint(cavity, -99 + 7 * texture + 4 * fine)  # visceral fat
    strand = np.abs(s.noise["strand"]) + np.abs(s.noise["vein"]) - 0.14
    s.paint(np.maximum(strand * 9, cavity + 4), 40.0)
    return cavity


def paint_chest(s: Painter, cavity: Array) -> Array:
    """Paint lung bases above the diaphragm, and the heart; return the distance to the space under them."""
    p = s.points
    right = 96 - 0.0062 * ((p[0] - 72) ** 2 + (p[1] - 8) ** 2)
    left = 86 - 0.0070 * ((p[0] + 72) ** 2 + (p[1] - 4) ** 2)
    dome = np.maximum(np.maximum(right, left), 58 - 0.004 * p[1] ** 2) + 2 * s.noise["bump"]
    above = dome - p[2]
    s.paint(np.maximum(above + 3, cavity), 48.0)  # the diaphragm itself
    tree = np.abs(s.noise["strand"]) + np.abs(s.noise["sheet"])
    lung = -858 + 22 * s.noise["texture"] + 14 * s.noise["fine"] + np.clip(0.2 - tree, 0, 0.2) * 3900
    lung = lung + 55 * np.clip((-p[1] - 50) / 40, 0, 1)  # the dependent lung is denser
    s.paint(np.maximum(above + 6, cavity + 1.5), lung)
    heart = ellipsoid(p, (-18, 22, 122), (58, 46, 46), 25)
    s.paint(np.maximum(heart, above + 3), 118 + 6 * s.noise["texture"])
    return np.maximum(-above, cavity)


def paint_back(s: Painter) -> None:
    """Paint spine, canal, processes and the muscles beside them."""
    p, texture, fine = s.points, s.noise["texture"], s.noise["fine"]
    for side in (-1, 1):
        streaks = np.where(fine > 1.3, np.float32(-16), np.float32(0))  # fat in the muscle
        s.paint(ellipsoid(p, (side * 35, -84, 0), (31, 18, 400)), 56 + 8 * texture + streaks)
        width = 9 + 13 * np.clip((35 - p[2]) / 120, 0, 1)
        psoas = np.sqrt((p[0] - side * (30 + 0.07 * (35 - p[2]))) ** 2 + ((p[1] + 50) / 1.15) ** 2) - width
        s.paint(np.maximum(psoas, p[2] - 35), 60 + 6 * texture)
    spine = s.around((0, -70, 0), (46, 46, 400))
    if spine is None:
        return
    p, texture, fine = spine.points, spine.noise["texture"], spine.noise["fine"]
    level = np.mod(p[2] + 10, 34) - 17
    disc = np.abs(np.abs(level) - 17) < 4.2
    body = np.sqrt((p[0] / 1.32) ** 2 + (p[1] + 44) ** 2) - 17.5 + 1.8 * np.cos(level * np.float32(np.pi / 17))
    body = np.maximum(body, -60 - p[1])
    spine.paint(body, np.where(disc, 85, 390), 10)
    spine.paint(np.where(disc, 9, body + 2.0), 165 + 26 * fine + 14 * texture, 10)
    lamina = np.maximum(np.abs(np.sqrt(p[0] ** 2 + (p[1] + 70) ** 2) - 13.5) - 3.2, np.abs(level) - 13)
    process = np.maximum(np.abs(p[0]) - 2.6, np.maximum(-p[1] - 103, p[1] + 80)) + np.clip(np.abs(level + 2) - 8, 0, 9)
    wings = np.maximum(np.sqrt((p[1] + 69) ** 2 + (level * 1.1) ** 2) - 4.4, np.abs(p[0]) - 38)
    bone = union(union(lamina, process, 4), np.maximum(wings, 10 - np.abs(p[0])), 3)
    spine.paint(bone, 470.0, 10)
    spine.paint(bone + 2.0, 260 + 30 * fine, 10)
    canal = np.sqrt((p[0] / 1.2) ** 2 + (p[1] + 69) ** 2)
    spine.paint(canal - 9.4, 12.0)
    spine.paint(canal - 5.4, 34.0)


def paint_bowel(s: Painter, cavity: Array, loops: list[tuple[Array, Array, float, str]]) -> None:
    """Paint loops of small bowel, and the colon on both sides."""
    inside = {"fluid": 22.0, "contrast": 165.0, "gas": 18.0, "collapsed": 48.0}
    room = Painter(s.points, s.value, s.label, s.edge_mm, {**s.noise, "cavity": cavity})
    for centre, radii, turn, content in loops:
        part = room.around(centre, (36, 36, radii[2] + 4))
        if part is None:
            continue
        loop = ellipsoid(part.points, centre, radii, turn) + 2 * part.noise["knob"]
        loop = np.maximum(loop, part.noise["cavity"] + 3)
        part.paint(loop, 78.0)
        part.paint(loop + 2.8, inside[content] + 5 * part.noise["texture"])
        if content == "gas":
            part.paint(np.maximum(loop + 2.8, centre[1] - 2 - part.points[1]), -820.0)
    for path in (
        [(112, 4, -150, 22), (114, 0, -60, 21), (104, 20, -28, 17)],
        [(-122, -12, 22, 15), (-124, -22, -40, 17), (-116, -12, -150, 17)],
        [(104, 20, -28, 17), (50, 68, -46, 17), (-30, 74, -40, 16), (-98, 30, 2, 15), (-122, -12, 22, 15)],
    ):
        colon = np.maximum(tube(s.points, path) + 2.6 * s.noise["knob"], cavity + 2)
        mottled = 20 + 40 * s.noise["fine"] - 300 * np.clip(s.noise["knob"] - 0.5, 0, 1.6)
        s.paint(colon, 62.0)
        s.paint(colon + 2.6, mottled)
        s.paint(np.maximum(colon + 2.6, 10 - s.noise["bump"] * 14 - s.points[1]), -790.0)


def paint_kidney(s: Painter, side: int, z: float, label: int) -> None:
    """Paint a kidney with its pyramids, sinus and vein; `side` is 1 for the right."""
    part = s.around((side * 58, -38, z), (62, 60, 75))
    if part is None:
        return
    p = part.points
    lean = np.stack([p[0] + side * 0.16 * (p[2] - z), p[1] + 0.14 * (p[2] - z), p[2]])
    kidney = ellipsoid(lean, (side * 66, -38, z), (29, 25, 54), side * 28) + 1.3 * part.noise["bump"]
    hilum = ellipsoid(lean, (side * 40, -30, z), (24, 12, 25), side * 28)
    part.paint(tube(p, [(side * 50, -32, z + 4, 5), (side * 22, -20, z + 10, 5)]), 150.0)
    part.paint(kidney, 196 + 5 * part.noise["texture"], label)
    part.paint(np.maximum(kidney + 8.5, 0.35 - part.noise["knob"]), 158.0, label)
    part.paint(np.maximum(hilum, kidney - 3), -78.0)
    part.paint(np.maximum(hilum + 6 + 2 * part.noise["bump"], kidney), 14.0)


def paint_organs(s: Painter, under: Array) -> None:
    """Paint the labelled organs, back to front."""
    p, bump = s.points, s.noise["bump"]
    inside = under + 2.5
    s.paint(tube(p, [(-8, -24, 200, 12), (-9, -22, 60, 11.5), (-5, -19, -30, 9.5), (-3, -18, -160, 9)]), 172.0, 6)
    cava = tube(p, [(20, 2, 200, 11), (21, -8, 70, 11), (19, -17, 0, 10.5), (17, -18, -160, 10.5)])
    s.paint(cava + 1.5 * bump, 146.0, 7)
    paint_kidney(s, 1, -38.0, 3)
    paint_kidney(s, -1, -24.0, 4)
    spleen = union(ellipsoid(p, (-110, -34, 42), (33, 52, 50), 24), ellipsoid(p, (-96, -48, 20), (26, 32, 32)), 8)
    spleen = np.maximum(np.maximum(spleen - 1.6 * bump, inside), -ellipsoid(p, (-68, -8, 40), (32, 36, 60)))
    s.paint(spleen, 124 + 4 * s.noise["texture"], 2)
    pancreas = tube(p, [(30, 8, -22, 14), (14, 12, -4, 12), (-24, 14, 6, 10.5), (-58, -8, 20, 10.5), (-82, -26, 30, 8)])
    s.paint(pancreas + 2.4 * s.noise["knob"], 98 + 10 * s.noise["fine"], 8)
    s.paint(tube(p, [(-86, -24, 26, 4), (-30, -2, 8, 4.4), (12, 2, 0, 6.5), (34, 4, 22, 7)]), 152.0)  # splenic vein
    body, outlet = ellipsoid(p, (-70, 22, 56), (40, 40, 42)), [(-62, 30, 36, 30), (-38, 52, 6, 24), (0, 52, -8, 17)]
    stomach = np.maximum(union(body, tube(p, outlet), 12) + 2 * bump + s.noise["knob"], inside)
    s.paint(stomach, 74.0, 5)
    s.paint(stomach + 4.2, 24 + 14 * s.noise["texture"] + 8 * s.noise["fine"], 5)
    s.paint(np.maximum(stomach + 4.2, 44 - p[1]), -905.0, 5)
    paint_liver(s, inside)


def paint_liver(s: Painter, inside: Array) -> None:
    """Paint the liver with its veins and tumour, and the gallbladder under it."""
    p, bump, knob = s.points, s.noise["bump"], s.noise["knob"]
    liver = union(ellipsoid(p, (84, -4, 34), (80, 92, 82), -12), ellipsoid(p, (12, 48, 52), (82, 36, 40), -14), 14)
    cut = union(ellipsoid(p, (34, -44, -34), (44, 56, 62)), ellipsoid(p, (20, 20, -58), (64, 80, 58)), 10)
    liver = np.maximum(np.maximum(liver - 2.4 * bump, -cut), inside)
    liver = np.maximum(liver, 6 - ellipsoid(p, (66, -38, -38), (29, 25, 54), 28))  # room for the kidney
    s.paint(liver, 110 + 4 * s.noise["texture"] + 2.5 * s.noise["fine"], 1)
    branch = np.abs(s.noise["vein"]) + np.abs(s.noise["sheet"])
    s.paint(np.maximum((branch - 0.19) * 14, liver + 4), 156.0, 1)
    portal = [(30, 6, 14, 7.5), (46, 6, 26, 7), (74, -4, 36, 5), (98, 10, 40, 3.5)]
    hepatic = [(24, -2, 78, 7), (60, 4, 72, 5), (96, -16, 60, 3.5)]
    for path in (portal, hepatic):
        s.paint(np.maximum(tube(p, path), liver), 160.0, 1)
    for centre, r in (((98, -22, 34), 19.0), ((52, 44, 60), 8.5)):
        mass = ellipsoid(p, centre, (r, 1.12 * r, 0.94 * r)) + 0.14 * r * knob
        s.paint(mass, 84 + 5 * s.noise["texture"], 11, edge_mm=4.0)
        s.paint(mass + 0.3 * r, 62 + 9 * s.noise["fine"], 11, edge_mm=5.0)
        s.paint(mass + 0.62 * r, 40.0, 11, edge_mm=5.0)
    gallbladder = ellipsoid(p, (58, 40, -12), (15, 21, 22), -20) + 0.8 * bump
    s.paint(gallbladder, 42.0, 9)
    s.paint(gallbladder + 1.8, 9.0, 9)


def paint_table(s: Painter, raw: Array) -> None:
    """Paint the couch under the patient."""
    curve = raw[1] + 122 - 0.0016 * raw[0] ** 2
    s.paint(np.maximum(np.abs(curve) - 2.2, np.abs(raw[0]) - 172), -420.0)
    s.paint(np.maximum(np.abs(curve + 17) - 15, np.abs(raw[0]) - 172), -940.0)


def thin_slice(patient: Patient, raw: Array) -> Painter:
    """Paint one thin slice at world positions `raw`."""
    s = patient.slice(raw)
    paint_table(s, raw)
    body = s.around((0, -2, 0), (190, 128, 1000))
    if body is None:
        return s
    cavity = paint_wall(body)
    under = paint_chest(body, cavity)
    paint_back(body)
    paint_bowel(body, np.maximum(cavity, under), patient.loops)
    paint_organs(body, under)
    return s


def build() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], Grid]:
    """Make the scan: HU (i, j, k), labels (i, j, k) and the grid."""
    rng = np.random.default_rng(SEED)
    thin = partial(thin_slice, Patient(rng))
    grid = tilted_grid((256, 256, 48), (1.4, 1.4, 5.0), "LPS", (7.0, 0.0, 4.0))
    scan, truth = np.empty(grid.shape, np.int16), np.empty(grid.shape, np.uint8)
    radius = np.hypot(*np.meshgrid(np.arange(256) - 127.5, np.arange(256) - 127.5))
    for k in range(grid.shape[2]):
        slabs = [thin(grid.plane(k + part / 3)) for part in (-1, 0, 1)]  # a 5 mm slice averages what lies within it
        hu = ndimage.gaussian_filter(np.mean([slab.value for slab in slabs], axis=0), 0.55)
        grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape), 0.75)
        dose = (1.15 - 0.35 * radius / 128) * np.where(hu < -900, 0.5, 1.0)  # rays through a body's middle are weakest
        hu = hu + grain * (13.0 / 0.38) * dose
        hu[radius > 127.5] = -1024
        scan[:, :, k] = np.round(np.clip(hu, -1024, 3071)).T
        truth[:, :, k] = majority([slab.label for slab in slabs]).T
    return scan, truth, grid
