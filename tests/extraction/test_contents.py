"""What is remembered of files: trusted while they are unchanged, and never when that is in doubt."""

import hashlib
import os
import resource
import threading
import time
from pathlib import Path

import pytest

from mirex.errors import MirexError
from mirex.extraction import contents
from mirex.extraction.contents import NAME, identify
from mirex.extraction.store import FOLDER

DAY = 86_400 * 10**9


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that has not changed for a day."""
    path = tmp_path / "a é.wav"
    write(path, b"first")
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed, in order."""
    names: list[str] = []
    digest = hashlib.file_digest

    def noted(file, algorithm):
        names.append(Path(file.name).name)
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    return names


def write(path: Path, data: bytes, *, age: int = DAY) -> None:
    path.write_bytes(data)
    set_time(path, time.time_ns() - age)


def set_time(path: Path, time_ns: int) -> None:
    os.utime(path, ns=(time_ns, time_ns))


def hash_of(path: Path, **options) -> str | None:
    return identify([str(path)], scratch=path.parent, **options)[0][0]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_unchanged_file_is_read_once(file, read, tmp_path):
    paths = [str(file), str(file), os.path.relpath(file)]
    assert identify(paths, scratch=tmp_path) == ([sha(b"first")] * 3, {})
    assert identify(paths, scratch=tmp_path, threads=2) == ([sha(b"first")] * 3, {})
    assert read == [file.name]


def test_rehash_reads_it_again_and_remembers_that(file, read):
    for options in ({}, {"rehash": True}, {}):
        assert hash_of(file, **options) == sha(b"first")
    assert read == [file.name] * 2


def test_what_shows_a_change(file):
    """Each of size, times and inode by itself."""
    assert hash_of(file) == sha(b"first")
    before = file.stat().st_mtime_ns
    write(file, b"longer")
    set_time(file, before)
    assert hash_of(file) == sha(b"longer")
    write(file, b"second")
    assert hash_of(file) == sha(b"second")
    before = file.stat().st_mtime_ns
    file.write_bytes(b"hidden")
    set_time(file, before)  # as some tag editors do
    assert hash_of(file) == sha(b"hidden")
    other = file.with_name("other")
    other.write_bytes(b"other!")
    set_time(other, before)
    os.replace(other, file)
    assert hash_of(file) == sha(b"other!")


@pytest.mark.parametrize(("age", "times"), [(0, 2), (-DAY, 2), (DAY, 1)])
def test_a_file_just_changed_is_not_remembered(file, read, monkeypatch, age, times):
    """The clock may give the next change the same time; so may a clock that is ahead."""
    now = time.time_ns()
    set_time(file, now - age)
    monkeypatch.setattr(time, "time_ns", lambda: now)
    hash_of(file)
    hash_of(file)
    assert len(read) == times


def test_whole_seconds_are_a_coarse_clock(file, read, monkeypatch):
    second = 1_700_000_000 * 10**9
    set_time(file, second)
    monkeypatch.setattr(time, "time_ns", lambda: second + 10**9)
    hash_of(file)
    hash_of(file)
    set_time(file, second + 1)
    hash_of(file)
    hash_of(file)
    assert len(read) == 3


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file, monkeypatch):
    digest = hashlib.file_digest

    def slow(opened, algorithm):
        found = digest(opened, algorithm)
        write(file, b"later")
        return found

    monkeypatch.setattr(hashlib, "file_digest", slow)
    assert hash_of(file) == sha(b"first")
    monkeypatch.undo()
    assert hash_of(file) == sha(b"later")


def test_damaged_lines_are_not_trusted(file, read, rng):
    hash_of(file)
    memory = file.parent / FOLDER / NAME
    whole = memory.read_bytes()
    damages = [whole[:cut] for cut in range(len(whole))]
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        damages.append(bytes(flipped))
    for damaged in damages:
        memory.write_bytes(damaged)
        assert hash_of(file) == sha(b"first")
    assert len(read) > len(damages) - 10, "only the line's ends say nothing"


def test_a_torn_line_does_not_spoil_the_next(file, read):
    memory = file.parent / FOLDER / NAME
    memory.parent.mkdir()
    memory.write_bytes(b'0123456789abcdef ["/torn')
    hash_of(file)
    hash_of(file)
    assert len(read) == 1


def test_runs_share_it(tmp_path, read):
    files = [tmp_path / f"{number}.wav" for number in range(40)]
    for number, file in enumerate(files):
        write(file, b"%d" % number)

    def work(share: list[Path]) -> None:
        for file in share:
            hash_of(file)

    threads = [threading.Thread(target=work, args=(files[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [sha(b"%d" % number) for number in range(40)]
    assert identify(list(map(str, files)), scratch=tmp_path)[0] == expected
    assert len(read) == 40


def test_what_newer_lines_replaced_is_left_out(file, monkeypatch):
    monkeypatch.setattr(contents, "_WORTH_TIDYING", 3)
    for number in range(12):
        write(file, b"%d" % number, age=DAY + number)
        hash_of(file)
    lines = (file.parent / FOLDER / NAME).read_bytes().split()
    assert len(lines) < 60
    assert hash_of(file) == sha(b"11")


def test_nothing_can_be_remembered(file, read, tmp_path):
    (tmp_path / FOLDER).touch()
    assert hash_of(file) == hash_of(file) == sha(b"first")
    assert len(read) == 2


def test_what_cannot_be_read_is_told_each_time(file, tmp_path, monkeypatch):
    hash_of(file)
    file.unlink()
    assert identify([str(file), str(tmp_path)], scratch=tmp_path) == (
        [None, None],
        {0: "no such file", 1: "is a folder, not a file"},
    )

    def broken(opened, algorithm):
        raise OSError(5, "Input/output error")

    write(file, b"first")
    monkeypatch.setattr(hashlib, "file_digest", broken)
    assert identify([str(file)], scratch=tmp_path)[1] == {0: "cannot be read: input/output error"}


def test_a_process_without_handles_ends_the_run(file):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (held, hard))
    try:
        with pytest.raises(MirexError, match="Too many open files: raise the limit"):
            hash_of(file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(held)
    assert hash_of(file) == sha(b"first")
