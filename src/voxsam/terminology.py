"""What an object is, in the words of SNOMED-CT: the codes that 3D Slicer and DICOM segmentations carry.

A `Code` is one concept. Its ``entry`` is 3D Slicer's line for it, which a ``.seg.nrrd`` keeps beside the segment::

    LIST~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left~LIST~^^~^^
    list~category~type~its side~list~region~its side

The codes of `CODES` are those of the DICOM standard's context groups (PS3.16).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from voxsam.errors import FormatError, VolumeError

__all__ = ["CODES", "Code", "code_for"]

_TYPES_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGIONS_LIST = "Anatomic codes - DICOM master list"
_RESERVED = re.compile(r"[~^|\r\n]")


@dataclass(frozen=True)
class Code:
    """One coded concept.

    Parameters
    ----------
    value : str
        The code itself, such as ``"10200004"``.
    meaning : str
        What it says, in words.
    scheme : str
        Who gave it: ``"SCT"`` is SNOMED-CT.
    category : Code, optional
        What kind of thing it is; an anatomical structure unless said.
    side : Code, optional
        Left or right.
    region, region_side : Code, optional
        Where it is, for what may be anywhere, such as a tumour.

    Raises
    ------
    VolumeError
        If a part is empty, or holds a character that separates parts (``~ ^ |`` or a line's end).

    Examples
    --------
    >>> Code("10200004", "Liver")
    Code(value='10200004', meaning='Liver', scheme='SCT', category=None, side=None, region=None, region_side=None)
    >>> Code.from_entry(CODES["left kidney"].entry) == CODES["left kidney"]
    True
    """

    value: str
    meaning: str
    scheme: str = "SCT"
    category: Code | None = None
    side: Code | None = None
    region: Code | None = None
    region_side: Code | None = None

    def __post_init__(self) -> None:
        for part in (self.value, self.meaning, self.scheme):
            if not part.strip() or _RESERVED.search(part):
                raise VolumeError(
                    f"a code has a value, a meaning and a scheme without ~ ^ | or line ends, "
                    f"got {self.value!r}, {self.meaning!r}, {self.scheme!r}"
                )

    @property
    def entry(self) -> str:
        """Everything in one line, as 3D Slicer writes it; `from_entry` reads it back."""
        kind = _triple(self.category or STRUCTURE)
        place = f"{_REGIONS_LIST}~{_triple(self.region)}~{_triple(self.region_side)}"
        return f"{_TYPES_LIST}~{kind}~{_triple(self)}~{_triple(self.side)}~{place}"

    @classmethod
    def from_entry(cls, entry: str) -> Code:
        """Read such a line.

        Raises
        ------
        FormatError
            If it is not one.
        """
        parts = entry.rstrip("|").split("~")
        if len(parts) < 3:
            raise FormatError(
                f"expected list~category~type~side~list~region~side, each scheme^value^meaning: {entry!r}"
            )
        _, category, kind, side, _, region, region_side = (*parts, *[""] * 7)[:7]
        concept = _concept(kind)
        if concept is None:
            raise FormatError(f"expected a type written as scheme^value^meaning, got {kind!r} in {entry!r}")
        known = _concept(category)
        return cls(
            concept.value,
            concept.meaning,
            concept.scheme,
            category=None if known == STRUCTURE else known,
            side=_concept(side),
            region=_concept(region),
            region_side=_concept(region_side),
        )


def code_for(name: str) -> Code | None:
    """Return the code of a common structure or lesion; None where the table has none.

    Case, underscores, hyphens and spaces do not matter, nor whether the side stands first or last.

    Examples
    --------
    >>> code_for("Liver").value
    '10200004'
    >>> code_for("kidney_left") == code_for("left kidney")
    True
    >>> code_for("livers") is None
    True
    """
    return CODES.get(_plain(name))


def _plain(name: str) -> str:
    words = re.split(r"[\s_-]+", name.strip().casefold())
    if words[-1] in _SIDES:
        words = [words[-1], *words[:-1]]
    return " ".join(words)


def _triple(code: Code | None) -> str:
    return f"{code.scheme}^{code.value}^{code.meaning}" if code else "^^"


def _concept(text: str) -> Code | None:
    """Read ``scheme^value^meaning``; None where it is empty or torn."""
    parts = [part.strip() for part in text.split("^")]
    return Code(parts[1], parts[2], parts[0]) if len(parts) == 3 and all(parts) else None


STRUCTURE = Code("123037004", "Anatomical Structure")
_TISSUE = Code("85756007", "Tissue")
_LESION = Code("49755003", "Morphologically Altered Structure")
_SIDES = {"left": Code("7771000", "Left"), "right": Code("24028007", "Right")}

#: Names (the first is the usual one), value and meaning. One of a pair stands for either side.
_SINGLE = (
    ("brain", "12738006", "Brain"),
    ("brainstem|brain stem", "119238007", "Brain Stem"),
    ("cerebellum", "113305005", "Cerebellum"),
    ("pituitary|pituitary gland", "56329008", "Pituitary"),
    ("spinal cord", "2748008", "Spinal cord"),
    ("skull", "89546000", "Skull"),
    ("mandible", "91609006", "Mandible"),
    ("larynx", "4596009", "Larynx"),
    ("tongue", "21974007", "Tongue"),
    ("thyroid|thyroid gland", "69748006", "Thyroid"),
    ("trachea", "44567001", "Trachea"),
    ("esophagus|oesophagus", "32849002", "Esophagus"),
    ("thymus", "9875009", "Thymus"),
    ("heart", "80891009", "Heart"),
    ("left ventricle", "87878005", "Left ventricle"),
    ("right ventricle", "53085002", "Right ventricle"),
    ("left atrium", "82471001", "Left atrium"),
    ("right atrium", "73829009", "Right atrium"),
    ("aorta", "15825003", "Aorta"),
    ("pulmonary artery", "81040000", "Pulmonary artery"),
    ("superior vena cava", "48345005", "Superior vena cava"),
    ("inferior vena cava|postcava", "64131007", "Inferior vena cava"),
    ("portal vein", "32764006", "Portal vein"),
    ("liver", "10200004", "Liver"),
    ("gallbladder|gall bladder", "28231008", "Gallbladder"),
    ("spleen", "78961009", "Spleen"),
    ("pancreas", "15776009", "Pancreas"),
    ("stomach", "69695003", "Stomach"),
    ("duodenum", "38848004", "Duodenum"),
    ("small bowel|small intestine", "30315005", "Small Intestine"),
    ("colon", "71854001", "Colon"),
    ("rectum", "34402009", "Rectum"),
    ("bladder|urinary bladder", "89837001", "Bladder"),
    ("prostate", "41216001", "Prostate"),
    ("uterus", "35039007", "Uterus"),
    ("sternum", "56873002", "Sternum"),
    ("vertebra", "51282000", "Vertebra"),
    ("sacrum", "54735007", "Sacrum"),
    ("lymph node", "59441001", "Lymph Node"),
)
_PAIRED = (
    ("hippocampus", "5366008", "Hippocampus"),
    ("lateral ventricle", "66720007", "Lateral Ventricle"),
    ("eye", "81745001", "Eye"),
    ("optic nerve", "18234004", "Optic nerve"),
    ("parotid|parotid gland", "45289007", "Parotid gland"),
    ("submandibular gland", "54019009", "Submandibular gland"),
    ("lung", "39607008", "Lung"),
    ("breast", "76752008", "Breast"),
    ("kidney", "64033007", "Kidney"),
    ("adrenal|adrenal gland", "23451007", "Adrenal gland"),
    ("ureter", "87953007", "Ureter"),
    ("ovary", "15497006", "Ovary"),
    ("testis", "40689003", "Testis"),
    ("seminal vesicle", "64739004", "Seminal Vesicle"),
    ("clavicle", "51299004", "Clavicle"),
    ("scapula", "79601000", "Scapula"),
    ("humerus", "85050009", "Humerus"),
    ("rib", "113197003", "Rib"),
    ("hip", "29836001", "Hip"),
    ("femur", "71341001", "Femur"),
    ("patella", "64234005", "Patella"),
    ("tibia", "12611008", "Tibia"),
)
_TISSUES = (
    ("bone", "272673000", "Bone"),
    ("muscle", "71616004", "Muscle"),
    ("fat", "55603005", "Fat"),
    ("skin", "39937001", "Skin"),
    ("cartilage", "309312004", "Cartilage"),
)
_LESIONS = (
    ("lesion", "52988006", "Lesion"),
    ("mass", "4147007", "Mass"),
    ("tumor|tumour|neoplasm", "108369006", "Neoplasm"),
    ("primary tumor|primary tumour", "372087000", "Neoplasm, Primary"),
    ("metastasis", "14799000", "Neoplasm, Secondary"),
    ("nodule", "27925004", "Nodule"),
    ("cyst", "367643001", "Cyst"),
    ("hemorrhage|haemorrhage", "50960005", "Hemorrhage"),
    ("hematoma|haematoma", "35566002", "Hematoma"),
    ("edema|oedema", "79654002", "Edema"),
    ("necrosis", "6574001", "Necrosis"),
    ("abscess", "44132006", "Abscess"),
    ("aneurysm", "85659009", "Aneurysm"),
    ("thrombus", "396339007", "Thrombus"),
    ("effusion", "41699000", "Effusion"),
)
#: A lesion whose region is in its name.
_PLACES = ("brain", "breast", "colon", "kidney", "liver", "lung", "pancreas", "prostate", "spleen")
_PLACED = ("lesion", "tumor", "tumour", "metastasis", "nodule", "cyst")


def _table() -> Iterator[tuple[str, Code]]:
    for names, value, meaning in (*_SINGLE, *_PAIRED):
        yield from ((name, Code(value, meaning)) for name in names.split("|"))
    for names, value, meaning in _PAIRED:
        for side, code in _SIDES.items():
            yield from ((f"{side} {name}", Code(value, meaning, side=code)) for name in names.split("|"))
    for names, value, meaning in _TISSUES:
        yield names, Code(value, meaning, category=_TISSUE)
    organs = {name: Code(value, meaning) for names, value, meaning in (*_SINGLE, *_PAIRED) for name in names.split("|")}
    for names, value, meaning in _LESIONS:
        for name in names.split("|"):
            yield name, Code(value, meaning, category=_LESION)
            if name in _PLACED:
                for place in _PLACES:
                    yield f"{place} {name}", Code(value, meaning, category=_LESION, region=organs[place])


#: Code by name, the usual name of each first.
CODES: Mapping[str, Code] = MappingProxyType(dict(_table()))
