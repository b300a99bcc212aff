from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import FloodFillModel
from phantoms import GEOMETRIES, sphere
from voxsam.embedding_files import EmbeddingFiles
from voxsam.embeddings import EmbeddingStore, default_cache_dir
from voxsam.errors import Cancelled, StoreError
from voxsam.models.base import Embedding
from voxsam.models.runtime import Runtime
from voxsam.views import SliceStack, View
from voxsam.volume import Volume
from voxsam.windowing import Window

WINDOWS = (Window(400, 40),)


@pytest.fixture
def volume() -> Volume:
    return sphere(GEOMETRIES["awkward"]).volume


def view_of(index: int, **options: object) -> View:
    return View("axial", index, WINDOWS, **options)  # type: ignore[arg-type]


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


def test_a_view_is_encoded_once(volume: Volume) -> None:
    model = FloodFillModel()
    store = EmbeddingStore(model, volume)
    first = store.get(view_of(3))
    assert store.get(view_of(3)) is first
    assert model.encoded == 1
    assert first.image_shape == store.stack.frame(view_of(3)).shape


def test_what_another_store_wrote_is_read_back_to_the_bit(volume: Volume, tmp_path: Path) -> None:
    first = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path).get(view_of(3))
    model = FloodFillModel()
    second = EmbeddingStore(model, volume, cache_dir=tmp_path).get(view_of(3))
    assert model.encoded == 0
    assert second.image_shape == first.image_shape
    assert np.array_equal(second.features["grey"], first.features["grey"])
    assert second.features["grey"].dtype == np.float16


def test_every_part_of_a_view_counts(volume: Volume, tmp_path: Path) -> None:
    model = FloodFillModel()
    store = EmbeddingStore(model, volume, cache_dir=tmp_path)
    views = [
        view_of(3),
        view_of(4),
        view_of(3, region=(0, 20, 0, 20)),
        view_of(3, enhance=("clahe",)),
        View("coronal", 3, WINDOWS),
        View("axial", 3, (Window(150, 30),)),
    ]
    for view in views:
        store.get(view)
    assert model.encoded == len(views) == len(files_in(tmp_path))


def test_the_stacks_own_enhancement_counts(volume: Volume, tmp_path: Path) -> None:
    model = FloodFillModel()
    EmbeddingStore(model, SliceStack(volume), cache_dir=tmp_path).get(view_of(3))
    EmbeddingStore(model, SliceStack(volume, enhance=["clahe"]), cache_dir=tmp_path).get(view_of(3))
    assert model.encoded == 2


def test_another_scan_of_the_same_shape_or_another_model_reads_nothing(volume: Volume, tmp_path: Path) -> None:
    EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path).get(view_of(3))
    changed = volume.array.copy()
    changed[0, 0, 0] += 1
    moved = volume.geometry.affine.copy()
    moved[0, 3] += 1.0
    others = [
        (FloodFillModel(), Volume(changed, volume.geometry)),
        (FloodFillModel(), Volume(volume.array, type(volume.geometry)(volume.geometry.shape, moved))),
        (FloodFillModel(tolerance=0.2), volume),
    ]
    for model, scan in others:
        EmbeddingStore(model, scan, cache_dir=tmp_path).get(view_of(3))
        assert model.encoded == 1
    assert len({path.parent for path in files_in(tmp_path)}) == 4


def test_the_key_is_there_before_any_view(volume: Volume, tmp_path: Path) -> None:
    store = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path)
    assert store.folder is not None
    document = json.loads((store.folder / "key.json").read_text())
    assert document["scan_fingerprint"] == volume.fingerprint
    assert document["weights_sha256"] == store.model.weights_sha256
    assert not files_in(tmp_path)


def test_a_folder_with_a_wrong_key_is_never_read(
    volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path)
    store.get(view_of(3))
    assert store.folder is not None
    (store.folder / "key.json").write_text("{}")
    model = FloodFillModel()
    with caplog.at_level(logging.WARNING):
        again = EmbeddingStore(model, volume, cache_dir=tmp_path)
    assert "another key" in caplog.text
    again.get(view_of(3))
    assert model.encoded == 1


@pytest.mark.parametrize("damage", ["truncated", "emptied", "garbled", "partly cleared", "of another view"])
def test_a_damaged_file_is_made_anew(
    volume: Volume, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path)
    store.get(view_of(3))
    path = files_in(tmp_path)[0]
    data = path.read_bytes()
    if damage == "of another view":
        store.get(view_of(4))
        other = next(p for p in files_in(tmp_path) if p != path)
        data = other.read_bytes()
    else:
        data = {
            "truncated": data[: len(data) // 2],
            "emptied": b"",
            "garbled": b"\xff" * len(data),
            "partly cleared": data[:-256] + bytes(256),  # what a power failure may leave
        }[damage]
    path.write_bytes(data)
    model = FloodFillModel()
    fresh = EmbeddingStore(model, volume, cache_dir=tmp_path)
    fresh.get(view_of(3))
    assert model.encoded == 1
    EmbeddingStore(model, volume, cache_dir=tmp_path).get(view_of(3))
    assert model.encoded == 1


def test_what_a_kill_left_is_swept_when_it_is_old(volume: Volume, tmp_path: Path) -> None:
    store = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path)
    assert store.folder is not None
    old, new = store.folder / ".voxsam-1-a.safetensors", store.folder / ".voxsam-2-b.safetensors"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path)
    assert not old.exists()
    assert new.exists()  # another process may be writing it


def test_precompute_begins_at_the_nearest_slice_and_skips_what_is_there(volume: Volume, tmp_path: Path) -> None:
    model = FloodFillModel()
    store = EmbeddingStore(model, volume, cache_dir=tmp_path)
    store.get(view_of(10))
    seen: list[int] = []
    encode = model.encode

    def spy(pixels: np.ndarray) -> Embedding:
        seen.append(len(files_in(tmp_path)))
        return encode(pixels)

    model.encode = spy  # type: ignore[method-assign]
    calls: list[tuple[int, int]] = []
    views = [view_of(index) for index in range(20)]
    fresh = store.precompute(views, nearest_to=10, on_progress=lambda done, total: calls.append((done, total)))
    assert fresh == 19
    assert calls[-1] == (20, 20)
    order = sorted(files_in(tmp_path), key=lambda path: path.stat().st_mtime_ns)
    indices = [int(path.name.split("-")[1]) for path in order]
    assert [abs(index - 10) for index in indices] == sorted(abs(index - 10) for index in indices)
    assert store.precompute(views) == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_precompute_keeps_what_is_done_when_it_is_cancelled(volume: Volume, tmp_path: Path, threads: int) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise Cancelled

    store = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path)
    views = [view_of(index) for index in range(10)]
    with pytest.raises(Cancelled):
        store.precompute(views, on_progress=stop, threads=threads)
    kept = len(files_in(tmp_path))
    assert kept == 3 if threads == 1 else 3 <= kept <= 3 + 2 * threads
    assert store.precompute(views, threads=threads) == 10 - kept


def test_threads_encode_at_the_same_time_and_give_way_to_a_reader(volume: Volume, tmp_path: Path) -> None:
    together = threading.Barrier(3)
    alone = threading.Event()

    class Slow(FloodFillModel):
        at_work = 0

        def encode(self, pixels: np.ndarray) -> Embedding:
            self.at_work += 1
            try:
                if not alone.is_set():
                    together.wait(10)  # breaks unless three threads come
                assert not (alone.is_set() and self.at_work > 1)
                return super().encode(pixels)
            finally:
                self.at_work -= 1

    store = EmbeddingStore(Slow(), volume, cache_dir=tmp_path)
    calls: list[tuple[int, int]] = []
    views = [view_of(index) for index in range(6)]
    fresh = store.precompute(views, threads=3, on_progress=lambda done, total: calls.append((done, total)))
    assert fresh == 6 == len(files_in(tmp_path))
    assert calls[0] == (0, 6)
    assert calls[-1] == (6, 6)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    alone.set()
    store.get(view_of(9))
    assert store.precompute(views, threads=3) == 0


def test_without_a_disk_threads_end_where_the_memory_is_full(volume: Volume) -> None:
    model = FloodFillModel()
    one = EmbeddingStore(model, volume).get(view_of(0)).features["grey"].nbytes
    store = EmbeddingStore(model, volume, memory_mb=6.5 * one / 2**20)
    encoded = store.precompute([view_of(index) for index in range(20)], nearest_to=10, threads=2)
    assert 3 <= encoded <= 7
    before = model.encoded
    store.get(view_of(10))
    assert model.encoded == before  # the nearest was not thrown out


def test_memory_keeps_to_its_budget_and_the_oldest_goes_first(volume: Volume) -> None:
    model = FloodFillModel()
    one = EmbeddingStore(model, volume).get(view_of(0)).features["grey"].nbytes
    store = EmbeddingStore(model, volume, memory_mb=3.5 * one / 2**20)
    for index in (0, 1, 2):
        store.get(view_of(index))
    store.get(view_of(0))  # used again: now 1 is the oldest
    store.get(view_of(3))
    encoded = model.encoded
    for index in (0, 2, 3):
        store.get(view_of(index))
    assert model.encoded == encoded
    store.get(view_of(1))
    assert model.encoded == encoded + 1


def test_without_a_disk_precompute_ends_where_the_memory_is_full(volume: Volume) -> None:
    model = FloodFillModel()
    one = EmbeddingStore(model, volume).get(view_of(0)).features["grey"].nbytes
    store = EmbeddingStore(model, volume, memory_mb=4.5 * one / 2**20)
    model.encoded = 0
    assert store.precompute([view_of(index) for index in range(20)], nearest_to=10) == 4
    for index in (10, 9, 11):
        store.get(view_of(index))
    assert model.encoded == 4


def test_disk_keeps_to_its_budget_across_scans(volume: Volume, tmp_path: Path) -> None:
    other = sphere(GEOMETRIES["awkward"], noise_hu=9.0).volume
    for scan in (volume, other):
        store = EmbeddingStore(FloodFillModel(), scan, cache_dir=tmp_path, disk_mb=100)
        for index in range(5):
            store.get(view_of(index))
    size = files_in(tmp_path)[0].stat().st_size
    for age, path in enumerate(sorted(files_in(tmp_path), key=lambda p: p.stat().st_mtime_ns)):
        os.utime(path, (1000.0 + age, 1000.0 + age))
    EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path).get(view_of(0))  # read: no longer the oldest
    small = EmbeddingStore(FloodFillModel(), other, cache_dir=tmp_path, disk_mb=6 * size / 2**20)
    small.get(view_of(7))
    left = files_in(tmp_path)
    assert len(left) <= 6
    mine = EmbeddingFiles(tmp_path, EmbeddingStore(FloodFillModel(), volume).key, budget_mb=100)
    assert mine.has(view_of(0))
    assert not mine.has(view_of(1))
    assert small.folder is not None
    assert EmbeddingFiles(tmp_path, small.key, budget_mb=100).has(view_of(7))


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a path that refuses")
def test_a_named_folder_that_cannot_be_written_is_an_error(volume: Volume, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(StoreError, match="expected a cache folder to write embeddings to"):
        EmbeddingStore(FloodFillModel(), volume, cache_dir=blocker / "cache")


def test_the_default_folder_may_fail_without_a_fuss(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    monkeypatch.setenv("VOXSAM_CACHE", str(blocker / "cache"))
    with caplog.at_level(logging.WARNING):
        store = EmbeddingStore(FloodFillModel(), volume, cache_dir="auto")
    assert "embeddings stay in memory" in caplog.text
    assert store.folder is None
    assert store.get(view_of(3)) is store.get(view_of(3))


@pytest.mark.parametrize("named", [True, False])
def test_a_disk_that_fills_up_stops_the_named_cache_only(
    volume: Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    named: bool,
) -> None:
    monkeypatch.setenv("VOXSAM_CACHE", str(tmp_path))
    store = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path if named else "auto")

    opened = Path.open

    def full(self: Path, mode: str = "r", *how: Any, **more: Any) -> Any:
        if "w" in mode:
            raise OSError(28, "No space left on device")
        return opened(self, mode, *how, **more)

    monkeypatch.setattr(Path, "open", full)
    if named:
        with pytest.raises(StoreError, match="disk is full"):
            store.get(view_of(3))
    else:
        with caplog.at_level(logging.WARNING):
            store.get(view_of(3))
        assert "stay in memory from here" in caplog.text
        store.get(view_of(4))
    assert not list(tmp_path.glob("*/.*"))


def test_the_default_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOXSAM_CACHE", str(tmp_path / "own"))
    assert default_cache_dir() == tmp_path / "own"
    monkeypatch.delenv("VOXSAM_CACHE")
    for platform, variable, tail in (
        ("linux", "XDG_CACHE_HOME", ("voxsam", "embeddings")),
        ("win32", "LOCALAPPDATA", ("voxsam", "embeddings")),
    ):
        monkeypatch.setattr("sys.platform", platform)
        monkeypatch.setenv(variable, str(tmp_path))
        assert default_cache_dir() == tmp_path.joinpath(*tail)
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_cache_dir().parts[-3:] == ("Caches", "voxsam", "embeddings")


def test_numbers_too_large_for_half_precision_stay(volume: Volume) -> None:
    class Loud(FloodFillModel):
        def encode(self, pixels: np.ndarray) -> Embedding:
            return Embedding({"loud": np.full(3, 1e6, np.float32), "index": np.arange(3)}, (1, 1))

    features = EmbeddingStore(Loud(), volume).get(view_of(0)).features
    assert features["loud"].dtype == np.float32
    assert features["index"].dtype.kind == "i"


def test_what_is_halved_of_tensors_stays_finite(volume: Volume) -> None:
    given = {
        "plain": torch.tensor([-60000.0, 1.0]),
        "loud": torch.tensor([1.0, -1e6]),
        "broken": torch.tensor([1.0, torch.nan, 2.0]),
        "empty": torch.empty(0),
        "index": torch.arange(3),
        "flag": torch.tensor([True]),
    }

    class Tensors(FloodFillModel):
        def encode(self, pixels: np.ndarray) -> Embedding:
            return Embedding(given, (1, 1))

    features = EmbeddingStore(Tensors(), volume).get(view_of(0)).features
    halved = {name for name, value in features.items() if value.dtype == torch.float16}
    assert halved == {"plain", "empty"}
    assert all(features[name] is given[name] for name in given.keys() - halved)


def test_a_reader_goes_before_background_work(volume: Volume) -> None:
    class Slow(FloodFillModel):
        def encode(self, pixels: np.ndarray) -> Embedding:
            time.sleep(0.02)
            return super().encode(pixels)

    model = Slow()
    store = EmbeddingStore(model, volume)
    begun = threading.Event()

    def progress(done: int, total: int) -> None:
        if done == 2:
            begun.set()

    worker = threading.Thread(
        target=lambda: store.precompute([view_of(index) for index in range(18)], on_progress=progress)
    )
    worker.start()
    assert begun.wait(10)
    store.get(view_of(19))
    encoded = model.encoded
    worker.join(10)
    assert encoded <= 6  # not after all the others
    assert model.encoded == 19


def test_a_reader_stopped_while_it_waits_does_not_hold_up_the_background(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddingStore(FloodFillModel(), volume)
    waiting = store._turns._condition

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(waiting, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.get(view_of(3))
    done = threading.Thread(target=lambda: store.precompute([view_of(4)]), daemon=True)
    done.start()
    done.join(10)
    assert not done.is_alive()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_default_cache_is_for_the_user_alone_and_a_named_one_follows_the_umask(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXSAM_CACHE", str(tmp_path / "own"))
    own = EmbeddingStore(FloodFillModel(), volume, cache_dir="auto").folder
    named = EmbeddingStore(FloodFillModel(), volume, cache_dir=tmp_path / "named").folder
    plain = tmp_path / "plain"
    plain.mkdir()
    assert own is not None
    assert named is not None
    assert own.stat().st_mode & 0o077 == 0
    assert named.stat().st_mode == plain.stat().st_mode


class BatchModel(FloodFillModel):
    """Flood fill that takes several views at once."""

    batch_size = 3

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def encode_batch(self, views: list[np.ndarray]) -> list[Embedding]:
        self.batches.append(len(views))
        return [self.encode(pixels) for pixels in views]


def test_ahead_of_use_views_are_encoded_in_the_models_batches(volume: Volume) -> None:
    model, one_by_one = BatchModel(), FloodFillModel()
    store, other = EmbeddingStore(model, volume), EmbeddingStore(one_by_one, volume)
    store.get(view_of(2))  # what is there already is left out
    views = [view_of(index) for index in range(8)]
    seen: list[tuple[int, int]] = []
    assert store.precompute(views, on_progress=lambda done, total: seen.append((done, total))) == 7
    assert other.precompute(views) == 8
    assert model.batches == [3, 3]  # and one alone
    assert model.encoded == 8
    assert seen[-1] == (8, 8)
    for view in views:
        np.testing.assert_array_equal(store.get(view).features["grey"], other.get(view).features["grey"])
    assert model.encoded == 8


def test_embeddings_of_another_precision_are_kept_apart(volume: Volume, tmp_path: Path) -> None:
    exact, reduced = FloodFillModel(), FloodFillModel()
    reduced.runtime = Runtime("openvino", "bf16")  # type: ignore[attr-defined]
    on_a_gpu = FloodFillModel()
    on_a_gpu.runtime = Runtime(device="cuda:0")  # type: ignore[attr-defined]
    folders = [EmbeddingStore(model, volume, cache_dir=tmp_path).folder for model in (exact, reduced, on_a_gpu)]
    assert folders[0] != folders[1]
    assert folders[0] == folders[2]
