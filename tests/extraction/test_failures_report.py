"""The report of failures: runs on one folder add to it, and take off it what they can analyse."""

import threading
from pathlib import Path

import pytest

from mirex.extraction import report
from mirex.extraction.report import NAME, write_report
from mirex.extraction.store import FOLDER


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder that has a store."""
    (tmp_path / FOLDER).mkdir()
    return tmp_path


def write(scratch: Path, run: str, paths: str, failed: str) -> list[str]:
    """A run on files of one letter; the report's letters afterwards."""
    failures = [(path, f"reason of {run}") for path in paths if path in failed]
    write_report(scratch, run=run, paths=list(paths), failures=failures)
    return letters(scratch)


def letters(scratch: Path) -> list[str]:
    return [line.partition("\t")[0] for line in (scratch / NAME).read_text().splitlines()]


def test_what_runs_do_to_the_report(scratch):
    assert write(scratch, "one", "abc", "ca") == ["a", "c"], "in the order of the list"
    assert write(scratch, "two", "xyz", "zy") == ["y", "z", "a", "c"], "this run's, then the others'"
    assert write(scratch, "one", "abc", "b") == ["b", "y", "z"], "the same list again"
    assert write(scratch, "one", "ab", "") == ["y", "z"]
    assert write(scratch, "three", "yc", "c") == ["c", "z"], "another run can read y"
    assert write(scratch, "four", "zy", "z") == ["z", "c"], "in two lists, once"
    assert (scratch / NAME).read_text().splitlines()[0] == "z\treason of four"
    assert write(scratch, "five", "zc", "") == []
    assert (scratch / NAME).read_bytes() == b""


def test_a_path_may_lead_to_different_files(scratch):
    places = [scratch / name / "a" for name in ("one", "two")]
    for place in places:
        place.parent.mkdir()
        place.touch()
    (scratch / "link").symlink_to("one")

    def report_of(run: str, place: Path, *reasons: str) -> list[str]:
        failures = [("a", reason) for reason in reasons]
        write_report(scratch, run=run, paths=["a"], failures=failures, locations=[str(place)])
        return (scratch / NAME).read_text().splitlines()

    assert report_of("one", places[0], "bad") == ["a\tbad"]
    assert report_of("two", places[1]) == ["a\tbad"], "another file"
    assert report_of("two", places[1], "worse") == ["a\tworse", "a\tbad"]
    assert report_of("three", places[0]) == ["a\tworse"], "the same file in another list"
    assert report_of("one", places[0], "bad") == ["a\tbad", "a\tworse"]
    assert report_of("four", scratch / "link" / "a", "bad") == ["a\tbad", "a\tworse"], "each file once"
    assert report_of("four", scratch / "link" / "a") == ["a\tworse"], "the same file through a link"


def test_a_missing_file_is_known_by_its_path_alone(scratch):
    assert write(scratch, "one", "a", "a") == ["a"]
    (kept,) = (scratch / FOLDER / "failed").iterdir()
    assert kept.name.count("-") == 1, "as older versions kept all failures"
    (scratch / "a").touch()
    write_report(scratch, run="two", paths=["a"], failures=[], locations=[str(scratch / "a")])
    assert letters(scratch) == []


def test_names_may_be_of_any_bytes(scratch):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    write_report(scratch, run="one", paths=[name], failures=[(name, "reason")])
    write_report(scratch, run="two", paths=["other"], failures=[])
    assert (scratch / NAME).read_bytes() == b"caf\xe9.wav\treason\n"


def test_runs_that_end_together_lose_nothing(scratch):
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        for _ in range(5):
            barrier.wait()
            paths = [f"{number} {i}" for i in range(3)]
            write_report(scratch, run=str(number), paths=paths, failures=[(path, "r") for path in paths])
            barrier.wait()
            assert len(letters(scratch)) == 24
            barrier.wait()
            write_report(scratch, run=str(number), paths=paths, failures=[])
            barrier.wait()
            assert letters(scratch) == []

    failed = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_run_that_ends_while_another_writes_is_seen(scratch, monkeypatch):
    """The one that renames last looks again."""
    whole, others = report.write_whole, iter(["other"])

    def slow(path, data):
        if Path(path).name == NAME and (run := next(others, None)):
            write(scratch, run, "b", "b")
        whole(path, data)

    monkeypatch.setattr(report, "write_whole", slow)
    assert write(scratch, "one", "a", "a") == ["a", "b"]


def test_a_folder_that_cannot_be_written_is_warned_of(scratch, monkeypatch, caplog):
    write(scratch, "one", "a", "a")

    def refuse(path, data):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(report, "write_whole", refuse)
    write(scratch, "one", "a", "a")
    assert not caplog.records, "nothing has changed"
    write(scratch, "two", "b", "b")
    assert "failed.tsv cannot be written: Read-only file system" in caplog.text


def test_damaged_failures_are_left_out(scratch):
    damages = (b"", b"a\treas", b"\0" * 9, b"b\treason\n", b"a\t\xffreason\n")
    for damage in damages:
        write(scratch, "one", "a", "a")
        (path,) = (scratch / FOLDER / "failed").iterdir()
        path.write_bytes(damage)
        assert write(scratch, "two", "c", "") == [], damage
    assert write(scratch, "two", "c", "c") == ["c"]
