"""The distance matrix file: bytes as the protocol wants them, and everything readers accept."""

import os
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mirex.errors import MatrixFormatError
from mirex.formats import matrix
from mirex.formats.matrix import format_values, open_matrix, read_matrix, write_matrix
from mirex.retrieval.distance import rows as distance_rows

NAMES = ("/m/abc.wav", "/m/def.wav", "/m/ghi.wav")
DISTANCES = np.array([[0.5, 0.25, 0.0], [0.0, 1.0, 2.0]], np.float32)
POSITIONS = (2, 0)
TEXT = (
    b"a system\n1\t/m/abc.wav\n2\t/m/def.wav\n3\t/m/ghi.wav\nQ/R\t1\t2\t3\n"
    b"3\t0.50000000\t0.25000000\t0.00000000\n1\t0.00000000\t1.00000000\t2.00000000\n"
)


def written(path: Path, **changes: object) -> bytes:
    arguments = {
        "names": NAMES,
        "query_positions": POSITIONS,
        "rows": DISTANCES,
        "system": "a system",
    } | changes
    write_matrix(path, **arguments)  # type: ignore[arg-type]
    return path.read_bytes()


def read_text(folder: Path, text: bytes):
    path = folder / "read.txt"
    path.write_bytes(text)
    return read_matrix(path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "matrix.txt"


# Writing


def test_the_matrix_byte_by_byte(out: Path) -> None:
    assert written(out) == TEXT


def test_row_labels_are_positions_in_the_collection(out: Path) -> None:
    labels = [line.split(b"\t")[0] for line in written(out).splitlines()[5:]]
    assert labels == [b"3", b"1"]


def test_exactly_one_lf_at_the_end_and_no_blank_line(out: Path) -> None:
    text = written(out)
    assert text.endswith(b"\n")
    assert b"\n\n" not in text
    assert b"\r" not in text
    assert b"\t\n" not in text


def test_the_path_is_written_exactly_as_in_the_list(out: Path) -> None:
    names = ("/my  music/é.wav", "caf\udce9.wav", " 音楽\u2028.wav")
    lines = written(out, names=names).split(b"\n")
    assert lines[1:4] == [
        b"1\t/my  music/\xc3\xa9.wav",
        b"2\tcaf\xe9.wav",
        b"3\t \xe9\x9f\xb3\xe6\xa5\xbd\xe2\x80\xa8.wav",
    ]
    assert read_matrix(out).names == names


def test_blocks_write_the_same_bytes_as_the_whole(out: Path, rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((23, 16)).astype(np.float32)
    names = [f"/m/{n:03d}.wav" for n in range(23)]
    texts = set()
    for block in (1, 5, 23, 100):
        blocks = distance_rows(vectors, vectors, query_positions=range(23), block=block)
        texts.add(written(out, names=names, query_positions=range(23), rows=blocks))
    whole = np.concatenate(list(distance_rows(vectors, vectors, query_positions=range(23))))
    assert texts == {written(out, names=names, query_positions=range(23), rows=whole)}


def test_written_distances_of_a_query_to_itself_are_exactly_0(out: Path, rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((9, 16)).astype(np.float32)
    positions = [4, 8, 0]
    names = [f"/m/{n:03d}.wav" for n in range(9)]
    blocks = distance_rows(vectors[positions], vectors, query_positions=positions)
    rows = written(out, names=names, query_positions=positions, rows=blocks).splitlines()[11:]
    assert [row.split(b"\t")[position + 1] for row, position in zip(rows, positions, strict=True)] == [
        b"0.00000000"
    ] * 3


def test_a_distance_to_itself_other_than_0_is_refused(out: Path) -> None:
    with pytest.raises(MatrixFormatError, match="query 3 is 0.25 from itself"):
        written(out, rows=np.full((2, 3), 0.25, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-7, -0.5])
def test_values_that_are_not_finite_or_below_0_are_refused(out: Path, bad: float) -> None:
    rows = DISTANCES.copy()
    rows[1, 2] = bad
    with pytest.raises(MatrixFormatError, match="of query 1 to 3: distances are finite and 0 or more"):
        written(out, rows=rows)


def test_negative_zero_is_written_as_0(out: Path) -> None:
    rows = DISTANCES.copy()
    rows[rows == 0] = -0.0
    assert written(out, rows=rows) == TEXT
    assert b"-" not in written(out, rows=rows * np.float32(20))


def test_large_finite_distances_are_written(out: Path) -> None:
    rows = np.array([[9.999999, 12345.5, 0]], np.float32)
    assert b"3\t9.99999905\t12345.50000000\t0.00000000\n" in written(out, query_positions=[2], rows=rows)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(0, 12, width=32)))
def test_format_is_percent_8f_for_every_float32(values: np.ndarray) -> None:
    assert format_values(values) == "\t".join(f"{value:.8f}" for value in values.tolist()).encode()


def test_rows_longer_than_a_piece_are_formatted_whole(out: Path, rng: np.random.Generator) -> None:
    count = 2 * matrix._PIECE + 5
    rows = rng.uniform(0, 2, (1, count)).astype(np.float32)
    rows[0, [matrix._PIECE - 1, 0]] = 8.99999999, 0
    rows[0, -1] = 12.5  # beyond the template, in the last piece alone
    expected = "\t".join(f"{value:.8f}" for value in rows[0].tolist()).encode()
    assert format_values(rows[0]) == expected
    names = [str(number) for number in range(count)]
    assert written(out, names=names, query_positions=[0], rows=rows).endswith(b"\n1\t" + expected + b"\n")


def test_format_rounds_halves_as_percent_8f_does() -> None:
    """Multiples of 2^-9 have their ninth decimal, 5, as the last: the ties that a float32 can make."""
    values = (np.arange(1, 4000) / 2**9).astype(np.float32)
    assert format_values(values) == "\t".join(f"{value:.8f}" for value in values.tolist()).encode()


def test_percent_8f_keeps_the_order_of_float32_values(rng: np.random.Generator) -> None:
    values = np.unique(rng.uniform(0.2, 2, 5000).astype(np.float32))
    texts = format_values(values).split(b"\t")
    assert len(set(texts)) == len(values)
    assert sorted(texts) == texts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("a\tb", "c", "d")}, r"name 'a\\tb' contains one of"),
        ({"names": ("a\nb", "c", "d")}, "contains one of"),
        ({"names": ("a\r", "c", "d")}, "contains one of"),
        ({"names": ("a", "", "d")}, "is blank"),
        ({"names": ("a", "\ud800", "d")}, "cannot be written as UTF-8"),
        ({"system": ""}, "system '' is blank"),
        ({"system": "two\nlines"}, "contains one of"),
        ({"query_positions": ()}, "at least one query"),
        ({"query_positions": (0, 3)}, "query position 3 is not one of the 3 names"),
        ({"query_positions": (-1, 0)}, "query position -1"),
        ({"query_positions": (2, 0, 1)}, "2 rows for 3 queries"),
        ({"query_positions": (2,)}, "do not fit"),
        ({"rows": DISTANCES[:, :2]}, "do not fit"),
        ({"rows": DISTANCES[0]}, "do not fit"),
        ({"rows": iter([DISTANCES, DISTANCES])}, "after 2 rows do not fit"),
        ({"rows": iter([])}, "0 rows for 2 queries"),
        ({"names": ()}, "not one of the 0 names"),
    ],
)
def test_what_would_break_the_format_is_refused(out: Path, changes: dict, message: str) -> None:
    with pytest.raises(MatrixFormatError, match=message):
        written(out, **changes)
    assert list(out.parent.iterdir()) == []


def failing_rows() -> Iterator[np.ndarray]:
    yield DISTANCES[:1]
    raise KeyboardInterrupt


def test_the_output_appears_whole_or_not_at_all(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        written(out, rows=failing_rows())
    assert list(out.parent.iterdir()) == []


def test_an_older_output_stays_until_the_new_one_is_whole(out: Path) -> None:
    out.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        written(out, rows=failing_rows())
    assert out.read_bytes() == b"older"
    assert os.listdir(out.parent) == ["matrix.txt"]
    assert written(out) == TEXT


def test_the_output_has_ordinary_permissions(out: Path) -> None:
    written(out)
    other = out.parent / "other"
    other.touch()
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_link_as_output_stays_a_link(out: Path) -> None:
    link = out.parent / "link"
    link.symlink_to(out)
    assert written(link) == TEXT
    assert link.is_symlink()
    assert out.read_bytes() == TEXT


def test_a_missing_output_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        written(tmp_path / "no-such-folder" / "matrix.txt")


# Reading


def test_reads_what_was_written(out: Path) -> None:
    written(out)
    matrix = read_matrix(out)
    assert (matrix.system, matrix.names) == ("a system", NAMES)
    assert matrix.query_positions.tolist() == list(POSITIONS)
    assert matrix.distances.dtype == np.float32
    assert np.array_equal(matrix.distances, DISTANCES)


def spaced(text: bytes) -> bytes:
    return text.replace(b"\t", b" ")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(TEXT[:-1], id="no final newline"),
        pytest.param(TEXT.replace(b"\n", b"\r\n")[:-2], id="CRLF, no final newline"),
        pytest.param(TEXT.replace(b"\n", b"\t\n").replace(b"a system\t", b"a system"), id="trailing tab"),
        pytest.param(
            TEXT.replace(b"\n", b"\t\r\n").replace(b"a system\t", b"a system"), id="trailing tab, CRLF"
        ),
        pytest.param(TEXT.replace(b"Q/R", b"q/r"), id="q/r"),
        pytest.param(spaced(TEXT).replace(b"a system", b"a system"), id="blanks instead of tabs"),
        pytest.param(
            TEXT[: TEXT.index(b"Q/R")] + spaced(TEXT[TEXT.index(b"Q/R") :]), id="blanks in data rows"
        ),
        pytest.param(TEXT.replace(b"0.5", b"  0.5"), id="padded values"),
        pytest.param(TEXT + b"\n", id="trailing blank line"),
        pytest.param(TEXT + b"\r\n \n\t\n", id="trailing blank lines of all kinds"),
        pytest.param(b"\xef\xbb\xbf" + TEXT, id="BOM"),
        pytest.param(
            TEXT.replace(b".50000000", b".5").replace(b"1.00000000", b"1e0"), id="other number formats"
        ),
        pytest.param(TEXT.replace(b"00000", b"00"), id="fewer decimals"),
        pytest.param(TEXT.replace(b"00000", b"000000000"), id="more decimals"),
        pytest.param(TEXT.replace(b"00000", b"00000000000000"), id="more decimals than a float64 has"),
        pytest.param(TEXT.replace(b".00000000", b""), id="whole numbers"),
    ],
)
def test_accepts_what_the_readers_accept(tmp_path: Path, text: bytes) -> None:
    matrix = read_text(tmp_path, text)
    assert (matrix.system, matrix.names) == ("a system", NAMES)
    assert matrix.query_positions.tolist() == [2, 0]
    assert np.array_equal(matrix.distances, DISTANCES)


def test_rows_in_another_order_are_accepted_by_their_labels(tmp_path: Path) -> None:
    lines = TEXT.splitlines(keepends=True)
    matrix = read_text(tmp_path, b"".join([*lines[:5], lines[6], lines[5]]))
    assert matrix.query_positions.tolist() == [0, 2]
    assert np.array_equal(matrix.distances, DISTANCES[::-1])


def test_values_below_0_are_read_as_they_are(tmp_path: Path) -> None:
    matrix = read_text(tmp_path, TEXT.replace(b"0.25000000", b"-0.0000001"))
    assert matrix.distances[0, 1] == np.float32(-1e-7)


def test_a_blank_before_a_path_belongs_to_it(tmp_path: Path) -> None:
    assert read_text(tmp_path, TEXT.replace(b"2\t/m", b"2\t m")).names[1] == " m/def.wav"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(b"0.50000000\t", b"", "line 6: expected 3 values, found 2", id="one column too few"),
        pytest.param(
            b"0.25000000", b"0.2\t0.2", "line 6: expected 3 values, found 4", id="one column too many"
        ),
        pytest.param(b"0.25000000\t", b"\t", r"line 6: column 2: b'' is not a number", id="empty field"),
        pytest.param(b"\n1\t0.0", b"\n0\t0.0", "line 7: row label b'0'", id="row label 0"),
        pytest.param(b"\n1\t0.0", b"\n4\t0.0", "line 7: row label b'4'", id="row label N+1"),
        pytest.param(b"\n1\t0.0", b"\n1.0\t0.0", "line 7: row label b'1.0'", id="row label 1.0"),
        pytest.param(
            b"\n1\t0.0", b"\n/m/abc.wav\t0.0", "line 7: row label b'/m/abc.wav'", id="row label a path"
        ),
        pytest.param(b"\n1\t0.0", b"\n-1\t0.0", "line 7: row label b'-1'", id="row label -1"),
        pytest.param(b"0.25000000", b"nan", "line 6: column 2: b'nan' is not a finite number", id="nan"),
        pytest.param(b"0.25000000", b"inf", "line 6: column 2: b'inf' is not a finite", id="inf"),
        pytest.param(b"0.25000000", b"1e39", "line 6: column 2: b'1e39' is not a finite", id="over float32"),
        pytest.param(b"0.25000000", b"0,25000000", r"line 6: column 2: .*decimal comma", id="decimal comma"),
        pytest.param(b"0.25000000", b"0.2500000x", "line 6: column 2: .* is not a number", id="letter"),
        pytest.param(b"0.25000000", b"0.2_5", "line 6: column 2: .* is not a number", id="digit grouping"),
        pytest.param(b"0.25000000", b"\xd9\xa1.5", "line 6: column 2: .* is not a number", id="other digits"),
        pytest.param(
            b"\n1\t0.0", b"\nQ/R\t1\t2\t3\n1\t0.0", "line 7: second Q/R line", id="second header line"
        ),
        pytest.param(
            b"\n1\t0.0", b"\n\n1\t0.0", "line 7: blank line between the rows", id="blank between rows"
        ),
        pytest.param(b"\n2\t", b"\n\n2\t", "line 3: blank line in the list", id="blank line in the list"),
        pytest.param(b"\n2\t", b"\n3\t", "line 3: expected '2<tab>path'", id="list out of order"),
        pytest.param(b"\n2\t", b"\n0x2\t", "line 3: expected '2<tab>path'", id="list not numbered"),
        pytest.param(b"2\t/m/def.wav", b"2\t", "line 3: number 2 has no path", id="no path"),
        pytest.param(b"/def.wav", b"/def.wav\tx", "line 3: tab inside the path", id="column after a path"),
        pytest.param(b"a system\n", b"", "line 2: expected '1<tab>path'", id="no system line"),
        pytest.param(b"Q/R\t1\t2\t3\n", b"", "line 5: expected '4<tab>path'", id="no Q/R line"),
        pytest.param(b"Q/R\t1\t2\t3", b"Q/R\t1\t2", "line 5: .* 1 to 3", id="short Q/R line"),
        pytest.param(b"Q/R\t1\t2\t3", b"Q/R\t0\t1\t2", "line 5: .* 1 to 3", id="Q/R line from 0"),
    ],
)
def test_refuses_the_rest_with_its_line(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(MatrixFormatError, match=message):
        read_text(tmp_path, TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1: the file ends without a Q/R line"),
        (b"system\n", "the file ends without a Q/R line"),
        (b"system\n1\ta\n", "line 2: the file ends without a Q/R line"),
        (b"system\nQ/R\n", "line 2: the Q/R line comes before any numbered path"),
        (b"system\n1\ta\nQ/R\t1\n", "line 4: no row follows"),
        (b"system\n1\ta\nQ/R\t1\n\n\n", "line 4: no row follows"),
        (bytes(range(256)), "read.txt"),
    ],
)
def test_refuses_what_is_no_matrix(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(MatrixFormatError, match=message):
        read_text(tmp_path, text)


def test_a_missing_matrix_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(MatrixFormatError, match=r"no-such.txt.*cannot be read"):
        read_matrix(tmp_path / "no-such.txt")


@pytest.mark.parametrize("block", [1, 2, 3, 256])
def test_rows_in_blocks_are_the_rows_of_the_whole(out: Path, rng: np.random.Generator, block: int) -> None:
    names = [f"/m/{n:03d}.wav" for n in range(7)]
    distances = rng.uniform(0, 2, (7, 7)).astype(np.float32)
    np.fill_diagonal(distances, 0)
    written(out, names=names, query_positions=range(7), rows=distances)
    matrix = open_matrix(out)
    assert (matrix.system, list(matrix.names)) == ("a system", names)
    for _ in range(2):  # a second reading starts anew
        positions, blocks = zip(*matrix.rows(block=block), strict=True)
        assert all(len(part) <= block for part in blocks)
        assert np.concatenate(positions).tolist() == list(range(7))
        assert np.array_equal(np.concatenate(blocks), read_matrix(out).distances)


def test_writing_and_reading_by_blocks_keep_memory_small(out: Path) -> None:
    """2000 x 2000 are 16 MB as float32 and 44 MB as text; a block of 50 rows is 0.4 MB."""
    count, block = 2000, 50

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, count, block):
            part = np.full((block, count), 0.5, np.float32)
            part[np.arange(block), np.arange(start, start + block)] = 0
            yield part

    tracemalloc.start()
    written(out, names=[f"/m/{n}.wav" for n in range(count)], query_positions=range(count), rows=blocks())
    peak_with_text = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    total = sum(float(part.sum()) for _, part in open_matrix(out).rows(block=block))
    peak_reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 0.5 * count * (count - 1)
    assert peak_with_text < out.stat().st_size + 8e6  # `written` returns the text itself
    assert peak_reading < 8e6


# Round trips

names_in_lists = st.text(
    st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: bool(name.strip()))
names_of_any_bytes = st.binary(min_size=1, max_size=12).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
any_names = st.lists(
    names_in_lists | names_of_any_bytes.filter(lambda name: name.strip() and not set(name) & set("\t\n\r")),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(names=any_names, system=names_in_lists.filter(lambda text: "\ufeff" not in text), data=st.data())
def test_any_matrix_round_trips(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], system: str, data: st.DataObject
) -> None:
    positions = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=5))
    shape = (len(positions), len(names))
    distances = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 2, width=32)))
    distances[np.arange(len(positions)), positions] = 0
    path = tmp_path_factory.mktemp("matrix") / "matrix.txt"
    write_matrix(path, names=names, query_positions=positions, rows=distances, system=system)
    first = path.read_bytes()
    matrix = read_matrix(path)
    assert (matrix.system, list(matrix.names)) == (system, names)
    assert matrix.query_positions.tolist() == positions
    np.testing.assert_allclose(matrix.distances, distances, rtol=0, atol=5.1e-9)
    write_matrix(
        path,
        names=matrix.names,
        query_positions=matrix.query_positions,
        rows=matrix.distances,
        system=matrix.system,
    )
    assert path.read_bytes() == first


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6),
    st.sampled_from("feg"),
    st.integers(0, 17),
)
def test_numbers_in_any_notation_are_read_as_float_reads_them(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], notation: str, digits: int
) -> None:
    fields = [f"{value:.{digits}{notation}}" for value in values]
    numbers = range(1, len(fields) + 1)
    lines = [
        "s",
        *(f"{n}\tname" for n in numbers),
        "\t".join(["Q/R", *map(str, numbers)]),
        "\t".join(["1", *fields]),
    ]
    text = "\n".join(lines).encode()
    matrix = read_text(tmp_path_factory.mktemp("matrix"), text)
    assert matrix.distances[0].tolist() == [float(np.float32(float(field))) for field in fields]
