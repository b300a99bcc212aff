from __future__ import annotations

import numpy as np
import pytest

from phantoms import GEOMETRIES
from voxsam.session import CroppedMask, ObjectState, SessionState
from voxsam_napari.compose import Composer, LabelPicture
from voxsam_napari.grid import SliceView

GRID = GEOMETRIES["awkward"]
RED = (1.0, 0.0, 0.0)


def block(*box: slice) -> CroppedMask:
    array = np.zeros(GRID.shape, bool)
    array[box] = True
    return CroppedMask.of(array)


def state(*masks: CroppedMask | None, hidden: tuple[int, ...] = (), first: int = 1) -> SessionState:
    return SessionState(
        tuple(
            ObjectState(key, f"object {key}", RED, mask=mask, visible=key not in hidden)
            for key, mask in enumerate(masks, start=first)
        )
    )


def test_patches_add_up_to_the_masks_whatever_changes() -> None:
    here = block(slice(2, 6), slice(4, 20), slice(5, 9))
    there = block(slice(5, 9), slice(15, 30), slice(7, 20))
    composer, picture = Composer(GRID), LabelPicture(GRID)
    for now in (state(here), state(here, there), state(here, there, hidden=(1,)), state(None, there), state()):
        patch = composer.patch(now)
        if patch is not None:
            picture.apply(patch)
        wanted = np.zeros(GRID.shape, np.uint8)
        for item in now.objects:
            if item.mask is not None and item.visible:
                wanted[item.mask.to_array()] = item.id
        assert np.array_equal(picture.array, wanted)
        assert composer.patch(now) is None


def test_a_patch_is_no_larger_than_what_changed() -> None:
    composer = Composer(GRID)
    large, small = block(slice(0, 20), slice(0, 40), slice(0, 30)), block(slice(3, 5), slice(4, 6), slice(5, 6))
    composer.patch(state(large))
    patch = composer.patch(state(large, small))
    assert patch is not None
    assert patch.labels.shape == (2, 2, 1)


def test_a_forgotten_slice_is_drawn_anew() -> None:
    composer, picture = Composer(GRID), LabelPicture(GRID)
    now = state(block(slice(2, 6), slice(4, 20), slice(5, 9)))
    picture.apply(composer.patch(now))  # type: ignore[arg-type]
    right = picture.array.copy()
    view = SliceView(GRID.plane_across(0), 3)
    picture.slice(view)[...] = 1  # somebody painted over it
    composer.forget(view)
    patch = composer.patch(now)
    assert patch is not None
    assert patch.labels.shape[0] == 1
    picture.apply(patch)
    assert np.array_equal(picture.array, right)


def test_an_empty_mask_draws_nothing() -> None:
    assert Composer(GRID).patch(state(CroppedMask.of(np.zeros(GRID.shape, bool)))) is None


def test_labels_are_as_narrow_as_the_ids_allow() -> None:
    mask = block(slice(2, 6), slice(4, 20), slice(5, 9))
    composer, picture = Composer(GRID), LabelPicture(GRID)
    assert picture.array.dtype == np.uint8
    patch = composer.patch(state(mask, first=300))
    assert patch is not None
    picture.widen(300)
    picture.apply(patch)
    assert picture.array.dtype == np.uint16
    assert set(np.unique(picture.array)) == {0, 300}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_crossing_previews_come_off_without_a_trace(order: tuple[int, int]) -> None:
    composer, picture = Composer(GRID), LabelPicture(GRID)
    picture.apply(composer.patch(state(block(slice(2, 6), slice(4, 20), slice(5, 9)))))  # type: ignore[arg-type]
    before = picture.array.copy()
    views = [SliceView("axial", 4), SliceView("coronal", 10)]
    for view in views:
        picture.overlay(view, np.ones(picture.slice(view).shape, bool), 2, kept=frozenset())
    assert (picture.slice(views[1]) == 2).all()
    for place in order:
        picture.remove(views[place])
    assert np.array_equal(picture.array, before)


def test_a_preview_spares_the_objects_that_are_kept() -> None:
    composer, picture = Composer(GRID), LabelPicture(GRID)
    picture.apply(composer.patch(state(block(slice(0, 20), slice(0, 24), slice(0, 40)))))  # type: ignore[arg-type]
    view = SliceView("axial", 4)
    everything = np.ones(picture.slice(view).shape, bool)
    picture.overlay(view, everything, 2, kept=None)
    assert set(np.unique(picture.slice(view))) == {1, 2}
    picture.overlay(view, everything, 2, kept=frozenset())
    assert set(np.unique(picture.slice(view))) == {2}


def test_a_patch_goes_beneath_a_preview() -> None:
    composer, picture = Composer(GRID), LabelPicture(GRID)
    view = SliceView("axial", 4)
    drawn = np.zeros(picture.slice(view).shape, bool)
    drawn[:5, :5] = True
    picture.overlay(view, drawn, 1)
    patch = composer.patch(state(block(slice(0, 20), slice(0, 48), slice(20, 30))))
    assert patch is not None
    picture.apply(patch)
    assert np.array_equal(picture.slice(view) == 1, drawn)  # as it would be, not as it is
    picture.clear()
    assert int((picture.array == 1).sum()) == 20 * 48 * 10
