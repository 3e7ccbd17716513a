"""Cliques files, matrix and cliques together, blocks, intervals, paired comparison, tables."""

import json

import numpy as np
import pytest

from mirex.errors import EvaluationError
from mirex.evaluation import evaluate, metrics, tables
from mirex.formats.cliques import NO_CLIQUE, label, read_cliques
from mirex.formats.matrix import Matrix


def make_problem(rng, *, cliques=12, versions=4, noise=0.6, system="test"):
    """A matrix of cliques x versions recordings, every one a query, covers nearer on average."""
    labels = np.repeat(np.arange(cliques), versions)
    names = tuple(f"/audio/{label:02d}_{i:03d}.wav" for i, label in enumerate(labels))
    centres = rng.normal(size=(cliques, 8))[labels] + noise * rng.normal(size=(len(labels), 8))
    distances = np.linalg.norm(centres[:, None] - centres, axis=2).astype(np.float32)
    matrix = Matrix(system, names, np.arange(len(names)), distances)
    return matrix, {name: f"work {label}" for name, label in zip(names, labels, strict=True)}


# Cliques files


def write(path, text):
    path.write_bytes(text.encode())
    return path


def test_cliques_file_as_real_files_are(tmp_path):
    text = "\ufeff# path\tclique\r\n/a b.wav\tone\r\n\r\n/c.wav \ttwo \textra\r\n/é.wav\tone"
    assert read_cliques(write(tmp_path / "c.tsv", text)) == {
        "/a b.wav": "one",
        "/c.wav": "two",
        "/é.wav": "one",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("/a.wav\tone\n/b.wav\n", "line 2"),
        ("/a.wav\t\n", "line 1"),
        ("\tone\n", "line 1"),
        ("/a.wav one\n", "path<TAB>clique"),
        ("/a.wav\tone\n/a.wav\ttwo\n", "line 2.*'two'.*'one'"),
    ],
)
def test_ill_formed_cliques_file(tmp_path, text, message):
    with pytest.raises(EvaluationError, match=message):
        read_cliques(write(tmp_path / "c.tsv", text))


def test_a_path_that_begins_with_a_hash_has_a_clique(tmp_path):
    text = "# path\tclique\n#1.wav\tone\n# 9 dream.wav\ttwo\n#/m/a.wav\tthree\n/m/b.wav\tfour\n# no.wav\n"
    cliques = read_cliques(write(tmp_path / "c.tsv", text))
    assert cliques == {"#1.wav": "one", "# 9 dream.wav": "two", "#/m/a.wav": "three", "/m/b.wav": "four"}
    found = label(["/m/#1.wav", "# 9 dream.wav", "/m/a.wav", "b.wav"], cliques=cliques)
    assert [found.name(number) for number in found.numbers] == ["one", "two", "", "four"]


@pytest.mark.parametrize(
    "text",
    [
        "yesterday\t/m/a.wav\nyesterday\t/m/b.wav\nhelp\t/m/c.wav\n",
        "yesterday\ta.wav\nhelp\tb.wav\n",
        "17\ta\n17\tb\n18\tc\n",
        "# clique\tpath\nyesterday\ta.wav\n",
    ],
)
def test_swapped_columns_of_a_cliques_file_are_said(tmp_path, text):
    with pytest.raises(EvaluationError, match="columns seem to be swapped.*write the path first"):
        read_cliques(write(tmp_path / "c.tsv", text))


@pytest.mark.parametrize(
    "text",
    [
        "a\tyesterday\nb\tyesterday\n",
        "a.wav\tyesterday.mid\nb.wav\thelp.mid\n",
        "/m/a.wav\tx/y\n/m/b.wav\tx/y\n",
        "a\t1\nb\t2\n",
    ],
)
def test_columns_in_their_places_are_left_alone(tmp_path, text):
    assert len(read_cliques(write(tmp_path / "c.tsv", text))) == 2


def test_a_cliques_file_that_is_no_text(tmp_path):
    (tmp_path / "c.tsv").write_bytes("/m/a.wav\tone\n".encode("utf-16"))
    with pytest.raises(EvaluationError, match="not text"):
        read_cliques(tmp_path / "c.tsv")


def test_missing_cliques_file(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_cliques(tmp_path / "none.tsv")


def test_repeated_line_with_the_same_clique_is_accepted(tmp_path):
    assert read_cliques(write(tmp_path / "c.tsv", "/a\tx\n/a\tx\n")) == {"/a": "x"}


def test_base_names_are_used_only_where_unambiguous():
    cliques = {"here/a.wav": "A", "here/b.wav": "B", "there/b.wav": "B2", "here/c.wav": "C"}
    names = ["x/a.wav", "x/b.wav", "here/c.wav", "x/c.wav", "x/d.wav"]
    found = label(names, cliques=cliques)
    # b: two in the file. x/c: the matrix has two, and the other one is meant. d: none.
    assert [found.name(number) for number in found.numbers] == ["A", "", "C", "", ""]
    assert found.by_base_name == 1
    assert found.numbers[1] == NO_CLIQUE


# Matrix and cliques together


def test_counts_of_left_out_queries(rng):
    matrix, cliques = make_problem(rng, cliques=3, versions=2)
    cliques[matrix.names[1]] = "alone"  # leaves 0 and 1 without a cover
    del cliques[matrix.names[5]]  # leaves 5 without a clique, and so 4 without a cover
    found = evaluate.evaluate(matrix, cliques=cliques)
    assert found.rows.tolist() == [2, 3]
    assert found.left_out == {evaluate.NO_CLIQUE_REASON: 1, evaluate.NO_COVER_REASON: 3}
    assert found.references_without_clique == 1


def test_a_reference_without_clique_is_a_cover_of_nothing_but_takes_a_rank():
    distances = np.array([[0.0, 0.5, 0.1]], dtype=np.float32)
    matrix = Matrix("s", ("a", "b", "c"), np.array([0]), distances)
    found = evaluate.evaluate(matrix, cliques={"a": "1", "b": "1"})
    assert found.scores.first_rank.tolist() == [2]


def test_queries_are_positions_in_the_collection(rng):
    matrix, cliques = make_problem(rng)
    chosen = np.array([40, 3, 17])
    subset = Matrix("s", matrix.names, chosen, matrix.distances[chosen])
    whole = evaluate.evaluate(matrix, cliques=cliques).scores
    part = evaluate.evaluate(subset, cliques=cliques).scores
    np.testing.assert_array_equal(part.average_precision, whole.average_precision[chosen])


@pytest.mark.parametrize("block_values", [1, 100, 10**9])
def test_blocks_do_not_change_the_result(rng, block_values):
    matrix, cliques = make_problem(rng)
    whole = evaluate.evaluate(matrix, cliques=cliques).scores.values()
    parts = evaluate.evaluate(matrix, cliques=cliques, block_values=block_values).scores.values()
    for name in metrics.MEANS:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_the_matrix_is_not_changed(rng):
    matrix, cliques = make_problem(rng)
    before = matrix.distances.copy()
    evaluate.evaluate(matrix, cliques=cliques)
    np.testing.assert_array_equal(matrix.distances, before)


def test_nothing_to_evaluate_shows_both_ways_of_writing(rng):
    matrix, _ = make_problem(rng)
    with pytest.raises(EvaluationError, match=r"00_000\.wav.*elsewhere"):
        evaluate.evaluate(matrix, cliques={"elsewhere/1.wav": "x"})


def test_a_repeated_path_is_counted_and_is_a_version(rng):
    distances = np.array([[0.0, 0.0, 0.5]], dtype=np.float32)
    matrix = Matrix("s", ("a", "a", "b"), np.array([0]), distances)
    found = evaluate.evaluate(matrix, cliques={"a": "1", "b": "1"})
    assert found.repeated_paths == 1
    assert found.scores.covers.tolist() == [2]


# Intervals and comparison


def test_summary_brackets_every_metric(rng):
    matrix, cliques = make_problem(rng)
    found = evaluate.evaluate(matrix, cliques=cliques)
    summary = evaluate.summarise(found, generator=np.random.default_rng(0))
    assert list(summary) == list(metrics.DEFINITIONS)
    assert all(cell.low <= cell.value <= cell.high for cell in summary.values())
    assert summary["tnci10"].high == pytest.approx(summary["mnci10"].high * len(found.scores))


def test_a_matrix_against_itself_differs_in_nothing(rng):
    matrix, cliques = make_problem(rng)
    found = evaluate.evaluate(matrix, cliques=cliques)
    result = evaluate.compare(found, found, generator=np.random.default_rng(0))
    for row in result.differences.values():
        assert (row.difference, row.low, row.high, row.p) == (0, 0, 0, 1)


def test_a_better_system_is_found_better(rng):
    good, cliques = make_problem(np.random.default_rng(3), cliques=30, noise=0.4)
    bad, _ = make_problem(np.random.default_rng(3), cliques=30, noise=1.5)
    pair = [evaluate.evaluate(matrix, cliques=cliques) for matrix in (good, bad)]
    result = evaluate.compare(*pair, generator=np.random.default_rng(0))
    assert result.differences["map"].low > 0
    assert result.differences["map"].p < 0.01
    assert result.differences["mr1"].high < 0


@pytest.mark.parametrize(("resample", "p"), [("cliques", 0.125), ("queries", 2 / 2**12)])
def test_the_paired_test_changes_signs_by_clique(resample, p):
    """Four cliques of three queries, each better by the same: 2 of the 2^4 patterns of cliques are as far."""
    good, cliques = make_problem(np.random.default_rng(3), cliques=4, versions=3, noise=0.01)
    bad = Matrix("bad", good.names, good.query_positions, -good.distances)
    pair = [evaluate.evaluate(matrix, cliques=cliques) for matrix in (good, bad)]
    result = evaluate.compare(*pair, generator=np.random.default_rng(0), resample=resample)
    assert result.differences["map"].p == pytest.approx(p)


def test_bca_intervals_are_other_intervals(rng):
    matrix, cliques = make_problem(rng)
    found = evaluate.evaluate(matrix, cliques=cliques)
    plain, corrected = (
        evaluate.summarise(found, generator=np.random.default_rng(0), method=method)
        for method in ("percentile", "bca")
    )
    assert plain["map"].value == corrected["map"].value
    assert (plain["map"].low, plain["map"].high) != (corrected["map"].low, corrected["map"].high)
    assert corrected["map"].low < corrected["map"].value < corrected["map"].high
    assert "BCa bootstrap over cliques" in tables.evaluation_text(found, corrected, method="bca")
    assert "percentile bootstrap over cliques" in tables.evaluation_text(found, plain)


def test_comparison_pairs_by_path_in_any_order(rng):
    matrix, cliques = make_problem(rng)
    order = np.random.default_rng(9).permutation(len(matrix.names))[:30]
    shuffled_columns = np.arange(len(matrix.names))[::-1]
    other = Matrix(
        "other",
        tuple(matrix.names[i] for i in shuffled_columns),
        len(matrix.names) - 1 - order,
        matrix.distances[order][:, shuffled_columns],
    )
    pair = [evaluate.evaluate(m, cliques=cliques) for m in (matrix, other)]
    result = evaluate.compare(*pair, generator=np.random.default_rng(0))
    assert (result.queries, result.only_ours, result.only_theirs) == (30, len(matrix.names) - 30, 0)
    assert result.differences["map"].difference == 0


def test_other_collections_cannot_be_compared(rng):
    matrix, cliques = make_problem(rng)
    other = Matrix("o", (*matrix.names[:-1], "/new.wav"), matrix.query_positions, matrix.distances)
    pair = [evaluate.evaluate(m, cliques=cliques) for m in (matrix, other)]
    with pytest.raises(EvaluationError, match="differ in 2 lines"):
        evaluate.compare(*pair, generator=np.random.default_rng(0))


# Tables


def test_text_and_json_tell_the_same(rng):
    matrix, cliques = make_problem(rng)
    found = evaluate.evaluate(matrix, cliques=cliques)
    summary = evaluate.summarise(found, generator=np.random.default_rng(0))
    text = tables.evaluation_text(found, summary)
    values = json.loads(json.dumps(tables.evaluation_json(found, summary)))
    assert f"{values['metrics']['map']['value']:.4f}" in text
    assert sum(values["correct_covers_at_rank"]) == values["metrics"]["tnci10"]["value"]
    assert "queries left out:   0" in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_text_of_a_system_name_that_no_terminal_takes(rng):
    matrix, cliques = make_problem(rng, system="s\x1b[31m\udcff")
    found = evaluate.evaluate(matrix, cliques=cliques)
    text = tables.evaluation_text(found, evaluate.summarise(found, generator=np.random.default_rng(0)))
    assert r"s\x1b[31m\udcff" in text
    text.encode()


def test_every_metric_has_a_label_and_words():
    text = tables.explanation_text()
    assert set(tables.LABELS) == set(metrics.DEFINITIONS)
    assert all(words in text for words in (*metrics.DEFINITIONS.values(), *metrics.CONVENTIONS.values()))


def test_a_path_that_begins_with_a_hash_has_a_clique_and_a_comment_has_not(tmp_path):
    path = tmp_path / "cliques.tsv"
    path.write_text("# path and clique\n#1 hit.wav\tx\nother.wav\tx\n")
    assert read_cliques(path) == {"#1 hit.wav": "x", "other.wav": "x"}


def test_swapped_columns_are_said(tmp_path):
    path = tmp_path / "cliques.tsv"
    path.write_text("x\ta.wav\ny\tb.wav\n")
    with pytest.raises(EvaluationError, match="swapped"):
        read_cliques(path)
