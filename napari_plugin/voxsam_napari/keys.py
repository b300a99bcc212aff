"""Shortcuts: bound to our own layers alone, none of napari's, and every one of them can be changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.settings import get_settings
from napari.utils.key_bindings import coerce_keybinding
from napari.viewer import Viewer
from qtpy.QtCore import QStandardPaths

from voxsam.errors import FormatError, InputError, unknown_name

__all__ = ["ACTIONS", "DEFAULT_KEYS", "Shortcuts", "keys_of_napari"]

#: What can be done by a key, in words.
ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "point": "Point tool",
        "box": "Box tool",
        "scribble": "Scribble tool",
        "lasso": "Lasso tool",
        "polarity": "Include or exclude",
        "live": "Live preview on or off",
        "accept": "Accept the slice as shown",
        "undo": "Undo",
        "redo": "Redo",
        "propagate": "Propagate",
        "refine": "Refine",
        "cancel": "Cancel what runs",
        "next_check": "Next slice to check",
        "previous_slice": "Previous slice",
        "next_slice": "Next slice",
        "add_object": "New object",
        "next_object": "Next object",
        "delete_object": "Delete the object",
        "view_3d": "3D view",
        "copy": "Copy the measurements",
        "save_mask": "Save the masks",
        "save_session": "Save the session",
        "open_session": "Open a session",
    }
)

#: The keys unless they were changed: all of them free in napari, whatever layer is active.
DEFAULT_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "point": "Q",
        "box": "W",
        "scribble": "H",
        "lasso": "Shift+H",
        "polarity": "N",
        "live": "Shift+Q",
        "accept": "K",
        "undo": "Shift+Z",
        "redo": "Shift+Y",
        "propagate": "G",
        "refine": "Shift+G",
        "cancel": "Shift+Escape",
        "next_check": "J",
        "previous_slice": ",",
        "next_slice": ".",
        "add_object": "Shift+N",
        "next_object": "U",
        "delete_object": "Shift+Delete",
        "view_3d": "Shift+D",
        "copy": "Shift+C",
        "save_mask": "Shift+S",
        "save_session": "Shift+W",
        "open_session": "Shift+O",
    }
)


def keys_of_napari() -> frozenset[str]:
    """Return every key that napari has bound for itself, as the user has set it."""
    chosen = (str(key) for keys in get_settings().shortcuts.shortcuts.values() for key in keys)
    classes = (str(key) for kind in (Viewer, Image, Labels, Points, Shapes) for key in kind.class_keymap)
    return frozenset(_normal(key) for key in (*chosen, *classes))


class Shortcuts:
    """Which key does what, on our layers.

    Parameters
    ----------
    path : Path, optional
        Where changes are kept; the user's configuration folder unless given.

    Examples
    --------
    >>> shortcuts = Shortcuts(Path("nowhere.json"))
    >>> shortcuts.keys["undo"]
    'Shift+Z'
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or _config_folder() / "napari-keys.json"
        self._keys = dict(DEFAULT_KEYS)
        self.problem = ""
        try:
            self._keys.update(_read(self._path))
        except FormatError as error:
            self.problem = str(error)
        self._calls: Mapping[str, Callable[[], None]] = {}
        self._layers: list[Layer] = []

    @property
    def keys(self) -> Mapping[str, str]:
        """Action to key."""
        return MappingProxyType(self._keys)

    def bind(self, layers: Iterable[Layer], calls: Mapping[str, Callable[[], None]]) -> None:
        """Let the keys call, while one of these layers is the active one; earlier layers are let go."""
        self._layers, self._calls = list(layers), dict(calls)
        for action in self._calls:
            self._bind(action, self._keys[action])

    def change(self, action: str, key: str) -> None:
        """Give an action another key, and keep that.

        Raises
        ------
        InputError
            If there is no such action, or the key is none, napari's, or another action's.
        """
        if action not in ACTIONS:
            raise InputError(unknown_name("action", action, ACTIONS))
        key = _normal(key)
        if not key:
            raise InputError(f"expected a key for {ACTIONS[action]!r}, such as Shift+X; got none")
        if key in keys_of_napari():
            raise InputError(f"{key} is napari's own; choose another key for {ACTIONS[action]!r}")
        taken = next((other for other, its in self._keys.items() if its == key and other != action), None)
        if taken is not None:
            raise InputError(f"{key} is taken by {ACTIONS[taken]!r}; choose another, or change that one first")
        self._set(action, key)

    def reset(self) -> None:
        """Go back to the keys that came with the plugin."""
        for action, key in DEFAULT_KEYS.items():
            self._unbind(self._keys[action])
            self._keys[action] = key
        for action in self._calls:
            self._bind(action, self._keys[action])
        self._keep()

    def _set(self, action: str, key: str) -> None:
        self._unbind(self._keys[action])
        self._keys[action] = key
        if action in self._calls:
            self._bind(action, key)
        self._keep()

    def _bind(self, action: str, key: str) -> None:
        call = self._calls[action]
        for layer in self._layers:
            layer.bind_key(key, lambda _layer, call=call: call(), overwrite=True)

    def _unbind(self, key: str) -> None:
        for layer in self._layers:
            layer.bind_key(key, None)

    def _keep(self) -> None:
        changed = {action: key for action, key in self._keys.items() if key != DEFAULT_KEYS[action]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(changed, indent=1), encoding="utf-8")


def _normal(key: str) -> str:
    return str(coerce_keybinding(key)).strip()


def _config_folder() -> Path:
    place = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericConfigLocation)
    return Path(place) / "voxsam"


def _read(path: Path) -> dict[str, str]:
    """Read changed keys; those of an action that is no more, or that napari has taken since, fall back."""
    if not path.is_file():
        return {}
    try:
        held: Any = json.loads(path.read_text(encoding="utf-8"))
        changed = {str(action): _normal(str(key)) for action, key in held.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise FormatError(f"the changed shortcuts in {path} cannot be read, so the usual ones hold: {error}") from error
    taken = keys_of_napari()
    return {action: key for action, key in changed.items() if action in ACTIONS and key and key not in taken}
