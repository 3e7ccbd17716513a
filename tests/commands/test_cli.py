"""The command line: exit status, messages, help; and the commands extract and query in this process."""

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path

import numpy as np
import pytest

import mirex
from mirex import cli
from mirex.cli import main
from mirex.commands.query import Nearest
from mirex.errors import MirexError
from mirex.formats.check import violations
from mirex.formats.matrix import read_matrix
from mirex.logs import ProgressLine, describe, printable
from synthesis import song, write

ROOT = Path(mirex.__file__).parent.parent


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of three songs and a file that is missing; a query list; a scratch folder with them all."""
    folder = tmp_path_factory.mktemp("collection")
    names = ["first.wav", "second.wav", "third.wav"]
    for number, name in enumerate(names):
        write(folder / name, song(number, seconds=2))
    (folder / "collection.txt").write_text("\n".join([*names, "missing.wav"]))
    (folder / "queries.txt").write_text("third.wav\nfirst.wav\n")
    assert main(["extract", str(folder / "scratch"), str(folder / "collection.txt")]) == 0
    return folder


def query(folder: Path, *options: str, output: str = "matrix.txt") -> list[str]:
    files = [str(folder / name) for name in ("collection.txt", "queries.txt", "scratch", output)]
    return ["query", *options, *files]


@pytest.mark.parametrize("command", [[], ["extract"], ["query"]])
def test_help_fits_a_screen(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= (24 if command else len(cli.COMMANDS) + 12), "a line a command, but one"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["extract"],
        ["extract", "scratch"],
        ["extract", "-numThreads", "0", "scratch", "list"],
        ["extract", "-numThreads", "two", "scratch", "list"],
        ["evaluate", "--seed", "-1", "matrix", "cliques"],
        ["report", "--seed", "-1", "matrix", "cliques", "-o", "page"],
        ["calibrate", "--seed", "-1", "c.json", "--on", "a", "b", "c"],
        ["whiten", "--seed", "-1", "old", "new", "--recordings", "a.npz"],
        ["benchmark-accuracy", "--seed", "-1", "demo"],
        ["extract", "--device", "tpu", "scratch", "list"],
        ["extract", "--shard", "0/3", "scratch", "list"],
        ["extract", "--shard", "4/3", "scratch", "list"],
        ["extract", "--shard", "2", "scratch", "list"],
        ["query", "collection", "queries", "scratch"],
        ["query", "collection", "queries", "scratch", "matrix", "7"],
        ["query", "--stric", "collection", "queries", "scratch", "matrix"],
    ],
)
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_script_gives_its_name_to_the_usage(monkeypatch, capsys):
    monkeypatch.setenv("MIREX_PROGRAM", "run_query.sh")
    with pytest.raises(SystemExit):
        main(["query", "--help"])
    assert capsys.readouterr().out.startswith("usage: run_query.sh ")


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def run(args):
        raise error

    monkeypatch.setattr("mirex.commands.extract.run", run)
    return main(["extract", "scratch", "list"])


def test_errors_are_one_line(monkeypatch, capsys):
    error = MirexError("what\nis wrong")
    error.add_note("file: a.wav")
    assert fail_with(error, monkeypatch) == 1
    assert capsys.readouterr().err == "mirex: error: what is wrong (file: a.wav)\n"
    assert fail_with(RuntimeError("a defect"), monkeypatch) == 1
    message = capsys.readouterr().err
    assert message.startswith("mirex: error: RuntimeError: a defect")
    assert message.count("\n") == 1
    assert fail_with(KeyboardInterrupt(), monkeypatch) == 1
    assert "interrupted" in capsys.readouterr().err


def test_errors_of_the_system_name_the_file_and_are_no_defect(monkeypatch, capsys):
    for error, line in (
        (OSError(5, "Input/output error", "/data/a.wav"), "/data/a.wav: Input/output error"),
        (PermissionError(13, "Permission denied", b"/\xff"), "/\\udcff: Permission denied"),
        (OSError(28, "No space", "/.m-1.part", None, "/m"), "/m: No space; free some space and run again"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (TimeoutError(), "TimeoutError"),
    ):
        assert fail_with(error, monkeypatch) == 1
        assert capsys.readouterr().err == f"mirex: error: {line}\n"


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("MIREX_DEBUG", "1")
    assert fail_with(RuntimeError("a defect"), monkeypatch) == 1
    assert "Traceback" in capsys.readouterr().err


def test_sigterm_ends_like_ctrl_c(monkeypatch, capsys):
    def run(args):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not interrupted")

    monkeypatch.setattr("mirex.commands.extract.run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["extract", "scratch", "list"]) == 1
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupted_command_is_resumed_only_if_it_keeps_its_work(monkeypatch, capsys):
    def run(args):
        raise KeyboardInterrupt

    scan = ["scan", "set.wav", "--index", "i.mirex"]
    kept = {"scan": [*scan, "--scratch", "s"], "extract": ["extract", "s", "list"], "train": ["train", "run"]}
    lost = {"scan": scan, "weights": ["weights"], "whiten": ["whiten", "a", "b", "--recordings", "c"]}
    for commands, resumed in ((kept, True), (lost, False)):
        for name, arguments in commands.items():
            monkeypatch.setattr(f"mirex.commands.{name}.run", run)
            assert main(arguments) == 1
            message = capsys.readouterr().err
            assert "interrupted" in message
            assert ("run the same command again" in message) == resumed, name


@pytest.mark.parametrize("command", [["weights"], ["demo", "folder"]])
def test_the_environment_chooses_the_weights(command, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIREX_WEIGHTS", str(tmp_path / "none"))
    assert main(command) == 1
    assert f"{tmp_path / 'none'}: no such weights file" in capsys.readouterr().err


def test_query_writes_what_the_readers_want(collection, capsys):
    assert main(query(collection)) == 0
    captured = capsys.readouterr()
    output = collection / "matrix.txt"
    assert captured.out == f"matrix of 2 queries x 4 recordings: {output}\n"
    assert "3 reused" in captured.err
    assert "\r" not in captured.err
    assert "warning: failed: missing.wav: no such file" in captured.err
    assert not [violation for violation in violations(output) if violation.severity == "error"]
    matrix = read_matrix(output)
    assert matrix.names == ("first.wav", "second.wav", "third.wav", "missing.wav")
    assert matrix.query_positions.tolist() == [2, 0]
    assert matrix.distances[0, 2] == matrix.distances[1, 0] == 0
    assert (matrix.distances[:, 3] == 2).all()
    others = matrix.distances[[0, 0, 1, 1], [0, 1, 1, 2]]
    assert ((others > 0) & (others < 2)).all()


def test_a_failing_query_is_2_from_all_but_itself(collection):
    (collection / "missing.txt").write_text("missing.wav\nfirst.wav\n")
    files = [str(collection / name) for name in ("collection.txt", "missing.txt", "scratch", "missing.out")]
    assert main(["query", *files]) == 0
    assert read_matrix(collection / "missing.out").distances[0].tolist() == [2, 2, 2, 0]


def test_a_list_that_is_none_gives_no_matrix(collection, tmp_path, capsys):
    """As collection or as query list; nothing is extracted, nothing is written."""
    good = (collection / "queries.txt").read_text().splitlines()
    (tmp_path / "quoted.txt").write_text("".join(f'"{collection}/{name}"\n' for name in good))
    lists = [str(tmp_path / "quoted.txt"), str(collection / "queries.txt")]
    for chosen in (lists, lists[::-1], [lists[0]] * 2):
        assert main(["query", *chosen, str(tmp_path / "scratch"), str(tmp_path / "matrix.txt")]) == 1
        error = capsys.readouterr().err
        assert "every path begins with a quote" in error
        assert error.count("\n") == 1
    assert main(["extract", str(tmp_path / "scratch"), lists[0]]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quoted.txt"]


def test_a_list_of_which_nothing_can_be_analysed_gives_no_matrix(collection, tmp_path, capsys):
    for name in ("text.wav", "empty.wav"):
        (tmp_path / name).write_text("no audio" * (name == "text.wav"))
    (tmp_path / "bad.txt").write_text("text.wav\nempty.wav\n")
    lists = [str(tmp_path / "bad.txt"), str(collection / "collection.txt")]
    for chosen in (lists, lists[::-1]):
        assert main(["query", *chosen, str(tmp_path / "scratch"), str(tmp_path / "matrix.txt")]) == 1
        assert "bad.txt': none of its 2 files can be analysed" in capsys.readouterr().err
    assert not (tmp_path / "matrix.txt").exists()
    assert main(["extract", str(tmp_path / "scratch"), lists[0]]) == 1


def test_a_share_fails_if_nothing_of_it_can_be_analysed_but_not_if_it_is_empty(collection, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "list.txt").write_text(f"text.wav\n{collection / 'first.wav'}\n")
    statuses = []
    for number in (1, 2, 3):
        words = ["extract", "--shard", f"{number}/3", str(collection / "scratch"), str(tmp_path / "list.txt")]
        statuses.append(main(words))
    assert statuses == [1, 0, 0]
    told = capsys.readouterr()
    assert "shard 1 of 3: its only file cannot be analysed" in told.err
    assert "embeddings of 0 files (shard 3 of 3)" in told.out


def test_a_query_is_numbered_where_its_file_is_by_another_path(collection, tmp_path, capsys):
    (tmp_path / "queries.txt").write_text(f"{collection}/./third.wav\n")
    lists = [str(collection / "collection.txt"), str(tmp_path / "queries.txt")]
    assert main(["query", *lists, str(collection / "scratch"), str(tmp_path / "matrix.txt")]) == 0
    assert "1 queries are in the collection under other paths" in capsys.readouterr().err
    matrix = read_matrix(tmp_path / "matrix.txt")
    assert len(matrix.names) == 4
    assert matrix.query_positions.tolist() == [2]


def test_a_query_that_the_collection_lacks_is_appended(collection, tmp_path, capsys):
    """Its path is looked up beside its own list."""
    write(tmp_path / "other.wav", song(0, seconds=2))
    (tmp_path / "queries.txt").write_text("other.wav\nsecond.wav\n")
    lists = [str(collection / "collection.txt"), str(tmp_path / "queries.txt")]
    assert main(["query", *lists, str(collection / "scratch"), str(tmp_path / "matrix.txt")]) == 0
    assert "1 queries are not in the collection" in capsys.readouterr().err
    matrix = read_matrix(tmp_path / "matrix.txt")
    assert matrix.names[-1] == "other.wav"
    assert matrix.query_positions.tolist() == [4, 1]
    assert matrix.distances[0, 0] < 1e-6, "the same recording as first.wav"


def test_names_that_break_a_reader_are_warned_of(tmp_path, collection, capsys):
    (tmp_path / "a b.txt").write_text(f"{collection}/first.wav\n{collection}/../first.wav\nxy\na b.wav\n")
    arguments = [str(tmp_path / "a b.txt")] * 2 + [str(collection / "scratch"), str(tmp_path / "out")]
    assert main(["query", *arguments]) == 0
    error = capsys.readouterr().err
    for part in ("white space", "share 1 basename", "fewer than 3 characters"):
        assert f"{part}" in error


def test_strict_fails_and_leaves_the_old_matrix(collection, capsys):
    output = collection / "strict.txt"
    output.write_text("an older matrix")
    assert main(query(collection, "--strict", output="strict.txt")) == 1
    assert "1 of 4 files could not be analysed" in capsys.readouterr().err
    assert output.read_text() == "an older matrix"


def test_outputs_that_cannot_be(collection, capsys):
    assert main([*query(collection)[:-1], "/dev/null"]) == 2
    assert main([*query(collection)[:-1], str(collection)]) == 2
    assert main([*query(collection)[:-1], str(collection / "queries.txt")]) == 2
    assert main([*query(collection)[:-1], str(collection / "queries.txt" / "matrix.txt")]) == 1
    assert Path("/dev/null").is_char_device()
    assert "reused" not in capsys.readouterr().err, "found out before the work"


def test_streams_devices_pipes_and_link_loops_are_no_outputs(collection, tmp_path, monkeypatch, capsys):
    """Least of all the file that stdout is redirected to: its name leads there."""
    (tmp_path / "log.txt").write_text("a log")
    (tmp_path / "stream").symlink_to("/dev/fd/1")
    (tmp_path / "devices").symlink_to("/dev")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir("/dev")
    names = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "stdout", "/dev/../dev/stderr", "/proc/self/new"]
    names += [f"{tmp_path}/{name}" for name in ("stream", "devices/stdout", "loop", "pipe", "new/")]
    before = os.dup(1)
    with open(tmp_path / "log.txt", "r+") as file:
        os.dup2(file.fileno(), 1)
        statuses = [main([*query(collection)[:-1], name]) for name in ["", *names]]
        os.dup2(before, 1)
    os.close(before)
    assert statuses == [2] * len(statuses), dict(zip(["", *names], statuses, strict=True))
    assert "reused" not in capsys.readouterr().err
    assert (tmp_path / "log.txt").read_text() == "a log"
    assert (tmp_path / "loop").is_symlink()


def test_a_recording_is_not_replaced_by_the_matrix(collection, tmp_path):
    before = (collection / "first.wav").read_bytes()
    (tmp_path / "link").symlink_to(collection / "first.wav")
    assert main([*query(collection)[:-1], str(tmp_path / "link")]) == 2
    assert (collection / "first.wav").read_bytes() == before


def test_shared_memory_is_a_place_for_the_matrix(collection):
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no shared memory here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert main([*query(collection)[:-1], f"{folder}/matrix.txt"]) == 0


def test_an_empty_scratch_name_is_wrong_usage(collection, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lists = [str(collection / name) for name in ("collection.txt", "queries.txt")]
    assert main(["query", *lists, "", str(tmp_path / "matrix.txt")]) == 2
    assert main(["extract", "", lists[0]]) == 2
    assert capsys.readouterr().err.count("scratch folder '' has no name") == 2
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_one_line(collection, monkeypatch, capsys):
    """The disk of the matrix; and that of a redirected stdout, of which Python would complain at its end."""

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mirex.formats.matrix.write_matrix", fail)
        assert main(query(collection)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be written: No space left on device; free some space" in error
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mirex", "weights"],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "mirex: error: No space left on device; free some space and run again\n"


def test_an_output_that_is_a_link_stays_one(collection, tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "target.txt")
    assert main([*query(collection)[:-1], str(tmp_path / "link.txt")]) == 0
    assert (tmp_path / "link.txt").is_symlink()
    assert read_matrix(tmp_path / "target.txt").names


def test_lists_that_cannot_be(collection, tmp_path, capsys):
    (tmp_path / "nothing.txt").write_text("\n\n")
    for name in ("none.txt", "nothing.txt"):
        arguments = [str(tmp_path / name), str(collection / "queries.txt"), str(tmp_path / "scratch")]
        assert main(["query", *arguments, str(tmp_path / "matrix.txt")]) == 1
        assert name in capsys.readouterr().err
    assert not (tmp_path / "scratch").exists()


def test_on_a_terminal_a_bar_and_the_nearest_matches(collection, tmp_path):
    """As a person sees it; with a fresh scratch folder, so that there is work for the bar."""
    arguments = query(collection)
    arguments[-2:] = [str(tmp_path / "scratch"), str(tmp_path / "matrix.txt")]
    shown = run_on_a_terminal([sys.executable, "-m", "mirex", *arguments])
    assert "3/3" in shown
    assert "file/s" in shown
    assert "nearest matches:" in shown
    assert "  third.wav -> " in shown


def run_on_a_terminal(command: list[str]) -> str:
    """Run with stdout and stderr on a pseudo-terminal; what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                shown.extend(data)
        except OSError:  # the other side is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    reader.join(10)
    os.close(ours)
    return shown.decode()


def test_nearest_leaves_out_the_query_itself():
    rows = np.array([[0.0, 0.5, 0.2], [0.3, 0.0, 0.4], [0.0, 0.1, 0.0]], np.float32)
    nearest = Nearest(np.array([0, 1, 2]))
    passed = np.concatenate(list(nearest.watch([rows[:2], rows[2:]])))
    assert np.array_equal(passed, rows)
    assert nearest.lines(["a", "b", "c"]) == [
        "nearest matches:",
        "  a -> c (0.200)",
        "  b -> a (0.300)",
        "  c -> a (0.000)",
    ]
    alone = Nearest(np.array([0]))
    assert len(list(alone.watch([np.zeros((1, 1), np.float32)]))) == 1
    assert alone.lines(["a"]) == []


def test_plain_progress_lines(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("mirex.logs.time.monotonic", lambda: now[0])
    with caplog.at_level("INFO", "mirex"), ProgressLine(stream=io.StringIO()) as show:
        for done in range(101):
            show(done, 100)
            now[0] += 1.0
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "10 of 100 files, 1 files/s, 90 s left"
    assert 3 <= len(lines) <= 6
    assert describe(10, 10_000, 100) == "10 of 10000 files, 0.1 files/s, 27.8 h left"


def test_printable():
    assert printable("é a\tb\r\x1b[0m\udce9") == "é a\\tb\\r\\x1b[0m\\udce9"


def test_importing_the_command_line_loads_nothing_heavy():
    program = "import sys, mirex.cli; mirex.cli.build_parser(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def test_the_public_names_exist():
    for name in mirex._HOMES:
        assert getattr(mirex, name) is not None
        assert name in dir(mirex)
    with pytest.raises(AttributeError):
        mirex.no_such_name  # noqa: B018 - the access is the test
    assert cli.COMMANDS
