"""Search and compare: what is stored is ranked, what is missing is said, probabilities name their set."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mirex.commands import compare as compare_command
from mirex.commands import search as search_command
from mirex.errors import AudioError, UsageError
from mirex.extraction.store import Store, content_hash
from mirex.features.audio import AudioWarning
from mirex.retrieval import search as ranking
from mirex.settings import FrontEndSettings, NetworkSettings
from sealed_metadata import CALIBRATION, FINGERPRINT, parse, seal_without_tensors


@pytest.fixture
def collection(tmp_path):
    """Six files (any bytes), embeddings at growing angles from the first; the fifth is not extracted."""
    store = Store(tmp_path / "scratch", front_end=FrontEndSettings().fingerprint(), weights=FINGERPRINT)
    paths = [str(tmp_path / f"{name}.wav") for name in ("query", "b", "c", "d", "e", "f")]
    for index, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(f"recording {index}".encode())
        angle = [0.0, 0.9, 0.3, 0.6, 0.1, 1.2][index]
        if index != 4:
            vector = np.zeros(2048, np.float32)
            vector[:2] = np.cos(angle), np.sin(angle)
            store.put(content_hash(path), vector)
    return paths


def search(tmp_path, paths, **options):
    weights = seal_without_tensors(tmp_path / "w.safetensors")
    return ranking.search(
        paths[0], collection=paths, scratch=tmp_path / "scratch", weights=weights, **options
    )


def test_search_ranks_what_is_stored(tmp_path, collection):
    found = search(tmp_path, collection)
    assert [hit.path for hit in found.hits] == [collection[i] for i in (2, 3, 1, 5)]
    assert [hit.rank for hit in found.hits] == [1, 2, 3, 4]
    assert found.hits[0].distance == pytest.approx(1 - np.cos(0.3), abs=1e-6)
    expected = CALIBRATION.probability(1 - np.cos(0.3), prior=0.25)
    assert found.hits[0].probability == pytest.approx(expected, abs=1e-5)
    assert (found.compared, found.own, found.weights) == (4, 1, FINGERPRINT)


def test_search_reports_what_is_missing_and_computes_nothing_for_it(tmp_path, collection):
    gone = str(tmp_path / "gone.wav")
    found = search(tmp_path, [*collection, gone])
    assert set(found.missing) == {collection[4], gone}
    assert found.missing[collection[4]] == "not extracted yet"


def test_search_leaves_out_copies_of_the_query(tmp_path, collection):
    copy = tmp_path / "copy.wav"
    copy.write_bytes(Path(collection[0]).read_bytes())
    found = search(tmp_path, [*collection, str(copy)])
    assert found.own == 2
    assert str(copy) not in [hit.path for hit in found.hits]


def test_search_finds_a_renamed_recording(tmp_path, collection):
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "x.wav").write_bytes(Path(collection[2]).read_bytes())
    assert search(tmp_path, [collection[0], str(moved / "x.wav")]).compared == 1


def test_top_and_prior(tmp_path, collection):
    found = search(tmp_path, collection, top=2, prior=0.5)
    assert len(found.hits) == 2
    assert found.hits[0].probability > search(tmp_path, collection).hits[0].probability
    with pytest.raises(UsageError, match="top 0"):
        search(tmp_path, collection, top=0)
    with pytest.raises(UsageError, match="prior"):
        search(tmp_path, collection, prior=1.5)


def test_query_that_cannot_be_read(tmp_path, collection):
    with pytest.raises(AudioError, match=r"gone\.wav' cannot be analysed: no such file"):
        search(tmp_path, [str(tmp_path / "gone.wav"), *collection])


def test_ties_keep_list_order():
    names = list("abcd")
    found = ranking.nearest(np.array([1.0, 0.0]), np.eye(2)[[1, 0, 1, 0]], names=names, top=4)
    assert [hit.path for hit in found] == ["b", "d", "a", "c"]
    assert all(hit.probability is None for hit in found)


def keep_again(tmp_path, path, *, seconds):
    """Store a recording of the collection once more, with so many seconds of sound."""
    store = Store(tmp_path / "scratch", front_end=FrontEndSettings().fingerprint(), weights=FINGERPRINT)
    embedding = store.get(content_hash(path))
    assert embedding is not None
    store.put(content_hash(path), embedding, seconds=seconds)


def test_a_short_recording_has_a_distance_but_no_probability(tmp_path, collection, capsys):
    keep_again(tmp_path, collection[0], seconds=60.0)
    keep_again(tmp_path, collection[3], seconds=12.0)
    found = search(tmp_path, collection)
    assert [hit.short for hit in found.hits] == [False, True, False, False]
    assert [hit.probability is None for hit in found.hits] == [False, True, False, False]
    assert found.short == ""
    run_search(tmp_path, collection)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines[-4:]].index("short") == 1
    assert any(line.startswith("short: less than 20 s") for line in lines)


def test_a_short_query_has_no_probability_at_all(tmp_path, collection, capsys):
    keep_again(tmp_path, collection[0], seconds=12.0)
    found = search(tmp_path, collection)
    assert all(hit.probability is None and not hit.short for hit in found.hits)
    assert found.short.startswith("only 12 s of sound")
    run_search(tmp_path, collection)
    assert "the query has only 12 s of sound" in capsys.readouterr().out
    run_search(tmp_path, collection, "--format", "json")
    assert json.loads(capsys.readouterr().out)["short"] == found.short


def run_search(tmp_path, paths, *more, calibration=CALIBRATION):
    weights = seal_without_tensors(tmp_path / "w.safetensors", calibration=calibration)
    (tmp_path / "list.txt").write_text("\n".join(paths))
    options = ["--collection", tmp_path / "list.txt", "--scratch", tmp_path / "scratch", "--weights", weights]
    args = parse(search_command, ["search", paths[0], *options, *more])
    return search_command.run(args)


def test_search_command_text(tmp_path, collection, capsys):
    assert run_search(tmp_path, collection) == 0
    output = capsys.readouterr().out
    assert "4 recordings compared" in output
    assert "if 25 % of the pairs" in output
    assert "calibrated on 5,000 pairs of example pairs" in output
    assert output.splitlines()[-1].endswith("f.wav")


def test_search_command_without_calibration(tmp_path, collection, capsys):
    assert run_search(tmp_path, collection, calibration=None) == 0
    assert "the weights have no calibration" in capsys.readouterr().out


def test_search_command_json_and_csv_tell_the_same(tmp_path, collection, capsys):
    run_search(tmp_path, collection, "--format", "json")
    values = json.loads(capsys.readouterr().out)
    run_search(tmp_path, collection, "--format", "csv", "--top", "3")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["path"] for row in rows] == [hit["path"] for hit in values["hits"][:3]]
    assert float(rows[0]["probability"]) == pytest.approx(values["hits"][0]["probability"], abs=1e-6)
    assert values["calibration"]["data"] == "example pairs"
    assert list(values["missing"]) == [collection[4]]


def test_search_command_fails_if_nothing_is_extracted(tmp_path, collection):
    assert run_search(tmp_path, [collection[0], collection[4]]) == 1
    assert run_search(tmp_path, collection, "--strict") == 1


def run_compare(*arguments):
    return compare_command.run(parse(compare_command, ["compare", *arguments]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav"], "at least two recordings"),
        (["a.wav", "b.wav", "c.wav", "--plot", "p.png"], "3 given"),
        (["a.wav", "b.wav", "--prior", "0"], "prior"),
    ],
)
def test_compare_command_wrong_usage(arguments, message):
    with pytest.raises(UsageError, match=message):
        run_compare(*arguments)


def test_compare_command_from_the_store(tmp_path, collection, capsys):
    weights = seal_without_tensors(tmp_path / "w.safetensors")
    options = ["--scratch", tmp_path / "scratch", "--weights", weights]
    assert run_compare(*collection[:3], *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(f"{collection[0]}  {collection[2]}")  # the nearest pair first
    assert "if 50 % of the pairs" in lines[-1]
    assert f"even odds at distance {CALIBRATION.threshold(0.5, prior=0.5):.3f}" in lines[-1]
    assert run_compare(*collection[:3], *options, "--json", "--prior", "0.1") == 0
    pairs = json.loads(capsys.readouterr().out)["pairs"]
    assert len(pairs) == 3
    for pair in pairs:
        assert pair["probability"] == pytest.approx(CALIBRATION.probability(pair["distance"], prior=0.1))


def test_compare_gives_no_probability_of_a_short_recording(tmp_path, collection, capsys):
    keep_again(tmp_path, collection[2], seconds=12.0)
    weights = seal_without_tensors(tmp_path / "w.safetensors")
    options = ["--scratch", tmp_path / "scratch", "--weights", weights]
    run_compare(*collection[:3], *options, "--json")
    values = json.loads(capsys.readouterr().out)
    known = [pair["probability"] is not None for pair in values["pairs"]]
    assert known == [collection[2] not in (pair["first"], pair["second"]) for pair in values["pairs"]]
    assert sum(known) == 1
    run_compare(*collection[:3], *options)
    assert f"{collection[2]}: only 12 s of sound" in capsys.readouterr().out


def test_equal_contents_are_the_same_recording(tmp_path, collection, capsys):
    copy = tmp_path / "copy.wav"
    copy.write_bytes(Path(collection[0]).read_bytes())
    keep_again(tmp_path, collection[0], seconds=12.0)  # not even length matters then
    weights = seal_without_tensors(tmp_path / "w.safetensors")
    options = ["--scratch", tmp_path / "scratch", "--weights", weights]
    run_compare(collection[0], copy, collection[1], *options)
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("(the same recording)") for line in lines[1:4]] == [True, False, False]
    run_compare(collection[0], copy, *options, "--json")
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert (pair["same_recording"], pair["probability"], pair["distance"]) == (True, 1.0, 0.0)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Weights of an untrained network, with a calibration."""
    torch = pytest.importorskip("torch")
    from mirex.model import weights
    from mirex.model.network import TwoViewNetwork, tensors_of

    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    network = TwoViewNetwork(generator=torch.Generator().manual_seed(3))
    metadata = {"calibration": CALIBRATION.to_json()}
    weights.save(
        tensors_of(network),
        front_end=FrontEndSettings(),
        settings=NetworkSettings(),
        metadata=metadata,
        path=path,
    )
    return path


@pytest.fixture
def songs(tmp_path, rng):
    """Three WAV files of 12 s: a melody, the same a semitone higher, another."""
    time = np.arange(11025) / 22050

    def render(pitches):
        tones = [
            sum(np.sin(2 * np.pi * 220 * 2 ** ((p + o) / 12) * time) for o in (0, 4, 7)) for p in pitches
        ]
        return 0.2 * np.concatenate(tones)

    first, other = (np.clip(np.cumsum(rng.integers(-3, 4, 24)), -12, 24) for _ in range(2))
    paths = []
    for name, pitches in (("melody", first), ("higher", first + 1), ("other", other)):
        paths.append(str(tmp_path / f"{name}.wav"))
        soundfile.write(paths[-1], render(pitches), 22050)
    return paths


def test_compare_and_search_from_audio(tmp_path, sealed, songs, capsys):
    pytest.importorskip("matplotlib")
    options = ["--weights", sealed, "--num-threads", "1", "--device", "cpu"]
    assert run_compare(*songs[:2], *options, "--plot", tmp_path / "match.png", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    match = values["match"]
    assert match["semitones"] == -1
    assert match["tempo_ratio"] == pytest.approx(1, abs=0.05)
    assert match["first_end"] - match["first_start"] > 8
    assert run_compare(*songs[:2], *options) == 0
    assert "the second is 1 semitone higher, at 1.00 times the tempo" in capsys.readouterr().out
    copy = tmp_path / "copy.wav"
    copy.write_bytes(Path(songs[0]).read_bytes())
    assert run_compare(songs[0], copy, *options) == 0
    output = capsys.readouterr().out
    assert "the same recording" in output
    assert "longest match" not in output
    assert (tmp_path / "match.png").stat().st_size > 5000
    assert 0 <= values["pairs"][0]["distance"] <= 2

    # The query is analysed and kept; the collection is not.
    (tmp_path / "list.txt").write_text("\n".join(songs))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "failed.tsv").write_text("of the collection\n")
    arguments = ["search", songs[0], "--collection", tmp_path / "list.txt", "--scratch", scratch, *options]
    assert search_command.run(parse(search_command, arguments)) == 1
    assert "0 recordings compared" in capsys.readouterr().out
    assert (scratch / "failed.tsv").read_text() == "of the collection\n"
    kept = ranking.search(songs[0], collection=songs[:1], scratch=scratch, weights=sealed)
    assert (kept.own, kept.compared) == (1, 0)


def test_compare_names_the_file_that_is_no_audio(tmp_path, sealed, songs):
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    with pytest.raises(AudioError, match=r"text\.wav"):
        run_compare(songs[0], text, "--weights", sealed, "--device", "cpu")
    with pytest.raises(AudioError, match=r"text\.wav' cannot be analysed"):
        run_compare(songs[0], text, "--weights", sealed, "--device", "cpu", "--strict")


def test_compare_says_once_what_is_wrong_with_a_recording(sealed, songs, caplog, recwarn):
    content = Path(songs[1]).read_bytes()
    Path(songs[1]).write_bytes(content[: 3 * len(content) // 4])
    with caplog.at_level("WARNING", "mirex"):
        run_compare(*songs[:2], "--weights", sealed, "--device", "cpu", "--num-threads", "1")
    assert caplog.text.count("higher.wav: has only") == 1
    assert not [each for each in recwarn if issubclass(each.category, AudioWarning)]
