"""List files as they come, their numbering, and warnings of names that break readers."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirex.errors import ListFileError
from mirex.formats.filelist import (
    FileList,
    file_identity,
    likely_form,
    name_warnings,
    number_collection,
    read_list,
)


def listed(folder: Path, data: bytes) -> tuple[str, ...]:
    path = folder / "list.txt"
    path.write_bytes(data)
    return read_list(path).paths


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"/m/a.wav\n/m/b.wav\n", id="plain"),
        pytest.param(b"/m/a.wav\n/m/b.wav", id="no final newline"),
        pytest.param(b"/m/a.wav\r\n/m/b.wav\r\n", id="CRLF"),
        pytest.param(b"/m/a.wav\r\n/m/b.wav\n", id="LF and CRLF mixed"),
        pytest.param(b"/m/a.wav\r\n/m/b.wav\r", id="CR at the very end"),
        pytest.param(b"\xef\xbb\xbf/m/a.wav\n/m/b.wav\n", id="BOM"),
        pytest.param(b"\xef\xbb\xbf\r\n/m/a.wav\r\n/m/b.wav\r\n", id="BOM, then a blank CRLF line"),
        pytest.param(b"\n/m/a.wav\n\n  \n\t\n\r\n/m/b.wav\n\n", id="blank lines"),
        pytest.param(b"/m/a.wav  \n/m/b.wav \r\n", id="trailing blanks"),
        pytest.param(b"/m/a.wav\tclique 1\t7\n/m/b.wav\t\n", id="tab columns"),
        pytest.param(b"/m/a.wav \tx \r\n/m/b.wav \t\r\n", id="everything at once"),
    ],
)
def test_lists_as_they_come(tmp_path: Path, data: bytes) -> None:
    assert listed(tmp_path, data) == ("/m/a.wav", "/m/b.wav")


def test_spaces_inside_and_before_a_path_belong_to_it(tmp_path: Path) -> None:
    assert listed(tmp_path, b"/my music/a  b.wav\n x.wav\n") == ("/my music/a  b.wav", " x.wav")


def test_non_ascii_paths_keep_their_letters(tmp_path: Path) -> None:
    text = "/músíca/Дом.wav\n/音楽/é.wav\n"
    assert listed(tmp_path, text.encode()) == ("/músíca/Дом.wav", "/音楽/é.wav")


def test_only_newline_and_tab_split(tmp_path: Path) -> None:
    """str.splitlines would split at each of these."""
    name = "a\x0bb\x0cc\x1cd\x85e\u2028f.wav"
    assert listed(tmp_path, (name + "\n").encode()) == (name,)


def test_a_path_in_another_encoding_keeps_its_bytes_and_opens(tmp_path: Path) -> None:
    raw = bytes(tmp_path) + b"/caf\xe9.wav"
    with open(raw, "wb") as file:
        file.write(b"sound")
    (path,) = listed(tmp_path, raw + b"\n")
    assert path.encode("utf-8", "surrogateescape") == raw
    assert Path(path).read_bytes() == b"sound"


def test_duplicates_and_order_are_kept(tmp_path: Path) -> None:
    assert listed(tmp_path, b"b\na\nb\n") == ("b", "a", "b")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n\t\r\n"])
def test_a_list_of_0_files_is_an_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ListFileError, match="lists no files"):
        listed(tmp_path, data)


def test_a_list_of_1_file(tmp_path: Path) -> None:
    assert listed(tmp_path, b"a.wav") == ("a.wav",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"a.wav\n\tb.wav\n", "line 2: no path before the tab", id="leading tab"),
        pytest.param(b"a.wav\rb.wav\r", "line 1: carriage return inside", id="lone CR"),
        pytest.param("a.wav\n".encode("utf-16"), "not text", id="UTF-16"),
        pytest.param(b"RIFF\x24\0\0\0WAVEfmt ", "not text", id="a WAV file by mistake"),
    ],
)
def test_ill_formed_lists(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ListFileError, match=message):
        listed(tmp_path, data)


def test_missing_list_and_folder_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="no-such.txt"):
        read_list(tmp_path / "no-such.txt")
    with pytest.raises(ListFileError, match="cannot read it"):
        read_list(tmp_path)


paths_of_any_bytes = st.binary(min_size=1, max_size=30).filter(
    lambda raw: (
        not set(raw) & set(b"\0\t\n\r")
        and raw == raw.rstrip(b" ")
        and not raw.startswith(b"\xef\xbb\xbf")
        # bytes.strip also takes these two for white space
        and raw.strip()
    )
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    raws=st.lists(paths_of_any_bytes, min_size=1, max_size=8),
    ending=st.sampled_from([b"\n", b"\r\n", b" \n", b"\t1\n", b"\n\n"]),
    bom=st.booleans(),
)
def test_any_list_round_trips(
    tmp_path_factory: pytest.TempPathFactory, raws: list, ending: bytes, bom: bool
) -> None:
    data = b"\xef\xbb\xbf" * bom + ending.join(raws)
    paths = listed(tmp_path_factory.mktemp("list"), data)
    assert [path.encode("utf-8", "surrogateescape") for path in paths] == raws


# Numbering


def test_a_query_is_numbered_by_its_position_in_the_collection() -> None:
    numbering = number_collection(["a", "b", "c", "d"], ["d", "b"])
    assert numbering.paths == ("a", "b", "c", "d")
    assert numbering.query_positions == (3, 1)
    assert numbering.appended == 0


def test_a_duplicate_keeps_both_lines_and_a_query_gets_its_first_match() -> None:
    numbering = number_collection(["a", "b", "b", "a"], ["b", "a", "b"])
    assert numbering.paths == ("a", "b", "b", "a")
    assert numbering.query_positions == (1, 0, 1)


def test_queries_missing_from_the_collection_are_appended_once() -> None:
    numbering = number_collection(["a", "b"], ["x", "b", "y", "x"])
    assert numbering.paths == ("a", "b", "x", "y")
    assert numbering.query_positions == (2, 1, 3, 2)
    assert numbering.appended == 2


def test_paths_are_compared_as_written() -> None:
    assert number_collection(["/m/a.wav"], ["/m/./a.wav", "/m/A.wav"]).appended == 2


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    collection=st.lists(st.sampled_from("abcdef"), max_size=8), queries=st.lists(st.sampled_from("abcdefgh"))
)
def test_numbering_finds_every_query_first(collection: list[str], queries: list[str]) -> None:
    numbering = number_collection(collection, queries)
    assert list(numbering.paths[: len(collection)]) == collection
    assert [numbering.paths.index(query) for query in queries] == list(numbering.query_positions)
    assert len(numbering.paths) == len(collection) + len(set(queries) - set(collection))


# Warnings


def test_ordinary_names_give_no_warning() -> None:
    assert name_warnings(["/m/abc.wav", "/m/abd.wav", "/n/track01.wav"]) == []


def test_warns_of_white_space_in_a_path() -> None:
    (warning,) = name_warnings(["/all music/abc.wav", "/m/abd.wav"])
    assert warning.startswith("1 path has white space")
    assert "'/all music/abc.wav' (1)" in warning


@pytest.mark.parametrize("other", ["/n/abc.wav", "/m/ABC.wav", "/m/abc.mp3", "/m/abc.live.wav"])
def test_warns_of_basenames_alike_up_to_their_first_dot_ignoring_case(other: str) -> None:
    (warning,) = name_warnings(["/m/abc.wav", "/m/xyz.wav", other])
    assert "share 1 basename" in warning
    assert "'/m/abc.wav' (1)" in warning
    assert f"{other!r} (3)" in warning


@pytest.mark.parametrize("path", ["/m/ab", "ab", "a.", "/m/"])
def test_warns_of_a_basename_of_fewer_than_3_characters(path: str) -> None:
    (warning,) = name_warnings([path, "/m/xyz.wav"])
    assert warning.startswith("1 path has a basename of fewer than 3")


def test_a_long_list_gives_few_and_short_warnings() -> None:
    warnings = name_warnings([f"/my music/{n % 10}.wav" for n in range(10_000)])
    assert len(warnings) == 3
    assert warnings[0].startswith("10000 paths have white space")
    assert warnings[1].startswith("10000 paths share 10 basename(s)")
    assert warnings[2].startswith("10000 paths have a basename")
    assert all(len(warning) < 600 for warning in warnings)


def test_warnings_can_be_printed_anywhere() -> None:
    name_warnings(["/m/caf\udce9 1.wav"])[0].encode("utf-8")


# --- what else lists hold ------------------------------------------------------------------------


def test_playlist_lines_and_a_lone_ctrl_z_are_skipped_and_counted(tmp_path):
    path = tmp_path / "list.m3u"
    path.write_bytes(b"#EXTM3U\n#EXTINF:75,Song\na.wav\n#hash.wav\n\x1a\n")
    assert read_list(path) == FileList(("a.wav", "#hash.wav"), skipped=3)


@pytest.mark.parametrize(
    ("paths", "word"),
    [
        (['"/m/a.wav"', '"/m/b.wav"'], "quotes"),
        (["'/m/a.wav", "'/m/b.wav"], "begins with a quote"),
        (["/m/a.wav,1", "/m/b.wav,2"], "CSV"),
        (["1;a.wav", "2;b.wav"], "semicolons"),
        (["1. /m/a.wav", "2. /m/b.wav"], "number"),
        (["1", "2"], "first column"),
        (["mirex 0.1"] + [str(number) for number in range(1, 30)] + ["Q/R"], "matrix"),
        (['["a.wav",', '"b.wav"]'], None),
        (["[", ' "a.wav",', ' "b.wav"', "]"], "JSON"),
        (["[playlist]", "File1=a.wav", "Title1=A", "Version=2"], "PLS"),
        (["<list>", "<song/>"], "XML"),
        (["file:///m/a.wav"], "address"),
        (["http://m/a.wav"], "address"),
        (["C:\\m\\a.wav", "D:\\b.wav"], "Windows"),
        (["~/a.wav"], "shell"),
        (["$HOME/a.wav"], "shell"),
        (["/m/a%20b.wav"], "codes"),
        (["/m/a.wav", "/m/b.wav"], None),
        (["1. /m/a.wav", "/m/b.wav"], None),
    ],
)
def test_the_likely_form_of_a_list_that_is_none(paths, word):
    found = likely_form(paths)
    assert found is None if word is None else word in found


def test_a_query_that_is_the_same_file_by_another_path_is_numbered_there(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    (tmp_path / "link.wav").symlink_to("b.wav")
    collection = [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    queries = [f"{tmp_path}/./b.wav", str(tmp_path / "link.wav"), str(tmp_path / "gone.wav"), "gone.wav"]
    found = number_collection(collection, queries, identity=file_identity)
    assert found.query_positions == (1, 1, 2, 3)
    assert found.paths == (*collection, *queries[2:])
    assert found.appended == 2


def test_no_file_is_asked_for_where_every_query_is_in_the_collection():
    def identity(path: str) -> None:
        raise AssertionError(path)

    assert number_collection(["a", "b"], ["b"], identity=identity).query_positions == (1,)


def test_a_query_named_twice_by_two_paths_is_appended_once(tmp_path):
    (tmp_path / "a.wav").touch()
    queries = [str(tmp_path / "a.wav"), f"{tmp_path}/./a.wav"]
    assert number_collection(["x"], queries, identity=file_identity).paths == ("x", queries[0])


def test_names_that_an_ascii_locale_makes_equal():
    (foreign, confused) = name_warnings(["/m/größe.wav", "/m/grüße.wav", "/m/plain.wav"])
    assert "2 paths have letters outside ASCII" in foreign
    assert "2 paths are equal" in confused
    assert "plain" not in confused
    (alone,) = name_warnings(["/m/größe.wav", "/m/grün.wav"])
    assert "outside ASCII" in alone


@pytest.mark.parametrize(
    ("path", "short"),
    [("/m/ha", True), ("/m/x.01.ogg", False), ("/m/my song.wav", True), ("/m/abc def", False), ("ab", True)],
)
def test_short_names_are_whole_basenames_cut_at_white_space(path, short):
    assert any("fewer than 3" in warning for warning in name_warnings([path])) == short
