"""A large CT opens in little more memory than it takes itself."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

SHAPE = (600, 512, 512)

OPEN_AND_MEASURE = """
import re, sys
from pathlib import Path
from voxsam.io import load_volume
scan = load_volume(sys.argv[1])
# not ru_maxrss: a child inherits that of the process that forked it
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.stdout.write(f"{scan.array.shape} {scan.array.dtype} {scan.array.nbytes} {peak}")
"""


def slices() -> np.ndarray:
    """Make one slice of equal noisy rows, which packs fast; a scan repeats it."""
    return np.tile(np.random.default_rng(0).integers(-1000, 1000, SHAPE[2]).astype(np.int16), (SHAPE[1], 1))


def write_nifti(folder: Path) -> Path:
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE[::-1])
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = folder / "ct.nii"
    with path.open("wb") as file:
        header.write_to(file)
        file.seek(352)
        for _ in range(SHAPE[0]):
            file.write(slices().tobytes())
    return path


def write_compressed_nifti(folder: Path) -> Path:
    plain, path = write_nifti(folder), folder / "ct.nii.gz"
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as file:
        while piece := source.read(2**24):
            file.write(piece)
    return path


def write_nrrd(folder: Path) -> Path:
    image = sitk.GetImageFromArray(np.broadcast_to(slices(), SHAPE))
    sitk.WriteImage(image, folder / "ct.nrrd", useCompression=False)
    return folder / "ct.nrrd"


def write_dicom(folder: Path) -> Path:
    image = sitk.GetImageFromArray(slices()[None])
    for key, value in {"0008|0060": "CT", "0020|000e": "1.2.3", "0020|0032": "0\\0\\0"}.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, folder / "one.dcm")
    dataset = pydicom.dcmread(folder / "one.dcm")
    (folder / "one.dcm").unlink()
    dataset.SeriesInstanceUID = "1.2.3"
    for index in range(SHAPE[0]):
        dataset.ImagePositionPatient = [0, 0, index]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index + 1}"
        dataset.save_as(folder / f"{index:03d}.dcm")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
@pytest.mark.parametrize("write", [write_nifti, write_compressed_nifti, write_nrrd, write_dicom])
def test_a_ct_of_300_mb_opens_below_two_and_a_half_times_its_size(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path)
    script = [sys.executable, "-c", OPEN_AND_MEASURE, str(path)]
    answer = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    shape, dtype, size, peak = answer.rsplit(" ", 3)
    assert (shape, dtype) == (str(SHAPE), "int16")
    assert int(peak) < 2.5 * int(size), f"peak {int(peak) / int(size):.2f} times the array"
