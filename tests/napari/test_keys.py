from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from napari._app_model import get_app_model
from napari.layers import Image, Labels, Points, Shapes, Surface, Tracks, Vectors
from napari.settings import get_settings
from napari.utils.key_bindings import coerce_keybinding
from napari.viewer import Viewer
from qtpy.QtGui import QKeySequence

from acting import User
from phantoms import GEOMETRIES, ellipsoid
from voxsam.errors import InputError
from voxsam_napari.keyeditor import KeyEditor
from voxsam_napari.keys import ACTIONS, DEFAULT_KEYS, Shortcuts, keys_of_napari
from voxsam_napari.orientation import shown


@pytest.fixture
def shortcuts(tmp_path: Path) -> Shortcuts:
    return Shortcuts(tmp_path / "keys.json")


def test_every_action_has_a_key_of_its_own() -> None:
    assert set(DEFAULT_KEYS) == set(ACTIONS)
    keys = [str(coerce_keybinding(key)) for key in DEFAULT_KEYS.values()]
    assert len(set(keys)) == len(keys)
    assert all(keys)


def test_no_key_is_one_of_naparis() -> None:
    taken = {str(coerce_keybinding(str(key))) for keys in get_settings().shortcuts.shortcuts.values() for key in keys}
    for kind in (Viewer, Image, Labels, Points, Shapes, Surface, Tracks, Vectors):
        taken |= {str(coerce_keybinding(key)) for key in kind.class_keymap}
    assert {"Ctrl+Z", "V", "2"} <= taken
    assert not taken & set(DEFAULT_KEYS.values())
    assert taken <= keys_of_napari() | {""}


def test_no_key_is_one_of_naparis_menus(make_napari_viewer: Any) -> None:
    make_napari_viewer()
    menus = {str(bound.keybinding) for bound in get_app_model().keybindings}
    assert {"Ctrl+O", "Ctrl+S"} <= menus
    assert not menus & set(DEFAULT_KEYS.values())


def test_a_key_can_be_changed_and_the_change_is_kept(shortcuts: Shortcuts, tmp_path: Path) -> None:
    shortcuts.change("undo", "Shift+B")
    assert shortcuts.keys["undo"] == "Shift+B"
    assert json.loads((tmp_path / "keys.json").read_text()) == {"undo": "Shift+B"}
    again = Shortcuts(tmp_path / "keys.json")
    assert again.keys["undo"] == "Shift+B"
    again.reset()
    assert Shortcuts(tmp_path / "keys.json").keys == DEFAULT_KEYS


@pytest.mark.parametrize(
    ("action", "key", "match"),
    [
        ("undo", "Ctrl+Z", "napari's own"),
        ("undo", "G", "taken by 'Propagate'"),
        ("undo", "", "expected a key"),
        ("undoo", "Shift+B", "did you mean 'undo'"),
    ],
)
def test_a_key_that_cannot_be_is_refused(shortcuts: Shortcuts, action: str, key: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        shortcuts.change(action, key)
    assert shortcuts.keys == DEFAULT_KEYS


def test_a_damaged_file_of_keys_leaves_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{torn")
    shortcuts = Shortcuts(tmp_path / "keys.json")
    assert shortcuts.keys == DEFAULT_KEYS
    assert "cannot be read" in shortcuts.problem


def test_a_kept_key_that_napari_has_taken_since_falls_back(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"undo": "Ctrl+G", "gone": "F9"}')
    assert Shortcuts(tmp_path / "keys.json").keys == DEFAULT_KEYS


def test_keys_are_bound_to_our_layers_and_follow_a_change(shortcuts: Shortcuts) -> None:
    ours, theirs, called = Points(ndim=3), Points(ndim=3), []
    shortcuts.bind([ours], {"undo": lambda: called.append("undo")})
    key = coerce_keybinding("Shift+Z")
    assert key in ours.keymap
    assert key not in theirs.keymap
    shortcuts.change("undo", "Shift+B")
    assert key not in ours.keymap
    ours.keymap[coerce_keybinding("Shift+B")](ours)
    assert called == ["undo"]


def test_the_editor_changes_keys_and_says_why_not(shortcuts: Shortcuts, qtbot: Any) -> None:
    changed = []
    editor = KeyEditor(shortcuts, lambda: changed.append(1))
    qtbot.addWidget(editor)
    field = editor.fields["undo"]
    field.setKeySequence(QKeySequence("Shift+B"))
    field.editingFinished.emit()
    assert shortcuts.keys["undo"] == "Shift+B"
    field.setKeySequence(QKeySequence("Ctrl+Z"))
    field.editingFinished.emit()
    assert "napari's own" in editor.note.text()
    assert field.keySequence().toString() == "Shift+B"
    editor.reset.click()
    assert shortcuts.keys == DEFAULT_KEYS
    assert len(changed) == 2


def test_our_keys_do_nothing_while_another_layer_is_chosen(open_dock: Any) -> None:
    dock, user = open_dock()
    assert isinstance(user, User)
    data, options = shown(ellipsoid(GEOMETRIES["thick-slices"]).volume)
    image = user.viewer.add_image(data, name="ct", **options)
    dock.desk.open("ct")
    user.until(lambda: dock.controller.session is not None)
    assert dock.controller.positive
    user.press("N")
    assert not dock.controller.positive
    user.viewer.layers.selection.active = image
    user.press("N")
    assert not dock.controller.positive
    dock.controller.layers.select()
    user.press("N")
    assert dock.controller.positive
