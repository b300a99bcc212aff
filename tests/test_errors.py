"""The exception tree."""

from __future__ import annotations

import pytest

from voxsam import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_belongs_to_the_tree(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.VoxsamError)


@pytest.mark.parametrize("name", errors.__all__)
def test_the_drawing_of_the_tree_names_every_error(name: str) -> None:
    assert name in (errors.__doc__ or "")


def test_no_error_is_unlisted() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if getattr(value, "__module__", "") == errors.__name__ and isinstance(value, type)
    }
    assert found == set(errors.__all__)


@pytest.mark.parametrize("kind", [errors.GeometryError, errors.VolumeError, errors.PromptError, errors.WindowError])
def test_wrong_input_is_also_a_value_error(kind: type[errors.VoxsamError]) -> None:
    assert issubclass(kind, ValueError)


def test_a_file_that_does_not_fit_is_no_value_error() -> None:
    assert not issubclass(errors.FormatError, ValueError)


def test_an_unknown_name_is_answered_with_the_nearest_and_all_that_are_known() -> None:
    message = errors.unknown_name("window", "Soft_tisue", ["bone", "soft-tissue"])
    assert message == "no window 'Soft_tisue'; did you mean 'soft-tissue'? Known: bone, soft-tissue"
    assert errors.unknown_name("window", "xyz", ["bone"]) == "no window 'xyz'. Known: bone"
