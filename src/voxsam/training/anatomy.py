"""Real label maps and real images for training: packed once, sampled as slices."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.training.noise import FloatArray

__all__ = ["Anatomy", "Case", "RealSlice", "prepare"]

log = logging.getLogger(__name__)

CT_WINDOWS = ((-160, 240), (-160, 240), (-1000, 400), (-200, 1000), (0, 80), (-100, 300), (-200, 200), (-350, 450))
BRAIN_LABELS = frozenset(range(2, 61)) - {24, 25, 30, 57}


@dataclass(frozen=True)
class Case:
    """A packed volume.

    Parameters
    ----------
    name : str
    kind : {"CT", "MR", "PET", "labels"}
        ``labels`` has no image.
    spacing_mm : tuple of float
        Along the array's axes.
    labels : (A, B, C) uint8 or int16 array
    image : (A, B, C) array or None
    """

    name: str
    kind: str
    spacing_mm: tuple[float, float, float]
    labels: npt.NDArray[np.int16]
    image: npt.NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class RealSlice:
    """A slice as sampled, and one near by: labels, and an image of either unless only shapes are real.

    `blocks_px` is the side of one voxel in pixels of the slice.
    """

    labels: npt.NDArray[np.int16]
    neighbour: npt.NDArray[np.int16]
    image: FloatArray | None
    neighbour_image: FloatArray | None
    kind: str
    blocks_px: float


class Anatomy:
    """Packed real cases, drawn from at random.

    Parameters
    ----------
    folder : Path
        As `prepare` wrote it; its arrays are mapped, not read.
    """

    def __init__(self, folder: Path) -> None:
        entries = json.loads((folder / "cases.json").read_text())
        cases = [
            Case(
                entry["name"],
                entry["kind"],
                tuple(entry["spacing_mm"]),
                np.load(folder / f"{entry['name']}.labels.npy", mmap_mode="r"),
                np.load(folder / f"{entry['name']}.image.npy", mmap_mode="r") if entry["image"] else None,
            )
            for entry in entries
        ]
        self.maps = [case for case in cases if case.image is None]
        self.scans = [case for case in cases if case.image is not None]
        self._tumours = [case for case in self.scans if case.name.startswith("STS")]
        self._others = [case for case in self.scans if not case.name.startswith("STS")]

    def draw_labels(self, rng: np.random.Generator, size: int) -> RealSlice:
        """Draw a slice of a label map."""
        return _slice(self.maps[rng.integers(len(self.maps))], rng, size)

    def draw_scan(self, rng: np.random.Generator, size: int) -> RealSlice:
        """Draw a slice of a scan with its labels; half of them from the scans with tumours."""
        family = self._tumours if self._tumours and (rng.random() < 0.5 or not self._others) else self._others
        return _slice(family[rng.integers(len(family))], rng, size)


def _slice(case: Case, rng: np.random.Generator, size: int) -> RealSlice:
    spacing = np.array(case.spacing_mm)
    axis = int(rng.integers(3)) if spacing.max() / spacing.min() < 2.5 or rng.random() < 0.2 else int(spacing.argmax())
    labels = np.moveaxis(case.labels, axis, 0)
    image = None if case.image is None else np.moveaxis(case.image, axis, 0)
    in_plane = np.delete(spacing, axis)
    index = int(rng.integers(len(labels)))
    for _ in range(12):  # prefer slices that show something labelled
        if np.count_nonzero(labels[index]) > 20:
            break
        index = int(rng.integers(len(labels)))
    there = np.argwhere(labels[index][::2, ::2] > 0) * 2
    extent_mm = np.array(labels.shape[1:]) * in_plane
    field_mm = float(extent_mm.max() * np.exp(rng.uniform(np.log(0.3), np.log(1.05))))
    field_mm = max(field_mm, size * in_plane.min() * 0.25)
    centre = np.array(labels.shape[1:]) / 2 + rng.normal(0, 0.08, 2) * extent_mm / in_plane
    if len(there) and field_mm < 0.8 * extent_mm.max():
        centre = there[rng.integers(len(there))] + rng.uniform(-0.3, 0.3, 2) * field_mm / in_plane
    matrix = _placement(rng) * (field_mm / size) / in_plane[:, None]
    offset = centre - matrix @ np.full(2, (size - 1) / 2)
    step = max(1, round(rng.uniform(1, 6) / spacing[axis]))
    other = int(np.clip(index + step * rng.choice([-1, 1]), 0, len(labels) - 1))
    air = -1000 if case.kind == "CT" else 0

    def labels_at(slice_index: int) -> npt.NDArray[np.int16]:
        here = np.asarray(labels[slice_index]).astype(np.int16)
        return ndimage.affine_transform(here, matrix, offset, (size, size), order=0)

    def image_at(slice_index: int) -> FloatArray | None:
        if image is None:
            return None
        here = np.asarray(image[slice_index], np.float32)
        return ndimage.affine_transform(here, matrix, offset, (size, size), order=1, cval=air)

    blocks_px = float(in_plane.max() * size / field_mm)
    return RealSlice(labels_at(index), labels_at(other), image_at(index), image_at(other), case.kind, blocks_px)


def _placement(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    angle = rng.normal(0, 0.25) + rng.choice([0, 0, 0, 1, 2, 3]) * np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag(rng.choice([-1, 1], 2) * np.exp(rng.normal(0, 0.08, 2)))


def window_real(image: FloatArray, kind: str, rng: np.random.Generator) -> FloatArray:
    """Scale a real image to about 0..1 with a window as a reader might choose it."""
    if kind == "CT":
        low, high = CT_WINDOWS[rng.integers(len(CT_WINDOWS))]
        shift, stretch = rng.normal(0, 0.06) * (high - low), np.exp(rng.normal(0, 0.15))
        middle, width = (low + high) / 2 + shift, (high - low) * stretch
    else:
        low, high = np.percentile(image[::2, ::2], [rng.uniform(0, 1), rng.uniform(98.5, 100)])
        middle, width = (low + high) / 2, max(high - low, 1e-3)
    return np.asarray(np.clip((image - middle) / width + 0.5, 0, 1), np.float32)


def rounded(mask: npt.NDArray[np.bool_], blocks_px: float) -> npt.NDArray[np.bool_]:
    """Take the steps of coarse voxels off a mask."""
    if blocks_px < 2.5 or not mask.any():
        return mask
    return ndimage.gaussian_filter(mask.astype(np.float32), 0.45 * blocks_px) > 0.5


def easy_structures(image: FloatArray, kind: str) -> list[npt.NDArray[np.bool_]]:
    """Structures a threshold finds in a CT: the body, air inside it, bone; each as its larger components."""
    if kind != "CT":
        return []
    body = ndimage.binary_fill_holes(image > -400)
    found = [body]
    for mask in ((image < -600) & body, image > 220):
        labelled, count = ndimage.label(mask)
        if not count:
            continue
        areas = np.bincount(labelled.ravel())[1:]
        found += [labelled == i + 1 for i in np.argsort(areas)[-4:] if areas[i] > 40]
    return found


def prepare(source: Path, target: Path) -> int:
    """Pack training scans into arrays that workers can map.

    Parameters
    ----------
    source : Path
        A folder with ``manifest.json``, whose ``train`` entries name ``image`` and ``mask`` files, and with the folder
        ``train``; label maps there that no entry names are shapes without images. Nothing else is read.
    target : Path
        Where to write.

    Returns
    -------
    int
        Packed cases.
    """
    import nibabel as nib

    target.mkdir(parents=True, exist_ok=True)
    listed = {
        item["mask"]: item.get("image")
        for item in json.loads((source / "manifest.json").read_text())["train"]
        if item["mask"].startswith("train/")
    }
    alone = {str(path.relative_to(source)) for path in (source / "train").rglob("*seg*.nii.gz")} - set(listed)
    entries = []
    for mask, image_name in [*listed.items(), *((name, None) for name in sorted(alone))]:
        grid = nib.as_closest_canonical(nib.load(source / mask))
        labels = np.asanyarray(grid.dataobj).astype(np.int16)
        name, kind = Path(mask).name.replace(".nii.gz", ""), "labels"
        if image_name:
            kind = next((part for part in ("PET", "MR") if f"_{part}_" in f"{name}_"), "CT")
            scan = nib.as_closest_canonical(nib.load(source / image_name))
            image = np.asanyarray(scan.dataobj).astype(np.float32)
            if "openkbp" in mask:  # stored with an offset, zero outside the body
                image = np.where(image == 0, -1000, np.minimum(image - 1000, 3000))
            np.save(target / f"{name}.image.npy", image.astype(np.float32 if kind == "PET" else np.int16))
        np.save(target / f"{name}.labels.npy", labels if labels.max() > 255 else labels.astype(np.uint8))
        spacing = [float(step) for step in grid.header.get_zooms()[:3]]
        entries.append({"name": name, "kind": kind, "spacing_mm": spacing, "image": kind != "labels"})
    (target / "cases.json").write_text(json.dumps(entries, indent=1))
    log.info("packed %d cases into %s", len(entries), target)
    return len(entries)
