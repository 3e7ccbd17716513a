"""`mirex corpus`: archives of one's own files, and training on them."""

import hashlib
from types import SimpleNamespace

import mido
import numpy as np
import pytest
import soundfile

import made_corpus
from mirex.cli import main
from mirex.corpora import making
from mirex.corpora.archive import Joined, save_archive
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.corpora.making import read_versions, work_number
from mirex.corpora.midi import estimate_chords, read_midi
from mirex.corpora.profiles import NO_WORK, ProfileCorpus, profile_arrays
from mirex.corpora.scores import ScoreCorpus, score_arrays
from mirex.errors import TrainingError
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.training.checkpoint import read_metadata
from mirex.training.synthesis.patches import save_patches

A_MINOR, F_MAJOR = (57, 60, 64), (53, 57, 60)


def _write_midi(path, *, melody=(72, 74, 76, 77), program=40):
    """Two beats of A minor, then two of F major at half the tempo; a melody, and drums."""
    tempo = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    tempo.append(mido.MetaMessage("set_tempo", tempo=1_000_000, time=960))
    chords = mido.MidiTrack([mido.Message("program_change", program=4)])
    for chord in (A_MINOR, F_MAJOR):
        chords += [mido.Message("note_on", note=note, velocity=80) for note in chord]
        chords += [mido.Message("note_off", note=note, time=960 * (note == chord[0])) for note in chord]
    tune = mido.MidiTrack([mido.MetaMessage("track_name", name="Lead Vocal")])
    tune.append(mido.Message("program_change", channel=1, program=program))
    for note in melody:
        tune.append(mido.Message("note_on", channel=1, note=note, velocity=100))
        tune.append(mido.Message("note_on", channel=1, note=note, velocity=0, time=480))  # ends it, too
    drums = mido.MidiTrack([mido.Message("note_on", channel=9, note=36, velocity=100)])
    mido.MidiFile(ticks_per_beat=480, tracks=[tempo, chords, tune, drums]).save(path)


def test_a_midi_file_is_read_with_its_tempi_parts_and_chords(tmp_path):
    _write_midi(tmp_path / "a.mid")
    score = read_midi(tmp_path / "a.mid")
    assert score.program.tolist() == [4, 40]
    assert score.melody.tolist() == [False, True]
    assert np.bincount(score.part).tolist() == [6, 4]
    tune = score.part == 1
    assert score.onset[tune].tolist() == pytest.approx([0.0, 0.5, 1.0, 2.0])
    assert score.duration[tune].tolist() == pytest.approx([0.5, 0.5, 1.0, 1.0])
    assert score.pitch[tune].tolist() == [72, 74, 76, 77]
    assert score.beat.tolist() == pytest.approx([0.0, 0.5, 1.0, 2.0, 3.0])
    assert score.chord_time[:2].tolist() == pytest.approx([0.0, 1.0])
    assert score.chord[:2].tolist() == [12 + 9, 5]


def test_scores_come_back_from_their_arrays(tmp_path):
    _write_midi(tmp_path / "a.mid")
    _write_midi(tmp_path / "b.mid", melody=range(60, 72))
    scores = [read_midi(tmp_path / name) for name in ("a.mid", "b.mid")]
    arrays = score_arrays(scores, works=[3, 3], splits=["train"] * 2, names=["a", "b"])
    save_archive(arrays, path=tmp_path / "scores.npz")
    corpus = ScoreCorpus.load(tmp_path / "scores.npz")
    assert [songs.tolist() for songs in corpus.works] == [[0, 1]]
    for song, score in enumerate(scores):
        found = corpus.score(song)
        for name in ("pitch", "part", "program", "melody", "chord"):
            assert np.array_equal(getattr(found, name), getattr(score, name)), name
        for name, tick in (("onset", 0.02), ("duration", 0.04), ("chord_time", 0.02), ("beat", 0.02)):
            assert np.abs(getattr(found, name) - getattr(score, name)).max() <= tick / 2 + 1e-9, name
        assert np.abs(found.velocity - score.velocity).max() <= 8


def test_chords_are_the_triads_that_sound_and_last_through_silence():
    onset = np.repeat([0.0, 3.0], 3)
    pitch = np.array([*A_MINOR, *F_MAJOR])
    times = np.array([0.0, 1.0, 2.0, 3.0])
    found = estimate_chords(onset, onset + 1, pitch, np.ones(6), times=times)
    assert found.tolist() == [21, 21, 21, 5]
    assert estimate_chords(onset[:0], onset[:0], pitch[:0], onset[:0], times=times).tolist() == [0] * 4


def test_profiles_come_back_with_c_in_row_zero(tmp_path, rng):
    profiles = [rng.random((12, steps)).astype(np.float32) for steps in (5, 9)]
    arrays = profile_arrays(profiles, works=[1, 2], splits=["train", "validation"], names=["a", "b"])
    save_archive(arrays, path=tmp_path / "profiles.npz")
    assert ProfileCorpus.load(tmp_path / "profiles.npz").numbers.tolist() == [1]
    corpus = ProfileCorpus.load(tmp_path / "profiles.npz", split="validation")
    assert np.abs(corpus.profile(1) - profiles[1]).max() <= 0.5 / 15 + 1e-6


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """MIDI and audio files of three works, two versions each; one of each kind is damaged."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    (folder / "midi").mkdir()
    rows = ["work,path,split,name"]
    for work in "abc":
        melody = rng.integers(60, 80, 40).tolist()
        for version in (1, 2):
            _write_midi(folder / "midi" / f"{work}{version}.mid", melody=melody, program=version)
            tone = np.sin(2 * np.pi * 110 * 2 ** ("abc".index(work) / 12) * np.arange(2 * 22050) / 22050)
            noise = rng.normal(0, 1e-4, len(tone))
            soundfile.write(folder / f"{work}{version}.wav", 0.1 * tone + noise, 22050)
            rows.append(f"{work},{work}{version}.EXT,{'validation' if work == 'c' else ''},X - {work}")
    for name in ("midi/bad.mid", "bad.wav"):
        (folder / name).write_text("nothing")
    rows.append("a,bad.EXT,,")
    for extension in ("mid", "wav"):
        table = "\n".join(rows).replace("EXT", extension)
        (folder / f"{extension}.csv").write_text(table + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def archives(files):
    made = {kind: files / f"{kind}.npz" for kind in ("scores", "recordings", "profiles")}
    scores = ["scores", str(files / "midi"), str(files / "mid.csv"), "-o", str(made["scores"])]
    assert main(["corpus", *scores]) == 0
    for kind in ("recordings", "profiles"):
        command = [kind, str(files / "wav.csv"), "-o", str(made[kind]), "--scratch", str(files / "scratch")]
        assert main(["corpus", *command]) == 0
    return made


def _works(corpus):
    """The versions of each work, by its number."""
    versions = [work.tolist() for work in corpus.works]
    return dict(zip(corpus.numbers.tolist(), versions, strict=True))


def test_archives_hold_what_the_table_says_but_for_damaged_files(archives, files):
    kinds = {"scores": ScoreCorpus, "recordings": LevelCorpus, "profiles": ProfileCorpus}
    for kind, corpus in kinds.items():
        train, held_out = (corpus.load(archives[kind], split=split) for split in ("train", "validation"))
        assert _works(train) == {work_number("a"): [0, 1], work_number("b"): [2, 3]}
        assert _works(held_out) == {work_number("c"): [4, 5]}
        assert train.names == ["X - a", "X - a", "X - b", "X - b", "X - c", "X - c"]
    heard = columns(decode(files / "b1.wav"))
    levels = LevelCorpus.load(archives["recordings"]).columns(2, generator=None)
    loud = heard > heard.max() / 30
    assert np.abs(20 * np.log10(levels[loud] / heard[loud])).max() < 0.8
    profile = ProfileCorpus.load(archives["profiles"]).profile(2)
    assert profile.sum(axis=1).argmax() == 10, "a semitone above A, where row 0 is C"


def test_training_goes_on_what_was_made(archives, tmp_path):
    levels = np.round(np.log10(made_corpus.patches() + 1e-12) * 20 + 240).clip(0, 255).astype(np.uint8)
    save_patches(levels, path=tmp_path / "patches.npz")
    command = ["train", str(tmp_path / "run"), "--patches", str(tmp_path / "patches.npz")]
    for kind, flag in (("scores", "scores"), ("profiles", "chroma"), ("recordings", "recordings")):
        command += [f"--{flag}", str(archives[kind])]
    command += ["--works", "2", "2", "2", "--versions", "2", "--lengths", "16", "--chroma-lengths", "16"]
    command += ["--embedding-size", "256", "--steps", "3", "--validate-every", "3", "--sounded-share", "0.5"]
    assert main(command) == 0
    assert read_metadata(tmp_path / "run" / "checkpoint.safetensors")["step"] == 3


def _numbers(folder, *works):
    table = folder / "numbers.csv"
    table.write_text("work,path\n" + "".join(f"{work},any.wav\n" for work in works), "utf-8")
    return list(read_versions(table).works)


def test_the_number_of_a_work_is_that_of_its_name_in_every_table(tmp_path):
    raven, west = (int(hashlib.sha256(name).hexdigest()[:8], 16) for name in (b"raven", b"west"))
    assert _numbers(tmp_path, "raven", "west", "raven") == [raven, west, raven]
    assert _numbers(tmp_path, "jump", "west", "12")[1:] == [west, 12]
    assert _numbers(tmp_path, "7", "12", "007") == [7, 12, 7]


def test_no_work_has_the_number_that_means_none(monkeypatch):
    digest = SimpleNamespace(digest=lambda: b"\xff" * 32)
    monkeypatch.setattr(making, "hashlib", SimpleNamespace(sha256=lambda data: digest))
    assert work_number("any") == NO_WORK - 1


def test_archives_of_different_tables_share_only_works_of_one_name(files, tmp_path):
    made = []
    for table, works in (("one", ("raven", "west")), ("other", ("jump", "raven"))):
        rows = [f"{work},{files / name}1.wav" for work, name in zip(works, "ab", strict=True)]
        (tmp_path / f"{table}.csv").write_text("\n".join(["work,path", *rows]), "utf-8")
        made.append(tmp_path / f"{table}.npz")
        command = ["corpus", "recordings", str(tmp_path / f"{table}.csv"), "-o", str(made[-1])]
        assert main([*command, "--scratch", str(files / "scratch")]) == 0
    joined = Joined([LevelCorpus.load(path) for path in made])
    assert _works(joined) == {
        work_number("raven"): [0, 3],
        work_number("west"): [1],
        work_number("jump"): [2],
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("work,path\n", "no rows"),
        ("work,path,split\na,a.wav,test\n", "row 2: split 'test'; give train or validation"),
        ("work,path\na,none.wav\n", "none of 1 audio files can be read"),
        ("work,path\n,a.wav\n", "row 2: fill in work and path"),
        ("work,file\na,a.wav\n", "needs the columns work and path"),
        ("work,path\n4294967296,a.wav\n", "give numbers below 2"),
        ("work,path\n4294967295,a.wav\n", "work 4294967295; give numbers below 2"),
        ("work,path\n4294967296,a.wav\nwest,b.wav\n", "work 4294967296; give numbers below 2"),
        (
            "work,path\nsong 11607,a.wav\nsong 17126,b.wav\n",
            "works 'song 11607' and 'song 17126' both have the number 242615692",
        ),
        ("work,path\na,a.wav\n3398926610,b.wav\n", "works 'a' and '3398926610' both have the number"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path, capsys, table, message):
    (tmp_path / "works.csv").write_text(table, "utf-8")
    command = ["corpus", "recordings", str(tmp_path / "works.csv"), "-o", str(tmp_path / "made.npz")]
    assert main([*command, "--scratch", str(tmp_path / "scratch")]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "defect" not in said
    assert not (tmp_path / "made.npz").exists()
    assert main([*command[:-1], str(tmp_path / "made.txt")]) == 2


def test_files_that_are_no_midi_are_refused_by_name(tmp_path):
    (tmp_path / "text.mid").write_text("text")
    mido.MidiFile(tracks=[mido.MidiTrack()]).save(tmp_path / "empty.mid")
    for name, message in (
        ("text.mid", "not a readable"),
        ("none.mid", "not a readable"),
        ("empty.mid", "has no notes"),
    ):
        with pytest.raises(TrainingError, match=f"{name}: {message}"):
            read_midi(tmp_path / name)
