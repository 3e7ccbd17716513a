"""The two scripts as an evaluator runs them: from anywhere, on odd lists, killed, offline, read-only."""

import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import pytest

import mirex
from mirex.bootstrap import environment as bootstrap
from mirex.formats.matrix import read_matrix
from synthesis import song, write

ROOT = Path(mirex.__file__).parent.parent
EXTRACT, QUERY = ROOT / "run_extract.sh", ROOT / "run_query.sh"
NAMES = ["a song.wav", "Äußerst schön.wav", "third.wav", "fourth.wav"]
BAD = ["empty.wav", "text.wav", "missing.wav"]


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio") / "with spaces, é"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        write(folder / name, song(number, seconds=2))
    write(folder / "truncated.flac", song(0, seconds=8))
    os.truncate(folder / "truncated.flac", (folder / "truncated.flac").stat().st_size // 2)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("no audio")
    (folder / "collection.txt").write_text("".join(f"{folder / name}\n" for name in NAMES), "utf-8")
    (folder / "queries.txt").write_text(f"{folder / NAMES[2]}\n{folder / NAMES[1]}\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def scratch(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `run_extract.sh` left of the collection; and the first, uninterrupted run of all."""
    scratch = tmp_path_factory.mktemp("scratch")
    done = run(EXTRACT, "-numThreads", "2", scratch, audio / "collection.txt")
    assert done.returncode == 0, done.stdout
    return scratch


@pytest.fixture(scope="module")
def expected(audio: Path, scratch: Path) -> bytes:
    """The matrix of the collection."""
    assert run(QUERY, *files(audio, scratch)).returncode == 0
    return (scratch / "matrix.txt").read_bytes()


def files(audio: Path, scratch: Path) -> list[Path]:
    return [audio / "collection.txt", audio / "queries.txt", scratch, scratch / "matrix.txt"]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "MIREX_PYTHON": sys.executable, **more}


def run(
    *command: object, cwd: str | Path = "/", more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run, stdout and stderr merged as an evaluator's log has them."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**(more or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def can(*command: str) -> bool:
    """Whether a command works here, so that a test of what it allows makes sense."""
    return shutil.which(command[0]) is not None and run(*command).returncode == 0


def test_query_after_extract_only_computes_distances(audio, scratch, expected):
    done = run(QUERY, *files(audio, scratch))
    assert "4 reused" in done.stdout
    assert "0 to analyse" in done.stdout
    assert done.stdout.endswith(f"matrix of 2 queries x 4 recordings: {scratch / 'matrix.txt'}\n")
    assert "\r" not in done.stdout
    matrix = read_matrix(scratch / "matrix.txt")
    assert list(matrix.names) == [str(audio / name) for name in NAMES]
    assert matrix.query_positions.tolist() == [2, 1]


def test_query_alone_gives_the_same_whatever_the_threads(audio, expected, tmp_path):
    done = run(QUERY, "-numThreads", "3", "--device", "cpu", *files(audio, tmp_path / "new" / "scratch"))
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "new" / "scratch" / "matrix.txt").read_bytes() == expected


def test_from_another_directory_through_links_with_stdin_closed(audio, scratch, expected, tmp_path):
    (tmp_path / "over there").mkdir()
    (tmp_path / "over there" / "link").symlink_to(QUERY)
    (tmp_path / "run").symlink_to("over there/link")
    relative = [os.path.relpath(path, tmp_path) for path in files(audio, scratch)]
    relative[3] = "matrix.txt"
    # A package of the same name in the current directory must not be taken for ours.
    (tmp_path / "mirex").mkdir()
    (tmp_path / "mirex" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    done = run("sh", "-c", 'exec ./run "$@" <&-', "sh", *relative, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "matrix.txt").read_bytes() == expected


def test_lists_as_they_really_are(audio, scratch, expected, tmp_path):
    paths = [str(audio / name) for name in NAMES]
    text = f"\ufeff{paths[0]}\r\n\r\n{paths[1]}  \t7\twork\r\n{paths[2]}\n\n{paths[3]}"
    (tmp_path / "collection.txt").write_bytes(text.encode())
    (tmp_path / "queries.txt").write_bytes(f"{paths[2]}\tx\n{paths[1]}".encode())
    done = run(QUERY, *files(tmp_path, scratch)[:3], tmp_path / "matrix.txt")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "matrix.txt").read_bytes() == expected


def test_files_that_fail_cost_only_themselves(audio, scratch, expected, tmp_path):
    paths = [str(audio / name) for name in [*NAMES, *BAD, "truncated.flac"]]
    (tmp_path / "collection.txt").write_text("\n".join(paths), "utf-8")
    output = tmp_path / "matrix.txt"
    arguments = [tmp_path / "collection.txt", audio / "queries.txt", scratch, output]
    done = run(QUERY, *arguments)
    assert done.returncode == 0, done.stdout
    for path, reason in zip(paths[4:7], ("is empty", "is not audio", "no such file"), strict=True):
        assert f"mirex: warning: failed: {path}: {reason}" in done.stdout
    assert "truncated.flac: is damaged: about 4" in done.stdout
    distances = read_matrix(output).distances
    assert (distances[:, 4:7] == 2).all()
    assert (distances[:, 7] < 2).all()
    (scratch.parent / "matrix.txt").write_bytes(expected)
    assert (distances[:, :4] == read_matrix(scratch.parent / "matrix.txt").distances).all()
    assert len((scratch / "failed.tsv").read_text("utf-8").splitlines()) == 3

    output.unlink()
    done = run(QUERY, "--strict", *arguments)
    assert done.returncode == 1
    assert not output.exists()


def test_wrong_usage_is_2_and_help_0():
    for script in (EXTRACT, QUERY):
        assert run(script).returncode == 2
        done = run(script, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith(f"usage: {script.name} ")


def test_a_python_that_is_none(audio, scratch, tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "link").symlink_to("gone")
    for python, why in (
        ("/bin/false", "is not Python 3.11 or newer"),
        ("/bin/true", "is not Python 3.11 or newer"),
        (str(tmp_path / "link"), "is a link to a file that does not exist, or that this user may not reach"),
        ("/no/such/python", "does not exist"),
        (str(tmp_path), "is a folder; give the interpreter in it, bin/python"),
        (str(tmp_path / "python"), "is not executable; make it so (chmod +x) or give another interpreter"),
        ("no-such-python", "is not on the PATH"),
    ):
        done = run(QUERY, *files(audio, scratch), more={"MIREX_PYTHON": python})
        assert done.returncode == 1
        assert done.stdout == f"mirex: error: MIREX_PYTHON={python} {why}\n"


def make_environment(folder: Path) -> Path:
    """A quick environment with the packages that the tests run with; its interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    (site_packages(python) / "all.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def site_packages(python: Path) -> Path:
    (folder,) = python.parents[1].glob("lib/python*/site-packages")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of its own, with a whole private environment."""
    checkout = tmp_path / "check out"
    checkout.mkdir()
    shutil.copytree(ROOT / "mirex", checkout / "mirex", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "weights").symlink_to(ROOT / "weights")
    for script in (EXTRACT, QUERY):
        shutil.copy(script, checkout)
    make_environment(checkout / ".venv")
    folder = bootstrap.FOLDER
    note = f"{bootstrap.pins_hash(folder)}\n{bootstrap.identity()}\n"
    bootstrap.stamp(checkout / ".venv", folder).write_text(note)
    (checkout / ".venv.lock").touch()
    return checkout


def test_what_steers_the_users_python_does_not_reach_ours(audio, checkout, scratch, expected, tmp_path):
    """With the private environment, and with one that MIREX_PYTHON names."""
    (tmp_path / "foreign" / "numpy").mkdir(parents=True)
    (tmp_path / "foreign" / "numpy" / "__init__.py").write_text("raise SystemExit('a foreign numpy')")
    (tmp_path / "startup.py").write_text("raise SystemExit('a start-up file')")
    more = {
        "PYTHONPATH": str(tmp_path / "foreign"), "PYTHONHOME": str(tmp_path), "PYTHONWARNINGS": "error",
        "PYTHONSTARTUP": str(tmp_path / "startup.py"), "PYTHONINSPECT": "1", "PYTHONOPTIMIZE": "2",
        "PYTHONUSERBASE": str(tmp_path), "PYTHONIOENCODING": "ascii", "LC_ALL": "C",
    }  # fmt: skip
    for python in ("", sys.executable):
        done = run(
            checkout / "run_query.sh", *files(audio, scratch)[:3], tmp_path / "matrix.txt",
            more={**more, "MIREX_PYTHON": python},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        assert (tmp_path / "matrix.txt").read_bytes() == expected


def test_the_users_pythonpath_serves_where_its_packages_are_needed(audio, scratch, expected, tmp_path):
    """As modules of a cluster give packages."""
    python = tmp_path / "bare" / "bin" / "python"
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    more = {"MIREX_PYTHON": str(python), "PYTHONPATH": sysconfig.get_path("purelib")}
    done = run(QUERY, *files(audio, scratch)[:3], tmp_path / "matrix.txt", more=more)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "matrix.txt").read_bytes() == expected


def test_with_an_empty_environment(audio, checkout, scratch, expected, tmp_path):
    arguments = [*files(audio, scratch)[:3], tmp_path / "matrix.txt"]
    weights = [f"MIREX_WEIGHTS={os.environ['MIREX_WEIGHTS']}"] if "MIREX_WEIGHTS" in os.environ else []
    done = run("env", "-i", *weights, checkout / "run_query.sh", *arguments)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "matrix.txt").read_bytes() == expected


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_any_moment_and_started_again(seed, audio, expected, tmp_path):
    """The process alone or its whole group; then the same command goes on from what is there."""
    chance = random.Random(seed)
    command = [str(part) for part in (QUERY, "-numThreads", "2", *files(audio, tmp_path))]
    for moment in (chance.uniform(0.3, 3.0), chance.uniform(1.0, 6.0)):
        process = subprocess.Popen(
            command, env=environment(), start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moment)
        if chance.random() < 0.5:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output = tmp_path / "matrix.txt"
        assert not output.exists() or output.read_bytes() == expected
    done = run(*command)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "matrix.txt").read_bytes() == expected


def test_two_runs_share_a_scratch_folder(audio, expected, tmp_path):
    processes = []
    for number in range(2):
        command = [QUERY, *files(audio, tmp_path)[:3], tmp_path / f"{number}.txt"]
        processes.append(subprocess.Popen([str(part) for part in command], env=environment()))
    assert [process.wait() for process in processes] == [0, 0]
    for number in range(2):
        assert (tmp_path / f"{number}.txt").read_bytes() == expected


def test_shares_of_a_list_at_once_are_as_good_as_one_run(audio, expected, tmp_path):
    """Each reports what failed without erasing another's; the second has no good file, and fails."""
    names = [NAMES[0], BAD[0], NAMES[1], NAMES[2], BAD[1], NAMES[3], BAD[2]]
    (tmp_path / "list.txt").write_text("".join(f"{audio / name}\n" for name in names), "utf-8")
    processes = []
    for number in (1, 2, 3):
        command = [EXTRACT, "-numThreads", "1", "--shard", f"{number}/3", tmp_path / "shared"]
        command.append(tmp_path / "list.txt")
        with open(tmp_path / f"{number}.log", "wb") as log:
            parts = [str(part) for part in command]
            processes.append(subprocess.Popen(parts, env=environment(), stdout=log, stderr=log))
    assert [process.wait() for process in processes] == [0, 1, 0]
    logs = [(tmp_path / f"{number}.log").read_text("utf-8") for number in (1, 2, 3)]
    assert [log.count("failed: ") for log in logs] == [1, 2, 0]
    assert "embeddings of 2 files (shard 1 of 3)" in logs[0]
    assert "list.txt', shard 2 of 3: none of its 2 files can be analysed" in logs[1]
    report = (tmp_path / "shared" / "failed.tsv").read_text("utf-8")
    assert sorted(line.partition("\t")[0] for line in report.splitlines()) == sorted(
        str(audio / name) for name in BAD
    )
    done = run(QUERY, *files(audio, tmp_path / "shared"))
    assert "4 reused" in done.stdout
    assert "0 to analyse" in done.stdout
    assert (tmp_path / "shared" / "matrix.txt").read_bytes() == expected


def test_nothing_reaches_the_network(audio, expected, tmp_path):
    """Every Python process, workers too, ends at the first socket that goes anywhere."""
    python = make_environment(tmp_path / "guard")
    (site_packages(python) / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"open({str(tmp_path / 'guarded')!r}, 'a').write('x')\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto', 'socket.bind'):\n"
        "        os.write(2, f'network: {event} {arguments}'.encode())\n"
        "        os._exit(99)\n"
        "sys.addaudithook(refuse)\n"
    )
    done = run(QUERY, *files(audio, tmp_path / "scratch"), more={"MIREX_PYTHON": str(python)})
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "scratch" / "matrix.txt").read_bytes() == expected
    assert len((tmp_path / "guarded").read_text()) >= 2, "the guard was there, in the worker too"


def test_works_without_a_network(audio, expected, tmp_path):
    if not can("unshare", "-n", "true"):
        pytest.skip("network namespaces are not permitted here")
    done = run("unshare", "-n", QUERY, *files(audio, tmp_path))
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "matrix.txt").read_bytes() == expected


def test_works_on_a_read_only_checkout(audio, expected, tmp_path):
    if not can("unshare", "-m", "sh", "-c", f"mount --bind '{ROOT}' '{ROOT}'"):
        pytest.skip("mount namespaces are not permitted here")
    script = (
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && ! touch "$1/written" 2>/dev/null'
        ' && shift && exec "$@"'
    )
    done = run("unshare", "-m", "sh", "-c", script, "sh", ROOT, QUERY, *files(audio, tmp_path))
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "matrix.txt").read_bytes() == expected


def test_the_demo_lists_name_the_demo_files():
    folder = ROOT / "tests" / "demo"
    collection = (folder / "collection.txt").read_text("utf-8").split()
    queries = (folder / "queries.txt").read_text("utf-8").split()
    assert sorted(collection) == sorted(path.name for path in folder.glob("*.ogg"))
    assert set(queries) <= set(collection)


def test_one_hour_stays_below_one_and_a_half_gigabytes(tmp_path):
    """The largest process of the run, from 44.1 kHz stereo, which has to be mixed and resampled."""
    import numpy as np
    import soundfile

    minute = np.repeat(song(0, seconds=60, rate=44100)[:, None], 2, axis=1)
    with soundfile.SoundFile(tmp_path / "hour.wav", "w", 44100, 2, "PCM_U8") as file:
        for _ in range(60):
            file.write(minute)
    (tmp_path / "list.txt").write_text("hour.wav\n")
    program = (
        "import resource, subprocess, sys\n"
        "status = subprocess.call(sys.argv[1:])\n"
        "print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)\n"
    )
    done = run(sys.executable, "-c", program, EXTRACT, tmp_path / "scratch", tmp_path / "list.txt")
    status, megabytes = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0, done.stdout
    assert 300 < megabytes < 1500
