"""`mirex calibrate`: matrices of known pairs to probabilities, sealed into weights."""

import numpy as np
import pytest

from mirex.cli import main
from mirex.formats.matrix import write_matrix
from mirex.model import weights
from mirex.retrieval.calibration import METADATA_KEY, from_metadata
from random_network import save_random


@pytest.fixture
def sets(rng, tmp_path):
    """Arguments for two sets of ten works in two versions."""
    arguments = []
    for name in ("one", "two"):
        names = [f"{number}.wav" for number in range(20)]
        rows = rng.uniform(0.6, 1.2, (20, 20)).astype(np.float32)
        rows[np.arange(20), np.arange(20) ^ 1] = rng.uniform(0.1, 0.7, 20)
        np.fill_diagonal(rows, 0)
        write_matrix(tmp_path / f"{name}.txt", names=names, query_positions=range(20), rows=rows)
        cliques = "".join(f"{each}\t{number // 2}\n" for number, each in enumerate(names))
        (tmp_path / f"{name}.tsv").write_text(cliques)
        arguments += ["--on", name, str(tmp_path / f"{name}.txt"), str(tmp_path / f"{name}.tsv")]
    return arguments


def test_the_calibration_is_written_and_sealed(sets, tmp_path, capsys):
    sealed = tmp_path / "weights.safetensors"
    fingerprint = save_random(sealed)
    assert main(["calibrate", str(tmp_path / "c.json"), *sets, "--into", str(sealed)]) == 0
    assert "760 pairs of one, two" in capsys.readouterr().out
    metadata = weights.read_metadata(sealed)
    assert weights.fingerprint(metadata) == fingerprint
    found = from_metadata(metadata)
    assert found == from_metadata({METADATA_KEY: (tmp_path / "c.json").read_text()})
    assert found is not None
    assert found.probability(0.3) > 0.95 > 0.05 > found.probability(1.0)


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("mirex 1.0, weights {own}, csls", "those of --hubness csls, not distances"),
        ("mirex 1.0, weights 0123456789abcdef", "made with the weights 0123456789abcdef, not {own}"),
        ("mirex 1.0, weights {own}", ""),
    ],
)
def test_matrices_of_other_values_or_weights_are_refused(sets, tmp_path, capsys, system, said):
    own = save_random(tmp_path / "weights.safetensors")
    matrix = tmp_path / "one.txt"
    _, *rest = matrix.read_text().splitlines(keepends=True)
    matrix.write_text(system.format(own=own) + "\n" + "".join(rest))
    command = ["calibrate", str(tmp_path / "c.json"), *sets, "--into", str(tmp_path / "weights.safetensors")]
    assert main(command) == (2 if said else 0)
    assert said.format(own=own) in capsys.readouterr().err
    assert (tmp_path / "c.json").exists() != bool(said)


def test_a_place_that_cannot_be_written(sets, tmp_path, capsys):
    assert main(["calibrate", str(tmp_path / "none" / "c.json"), *sets]) == 1
    assert "cannot be written" in capsys.readouterr().err
