"""Ways to open a session on a model in this process: a scan, a journal, a session file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from voxsam.edits import AddObject, AddPrompt
from voxsam.errors import SessionError, VoxsamError
from voxsam.history import History
from voxsam.journal import Journal, default_sessions_dir
from voxsam.local_session import LocalSession, facts_of_session
from voxsam.models.base import PromptableModel
from voxsam.segment import PlaneChoice, WindowChoice, Workspace
from voxsam.session_file import Look, SessionDocument, objects_placed, read_session, session_to_json
from voxsam.session_journal import Restored, SessionJournal, begun_from, find_journal, require_scan, restored
from voxsam.state import ObjectState, SessionState
from voxsam.volume import Volume

__all__ = ["LocalSession", "find_journal", "load_session", "open_session"]


def open_session(
    volume: Volume,
    *,
    model: PromptableModel | str = "compact",
    window: WindowChoice = "auto",
    plane: PlaneChoice = "auto",
    enhance: Iterable[str] = (),
    cache_dir: Path | str | None = None,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    history_mb: float = 256,
    journal: Path | str | None = None,
) -> LocalSession:
    """Open a scan to work on.

    Parameters
    ----------
    volume : Volume
        Never written to.
    model : PromptableModel or str
        A model, or the name of one to load.
    window, plane, enhance, cache_dir, device, backend, precision
        As `voxsam.segment.segment_volume` takes them.
    history_mb : float
        Budget for undo and redo.
    journal : Path, "auto" or None
        Where every edit is kept as it is made, so that a crash loses nothing. A journal that exists is gone on with,
        undo and redo included (see `find_journal`). ``"auto"``: a new one in the user's folder of sessions, from the
        first edit on. None: nothing is kept.

    Returns
    -------
    LocalSession
        Its ``problems`` say what of a journal could not be restored, and where ``"auto"`` cannot write.

    Raises
    ------
    WindowError, ModelError, StoreError
        If a window, an enhancement or a model is unknown, or a named cache cannot be written.
    SessionError
        If the journal is of another scan, in use by another session, or cannot be written.

    Examples
    --------
    >>> session = open_session(scan, model="compact")  # doctest: +SKIP
    >>> liver = session.add_object("liver")  # doctest: +SKIP
    >>> session.add_prompt(liver, voxsam.Point((42, 210, 180)))  # doctest: +SKIP
    >>> report = session.propagate(liver)  # doctest: +SKIP
    >>> session.mask(liver).volume_ml()  # doctest: +SKIP
    1432.7
    """
    begun, opened = _journal_at(journal, volume, history_mb)
    try:
        workspace = Workspace.open(
            volume,
            model=model,
            window=window,
            enhance=enhance,
            cache_dir=cache_dir,
            device=device,
            backend=backend,
            precision=precision,
        )
        kept, problems = _kept(journal, opened, workspace, plane)
        begun = replace(begun, problems=(*begun.problems, *problems))
        return LocalSession(workspace, plane=plane, begun=begun, journal=kept)
    except BaseException:  # even Ctrl-C: its lock must not outlive what failed to open
        if opened is not None:
            opened.close()
        raise


def load_session(
    path: str | os.PathLike[str],
    volume: Volume,
    *,
    any_scan: bool = False,
    model: PromptableModel | str | None = None,
    cache_dir: Path | str | None = None,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    history_mb: float = 256,
    journal: Path | str | None = None,
) -> LocalSession:
    """Open a session that was saved as JSON: its objects, prompts and masks, and how the scan was looked at.

    Parameters
    ----------
    path : path-like
        As `Session.save` wrote it. What is whole of a damaged file is opened; the session's ``problems`` name the rest.
    volume : Volume
        The session's own scan.
    any_scan : bool
        True: take the session of another scan too, such as a resampled copy. Its prompts are placed by their world
        positions; masks are left out.
    model : PromptableModel or str, optional
        The session's own, by its name, unless given.
    cache_dir, device, backend, precision, history_mb, journal
        As for `open_session`; a journal has to be a new one.

    Returns
    -------
    LocalSession

    Raises
    ------
    SessionError
        If the file is missing or no session, or it is of another scan.
    ModelError
        If its model is unknown here; give another.
    """
    document = read_session(path)
    own = document.is_of(volume)
    if not own and not any_scan:
        require_scan(document.parts.get("scan"), volume, document.name)
    if isinstance(journal, Path | str) and journal != "auto" and Path(journal).exists():
        raise SessionError(f"the journal {journal} exists already; give a new name, or open_session to go on with it")
    look, trouble = _look_of(document)
    workspace = Workspace.open(
        volume,
        model=model or str(document.model.get("name") or "compact"),
        window=look.windows,
        enhance=look.enhance,
        cache_dir=cache_dir,
        device=device,
        backend=backend,
        precision=precision,
    )
    if not own:
        kept, problems = _kept(journal, None, workspace, look.plane)
        objects, left_out = objects_placed(document, volume)
        begun = Restored(History(SessionState(), budget_mb=history_mb), problems=(*trouble, *left_out, *problems))
        return _filled(LocalSession(workspace, plane=look.plane, begun=begun, journal=kept), objects)
    begun = begun_from(document, volume, history_mb=history_mb)
    begun = replace(begun, problems=(*trouble, *begun.problems, *_other_weights(document, workspace)))
    kept, problems = _kept(journal, None, workspace, look.plane, begun.history)
    begun = replace(begun, problems=(*begun.problems, *problems))
    return LocalSession(workspace, plane=look.plane, begun=begun, journal=kept)


def _look_of(document: SessionDocument) -> tuple[Look, tuple[str, ...]]:
    try:
        return document.look, ()
    except SessionError as error:
        return Look(), (f"{error}; the usual settings are used",)


def _other_weights(document: SessionDocument, workspace: Workspace) -> tuple[str, ...]:
    """Say so where the model is not the one that made the masks."""
    used, model = document.model, workspace.store.model
    if used.get("weights_sha256") in (None, model.weights_sha256):
        return ()
    return (
        f"the masks of {document.name} were made by {used.get('name')} with weights "
        f"{str(used['weights_sha256'])[:12]}; what comes is made by {model.card.name} with {model.weights_sha256[:12]}",
    )


def _filled(session: LocalSession, objects: Iterable[ObjectState]) -> LocalSession:
    """Begin a session with objects and prompts, as edits of its own."""
    for item in objects:
        session.perform(AddObject(item.id, item.name, item.color_rgb, item.code))
        for prompt in item.prompts:
            session.perform(AddPrompt(item.id, prompt))
    return session


def _journal_at(journal: Path | str | None, volume: Volume, history_mb: float) -> tuple[Restored, Journal | None]:
    """Read a journal that exists, and lock it; nothing of it is changed before it is known to be of this scan."""
    if journal is None or journal == "auto" or not Path(journal).exists():
        return Restored(History(SessionState(), budget_mb=history_mb)), None
    opened = Journal.reopen(Path(journal))  # before it is read: another session may be at its last edit
    try:
        begun, records = restored(Path(journal), volume, history_mb=history_mb)
        opened.go_on_after(records)
    except VoxsamError:
        opened.close()
        raise
    return begun, opened


def _kept(
    journal: Path | str | None,
    opened: Journal | None,
    workspace: Workspace,
    plane: PlaneChoice,
    begun: History | None = None,
) -> tuple[SessionJournal | None, tuple[str, ...]]:
    """Make what keeps the edits; with a line where it cannot by itself."""
    if journal is None:
        return None, ()
    if journal == "auto" and not _can_write(default_sessions_dir()):
        return None, (f"nothing is saved by itself: {default_sessions_dir()} cannot be written to",)

    def facts() -> Mapping[str, Any]:
        return facts_of_session(workspace, plane)

    start = None
    if begun is not None:
        start = partial(session_to_json, workspace.volume, begun.now, begun.edits, **facts())
    path = None if journal == "auto" else Path(journal)
    return SessionJournal(workspace.volume, facts, journal=opened, path=path, start=start), ()


def _can_write(folder: Path) -> bool:
    """Say whether files can be made in a folder, which is made where it does not exist."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
