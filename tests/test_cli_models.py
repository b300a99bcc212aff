"""``voxsam models``: the list, and weights fetched ahead of use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
import torch

from fakes import FloodFillModel
from file_server import FileServer, serving
from independent_sam import tiny_sam
from sam_reference import random_sam
from voxsam.cli import main
from voxsam.models import registry, weights
from voxsam.models.base import Preprocessing, WeightsFile
from voxsam.models.registry import CARDS

CONTENT = bytes(range(256)) * 3000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(weights, "cache_folder", lambda: folder)
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A site with the weights of ``free`` and, under another licence, of ``bound``."""
    with serving(CONTENT, "tiny.pth") as site:
        published = WeightsFile(site.url, site.sha256, len(CONTENT) / 1e6)
        free = replace(CARDS["mobile-sam"], name="free", weights=published)
        bound = replace(free, name="bound", licence="CC-BY-NC-4.0")
        monkeypatch.setattr(registry, "CARDS", MappingProxyType({"free": free, "bound": bound}))
        yield site


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


# ── the list ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("columns", ["80", "200"])
def test_every_model_is_listed_with_size_speed_and_licence(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, card in CARDS.items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert card.speed_class.partition(":")[0] in line
        assert card.licence.split()[0] in line
        if card.weights is not None:
            assert f"{card.weights.size_mb:.0f} MB" in line
            assert "not here" in line


def test_what_is_here_is_marked(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    cache.mkdir()
    (cache / "mobile_sam.pt").write_bytes(b"not looked into")
    assert main(["models", "--json"]) == 0
    facts = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert facts.keys() == CARDS.keys()
    assert facts["mobile-sam"]["installed"] == str(cache / "mobile_sam.pt")
    assert facts["sam-vit-b"]["installed"] is None
    assert facts["compact"]["bundled"] is True
    assert facts["compact"]["installed"] is not None
    assert facts["medsam"]["digest"].startswith("md5:")
    assert main(["models"]) == 0
    assert "installed" in capsys.readouterr().out


def test_sources_and_citations_are_told_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for card in CARDS.values():
        assert card.weights is None or f"  {card.weights.url}" in lines  # whole, on a line
        assert not card.citation or f"  {card.citation}" in lines


# ── fetched ──────────────────────────────────────────────────────────────────


def test_weights_are_pulled_verified_and_not_pulled_again(
    server: FileServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", "free"]) == 0
    assert said(capsys) == f"free (Apache-2.0): {cache / 'tiny.pth'}"
    assert (cache / "tiny.pth").read_bytes() == CONTENT
    assert main(["models", "pull", "free"]) == 0
    assert said(capsys) == f"free is here: {cache / 'tiny.pth'}"
    assert len(server.asked) == 1


def test_weights_are_pulled_to_a_folder_to_be_carried_away(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "stick"
    assert main(["models", "pull", "free", "--output", str(stick)]) == 0
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(stick))
    assert weights.ensure(registry.card("free")) == stick / "tiny.pth"


def test_a_pull_goes_on_where_it_broke_off(server: FileServer, cache: Path) -> None:
    server.cut_after = [2**18, 0, 0, 0, 0, 0]
    assert main(["models", "pull", "free"]) == 2
    server.cut_after = []
    assert main(["models", "pull", "free"]) == 0
    assert server.asked[-1] == f"bytes={2**18}-"
    assert (cache / "tiny.pth").read_bytes() == CONTENT


def test_another_file_than_the_published_one_is_one_line(
    server: FileServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = CONTENT[::-1]
    assert main(["models", "pull", "free"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "another file than the published one" in error
    assert list(cache.iterdir()) == []


def test_a_licence_that_asks_more_than_to_be_named_is_shown_first(
    server: FileServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", "bound"]) == 2
    error = capsys.readouterr().err
    assert "under CC-BY-NC-4.0, which is not a permissive licence" in error
    assert "--accept-licence" in error
    assert server.asked == []
    assert main(["models", "pull", "bound", "--accept-licence"]) == 0
    assert "CC-BY-NC-4.0" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 130)])
def test_at_a_terminal_the_user_is_asked(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int
) -> None:
    def confirm(text: str, *, abort: bool) -> None:
        assert text == "Download them?"
        assert abort
        if not answer:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", confirm)
    assert main(["models", "pull", "bound"]) == code
    assert (cache / "tiny.pth").is_file() == answer


def test_what_ships_needs_no_pull(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "compact"]) == 0
    assert "nothing to download" in capsys.readouterr().out


def test_a_near_miss_is_helped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "mobilesam"]) == 2
    assert "did you mean 'mobile-sam'?" in capsys.readouterr().err


@pytest.mark.offline
@pytest.mark.parametrize("name", ["sam-vit-b", "lite-medsam"])
def test_without_a_network_one_line_says_what_to_do_by_hand(
    name: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", name]) == 2
    error = capsys.readouterr().err
    published = CARDS[name].weights
    assert published is not None
    assert error.count("\n") == 1
    assert published.url in error
    assert f"to {cache / published.filename}: no connection (is this computer offline?). Fetch it by hand" in error


def test_a_cache_that_cannot_be_written_is_one_line(
    server: FileServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write_text("a file where the folder should be")
    assert main(["models", "pull", "free"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert server.url in error
    assert "into a folder named by $VOXSAM_WEIGHTS" in error


# ── used ─────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("default")  # as for a user
def test_a_run_warns_of_the_licence_once_and_records_it(
    server: FileServer,
    cache: Path,
    tmp_path: Path,
    sample_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound = registry.card("bound")
    builder = SimpleNamespace(build_sam=lambda card, path, device: FloodFillModel(card=card))
    monkeypatch.setattr(registry, "import_module", lambda _: builder)
    (tmp_path / "own.pth").write_bytes(b"")
    run = ["segment", str(sample_dir / "mr_head.nii.gz"), "-o", str(tmp_path / "mask.nii.gz"), "--model", "bound",
           "--point", "0,0,0", "--no-cache", "--report", str(tmp_path / "report.json")]  # fmt: skip
    assert main([*run, "--weights", str(tmp_path / "own.pth")]) == 0
    error = capsys.readouterr().err
    assert error.count("the weights of bound are under CC-BY-NC-4.0: make sure that your use is allowed") == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["model"]["licence"] == bound.licence
    assert main(run) == 2  # nothing is fetched before the licence was accepted
    assert "voxsam models pull bound --accept-licence" in capsys.readouterr().err
    assert server.asked == []


# ── not to be used ───────────────────────────────────────────────────────────


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run by a file",)


def another_models(path: Path) -> None:
    torch.save(tiny_sam(depths=(1, 1, 1, 1)).state_dict(), path)


def half_downloaded(path: Path) -> None:
    another_models(path)
    path.write_bytes(path.read_bytes()[:100_000])


def with_code(path: Path) -> None:
    torch.save({"weights": Harmful()}, path)


def with_weights_missing(path: Path) -> None:
    state = random_sam(Preprocessing(64), width=768, depth=1, heads=12, global_blocks=()).state_dict()
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, path)


UNUSABLE: list[tuple[Callable[[Path], None], tuple[str, ...]]] = [
    (another_models, ("does not hold the weights of sam-vit-b, it looks like mobile-sam",)),
    (half_downloaded, ("own.pth is torn", "download it again")),
    (with_code, ("own.pth", "code")),
    (with_weights_missing, ("does not hold the weights of sam-vit-b", "missing")),
]


@pytest.mark.parametrize(("write", "words"), UNUSABLE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_weights_file_that_cannot_be_used_is_one_line(
    write: Callable[[Path], None],
    words: tuple[str, ...],
    tmp_path: Path,
    sample_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "own.pth")
    run = ["segment", str(sample_dir / "mr_head.nii.gz"), "-o", str(tmp_path / "mask.nii.gz"), "--model", "sam-vit-b",
           "--point", "0,0,0", "--no-cache", "--weights", str(tmp_path / "own.pth")]  # fmt: skip
    assert main(run) == 2
    given = capsys.readouterr()
    assert given.err.startswith("voxsam: ")
    assert given.err.count("\n") == 1, given.err
    for word in words:
        assert word in given.err
    assert "run by a file" not in given.out
    assert not (tmp_path / "mask.nii.gz").exists()


@pytest.mark.offline
def test_a_run_without_weights_and_network_is_one_line_with_the_address_and_the_place(
    cache: Path, tmp_path: Path, sample_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["segment", str(sample_dir / "mr_head.nii.gz"), "-o", str(tmp_path / "mask.nii.gz"), "--model", "sam-vit-b",
           "--point", "0,0,0", "--no-cache"]  # fmt: skip
    assert main(run) == 2
    error = capsys.readouterr().err
    published = CARDS["sam-vit-b"].weights
    assert published is not None
    assert error.count("\n") == 1
    assert published.url in error
    assert str(cache / published.filename) in error
