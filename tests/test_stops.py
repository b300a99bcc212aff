from __future__ import annotations

import numpy as np
import pytest

from voxsam.looks import Look
from voxsam.stops import LOOK_QUALITY, StopRules

LOOK = Look.of(np.linspace(0, 100, 1000))
HALF_ALIKE = np.concatenate([np.linspace(0, 100, 500), np.full(500, 400.0)])


def why_not(rules: StopRules, **said: float) -> str:
    given = {"area_mm2": 50.0, "overlap": 0.9, "quality": 0.9, **said}
    return rules.why_not(
        np.linspace(0, 100, 400), (50.0, given["area_mm2"]), given["overlap"], given["quality"], [LOOK]
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, ""),
        ({"area_mm2": 3.0}, "area 3.0 mm2 is below 4"),
        ({"area_mm2": 151.0}, "area grew 3.0 times, over 3"),
        ({"overlap": 0.19}, "overlap 0.19 is below 0.2"),
        ({"quality": 0.25}, "quality 0.25 is below 0.3"),
    ],
)
def test_the_first_rule_that_is_broken_is_named(said: dict[str, float], reason: str) -> None:
    assert why_not(StopRules(), **said) == reason


def test_an_empty_mask_ends_it() -> None:
    assert StopRules().why_not(np.zeros(0), (50.0, 0.0), 0.0, 0.9, [LOOK]) == "nothing was found"


def test_the_surer_the_model_the_less_likeness_is_asked() -> None:
    alike = LOOK.likeness(HALF_ALIKE)
    assert 0.4 < alike < 0.6
    rules = StopRules(min_likeness=alike + 0.05)

    def taken(quality: float | None) -> bool:
        return not rules.why_not(HALF_ALIKE, (50.0, 50.0), 0.9, quality, [LOOK])

    assert [taken(quality) for quality in (0.4, LOOK_QUALITY, 0.9, None)] == [False, False, True, False]


def test_one_prompted_slice_that_looks_alike_is_enough() -> None:
    other = Look.of(np.linspace(500, 600, 1000))
    values = np.linspace(0, 100, 400)
    assert not StopRules().why_not(values, (50.0, 50.0), 0.9, 0.7, [other, LOOK])
    assert StopRules().why_not(values, (50.0, 50.0), 0.9, 0.7, [other]).startswith("it looks like the prompted slices")


def test_no_likeness_asked_for_is_none() -> None:
    assert not StopRules(min_likeness=0.0).why_not(np.full(400, 1e6), (50.0, 50.0), 0.9, 0.31, [LOOK])
