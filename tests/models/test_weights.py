"""Weights files: found, downloaded, verified, read safely, loaded strictly."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from file_server import FileServer, serving
from sam_reference import TINY, card_of
from voxsam.errors import Cancelled, WeightsError
from voxsam.models import weights
from voxsam.models.base import ModelCard, WeightsFile
from voxsam.models.registry import CARDS, card

torch.set_num_threads(1)

STATE = {"weight": torch.arange(600_000, dtype=torch.float32).reshape(2, -1), "bias": torch.ones(2)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache" / "weights"
    monkeypatch.setattr(weights, "cache_folder", lambda: folder)
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    return folder


class Site:
    """A web site with one weights file, and the card that names it."""

    def __init__(self, server: FileServer) -> None:
        self.server, self.url, self.body = server, server.url, server.content
        published = WeightsFile(server.url, server.sha256, len(server.content) / 1e6)
        self.card = replace(card_of(TINY), weights=published)

    @property
    def asked(self) -> int:
        return len(self.server.asked)


@pytest.fixture
def site(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    torch.save(STATE, tmp_path / "made.pth")
    with serving((tmp_path / "made.pth").read_bytes(), "tiny.pth") as server:
        yield Site(server)


def with_file(card: ModelCard, **changes: Any) -> ModelCard:
    assert card.weights is not None
    return replace(card, weights=replace(card.weights, **changes))


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# ── found ────────────────────────────────────────────────────────────────────


def test_a_named_file_is_taken_without_asking_for_the_published_hash(site: Site, tmp_path: Path) -> None:
    own = tmp_path / "my_finetuned.pth"
    own.write_bytes(b"other weights")
    assert weights.find(site.card, own) == own
    assert weights.ensure(site.card, str(own)) == own
    assert site.asked == 0


def test_a_named_folder_is_searched_for_the_published_name(site: Site, tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "tiny.pth").write_bytes(site.body)
    assert weights.find(site.card, tmp_path / "usb") == tmp_path / "usb" / "tiny.pth"


@pytest.mark.parametrize("missing", ["nothing.pth", "."])
def test_a_named_file_that_is_missing_is_never_replaced_by_a_download(site: Site, tmp_path: Path, missing: str) -> None:
    with pytest.raises(WeightsError, match="no weights file for tiny-sam at "):
        weights.ensure(site.card, tmp_path / missing)
    assert site.asked == 0


def test_the_users_folder_goes_before_the_cache(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = weights.ensure(site.card)
    assert weights.find(site.card) == cached
    folder = tmp_path / "hospital"
    folder.mkdir()
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(folder))
    assert weights.find(site.card) == cached
    (folder / "tiny.pth").write_bytes(site.body)
    assert weights.find(site.card) == folder / "tiny.pth"


def test_a_file_found_by_its_name_must_have_the_published_hash(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "tiny.pth").write_bytes(site.body[:-100])
    with pytest.raises(WeightsError, match=r"is not the published file: expected sha256 \w+, got sha256 \w+\. It may"):
        weights.find(site.card)
    assert weights.find(with_file(site.card, sha256=None)) == tmp_path / "tiny.pth"
    assert weights.find(site.card, verified=False) == tmp_path / "tiny.pth"  # a list need not read gigabytes


def test_a_file_that_cannot_be_read_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot read"):
        weights.verify(tmp_path, "sha256:" + "0" * 64)


def test_weights_that_ship_with_voxsam_are_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(weights, "PACKAGED", tmp_path)
    assert weights.find(card("compact")) is None
    with pytest.raises(WeightsError, match=r"ship with voxsam but .*compact\.safetensors is missing; install"):
        weights.ensure(card("compact"))
    (tmp_path / "compact.safetensors").write_bytes(b"here")
    assert weights.ensure(card("compact")) == tmp_path / "compact.safetensors"


def test_there_is_nothing_to_download_for_weights_that_ship() -> None:
    with pytest.raises(WeightsError, match="compact has no published weights file"):
        weights.download(card("compact"))


def test_the_cache_is_the_users_own() -> None:
    assert weights.cache_folder().parts[-2:] == ("voxsam", "weights")


# ── downloaded ───────────────────────────────────────────────────────────────


def test_a_download_is_verified_kept_and_not_repeated(site: Site, cache: Path, capfd: Any) -> None:
    seen: list[tuple[int, int]] = []
    path = weights.ensure(site.card, on_progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "tiny.pth"
    assert path.read_bytes() == site.body
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == (len(site.body), len(site.body))
    assert weights.ensure(site.card) == path
    assert site.asked == 1
    assert files_under(cache) == [path]
    assert capfd.readouterr() == ("", "")  # progress is the caller's to show


def test_a_download_without_a_published_hash_is_kept_as_it_came(site: Site) -> None:
    assert weights.ensure(with_file(site.card, sha256=None)).read_bytes() == site.body


def test_a_download_with_another_hash_is_refused_and_not_kept(site: Site, cache: Path) -> None:
    with pytest.raises(WeightsError, match=rf"{site.url} gave another file than the published one .*expected sha256 0"):
        weights.ensure(with_file(site.card, sha256="0" * 64))
    assert files_under(cache) == []


def test_a_hash_of_another_kind_is_checked_too(site: Site) -> None:
    md5 = hashlib.md5(site.body).hexdigest()  # noqa: S324
    known = with_file(site.card, sha256=None, md5=md5)
    path = weights.ensure(known)
    assert weights.find(known) == path
    path.write_bytes(site.body[:-1])
    with pytest.raises(WeightsError, match=f"is not the published file: expected md5 {md5}, got md5 "):
        weights.find(known)


def test_a_cancelled_download_is_no_weights_file_and_goes_on_later(site: Site, cache: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        weights.ensure(site.card, on_progress=stop)
    assert weights.find(site.card) is None
    assert weights.ensure(site.card).read_bytes() == site.body
    assert str(site.server.asked[-1]).startswith("bytes=")
    assert files_under(cache) == [cache / "tiny.pth"]


def test_a_download_goes_to_the_folder_that_is_named(site: Site, tmp_path: Path) -> None:
    assert weights.download(site.card, tmp_path / "stick") == tmp_path / "stick" / "tiny.pth"


def test_weights_that_ask_for_more_than_to_be_named_are_not_fetched_unasked(site: Site) -> None:
    restricted = replace(site.card, licence="CC-BY-NC-4.0")
    with pytest.raises(WeightsError, match=r"licence, CC-BY-NC-4.0, .*voxsam models pull tiny-sam --accept-licence"):
        weights.ensure(restricted)
    assert site.asked == 0
    path = weights.download(restricted)
    assert weights.ensure(restricted) == path


def test_the_name_of_a_file_is_told_where_its_address_does_not() -> None:
    by_query = WeightsFile("https://example.org/download?id=1", None, 1.0, name="tiny.pth")
    assert by_query.filename == "tiny.pth"
    assert by_query.digest is None


def test_a_file_that_the_site_does_not_have_is_one_clear_line(site: Site, cache: Path) -> None:
    url = site.url.replace("tiny", "gone")
    with pytest.raises(WeightsError, match=r"could not download http.*gone\.pth .*404.*by hand") as caught:
        weights.ensure(with_file(site.card, url=url))
    assert "\n" not in str(caught.value)


@pytest.mark.offline
def test_no_network_is_one_line_with_the_url_and_the_place_to_put_the_file(cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.ensure(card("sam-vit-b"))
    message = str(caught.value)
    assert "\n" not in message
    published = CARDS["sam-vit-b"].weights
    assert published is not None
    assert message.startswith(f"could not download {published.url} (375 MB) to {cache / published.filename}: ")
    assert message.endswith("Fetch it by hand and put it there, or into a folder named by $VOXSAM_WEIGHTS")


def test_a_cache_that_cannot_be_written_is_one_clear_line(site: Site, cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match=f"could not download {site.url} .* to {cache}"):
        weights.ensure(site.card)


# ── read safely ──────────────────────────────────────────────────────────────


def same_state(state: Any) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_both_formats_and_the_old_one_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.pth")
    torch.save(STATE, tmp_path / "b.safetensors")
    torch.save(STATE, tmp_path / "c", _use_new_zipfile_serialization=False)
    assert all(same_state(weights.read_state(tmp_path / name)) for name in ("a.pth", "b.safetensors", "c"))


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["zip", "old", "bare pickle"])
def test_a_pickle_with_code_is_refused_and_its_code_never_runs(tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "it_ran"
    content = {"weight": torch.ones(2), "bias": Evil(mark)}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(Evil(mark)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match=r"evil\.pth holds more than tensors.*Ask its author for a safetensors") as e:
        weights.read_state(path)
    assert not mark.exists()
    assert "\n" not in str(e.value)
    assert "weights_only" not in str(e.value)  # never advise to read it unsafely
    if kind != "bare pickle":
        assert "it asks for posix.mkdir" in str(e.value) or "it asks for nt.mkdir" in str(e.value)


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.99, 0.999999])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "whole"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError) as caught:
        weights.read_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "an empty file"), (b"<!doctype html><html>", "a web page"), (b"GIF89a...", "something")]
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"x\.pth is {what}.*download it again"):
        weights.read_state(tmp_path / "x.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot read weights from .*gone\.pth"):
        weights.read_state(tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        ({"network": STATE, "epoch": 3}, "a dict of network, epoch"),
        ({}, "a dict of "),
        ([torch.ones(2)], "list"),
        (dict.fromkeys("abcde", 1), r"a dict of a, b, c, …"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict_says_what_it_holds(tmp_path: Path, content: Any, holds: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=f"must hold a state dict, names with tensors; it holds {holds}"):
        weights.read_state(tmp_path / "x.pth")


# ── loaded strictly ──────────────────────────────────────────────────────────


def empty() -> nn.Module:
    with torch.device("meta"):
        return nn.Linear(3, 2)


GOOD = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_become_single(dtype: torch.dtype) -> None:
    module = empty()
    weights.load_state(module, {name: t.to(dtype) for name, t in GOOD.items()}, source=Path("f"), model="m")
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert torch.equal(module(torch.ones(1, 3)), torch.full((1, 2), 3.0))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"weight": GOOD["weight"]}, r"1 missing \(bias\)"),
        (GOOD | {"mask_decoder.extra": torch.ones(1)}, r"1 unknown \(mask_decoder\.extra\)"),
        (GOOD | {"weight": torch.ones(3, 2)}, r"1 of another shape \(weight: expected \(2, 3\), got \(3, 2\)\)"),
        (GOOD | {"bias": torch.zeros(2, dtype=torch.int64)}, r"1 not floating point \(bias\)"),
        ({f"layer{i}": torch.ones(1) for i in range(9)}, r"2 missing \(bias, weight\); 9 unknown \(.*layer2, …\)"),
        ({}, "2 missing"),
    ],
    ids=["missing", "extra", "shape", "type", "another model", "empty"],
)
def test_any_weight_too_few_too_many_or_misshapen_is_refused_with_the_reason(state: Any, reason: str) -> None:
    module = empty()
    with pytest.raises(WeightsError, match=rf"f\.pth does not hold the weights of m: {reason}"):
        weights.load_state(module, state, source=Path("f.pth"), model="m")
    assert all(parameter.is_meta for parameter in module.parameters())


# ── hashed ───────────────────────────────────────────────────────────────────


def test_the_hash_is_of_the_weights_not_of_the_file(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a")
    torch.save(dict(reversed(STATE.items())), tmp_path / "b")
    assert weights.state_sha256(weights.read_state(tmp_path / "a")) == weights.state_sha256(
        weights.read_state(tmp_path / "b")
    )


@pytest.mark.parametrize(
    "other",
    [
        {"weight": GOOD["weight"], "bias": torch.tensor([0.0, 1e-30])},
        {"weight": GOOD["weight"], "other": GOOD["bias"]},
        {"weight": GOOD["weight"].reshape(3, 2), "bias": GOOD["bias"]},
        {"weight": GOOD["weight"].half(), "bias": GOOD["bias"]},
        {"weight": GOOD["weight"]},
    ],
    ids=["a value", "a name", "a shape", "a type", "one less"],
)
def test_the_hash_tells_weights_apart(other: dict[str, torch.Tensor]) -> None:
    assert weights.state_sha256(GOOD) != weights.state_sha256(other)


def test_the_hash_takes_views_scalars_and_bfloat16() -> None:
    turned = {"weight": torch.arange(6.0).reshape(2, 3).T}
    assert weights.state_sha256(turned) == weights.state_sha256({"weight": turned["weight"].contiguous()})
    assert len(weights.state_sha256({"steps": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16)})) == 64
