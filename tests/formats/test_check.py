"""The strict check: each variant that chokes a reader, with its line; and the command."""

import argparse
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mirex.commands import check as command
from mirex.errors import MatrixFormatError
from mirex.formats.check import SHOWN, violations
from mirex.formats.filelist import places_beside
from mirex.formats.matrix import write_matrix

TEXT = (
    b"a system\n1\t/m/abc.wav\n2\t/m/def.wav\n3\t/m/ghi.wav\nQ/R\t1\t2\t3\n"
    b"3\t0.50000000\t0.25000000\t0.00000000\n1\t0.00000000\t1.00000000\t2.00000000\n"
)


def found(folder: Path, text: bytes, **options: object) -> list[tuple[int, str, str]]:
    path = folder / "matrix.txt"
    path.write_bytes(text)
    return [(v.line, v.severity, v.message) for v in violations(path, **options)]  # type: ignore[arg-type]


def test_a_perfect_matrix_has_no_violations(tmp_path: Path) -> None:
    assert found(tmp_path, TEXT) == []


def test_whatever_the_writer_writes_is_valid(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "matrix.txt"
    names = [f"/m/{n:03d}.wav" for n in range(40)]
    distances = rng.uniform(0, 12, (40, 40)).astype(np.float32)
    np.fill_diagonal(distances, 0)
    write_matrix(path, names=names, query_positions=range(40), rows=distances)
    assert violations(path, queries=names) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        pytest.param(b"2.00000000\n", b"2.00000000\n\n", 8, "blank line", id="trailing blank line"),
        pytest.param(b"\n2\t", b"\n\n2\t", 3, "blank line", id="blank line in the list"),
        pytest.param(b"\n1\t0", b"\n\n1\t0", 7, "blank line", id="blank line between rows"),
        pytest.param(b"a system", b"", 1, "blank line", id="blank first line"),
        pytest.param(
            b"1\t0.00000000\t1", b"1 0.00000000 1", 7, "blank instead of a tab", id="blanks in a row"
        ),
        pytest.param(b"\t0.25", b"\t 0.25", 6, "blank instead of a tab", id="blank beside a tab"),
        pytest.param(b"2\t/m", b"2 /m", 3, "blank instead of a tab", id="blank in the list"),
        pytest.param(b"Q/R\t1\t2\t3", b"Q/R 1 2 3", 5, "blank instead of a tab", id="blanks in the Q/R line"),
        pytest.param(b"0.25000000", b"nan", 6, "not a finite number", id="nan"),
        pytest.param(b"0.25000000", b"inf", 6, "not a finite number", id="inf"),
        pytest.param(b"0.25000000", b"1e39", 6, "not a finite number", id="infinite as float32"),
        pytest.param(b"0.25000000", b"", 6, "not a finite number", id="two tabs between fields"),
        pytest.param(b"0.25000000", b"0,25000000", 6, "decimal comma", id="decimal comma"),
        pytest.param(b"0.25000000", b"-0.00000000", 6, "value below 0 or -0", id="negative zero"),
        pytest.param(b"0.25000000", b"-0.0000001", 6, "value below 0 or -0", id="-1e-7"),
        pytest.param(b"0.50000000\t", b"", 6, "number of values", id="one column too few"),
        pytest.param(b"0.50000000", b"0.5\t0.5", 6, "number of values", id="one column too many"),
        pytest.param(b"\n1\t0.0", b"\n0\t0.0", 7, "row label", id="row label 0"),
        pytest.param(b"\n1\t0.0", b"\n4\t0.0", 7, "row label", id="row label N+1"),
        pytest.param(b"\n1\t0.0", b"\n1.0\t0.0", 7, "row label", id="row label 1.0"),
        pytest.param(b"\n1\t0.0", b"\n/m/abc.wav\t0.0", 7, "row label", id="row label a path"),
        pytest.param(b"\n1\t0.0", b"\nQ/R\t1\t2\t3\n1\t0.0", 7, "second Q/R line", id="second header line"),
        pytest.param(b"\n1\t0.0", b"\n2\t0.0", 7, "distance to itself is not 0", id="self distance"),
        pytest.param(b"\n2\t", b"\n5\t", 3, "numbered list", id="list number"),
        pytest.param(b"/def.wav", b"/def.wav\tx", 3, "numbered list", id="column after a path"),
        pytest.param(b"Q/R\t1\t2\t3", b"Q/R\t1\t2", 5, "Q/R line", id="short Q/R line"),
    ],
)
def test_what_a_strict_reader_chokes_on_is_an_error(
    tmp_path: Path, old: bytes, new: bytes, line: int, message: str
) -> None:
    assert TEXT.count(old) == 1
    (violation,) = found(tmp_path, TEXT.replace(old, new))
    assert violation[:2] == (line, "error")
    assert violation[2].startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        pytest.param(b"wav\n2", b"wav\r\n2", 2, "line ends with CRLF", id="CRLF"),
        pytest.param(b"2.00000000\n", b"2.00000000", 7, "no newline at the end", id="no final newline"),
        pytest.param(b"2.00000000\n", b"2.00000000\t\n", 7, "trailing tab", id="trailing tab"),
        pytest.param(b"Q/R", b"q/r", 5, "Q/R in lower case", id="q/r"),
        pytest.param(b"a system", b"\xef\xbb\xbfa system", 1, "byte order mark", id="BOM"),
        pytest.param(
            b"\n1\t0.0", b"\n3\t0.0\t0.0\t0.0\n1\t0.0", 7, "second row of a query", id="repeated query"
        ),
        pytest.param(b"/m/def", b"/m/def g", 2, "names: 1 path has white space", id="white space in a path"),
        pytest.param(b"/m/def", b"/n/ABC", 2, "names: 2 paths share", id="basenames alike"),
        pytest.param(
            b"/m/def.wav", b"/m/de", 2, "names: 1 path has a basename of fewer", id="short basename"
        ),
        pytest.param(
            b"/m/def.wav\n3\t/m/ghi", "/m/é.wav\n3\t/m/à".encode(), 2, "names: 2 paths differ", id="not ASCII"
        ),
    ],
)
def test_what_both_readers_accept_is_a_warning(
    tmp_path: Path, old: bytes, new: bytes, line: int, message: str
) -> None:
    assert TEXT.count(old) == 1
    (violation,) = found(tmp_path, TEXT.replace(old, new))
    assert violation[:2] == (line, "warning")
    assert violation[2].startswith(message)


def test_several_columns_of_a_row_are_one_violation(tmp_path: Path) -> None:
    (violation,) = found(tmp_path, TEXT.replace(b"0.50000000\t0.25000000", b"nan\tNaN"))
    assert violation[2].endswith("column 1 and 1 more")


def test_every_violation_is_listed_in_line_order(tmp_path: Path) -> None:
    text = TEXT.replace(b"2\t/m", b"7\t/m").replace(b"0.25", b"0,25").replace(b"\n1\t0.0", b"\n9\t0.0")[:-1]
    lines = [(line, severity) for line, severity, _ in found(tmp_path, text)]
    assert lines == [(3, "error"), (6, "error"), (7, "error"), (7, "warning")]


def test_repeated_violations_are_counted_not_listed(tmp_path: Path) -> None:
    lines = found(tmp_path, TEXT + b"1\t0.00000000\tnan\t2.00000000\n" * 100)
    errors = [line for line in lines if line[1] == "error"]
    assert len(errors) == SHOWN + 1
    assert [line for line, _, _ in errors] == [8, 9, 10, 11, 12, 107]
    assert errors[-1][2] == "not a finite number: 95 more, of which this is the last"


def test_rows_in_another_order_are_found_with_the_query_list(tmp_path: Path) -> None:
    assert found(tmp_path, TEXT, queries=["/m/ghi.wav", "/m/abc.wav"]) == []
    swapped = found(tmp_path, TEXT, queries=["/m/abc.wav", "/m/ghi.wav"])
    assert [(line, severity) for line, severity, _ in swapped] == [(6, "error"), (7, "error")]
    assert "the row says 3" in swapped[0][2]


def test_a_subset_relabelled_1_to_q_is_found_with_the_query_list(tmp_path: Path) -> None:
    text = TEXT.replace(b"\n3\t0.50000000\t0.25000000\t0.0", b"\n2\t0.50000000\t0.00000000\t0.2")
    assert found(tmp_path, text) == []
    ((line, _, message),) = found(tmp_path, text, queries=["/m/ghi.wav", "/m/abc.wav"])
    assert (line, message.split(":")[0]) == (6, "row out of query-list order")


def test_missing_rows_and_queries_are_found_with_the_query_list(tmp_path: Path) -> None:
    messages = [m for _, _, m in found(tmp_path, TEXT, queries=["/m/ghi.wav", "/m/new.wav", "/m/abc.wav"])]
    assert "number of rows: 2 rows for 3 queries" in messages
    assert "query missing from the numbered list: '/m/new.wav'" in messages


def test_a_query_may_have_another_path_of_the_same_file(tmp_path: Path) -> None:
    for name in ("abc.wav", "def.wav", "ghi.wav"):
        (tmp_path / name).touch()
    text, queries = TEXT.replace(b"/m/", b""), ["./ghi.wav", "./abc.wav"]
    assert any("missing" in message for _, _, message in found(tmp_path, text, queries=queries))
    assert found(tmp_path, text, queries=queries, place=places_beside(tmp_path / "queries.txt")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty file"),
        (b"system\n1\t/m/abc.wav\n", "no Q/R line"),
        (b"system\nQ/R\n1\n", "numbered list: no numbered path"),
        (b"system\n1\t/m/abc.wav\nQ/R\t1\n", "no row after the Q/R line"),
        (bytes(range(256)) * 4, "no Q/R line"),
    ],
)
def test_what_is_no_matrix_is_an_error_not_a_crash(tmp_path: Path, text: bytes, message: str) -> None:
    lines = found(tmp_path, text)
    assert any(m.startswith(message) and severity == "error" for _, severity, m in lines)
    assert all(line >= 1 for line, _, _ in lines)


def test_every_truncation_is_found(tmp_path: Path) -> None:
    """Cut anywhere, a matrix is not perfect; cut within the last value, it is at least a warning."""
    for length in range(len(TEXT)):
        if TEXT[:length].count(b"\n") != 6 or not TEXT[:length].endswith(b"\n"):
            assert found(tmp_path, TEXT[:length]), TEXT[:length][-20:]


def test_a_missing_matrix_raises(tmp_path: Path) -> None:
    with pytest.raises(MatrixFormatError, match="no-such.txt"):
        violations(tmp_path / "no-such.txt")


def test_the_check_streams(tmp_path: Path) -> None:
    """A wrong file of 20 MB, of which nearly every line is a violation, takes little memory."""
    path = tmp_path / "matrix.txt"
    path.write_bytes(b"system\n1\t/m/abc.wav\n" + (b"7\t" + b"0.1\t" * 2500 + b"\n") * 2000)
    tracemalloc.start()
    violations(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


# The command


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return command.run(parser.parse_args(["check", *arguments]))


def test_command_exits_0_for_a_valid_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "matrix.txt"
    path.write_bytes(TEXT)
    assert run(str(path)) == 0
    assert capsys.readouterr().out == f"{path}: valid (0 errors, 0 warnings)\n"


def test_command_exits_0_for_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "matrix.txt"
    path.write_bytes(TEXT[:-1])
    assert run(str(path)) == 0
    assert f"{path}:7: warning: no newline at the end" in capsys.readouterr().out


def test_command_exits_1_for_violations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "matrix.txt"
    path.write_bytes(TEXT.replace(b"0.25000000", b"nan"))
    assert run(str(path)) == 1
    output = capsys.readouterr().out
    assert f"{path}:6: error: not a finite number" in output
    assert output.endswith("not valid (1 errors, 0 warnings)\n")


def test_command_checks_the_order_against_the_query_list(tmp_path: Path) -> None:
    path, queries = tmp_path / "matrix.txt", tmp_path / "queries.txt"
    path.write_bytes(TEXT)
    queries.write_text("/m/ghi.wav\n/m/abc.wav\n")
    assert run(str(path), "--queries", str(queries)) == 0
    for name in ("abc.wav", "ghi.wav"):
        (tmp_path / name).touch()
    other = tmp_path / "other.txt"
    other.write_bytes(TEXT.replace(b"/m/", f"{tmp_path}/".encode()))
    queries.write_text("ghi.wav\n./abc.wav\n")
    assert run(str(other), "--queries", str(queries)) == 0
    queries.write_text("/m/abc.wav\n/m/ghi.wav\n")
    assert run(str(path), "--queries", str(queries)) == 1
