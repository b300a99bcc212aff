from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import voxsam


def test_the_public_names_are_sorted_complete_and_real() -> None:
    assert voxsam.__all__ == sorted(voxsam.__all__, key=str.casefold)
    assert all(getattr(voxsam, name) for name in voxsam.__all__)  # lazy names resolve
    loaded = {name for name, value in vars(voxsam).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert loaded <= set(voxsam.__all__)  # nothing public is unlisted
    assert set(voxsam.__all__) <= set(dir(voxsam))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmnet_volume'"):
        voxsam.segmnet_volume  # noqa: B018
    assert not hasattr(voxsam, "torch")


def fresh_python(script: str) -> str:
    run = subprocess.run([sys.executable, "-X", "importtime", "-c", script], capture_output=True, text=True, check=True)
    return run.stderr


def test_importing_the_library_loads_neither_torch_nor_a_viewer() -> None:
    fresh_python("import sys, voxsam; assert not {'torch', 'monai', 'napari', 'SimpleITK'} & sys.modules.keys()")


def test_sessions_prompts_and_io_come_without_torch() -> None:
    script = "import sys, voxsam; voxsam.Point; voxsam.Session; voxsam.load_volume; voxsam.segment_volume; "
    fresh_python(script + "voxsam.open_session; assert 'torch' not in sys.modules")


def test_importing_the_library_is_quick() -> None:
    lines = [line for line in fresh_python("import voxsam").splitlines() if line.endswith("| voxsam")]
    cumulative_us = int(lines[-1].split("|")[1])
    assert cumulative_us < 300_000
