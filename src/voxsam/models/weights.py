"""Weights files: find, download, verify, read safely, load strictly. No other module opens one."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from voxsam.download import download as fetch
from voxsam.download import file_digest
from voxsam.errors import WeightsError
from voxsam.models.base import ModelCard
from voxsam.models.checkpoints import looks_like, state_within

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["cache_folder", "download", "ensure", "find", "load_state", "read_state", "state_sha256", "verify"]

#: A folder of weights files that a user or an administrator filled.
FOLDER_VARIABLE = "VOXSAM_WEIGHTS"
NAMES_SHOWN = 3
LARGEST_HEADER_BYTES = 10**8  # of a safetensors file, by its own rules

PACKAGED = Path(__file__).resolve().parent.parent / "weights"


def cache_folder() -> Path:
    """Return the folder that downloads go to, whether or not it exists.

    Examples
    --------
    >>> cache_folder().name
    'weights'
    """
    import pooch

    return Path(pooch.os_cache("voxsam")) / "weights"


def find(card: ModelCard, weights: str | Path | None = None, *, verified: bool = True) -> Path | None:
    """Look for a model's weights on this machine, and verify what is found by name.

    In this order: the file that the caller names, the file that ships with voxsam, the folder in ``$VOXSAM_WEIGHTS``,
    the cache.

    Parameters
    ----------
    card : ModelCard
    weights : path, optional
        A file, or a folder that holds the file under its published name. A named file may hold other weights than
        the published ones, such as a fine-tuned copy, so only its layout is checked, when it is read.
    verified : bool
        False: do not read the file for its hash, which takes seconds where it is large. Enough for a list.

    Returns
    -------
    Path or None
        None: not here yet.

    Raises
    ------
    WeightsError
        If `weights` does not exist, or a file found by its name has another hash than the published one.

    Examples
    --------
    >>> from voxsam.models.registry import card
    >>> find(card("sam-vit-b"), "no_such_file.pth")
    Traceback (most recent call last):
    voxsam.errors.WeightsError: no weights file for sam-vit-b at no_such_file.pth
    """
    if weights is not None:
        return _named(card, Path(weights))
    if card.weights is None:
        path = PACKAGED / f"{card.name}.safetensors"
        return path if path.is_file() else None
    for folder in _folders():
        path = folder / card.weights.filename
        if path.is_file():
            verify(path, card.weights.digest if verified else None)
            return path
    return None


def ensure(
    card: ModelCard,
    weights: str | Path | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Find a model's weights, or download them where their licence asks no more than to be named.

    Parameters
    ----------
    card : ModelCard
    weights : path, optional
        As `find` takes it.
    on_progress : callable, optional
        Called with (bytes done, bytes in all) during a download; raising `Cancelled` in it stops the work.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
        If they are neither here nor can be had, with the place to put them by hand.
    """
    found = find(card, weights)
    if found is not None:
        return found
    if card.weights is None:
        raise WeightsError(
            f"the weights of {card.name} ship with voxsam but {PACKAGED / f'{card.name}.safetensors'} is missing; "
            "install voxsam again, or give a weights file"
        )
    if not card.permissive:
        raise WeightsError(
            f"the weights of {card.name} are not here, and their licence, {card.licence}, is to be accepted first: "
            f"voxsam models pull {card.name} --accept-licence"
        )
    return download(card, on_progress=on_progress)


def download(
    card: ModelCard, folder: Path | None = None, *, on_progress: Callable[[int, int], None] | None = None
) -> Path:
    """Download a model's published weights; the caller has shown the licence.

    The file appears under its name only when it is whole and its hash is right; one that broke off is taken up again.

    Parameters
    ----------
    card : ModelCard
    folder : Path, optional
        Without: the cache.
    on_progress : callable, optional
        Called with (bytes done, bytes in all); raising `Cancelled` in it stops the work.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
        If there is nothing to download, no network, no room, or the file has another hash than the published one.
    """
    published = card.weights
    if published is None:
        raise WeightsError(f"{card.name} has no published weights file to download; its weights ship with voxsam")
    return fetch(
        published.url,
        (folder or cache_folder()) / published.filename,
        sha256=published.sha256,
        md5=published.md5,
        size_mb=published.size_mb,
        on_progress=on_progress,
        error=WeightsError,
        advice=f"Fetch it by hand and put it there, or into a folder named by ${FOLDER_VARIABLE}",
    )


def verify(path: Path, digest: str | None) -> None:
    """Check a file against its published hash; without one there is nothing to check.

    Parameters
    ----------
    path : Path
    digest : str or None
        As `WeightsFile.digest` gives it.

    Raises
    ------
    WeightsError
        If the file cannot be read or has another hash.

    Examples
    --------
    >>> verify(Path("weights.pth"), None)
    """
    if digest is None:
        return
    try:
        found = file_digest(path, digest)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {_first_line(error)}") from error
    if found != digest:
        expected, got = (text.replace(":", " ") for text in (digest, found))
        raise WeightsError(
            f"{path} is not the published file: expected {expected}, got {got}. "
            "It may be half downloaded: delete it, and voxsam fetches it again. "
            "To use other weights, name their file (--weights, or weights= in Python)"
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file or a torch checkpoint, never running code from it.

    Parameters
    ----------
    path : Path
        What kind of file it is is told by its content. Of a training's checkpoint, the network's weights are taken.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    WeightsError
        If the file is missing, torn, holds more than tensors, or is something else.

    Examples
    --------
    >>> import tempfile, torch
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": torch.ones(2)}, Path(folder) / "tiny.safetensors")
    ...     read_state(Path(folder) / "tiny.safetensors")
    {'weight': tensor([1., 1.])}
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise WeightsError(f"cannot read weights from {path}: {_first_line(error)}") from error
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER_BYTES:
        return _read_safetensors(path)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return _read_checkpoint(path)
    what = "an empty file" if not start else "a web page" if start.lstrip().startswith(b"<") else "something else"
    raise WeightsError(f"{path} is {what}, not a safetensors file or a torch checkpoint; download it again")


def load_state(module: nn.Module, state: Mapping[str, Tensor], *, source: Path, model: str) -> None:
    """Give a network its weights, every one of them and no other, in single precision.

    Parameters
    ----------
    module : Module
        May be on the meta device; it takes the tensors as they are, without a copy.
    state : mapping of str to Tensor
    source : Path
        Where `state` was read from, for the message.
    model : str
        Name of the model, for the message.

    Raises
    ------
    WeightsError
        If a weight is missing, unknown, of another shape, or not a floating-point number.

    Examples
    --------
    >>> import torch
    >>> load_state(torch.nn.Linear(2, 1), {"weight": torch.ones(1, 2)}, source=Path("tiny.pth"), model="tiny")
    Traceback (most recent call last):
    voxsam.errors.WeightsError: tiny.pth does not hold the weights of tiny: 1 missing (bias). Give the file ...
    """
    expected = module.state_dict()
    faults = [
        _fault("missing", expected.keys() - state.keys()),
        _fault("unknown", state.keys() - expected.keys()),
        _fault(
            "of another shape",
            (
                f"{name}: expected {tuple(expected[name].shape)}, got {tuple(state[name].shape)}"
                for name in expected.keys() & state.keys()
                if expected[name].shape != state[name].shape
            ),
        ),
        _fault("not floating point", (name for name, tensor in state.items() if not tensor.is_floating_point())),
    ]
    if any(faults):
        like = looks_like(state)
        hint = f", it looks like {' or '.join(like)}" if like and model not in like else ""
        raise WeightsError(
            f"{source} does not hold the weights of {model}{hint}: {'; '.join(filter(None, faults))}. "
            "Give the file that belongs to this model, or name the model that the file belongs to"
        )
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True, assign=True)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash weights by their names, types, shapes and values, wherever they are and whatever file they came from.

    Parameters
    ----------
    state : mapping of str to Tensor

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> import torch
    >>> state_sha256({"weight": torch.ones(2)}) == state_sha256({"weight": torch.zeros(2)})
    False
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _folders() -> list[Path]:
    named = os.environ.get(FOLDER_VARIABLE)
    return [*([Path(named).expanduser()] if named else []), cache_folder()]


def _named(card: ModelCard, path: Path) -> Path:
    path = path.expanduser()
    if path.is_dir() and card.weights is not None:
        path = path / card.weights.filename
    if not path.is_file():
        raise WeightsError(f"no weights file for {card.name} at {path}")
    return path


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is torn or no safetensors file ({_first_line(error)}); download it again"
        ) from error


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        with path.open("rb") as file, warnings.catch_warnings():  # opened here: torch goes by a path's suffix
            warnings.simplefilter("ignore", UserWarning)  # torch's doubts about a file that it then refuses
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, or is torn; it was not opened, because it could run code "
            f"({_refused(error)}). Ask its author for a safetensors file"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is torn or no torch checkpoint ({_first_line(error).split('. ')[0]}); download it again"
        ) from error
    state = state_within(content)
    if state is None:
        holds = f"a dict of {_shown(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"{path} must hold a state dict, names with tensors; it holds {holds}")
    return state


def _refused(error: Exception) -> str:
    """Pick what the safe reader stumbled over from its long advice, part of which is to read unsafely."""
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it asks for {wanted[1]}" if wanted else "it is no plain table of tensors"


def _fault(what: str, names: Iterable[str]) -> str:
    found = sorted(names)
    return f"{len(found)} {what} ({_shown(found)})" if found else ""


def _shown(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:NAMES_SHOWN]) + (", …" if len(found) > NAMES_SHOWN else "")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).split("\n")[0]
