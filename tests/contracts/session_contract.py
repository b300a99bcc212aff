"""What every Session must do, wherever its model runs. Subclass it and provide the `session` and `phantom` fixtures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from phantoms import Phantom, dice
from voxsam.errors import Cancelled, InputError, PromptError, SessionError
from voxsam.io import load_mask
from voxsam.prompts import Box, MaskPrompt, Point
from voxsam.session import Session, SessionState
from voxsam.terminology import CODES
from voxsam.views import slice_of
from voxsam.volume import Label, Mask


class SessionContract:
    """The `session` fixture is open on `phantom.volume` with a model that solves phantoms."""

    def test_it_is_a_session(self, session: Session) -> None:
        assert isinstance(session, Session)
        assert session.state.objects == ()

    def test_objects_get_ids_names_and_colours_of_their_own(self, session: Session) -> None:
        liver, nameless = session.add_object("liver"), session.add_object()
        blue = session.add_object("cyst", color_rgb=(0.0, 0.0, 1.0))
        first, second, third = session.state.objects
        assert (first.id, second.id, third.id) == (liver, nameless, blue)
        assert first.name == "liver"
        assert second.name
        assert first.color_rgb != second.color_rgb
        assert third.color_rgb == (0.0, 0.0, 1.0)

    def test_an_id_is_never_used_again(self, session: Session) -> None:
        first = session.add_object()
        session.remove_object(first)
        assert session.add_object() != first
        session.undo()
        assert session.add_object() != first

    def test_prompts_become_a_mask_on_the_scans_grid(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object("organ")
        session.add_prompt(organ, Point(phantom.inside_zyx))
        report = session.propagate(organ)
        mask = session.mask(organ)
        assert mask.geometry == phantom.volume.geometry
        assert mask.array.dtype == np.bool_
        assert mask.labels[1].name == "organ"
        assert dice(np.asarray(mask.array), np.asarray(phantom.truth.array)) > 0.9
        assert report.volume_ml == pytest.approx(mask.volume_ml())
        assert session.state.object(organ).report is not None
        assert not session.state.object(organ).is_stale

    def test_a_preview_shows_the_slice_and_changes_nothing(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object("organ")
        session.add_prompt(organ, Point(phantom.inside_zyx))
        before = session.state
        for plane in ("axial", "coronal", "sagittal"):
            axes = phantom.volume.geometry.axes_of(plane)
            index = phantom.inside_zyx[axes.normal]
            preview = session.preview(organ, plane=plane, index=index)
            truth = np.asarray(slice_of(phantom.truth.array, axes, index))
            assert preview.mask.shape == truth.shape
            assert dice(preview.mask, truth) > 0.9
        assert session.state == before

    def test_a_preview_after_propagation_shows_the_mask_where_nothing_was_said(
        self, session: Session, phantom: Phantom
    ) -> None:
        organ = session.add_object("organ")
        session.add_prompt(organ, Point(phantom.inside_zyx))
        axes = phantom.volume.geometry.axes_of("coronal")
        with pytest.raises(PromptError, match="no prompt lies on coronal slice"):
            session.preview(organ, plane="coronal", index=phantom.inside_zyx[axes.normal] + 2)
        session.propagate(organ)
        index = phantom.inside_zyx[axes.normal] + 2
        shown = session.preview(organ, plane="coronal", index=index)
        assert np.array_equal(shown.mask, slice_of(session.mask(organ).array, axes, index))

    def test_the_picture_of_a_slice_is_what_the_model_sees_and_changes_nothing(
        self, session: Session, phantom: Phantom
    ) -> None:
        before = session.state
        for plane in ("axial", "coronal", "sagittal"):
            axes = phantom.volume.geometry.axes_of(plane)
            index = phantom.inside_zyx[axes.normal]
            session.prepare(plane=plane, index=index)
            picture = session.picture(plane=plane, index=index)
            inside = slice_of(phantom.truth.array, axes, index)
            assert picture.shape == inside.shape
            assert picture.dtype == np.float32
            assert 0.0 <= picture.min() < picture.max() <= 1.0
            assert picture[inside].mean() > picture[~inside].mean() + 0.3
        assert session.state == before

    def test_candidates_come_when_asked_for(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        session.add_prompt(organ, Point(phantom.inside_zyx))
        axes = phantom.volume.geometry.axes_of("axial")
        index = phantom.inside_zyx[axes.normal]
        assert session.preview(organ, plane="axial", index=index).candidates == ()
        candidates = session.preview(organ, plane="axial", index=index, multimask=True).candidates
        assert len(candidates) == 3
        assert {candidate.shape for candidate in candidates} == {slice_of(phantom.truth.array, axes, index).shape}

    def test_undo_takes_back_the_last_prompt_and_its_mask(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object("organ")
        empty = session.state
        session.add_prompt(organ, Point(phantom.inside_zyx))
        prompted = session.state
        session.propagate(organ)
        segmented = session.state
        assert session.undo() == prompted == session.state
        assert session.undo() == empty
        assert session.redo() == prompted
        assert session.redo() == segmented
        assert session.mask(organ).array.any()

    def test_a_new_edit_closes_what_could_be_redone(self, session: Session) -> None:
        session.add_object("a")
        session.undo()
        session.add_object("b")
        with pytest.raises(SessionError, match="nothing to redo"):
            session.redo()

    def test_there_is_nothing_to_undo_at_first(self, session: Session) -> None:
        with pytest.raises(SessionError, match="nothing to undo"):
            session.undo()

    def test_a_prompt_can_be_taken_back_out_of_order(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        z, y, x = phantom.inside_zyx
        first, second = Point((z, y, x)), Point((z, y, x + 1))
        session.add_prompt(organ, first)
        session.add_prompt(organ, second)
        session.remove_prompt(organ, first)
        assert session.state.object(organ).prompts == (second,)
        with pytest.raises(SessionError, match="no such prompt"):
            session.remove_prompt(organ, first)

    def test_a_removed_prompt_no_longer_matters(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        session.add_prompt(organ, Point(phantom.inside_zyx))
        session.propagate(organ)
        right = session.mask(organ).array
        wrong = Point((0, 0, 0))
        session.add_prompt(organ, wrong)
        assert session.state.object(organ).is_stale
        session.remove_prompt(organ, wrong)
        session.propagate(organ)
        assert np.array_equal(session.mask(organ).array, right)

    def test_a_mask_is_stale_when_one_prompt_takes_the_place_of_another(
        self, session: Session, phantom: Phantom
    ) -> None:
        organ, click = session.add_object(), Point(phantom.inside_zyx)
        session.add_prompt(organ, click)
        session.propagate(organ)
        session.add_prompt(organ, Point((0, 0, 0), positive=False))
        session.remove_prompt(organ, click)
        assert session.state.object(organ).is_stale
        session.undo()
        session.undo()
        assert not session.state.object(organ).is_stale

    def test_two_objects_do_not_touch_each_other(self, session: Session, phantom: Phantom) -> None:
        organ, ground = session.add_object("organ"), session.add_object("ground")
        session.add_prompt(organ, Point(phantom.inside_zyx))
        session.propagate(organ)
        before = session.state.object(organ)
        session.add_prompt(ground, Point((0, 0, 0)))
        session.propagate(ground)
        assert session.state.object(organ) == before
        session.remove_object(ground)
        assert session.state.objects == (before,)

    def test_a_drawn_slice_and_a_box_are_prompts_too(self, session: Session, phantom: Phantom) -> None:
        truth = np.asarray(phantom.truth.array)
        axes = phantom.volume.geometry.axes_of(phantom.volume.geometry.native_plane)
        index = phantom.inside_zyx[axes.normal]
        drawn = np.zeros_like(truth)
        slice_of(drawn, axes, index)[...] = slice_of(truth, axes, index)
        held = np.argwhere(truth)
        session.set_overlap("allow")
        for prompt in (MaskPrompt(Mask(drawn, phantom.volume.geometry)), Box(tuple(held.min(0)), tuple(held.max(0)))):
            organ = session.add_object()
            session.add_prompt(organ, prompt)
            session.propagate(organ)
            assert dice(np.asarray(session.mask(organ).array), truth) > 0.9

    def test_a_cancelled_propagation_leaves_the_state_before_it(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        session.add_prompt(organ, Point(phantom.inside_zyx))
        before = session.state

        def stop(done: int, total: int) -> None:
            if done >= 2:
                raise Cancelled("enough")

        with pytest.raises(Cancelled):
            session.propagate(organ, on_progress=stop)
        assert session.state == before

    def test_progress_ends_at_its_total(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        session.add_prompt(organ, Point(phantom.inside_zyx))
        calls: list[tuple[int, int]] = []
        session.propagate(organ, on_progress=lambda done, total: calls.append((done, total)))
        assert calls[-1][0] == calls[-1][1]
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)

    def test_a_failed_edit_changes_nothing(self, session: Session) -> None:
        organ = session.add_object()
        before = session.state
        with pytest.raises(PromptError, match="outside the scan"):
            session.add_prompt(organ, Point((999, 0, 0)))
        with pytest.raises(PromptError, match="no prompt"):
            session.propagate(organ)
        with pytest.raises(SessionError, match="no mask yet"):
            session.mask(organ)
        assert session.state == before

    def test_an_object_is_renamed_coloured_coded_locked_and_hidden_step_by_step(self, session: Session) -> None:
        organ = session.add_object("organ", code=CODES["liver"])
        before = session.state
        session.change_object(organ, name="liver", color_rgb=(0.0, 1.0, 0.0), visible=False)
        changed = session.state.object(organ)
        assert (changed.name, changed.color_rgb, changed.visible) == ("liver", (0.0, 1.0, 0.0), False)
        assert changed.code == CODES["liver"]  # what is not given stays
        session.change_object(organ, code=None)
        assert session.state.object(organ).code is None
        session.undo()
        session.undo()
        assert session.state == before

    def test_a_locked_object_is_changed_by_nothing(self, session: Session, phantom: Phantom) -> None:
        organ, click = session.add_object("organ"), Point(phantom.inside_zyx)
        session.add_prompt(organ, click)
        session.propagate(organ)
        session.change_object(organ, locked=True)
        before = session.state
        for edit in (
            lambda: session.add_prompt(organ, click),
            lambda: session.remove_prompt(organ, click),
            lambda: session.remove_object(organ),
            lambda: session.propagate(organ),
            lambda: session.accept_slice(organ, whole_slice(phantom), plane="axial", index=0),
        ):
            with pytest.raises(SessionError, match="locked; unlock it first"):
                edit()
        assert session.state == before
        session.set_overlap("overwrite")
        other = session.add_object("other", mask=Mask(np.ones_like(phantom.truth.array), phantom.volume.geometry))
        assert session.state.object(organ) == before.object(organ)
        assert not (session.mask(other).array & session.mask(organ).array).any()

    def test_an_existing_mask_becomes_an_object(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object("organ", mask=phantom.truth)
        assert np.array_equal(session.mask(organ).array, phantom.truth.array)
        assert not session.state.object(organ).is_stale
        session.undo()
        assert session.state.objects == ()

    def test_by_default_an_object_does_not_take_anothers_voxels(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object("organ", mask=phantom.truth)
        whole = Mask(np.ones_like(phantom.truth.array), phantom.volume.geometry)
        rest = session.add_object("rest", mask=whole)
        assert np.array_equal(session.mask(organ).array, phantom.truth.array)
        assert np.array_equal(session.mask(rest).array, ~phantom.truth.array)

    def test_overwriting_takes_voxels_and_undo_gives_them_back(self, session: Session, phantom: Phantom) -> None:
        truth = np.asarray(phantom.truth.array)
        whole = session.add_object("whole", mask=Mask(np.ones_like(truth), phantom.volume.geometry))
        session.set_overlap("overwrite")
        organ = session.add_object("organ", mask=phantom.truth)
        assert np.array_equal(session.mask(organ).array, truth)
        assert np.array_equal(session.mask(whole).array, ~truth)
        session.undo()
        assert session.mask(whole).array.all()

    def test_both_may_have_a_voxel_where_that_is_allowed(self, session: Session, phantom: Phantom) -> None:
        session.set_overlap("allow")
        one, other = (session.add_object(mask=phantom.truth) for _ in range(2))
        assert np.array_equal(session.mask(one).array, session.mask(other).array)
        with pytest.raises(InputError, match="did you mean 'overwrite'"):
            session.set_overlap("overwrit")  # type: ignore[arg-type]

    def test_nothing_changes_in_the_protected_region(self, session: Session, phantom: Phantom) -> None:
        truth = np.asarray(phantom.truth.array)
        shut = np.zeros_like(truth)
        shut[:, : phantom.inside_zyx[1]] = True
        session.protect(Mask(shut, phantom.volume.geometry))
        organ = session.add_object("organ")
        session.add_prompt(organ, Point(phantom.inside_zyx))
        session.propagate(organ)
        found = np.asarray(session.mask(organ).array)
        assert not (found & shut).any()
        assert dice(found, truth & ~shut) > 0.9
        session.protect(None)
        session.propagate(organ)
        assert dice(np.asarray(session.mask(organ).array), truth) > 0.9

    def test_a_drawn_slice_is_in_the_mask_and_replaces_what_was_said_there(
        self, session: Session, phantom: Phantom
    ) -> None:
        organ = session.add_object("organ")
        session.add_prompt(organ, Point(phantom.inside_zyx))
        session.propagate(organ)
        before = np.array(session.mask(organ).array)
        axes = phantom.volume.geometry.axes_of("axial")
        index = phantom.inside_zyx[axes.normal]
        drawn = np.zeros(slice_of(before, axes, index).shape, bool)
        drawn[3:9, 4:11] = True
        session.accept_slice(organ, drawn, plane="axial", index=index)
        after = np.array(session.mask(organ).array)
        assert np.array_equal(slice_of(after, axes, index), drawn)
        slice_of(after, axes, index)[...] = slice_of(before, axes, index)
        assert np.array_equal(after, before)  # the other slices are as they were
        (prompt,) = session.state.object(organ).prompts  # the click that was there gave way
        assert isinstance(prompt, MaskPrompt)
        assert np.array_equal(session.preview(organ, plane="axial", index=index).mask, drawn)
        session.accept_slice(organ, ~drawn, plane="axial", index=index)
        assert len(session.state.object(organ).prompts) == 1
        session.undo()
        session.undo()
        assert np.array_equal(session.mask(organ).array, before)

    def test_an_empty_or_misshapen_drawing_is_refused(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        with pytest.raises(PromptError, match="expected at least one voxel"):
            session.accept_slice(organ, ~whole_slice(phantom), plane="axial", index=0)
        with pytest.raises(PromptError, match="in array order, got \\(2, 2\\)"):
            session.accept_slice(organ, np.ones((2, 2)), plane="axial", index=0)

    def test_beyond_the_reach_the_earlier_mask_stays(self, session: Session, phantom: Phantom) -> None:
        geometry = phantom.volume.geometry
        axes = geometry.axes_of(geometry.native_plane)
        here = phantom.inside_zyx[axes.normal]
        others = tuple({0, 1, 2} - {axes.normal})
        organ = session.add_object()
        session.add_prompt(organ, Point(phantom.inside_zyx))

        def held() -> list[int]:
            return np.flatnonzero(session.mask(organ).array.any(axis=others)).tolist()

        session.propagate(organ, reach="up")
        assert held()[0] == here
        assert held()[-1] > here
        top = held()[-1]
        session.propagate(organ, reach="down")
        assert held()[0] < here
        assert held()[-1] == top  # of the first propagation
        assert dice(np.asarray(session.mask(organ).array), np.asarray(phantom.truth.array)) > 0.9
        indices = [line.index for line in session.state.object(organ).report.slices]  # type: ignore[union-attr]
        assert indices == sorted(set(indices))
        session.undo()
        session.propagate(organ, reach=(here - 1, here - 1))
        assert held() == [here - 1, *range(here, top + 1)]
        for wrong in ((5, 2), (0, 9999), "sideways"):
            with pytest.raises(InputError):
                session.propagate(organ, reach=wrong)  # type: ignore[arg-type]

    def test_a_refinement_stays_near_where_it_was_made(self, session: Session, phantom: Phantom) -> None:
        geometry = phantom.volume.geometry
        axes = geometry.axes_of(geometry.native_plane)
        organ = session.add_object()
        session.add_prompt(organ, Point(phantom.inside_zyx))
        session.propagate(organ)
        before = np.array(session.mask(organ).array)
        index = phantom.inside_zyx[axes.normal] + 2
        whole = slice_of(before, axes, index)
        row, column = np.argwhere(whole)[0]
        at = np.zeros(3)
        at[[axes.normal, axes.row, axes.column]] = index, row, column
        session.add_prompt(organ, Point(tuple(at), positive=False))
        expected = session.preview(organ, plane=geometry.native_plane, index=index).mask
        session.refine(organ)
        after = np.array(session.mask(organ).array)
        assert not after[tuple(at.astype(int))]
        assert np.array_equal(slice_of(after, axes, index), expected)  # what the preview promised
        changed = np.flatnonzero((before ^ after).any(axis=tuple({0, 1, 2} - {axes.normal})))
        assert phantom.inside_zyx[axes.normal] not in changed  # a slice with a prompt of its own
        assert not session.state.object(organ).is_stale
        with pytest.raises(SessionError, match="nothing to refine"):
            session.refine(organ)
        session.undo()
        assert np.array_equal(session.mask(organ).array, before)

    def test_refining_without_a_mask_propagates(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        session.add_prompt(organ, Point(phantom.inside_zyx))
        session.refine(organ)
        assert dice(np.asarray(session.mask(organ).array), np.asarray(phantom.truth.array)) > 0.9

    def test_an_extra_prompt_counts_for_one_preview(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object()
        before = session.state
        axes = phantom.volume.geometry.axes_of("axial")
        index = phantom.inside_zyx[axes.normal]
        shown = session.preview(organ, plane="axial", index=index, extra=Point(phantom.inside_zyx))
        assert dice(shown.mask, np.asarray(slice_of(phantom.truth.array, axes, index))) > 0.9
        assert session.state == before
        with pytest.raises(PromptError, match="no prompt lies on"):
            session.preview(organ, plane="axial", index=index)

    def test_a_preview_leaves_others_what_is_theirs(self, session: Session, phantom: Phantom) -> None:
        session.add_object("first", mask=phantom.truth)
        second = session.add_object("second")
        session.add_prompt(second, Point(phantom.inside_zyx))
        axes = phantom.volume.geometry.axes_of("axial")
        index = phantom.inside_zyx[axes.normal]
        assert not session.preview(second, plane="axial", index=index).mask.any()
        session.set_overlap("allow")
        assert session.preview(second, plane="axial", index=index).mask.any()

    def test_an_object_is_measured(self, session: Session, phantom: Phantom) -> None:
        organ = session.add_object("organ", mask=phantom.truth)
        assert session.measurements(organ).volume_ml == pytest.approx(phantom.truth.volume_ml())

    def test_subscribers_hear_of_every_step_and_of_the_end(self, session: Session, tmp_path: Path) -> None:
        heard: list[tuple[str, int | None]] = []
        unsubscribe = session.subscribe(lambda event: heard.append((event.kind, event.object_id)))
        states: list[SessionState] = []
        session.subscribe(lambda event: states.append(event.state))
        organ = session.add_object()
        session.change_object(organ, name="liver")
        session.undo()
        session.redo()
        session.save(tmp_path / "work.json")
        assert heard == [("changed", organ), ("changed", organ), ("changed", None), ("changed", None), ("saved", None)]
        assert [len(state.objects) for state in states[:2]] == [1, 1]
        unsubscribe()
        session.close()
        assert len(heard) == 5
        assert len(states) == 6

    def test_masks_are_saved_as_one_label_map_with_names(
        self, session: Session, phantom: Phantom, tmp_path: Path
    ) -> None:
        with pytest.raises(SessionError, match="nothing to save"):
            session.save_masks(tmp_path / "none.nii.gz")
        organ = session.add_object("liver", color_rgb=(0.2, 0.4, 0.6), code=CODES["liver"], mask=phantom.truth)
        rest = session.add_object("rest", mask=Mask(~np.asarray(phantom.truth.array), phantom.volume.geometry))
        session.save_masks(tmp_path / "all.seg.nrrd")
        saved = load_mask(tmp_path / "all.seg.nrrd", like=phantom.volume)
        assert np.array_equal(saved.array, np.where(phantom.truth.array, organ, rest))
        assert saved.labels[organ] == Label("liver", (0.2, 0.4, 0.6), CODES["liver"])
        session.save_masks(tmp_path / "one.nii.gz", object_ids=[rest])
        assert load_mask(tmp_path / "one.nii.gz").values == (rest,)

    def test_overlapping_objects_are_named_and_go_into_a_folder(
        self, session: Session, phantom: Phantom, tmp_path: Path
    ) -> None:
        session.set_overlap("allow")
        for name in ("liver", "left lobe / 2"):
            session.add_object(name, mask=phantom.truth)
        with pytest.raises(SessionError, match=r"left lobe / 2 \(2\) overlaps liver \(1\)"):
            session.save_masks(tmp_path / "both.nii.gz")
        assert not list(tmp_path.iterdir())
        session.save_masks(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["01_liver.nii.gz", "02_left_lobe_2.nii.gz"]

    def test_an_unknown_object_is_named_with_the_known_ones(self, session: Session) -> None:
        session.add_object("liver")
        for verb in (session.mask, session.propagate, session.remove_object):
            with pytest.raises(SessionError, match=r"no object 99 .* \(liver\)"):
                verb(99)

    def test_a_closed_session_says_so(self, session: Session) -> None:
        organ = session.add_object()
        session.close()
        session.close()
        for verb in (session.add_object, session.undo, session.redo, lambda: session.mask(organ)):
            with pytest.raises(SessionError, match="closed"):
                verb()


def whole_slice(phantom: Phantom) -> npt.NDArray[np.bool_]:
    """All of the first axial slice, in array order."""
    axes = phantom.volume.geometry.axes_of("axial")
    return np.ones(slice_of(phantom.truth.array, axes, 0).shape, bool)
