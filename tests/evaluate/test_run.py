"""From cases on disk to reports on disk, in one process and in several."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import FloodFillModel
from voxsam.errors import Cancelled, FormatError, InputError, ModelError
from voxsam.evaluate import Evaluation, Method, Plan, Rules, evaluate, load_cases, summarise, write_reports
from voxsam.evaluate.pictures import FOUND_RGB, TRUTH_RGB, picture_of
from voxsam.evaluate.reports import markdown_report, slice_table
from voxsam.evaluate.scores import Evidence

PROTOCOLS_2D = ("slice-box", "slice-clicks")
BASELINES_2D = ("flood", "filled-box", "filled-ellipse")


def timeless(evaluation: Evaluation) -> list[dict[str, object]]:
    return [
        {name: value for name, value in score.to_json().items() if name != "seconds"} for score in evaluation.scores
    ]


@pytest.fixture(scope="module")
def evaluation(cases_dir: Path) -> Evaluation:
    plan = Plan(PROTOCOLS_2D, (Method("fake", model=FloodFillModel()), *BASELINES_2D), rules=Rules(slices_per_label=2))
    return evaluate(load_cases(cases_dir), plan)


def test_every_method_answers_every_target(evaluation: Evaluation) -> None:
    boxes = {(s.method, s.target) for s in evaluation.scores if s.step == "box"}
    assert len(boxes) == 4 * 4 * 2
    assert {s.method for s in evaluation.scores if s.protocol == "slice-clicks"} == {"fake", "flood"}
    assert {s.group for s in evaluation.scores} == {"tumour"}


def test_a_truth_made_by_a_model_is_not_counted(evaluation: Evaluation) -> None:
    assert {score.case for score in evaluation.scores if not score.counted} == {"permuted"}
    summary = summarise(evaluation.scores)
    everything = summary.find("all", "slice-box", "fake", "box")
    assert everything is not None
    assert everything.labels == 3


def test_workers_change_nothing_but_the_time(cases_dir: Path) -> None:
    cases = load_cases(cases_dir)
    plan = Plan(PROTOCOLS_2D, BASELINES_2D, rules=Rules(slices_per_label=1))
    seen: list[tuple[int, int]] = []
    alone = evaluate(cases, plan)
    together = evaluate(cases, plan, workers=2, on_progress=lambda done, total: seen.append((done, total)))
    assert timeless(alone) == timeless(together)
    assert [p.png for p in alone.pictures] == [p.png for p in together.pictures]
    assert (seen[0], seen[-1]) == ((0, 4), (4, 4))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_evaluation_can_be_cancelled(cases_dir: Path, workers: int) -> None:
    def stop(done: int, total: int) -> None:
        if done or workers == 1:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        evaluate(load_cases(cases_dir), Plan(PROTOCOLS_2D, ("flood",)), workers=workers, on_progress=stop)


def test_cases_and_labels_are_chosen_by_words_and_by_number(cases_dir: Path) -> None:
    cases = load_cases(cases_dir)
    assert [case.name for case in Plan(("slice-box",), ("flood",), only=("TILT",)).choose(cases)] == ["tilted"]
    assert [case.name for case in Plan(("slice-box",), ("flood",), limit=2).choose(cases)] == ["sphere", "permuted"]
    with pytest.raises(InputError, match="holds any of nothing"):
        Plan(("slice-box",), ("flood",), only=("nothing",)).choose(cases)


def test_a_plan_that_cannot_run_is_refused_at_birth() -> None:
    with pytest.raises(InputError, match="can take part in slice-clicks"):
        Plan(("slice-clicks",), ("filled-box",))
    with pytest.raises(InputError, match="did you mean 'cvpr25'"):
        Plan(("cvpr24",), ("flood",))
    with pytest.raises(InputError, match="needs a protocol and a method"):
        Plan((), ("flood",))


def test_nothing_large_enough_is_said(cases_dir: Path) -> None:
    plan = Plan(("slice-box",), ("flood",), rules=Rules(minimum_pixels=100_000))
    with pytest.raises(InputError, match="100000 pixels"):
        evaluate(load_cases(cases_dir), plan)


def test_the_reports_agree_and_read_back(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_reports(evaluation, tmp_path / "out")
    assert [file.name for file in files] == ["evaluation.json", "scores.csv", "evaluation.md", "evaluation.html"]
    document = json.loads(files[0].read_text())
    with files[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert document["schema"] == "voxsam-evaluation/1"
    assert document["weights_sha256"] == {"fake": FloodFillModel().weights_sha256}
    assert [float(row["dice"]) for row in rows] == [round(score.dice, 5) for score in evaluation.scores]
    means = {
        (line["scope"], line["protocol"], line["method"], line["column"]): line["mean"] for line in document["summary"]
    }
    assert means["all", "slice-box", "fake", "box"] > means["all", "slice-box", "filled-box", "box"]


def test_the_table_names_methods_down_and_prompts_across(evaluation: Evaluation) -> None:
    table = slice_table(summarise(evaluation.scores), ("fake", "filled-box")).splitlines()
    assert table[0] == "| Dice | box | 1 click | 3 clicks | 5 clicks |"
    assert table[2].startswith("| fake | 0.9")
    assert table[3].endswith("| - | - | - |")


def test_markdown_tables_are_whole(evaluation: Evaluation) -> None:
    text = markdown_report(evaluation, summarise(evaluation.scores))
    assert "### fake less each other method, paired" in text
    assert "truth made by a model (1 labels, 2 targets)" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1


def test_the_page_shows_the_worst_first_and_holds_its_pictures(evaluation: Evaluation, tmp_path: Path) -> None:
    page = write_reports(evaluation, tmp_path)[3].read_text()
    assert "http" not in page
    assert page.count("data:image/png;base64,") == len(evaluation.pictures) > 0
    section = page[page.index("filled-box: the worst") :]
    shown = [
        float(value) for value in re.findall(r"<figcaption><b>([\d.]+)</b>", section[: section.index("</details>")])
    ]
    assert shown == sorted(shown)


def test_names_from_a_file_cannot_break_the_page(evaluation: Evaluation, tmp_path: Path) -> None:
    from dataclasses import replace

    nasty = tuple(replace(score, label_name="<script>|x", dataset="a|b") for score in evaluation.scores[:8])
    page = write_reports(replace(evaluation, scores=nasty), tmp_path)
    assert "<script" not in page[3].read_text()
    assert "a/b" in page[2].read_text()


def test_a_folder_that_cannot_be_made_is_one_clear_line(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError, match="choose another output"):
        write_reports(evaluation, tmp_path / "file" / "out")


def test_a_picture_outlines_truth_and_answer_the_right_way_round(evaluation: Evaluation) -> None:
    import io

    truth, found = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    truth[5:15, 5:15], found[40:50, 5:15] = True, True  # the truth in the first rows
    for flip in (False, True):
        evidence = Evidence(
            evaluation.scores[0], np.full((60, 60), 0.5, np.float32), truth, found, (2.0, 1.0), (flip, False)
        )
        rgb = np.asarray(Image.open(io.BytesIO(picture_of(evidence).png)))
        assert rgb.shape[0] / rgb.shape[1] == pytest.approx(60 * 2.0 / 26.0, rel=0.02)
        rows_truth = np.argwhere((rgb == TRUTH_RGB).all(axis=2))[:, 0]
        rows_found = np.argwhere((rgb == FOUND_RGB).all(axis=2))[:, 0]
        assert (rows_truth.mean() < rows_found.mean()) != flip


def test_an_answer_without_a_mask_is_drawn_whole(evaluation: Evaluation) -> None:
    empty = np.zeros((20, 30), bool)
    evidence = Evidence(evaluation.scores[0], np.zeros((20, 30), np.float32), empty, empty, (1.0, 1.0), (False, False))
    assert picture_of(evidence, longest_side=60).png.startswith(b"\x89PNG")


@pytest.mark.realdata
def test_baselines_run_on_real_scans(data_dir: Path) -> None:
    cases = [case for case in load_cases(data_dir) if case.dataset in ("acdc_cardiac_cine_mr", "imlab_lung_ct")][:3]
    plan = Plan(PROTOCOLS_2D, ("flood", "filled-ellipse"), rules=Rules(slices_per_label=1))
    evaluation = evaluate(cases, plan)
    summary = summarise(evaluation.scores)
    ellipse = summary.find("all", "slice-box", "filled-ellipse", "box")
    assert ellipse is not None
    assert 0.5 < ellipse.mean < 1.0


@pytest.mark.realdata
def test_the_origin_of_every_real_truth_is_known(data_dir: Path) -> None:
    apart = {case.dataset for case in load_cases(data_dir) for name in case.labels.values() if case.made_by_model(name)}
    assert apart == {"totalsegmentator_examples", "voxelmorph_brain_t1", "prostatex0000_picai11373"}


def test_what_a_model_computed_with_is_in_every_report(cases_dir: Path, tmp_path: Path) -> None:
    method = Method("small", model="compact")
    plan = Plan(
        ("slice-box",), (method,), rules=Rules(slices_per_label=1), limit=1, backend="onnxruntime", device="cpu"
    )
    found = evaluate(load_cases(cases_dir), plan)
    assert {name: found.models["small"][name] for name in ("backend", "precision")} == {
        "backend": "onnxruntime", "precision": "fp32",
    }  # fmt: skip
    files = write_reports(found, tmp_path)
    document = json.loads(files[0].read_text())
    assert (document["plan"]["backend"], document["models"]) == ("onnxruntime", found.models)
    for page in files[2:]:
        assert "small: onnxruntime in fp32 on cpu" in page.read_text()


def test_a_backend_that_cannot_do_it_is_said_before_anything_is_read() -> None:
    with pytest.raises(ModelError, match="onnxruntime computes in fp32"):
        Plan(("slice-box",), ("compact",), backend="onnxruntime", precision="bf16")
