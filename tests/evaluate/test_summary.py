"""Means are over labels, intervals over patients, differences paired; labels made by models stay apart."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from voxsam.evaluate.scores import Score
from voxsam.evaluate.summary import macro_mean, observe, summarise

BASE = Score(
    protocol="slice-box",
    method="compact",
    step="box",
    dataset="set",
    case="c1",
    patient="p1",
    modality="CT",
    body="abdomen",
    label=1,
    label_name="liver",
    group="organ",
    size_class="over 40 mm",
    counted=True,
    plane="axial",
    index=4,
    dice=0.5,
    seconds=0.1,
)


def scores_of(values: dict[tuple[str, str, int], float], **changes: object) -> list[Score]:
    """Make scores from (patient, label, slice) to Dice."""
    return [
        replace(BASE, case=patient, patient=patient, label_name=label, index=index, dice=value, **changes)  # type: ignore[arg-type]
        for (patient, label, index), value in values.items()
    ]


def test_each_label_counts_once_however_many_slices_it_has() -> None:
    scores = scores_of(
        {("p1", "liver", 1): 1.0, ("p1", "liver", 2): 1.0, ("p1", "liver", 3): 1.0, ("p1", "ivc", 1): 0.0}
    )
    estimate = macro_mean(observe(scores))
    assert (estimate.mean, estimate.labels, estimate.targets) == (0.5, 2, 4)


def test_each_case_of_a_label_counts_once() -> None:
    scores = scores_of({("p1", "liver", 1): 1.0, ("p1", "liver", 2): 1.0, ("p2", "liver", 1): 0.0})
    assert macro_mean(observe(scores)).mean == 0.5


def test_one_patient_has_no_interval_and_many_have_one_that_holds_the_mean() -> None:
    alone = macro_mean(observe(scores_of({("p1", "liver", 1): 0.7})))
    assert (alone.low, alone.high) == (0.7, 0.7)
    generator = np.random.default_rng(0)
    many = scores_of({(f"p{k}", "liver", 1): float(generator.uniform()) for k in range(40)})
    estimate = macro_mean(observe(many))
    assert estimate.low < estimate.mean < estimate.high
    spread = np.std([score.dice for score in many]) / np.sqrt(len(many))
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert estimate == macro_mean(observe(many))


def test_the_interval_draws_patients_and_not_slices() -> None:
    same = scores_of({(f"p{k}", "liver", i): 0.2 * k for k in range(4) for i in range(1)})
    more = scores_of({(f"p{k}", "liver", i): 0.2 * k for k in range(4) for i in range(50)})
    few, many = macro_mean(observe(same)), macro_mean(observe(more))
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


def test_nothing_cannot_be_averaged() -> None:
    with pytest.raises(ValueError, match="no observation"):
        macro_mean([])


def test_labels_that_a_model_made_are_in_no_other_scope() -> None:
    people = scores_of({("p1", "liver", 1): 0.8})
    made = scores_of({("p9", "spleen", 1): 0.1}, counted=False)
    summary = summarise(people + made)
    assert summary.scopes == (
        "all", "group: organ", "size: over 40 mm", "modality: CT", "truth made by a model"
    )  # fmt: skip
    everything = summary.find("all", "slice-box", "compact", "box")
    apart = summary.find("truth made by a model", "slice-box", "compact", "box")
    assert everything is not None
    assert apart is not None
    assert (everything.mean, everything.labels) == (0.8, 1)
    assert (apart.mean, apart.labels) == (0.1, 1)


def test_a_label_has_an_interval_of_its_own_over_its_patients() -> None:
    scores = scores_of({(f"p{k}", "liver", z): 0.5 + 0.1 * k for k in range(4) for z in range(k + 1)})
    scores += scores_of({("p0", "ivc", 1): 0.3, ("p0", "ivc", 2): 0.5})
    summary = summarise(scores)
    liver, ivc = (summary.by_label["slice-box", "set", label]["compact"]["box"] for label in ("liver", "ivc"))
    assert liver.mean == pytest.approx(0.65)  # of patients, however many slices each has
    assert 0.5 <= liver.low < liver.mean < liver.high <= 0.8
    assert (ivc.low, ivc.mean, ivc.high) == pytest.approx((0.4, 0.4, 0.4))
    assert summary.by_case["slice-box", "set", "p0"]["compact"]["box"] == pytest.approx((0.5 + 0.3 + 0.5) / 3)


def test_differences_are_taken_target_by_target() -> None:
    own = scores_of({("p1", "liver", 1): 0.9, ("p2", "liver", 1): 0.5})
    other = scores_of({("p1", "liver", 1): 0.7}, method="flood")  # says nothing of the second
    (line,) = [line for line in summarise(own + other).differences if line.scope == "all"]
    assert (line.method, line.estimate.targets) == ("flood", 1)
    assert line.estimate.mean == pytest.approx(0.2)


def test_clicks_give_noc() -> None:
    steps = [
        replace(BASE, protocol="slice-clicks", step=f"{n} clicks", dice=value)
        for n, value in enumerate((0.5, 0.82, 0.86, 0.88, 0.89), start=1)
    ]
    values = {seen.column: seen.value for seen in observe(steps)}
    assert (values["NoC@80"], values["NoC@85"], values["NoC@90"]) == (2, 3, 6)


def test_the_challenge_gives_areas_and_spoilt_clicks() -> None:
    dices = (0.6, 0.5, 0.7, 0.8, 0.8, 0.55)
    steps = [
        replace(BASE, protocol="cvpr25", step="box" if n == 0 else f"{n} clicks", dice=value, nsd=value / 2)
        for n, value in enumerate(dices)
    ]
    values = {seen.column: seen.value for seen in observe(steps)}
    assert values["AUC"] == pytest.approx(0.6 + 0.75 + 0.8 + 0.675)
    assert values["AUC NSD"] == pytest.approx(values["AUC"] / 2)
    assert values["spoilt clicks"] == pytest.approx(2 / 5)
    assert values["ended below its box"] == 1.0
    assert values["final NSD"] == pytest.approx(0.275)


def test_scores_become_documents() -> None:
    document = json.loads(json.dumps(BASE.to_json()))
    assert tuple(document) == Score.columns()
    line = summarise([BASE]).lines[0]
    assert json.loads(json.dumps(line.to_json()))["scope"] == "all"
