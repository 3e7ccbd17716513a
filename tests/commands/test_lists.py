"""Lists that are none, names in other forms, and outputs that are no files, as the commands meet them."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from mirex.cli import main
from mirex.commands.query import check_output
from mirex.errors import UsageError
from mirex.formats.filelist import locate
from mirex.formats.matrix import read_matrix
from random_network import save_random
from synthesis import song, write


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_random(path)
    return str(path)


def query(folder: Path, weights: str, *, collection: str, queries: str) -> int:
    (folder / "collection.txt").write_text(collection)
    (folder / "queries.txt").write_text(queries)
    places = [str(folder / name) for name in ("collection.txt", "queries.txt", "scratch", "matrix.txt")]
    return main(["query", "--weights", weights, "--device", "cpu", "-numThreads", "1", *places])


def test_a_list_none_of_whose_files_can_be_read_gives_no_matrix(tmp_path, weights, capsys):
    quoted = '"/m/a.wav"\n"/m/b.wav"\n'
    assert query(tmp_path, weights, collection=quoted, queries=quoted) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mirex: error: list file")
    assert "every path begins with a quote" in last
    assert not (tmp_path / "matrix.txt").exists()
    assert main(["extract", "--weights", weights, str(tmp_path / "s"), str(tmp_path / "queries.txt")]) == 1


def test_one_file_that_can_be_read_gives_a_matrix(tmp_path, weights, capsys):
    write(tmp_path / "one.wav", song(0, seconds=2))
    lines = "#EXTM3U\none.wav\ngone.wav\n\x1a"
    assert query(tmp_path, weights, collection=lines, queries="./one.wav\n") == 0
    assert "2 line(s)" in capsys.readouterr().err
    matrix = read_matrix(tmp_path / "matrix.txt")
    assert matrix.names == ("one.wav", "gone.wav")
    np.testing.assert_array_equal(matrix.distances, [[0, 2]])


def test_one_path_for_two_recordings_gives_no_matrix(tmp_path, weights, capsys):
    lists = []
    for number, name in enumerate("cq"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "song.wav", song(number, seconds=2))
        lists.append(tmp_path / name / "list.txt")
        lists[-1].write_text("song.wav\n")
    places = [*map(str, lists), str(tmp_path / "scratch"), str(tmp_path / "matrix.txt")]
    assert main(["query", "--weights", weights, "--device", "cpu", "-numThreads", "1", *places]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert str(tmp_path / "c" / "song.wav") in last
    assert str(tmp_path / "q" / "song.wav") in last
    assert not (tmp_path / "matrix.txt").exists()


def test_a_failure_is_not_taken_back_by_another_file_of_the_same_path(tmp_path, weights):
    for name, lines in (("c", "good.wav\nsong.wav\n"), ("q", "song.wav\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "list.txt").write_text(lines)
    write(tmp_path / "c" / "good.wav", song(0, seconds=2))
    (tmp_path / "c" / "song.wav").write_text("no audio")
    write(tmp_path / "q" / "song.wav", song(1, seconds=2))
    scratch = tmp_path / "scratch"
    for name in "cq":
        arguments = [str(scratch), str(tmp_path / name / "list.txt")]
        assert main(["extract", "--weights", weights, "--device", "cpu", "-numThreads", "1", *arguments]) == 0
        assert (scratch / "failed.tsv").read_text().startswith("song.wav\t"), name


@pytest.mark.parametrize("turned", [False, True])
def test_a_name_in_the_other_unicode_form_is_found(tmp_path, turned):
    forms = [unicodedata.normalize("NFC", "größe.wav"), unicodedata.normalize("NFD", "größe.wav")]
    listed, there = forms[::-1] if turned else forms
    path = tmp_path / there
    path.touch()
    assert locate([listed], list_file=tmp_path / "list.txt") == [str(path)]
    assert locate([str(tmp_path / listed)], list_file="list.txt") == [str(path)]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/1", "/dev/null"])
def test_streams_are_no_output(tmp_path, name):
    (tmp_path / "link").symlink_to(name)
    for path in (name, str(tmp_path / "link"), os.path.relpath(name)):
        with pytest.raises(UsageError, match="stream"):
            check_output(path, inputs=())


def test_a_link_that_leads_to_itself_is_an_error(tmp_path, weights, capsys):
    (tmp_path / "matrix.txt").symlink_to("matrix.txt")
    assert query(tmp_path, weights, collection="a\n", queries="a\n") in (1, 2)
    assert "Traceback" not in capsys.readouterr().err
