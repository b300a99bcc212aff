"""Make the sample scans and their truth masks: ``python sample_data/make_samples.py [FOLDER]``.

Needs numpy, scipy and nibabel; takes half a minute. Nothing in it comes from a patient.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
SAMPLES = ("ct_abdomen", "mr_head")


def write(path: Path, array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64], description: str) -> None:
    """Write a NIfTI file; the same array gives the same bytes, whatever the time and the file's name."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header["descrip"] = description.encode()
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(image.to_bytes())


def main(folder: Path) -> None:
    """Build every sample into `folder`, check its labels, and write the checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in SAMPLES:
        drawing = importlib.import_module(name)
        scan, truth, grid = drawing.build()
        named = json.loads((HERE / "samples.json").read_text(encoding="utf-8"))[name.replace("_", "-")]["labels"]
        if {int(value): label for value, label in named.items()} != drawing.LABELS:
            raise SystemExit(f"samples.json names other labels than {name}.py")
        for stem, array in ((name, scan), (f"{name}_truth", truth)):
            written.append(folder / f"{stem}.nii.gz")
            write(written[-1], array, grid.affine, f"synthetic, CC0-1.0, seed {drawing.SEED}")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in written]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    for path in written:
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
