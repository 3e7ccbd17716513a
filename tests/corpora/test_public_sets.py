"""Readers of public sets on tiny made copies: published lists, files as users have them, what is missing."""

import json

import pytest

from mirex.cli import main
from mirex.corpora.public_sets import CLOSED, READERS, missing_text, tracks
from mirex.errors import EvaluationError
from synthesis import song, write


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.fixture
def covers80(tmp_path):
    folder = tmp_path / "coversongs" / "covers32k"
    folder.mkdir(parents=True)
    originals = ["Let_It_Be/beatles+1+11-Let_It_Be", "Yesterday/beatles+1+02-Yesterday"]
    covers = ["Let_It_Be/nick_cave+Sam+02-Let_It_Be", "Yesterday/en_vogue+Y+1-Yesterday"]
    for name, lines in (("list1.list", originals), ("list2.list", covers)):
        (folder / name).write_text("\n".join(lines) + "\n")
    return tmp_path, folder


def test_covers80(covers80):
    home, folder = covers80
    there = touch(folder / "Let_It_Be" / "beatles+1+11-Let_It_Be.mp3")
    found = tracks("covers80", lists=home, audio=home)
    assert [track.work_id for track in found] == ["Let_It_Be", "Yesterday"] * 2
    assert found[0].track_id == "Let_It_Be/beatles+1+11-Let_It_Be"
    assert [track.audio_path for track in found] == [there, None, None, None]
    text = missing_text("covers80", found)
    assert text.startswith("covers80: 1 of 4 recordings found; missing: beatles+1+02-Yesterday,")


def test_covers80_as_on_its_page_with_all_audio_in_one_folder(covers80, tmp_path):
    home, folder = covers80
    for name in ("list1", "list2"):
        (folder / f"{name}.list").rename(folder / f"{name}.txt")
    there = touch(tmp_path / "flat" / "en_vogue+Y+1-Yesterday.wav")
    found = tracks("covers80", lists=home, audio=tmp_path / "flat")
    assert [track.audio_path for track in found] == [None, None, None, there]


def test_da_tacos_as_mirdata_names_it(tmp_path):
    content = {"W_1": {"P_10": {"perf_title": "a"}, "P_11": {}}, "W_2": {"P_20": {}}}
    unpacked = tmp_path / "da-tacos_metadata"
    unpacked.mkdir()
    (unpacked / "da-tacos_benchmark_subset_metadata.json").write_text(json.dumps(content))
    there = touch(tmp_path / "audio" / "W_1" / "P_11.MP3")
    for lists in (tmp_path, unpacked, unpacked / "da-tacos_benchmark_subset_metadata.json"):
        found = tracks("da-tacos", lists=lists, audio=tmp_path / "audio")
        assert [track.track_id for track in found] == [
            "benchmark#W_1#P_10",
            "benchmark#W_1#P_11",
            "benchmark#W_2#P_20",
        ]
        assert [(track.work_id, track.performance_id) for track in found][1] == ("W_1", "P_11")
        assert [track.audio_path for track in found] == [None, there, None]


def test_shs100k_by_number_or_address(tmp_path):
    (tmp_path / "list").write_text(
        "7\t0\tTitle\tSinger\thttps://www.youtube.com/watch?v=abcdefghijk\t1\n"
        "7\t1\tTitle\tOther\thttps://youtu.be/-_3456789ab\t1\n8\t0\tElse\tX\tnone\t0\n"
    )
    (tmp_path / "SHS100K-TEST").write_text("7\t0\n7\t1\n8\t0\n")
    by_number = touch(tmp_path / "audio" / "7-0.mp3")
    with_underscore = touch(tmp_path / "audio" / "8_0.mp3")
    by_address = touch(tmp_path / "audio" / "-_3456789ab.m4a")
    found = tracks("shs100k", lists=tmp_path, audio=tmp_path / "audio")
    assert [track.audio_path for track in found] == [by_number, by_address, with_underscore]
    assert [track.work_id for track in found] == ["7", "7", "8"]


def test_discogs_vi(tmp_path):
    versions = [("V-1", "abcdefghijk"), ("V-2", "lmnopqrstuv")]
    content = {"C-1": [{"version_id": version, "youtube_id": address} for version, address in versions]}
    (tmp_path / "Discogs-VI-YT-20240701-light.json.test").write_text(json.dumps(content))
    (tmp_path / "Discogs-VI-YT-20240701-light.json.train").write_text("{}")
    (tmp_path / "Discogs-VI-20240701-DaTACOS-SHS100K2_TEST-lost_cliques.txt").write_text("C-1\n")
    there = touch(tmp_path / "audio" / "ab" / "abcdefghijk.opus")
    found = tracks("discogs-vi", lists=tmp_path, audio=tmp_path / "audio")
    assert [track.track_id for track in found] == ["C-1:V-1", "C-1:V-2"]
    assert [track.audio_path for track in found] == [there, None]


@pytest.mark.parametrize("name", READERS)
def test_lists_that_are_none(tmp_path, name):
    touch(tmp_path / "audio" / "a.mp3")
    with pytest.raises(EvaluationError, match=f"not the published lists of {name}"):
        tracks(name, lists=tmp_path, audio=tmp_path / "audio")
    with pytest.raises(EvaluationError, match="not a folder"):
        tracks(name, lists=tmp_path, audio=tmp_path / "elsewhere")


def test_no_recording_is_there(covers80):
    with pytest.raises(EvaluationError, match="none of the 4 recordings"):
        tracks("covers80", lists=covers80[0], audio=covers80[0])


class TestCommand:
    def run(self, *arguments):
        return main(["benchmark-accuracy", *map(str, arguments)])

    def test_what_is_there_is_measured_and_the_rest_reported(self, covers80, capsys):
        home, folder = covers80
        names = ("beatles+1+11-Let_It_Be", "nick_cave+Sam+02-Let_It_Be")
        for key, name in enumerate(names):
            (folder / "Let_It_Be").mkdir(exist_ok=True)
            write(folder / "Let_It_Be" / f"{name}.wav", song(0, seconds=8, transpose=3 * key))
        (folder / "Yesterday").mkdir()
        (folder / "Yesterday" / "beatles+1+02-Yesterday.mp3").write_bytes(b"no audio")
        given = ["covers80", "--lists", home, "--audio", home, "--systems", "fourier", "--json"]
        assert self.run(*given) == 0
        output = capsys.readouterr()
        table = json.loads(output.out)["tables"]["covers80"]
        assert (table["recordings"], table["queries"]) == (2, 2)
        assert "3 of 4 recordings found; missing: en_vogue+Y+1-Yesterday" in output.err
        assert "Yesterday/beatles+1+02-Yesterday: left out" in output.err

    @pytest.mark.parametrize("name", ["shs100k", "discogs-vi"])
    def test_weights_are_not_judged_by_what_they_were_trained_on(self, tmp_path, capsys, name):
        assert self.run(name, "--lists", tmp_path, "--audio", tmp_path) == 2
        assert CLOSED[name] in capsys.readouterr().err

    def test_other_weights_may_be(self, tmp_path, capsys):
        given = ["discogs-vi", "--lists", tmp_path, "--audio", tmp_path]
        assert self.run(*given, "--weights", tmp_path / "own.safetensors") != 0
        assert "not the published lists of discogs-vi" in capsys.readouterr().err

    def test_wrong_usage(self, tmp_path, capsys):
        assert self.run("da-tacos", "--lists", tmp_path) == 2
        assert "--audio" in capsys.readouterr().err
