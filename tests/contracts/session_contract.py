"""What every Session must do, wherever its model runs. Subclass it and provide the `session` and `phantom` fixtures."""

from __future__ import annotations

import numpy as np
import pytest

from phantoms import Phantom, dice
from voxsam.errors import Cancelled, PromptError, SessionError
from voxsam.prompts import Box, MaskPrompt, Point
from voxsam.session import Session
from voxsam.views import slice_of
from voxsam.volume import Mask


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
