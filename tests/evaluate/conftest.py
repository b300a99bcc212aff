"""Phantoms on disk, as pairs and behind a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from phantoms import GEOMETRIES, Phantom, ellipsoid, sphere
from voxsam.geometry import Geometry


def write_nifti(array: np.ndarray, geometry: Geometry, path: Path) -> None:
    """Write without voxsam's own code: (Z, Y, X) becomes (i, j, k)."""
    affine = geometry.affine[:, (2, 1, 0, 3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T, affine), path)


def write_case(phantom: Phantom, root: Path, name: str) -> dict[str, object]:
    write_nifti(phantom.volume.array.astype(np.int16), phantom.volume.geometry, root / f"{name}_img.nii.gz")
    write_nifti(phantom.truth.array.astype(np.uint8), phantom.truth.geometry, root / f"{name}_seg.nii.gz")
    return {
        "case": name,
        "image": f"{name}_img.nii.gz",
        "mask": f"{name}_seg.nii.gz",
        "labels": {"1": f"{name} tumour"},
    }


@pytest.fixture(scope="session")
def cases_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantoms on four grids; the truth of the last is said to be a model's."""
    root = tmp_path_factory.mktemp("cases")
    entries = [
        write_case(sphere(GEOMETRIES["isotropic"]), root, "sphere"),
        write_case(ellipsoid(GEOMETRIES["thick-slices"]), root, "ellipsoid"),
        write_case(sphere(GEOMETRIES["awkward"]), root, "tilted") | {"modality": "CT"},
        write_case(ellipsoid(GEOMETRIES["permuted"]), root, "permuted") | {"ground_truth": "AI output"},
    ]
    (root / "manifest.json").write_text(json.dumps({"eval": entries}))
    return root
