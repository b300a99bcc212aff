"""From what a user types to prompts: positions, boxes, prompt files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from voxsam.errors import FormatError, InputError, PromptError, known_names
from voxsam.geometry import Geometry
from voxsam.io import load_mask
from voxsam.prompts import Box, MaskPrompt, Point, Prompt, check_prompt, load_prompts
from voxsam.volume import Volume

__all__ = ["Asked", "Document", "MaskFile", "Space", "one_of", "parse_numbers", "read_document", "read_prompts"]

Triple = tuple[float, float, float]


class Space(str, Enum):
    """What the numbers of a position count."""

    ras = "ras"
    ijk = "ijk"


@dataclass(frozen=True, eq=False)
class Document:
    """A file given as ``--prompts``.

    Parameters
    ----------
    path : Path
    prompts : object
        The prompts' document, not looked at yet.
    report : mapping, optional
        The report around it, where it was one.
    """

    path: Path
    prompts: Any
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class MaskFile:
    """A file given as ``--mask-prompt``, and which of its labels.

    Parameters
    ----------
    path : Path
    label : int, optional
        Without: the only one that it has.
    """

    path: Path
    label: int | None = None

    @classmethod
    def parse(cls, text: str) -> MaskFile:
        """Split what was typed; a file that has a colon in its name stays whole.

        Examples
        --------
        >>> MaskFile.parse("organs.seg.nrrd:2").label
        2
        """
        name, _, label = text.rpartition(":")
        if not name or not label.isdecimal() or Path(text).exists():
            return cls(Path(text))
        return cls(Path(name), int(label))

    def load(self, volume: Volume) -> MaskPrompt:
        """Read the object.

        Raises
        ------
        PromptError
            If the file is empty, has several labels and none was chosen, or not the one that was.
        """
        mask = load_mask(self.path, like=volume)
        named = ", ".join(f"{value} {mask.labels[value].name}" if value in mask.labels else str(value)
                          for value in mask.values)  # fmt: skip
        if self.label is None and len(mask.values) > 1:
            example = f"--mask-prompt {self.path}:{mask.values[0]}"
            raise PromptError(f"{self.path} has several labels ({named}); choose one by its number: {example}")
        if self.label is not None and self.label not in mask.values:
            raise PromptError(f"{self.path} has no label {self.label}; it has {named or 'none'}")
        return MaskPrompt(mask if self.label is None else mask.of_label(self.label))


@dataclass(frozen=True)
class Asked:
    """What the user asked about one object, as typed.

    Parameters
    ----------
    points, negatives, boxes : sequence of str
        Three numbers each; six for a box.
    space : Space
        RAS millimetres, or voxels as the file's header counts them.
    documents : sequence of Document
    masks : sequence of MaskFile
    any_scan : bool
        Take a document of another scan by its world positions.
    """

    points: Sequence[str] = ()
    negatives: Sequence[str] = ()
    boxes: Sequence[str] = ()
    space: Space = Space.ras
    documents: Sequence[Document] = ()
    masks: Sequence[MaskFile] = ()
    any_scan: bool = False


def read_prompts(asked: Asked, volume: Volume) -> tuple[Prompt, ...]:
    """Turn what was typed into prompts on a scan.

    Raises
    ------
    PromptError
        If numbers do not parse, nothing was asked, or a prompt lies outside the scan.
    """
    grid = volume.geometry
    prompts: list[Prompt] = []
    for option, positive, texts in (("--point", True, asked.points), ("--negative", False, asked.negatives)):
        for text in texts:
            prompts.append(Point(_zyx(parse_numbers(text, option, 3), asked.space, grid), positive))
            _check_typed(prompts[-1], option, text, asked.space, grid)
    for text in asked.boxes:
        numbers = parse_numbers(text, "--box", 6)
        prompts.append(Box(_zyx(numbers[:3], asked.space, grid), _zyx(numbers[3:], asked.space, grid)))
        _check_typed(prompts[-1], "--box", text, asked.space, grid)
    for document in asked.documents:
        prompts.extend(load_prompts(document.prompts, volume, any_scan=asked.any_scan))
    prompts.extend(mask.load(volume) for mask in asked.masks)
    if not prompts:
        raise PromptError(
            "nothing was asked: give --point R,A,S, --box r0,a0,s0,r1,a1,s1, --prompts FILE or --mask-prompt FILE; "
            "`voxsam info SCAN` says where the scan lies"
        )
    for prompt in prompts:
        check_prompt(prompt, grid)
    return tuple(prompts)


def read_document(path: Path) -> Document:
    """Read a prompts file, or a report with the prompts in it.

    Raises
    ------
    FormatError
        If it cannot be read, is not JSON, or is a report that keeps no prompts.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror or os.strerror(error.errno or 0)}") from error
    except ValueError as error:
        raise FormatError(f"{path} is not JSON ({error}); expected prompts as voxsam writes them") from error
    if not isinstance(document, dict) or not str(document.get("schema", "")).startswith("voxsam-report/"):
        return Document(path, document)
    prompts = document.get("prompts")
    if not isinstance(prompts, dict) or not prompts.get("prompts"):
        raise FormatError(f"{path} is a report without prompts; give one that `voxsam segment --report` wrote")
    return Document(path, prompts, document)


def parse_numbers(text: str, option: str, count: int) -> tuple[float, ...]:
    """Read so many numbers with commas between.

    Examples
    --------
    >>> parse_numbers("-10, 20,30.5", "--point", 3)
    (-10.0, 20.0, 30.5)
    >>> parse_numbers("10,20", "--point", 3)
    Traceback (most recent call last):
    voxsam.errors.PromptError: --point takes 3 numbers with commas between, such as -10,20.5,30; got '10,20'
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        example = "-10,20.5,30" if count == 3 else "-40,0,25,60.5,80,25"
        raise PromptError(f"{option} takes {count} numbers with commas between, such as {example}; got {text!r}")
    return numbers


def one_of(value: str, option: str, known: Sequence[str]) -> str:
    """Return `value` if it is known; otherwise say what is.

    Examples
    --------
    >>> one_of("axal", "--plane", ("auto", "axial"))
    Traceback (most recent call last):
    voxsam.errors.InputError: --plane 'axal' is unknown; did you mean 'axial'? Known: auto, axial
    """
    if value in known:
        return value
    raise InputError(f"{option} '{value}' is unknown{known_names(value, known)}")


def _check_typed(prompt: Prompt, option: str, text: str, space: Space, grid: Geometry) -> None:
    """Raise where a prompt lies outside the scan, in the numbers that were typed."""
    try:
        check_prompt(prompt, grid)
    except PromptError as error:
        if space is Space.ras:
            raise
        last = ",".join(str(count - 1) for count in reversed(grid.shape))
        raise PromptError(f"{option} {text} (i,j,k; the scan is 0,0,0 to {last}): {error}") from error


def _zyx(numbers: Sequence[float], space: Space, grid: Geometry) -> Triple:
    """Turn three typed numbers into a voxel position."""
    if space is Space.ijk:  # the header counts the fastest axis first, the array last
        i, j, k = numbers
        return k, j, i
    z, y, x = grid.to_voxel([list(numbers)])[0].tolist()
    return z, y, x
