"""Downloads: whole, verified, with progress, or one clear line. The server is on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from voxsam.download import _Progress, download, reason_of
from voxsam.errors import Cancelled, FormatError, WeightsError

CONTENT = bytes(range(256)) * 12_000  # about 3 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/scan" else 404)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_arrives_whole_with_progress(server: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "deep" / "scan.nrrd"
    assert download(f"{server}/scan", path, sha256=SHA256, on_progress=lambda *state: seen.append(state)) == path
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    path.write_bytes(CONTENT)
    assert download("http://127.0.0.1:9/scan", path, sha256=SHA256) == path


def test_another_content_than_published_leaves_nothing(server: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"another file than the published one.*Put it there"):
        download(f"{server}/scan", tmp_path / "x", sha256="0" * 64, error=WeightsError, advice="Put it there")
    assert not list(tmp_path.iterdir())


def test_a_cancelled_download_leaves_nothing(server: str, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        download(f"{server}/scan", tmp_path / "x", sha256=SHA256, on_progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_refusal_says_what_the_server_said(server: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the server says 404"):
        download(f"{server}/nothing", tmp_path / "x", sha256=SHA256)


def test_no_server_is_no_connection(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no connection"):
        download("http://127.0.0.1:9/scan", tmp_path / "x", sha256=SHA256)


def test_reasons_are_said_in_words() -> None:
    assert reason_of(requests.Timeout()) == "the server does not answer"
    assert reason_of(OSError(28, "No space left on device")) == "No space left on device"


def test_progress_without_a_known_size_still_counts() -> None:
    seen: list[tuple[int, int]] = []
    progress = _Progress(lambda done, total: seen.append((done, total)))
    progress.update(10)
    progress.update(10)
    progress.reset()
    progress.update(0)
    progress.close()
    assert seen == [(10, 10), (20, 20), (20, 20)]
