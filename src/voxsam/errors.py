"""The exception tree: every error that voxsam raises on purpose.

::

    VoxsamError
    ├── InputError (ValueError)        something the caller gave does not fit
    │   ├── GeometryError              affine, shape or grid
    │   ├── VolumeError                voxel array or labels
    │   ├── PromptError                point, box, scribble, mask prompt or their file
    │   └── WindowError                window name or numbers, enhancement
    ├── FormatError                    a file that is missing, torn, or not what it should be
    ├── ModelError                     unknown model, or a request the model cannot meet
    │   └── WeightsError               weights missing, of another model, or with a wrong hash
    ├── StoreError                     the embedding store cannot be read or written
    ├── SessionError                   an object or step that the session does not have
    └── Cancelled                      raised inside ``on_progress`` to stop long work
        └── Superseded                 a newer request or an edit took the place of the running one

A message says what was expected, what came, and the way out. The command line prints it on one line and
exits with 2; anything outside this tree is a fault of voxsam and exits with 1.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "Cancelled",
    "FormatError",
    "GeometryError",
    "InputError",
    "ModelError",
    "PromptError",
    "SessionError",
    "StoreError",
    "Superseded",
    "VolumeError",
    "VoxsamError",
    "WeightsError",
    "WindowError",
]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Word the message for a name that a table does not hold.

    Examples
    --------
    >>> unknown_name("model", "sam-vitb", ["compact", "sam-vit-b"])
    "no model 'sam-vitb'; did you mean 'sam-vit-b'? Known: compact, sam-vit-b"
    """
    return f"no {kind} {name!r}{known_names(name, known)}"


def known_names(name: str, known: Iterable[str]) -> str:
    """Word the rest of such a message: the nearest name, and all that are known.

    Examples
    --------
    >>> known_names("axal", ["auto", "axial"])
    "; did you mean 'axial'? Known: auto, axial"
    """
    known = list(known)
    near = get_close_matches(name.lower().replace("_", "-"), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} Known: {', '.join(known)}"


class VoxsamError(Exception):
    """Base of every error that voxsam raises on purpose."""


class InputError(VoxsamError, ValueError):
    """Something the caller gave does not fit."""


class GeometryError(InputError):
    """An affine, a shape or a pair of grids does not fit."""


class VolumeError(InputError):
    """A voxel array or a label table does not fit."""


class PromptError(InputError):
    """A prompt is empty, outside the scan, or belongs to another scan."""


class WindowError(InputError):
    """A window or an enhancement is unknown or impossible."""


class FormatError(VoxsamError):
    """A file is missing, torn, or not what it should be."""


class ModelError(VoxsamError):
    """A model is unknown, or cannot do what was asked of it."""


class WeightsError(ModelError):
    """Weights are missing, of another model, damaged, or unsafe to read."""


class StoreError(VoxsamError):
    """The embedding store cannot be read or written."""


class SessionError(VoxsamError):
    """The session does not have the object or the step that was asked for."""


class Cancelled(VoxsamError):  # noqa: N818 - a request to stop, not a fault
    """Raise this inside ``on_progress`` to stop the work; state stays as it was before."""


class Superseded(Cancelled):
    """A newer request, or an edit, took the place of this one; state is as if it had not been asked."""
