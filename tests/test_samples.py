"""The sample scans: that they are what their script makes, and how a user gets them."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxsam import samples
from voxsam.errors import FormatError, InputError

BUNDLED = ("ct-abdomen", "mr-head")
MOST_BYTES = 3_000_000


def test_checksums_are_those_of_the_files(sample_dir: Path) -> None:
    lines = (sample_dir / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    named = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(named) == {path.name for path in sample_dir.glob("*.nii.gz")}
    for name, digest in named.items():
        content = (sample_dir / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert len(content) <= MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED)
def test_the_script_makes_the_committed_scan(name: str, sample_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(sample_dir))
    for module in ("shapes", "ct_abdomen", "mr_head"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    entry = samples.sample(name)
    drawing = import_module(name.replace("-", "_"))
    scan, truth, grid = drawing.build()
    kept, kept_truth = (nib.load(sample_dir / file) for file in (entry.file, entry.truth))
    # Another processor may round the last bit of a sum the other way: a voxel here and there is one unit off.
    difference = np.abs(scan.astype(np.int32) - np.asarray(kept.dataobj))
    assert difference.max() <= 1
    assert np.mean(difference != 0) < 1e-4
    assert np.mean(truth != np.asarray(kept_truth.dataobj)) < 1e-5
    np.testing.assert_allclose(kept.affine, grid.affine, atol=1e-4)
    assert dict(entry.labels) == drawing.LABELS


@pytest.mark.parametrize("name", BUNDLED)
def test_a_sample_is_oblique_anisotropic_and_fully_labelled(name: str, sample_dir: Path) -> None:
    entry = samples.sample(name)
    scan, truth = (nib.load(sample_dir / file) for file in (entry.file, entry.truth))
    assert scan.shape == truth.shape
    np.testing.assert_array_equal(scan.affine, truth.affine)
    assert scan.get_data_dtype() == np.int16
    directions = np.abs(scan.affine[:3, :3]) / scan.header.get_zooms()[:3]
    assert directions.max(axis=0).min() < np.cos(np.radians(4))
    assert max(scan.header.get_zooms()) > 3 * min(scan.header.get_zooms())
    assert set(np.unique(np.asarray(truth.dataobj))) == {0, *entry.labels}


def test_one_sample_is_left_handed() -> None:
    folder = samples.bundled_folder()
    handed = [np.linalg.det(nib.load(folder / samples.sample(name).file).affine[:3, :3]) for name in BUNDLED]
    assert min(handed) < 0 < max(handed)


def test_published_samples_have_address_hash_and_licence() -> None:
    published = [entry for entry in samples.samples().values() if not entry.bundled]
    assert len(published) >= 5
    for entry in published:
        assert entry.url.startswith("https://")
        assert entry.url.endswith(entry.sha256)
        assert len(entry.sha256) == 64
        assert entry.licence
    assert len({entry.file for entry in published}) == len(published)


def test_getting_a_bundled_sample_copies_scan_and_truth(tmp_path: Path) -> None:
    paths = samples.get_sample("ct-abdomen", tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["ct_abdomen.nii.gz", "ct_abdomen_truth.nii.gz"]
    for path in paths:
        assert path.read_bytes() == (samples.bundled_folder() / path.name).read_bytes()


def test_an_unknown_sample_says_what_is_near() -> None:
    with pytest.raises(InputError, match="did you mean 'mr-head'"):
        samples.sample("mr_haed")
    with pytest.raises(InputError, match="Known: ct-abdomen"):
        samples.sample("x")


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError, match="cannot make the folder"):
        samples.get_sample("mr-head", tmp_path / "file" / "folder")


@pytest.mark.offline
def test_a_download_without_a_connection_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"is this computer offline.*ct-abdomen, mr-head"):
        samples.get_sample("slicer-mr-head", tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_bundled_files_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(samples, "_FOLDERS", (tmp_path / "a", tmp_path / "b"))
    with pytest.raises(FormatError, match="install voxsam again"):
        samples.bundled_folder()
