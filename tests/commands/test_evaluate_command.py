"""`mirex evaluate` on files: text, JSON, another system's matrix, calibration, errors."""

import argparse
import json

import numpy as np
import pytest

from mirex.commands import evaluate as command
from mirex.errors import EvaluationError, MatrixFormatError
from mirex.evaluation import metrics
from mirex.formats.matrix import write_matrix


@pytest.fixture
def files(tmp_path, rng):
    """good.txt and bad.txt, 20 cliques of 3, and cliques.tsv, which lacks the last recording."""
    labels = np.repeat(np.arange(20), 3)
    names = [f"/audio/{i:03d}.wav" for i in range(60)]
    centres = rng.normal(size=(20, 8))[labels]
    for name, noise in (("good", 0.3), ("bad", 1.2)):
        points = centres + noise * rng.normal(size=(60, 8))
        distances = np.linalg.norm(points[:, None] - points, axis=2).astype(np.float32)
        np.fill_diagonal(distances, 0)
        path = tmp_path / f"{name}.txt"
        write_matrix(path, names=names, query_positions=np.arange(60), rows=distances, system=name)
    lines = [f"{name}\twork {label}\n" for name, label in zip(names, labels, strict=True)]
    (tmp_path / "cliques.tsv").write_text("".join(lines[:-1]))
    return tmp_path


def run(folder, *more, matrix="good.txt"):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    arguments = ["evaluate", folder / matrix, folder / "cliques.tsv", *more]
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_text(files, capsys):
    assert run(files) == 0
    output = capsys.readouterr().out
    assert "queries left out:" in output
    assert "1: 1 without a clique in the cliques file" in output
    for label in ("TNCI10", "MNCI10", "MAP", "MR1", "Rank-1", "Rank-5", "Rank-10"):
        assert f"\n{label}" in output
    assert "number of correct covers at rank" in output


def test_json_against_another_matrix(files, capsys):
    assert run(files, "--json", "--against", files / "bad.txt", "--explain") == 0
    values = json.loads(capsys.readouterr().out)
    assert list(values["metrics"]) == list(metrics.DEFINITIONS)
    assert values["queries_evaluated"] == 59
    assert values["against"]["other_system"] == "bad"
    assert values["against"]["differences"]["map"]["p"] < 0.01
    assert values["explanation"]["definitions"] == metrics.DEFINITIONS


def test_text_against_another_matrix(files, capsys):
    assert run(files, "--against", files / "bad.txt") == 0
    assert "paired differences over 59 queries, this minus other (bad)" in capsys.readouterr().out


def test_hubness_and_the_kind_of_interval(files, capsys):
    assert run(files, "--interval", "bca") == 0
    output = capsys.readouterr().out
    assert "BCa bootstrap over cliques" in output
    assert "unrelated pairs:" in output
    assert "skewness of 10-occurrence:" in output
    for label in ("Median rank", "NAR (%)", "NAR unbiased (%)"):
        assert f"\n{label}" in output
    assert output.index("\nRank-10") < output.index("\nMedian rank")
    assert run(files, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["interval"] == {"level": 0.95, "resample": "cliques", "method": "percentile"}
    # All pairs of 60 recordings but those of a clique; the last recording has none.
    assert values["hubness"]["unrelated_pairs"] == 60 * 57 + 4
    assert len(values["hubness"]["hubs"]) == 10


def test_explain(files, capsys):
    assert run(files, "--explain") == 0
    output = capsys.readouterr().out
    assert all(words in output for words in metrics.CONVENTIONS.values())


def test_same_seed_same_output(files, capsys):
    outputs = []
    for _ in range(2):
        run(files, "--against", files / "bad.txt", "--seed", "3")
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_matrix_as_other_systems_write_it(files, capsys):
    run(files, "--json")
    expected = json.loads(capsys.readouterr().out)
    text = (files / "good.txt").read_text()
    (files / "other.txt").write_bytes(
        text.replace("\t", " ").replace("Q/R", "q/r").replace("\n", "\r\n").encode()
    )
    assert run(files, "--json", matrix="other.txt") == 0
    assert json.loads(capsys.readouterr().out) == expected


def test_errors_are_errors_of_the_package(files):
    with pytest.raises(MatrixFormatError):
        run(files, matrix="cliques.tsv")
    with pytest.raises(EvaluationError, match="resamples"):
        run(files, "--resamples", "0")
    (files / "cliques.tsv").write_text("/elsewhere/x.wav\twork\n")
    with pytest.raises(EvaluationError, match="write the paths as in the matrix"):
        run(files)
