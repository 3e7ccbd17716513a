"""The speed benchmark: turns, ratios, and the table that README shows."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import speed, speed_table

MEASURED = Path(__file__).parent / "speed.json"
REPORT: dict[str, Any] = {
    "machine": {"processor": "P", "instructions": ["avx2"], "cores": 2, "packages": {"torch": "2"}},
    "track_seconds": 210,
    "skipped": {"librosa": "not installed"},
    "stages": {"decode": {"mirex": [1.0, 2.0, 8.0], "limit: bare": [0.5, 1.5, 4.0]}},
    "growth": {
        "length": {"30": {"CQT": 0.1, "network": 0.2}, "60": {"CQT": 0.2, "network": 0.4}},
        "matrix": {"500": 0.1, "1000": 0.4},
        "runs": [
            {"tracks": 4, "threads": 2, "backend": "torch", "wall": 3.0, "processor": 6.0, "mebibytes": 500.2}
        ],
    },
    "long": {"hours": 1.0, "wall": 5.0, "processor": 5.0, "mebibytes": 700.4},
}


def test_the_table_has_medians_and_ratios_within_turns():
    lines = speed_table.table(REPORT).splitlines()
    assert "2 cores: P, avx2; torch 2." in lines[0]
    assert "Left out: librosa (not installed)." in lines[0]
    assert "| decode | mirex | 2.000 |  |" in lines
    assert "|  | limit: bare | 1.500 | 0.5 |" in lines
    assert "| 4 | 2 | torch | 3.0 | 1.50 | 500 |" in lines
    assert lines[-1] == "One recording of 1 h in stereo at 44,100 Hz: 5.0 s, 700 MiB."


def test_the_growth_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    speed_table.plot(REPORT, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_each_panel_has_the_points_that_were_measured():
    runs = [
        {"tracks": tracks, "threads": threads, "backend": "torch", "wall": wall}
        for tracks, threads, wall in ((2, 1, 3.0), (16, 1, 9.0), (16, 2, 6.0))
    ]
    length, tracks, threads, matrix = speed_table.panels({**REPORT["growth"], "runs": runs})
    assert length[2] == {"CQT": [(30, 0.1), (60, 0.2)], "network": [(30, 0.2), (60, 0.4)]}
    assert tracks[2] == {"torch, 1 worker": [(2, 3.0), (16, 9.0)], "torch, 2 workers": [(16, 6.0)]}
    assert threads[0] == "workers, for 16 tracks"
    assert threads[2] == {"torch": [(1, 9.0), (2, 6.0)]}
    assert matrix[2] == {"mirex": [(500, 0.1), (1000, 0.4)]}


def test_candidates_take_turns_and_the_first_turn_is_not_counted():
    calls = []

    def busy(name: str) -> None:
        calls.append(name)
        until = time.process_time() + 0.002
        while time.process_time() < until:
            pass

    found = speed.turns({"a": lambda: busy("a"), "b": speed.scaled(lambda: busy("b"), 100.0)}, 2)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}
    assert min(found["b"]) > 0.15


def test_the_parts_of_a_matrix_write_the_same_distances(tmp_path, rng):
    candidates = speed.matrices(tmp_path, 30)
    text = (tmp_path / "matrix.txt").read_bytes()
    candidates["mirex"]()
    assert (tmp_path / "matrix.txt").read_bytes() == text
    candidates["limit: bytes to the page cache"]()
    assert (tmp_path / "bytes").read_bytes() == text
    candidates["product by NumPy, numpy.savetxt"]()
    rows = [line.split("\t")[1:] for line in text.decode().splitlines()[-30:]]
    np.testing.assert_allclose(np.loadtxt(tmp_path / "numpy.txt"), np.array(rows, float), atol=1e-6)


@pytest.mark.skipif(not MEASURED.exists(), reason="tests/benchmarks/speed.json is not there yet")
def test_readme_shows_what_was_measured():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert speed_table.placed(speed_table.table(json.loads(MEASURED.read_text("utf-8"))), readme) == readme


def test_the_table_is_placed_between_its_marks():
    text = "a\n<!-- speed -->\nold\n<!-- speed -->\nb"
    assert speed_table.placed("new", text) == text.replace("old", "new")
