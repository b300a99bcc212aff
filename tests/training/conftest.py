"""Prepared training data for the generator's tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from voxsam.training.anatomy import prepare


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan with an organ, a label map alone, and a forbidden scan, packed."""
    import nibabel as nib

    source = tmp_path_factory.mktemp("source")
    (source / "train").mkdir()
    (source / "eval").mkdir()
    rng = np.random.default_rng(0)
    organ = np.linalg.norm(np.indices((24, 24, 24)) - 12, axis=0) < 7

    def write(name: str, array: np.ndarray) -> None:
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])), source / name)  # type: ignore[no-untyped-call]

    write("train/a_MR__img.nii.gz", (100 * organ + 50 + rng.normal(0, 5, organ.shape)).astype(np.float32))
    write("train/a_MR__seg.nii.gz", organ.astype(np.uint8))
    write("train/shapes_seg.nii.gz", (2 * organ).astype(np.uint8))
    write("eval/b__seg.nii.gz", organ.astype(np.uint8))
    entries = [{"image": f"{part}__img.nii.gz", "mask": f"{part}__seg.nii.gz"} for part in ("train/a_MR", "eval/b")]
    (source / "manifest.json").write_text(json.dumps({"train": entries}))
    target = tmp_path_factory.mktemp("packed")
    assert prepare(source, target) == 2
    return target
