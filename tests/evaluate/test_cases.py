"""Cases are found in a manifest, in a folder of pairs, in a MONAI datalist; and their truth's origin is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voxsam.errors import FormatError, InputError
from voxsam.evaluate.cases import Case, load_cases
from voxsam.evaluate.groups import group_of, modality_of, size_class


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_a_manifest_gives_its_evaluation_part_only(tmp_path: Path) -> None:
    touch(tmp_path, "eval/a__img.nii.gz", "eval/a__seg.nii.gz", "train/b__img.nii.gz", "train/b__seg.nii.gz")
    entry = {
        "dataset": "set",
        "case": "a",
        "patient": "p",
        "labels": {"2": "liver"},
        "modality": "CT",
        "body": "abdomen",
    }
    paths = {"image": "eval/a__img.nii.gz", "mask": "eval/a__seg.nii.gz"}
    train = {"case": "b", "image": "train/b__img.nii.gz", "mask": "train/b__seg.nii.gz"}
    document = {"eval": [entry | paths | {"ground_truth": "manual"}], "train": [train]}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    (case,) = load_cases(tmp_path)
    assert (case.name, case.patient, case.labels, case.modality) == ("a", "set/p", {2: "liver"}, "CT")
    assert load_cases(tmp_path / "manifest.json") == (case,)


@pytest.mark.parametrize(
    ("image", "mask", "name"),
    [
        ("imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz", "liver_1"),
        ("imagesTr/liver_1_0000.nii.gz", "labelsTr/liver_1.nii.gz", "liver_1_0000"),
        ("images/x.mha", "labels/x.mha", "x"),
        ("images/x.nii", "masks/x.nii", "x"),
        ("case7_img.nii.gz", "case7_seg.nii.gz", "case7"),
        ("deep/case7__image.nrrd", "deep/case7__label.nrrd", "case7"),
    ],
)
def test_pairs_are_found_by_folder_or_by_suffix(tmp_path: Path, image: str, mask: str, name: str) -> None:
    touch(tmp_path, image, mask, "readme.txt")
    (case,) = load_cases(tmp_path)
    assert (case.name, case.image, case.mask) == (name, tmp_path / image, tmp_path / mask)


def test_an_image_without_labels_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a.nii", "imagesTr/b.nii", "labelsTr/b.nii")
    assert [case.name for case in load_cases(tmp_path)] == ["b"]


def test_a_datalist_gives_every_entry_with_a_label_once(tmp_path: Path) -> None:
    touch(tmp_path, "i/a.nii.gz", "l/a.nii.gz", "i/b.nii.gz", "l/b.nii.gz", "i/t.nii.gz")
    document = {
        "name": "Spleen",
        "labels": {"0": "background", "1": "spleen"},
        "modality": {"0": "CT"},
        "numTest": 1,
        "test": ["i/t.nii.gz", {"image": "i/t.nii.gz"}],
        "training": [{"image": "i/a.nii.gz", "label": "l/a.nii.gz"}],
        "validation": [
            {"image": ["i/b.nii.gz"], "label": "l/b.nii.gz"},
            {"image": "i/a.nii.gz", "label": "l/a.nii.gz"},
        ],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    cases = load_cases(tmp_path)
    assert [(case.name, case.dataset, case.labels, case.modality) for case in cases] == [
        ("a", "Spleen", {1: "spleen"}, "CT"),
        ("b", "Spleen", {1: "spleen"}, "CT"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json", "is not json"),
        ("[]", "holds a list"),
        ("{}", "no image with a label"),
        ('{"eval": [{"case": "a"}]}', "lacks 'image'"),
        ('{"eval": [{"case": "a", "image": "no.nii", "mask": "no.nii"}]}', "listed files are missing"),
    ],
)
def test_a_bad_list_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(FormatError, match=says) as caught:
        load_cases(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_a_missing_one_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"expected images\*/ beside labels"):
        load_cases(tmp_path)
    with pytest.raises(FormatError, match="no evaluation data at"):
        load_cases(tmp_path / "nowhere")


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/i.nii", "a/l.nii", "b/i.nii", "b/l.nii")
    entries = [{"case": "x", "image": f"{k}/i.nii", "mask": f"{k}/l.nii"} for k in "ab"]
    (tmp_path / "manifest.json").write_text(json.dumps({"eval": entries}))
    with pytest.raises(InputError, match="called 'x'"):
        load_cases(tmp_path)


@pytest.mark.parametrize(
    ("reference", "case", "label", "expected"),
    [
        ("manual (BTCV/Synapse)", "case11", "liver", False),
        ("AI (TotalSegmentator output)", "ct", "liver", True),
        ("FreeSurfer labels", "test", "L hippocampus", True),
        ("lesion: human expert; gland/zones: AI (PI-CAI)", "t2_gland_bosma", "prostate", True),
        ("lesion: human expert; gland/zones: AI (PI-CAI)", "t2_zones_yuan", "PZ", True),
        ("lesion: human expert; gland/zones: AI (PI-CAI)", "lesion_original", "csPCa lesion", False),
        ("manual, MAIN hospital", "a", "liver", False),
        ("", "a", "liver", False),
    ],
)
def test_a_truth_that_a_model_made_is_known_by_its_words(reference: str, case: str, label: str, expected: bool) -> None:
    assert Case(case, Path("i"), Path("m"), reference=reference).made_by_model(label) == expected


@pytest.mark.parametrize(
    ("label", "group"),
    [
        ("edema", "tumour"),
        ("sarcoma GTV", "tumour"),
        ("csPCa lesion (grade 3)", "tumour"),
        ("aorta", "vessel"),
        ("IVC", "vessel"),
        ("portal+splenic vein", "vessel"),
        ("iliac_artery_left", "vessel"),
        ("left atrium", "heart"),
        ("LV blood pool", "heart"),
        ("L lateral ventricle", "brain"),
        ("vertebra L2", "bone"),
        ("esophagus", "bowel"),
        ("right kidney", "organ"),
        ("spinal cord", "cord"),
        ("something", "other"),
    ],
)
def test_labels_find_their_group(label: str, group: str) -> None:
    assert group_of(label) == group


def test_sizes_and_modalities_have_names() -> None:
    assert [size_class(mm) for mm in (3.0, 10.0, 39.9, 400.0)] == ["under 10 mm", "10-20 mm", "20-40 mm", "over 40 mm"]
    assert modality_of("CT / MR T2", "tptbox ct_vert ct") == "CT"
    assert modality_of("CT / MR", "spine_report unknown") == ""
