"""What napari is told about the plugin is true."""

from __future__ import annotations

import ast
from pathlib import Path

import npe2
import pytest
from npe2 import PluginManifest

import voxsam_napari
from voxsam.io import FORMATS
from voxsam.samples import samples

PLUGIN = Path(voxsam_napari.__file__).parent


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("voxsam")


def test_the_manifest_is_valid_and_everything_it_names_can_be_imported(manifest: PluginManifest) -> None:
    manifest.validate_imports()
    assert manifest.display_name == "voxsam"


def test_every_format_that_voxsam_reads_opens_in_napari(manifest: PluginManifest) -> None:
    (reader,) = manifest.contributions.readers
    assert reader.accepts_directories
    suffixes = {suffix for kind in FORMATS for suffix in kind.suffixes}
    assert {pattern.removeprefix("*") for pattern in reader.filename_patterns} == suffixes - {".seg.nrrd"}


def test_every_format_that_voxsam_writes_can_be_saved_from_labels(manifest: PluginManifest) -> None:
    writers = manifest.contributions.writers
    assert all([str(kind) for kind in writer.layer_types] == ["labels"] for writer in writers)
    suffixes = {suffix for kind in FORMATS if kind.writes for suffix in kind.suffixes}
    assert {suffix for writer in writers for suffix in writer.filename_extensions} == suffixes


def test_the_scans_that_ship_with_voxsam_are_napari_samples(manifest: PluginManifest) -> None:
    offered = {sample.key for sample in manifest.contributions.sample_data}
    assert offered == {sample.name for sample in samples().values() if sample.bundled}


@pytest.mark.parametrize("path", sorted(PLUGIN.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGIN)))
def test_the_plugin_uses_naparis_public_names_alone(path: Path) -> None:
    imported = [
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]
    private = [name for name in imported if name.startswith("napari.") and "._" in name]
    assert not private


def test_no_private_attribute_of_a_viewer_or_a_layer_is_touched() -> None:
    owners = {"viewer", "layer", "image", "labels", "points", "shapes", "window", "camera", "dims", "layers"}
    found = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path in PLUGIN.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if (ast.unparse(node.value).split(".")[-1]).lstrip("_") in owners
    ]
    assert not found


def test_npe2_finds_the_plugin_by_its_distribution() -> None:
    manager = npe2.PluginManager()
    manager.discover()
    assert "voxsam" in manager
