"""Predicted against true quality: what is compared, with whom, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.test_summary import BASE
from voxsam.evaluate.calibration import calibrations, iou_of_dice


def test_quality_is_compared_with_the_intersection_over_union_not_with_dice() -> None:
    scores = [replace(BASE, index=i, dice=d, quality=iou_of_dice(d)) for i, d in enumerate(np.linspace(0, 1, 20))]
    found = calibrations(scores)[0]
    assert (found.step, found.answers) == ("all", 20)
    assert found.correlation == pytest.approx(1.0)
    assert found.error == pytest.approx(0.0)


def test_a_model_that_thinks_too_well_of_itself_has_a_bias() -> None:
    scores = [replace(BASE, index=i, dice=d, quality=iou_of_dice(d) + 0.2) for i, d in enumerate(np.linspace(0, 1, 20))]
    assert calibrations(scores)[0].bias == pytest.approx(0.2)


def test_steps_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    clicks = [
        replace(BASE, step=step, index=i, dice=float(d), quality=float(generator.random()))
        for step in ("1 click", "2 clicks")
        for i, d in enumerate(generator.random(12))
    ]
    assert {(line.step, line.answers) for line in calibrations(clicks)} == {
        ("all", 24),
        ("1 click", 12),
        ("2 clicks", 12),
    }


def test_answers_without_a_prediction_and_truths_by_models_do_not_count() -> None:
    silent = [replace(BASE, index=i, dice=0.5) for i in range(20)]
    apart = [replace(BASE, index=i, dice=0.5, quality=0.5, counted=False) for i in range(20)]
    few = [replace(BASE, index=i, dice=0.5, quality=0.5) for i in range(9)]
    assert calibrations([*silent, *apart, *few]) == ()


def test_equal_answers_correlate_with_nothing() -> None:
    assert calibrations([replace(BASE, index=i, dice=0.5, quality=0.4) for i in range(12)])[0].correlation == 0.0
