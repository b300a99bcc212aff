"""What ``voxsam segment`` may write to, found out before the work and not after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from voxsam.errors import FormatError, InputError
from voxsam.io import FORMATS

__all__ = ["check_outputs"]


def check_outputs(
    output: Path,
    report: Path | None,
    overlay: Path | None,
    *,
    scan: Path,
    inputs: Sequence[Path] = (),
    into: Path | None = None,
) -> None:
    """Find out that a file cannot be written, or that writing it would destroy what was given.

    Parameters
    ----------
    output, report, overlay : Path
        The mask, the JSON and the picture to write.
    scan : Path
        A file, or a DICOM folder: no file that lies in it already is written over.
    inputs : sequence of Path
        Other files that are read: prompts, masks, weights.
    into : Path, optional
        The mask to add to, which the output alone may replace.

    Raises
    ------
    FormatError
        If a name has a wrong ending, or its folder or file does not let itself be written.
    InputError
        If an output is one of the inputs, or two outputs are the same file.

    Examples
    --------
    >>> check_outputs(Path("scan.nii.gz"), None, None, scan=Path("scan.nii.gz"))
    Traceback (most recent call last):
    voxsam.errors.InputError: --output scan.nii.gz would write over the scan; give another name
    """
    suffixes = tuple(suffix for kind in FORMATS if kind.writes for suffix in kind.suffixes)
    if not output.name.lower().endswith(suffixes):
        raise FormatError(f"cannot tell the format of {output}: expected a name ending in {', '.join(suffixes)}")
    if overlay is not None and overlay.suffix.lower() != ".png":
        raise FormatError(f"--overlay writes a PNG picture; give a name ending in .png, got {overlay}")
    named = {"--output": output, "--report": report, "--overlay": overlay}
    outputs = {option: path for option, path in named.items() if path is not None}
    for option, path in outputs.items():
        _check_kept(option, path, scan, inputs, into)
    _check_apart(outputs)
    for path in outputs.values():
        _check_writable(path)


def _check_kept(option: str, path: Path, scan: Path, inputs: Sequence[Path], into: Path | None) -> None:
    """Raise where writing would destroy what was given."""
    if _same(path, scan):
        raise InputError(f"{option} {path} would write over the scan; give another name")
    for given in inputs:
        if _same(path, given):
            raise InputError(f"{option} {path} would write over {given}, which is read; give another name")
    if into is not None and _same(path, into):
        if option == "--output":
            return
        raise InputError(f"{option} {path} would write over the mask given as --into; give another name")
    if path.is_file() and (_lies_in(path, scan) if scan.is_dir() else _is_dicom(path)):
        raise InputError(f"{option} {path} would write over a file of the scan's folder; give a name elsewhere")


def _lies_in(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _is_dicom(path: Path) -> bool:
    """Say whether a file starts like DICOM: no output of ours does, and one file may stand for its series."""
    from voxsam.io.series import is_dicom

    return is_dicom(path)


def _check_apart(outputs: Mapping[str, Path]) -> None:
    for (one, path), (other, again) in combinations(outputs.items(), 2):
        if _same(path, again):
            raise InputError(f"{one} and {other} are the same file, {path}; give two names")


def _check_writable(path: Path) -> None:
    target = Path(os.path.realpath(path))  # a link is followed, as in `atomic_write`
    if target.is_dir():
        raise FormatError(f"cannot write {path}: it is a folder; give a file name")
    if not target.parent.is_dir():
        raise FormatError(f"cannot write {path}: its folder does not exist or is a file; make it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise FormatError(f"cannot write {path}: no permission to write in its folder; choose another")
    if target.exists() and not os.access(target, os.W_OK):
        raise FormatError(f"cannot write {path}: the file is write-protected; choose another name")


def _same(one: Path, other: Path) -> bool:
    """Say whether two names lead to one file, which need not exist."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)  # hard links, and systems that do not tell A from a
    except OSError:
        return False
