"""The benchmarks of large indexes and whole runs, on small ones: they measure what they say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import index_speed, whole_run
from mirex.retrieval.index import Index

SMALL = 120


def test_made_songs_are_versions_of_works():
    first = np.concatenate(list(index_speed.MadeSongs(SMALL).blocks(size=50))).astype(np.float32)
    other = np.concatenate(list(index_speed.MadeSongs(SMALL, seed=1).blocks())).astype(np.float32)
    assert first.shape == (SMALL, index_speed.SIZE)
    cosines = first @ other.T
    assert np.median(cosines) == pytest.approx(0, abs=0.05)
    assert np.mean(cosines > 0.4) == pytest.approx(1 / (SMALL // index_speed.VERSIONS), abs=0.03)


def test_parts_of_the_index_benchmark(tmp_path):
    path = tmp_path / "songs.mirex"
    found = index_speed.make(path, SMALL) | index_speed.exact(path, SMALL)
    assert found["songs"] == (SMALL, "")
    assert all(figure > 0 for figure, _ in found.values())
    index_speed.appended(path, SMALL)
    assert len(Index(path)) == SMALL + index_speed.APPENDED
    assert "| songs | 120 |" in index_speed.table(found).splitlines()


def test_parts_of_the_approximate_benchmark(tmp_path):
    pytest.importorskip("faiss", reason="faiss is an extra")
    path = tmp_path / "songs.mirex"
    index_speed.make(path, SMALL)
    assert index_speed.build(path, SMALL)["recall@10 that mirex says"][0] > 0.98
    assert index_speed.approximate(path, SMALL)["recall@10 of further versions"][0] > 0.98


def test_the_command_prints_a_table(tmp_path):
    command = [sys.executable, index_speed.__file__, "--songs", "50", "--keep", str(tmp_path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines[:3] == ["| what | figure |", "|---|---|", "| songs | 50 |"]
    assert lines[-1].startswith("| memory of that append | ")


def test_tracks_of_a_whole_run_are_all_different(tmp_path):
    paths = whole_run.write_tracks(tmp_path, 14, seconds=2)
    assert len({path.read_bytes() for path in paths}) == 14
    samples, rate = soundfile.read(paths[13])
    assert (len(samples) / rate, soundfile.info(paths[13]).subtype) == (2, "PCM_16")
    assert np.abs(samples).max() < 1


def test_tracks_of_a_whole_run_may_have_many_lengths(tmp_path):
    paths = whole_run.write_tracks(tmp_path, 5, seconds=1, longest=3)
    lengths = {soundfile.info(path).duration for path in paths}
    assert len(lengths) == 5
    assert all(1 <= length <= 3 for length in lengths)


def test_a_whole_run_is_measured(tmp_path, monkeypatch):
    script = tmp_path / "run_extract.sh"
    script.write_text(
        "#!/bin/sh\nfor scratch; do listed=$list; list=$scratch; done\n"
        'test ! -e "$listed" && mkdir "$listed" && wc -l <"$list" >>"$(dirname "$list")/calls"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(whole_run, "ROOT", tmp_path)
    found = whole_run.measure([Path(f"{n}.wav") for n in range(5)], tmp_path, workers=2, backend="torch")
    assert (tmp_path / "calls").read_text().split() == ["2", "5"]
    assert (found["tracks"], found["workers"]) == (5, 2)
    assert 0 < found["mebibytes"] < 100
    script.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SystemExit, match="status 1"):
        whole_run.extract([], tmp_path, workers=1, backend="torch")


def test_the_table_of_a_whole_run_says_what_is_estimated():
    run = {"backend": "torch", "processor": 10.0, "mebibytes": 500.4, "first": 3.0}
    two = run | {"tracks": 20, "workers": 2, "wall": 6.0, "all": 166.0}
    one = run | {"tracks": 1000, "workers": 1, "wall": 9.0, "all": 9.0}
    report = {"cores": 2, "seconds": [210, 210], "runs": [two, one]}
    text = whole_run.table(json.loads(json.dumps(report)))
    assert text.startswith("2 cores; tracks of 210 s\n")
    assert whole_run.table(report | {"seconds": [120, 420]}).startswith("2 cores; tracks of 120 to 420 s\n")
    assert "| torch | 2 | 20 | 6.0 | 0.500 | 500 | 3.0 | 166 (estimated from 20) |" in text
    assert "| 1000 | 9.0 | 0.010 | 500 | 3.0 | 9 |" in text
    assert text.endswith("2 workers are 1.50 times as quick as one.")
