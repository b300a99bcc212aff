"""What every test gets: one thread, no network, the folder of real scans."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when torch or numpy load; several small tests at once beat threads

#: The repository's own folder.
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real scans: ``$VOXSAM_DATA``, else ``shared/data`` beside the clone; tests without it are skipped."""
    folder = Path(os.environ.get("VOXSAM_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "manifest.json").is_file():
        pytest.skip("no real scans here: set VOXSAM_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def sample_dir() -> Path:
    """Folder of the committed sample scans."""
    return ROOT / "sample_data"


def _is_local(address: Any) -> bool:
    return not isinstance(address, tuple) or str(address[0]) in {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse connections that leave this machine, and fail the test that tried; loopback stays open."""
    tried: list[Any] = []
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if not _is_local(address):
            tried.append(address)
            raise ConnectionRefusedError(f"tests have no network: {address}")
        connect(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None and not _is_local((host,)):
            tried.append(host)
            raise socket.gaierror(socket.EAI_AGAIN, f"tests have no network: {host}")
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    yield
    if tried and request.node.get_closest_marker("offline") is None:
        pytest.fail(f"this test reached for the network: {tried}")
