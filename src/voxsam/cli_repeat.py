"""What a report keeps of the command line, and takes back from it: enough to repeat a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from voxsam.cli_parse import Document, one_of
from voxsam.errors import InputError
from voxsam.geometry import PLANES
from voxsam.windowing import Window

if TYPE_CHECKING:
    from voxsam.segment import PlaneChoice

__all__ = ["Settings", "settings_of", "warn_of_other_weights"]

#: The enhancement that fits a window to the prompts, and so takes the place of one.
_LOCAL = "local"


@dataclass(frozen=True)
class Settings:
    """How to look at a scan.

    Parameters
    ----------
    plane : {"auto", "axial", "coronal", "sagittal"}
    window : str or tuple of Window
        As typed, or as an earlier run used it.
    enhance : tuple of str
    model : str

    Examples
    --------
    >>> Settings(window=(Window(400, 40.5, "abdomen"),)).to_json()["window"]
    '400,40.5'
    """

    plane: PlaneChoice = "auto"
    window: str | tuple[Window, ...] = "auto"
    enhance: tuple[str, ...] = ()
    model: str = "compact"

    @property
    def window_text(self) -> str:
        """The window as it may be typed."""
        if isinstance(self.window, str):
            return self.window
        if len(self.window) > 1:  # no other choice on the command line has three
            return "multi"
        (window,) = self.window
        return f"{_shortest(window.width)},{_shortest(window.level)}"

    def to_json(self) -> dict[str, Any]:
        """Return them as the report keeps them."""
        return {**asdict(self), "window": self.window_text, "enhance": list(self.enhance)}


def settings_of(
    typed: Settings, documents: Sequence[Document], is_typed: Callable[[str], bool], say: Callable[[str], None]
) -> Settings:
    """Take from the first report among the documents what was not typed.

    Parameters
    ----------
    typed : Settings
        With the defaults where nothing was typed.
    documents : sequence of Document
    is_typed : callable
        Called with ``"plane"``, ``"window"``, ``"enhance"`` or ``"model"``; a typed option wins over the report.
    say : callable
        Called with one line: what was taken.

    Raises
    ------
    InputError
        If the report's settings are damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> report = {"settings": {"plane": "coronal", "windows": [{"width": 400, "level": 40}], "enhance": ["clahe"]}}
    >>> earlier = Document(Path("run.json"), prompts={}, report=report)
    >>> settings_of(Settings(plane="axial"), [earlier], lambda name: name == "plane", print).plane
    taken from run.json: window 400,40, enhance clahe
    'axial'
    """
    earlier = next((document for document in documents if document.report is not None), None)
    if earlier is None or earlier.report is None:
        return typed
    try:
        kept = _read(earlier.report)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"cannot read the settings in {earlier.path} ({error}); a report is as `voxsam segment --report` writes it"
        ) from error
    taken = {name: value for name, value in kept.items() if not is_typed(name)}
    if is_typed("window") and _LOCAL in taken.get("enhance", ()):  # it would fit another window
        taken["enhance"] = tuple(name for name in taken["enhance"] if name != _LOCAL)
    settings = replace(typed, **taken)
    shown = {**settings.to_json(), "enhance": ",".join(settings.enhance)}
    named = ", ".join(f"{name} {shown[name]}" for name in taken if shown[name])
    if named:
        say(f"taken from {earlier.path}: {named}")
    return settings


def warn_of_other_weights(documents: Sequence[Document], model: str, sha256: str, say: Callable[[str], None]) -> None:
    """Say so where a report of the same model was made with other weights, as its hash tells.

    Examples
    --------
    >>> from pathlib import Path
    >>> report = {"model": {"weights_sha256": "ab12"}, "command": {"model": "compact", "weights": "mine.pth"}}
    >>> warn_of_other_weights([Document(Path("run.json"), {}, report)], "compact", "cd34", print)
    run.json was made with other weights of compact (mine.pth): the mask may differ; --weights takes them
    """
    for document in documents:
        report = document.report or {}
        used, command = report.get("model") or {}, report.get("command") or {}
        hash_used = used.get("weights_sha256")
        if model in (command.get("model"), used.get("name")) and hash_used not in (None, sha256):
            file = command.get("weights") or f"sha256 {str(hash_used)[:12]}"
            say(f"{document.path} was made with other weights of {model} ({file}): the mask may differ; "
                "--weights takes them")  # fmt: skip


def _read(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a report says of the settings, where it says anything."""
    from voxsam.models.registry import CARDS

    used, command = report.get("settings") or {}, report.get("command") or {}
    kept: dict[str, Any] = {}
    if "plane" in used:
        kept["plane"] = cast("PlaneChoice", one_of(used["plane"], "plane", PLANES))
    if used.get("windows"):
        kept["window"] = tuple(Window(each["width"], each["level"], each.get("name", "")) for each in used["windows"])
    if "enhance" in used:
        kept["enhance"] = tuple(str(name) for name in used["enhance"])
    model = command.get("model") or (report.get("model") or {}).get("name")
    if model in CARDS:  # one of the user's own, from Python, has no name that the command line knows
        kept["model"] = model
    return kept


def _shortest(number: float) -> str:
    """Write every digit that counts."""
    return repr(int(number)) if number == int(number) else repr(number)
