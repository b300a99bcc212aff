"""DICOM series as a scanner writes them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from voxsam.geometry import Geometry


def decimal(value: float) -> str:
    """Write a number in the 16 characters that DICOM has for it."""
    return format_number_as_ds(float(value))


def write_slice(path: Path, pixels: np.ndarray, position: Sequence[float], **tags: Any) -> FileDataset:
    """Write one CT slice, transverse and 0.7 x 0.8 mm unless `tags` say otherwise."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
        "Modality": "CT",
        "SeriesDescription": "Abdomen",
        "SeriesNumber": 4,
        "InstanceNumber": 1,
        "ImagePositionPatient": list(map(decimal, position)),
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.8, 0.7],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    for name, value in (values | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def write_series(folder: Path, array: np.ndarray, grid: Geometry | None = None, **tags: Any) -> Path:
    """Write (Z, Y, X) voxels as a series, its files in no useful order."""
    folder.mkdir(exist_ok=True)
    shuffled = np.random.default_rng(3).permutation(len(array))
    for index, pixels in enumerate(array):
        own: dict[str, Any] = {}
        position: Sequence[float] = (10.0, 20.0, 30.0 + 5.0 * index)
        if grid is not None:
            flip = np.array([-1.0, -1.0, 1.0])
            position = (grid.to_world([[index, 0, 0]])[0] * flip).tolist()
            along, down = (grid.directions[:, axis] * flip for axis in (2, 1))
            own["ImageOrientationPatient"] = list(map(decimal, (*along, *down)))
            own["PixelSpacing"] = [decimal(grid.spacing_mm[axis]) for axis in (1, 2)]
        every = {name: value(index) if callable(value) else value for name, value in tags.items()}
        name = f"{shuffled[index]:03d}{every.pop('suffix', '.dcm')}"
        write_slice(folder / name, pixels, position, **{"InstanceNumber": index + 1, **own, **every})
    return folder
