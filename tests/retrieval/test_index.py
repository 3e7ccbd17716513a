"""The index: found is what exact distances say, changes are whole, and damaged files are refused."""

import json
import multiprocessing
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirex
from mirex.errors import IndexFileError, MirexError, SettingsMismatch, UsageError
from mirex.retrieval import index as indices
from mirex.retrieval import index_file
from mirex.retrieval.distance import distance_matrix
from mirex.retrieval.export import export
from mirex.retrieval.index import Index, Songs, append, remove

MARKS = {"front_end": "f" * 16, "cqt": "multirate", "weights": "w" * 16}
SIZE = 24


def content(number):
    return f"{number:064x}"


def songs(rng, *numbers, windows=False):
    vectors = rng.standard_normal((len(numbers), SIZE))
    parts = None
    if windows:
        parts = [(rng.standard_normal((n % 3, SIZE)), np.full((n % 3, 2), float(n))) for n in numbers]
    names, contents = [f"song {n}.mp3" for n in numbers], [content(n) for n in numbers]
    return Songs(names, contents, vectors, parts, np.array([10.0 + n for n in numbers]))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "songs.mirex"


@pytest.fixture
def made(path, rng):
    return Index.create(path, songs(rng, *range(40)), fingerprints=MARKS)


def halves(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float16).astype(np.float32)


def test_index_holds_what_was_put_in(path, rng):
    given = songs(rng, 3, 1, 2)
    made = Index.create(path, given, fingerprints=MARKS)
    assert (made.names, made.contents, made.fingerprints) == (given.names, given.contents, MARKS)
    np.testing.assert_array_equal(made.embeddings.astype(np.float32), halves(given.embeddings))
    assert made.windows is None
    assert made.seconds.tolist() == [13.0, 11.0, 12.0]
    assert isinstance(made.embeddings, np.memmap)
    made.verify()
    assert isinstance(made, mirex.Index)


def test_names_of_any_bytes(path, rng):
    names = ["a\nb", "ü.mp3", "not utf-8 \udcff", " "]
    Index.create(path, Songs(names, [content(i) for i in range(4)], np.eye(4)), fingerprints=MARKS)
    assert Index(path).names == names


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_search_is_exact_whatever_the_batch(monkeypatch, made, rng, batch):
    monkeypatch.setattr(indices, "_MOST_SCORES", batch * len(made))
    monkeypatch.setattr(indices, "_IN_CACHE", 7)
    queries = rng.standard_normal((7, SIZE)).astype(np.float32)
    expected = distance_matrix(queries, made.embeddings.astype(np.float32))
    for row, found in enumerate(made.search(queries, top=5)):
        order = np.argsort(expected[row], kind="stable")[:5]
        assert found.rows.tolist() == order.tolist()
        np.testing.assert_allclose(found.distances, expected[row][order], atol=1e-7)


def test_ties_keep_order_and_equal_vectors_are_all_found(path):
    vectors = np.eye(3)[[1, 0, 1, 0, 1]]
    made = Index.create(
        path, Songs(list("abcde"), [content(i) for i in range(5)], vectors), fingerprints=MARKS
    )
    assert made.search(np.eye(3)[:1], top=4)[0].rows.tolist() == [1, 3, 0, 2]


def test_own_content_is_left_out(made):
    query = made.embeddings[[4, 5]].astype(np.float32)
    first, second = made.search(query, top=40, contents=[content(4), None])
    assert 4 not in first.rows
    assert len(first.rows) == 39
    assert second.rows[0] == 5


def test_search_wrong_usage(made):
    for queries, message in (
        (np.zeros((1, SIZE)), "zero"),
        (np.full((1, SIZE), np.nan), "finite"),
        (np.ones((1, SIZE + 1)), "shape"),
        (np.ones(SIZE), "shape"),
    ):
        with pytest.raises(UsageError, match=message):
            made.search(queries)
    with pytest.raises(UsageError, match="top 0"):
        made.search(np.ones((1, SIZE)), top=0)


@pytest.mark.parametrize("windows", [False, True])
def test_append_and_remove_equal_an_index_made_at_once(path, tmp_path, rng, windows, monkeypatch):
    monkeypatch.setattr(indices, "BLOCK", 3)
    layout = "30/15" if windows else ""
    first, second = songs(rng, 0, 1, 2, 3, 4, windows=windows), songs(rng, 5, 6, 7, windows=windows)
    Index.create(path, first, fingerprints=MARKS, window_layout=layout)
    append(path, second, fingerprints=MARKS, window_layout=layout)
    left, absent = remove(path, ["song 1.mp3", "song 6.mp3", "song 99.mp3"])
    assert absent == ["song 99.mp3"]
    parts = None
    if windows:
        parts = [each for i, each in enumerate([*first.windows, *second.windows]) if i not in (1, 6)]
    kept = Songs(
        [f"song {n}.mp3" for n in (0, 2, 3, 4, 5, 7)],
        [content(n) for n in (0, 2, 3, 4, 5, 7)],
        np.concatenate([first.embeddings[[0, 2, 3, 4]], second.embeddings[[0, 2]]]),
        parts,
        np.array([10.0, 12.0, 13.0, 14.0, 15.0, 17.0]),
    )
    at_once = tmp_path / "at once.mirex"
    Index.create(at_once, kept, fingerprints=MARKS, window_layout=layout)
    assert path.read_bytes() == at_once.read_bytes()
    assert len(left) == 6


def test_append_warns_of_a_song_that_it_replaces_by_another_content(made, path, rng, caplog):
    append(path, songs(rng, 3, 4, 50), fingerprints=MARKS)
    assert not caplog.records, "the same files again, and a new one"
    new = Songs(["song 3.mp3", "song 4.mp3"], [content(1000), content(4)], np.ones((2, SIZE)))
    append(path, new, fingerprints=MARKS)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("1 songs of the index were replaced by files of the same path with")
    assert "the first: song 3.mp3; " in record.getMessage()


def test_append_replaces_a_song_of_the_same_name(made, path, rng):
    new = songs(rng, 3)
    grown = append(path, Songs(new.names, [content(1000)], new.embeddings), fingerprints=MARKS)
    assert len(grown) == 40
    assert grown.names[-1] == "song 3.mp3"
    assert grown.contents[-1] == content(1000)
    assert np.isnan(grown.seconds[-1])
    assert grown.names.count("song 3.mp3") == 1


def test_append_refuses_other_fingerprints_and_layouts(made, path, rng):
    before = path.read_bytes()
    for name in MARKS:
        with pytest.raises(SettingsMismatch, match=name.replace("_", " ")):
            append(path, songs(rng, 50), fingerprints={**MARKS, name: "other"})
    with pytest.raises(SettingsMismatch, match="windows"):
        append(path, songs(rng, 50), fingerprints=MARKS, window_layout="30/15")
    wider = Songs(["wide"], [content(50)], np.ones((1, SIZE + 1)))
    with pytest.raises(SettingsMismatch, match="different sizes"):
        append(path, wider, fingerprints=MARKS)
    assert path.read_bytes() == before


def test_create_overwrites_nothing(tmp_path, rng):
    for present in (tmp_path / "precious", tmp_path / "dangling"):
        present.symlink_to("nowhere") if present.name == "dangling" else present.write_text("mine")
        with pytest.raises(UsageError, match="already exists"):
            Index.create(present, songs(rng, 1), fingerprints=MARKS)


def test_a_failed_change_leaves_the_index_and_nothing_else(made, path, monkeypatch, rng):
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_file, "_write_part", fail)
    with pytest.raises(IndexFileError, match="No space left"):
        append(path, songs(rng, 50), fingerprints=MARKS)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_readers_keep_what_they_opened(made, path, rng):
    before = np.array(made.embeddings)
    remove(path, made.names[:30])
    np.testing.assert_array_equal(made.embeddings, before)
    assert len(Index(path)) == 10


def _append_one(path, number):
    append(path, songs(np.random.default_rng(number), number), fingerprints=MARKS)


def test_appends_at_once_keep_each_other_out(made, path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append_one, args=(path, 100 + i)) for i in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert sorted(Index(path).names[40:]) == [f"song {100 + i}.mp3" for i in range(6)]


def test_no_such_index(tmp_path):
    for act in (Index, lambda path: remove(path, [])):
        with pytest.raises(IndexFileError, match="no such index"):
            act(tmp_path / "gone.mirex")
    with pytest.raises(IndexFileError, match="not a file"):
        Index(tmp_path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_is_an_index_error_or_harmless(tmp_path_factory, data):
    """Bytes changed, cut off or put on anywhere: an IndexFileError, or an index that can be searched."""
    path = tmp_path_factory.mktemp("damage") / "songs.mirex"
    rng = np.random.default_rng(0)
    Index.create(path, songs(rng, 0, 1, 2, 3, windows=True), fingerprints=MARKS, window_layout="x")
    whole = bytearray(path.read_bytes())
    position = data.draw(st.one_of(st.integers(0, 1200), st.integers(0, len(whole) - 1)))
    kind = data.draw(st.sampled_from(["change", "cut", "add"]))
    if kind == "change":
        whole[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole[:position] if kind == "cut" else whole + b"x" * (kind == "add"))
    try:
        Index(path).search(np.ones((1, SIZE)))
    except IndexFileError:
        return
    if kind != "change":
        pytest.fail("a file of another length was taken for an index")


def hostile(path, *, metadata=None, **changed):
    """The header of a whole index with entries of it replaced."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] |= metadata or {}
    for name, entry in changed.items():
        header[name] = {**header[name], **entry}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    "changed",
    [
        {"embeddings": {"dtype": "F32"}},
        {"embeddings": {"shape": [SIZE, 40]}},
        {"embeddings": {"shape": [1 << 62, 1 << 62]}},
        {"embeddings": {"data_offsets": [0, 1 << 60]}},
        {"contents": {"shape": [20, 64]}},
        {"metadata": {"format": "other"}},
        {"metadata": {"weights": ""}},
        {"metadata": {"sha256:names": "0" * 64}},
    ],
)
def test_hostile_headers(made, path, changed):
    hostile(path, **changed)
    with pytest.raises(IndexFileError):
        Index(path)


def test_a_header_that_claims_to_be_endless(path):
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{" * 1000)
    with pytest.raises(IndexFileError, match="not the header"):
        Index(path)


def test_damaged_matrix_is_found_before_it_is_copied(made, path, rng):
    data = bytearray(path.read_bytes())
    data[data.index(made.embeddings[3].tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFileError, match="embeddings"):
        append(path, songs(rng, 50), fingerprints=MARKS)
    with pytest.raises(IndexFileError, match="embeddings"):
        Index(path).verify()


def test_values_that_are_not_finite(made, path):
    data = bytearray(path.read_bytes())
    start = data.index(made.embeddings[3].tobytes())
    data[start : start + 2] = np.float16(np.nan).tobytes()
    path.write_bytes(data)
    with pytest.raises(IndexFileError, match="NaN"):
        Index(path).search(np.ones((1, SIZE)))


def test_windows_of_songs_that_are_not_there(path, rng):
    given = songs(rng, 1, 2, windows=True)
    made = Index.create(path, given, fingerprints=MARKS, window_layout="x")
    assert made.window_song.tolist() == [0, 1, 1]
    assert made.window_seconds.tolist() == [[1, 1], [2, 2], [2, 2]]
    parts = {
        name: index_file.Part(tensor.shape, [np.array(tensor)])
        for name, tensor in made._mapped.tensors.items()
    }
    parts["window_song"] = index_file.Part((3,), [np.array([0, 1, 2])])
    index_file.write(path, parts, metadata={**MARKS, "window_layout": "x"})
    with pytest.raises(IndexFileError, match="do not exist"):
        Index(path)


def test_export_npy(made, tmp_path):
    written = export(made, tmp_path / "e.npy")
    np.testing.assert_array_equal(np.load(written[0], allow_pickle=False), made.embeddings)
    assert written[1].read_text().splitlines() == made.names


def test_export_parquet(made, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    monkeypatch.setattr("mirex.retrieval.export.BLOCK", 16)
    table = parquet.read_table(export(made, tmp_path / "e.parquet")[0]).to_pydict()
    assert (table["name"], table["content"]) == (made.names, made.contents)
    np.testing.assert_array_equal(np.array(table["embedding"], np.float16), made.embeddings)


def test_export_of_an_unknown_kind(made, tmp_path):
    with pytest.raises(UsageError, match=r"\.npy"):
        export(made, tmp_path / "e.pickle")
    with pytest.raises(IndexFileError, match="cannot be written"):
        export(made, tmp_path / "nowhere" / "e.npy")


def test_export_without_pyarrow(made, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MirexError, match=r"pip install .*\[parquet\]"):
        export(made, tmp_path / "e.parquet")
    assert not Path(tmp_path / "e.parquet").exists()
