"""The codes are the DICOM standard's, and 3D Slicer's line for them reads back."""

import pytest
from pydicom.sr._concepts_dict import concepts

from voxsam.errors import FormatError, VolumeError
from voxsam.terminology import CODES, Code, code_for

MEANINGS: dict[str, set[str]] = {}
for _entries in concepts["SCT"].values():
    for _value, (_meaning, _) in _entries.items():
        MEANINGS.setdefault(_value, set()).add(_meaning.casefold())


def test_every_code_and_its_words_stand_in_the_dictionary_of_the_dicom_standard() -> None:
    parts = {part for code in CODES.values() for part in (code, code.side, code.region) if part}
    assert not {part for part in parts if part.meaning.casefold() not in MEANINGS.get(part.value, set())}
    assert {code.category.value for code in CODES.values() if code.category} <= set(MEANINGS)  # worded as Slicer does


def test_the_table_covers_the_common_organs_and_lesions_of_either_side() -> None:
    assert len({code.value for code in CODES.values()}) >= 60
    assert code_for("left kidney") != code_for("right kidney") != code_for("kidney")


def test_a_name_is_looked_up_exactly_but_for_case_spacing_and_where_the_side_stands() -> None:
    assert code_for("  Left_Kidney ") == code_for("KIDNEY-LEFT") == CODES["left kidney"]
    assert code_for("liver tumour") == code_for("liver_tumor")
    assert code_for("kidneys") is None
    assert code_for("") is None
    assert code_for("left") is None


def test_every_code_survives_slicers_line() -> None:
    assert [Code.from_entry(code.entry) for code in CODES.values()] == list(CODES.values())


def test_a_side_and_a_region_stand_where_slicer_looks_for_them() -> None:
    types, regions = (
        "Segmentation category and type - 3D Slicer General Anatomy list",
        "Anatomic codes - DICOM master list",
    )
    assert CODES["left kidney"].entry == (
        f"{types}~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left~{regions}~^^~^^"
    )
    assert CODES["liver tumor"].entry == (
        f"{types}~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^~{regions}"
        f"~SCT^10200004^Liver~^^"
    )


def test_a_line_of_another_terminology_reads_with_its_own_scheme() -> None:
    code = Code.from_entry("My list~99LOCAL^k^Thing~99LOCAL^7^Gadget~^^~Regions~^^~^^|")
    assert code == Code("7", "Gadget", "99LOCAL", category=Code("k", "Thing", "99LOCAL"))


@pytest.mark.parametrize("entry", ["", "liver", "a~b^c^d", "list~SCT^1^a~^^~^^", "list~SCT^1^a~SCT^2~^^"])
def test_a_torn_line_is_refused_in_one_line(entry: str) -> None:
    with pytest.raises(FormatError, match=r"^expected [^\n]+$"):
        Code.from_entry(entry)


@pytest.mark.parametrize("parts", [("", "Liver"), ("1", " "), ("1", "a~b"), ("1|", "a"), ("1", "a\nb")])
def test_a_code_that_no_line_could_hold_is_refused(parts: tuple[str, str]) -> None:
    with pytest.raises(VolumeError, match="a code has a value, a meaning and a scheme"):
        Code(*parts)
