"""The optional packages of an evaluation, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from voxsam.errors import InputError

__all__ = ["require"]


def require(module: str) -> Any:
    """Import an optional module, or say in one line how to get it.

    Parameters
    ----------
    module : str
        Such as ``"skimage.segmentation"``.

    Raises
    ------
    InputError
        If its package is not installed; names the command.

    Examples
    --------
    >>> require("no_such_package.module")
    Traceback (most recent call last):
    ...
    voxsam.errors.InputError: this part of an evaluation needs 'no_such_package': pip install "voxsam[evaluate]"
    """
    package = module.split(".", 1)[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".", 1)[0] != package:
            raise
        raise InputError(f"this part of an evaluation needs '{package}': pip install \"voxsam[evaluate]\"") from error
