"""An object goes on as it was where the model is not sure, and as the model says where it is."""

import numpy as np
import pytest

from voxsam.persistence import settled

ROWS, COLUMNS = np.indices((40, 48))
BEFORE = np.hypot(ROWS - 20, COLUMNS - 20) < 9
BOUNDS = (12, 29, 12, 29)
MOVED = np.hypot(ROWS - 20, COLUMNS - 24) < 9


def logits_of(mask: np.ndarray, sureness: float) -> np.ndarray:
    return np.where(mask, sureness, -sureness).astype(np.float32)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_an_answer_without_doubt_stays_as_it_is() -> None:
    answer = logits_of(MOVED, 3.0)
    assert settled(answer, 1.0, BEFORE, BOUNDS) is answer


@pytest.mark.parametrize("quality", [0.5, 0.7, 0.9])
def test_a_sure_answer_of_good_quality_moves_the_object(quality: float) -> None:
    assert dice(settled(logits_of(MOVED, 6.0), quality, BEFORE, BOUNDS) > 0, MOVED) > 0.94


def test_the_less_is_expected_of_an_undecided_answer_the_more_the_last_shape_says() -> None:
    answer = logits_of(MOVED, 0.4)
    alike = [dice(settled(answer, quality, BEFORE, BOUNDS) > 0, BEFORE) for quality in (0.9, 0.7, 0.5, 0.2)]
    assert alike == sorted(alike)
    assert alike[0] < 0.9
    assert alike[-1] == 1.0


def test_an_undecided_answer_neither_grows_nor_shrinks_what_was_there() -> None:
    for value in (-0.1, 0.1):
        found = settled(np.full(BEFORE.shape, value, np.float32), 0.0, BEFORE, BOUNDS) > 0
        assert dice(found, BEFORE) > 0.97


def test_an_object_at_the_frame_stays_in_it() -> None:
    before = np.hypot(ROWS, COLUMNS) < 9
    found = settled(np.full(before.shape, -0.2, np.float32), 0.3, before, (0, 9, 0, 9)) > 0
    assert dice(found, before) > 0.9
