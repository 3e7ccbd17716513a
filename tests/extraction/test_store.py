"""The scratch store: whole entries or none, keyed by content and settings."""

import errno
import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mirex.errors import AudioError, StoreError
from mirex.extraction.store import FOLDER, Store, content_hash

CONTENT = "c" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, front_end="f", weights="w")


@pytest.fixture
def embedding(rng) -> NDArray[np.float32]:
    return rng.standard_normal(2048).astype(np.float32)


def found(store: Store, *, content: str = CONTENT, kind: str = "embedding") -> NDArray[Any]:
    """What the store has, which must be something."""
    array = store.get(content, kind=kind)
    assert array is not None
    return array


def entries(folder: Path) -> list[Path]:
    return [path for path in (folder / FOLDER).rglob("*") if path.is_file()]


def test_embeddings_come_back_exactly(store, embedding):
    assert store.get(CONTENT) is None
    store.put(CONTENT, embedding)
    array = found(store)
    assert array.dtype == np.float32
    assert np.array_equal(array, embedding)
    array[0] = 1.0  # the caller's own copy
    assert np.array_equal(found(store), embedding)


def test_columns_are_kept_in_half_precision(store, rng):
    columns = rng.uniform(0, 1, (84, 10)).astype(np.float32)
    columns[0, 0] = 1e9
    store.put(CONTENT, columns, kind="columns")
    kept = found(store, kind="columns")
    assert kept.dtype == np.float16
    assert kept[0, 0] == np.finfo(np.float16).max
    np.testing.assert_array_equal(kept[1:], columns[1:].astype(np.float16))
    assert store.get(CONTENT) is None


def test_other_content_settings_and_implementation_miss(store, tmp_path, embedding):
    store.put(CONTENT, embedding)
    store.put(CONTENT, embedding[None], kind="columns")
    assert store.get("d" * 64) is None
    for other in (
        Store(tmp_path, front_end="g", weights="w"),
        Store(tmp_path, front_end="f", weights="w", cqt="essentia"),
    ):
        assert other.get(CONTENT) is None
        assert other.get(CONTENT, kind="columns") is None
    other = Store(tmp_path, front_end="f", weights="v")
    assert other.get(CONTENT) is None
    assert other.get(CONTENT, kind="columns") is not None, "columns do not depend on the weights"
    same = Store(tmp_path, front_end="f", weights="w")
    assert np.array_equal(found(same), embedding)


def test_the_seconds_of_sound_are_kept_beside_an_embedding(store, embedding):
    store.put(CONTENT, embedding, seconds=12.34567)
    entry = store.entry(CONTENT)
    assert entry is not None
    assert entry.seconds == 12.346
    assert np.array_equal(found(store), embedding)
    store.put(CONTENT, embedding)
    entry = store.entry(CONTENT)
    assert entry is not None
    assert np.isnan(entry.seconds)


def test_damage_anywhere_is_a_miss_and_is_replaced(store, tmp_path, embedding, rng):
    store.put(CONTENT, embedding[:16], seconds=12.5)
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    damages = [whole[:cut] for cut in range(len(whole))]
    damages += [whole + b"\0", b"\0" * len(whole)]
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        damages.append(bytes(flipped))
    for damaged in damages:
        path.write_bytes(damaged)
        entry = store.entry(CONTENT)
        # White space inside the header is the only change that may go unnoticed.
        assert entry is None or (np.array_equal(entry.array, embedding[:16]) and entry.seconds == 12.5)
    assert store.damaged >= len(damages) - 10
    store.put(CONTENT, embedding[:16], seconds=12.5)
    assert path.read_bytes() == whole


def test_an_entry_under_another_name_is_damage(store, tmp_path, embedding):
    store.put(CONTENT, embedding)
    (path,) = entries(tmp_path)
    store.put("d" * 64, embedding)
    (other,) = set(entries(tmp_path)) - {path}
    other.write_bytes(path.read_bytes())
    assert store.get("d" * 64) is None
    assert store.damaged == 1


def test_what_a_killed_run_left_is_neither_used_nor_deleted(store, tmp_path, embedding):
    store.put(CONTENT, embedding)
    (path,) = entries(tmp_path)
    left = path.with_name(f".{path.name[:16]}-1-0badcafe.part")
    left.write_bytes(path.read_bytes()[:50])
    path.unlink()
    assert store.get(CONTENT) is None
    store.put(CONTENT, embedding)
    assert set(entries(tmp_path)) == {path, left}


def test_many_writers_and_readers(store, tmp_path, embedding):
    wrong = []

    def work() -> None:
        own = Store(tmp_path, front_end="f", weights="w")
        for _ in range(50):
            own.put(CONTENT, embedding)
            if not np.array_equal(found(own), embedding):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(entries(tmp_path)) == 1


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="scratch folder"):
        Store(tmp_path / "file", front_end="f", weights="w")


def test_an_entry_that_cannot_be_written(store, tmp_path, embedding):
    (tmp_path / FOLDER / "embedding").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        store.put(CONTENT, embedding)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(store, tmp_path, embedding, monkeypatch, number):
    def full(path, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("mirex.extraction.store.write_whole", full)
    with pytest.raises(StoreError, match=rf"{os.strerror(number)}; free some space and run again"):
        store.put(CONTENT, embedding)


def test_a_folder_that_is_removed_is_not_made_anew(store, tmp_path, embedding):
    """The results that it held are gone: who goes on would end without them."""
    store.put(CONTENT, embedding)
    shutil.rmtree(tmp_path / FOLDER)
    with pytest.raises(StoreError, match="was removed during the run; run again"):
        store.put("d" * 64, embedding)
    assert not (tmp_path / FOLDER).exists()


def test_content_hash(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"some bytes" * 100_000)
    assert content_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(AudioError, match="no such file"):
        content_hash(tmp_path / "none")


def test_what_another_decoder_made_is_not_reused(store, embedding, monkeypatch):
    store.put(CONTENT, embedding)
    monkeypatch.setattr("mirex.extraction.store.DECODER_REVISION", -1)
    assert store.get(CONTENT) is None
