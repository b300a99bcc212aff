"""Downloads: whole, verified, resumed, with progress, or one clear line. The server is on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from file_server import FileServer, serving
from voxsam.download import CHUNK_BYTES, TRIES, download, file_digest, reason_of
from voxsam.errors import Cancelled, FormatError, WeightsError

CONTENT = bytes(range(256)) * 14_000  # about 3.5 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(CONTENT) as site:
        yield site


def cancel_after(share: float) -> list[tuple[int, int]]:
    """A progress callback that stops the work, and what it saw."""

    class Stop(list[tuple[int, int]]):
        def __call__(self, done: int, total: int) -> None:
            self.append((done, total))
            if done >= share * total:
                raise Cancelled

    return Stop()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ── whole ────────────────────────────────────────────────────────────────────


def test_a_download_arrives_whole_with_progress(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "deep" / "scan.nrrd"
    assert download(server.url, path, sha256=SHA256, on_progress=lambda *state: seen.append(state)) == path
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) == -(-len(CONTENT) // CHUNK_BYTES)
    assert names(path.parent) == ["scan.nrrd"]


@pytest.mark.parametrize("digest", [{"sha256": SHA256}, {"md5": hashlib.md5(CONTENT).hexdigest()}, {}])  # noqa: S324
def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path, digest: dict[str, str]) -> None:
    path = tmp_path / "scan.nrrd"
    path.write_bytes(CONTENT)
    assert download("http://127.0.0.1:9/scan", path, **digest) == path


def test_a_damaged_file_that_is_there_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    path.write_bytes(CONTENT[:-1])
    assert download(server.url, path, sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("digest", [{"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_another_content_than_published_leaves_nothing(
    server: FileServer, tmp_path: Path, digest: dict[str, str]
) -> None:
    reason = rf"another file than the published one \(expected {next(iter(digest))} 0+, got .*Put it there"
    with pytest.raises(WeightsError, match=reason):
        download(server.url, tmp_path / "x", **digest, error=WeightsError, advice="Put it there")
    assert names(tmp_path) == []


def test_a_damaged_file_stays_until_there_is_a_better_one(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    path.write_bytes(b"mine")
    with pytest.raises(FormatError):
        download(server.url, path, sha256="0" * 64)
    assert path.read_bytes() == b"mine"


def test_a_server_that_tells_no_length_still_counts(server: FileServer, tmp_path: Path) -> None:
    server.says_length = False
    seen: list[tuple[int, int]] = []
    download(server.url, tmp_path / "x", sha256=SHA256, on_progress=lambda *state: seen.append(state))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen[0] == (CHUNK_BYTES, CHUNK_BYTES)


# ── resumed ──────────────────────────────────────────────────────────────────


def test_a_cancelled_download_goes_on_where_it_stopped(server: FileServer, tmp_path: Path) -> None:
    path, stop = tmp_path / "x", cancel_after(0.5)
    with pytest.raises(Cancelled):
        download(server.url, path, sha256=SHA256, on_progress=stop)  # type: ignore[arg-type]
    assert names(tmp_path) == ["x.part", "x.part.mark"]
    had = path.with_name("x.part").stat().st_size
    assert had == stop[-1][0] < len(CONTENT)
    seen: list[tuple[int, int]] = []
    download(server.url, path, sha256=SHA256, on_progress=lambda *state: seen.append(state))
    assert server.asked == [None, f"bytes={had}-"]
    assert seen[0][0] > had
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("known", [True, False])
def test_a_connection_that_breaks_off_is_taken_up_again(server: FileServer, tmp_path: Path, known: bool) -> None:
    server.cut_after = [20 * CHUNK_BYTES, 5 * CHUNK_BYTES + 7, 10 * CHUNK_BYTES]
    download(server.url, tmp_path / "x", sha256=SHA256 if known else None)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == [None, *(f"bytes={chunks * CHUNK_BYTES}-" for chunks in (20, 25, 35))]


def test_a_connection_that_brings_nothing_more_is_given_up_with_what_came(server: FileServer, tmp_path: Path) -> None:
    server.cut_after = [16 * CHUNK_BYTES, *[0] * TRIES]
    with pytest.raises(FormatError, match=r"could not download .*: the connection broke off; try again to go on"):
        download(server.url, tmp_path / "x", sha256=SHA256)
    assert (tmp_path / "x.part").stat().st_size == 16 * CHUNK_BYTES
    assert len(server.asked) == 2
    server.cut_after = []
    assert download(server.url, tmp_path / "x", sha256=SHA256).read_bytes() == CONTENT


def test_an_early_end_without_a_word_is_noticed_by_the_hash(server: FileServer, tmp_path: Path) -> None:
    server.says_length, server.cut_after = False, [1000]
    with pytest.raises(FormatError, match="another file than the published one"):
        download(server.url, tmp_path / "x", sha256=SHA256)


def test_a_server_that_knows_no_ranges_is_asked_for_the_whole(server: FileServer, tmp_path: Path) -> None:
    server.ranges, server.cut_after = False, [1_000_000]
    assert download(server.url, tmp_path / "x", sha256=SHA256).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        download(server.url, tmp_path / "x", on_progress=cancel_after(0.5))  # type: ignore[arg-type]
    server.content, server.etag = CONTENT[::-1], '"second"'
    assert download(server.url, tmp_path / "x").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_what_no_mark_tells_apart_is_resumed_only_where_the_hash_would(
    server: FileServer, tmp_path: Path, etag: str
) -> None:
    server.etag = etag
    for digest, resumed in ((SHA256, True), (None, False)):
        with pytest.raises(Cancelled):
            download(server.url, tmp_path / "x", sha256=digest, on_progress=cancel_after(0.5))  # type: ignore[arg-type]
        assert download(server.url, tmp_path / "x", sha256=digest).read_bytes() == CONTENT
        assert (server.asked[-1] is not None) == resumed
        (tmp_path / "x").unlink()


def test_more_than_the_whole_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT + b"more")
    (tmp_path / "x.part.mark").write_text(server.etag)
    assert download(server.url, tmp_path / "x", sha256=SHA256).read_bytes() == CONTENT


# ── or one clear line ────────────────────────────────────────────────────────


def test_a_refusal_says_what_the_server_said(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the server says 404"):
        download(f"{server.url}/nothing", tmp_path / "x", sha256=SHA256)
    assert names(tmp_path) == []


def test_no_server_is_no_connection(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no connection"):
        download("http://127.0.0.1:9/scan", tmp_path / "x", sha256=SHA256)


def test_a_folder_that_cannot_be_made_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(FormatError, match=rf"could not download {server.url} \(3 MB\) to .*folder.*Do this"):
        download(server.url, tmp_path / "folder" / "x", sha256=SHA256, size_mb=3.4, advice="Do this")
    assert server.asked == []


def test_reasons_are_said_in_words() -> None:
    assert reason_of(requests.Timeout()) == "the server does not answer"
    assert reason_of(OSError(28, "No space left on device")) == "No space left on device"


def test_a_digest_is_of_the_kind_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert file_digest(tmp_path / "x", "sha256:?") == f"sha256:{SHA256}"
