"""List files as they come, their numbering, and warnings of names that break readers."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirex.errors import ListFileError
from mirex.formats.filelist import check_analysed, locate, name_warnings, number_collection, read_list


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
        pytest.param("a.wav\n".encode("utf-16"), "is text in UTF-16", id="UTF-16"),
        pytest.param(b"RIFF\x24\0\0\0WAVEfmt ", "is audio", id="a WAV file by mistake"),
    ],
)
def test_ill_formed_lists(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ListFileError, match=message):
        listed(tmp_path, data)


def test_missing_list_and_folder_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="no-such.txt"):
        read_list(tmp_path / "no-such.txt")
    with pytest.raises(ListFileError, match="cannot be read"):
        read_list(tmp_path)


paths_of_any_bytes = st.binary(min_size=1, max_size=30).filter(
    lambda raw: (
        not set(raw) & set(b"\0\t\n\r")
        and raw == raw.rstrip(b" ")
        and not raw.startswith(b"\xef\xbb\xbf")
        # bytes.strip also takes these two for white space
        and raw.strip()
        and not raw.endswith(b"\x1a")
        and not raw.startswith(b"#EXT")
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


# Lines that name no file, and blanks that do


@pytest.mark.parametrize(
    ("data", "skipped"),
    [
        pytest.param(b"#EXTM3U\n#EXTINF:12,A\n/m/a.wav\n# of B\n/m/b.wav\n", 3, id="M3U"),
        pytest.param(b"\xef\xbb\xbf#EXTM3U\r\n/m/a.wav\r\n/m/b.wav\r\n", 1, id="M3U with BOM and CRLF"),
        pytest.param(b"/m/a.wav\n#EXTINF:12,B\n/m/b.wav\n", 1, id="M3U without its head"),
        pytest.param(b"/m/a.wav\r\n/m/b.wav\r\n\x1a", 1, id="Ctrl-Z"),
        pytest.param(b"/m/a.wav\r\n/m/b.wav\x1a\r\n", 1, id="Ctrl-Z behind the last path"),
        pytest.param(b"/m/a.wav\n\x1a\n/m/b.wav\n\x1a\n", 2, id="two lists that were joined"),
    ],
)
def test_lines_that_name_no_file_are_skipped_with_one_warning(
    tmp_path: Path, data: bytes, skipped: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert listed(tmp_path, data) == ("/m/a.wav", "/m/b.wav")
    (record,) = caplog.records
    assert f"skipped {skipped} line(s) that do not name a file" in record.getMessage()


def test_files_whose_names_begin_like_comments_are_kept(tmp_path: Path) -> None:
    (tmp_path / "#EXTRA.wav").touch()
    assert listed(tmp_path, b"#1.wav\n#EXTRA.wav\n") == ("#1.wav", "#EXTRA.wav")
    assert listed(tmp_path, b"#EXTM3U\n#EXTRA.wav\n") == ("#EXTRA.wav",)


def test_trailing_blanks_belong_to_a_path_if_such_a_file_exists(tmp_path: Path) -> None:
    (tmp_path / "a.wav ").touch()
    assert listed(tmp_path, b"a.wav \nb.wav \n") == ("a.wav ", "b.wav")
    assert listed(tmp_path, b"a.wav \tx\r\nb.wav\n") == ("a.wav ", "b.wav")
    (tmp_path / "a.wav").touch()
    assert listed(tmp_path, b"a.wav \n") == ("a.wav",)


# Files


def test_locate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, current = tmp_path / "lists", tmp_path / "current"
    for place in (beside, current):
        place.mkdir()
        (place / "both.wav").touch()
    (beside / "beside.wav").touch()
    monkeypatch.chdir(current)
    located = locate(["both.wav", "beside.wav", "none.wav", "/a/b.wav"], list_file="../lists/list.txt")
    assert located == ["both.wav", str(beside / "beside.wav"), "none.wav", "/a/b.wav"]


def test_a_file_is_found_in_the_other_unicode_form_each_part_by_itself(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    folder = tmp_path / f"{composed}t{composed}"
    folder.mkdir()
    file = folder / f"caf{decomposed}.wav"
    file.touch()
    for written in (unicodedata.normalize("NFC", str(file)), unicodedata.normalize("NFD", str(file))):
        assert locate([written], list_file=tmp_path / "list.txt") == [str(file)]
    relative = unicodedata.normalize("NFC", str(file.relative_to(tmp_path)))
    assert locate([relative], list_file=tmp_path / "list.txt") == [str(file)]
    other = folder / f"caf{composed}.wav"
    other.touch()
    assert locate([str(other), str(file)], list_file=tmp_path / "list.txt") == [str(other), str(file)]


# A list that is none


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ('"{}"\n"{}"\n', "every path begins with a quote"),
        ("'{}'\n'{}'\n", "every path begins with a quote"),
        ("{},first\n{},second\n", "columns are separated by commas, and the path is in column 1"),
        ("work,path\none,{}\ntwo,{}\n", "columns are separated by commas, and the path is in column 2"),
        ('one;"{}"\ntwo;"{}"\n', "columns are separated by semicolons, and the path is in column 2"),
        ("one\t{}\ntwo\t{}\n", "columns are separated by tabs, and the path is in column 2"),
        (
            "id\twork\tpath\n1\ta\t{}\n2\tb\t{}\n",
            "columns are separated by tabs, and the path is in column 3",
        ),
        ("1. {}\n2. {}\n", "every path has a number before it"),
        ("[1] {}\n[2] {}\n", "every path has a number before it"),
        ("     1  {}\n     2  {}\n", "every path has a number before it"),
        ("- {}\n- {}\n", "dash"),
        ("system\n1\t{}\n2\t{}\nQ/R\t1\t2\n1\t0.0\t0.5\n", "it is a distance matrix"),
        ('["{}", "{}"]\n', "it is JSON"),
        ('[\n  "{}",\n  "{}"\n]\n', "it is JSON"),
        ('{{"files": ["{}", "{}"]}}\n', "it is JSON"),
        ("<playlist><location>{}</location><location>{}</location>\n", "it is XML"),
        ("[playlist]\nFile1={}\nFile2={}\n", "it is a PLS playlist"),
        ("file://{}\nfile://{}\n", "every path is a URL"),
        ("{} {}\n", "several paths, separated by blanks"),
        ("  {}\n  {}\n", "every path begins with a blank"),
        ("-rw-r--r-- 1 me me 12 Jan 1 {}\n-rw-r--r-- 1 me me 9 Jan 1 {}\n", "the output of 'ls -l'"),
        ("C:\\music\\a.wav\nC:\\music\\b.wav\n", "a drive letter"),
        ("~/a.wav\n~/b.wav\n", "every path begins with ~"),
        ("x/a.wav\nx/b.wav\n", "exist neither in the current directory"),
        ("/nowhere/a.wav\n/nowhere/b.wav\n", "as they are on this machine"),
    ],
)
def test_a_list_in_another_form_is_an_error_that_names_the_form(
    tmp_path: Path, template: str, form: str
) -> None:
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for file in files:
        file.touch()
    path = tmp_path / "list.txt"
    path.write_text(template.format(*files), "utf-8")
    paths = read_list(path).paths
    with pytest.raises(ListFileError, match="(can|cannot) be read") as raised:
        locate(paths, list_file=path)
    assert form in str(raised.value)
    assert len(str(raised.value)) < 600


def test_escaped_paths_are_told_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "a b.wav").touch()
    path = tmp_path / "list.txt"
    for line, form in (("a\\ b.wav", "backslashes"), ("a%20b.wav", "%xx")):
        path.write_text(line + "\n")
        with pytest.raises(ListFileError, match=form):
            locate(read_list(path).paths, list_file=path)


def test_folders_and_files_that_may_not_be_read_make_no_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{tmp_path}\n")
    with pytest.raises(ListFileError, match=r"is a folder.*every path is a folder"):
        locate(read_list(path).paths, list_file=path)


def test_one_file_that_can_be_read_makes_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    path = tmp_path / "list.txt"
    path.write_text('"b.wav"\na.wav\n')
    assert locate(read_list(path).paths, list_file=path) == ['"b.wav"', str(tmp_path / "a.wav")]


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"ID3\x04\0\0\0\0\0" * 9, "audio"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
        (b"\x1f\x8b\x08\0\0\0\0", "gzip"),
        ("/m/a.wav\n".encode("utf-16-le"), "UTF-16"),
        ("/m/a.wav\n".encode("utf-16-be"), "UTF-16"),
        (b"/m/a.wav\0/m/b.wav\0", "find -print0"),
        (b"/m/a.wav\n" * 20_000 + b"\0\n", "NUL"),
    ],
)
def test_files_that_are_no_text_are_named(tmp_path: Path, data: bytes, form: str) -> None:
    with pytest.raises(ListFileError, match=f"is .*{form}.*; give a text file in UTF-8"):
        listed(tmp_path, data)


def test_an_endless_stream_of_bytes_is_no_list() -> None:
    with pytest.raises(ListFileError, match="give a text file in UTF-8"):
        read_list("/dev/zero")


def test_a_list_of_which_nothing_could_be_analysed_is_an_error(tmp_path: Path) -> None:
    check_analysed(["a", "b"], {0: "is silent"}, list_file="list.txt")
    with pytest.raises(ListFileError, match="none of its 2 files can be analysed .*'a': is silent"):
        check_analysed(["a", "b"], {0: "is silent", 1: "is empty"}, list_file="list.txt")


# Numbering


def test_a_query_that_is_the_same_file_by_another_path_is_numbered_there(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("b")
    collection = [str(tmp_path / name) for name in ("a", "b")]
    queries = [f"{tmp_path}/./b", f"{tmp_path}/link", f"{tmp_path}/c", f"{tmp_path}/./c", "gone"]
    numbering = number_collection(collection, queries, places=(collection, queries))
    assert numbering.paths == (*collection, f"{tmp_path}/c", "gone")
    assert numbering.query_positions == (1, 1, 2, 2, 3)
    assert (numbering.appended, numbering.renamed) == (2, 3)


def two_lists(
    folder: Path, *, collection: bytes | None, queries: bytes | None
) -> tuple[list[str], list[str]]:
    """Locations of a.ogg, which two lists in folders of their own have beside b.ogg; None: no such file."""
    places = []
    for name, data in (("c", collection), ("q", queries)):
        (folder / name).mkdir()
        (folder / name / "b.ogg").touch()
        if data is not None:
            (folder / name / "a.ogg").write_bytes(data)
        places.append(locate(["b.ogg", "a.ogg"], list_file=folder / name / "list.txt"))
    return places[0], places[1]


def test_different_files_under_one_path_are_an_error_that_names_both(tmp_path: Path) -> None:
    lists = two_lists(tmp_path, collection=b"one", queries=b"two")
    with pytest.raises(ListFileError, match="give absolute paths") as raised:
        number_collection(["b.ogg", "a.ogg"], ["b.ogg", "a.ogg"], places=lists)
    assert f"'a.ogg' is '{tmp_path}/c/a.ogg' in the collection" in str(raised.value)
    assert f"'{tmp_path}/q/a.ogg'" in str(raised.value)
    numbering = number_collection(lists[0], lists[1], places=lists)
    assert numbering.query_positions == (2, 3), "absolute paths tell them apart"


@pytest.mark.parametrize(
    ("collection", "queries"),
    [
        pytest.param(b"one", b"one", id="a copy"),
        pytest.param(b"one", None, id="missing beside the query list"),
        pytest.param(None, b"two", id="missing in the collection"),
        pytest.param(None, None, id="missing in both"),
    ],
)
def test_copies_and_missing_files_under_one_path_share_a_number(
    tmp_path: Path, collection: bytes | None, queries: bytes | None
) -> None:
    lists = two_lists(tmp_path, collection=collection, queries=queries)
    numbering = number_collection(["b.ogg", "a.ogg"], ["a.ogg"], places=(lists[0], lists[1][1:]))
    assert (numbering.query_positions, numbering.appended) == ((1,), 0)


def test_a_link_to_the_same_file_under_one_path_shares_its_number(tmp_path: Path) -> None:
    lists = two_lists(tmp_path, collection=b"one", queries=None)
    (tmp_path / "q" / "a.ogg").symlink_to("../c/a.ogg")
    places = lists[0], [str(tmp_path / "q" / "a.ogg")]
    assert number_collection(["b.ogg", "a.ogg"], ["a.ogg"], places=places).query_positions == (1,)


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
    (warning,) = name_warnings(["/my music/abc.wav", "/m/abd.wav"])
    assert warning.startswith("1 path has white space")
    assert "'/my music/abc.wav' (1)" in warning


@pytest.mark.parametrize("other", ["/n/abc.wav", "/m/ABC.wav", "/m/abc.mp3", "/m/abc.live.wav"])
def test_warns_of_basenames_alike_up_to_their_first_dot_ignoring_case(other: str) -> None:
    (warning,) = name_warnings(["/m/abc.wav", "/m/xyz.wav", other])
    assert "share 1 basename" in warning
    assert "'/m/abc.wav' (1)" in warning
    assert f"{other!r} (3)" in warning


@pytest.mark.parametrize("path", ["/m/ab", "/m/a", "/m/", "ha"])
def test_warns_of_a_basename_of_fewer_than_3_characters(path: str) -> None:
    (warning,) = name_warnings([path, "/m/xyz.wav"])
    assert warning.startswith("1 path has a basename of fewer than 3")


@pytest.mark.parametrize("path", ["/m/x.01.ogg", "/m/ab.wav", "a.b.c.wav", "/m/.hidden", "abc"])
def test_a_whole_basename_of_3_characters_is_read(path: str) -> None:
    assert name_warnings([path, "/m/xyz.wav"]) == []


def test_a_basename_is_cut_at_white_space() -> None:
    assert "fewer than 3" in name_warnings(["/m/a b.wav"])[1]
    assert len(name_warnings(["/m/abc b.wav"])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/m/caf\u00e9.wav", "/n/caf\u00e8.wav"),
        ("/m/\u00c4bc.wav", "/m/\u00d6BC.ogg"),
        ("/m/\u0414\u043e\u043c.wav", "/m/\u041a\u043e\u0442.wav"),
        ("/m/caf\udce9.wav", "/m/caf\udce8.wav"),
    ],
)
def test_warns_of_names_that_are_equal_in_an_ascii_locale(one: str, other: str) -> None:
    (warning,) = name_warnings([one, "/m/xyz.wav", other])
    assert warning.startswith("2 paths differ up to the first dot only in characters outside ASCII")
    assert "(1)" in warning
    assert "(3)" in warning


def test_warns_of_characters_outside_ascii() -> None:
    (warning,) = name_warnings(["/m/caf\u00e9.wav", "/m/xyz.wav", "/m/cafe\u0301.wav"])
    assert warning.startswith("2 paths have characters outside ASCII")


def test_a_long_list_gives_few_and_short_warnings() -> None:
    warnings = name_warnings([f"/my music/{n % 10}" for n in range(10_000)])
    assert len(warnings) == 3
    assert warnings[0].startswith("10000 paths have white space")
    assert warnings[1].startswith("10000 paths share 10 basename(s)")
    assert warnings[2].startswith("10000 paths have a basename")
    assert all(len(warning) < 600 for warning in warnings)


def test_warnings_can_be_printed_anywhere() -> None:
    name_warnings(["/m/caf\udce9 1.wav"])[0].encode("utf-8")
