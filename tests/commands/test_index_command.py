"""`mirex index` and `mirex search --index`, on files whose embeddings lie in the store."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from mirex.commands import index as index_command
from mirex.commands import search as search_command
from mirex.errors import AudioError, IndexFileError, MirexError, SettingsMismatch, UsageError
from mirex.extraction.store import Store, content_hash
from mirex.retrieval import search as ranking
from mirex.retrieval.index import Index
from mirex.settings import FrontEndSettings
from sealed_metadata import CALIBRATION, FINGERPRINT, parse, seal_without_tensors

ANGLES = [0.0, 0.9, 0.3, 0.6, 1.2]


@pytest.fixture
def place(tmp_path):
    """Five files (any bytes), embeddings at growing angles, a list of them, weights without a network."""
    store = Store(tmp_path / "scratch", front_end=FrontEndSettings().fingerprint(), weights=FINGERPRINT)
    for number, angle in enumerate(ANGLES):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(f"recording {number}".encode())
        vector = np.zeros(2048, np.float32)
        vector[:2] = np.cos(angle), np.sin(angle)
        store.put(content_hash(path), vector)
    seal_without_tensors(tmp_path / "w.safetensors")
    (tmp_path / "list.txt").write_text("".join(f"{number}.wav\n" for number in range(5)))
    return tmp_path


def run(module, place, *arguments, weights=True):
    more = ["--weights", place / "w.safetensors"] if weights else []
    name = module.__name__.rsplit(".", 1)[1]
    return module.run(parse(module, [name, *arguments, *more, "--num-threads", "1", "--device", "cpu"]))


def build(place, *more):
    arguments = [place / "list.txt", "-o", place / "songs.mirex", "--scratch", place / "scratch", *more]
    return run(index_command, place, *arguments)


def test_index_search_touches_no_audio_and_agrees_with_the_list(place, capsys):
    assert build(place) == 0
    assert "5 songs added to" in capsys.readouterr().out
    query = str(place / "0.wav")
    listed = ranking.search(
        query,
        collection=[f"{n}.wav" for n in range(5)],
        locations=[str(place / f"{n}.wav") for n in range(5)],
        scratch=place / "scratch",
        weights=place / "w.safetensors",
    )
    for number in range(1, 5):
        (place / f"{number}.wav").unlink()
    arguments = [query, "--index", place / "songs.mirex", "--scratch", place / "scratch", "--format", "json"]
    assert run(search_command, place, *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [hit["path"] for hit in found["hits"]] == [hit.path for hit in listed.hits]
    assert (found["compared"], found["own"]) == (4, 1)
    for hit, expected in zip(found["hits"], listed.hits, strict=True):
        assert hit["distance"] == pytest.approx(expected.distance, abs=2e-4)
        chance = CALIBRATION.probability(hit["distance"], prior=1 / 4)
        assert hit["probability"] == pytest.approx(chance, abs=1e-6)


@pytest.mark.parametrize("short", ["0.wav", "2.wav"])
def test_short_recordings_of_an_index_get_no_probability(place, capsys, short):
    store = Store(place / "scratch", front_end=FrontEndSettings().fingerprint(), weights=FINGERPRINT)
    content = content_hash(place / short)
    embedding = store.get(content)
    assert embedding is not None
    store.put(content, embedding, seconds=12.0)
    build(place)
    capsys.readouterr()
    options = ["--index", place / "songs.mirex", "--scratch", place / "scratch", "--format", "json"]
    assert run(search_command, place, place / "0.wav", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert [hit["short"] for hit in found["hits"]] == [hit["path"] == short for hit in found["hits"]]
    unknown = [short in ("0.wav", hit["path"]) for hit in found["hits"]]
    assert [hit["probability"] is None for hit in found["hits"]] == unknown
    assert bool(found["short"]) == (short == "0.wav")


def test_several_queries(place, capsys):
    build(place)
    capsys.readouterr()
    (place / "bad.wav").write_text("no audio")
    queries = [place / "1.wav", place / "0.wav"]
    options = ["--index", place / "songs.mirex", "--scratch", place / "scratch", "--top", "1"]
    assert run(search_command, place, *queries, *options, "--format", "csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "query,rank,distance,probability,path"
    assert [line.split(",")[0] for line in lines[1:]] == [str(query) for query in queries]
    assert [line.split(",")[-1] for line in lines[1:]] == ["3.wav", "2.wav"]
    assert run(search_command, place, *queries, *options) == 0
    assert capsys.readouterr().out.count("recordings compared") == 2
    with pytest.raises(UsageError, match="one query"):
        run(
            search_command,
            place,
            *queries,
            "--collection",
            place / "list.txt",
            "--scratch",
            place / "scratch",
        )


def test_a_query_that_cannot_be_analysed_stops_no_other(place, capsys):
    build(place)
    capsys.readouterr()
    options = ["--index", place / "songs.mirex", "--scratch", place / "scratch", "--format", "json"]
    assert run(search_command, place, place / "gone.wav", place / "0.wav", *options) == 1
    assert [found["query"] for found in json.loads(capsys.readouterr().out)] == [str(place / "0.wav")]
    with pytest.raises(AudioError, match="no query"):
        run(search_command, place, place / "gone.wav", *options)


def test_append_remove_export_describe(place, capsys, caplog):
    (place / "list.txt").write_text("0.wav\n1.wav\n")
    build(place)
    (place / "list.txt").write_text("1.wav\n2.wav\n")
    assert build(place, "--append") == 0
    assert Index(place / "songs.mirex").names == ["0.wav", "1.wav", "2.wav"]
    (place / "gone.txt").write_text("0.wav\n9.wav\n")
    with caplog.at_level(logging.WARNING, "mirex"):
        assert run(index_command, place, place / "gone.txt", "-o", place / "songs.mirex", "--remove") == 0
    assert "1 songs were not in the index, the first: 9.wav" in caplog.text
    assert Index(place / "songs.mirex").names == ["1.wav", "2.wav"]
    assert run(index_command, place, "-o", place / "songs.mirex", "--export", place / "e.npy") == 0
    assert np.load(place / "e.npy").shape == (2, 2048)
    capsys.readouterr()
    assert run(index_command, place, "-o", place / "songs.mirex") == 0
    assert "2 songs, 2048 dimensions, no windows" in capsys.readouterr().out


def test_append_warns_of_another_file_under_a_listed_path(place, caplog):
    build(place)
    (place / "q").mkdir()
    (place / "q" / "0.wav").write_bytes((place / "1.wav").read_bytes())
    (place / "q" / "2.wav").write_bytes((place / "2.wav").read_bytes())
    (place / "q" / "list.txt").write_text("0.wav\n2.wav\n")
    with caplog.at_level(logging.WARNING, "mirex"):
        arguments = [place / "q" / "list.txt", "-o", place / "songs.mirex", "--scratch", place / "scratch"]
        assert run(index_command, place, *arguments, "--append") == 0
    assert "1 songs of the index were replaced" in caplog.text
    assert "the first: 0.wav; if these are other songs, append both lists with absolute paths" in caplog.text


def test_a_path_that_is_listed_twice_is_one_song(place, capsys):
    (place / "list.txt").write_text("0.wav\n1.wav\n0.wav\n")
    assert build(place) == 0
    assert "2 songs added to" in capsys.readouterr().out


def test_a_graph_stays_current_if_nothing_is_removed(place, caplog):
    build(place)
    (place / "songs.mirex.graph").touch()
    (place / "gone.txt").write_text("9.wav\n")
    with caplog.at_level(logging.WARNING, "mirex"):
        run(index_command, place, place / "gone.txt", "-o", place / "songs.mirex", "--remove")
    assert "outdated" not in caplog.text


def test_a_strict_search_names_no_folder_that_is_gone(place):
    build(place)
    query = [place / "gone.wav", "--index", place / "songs.mirex", "--strict"]
    with pytest.raises(AudioError, match="1 of 1 queries .* the log has the reasons"):
        run(search_command, place, *query)


def test_other_weights_are_refused_before_anything_is_extracted(place, monkeypatch):
    build(place)
    seal_without_tensors(place / "w.safetensors", fingerprint="f" * 16)
    monkeypatch.setattr("mirex.extraction.extract.extract", None)
    with pytest.raises(SettingsMismatch, match="weights"):
        build(place, "--append")
    with pytest.raises(SettingsMismatch, match="weights"):
        run(search_command, place, place / "0.wav", "--index", place / "songs.mirex")


def test_failures_are_left_out_and_named(place, capsys):
    (place / "list.txt").write_text("0.wav\nbad.wav\n1.wav\n")
    assert build(place) == 0
    assert "2 songs added to" in capsys.readouterr().out
    assert Index(place / "songs.mirex").names == ["0.wav", "1.wav"]
    assert (place / "scratch" / "failed.tsv").read_text().startswith("bad.wav\t")


def test_an_approximate_search_says_so(place, capsys):
    pytest.importorskip("faiss", reason="faiss is an extra")
    assert build(place, "--approximate") == 0
    output = capsys.readouterr().out
    assert "links of 5 songs" in output
    assert "finds 100.00 % of the 10 nearest" in output
    index = ["--index", place / "songs.mirex", "--scratch", place / "scratch"]

    def found(*more):
        assert run(search_command, place, place / "0.wav", *index, *more) == 0
        return capsys.readouterr().out

    exact, near = found(), found("--approximate")
    line = "approximate, some of the nearest may be missing: recall@10 1.0000 over 5 sampled queries"
    assert near.splitlines() == [exact.splitlines()[0], line, *exact.splitlines()[1:]]
    values = json.loads(found("--approximate", "--format", "json"))
    assert values["approximate"] == "recall@10 1.0000 over 5 sampled queries"
    assert json.loads(found("--format", "json")) == values | {"approximate": ""}
    lines = found("--approximate", "--format", "csv").splitlines()
    assert lines[0].endswith("path,approximate")
    assert all(line.endswith("recall@10 1.0000 over 5 sampled queries") for line in lines[1:])
    assert found("--format", "csv").splitlines()[0].endswith("path")


def test_a_graph_is_stale_after_a_change(place, caplog, capsys):
    pytest.importorskip("faiss", reason="faiss is an extra")
    build(place)
    assert run(index_command, place, "-o", place / "songs.mirex", "--approximate") == 0
    (place / "gone.txt").write_text("4.wav\n")
    change = [place / "gone.txt", "-o", place / "songs.mirex"]
    with caplog.at_level(logging.WARNING, "mirex"):
        run(index_command, place, *change, "--remove")
    assert "songs.mirex.graph is outdated" in caplog.text
    query = [place / "0.wav", "--index", place / "songs.mirex", "--scratch", place / "scratch"]
    with pytest.raises(IndexFileError, match="outdated"):
        run(search_command, place, *query, "--approximate")
    assert run(search_command, place, *query) == 0, "exact search needs no graph"
    run(index_command, place, *change, "--scratch", place / "scratch", "--append", "--approximate")
    assert run(search_command, place, *query, "--approximate") == 0


def test_without_faiss_nothing_is_begun(place, monkeypatch):
    build(place)
    monkeypatch.setattr("mirex.extras.find_spec", lambda name: None)
    monkeypatch.setattr("mirex.extraction.extract.extract", None)
    with pytest.raises(MirexError, match=r"pip install .*\[faiss\]"):
        build(place, "--append", "--approximate")
    with pytest.raises(MirexError, match=r"pip install .*\[faiss\]"):
        run(search_command, place, place / "0.wav", "--index", place / "songs.mirex", "--approximate")


def test_wrong_usage(place):
    build(place)
    before = (place / "songs.mirex").read_bytes()
    index, listed = place / "songs.mirex", place / "list.txt"
    for arguments, message in (
        ([listed, "-o", index, "--scratch", place / "scratch"], "already exists"),
        ([listed, "-o", place / "new.mirex"], "--scratch"),
        (["-o", index, "--append"], "need a list"),
        (["-o", index, "--remove"], "need a list"),
        ([listed, "-o", index, "--export", "e.npy"], "leave out the list"),
        (["-o", index, "--export", "e.npy", "--approximate"], "leave out the list and --approximate"),
    ):
        with pytest.raises(UsageError, match=message):
            run(index_command, place, *arguments)
    assert index.read_bytes() == before
    assert not Path("e.npy").exists()
