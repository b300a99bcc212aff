"""What a label is (vessel, tumour, organ, ...) and how large: the columns of a table, as data."""

from __future__ import annotations

import math
import re

__all__ = ["GROUPS", "SIZE_CLASSES_MM", "equivalent_diameter_mm", "group_of", "modality_of", "size_class"]

#: Group to the words that put a label into it; the first that matches wins.
GROUPS: dict[str, re.Pattern[str]] = {
    group: re.compile(words, re.IGNORECASE)
    for group, words in {
        "tumour": r"tumou?r|lesion|gtv|o?edema|necro|cancer|metasta|sarcoma|glioma|nodule|cyst\b",
        "vessel": r"aorta|vena|ivc\b|svc\b|arter|vein|vessel|iliac_(arter|ven)|portal|subclavian|brachiocephalic_(v|t)",
        "brain": r"cortex|white matter|ventricle|vent-|thalam|caudate|putamen|pallid|hippo|amygdala|csf|cerebell"
        r"|accumbens|brain|ventral dc|choroid|callosum|diencephalon|optic",
        "cord": r"spinal.cord|grey matter|gray matter|spinal canal",
        "heart": r"\b(lv|rv|la|ra)\b|myocard|atri|heart|blood pool",
        "bone": r"vertebra|corpus|arcus|spinous|costal|art (l|r)|rib|hip|sacrum|femur|humerus|scapula|clavic|sternum"
        r"|mandible|skull|endplate|disc|bone|cartilage",
        "muscle": r"muscle|gluteus|autochthon|iliopsoas|psoas",
        "bowel": r"bowel|colon|duodenum|stomach|o?esophagus|rectum",
        "organ": r"liver|spleen|kidney|pancrea|gallbladder|adrenal|lung|bladder|prostate|parotid|larynx|thyroid|trachea"
        r"|\b(pz|tz)\b|gland",
    }.items()
}

#: Upper limit of a size class's equivalent diameter in mm, and its name.
SIZE_CLASSES_MM: tuple[tuple[float, str], ...] = (
    (10.0, "under 10 mm"),
    (20.0, "10-20 mm"),
    (40.0, "20-40 mm"),
    (math.inf, "over 40 mm"),
)


def group_of(label_name: str) -> str:
    """Name the group of a label; ``"other"`` where none of its words is known.

    Examples
    --------
    >>> group_of("portal+splenic vein"), group_of("lung GTV"), group_of("thing")
    ('vessel', 'tumour', 'other')
    """
    return next((group for group, words in GROUPS.items() if words.search(label_name)), "other")


def equivalent_diameter_mm(extent: float, *, dimensions: int) -> float:
    """Diameter of the disc of an area in mm² (``dimensions=2``) or of the ball of a volume in mm³ (``3``).

    Examples
    --------
    >>> round(equivalent_diameter_mm(78.54, dimensions=2), 2)
    10.0
    """
    if dimensions == 2:
        return 2.0 * math.sqrt(extent / math.pi)
    return float(2.0 * (0.75 * extent / math.pi) ** (1.0 / 3.0))


def size_class(diameter_mm: float) -> str:
    """Name the size class of an equivalent diameter.

    Examples
    --------
    >>> size_class(10.0)
    '10-20 mm'
    """
    return next(name for limit, name in SIZE_CLASSES_MM if diameter_mm < limit)


def modality_of(described: str, name: str) -> str:
    """Find the one modality of a case in its description, or else in its name; ``""`` where that is not clear.

    Examples
    --------
    >>> modality_of("MR T2-SPIR", "case01"), modality_of("CT/MR T1/PET", "STS_002_PET"), modality_of("", "x")
    ('MR', 'PET', '')
    """
    found = _modalities(described)
    if len(found) != 1:
        among = _modalities(name)
        found = [modality for modality in among if modality in found] or ([] if found else among)
    return found[0] if len(found) == 1 else ""


def _modalities(text: str) -> list[str]:
    words = re.split(r"[^A-Za-z0-9]+", text.upper().replace("PT", "PET").replace("MRI", "MR"))
    return [modality for modality in ("CT", "MR", "PET", "US") if modality in words]
