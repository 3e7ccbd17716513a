"""Extraction: the same bytes whatever threads, order, reuse; and every failure costs its own file only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mirex
from mirex.errors import AudioError, MirexError, StoreError, UsageError, WeightsError
from mirex.extraction import pool
from mirex.extraction.extract import REPORT, Extraction, extract, read_columns
from mirex.extraction.store import FOLDER, Store, content_hash
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.model import weights
from synthesis import song, write

SONGS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Songs, one of them twice, and files that fail."""
    folder = tmp_path_factory.mktemp("audio")
    for number in range(SONGS):
        write(folder / f"song {number} é.wav", song(number, seconds=2.0 + number))
    shutil.copy(folder / "song 1 é.wav", folder / "copy.wav")
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("no audio\n" * 100)
    (folder / "folder.wav").mkdir()
    return folder


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[str]:
    return [*sorted(map(str, folder.iterdir())), str(folder / "missing.wav")]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def first(paths: list[str], scratch: Path) -> Extraction:
    """A first run, two workers."""
    return extract(paths, scratch=scratch, threads=2, device="cpu", keep_columns=True)


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that some recordings kill."""
    script = Path(__file__).parents[1] / "crashing_worker.py"
    monkeypatch.setattr(pool, "COMMAND", [sys.executable, str(script)])


def position(paths: list[str], name: str) -> int:
    return [Path(path).name for path in paths].index(name)


def test_embeddings_and_failures(first, paths, scratch):
    good = [i for i, path in enumerate(paths) if "song" in path or "copy" in path]
    norms = np.linalg.norm(first.embeddings, axis=1)
    np.testing.assert_allclose(norms[good], 1.0, atol=1e-5)
    assert {Path(paths[i]).name: reason for i, reason in first.failures.items()} == {
        "empty.wav": "is empty (0 bytes)",
        "text.wav": "is not audio in a format that libsndfile or FFmpeg can read",
        "folder.wav": "is a folder, not a file",
        "missing.wav": "no such file",
    }
    assert not first.embeddings[list(first.failures)].any()
    report = (scratch / REPORT).read_text("utf-8").splitlines()
    assert report == [f"{paths[i]}\t{first.failures[i]}" for i in sorted(first.failures)]
    assert not list(scratch.rglob("*.part"))


def test_a_recording_under_two_names_is_analysed_once(first, paths):
    assert (first.reused, first.computed) == (0, SONGS)
    copy, original = position(paths, "copy.wav"), position(paths, "song 1 é.wav")
    assert np.array_equal(first.embeddings[copy], first.embeddings[original])
    assert first.contents[copy] == content_hash(paths[original])
    assert first.contents[position(paths, "missing.wav")] is None


def test_short_recordings_are_warned_of_and_known_as_such(first, paths, scratch, tmp_path, caplog):
    good = [i for i in range(len(paths)) if i not in first.failures]
    assert np.isnan(first.seconds[list(first.failures)]).all()
    assert (first.seconds[good] > 0).all()
    again = extract(paths, scratch=scratch, device="cpu")
    assert again.computed == 0
    np.testing.assert_allclose(again.seconds, first.seconds, atol=1e-3)
    long = tmp_path / "long.wav"
    write(long, song(1, seconds=25))
    caplog.clear()
    found = extract([str(long), paths[good[0]]], scratch=tmp_path, device="cpu")
    assert found.seconds[0] == pytest.approx(25, abs=0.5)
    warned = [record.message for record in caplog.records if "s of sound" in record.message]
    assert len(warned) == 1
    assert warned[0].startswith(f"{paths[good[0]]}: only ")


def test_silence_put_into_a_recording_changes_nothing(tmp_path):
    music, silence = song(1, seconds=6), np.zeros(123_456, np.float32)
    write(tmp_path / "music.wav", music)
    write(tmp_path / "padded.wav", np.concatenate([silence, music, silence]))
    plain, padded = extract(
        [str(tmp_path / name) for name in ("music.wav", "padded.wav")], scratch=tmp_path, device="cpu"
    ).embeddings
    assert plain @ padded > 0.99


def test_threads_and_order_do_not_matter(first, paths, tmp_path):
    again = extract(paths[::-1], scratch=tmp_path, threads=1, device="cpu")
    assert again.embeddings[::-1].tobytes() == first.embeddings.tobytes()
    assert {len(paths) - 1 - i: reason for i, reason in again.failures.items()} == first.failures


def test_a_second_run_reuses_under_any_name(first, paths, scratch, folder, tmp_path):
    good = [path for path in paths if "song" in path]
    moved = [shutil.copy(path, tmp_path / f"{i}.wav") for i, path in enumerate(good)]
    shutil.copy(scratch / REPORT, tmp_path)
    progress: list[tuple[int, int]] = []
    again = extract(moved, scratch=scratch, progress=lambda *numbers: progress.append(numbers))
    assert (again.reused, again.computed, again.failures) == (SONGS, 0, {})
    assert progress == []
    expected = first.embeddings[[paths.index(path) for path in good]]
    assert again.embeddings.tobytes() == expected.tobytes()
    before, after = ((place / REPORT).read_text("utf-8").splitlines() for place in (tmp_path, scratch))
    assert sorted(after) == sorted(before) != [], "the other list's failures stay in the report"


def test_a_damaged_entry_is_computed_again(first, paths, scratch, tmp_path, caplog):
    shutil.copytree(scratch / FOLDER, tmp_path / FOLDER)
    entry = next(path for path in (tmp_path / FOLDER / "embedding").rglob("*") if path.is_file())
    entry.write_bytes(entry.read_bytes()[:-1] + b"\x01")
    good = [i for i in range(len(paths)) if i not in first.failures]
    with caplog.at_level("INFO", "mirex"):
        again = extract([paths[i] for i in good], scratch=tmp_path)
    assert (again.reused, again.computed) == (SONGS - 1, 1)
    assert again.embeddings.tobytes() == first.embeddings[good].tobytes()
    assert "1 damaged entries" in caplog.text


def test_columns_are_stored_on_request(first, paths, scratch):
    metadata = weights.read_metadata()
    sealed = weights.load()
    store = Store(scratch, front_end=sealed.front_end.fingerprint(), weights=weights.fingerprint(metadata))
    path = paths[position(paths, "song 2 é.wav")]
    kept = store.get(content_hash(path), kind="columns")
    expected = columns(decode(path), settings=sealed.front_end)
    assert kept is not None
    np.testing.assert_allclose(kept, expected, rtol=1e-3, atol=1e-6)


def test_columns_are_added_to_a_run_without_them(first, paths, scratch, tmp_path):
    path = paths[position(paths, "song 0 é.wav")]
    shutil.copytree(scratch / FOLDER / "embedding", tmp_path / FOLDER / "embedding")
    for keep, reused in ((False, 1), (True, 0), (True, 1)):
        assert extract([path], scratch=tmp_path, keep_columns=keep).reused == reused
        assert (tmp_path / FOLDER / "columns").exists() == keep


def test_essentia_gives_nearly_the_same_and_is_kept_apart(first, paths, scratch):
    index = position(paths, "song 0 é.wav")
    other = extract([paths[index]], scratch=scratch, cqt="essentia")
    assert other.computed == 1
    assert other.embeddings[0] @ first.embeddings[index] > 0.9999


def test_strict_raises_after_the_report(paths, tmp_path):
    bad = [path for path in paths if "song" not in path and "text" not in path and "copy" not in path]
    with pytest.raises(AudioError, match="3 of 3 files"):
        extract(bad, scratch=tmp_path, strict=True)
    assert len((tmp_path / REPORT).read_text("utf-8").splitlines()) == 3


def test_no_files_give_no_rows(tmp_path):
    assert extract([], scratch=tmp_path).embeddings.shape == (0, 2048)


@pytest.mark.usefixtures("fragile")
def test_what_fails_costs_its_own_file_only(tmp_path, caplog):
    names = ["fine.wav", "of memory.wav", "defect.wav", "broken.wav"]
    fatal = []
    for number, name in enumerate(names):
        # Different contents, so that each is a job of its own.
        fatal.append(str(write(tmp_path / name, song(number, seconds=1.5 + number / 8))))
    result = extract(fatal, scratch=tmp_path / "scratch", threads=2)
    assert set(result.failures) == {1, 2, 3}
    assert "perhaps out of memory" in result.failures[1]
    assert result.failures[2] == "ZeroDivisionError: a defect"
    assert result.failures[3] == "cannot be read: input/output error"
    assert result.computed == 1
    assert caplog.text.count("failed: ") == 3


@pytest.mark.usefixtures("fragile")
def test_if_nothing_works_for_no_reason_of_the_files_it_is_an_error(tmp_path):
    path = write(tmp_path / "defect.wav", song(0, seconds=1))
    with pytest.raises(MirexError, match="no file could be analysed.*a defect"):
        extract([str(path)], scratch=tmp_path)


def test_workers_that_cannot_start_are_an_error(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "COMMAND", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(MirexError, match=r"die as soon as they start \(exit status 3\)"):
        extract(paths, scratch=tmp_path, threads=2)


def test_damaged_weights_are_an_error(paths, tmp_path):
    data = bytearray(weights.default_path().read_bytes())
    data[-1000] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        extract(paths, scratch=tmp_path, weights=tmp_path / "damaged.safetensors")


def test_wrong_options_and_folders(paths, tmp_path):
    for options in ({"cqt": "fourier"}, {"device": "tpu"}, {"threads": 0}):
        with pytest.raises(UsageError):
            extract(paths, scratch=tmp_path, **options)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        extract(paths, scratch=tmp_path / "file")


def test_a_missing_cuda_is_an_error(paths, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(UsageError, match="no CUDA device"):
        extract(paths, scratch=tmp_path, device="cuda")


def test_workers_decode_and_this_process_transforms_and_embeds(first, paths, tmp_path, monkeypatch):
    """The way of the data with CUDA, with the CPU in its place."""
    from mirex.features import cqt
    from mirex.model import embedding

    load, columns = weights.load, cqt.columns
    monkeypatch.setattr("mirex.extraction.extract.resolve_device", lambda device: "cuda")
    monkeypatch.setattr(weights, "load", lambda path, device: load(path))
    transformed = []

    def transform(samples, *, device, **options):
        transformed.append(device)
        return columns(samples, device=device, **options)

    monkeypatch.setattr(cqt, "columns", transform)
    good = [i for i in range(len(paths)) if i not in first.failures]
    together = []
    embed_together = embedding.embed_together

    def watched(columns, *, sealed):
        together.append([each.shape[1] for each in columns])
        return embed_together(columns, sealed=sealed)

    monkeypatch.setattr(embedding, "embed_together", watched)
    monkeypatch.setattr(embedding, "embed", None)
    limit = 12
    monkeypatch.setattr("mirex.extraction.device.TOGETHER", limit)
    result = extract([paths[i] for i in good], scratch=tmp_path, device="cuda")
    assert sum(map(len, together)) == SONGS
    assert all(sum(lengths) >= limit > sum(lengths[:-1]) for lengths in together[:-1])
    assert max(map(len, together)) > 1
    assert result.computed == SONGS
    assert transformed == ["cpu"] * SONGS
    np.testing.assert_allclose(result.embeddings, first.embeddings[good], atol=1e-5)
    np.testing.assert_allclose(result.seconds, first.seconds[good], atol=1e-3)
    assert not (tmp_path / FOLDER / "columns").exists(), "columns are kept only on request"


def test_an_exception_on_the_device_costs_its_own_file_only(first, paths, tmp_path, monkeypatch):
    from mirex.model import embedding

    load, embed = weights.load, embedding.embed

    def failing(columns, *, sealed):
        if columns[0].shape[1] >= 10:  # the longest song
            raise RuntimeError("CUDA error: out of\nluck")
        return embed(columns, sealed=sealed)

    monkeypatch.setattr("mirex.extraction.extract.resolve_device", lambda device: "cuda")
    monkeypatch.setattr(weights, "load", lambda path, device: load(path))
    monkeypatch.setattr(embedding, "embed", failing)
    monkeypatch.setattr(embedding, "embed_together", lambda columns, *, sealed: 1 / 0)
    good = [path for path in paths if "song" in path]
    result = extract(good, scratch=tmp_path, device="cuda")
    assert result.failures == {3: "RuntimeError: CUDA error: out of luck"}
    assert (tmp_path / REPORT).read_text("utf-8") == f"{good[3]}\t{result.failures[3]}\n"


@pytest.mark.parametrize("options", [{"scheduler": "local"}, {"cqt": "essentia"}])
def test_workers_compute_the_columns_where_a_gpu_should_not(paths, tmp_path, monkeypatch, options):
    """A hundred times the bytes would cross the network; and the reference runs on CPUs only."""
    from mirex.features import cqt

    if "scheduler" in options:
        pytest.importorskip("distributed")
    load = weights.load
    monkeypatch.setattr("mirex.extraction.extract.resolve_device", lambda device: "cuda")
    monkeypatch.setattr(weights, "load", lambda path, device: load(path))
    monkeypatch.setattr(cqt, "columns", None)
    good = [path for path in paths if "song" in path][:2]
    assert extract(good, scratch=tmp_path, device="cuda", **options).computed == 2


def test_an_exception_in_the_transform_costs_its_own_file_only(paths, tmp_path, monkeypatch):
    from mirex.features import cqt

    load, columns = weights.load, cqt.columns
    lengths = []

    def failing(samples, **how):
        lengths.append(len(samples))
        if len(lengths) == 2:
            raise RuntimeError("CUDA error: out of\nluck")
        return columns(samples, **how)

    monkeypatch.setattr("mirex.extraction.extract.resolve_device", lambda device: "cuda")
    monkeypatch.setattr(weights, "load", lambda path, device: load(path))
    monkeypatch.setattr(cqt, "columns", failing)
    good = [path for path in paths if "song" in path]
    result = extract(good, scratch=tmp_path, device="cuda")
    assert list(result.failures.values()) == ["RuntimeError: CUDA error: out of luck"]
    assert result.computed == len(good) - 1


def test_a_device_that_has_stopped_working_ends_the_run(paths, tmp_path, monkeypatch):
    """Else it would cost every recording from there on."""
    from mirex.model import embedding

    load = weights.load

    def failing(columns, *, sealed):
        sealed.network.to("meta")  # which gives no values, as a device after a fatal error
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("mirex.extraction.extract.resolve_device", lambda device: "cuda")
    monkeypatch.setattr(weights, "load", lambda path, device: load(path))
    monkeypatch.setattr(embedding, "embed", failing)
    monkeypatch.setattr(embedding, "embed_together", failing)
    with pytest.raises(MirexError, match=r"stopped working \(CUDA error: an illegal.*--device cpu"):
        extract([path for path in paths if "song" in path], scratch=tmp_path, device="cuda")


def test_columns_for_those_who_train(first, paths, scratch, tmp_path):
    """From the store, or computed; the same either way, and reasons for what cannot be read."""
    stored, computed = (list(read_columns(paths, scratch=folder)) for folder in (scratch, tmp_path))
    assert [index for index, _ in computed] == list(range(len(paths)))
    for (index, kept), (_, made) in zip(stored, computed, strict=True):
        if index in first.failures:
            assert kept == made == first.failures[index]
        else:
            assert isinstance(kept, np.ndarray)
            assert kept.dtype == np.float32
            assert np.array_equal(kept, made)
    assert not (tmp_path / FOLDER / "embedding").exists()
    assert (tmp_path / FOLDER / "columns").exists()


def test_works_in_a_program_without_a_main_guard(first, paths, tmp_path):
    index = position(paths, "song 0 é.wav")
    program = (
        "import mirex, sys\n"
        f"result = mirex.extract([{paths[index]!r}], scratch={str(tmp_path)!r}, threads=2)\n"
        "sys.stdout.buffer.write(result.embeddings.tobytes())\n"
    )
    root = str(Path(mirex.__file__).parent.parent)
    run = subprocess.run(
        [sys.executable, "-"],
        input=program.encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
        check=True,
    )
    assert run.stdout == first.embeddings[index].tobytes()
