"""`mirex query --hubness csls`: another matrix than by default, and one that says so."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mirex.cli import main
from mirex.formats.matrix import read_matrix
from mirex.retrieval.distance import distance_matrix
from mirex.retrieval.hubness import csls


@pytest.fixture
def lists(tmp_path, rng, monkeypatch):
    vectors = rng.normal(size=(6, 8)).astype(np.float32)
    names = [str(tmp_path / f"{index}.wav") for index in range(6)]
    for name in names:
        Path(name).write_bytes(b"sound")
    (tmp_path / "collection.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "queries.txt").write_text("\n".join(names[2:4]) + "\n")
    found = SimpleNamespace(embeddings=vectors, weights="made", failures={})
    monkeypatch.setattr("mirex.extraction.extract.extract", lambda *_, **__: found)
    return tmp_path, vectors


@pytest.mark.parametrize("option", [[], ["--hubness", "csls"]])
def test_distances(lists, option):
    folder, vectors = lists
    files = [str(folder / name) for name in ("collection.txt", "queries.txt", "scratch", "out.txt")]
    assert main(["query", *option, *files]) == 0
    matrix = read_matrix(folder / "out.txt")
    plain = distance_matrix(vectors[2:4], vectors, query_positions=[2, 3])
    moved = np.concatenate(list(csls(vectors[2:4], vectors, query_positions=np.array([2, 3]))))
    assert not np.allclose(plain, moved)
    np.testing.assert_allclose(matrix.distances, moved if option else plain, atol=1e-7)
    assert matrix.system.endswith(", csls") == bool(option)
