"""replay: the edits of a session file, made again on its scan, give the same masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxsam.corrections import Part
from voxsam.edit_json import Codec
from voxsam.edits import Edit, Segmented
from voxsam.errors import ModelError, SessionError
from voxsam.local import LocalSession
from voxsam.models.base import PromptableModel
from voxsam.models.registry import CARDS, load_model
from voxsam.models.runtime import facts_of
from voxsam.segment import OnProgress, Workspace, package_versions
from voxsam.session_file import SessionDocument, edits_from_document, read_session, state_from_document
from voxsam.session_journal import require_scan
from voxsam.state import SessionState
from voxsam.volume import Volume

__all__ = ["Replay", "replay"]


@dataclass(frozen=True, eq=False)
class Replay:
    """A session made again.

    Parameters
    ----------
    session : LocalSession
        At its end; the caller closes it.
    differences : tuple of str
        What is not as it was: versions, weights, what the model computes with. A line each.
    changed : tuple of str
        The objects whose masks came out other than they were saved, with by how much. A line each.
    """

    session: LocalSession
    differences: tuple[str, ...]
    changed: tuple[str, ...]


def replay(
    document: SessionDocument | str | os.PathLike[str],
    volume: Volume,
    *,
    model: PromptableModel | None = None,
    device: str = "auto",
    cache_dir: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> Replay:
    """Make the edits of a session again.

    On the same machine, with the same versions and weights, the masks are the same to the voxel.

    Parameters
    ----------
    document : SessionDocument or path-like
        As `Session.save` wrote it.
    volume : Volume
        The session's own scan.
    model : PromptableModel, optional
        Instead of the one that the session names.
    device : str
        For a model that the session names.
    cache_dir : Path, "auto" or None
        Where embeddings are kept, see `voxsam.embeddings.EmbeddingStore`.
    on_progress : callable, optional
        Called as ``on_progress(done, total)``, in percent of each propagation; raising `Cancelled` in it stops.

    Returns
    -------
    Replay

    Raises
    ------
    SessionError
        If the file is missing, no session, damaged, or of another scan.
    ModelError
        If its model is unknown here.

    Examples
    --------
    >>> again = replay("work.json", scan)  # doctest: +SKIP
    >>> again.changed  # doctest: +SKIP
    ()
    """
    given = document if isinstance(document, SessionDocument) else read_session(document)
    require_scan(given.parts.get("scan"), volume, given.name)
    edits, problems = edits_from_document(given, Codec(volume))
    if given.problems or problems:
        raise SessionError(f"cannot replay {given.name} to its end: {(*given.problems, *problems)[0]}")
    look = given.look
    used, remarks = (model, ()) if model is not None else _model_of(given, device)
    workspace = Workspace.open(volume, model=used, window=look.windows, enhance=look.enhance, cache_dir=cache_dir)
    session = LocalSession(workspace, plane=look.plane)
    try:
        _perform(edits, session, on_progress)
    except BaseException:  # even Ctrl-C: nobody else will close it
        session.close()
        raise
    saved, _ = state_from_document(given, volume)
    differences = (*remarks, *_differences(given, used))
    return Replay(session, differences, _changed(saved, session.state))


def _perform(edits: Sequence[Edit], session: LocalSession, on_progress: OnProgress | None) -> None:
    total = sum(isinstance(edit, Segmented) for edit in edits)
    done = 0
    for edit in edits:
        session.perform(edit, on_progress=Part(done, total, on_progress) if on_progress else None)
        done += isinstance(edit, Segmented)


def _model_of(document: SessionDocument, device: str) -> tuple[PromptableModel, tuple[str, ...]]:
    """Load the model as it computed then; where it cannot here, as it can, with a line about it."""
    facts = document.model
    name = str(facts.get("name"))
    if name not in CARDS:
        raise ModelError(f"the session was made with model {name!r}, which is not known here; give it with model=")
    backend, precision = (str(facts.get(key, "auto")) for key in ("backend", "precision"))
    try:
        return load_model(name, device=device, backend=backend, precision=precision), ()
    except ModelError as error:
        loaded = load_model(name, device=device)
        return loaded, (f"it was computed with {backend} in {precision}, which cannot be had here: {error}",)


def _differences(document: SessionDocument, model: PromptableModel) -> tuple[str, ...]:
    """Name what may make a mask differ."""
    then, now = document.parts.get("versions"), package_versions()
    earlier = dict(then) if isinstance(then, Mapping) else {}
    lines = [
        f"{package} was {earlier.get(package)}, and is {version}"
        for package, version in now.items()
        if earlier.get(package) not in (version, None)
    ]
    facts = facts_of(model)
    for key in ("name", "weights_sha256", "backend", "precision", "device"):
        was, here = document.model.get(key), facts.get(key)
        if was is None or was == here:
            continue
        if key == "weights_sha256":
            lines.append(f"the weights were sha256 {str(was)[:12]}, and are sha256 {str(here)[:12]}")
        else:
            lines.append(f"the model's {key} was {was}, and is {here}")
    return tuple(lines)


def _changed(saved: SessionState, made: SessionState) -> tuple[str, ...]:
    lines = []
    for item in saved.objects:
        again = made.object(item.id).mask
        if item.mask is None or item.mask == again:
            continue
        other = again.to_array() if again is not None else False
        count = int((item.mask.to_array() ^ other).sum())
        lines.append(f"object {item.id} ({item.name}) differs from what was saved in {count} voxels")
    return tuple(lines)
