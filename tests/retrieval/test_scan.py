"""Scanning: the path is the best of all paths, windows lie where they should, and sets are named."""

import csv
import dataclasses
import io
import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mirex.commands import index as index_command
from mirex.commands import scan as scan_command
from mirex.errors import AudioError, MirexError, SettingsMismatch, UsageError
from mirex.extraction.store import Store, content_hash
from mirex.features.audio import AudioWarning
from mirex.retrieval import tracklist
from mirex.retrieval import windows as windows_module
from mirex.retrieval.index import Index, Songs
from mirex.retrieval.indexing import fingerprints
from mirex.retrieval.path import NONE, best_path, posteriors
from mirex.retrieval.scan import (
    Evidence,
    Occurrence,
    Scan,
    _background,
    _key,
    _placed,
    occurrences,
    segment_evidence,
)
from mirex.retrieval.scan_page import write_page
from mirex.retrieval.windows import OF_SONGS, Layout, embed_spans
from random_network import random_sealed, save_random
from sealed_metadata import parse

SIZE = 512
MARKS = {"front_end": "f" * 16, "cqt": "multirate", "weights": "w" * 16}


def all_paths(cells, lengths, songs):
    """Every row of segments that fills the cells: lists of (start, length, song), NONE in single cells."""
    if cells == 0:
        yield []
        return
    for length, song in [(1, NONE), *itertools.product(lengths, range(songs))]:
        if length <= cells:
            for before in all_paths(cells - length, lengths, songs):
                yield [*before, (cells - length, length, song)]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_path_and_posteriors_are_those_of_all_paths(cells, songs, shortest, seed):
    lengths, generator = (shortest, shortest + 1), np.random.default_rng(seed)
    evidence = {n: generator.normal(0, 3, (max(1, cells - n + 1), songs)) for n in lengths}
    paths = list(all_paths(cells, lengths, songs))
    scores = np.array(
        [sum(evidence[n][start, song] for start, n, song in path if song != NONE) for path in paths]
    )
    states = np.full((len(paths), cells), NONE)
    for row, path in zip(states, paths, strict=True):
        for start, length, song in path:
            row[start : start + length] = song
    assert best_path(evidence, cells=cells).tolist() == states[scores.argmax()].tolist()
    weights = np.exp(scores - scores.max())
    expected = [[weights[states[:, c] == s].sum() for s in range(songs)] for c in range(cells)]
    found = posteriors(evidence, cells=cells)
    np.testing.assert_allclose(found, np.array(expected) / weights.sum(), atol=1e-9)


def test_a_larger_collection_needs_more_evidence(tmp_path, rng):
    """The same windows, the same song: named among 30, not among so many that chance alone comes as near."""
    vectors = unit(rng, 1)
    stretch = (0.3 * vectors + 0.95 * unit(rng, 1))[[0] * 8]
    seconds = np.array([[15.0 * n, 15.0 * n + 60] for n in range(8)])
    named = []
    for number, evidence in ((30, Evidence()), (3000, Evidence(slope=20))):
        wholes = np.concatenate([vectors, unit(rng, number - 1)])
        songs = Songs([str(n) for n in range(number)], [f"{n:064x}" for n in range(number)], wholes)
        index = Index.create(tmp_path / str(number), songs, fingerprints=MARKS)
        for each in (evidence, dataclasses.replace(evidence, slope=0.0)):
            found = occurrences(stretch, seconds, index=index, hop=15, evidence=each)
            named.append([one.song for one in found if one.confidence > 0.5])
    assert named[0] == ["0"]
    assert named[1] == named[3] == []


@settings(max_examples=20, deadline=None)
@given(columns=st.integers(1, 400), hop=st.floats(1, 30), second=st.floats(0.3, 2))
def test_windows_cover_every_column_and_end_with_the_recording(columns, hop, second):
    spans = Layout((30, 60), hop).spans(columns, seconds_per_column=second)
    covered = np.zeros(columns, bool)
    for first, past in spans:
        assert 0 <= first < past <= columns
        covered[first:past] = True
    assert spans[:, 1].max() == columns
    assert len({tuple(span) for span in spans.tolist()}) == len(spans)
    if hop <= 30 - 2 * second:
        assert covered.all()


def test_embed_spans_is_embed_and_goes_on_where_it_was(tmp_path, rng, monkeypatch):
    sealed = random_sealed()
    columns = rng.uniform(0, 1, (84, 100)).astype(np.float32)
    spans = np.array([[0, 30], [10, 40], [60, 100]])
    monkeypatch.setattr(windows_module, "BLOCK", 1)
    from mirex.model import embedding

    calls = []

    def embed(parts, *, sealed):
        calls.append(len(parts))
        return np.ones((1, 2048), np.float32) * parts[0].shape[1]

    monkeypatch.setattr(embedding, "embed", embed)
    store = Store(tmp_path, front_end="f", weights="w")

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_spans(columns, spans, sealed=sealed, store=store, content="c", progress=stop)
    found = embed_spans(columns, spans, sealed=sealed, store=store, content="c")
    assert len(calls) == 3
    assert found[:, 0].tolist() == [30, 30, 40]


def test_evidence_is_what_stands_out_of_the_background(made, rng):
    """By hand: two windows of 30 s, the second stretch is their mean; the background has its floor."""
    vectors = unit(rng, 2)
    mean = vectors.sum(axis=0) / np.linalg.norm(vectors.sum(axis=0))
    given = Evidence(slope=10.0, threshold=0.1, per_second=0.001, least_background=0.15)
    songs = np.array([3, 7])
    found = segment_evidence(
        vectors, {2: np.array([0, 1])}, np.array([0.1, 0.3]), index=made, songs=songs, hop=15, evidence=given
    )
    parts = made.windows.astype(float).reshape(len(made), 3, -1)
    for length, stretches, levels in ((2, vectors, [0.15, 0.3]), (3, mean[None], [0.2])):
        nearest = (parts[songs] @ stretches.T).max(axis=1).T
        expected = 10 * (nearest - np.array(levels)[:, None] - 0.1 - 0.015 * length) - np.log(len(made))
        np.testing.assert_allclose(found[length], expected, atol=1e-3)


def test_background_is_the_mean_of_those_next_to_the_nearest(rng):
    values = rng.normal(0, 1, (3, 40)).astype(np.float32)
    values[:, 5] = -np.inf
    ordered = np.sort(values, axis=1)
    np.testing.assert_allclose(_background(values), ordered[:, -21:-1].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        _background(values[:, :7]), np.sort(values[:, :7])[:, 1:6].mean(axis=1), rtol=1e-5
    )
    assert _background(values[:, :1]).tolist() == [-1, -1, -1]


def unit(rng, number, size=SIZE):
    vectors = rng.standard_normal((number, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def made(tmp_path, rng):
    """An index of 30 songs with three windows each; the windows differ, the whole is their mean."""
    wholes = unit(rng, 30)
    parts = [whole + 0.15 * unit(rng, 3) * 3 for whole in wholes]
    seconds = np.array([[0, 60], [60, 120], [120, 180]], float)
    names = [f"/music/song {n}.mp3" for n in range(30)]
    songs = Songs(names, [f"{n:064x}" for n in range(30)], wholes, [(part, seconds) for part in parts])
    return Index.create(tmp_path / "songs.mirex", songs, fingerprints=MARKS, window_layout="x")


def a_set(made, rng, *, order, seconds=120, noise=0.6):
    """Windows of 30 s every 15 s: of songs (their windows, disturbed), or of nothing known (None)."""
    spans, vectors = [], []
    for place, song in enumerate(order):
        for start in np.arange(0, seconds, 15.0):
            spans.append((place * seconds + start, place * seconds + start + 30))
            part = None if song is None else made.windows[3 * song + int(start // 60)]
            known = np.zeros(SIZE) if part is None else part.astype(float)
            vectors.append(known / max(float(np.linalg.norm(known)), 1e-9) + noise * unit(rng, 1)[0])
    disturbed = np.array(vectors, np.float32)
    return disturbed / np.linalg.norm(disturbed, axis=1, keepdims=True), np.array(spans)


def test_a_set_is_named(made, rng):
    vectors, seconds = a_set(made, rng, order=[3, None, 7, 7, 20, None])
    found = occurrences(vectors, seconds, index=made, hop=15)
    assert [each.song for each in found] == [f"/music/song {n}.mp3" for n in (3, 7, 20)]
    for each, (start, end) in zip(found, [(0, 120), (240, 480), (480, 600)], strict=True):
        assert abs(each.start - start) <= 15
        assert abs(each.end - end) <= 15
        assert each.confidence > 0.8
        assert each.runner_up != each.song
        assert each.runner_up_confidence < 0.2


def test_own_content_and_unknown_songs_are_not_named(made, rng):
    vectors, seconds = a_set(made, rng, order=[3])
    assert occurrences(vectors, seconds, index=made, hop=15, content=f"{3:064x}") == []
    vectors, seconds = a_set(made, rng, order=[None, None])
    assert occurrences(vectors, seconds, index=made, hop=15) == []


def test_blocks_of_windows_do_not_matter(made, rng, monkeypatch):
    vectors, seconds = a_set(made, rng, order=[3, 5, None])
    whole = occurrences(vectors, seconds, index=made, hop=15)
    monkeypatch.setattr("mirex.retrieval.scan._MOST_PRODUCTS", 1)
    assert occurrences(vectors, seconds, index=made, hop=15) == whole


def test_songs_without_windows_are_met_as_a_whole(tmp_path, rng):
    wholes = unit(rng, 5)
    none, some = (np.empty((0, SIZE)), np.empty((0, 2))), (wholes[:1], np.zeros((1, 2)))
    songs = Songs(list("abcde"), [f"{n:064x}" for n in range(5)], wholes, [some, none, none, some, none])
    mixed = Index.create(tmp_path / "mixed", songs, fingerprints=MARKS, window_layout="x")
    seconds = np.array([[15.0 * n, 15.0 * n + 30] for n in range(8)])
    found = occurrences(np.repeat(wholes[1:2], 8, axis=0), seconds, index=mixed, hop=15)
    assert [each.song for each in found] == ["b"]
    plain = Index.create(tmp_path / "plain", Songs(*list(vars(songs).values())[:3]), fingerprints=MARKS)
    assert [each.song for each in occurrences(wholes[[1] * 8], seconds, index=plain, hop=15)] == ["b"]


SCAN = Scan(
    '/sets/it\'s "live".mp3',
    400.0,
    (
        Occurrence("/m/A <b>.mp3", 30.0, 180.0, 0.9, "/m/B.mp3", 0.06),
        Occurrence("/m/B.mp3", 180.0, 390.5, 0.7, None, 0.0),
    ),
    12,
    "w" * 16,
)


def test_text_and_tables_tell_the_same():
    assert "2 songs of 12, 90 % of the time" in tracklist.text(SCAN)
    assert "or /m/B.mp3 (6 %)" in tracklist.text(SCAN)
    rows = list(csv.DictReader(io.StringIO(tracklist.as_csv(SCAN))))
    values = json.loads(tracklist.as_json(SCAN))["occurrences"]
    for row, value in zip(rows, values, strict=True):
        assert (float(row["start"]), float(row["end"])) == (value["start"], value["end"])
        assert row["song"] == value["song"]
        assert float(row["confidence"]) == value["confidence"]
    assert rows[1]["runner_up"] == ""


def test_cue_sheet():
    assert tracklist.as_cue(SCAN).splitlines() == [
        "FILE \"it's 'live'.mp3\" MP3",
        "  TRACK 01 AUDIO",
        '    TITLE "unknown"',
        "    INDEX 01 00:00:00",
        "  TRACK 02 AUDIO",
        '    TITLE "A <b>"',
        "    INDEX 01 00:30:00",
        "  TRACK 03 AUDIO",
        '    TITLE "B"',
        "    INDEX 01 03:00:00",
    ]
    assert tracklist._cue_time(4000.5) == "66:40:38"


def test_labels():
    first, second = tracklist.as_labels(SCAN).splitlines()
    assert first == "30.000000\t180.000000\tA <b> (90 %)"
    assert second.split("\t")[1] == "390.500000"


def test_page_is_whole_and_shows_names_as_text(tmp_path):
    write_page(SCAN, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<b>" not in page.replace("<body>", "")
    assert "A &lt;b&gt;" in page
    assert page.count('class="bar"') == 2
    assert 'style="left:7.500%;width:37.500%' in page
    assert re.search(r'<audio [^>]*src="[^"]*sets/it%27s%20%22live%22.mp3"', page)
    assert not re.search(r'(src|href)="https?:', page)


@pytest.fixture
def place(tmp_path, rng):
    """Two songs of 24 s, a set that plays one of them after the other, and weights that learned nothing."""
    time = np.arange(22050) / 22050
    songs = []
    for name in ("a", "b"):
        pitches = rng.integers(-9, 12, 24)
        songs.append(np.concatenate([0.2 * np.sin(2 * np.pi * 330 * 2 ** (p / 12) * time) for p in pitches]))
        soundfile.write(tmp_path / f"{name}.wav", songs[-1], 22050)
    soundfile.write(tmp_path / "set.wav", np.concatenate(songs), 22050)
    (tmp_path / "list.txt").write_text("a.wav\nb.wav\n")
    save_random(tmp_path / "w.safetensors")
    return tmp_path


@pytest.fixture
def eager(monkeypatch):
    """To weights that learned nothing all music is alike: so that something is named all the same."""
    monkeypatch.setattr("mirex.retrieval.scan.Evidence", lambda: Evidence(threshold=-1.0))


def run(module, place, *arguments):
    options = ["--weights", place / "w.safetensors", "--num-threads", "1", "--device", "cpu"]
    return module.run(parse(module, [module.__name__.rsplit(".", 1)[1], *arguments, *options]))


def test_command_from_audio(place, capsys, eager):
    listed = ["--collection", place / "list.txt", "--scratch", place / "s", "--format", "json"]
    assert run(scan_command, place, place / "set.wav", *listed, "--html", place / "page.html") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["songs"] == 2
    assert first["occurrences"]
    assert first["seconds"] == pytest.approx(48, abs=0.5)
    assert (place / "page.html").stat().st_size > 1000
    index = place / "songs.mirex"
    run(index_command, place, place / "list.txt", "-o", index, "--scratch", place / "s", "--windows")
    assert Index(index).window_layout == str(OF_SONGS)
    capsys.readouterr()
    run(scan_command, place, place / "set.wav", "--index", index, "--format", "json")
    assert json.loads(capsys.readouterr().out) == first
    (place / "b.txt").write_text("b.wav\n")
    run(index_command, place, place / "b.txt", "-o", index, "--scratch", place / "s", "--append")
    assert Index(index).window_song.tolist() == [0, 1]


def test_silence_moves_times_and_nothing_else(place, capsys, eager):
    """As the ordinary embedding: a set with silence before, between and behind is the set without."""
    sound = soundfile.read(place / "set.wav")[0]
    seconds = (40, 30, 9)
    silences = [np.zeros(each * 22050) for each in seconds]
    parts = np.split(sound, [24 * 22050])
    padded = np.concatenate([silences[0], parts[0], silences[1], parts[1], silences[2]])
    soundfile.write(place / "padded.wav", padded, 22050)
    listed = ["--collection", place / "list.txt", "--scratch", place / "s", "--format", "json"]
    found = []
    for name in ("set.wav", "padded.wav"):
        run(scan_command, place, place / name, *listed, "--at-least", "0")
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["seconds"] == pytest.approx(48, abs=0.5)
    assert found[1]["seconds"] == pytest.approx(48 + sum(seconds), abs=0.5)
    first, second = (scan["occurrences"] for scan in found)
    assert {each["song"] for each in first} == {each["song"] for each in second} != set()
    assert second[0]["confidence"] == pytest.approx(first[0]["confidence"], abs=0.01)
    assert second[0]["start"] == pytest.approx(40 + first[0]["start"], abs=0.1)
    assert second[-1]["end"] == pytest.approx(70 + first[-1]["end"], abs=0.5)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 30, [(5, 35)]),
        (30, 60, [(35, 45), (65, 85)]),  # 20 s of silence part it
        (39, 60, [(65, 85)]),  # a second is no part
        (40, 80, [(65, 85), (145, 167)]),
        (60, 70, [(145, 155)]),
        (0, 5, [(5, 10)]),
        (72, 80, [(157, 167)]),  # two seconds part nothing
    ],
)
def test_occurrences_lie_where_the_silence_lets_them(start, end, expected):
    silences = np.array([[0.0, 5], [45, 65], [85, 145], [160, 162]])
    each = Occurrence("a", start, end, 0.9, None, 0.0)
    found = _placed(each, silences, hop=15)
    assert [(part.start, part.end) for part in found] == expected
    assert {part.confidence for part in found} == {0.9}


def made_by(place, **made):
    """An index of one song that nothing is near to, as made with some weights, transform and backend."""
    marks = fingerprints(place / "w.safetensors", **made)
    songs = Songs(["a"], ["00" * 32], np.eye(1, 2048))
    return Index.create(place / "made.mirex", songs, fingerprints=marks).path


def test_what_a_scan_keeps_is_not_taken_for_what_extraction_keeps(place):
    """The two differ in their last bits: which came first must not matter."""
    index = made_by(place, cqt="multirate")
    run(scan_command, place, place / "a.wav", "--index", index, "--scratch", place / "s")
    content, marks = content_hash(place / "a.wav"), fingerprints(place / "w.safetensors", cqt="multirate")
    store = Store(place / "s", **marks)
    assert store.get(_key(content), kind="columns") is not None
    assert store.get(content, kind="columns") is None


class TestBackend:
    """An index is scanned with the backend that it was made with."""

    def test_without_being_told(self, place, capsys, eager):
        pytest.importorskip("openvino")
        index, listed = place / "openvino.mirex", ["--scratch", place / "s"]
        (place / "b.txt").write_text("b.wav\n")
        made = [place / "b.txt", "-o", index, *listed, "--windows", "--backend", "openvino"]
        run(index_command, place, *made)
        assert Index(index).fingerprints["weights"].endswith("-openvino")
        assert Index(index).window_layout == str(OF_SONGS)
        capsys.readouterr()
        run(scan_command, place, place / "a.wav", "--index", index, "--format", "json", "--at-least", "0")
        found = json.loads(capsys.readouterr().out)
        assert found["weights"] == Index(index).fingerprints["weights"]
        assert [each["song"] for each in found["occurrences"]] == ["b.wav"]

    def test_another_backend_is_a_mismatch(self, place):
        index = made_by(place, cqt="multirate", backend="openvino")
        with pytest.raises(SettingsMismatch, match="--backend"):
            run(scan_command, place, place / "set.wav", "--index", index, "--backend", "torch")

    def test_one_that_is_not_installed_is_named(self, place, monkeypatch):
        index = made_by(place, cqt="multirate", backend="openvino")
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(MirexError, match=r"pip install .*\[fast\]"):
            run(scan_command, place, place / "set.wav", "--index", index)


def test_an_index_is_scanned_with_its_own_transform(place):
    index = made_by(place, cqt="essentia")
    assert run(scan_command, place, place / "a.wav", "--index", index) == 0
    with pytest.raises(SettingsMismatch, match="--cqt"):
        run(scan_command, place, place / "a.wav", "--index", index, "--cqt", "multirate")


def test_progress_counts_bytes_then_windows(place, monkeypatch):
    """Twice the file's bytes, once windows: a line for each, from 0 to all."""
    lines: list[tuple[str, list[tuple[int, int]]]] = []

    class Line:
        def __init__(self, *, unit):
            lines.append((unit, []))

        def __call__(self, done, total):
            lines[-1][1].append((done, total))

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("mirex.logs.ProgressLine", Line)
    index = made_by(place, cqt="multirate")
    assert run(scan_command, place, place / "set.wav", "--index", index) == 0
    assert [unit for unit, _ in lines] == ["byte", "byte", "window"]
    for _, seen in lines:
        assert seen[0][0] == 0
        assert seen[-1] == (seen[0][1], seen[0][1])


DIES = """
import os, signal, sys
from mirex.cli import main
from mirex.extraction.store import Store
from mirex.retrieval import windows

windows.BLOCK, put, kept = 2, Store.put, []

def dying(self, content, array, **options):
    put(self, content, array, **options)
    kept.append(content)
    if len(kept) == 5:  # columns, silences, three blocks of windows
        os.kill(os.getpid(), signal.Signals[sys.argv[1]])

Store.put = dying
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(("signal", "status"), [("SIGINT", 1), ("SIGKILL", -9)])
def test_an_interrupted_scan_goes_on_and_prints_the_same(place, capsys, eager, monkeypatch, signal, status):
    """What was kept is not computed again, and the whole is what an uninterrupted scan prints."""
    monkeypatch.setattr(windows_module, "BLOCK", 2)
    soundfile.write(place / "long.wav", np.tile(soundfile.read(place / "set.wav")[0], 3), 22050)
    marks = fingerprints(place / "w.safetensors", cqt="multirate")
    song = Songs(["a", "b"], ["00" * 32, "11" * 32], np.eye(2, 2048))
    index = Index.create(place / "made.mirex", song, fingerprints=marks).path
    given = [place / "long.wav", "--index", index, "--format", "json", "--at-least", "0"]
    run(scan_command, place, *given, "--scratch", place / "whole")
    expected = capsys.readouterr().out
    assert json.loads(expected)["occurrences"]
    options = ["--weights", place / "w.safetensors", "--device", "cpu", "--scratch", place / "s"]
    command = [sys.executable, "-c", DIES, signal, "scan", *given, *options]
    died = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert (died.returncode, died.stdout) == (status, "")
    assert ("to resume" in died.stderr) == (signal == "SIGINT")
    kept = {path: path.stat().st_mtime_ns for path in (place / "s").rglob("*") if path.is_file()}
    assert len(kept) == 5
    run(scan_command, place, *given, "--scratch", place / "s")
    assert capsys.readouterr().out == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_nothing_is_named_in_a_short_recording(place, capsys, caplog):
    soundfile.write(place / "short.wav", soundfile.read(place / "a.wav")[0][: 22050 * 12], 22050)
    listed = ["--collection", place / "list.txt", "--scratch", place / "s", "--format", "json"]
    with caplog.at_level("WARNING", "mirex"):
        assert run(scan_command, place, place / "short.wav", *listed, "--at-least", "0") == 0
    assert json.loads(capsys.readouterr().out)["occurrences"] == []
    assert "short.wav" in caplog.text


def test_messages_name_the_recording(place, caplog, recwarn):
    content = (place / "set.wav").read_bytes()
    (place / "cut.wav").write_bytes(content[: len(content) // 2])
    listed = ["--collection", place / "list.txt", "--scratch", place / "s"]
    with caplog.at_level("WARNING", "mirex"):
        assert run(scan_command, place, place / "cut.wav", *listed) == 0
    assert caplog.text.count("cut.wav: ") == 1
    assert "seconds" in next(line for line in caplog.messages if "cut.wav" in line)
    assert not [each for each in recwarn if issubclass(each.category, AudioWarning)]
    for name, content in (("gone.wav", None), ("text.wav", "no audio")):
        if content:
            (place / name).write_text(content)
        with pytest.raises(AudioError, match=rf"{name}' cannot be analysed"):
            run(scan_command, place, place / name, *listed)


def test_command_wrong_usage(place):
    with pytest.raises(UsageError, match="--scratch"):
        run(scan_command, place, place / "set.wav", "--collection", place / "list.txt")
    Index.create(place / "other", Songs(["a"], ["00" * 32], np.ones((1, 2048))), fingerprints=MARKS)
    with pytest.raises(SettingsMismatch):
        run(scan_command, place, place / "set.wav", "--index", place / "other")
    with pytest.raises(UsageError, match="confidence"):
        run(scan_command, place, place / "set.wav", "--index", place / "other", "--at-least", "2")
