"""Extraction on a Dask cluster: a real scheduler and real workers, some of which are killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mirex
from mirex.errors import MirexError, UsageError
from mirex.extraction import cluster
from mirex.extraction.extract import extract
from mirex.extraction.pool import Answer
from synthesis import song, write

pytest.importorskip("distributed", reason="the extra 'cluster' (dask, distributed) is not installed")

ROOT = Path(mirex.__file__).parent.parent
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler with two workers of one thread, which are started again when they die."""
    folder = tmp_path_factory.mktemp("dask")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{TESTS}",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "OMP_NUM_THREADS": "1",
    }
    file, preload = folder / "scheduler.json", TESTS / "quick_preload.py"
    at = ["--scheduler-file", str(file), "--no-dashboard"]
    commands = [
        ["dask_scheduler", *at, "--host", "127.0.0.1", "--port", "0"],
        ["dask_worker", *at, "--nworkers", "2", "--nthreads", "1", "--preload", str(preload)],
    ]
    with open(folder / "log", "wb") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *options],
                env=environment, stdout=log, stderr=log, cwd=folder,
            )
            for name, *options in commands
        ]  # fmt: skip
    try:
        wait_for(file)
        address = file.read_text().partition('"address": "')[2].partition('"')[0]
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def wait_for(path: Path) -> None:
    for _ in range(300):
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.1)
    raise TimeoutError(path)


def answers(paths: list[str], scheduler: str, **options) -> dict[str, Answer]:
    found = {Path(paths[i]).name: answer for i, answer in cluster.run(paths, setup={}, scheduler=scheduler)}
    assert len(found) == len(paths)
    return found


def test_the_same_as_the_pool_and_crashes_cost_their_own_recording(files, scheduler):
    paths = files("a", "killer", "b", "once")
    found = answers(paths, scheduler)
    assert {name: answer.failure for name, answer in found.items()} == {
        "a": None,
        "killer": "crashed the process that analysed it, twice (SIGSEGV)",
        "b": None,
        "once": None,
    }
    assert found["a"].arrays["embedding"].shape == (2048,)


def test_a_killed_worker_costs_its_recording_a_retry(files, scheduler):
    paths = files("slow", *(f"quick {number}" for number in range(20)))

    def kill() -> None:
        wait_for(Path(paths[0] + ".seen"))
        os.kill(int(Path(paths[0] + ".seen").read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    found = answers(paths, scheduler)
    thread.join()
    assert not [name for name, answer in found.items() if answer.failure]


def test_a_recording_that_kills_workers_is_reported_after_one_retry(files, scheduler):
    found = answers(files("a", "assassin", "b"), scheduler)
    failures = {name: answer.failure for name, answer in found.items() if answer.failure}
    assert failures == {"assassin": "crashed the process that analysed it, twice (its Dask worker died)"}


def test_workers_are_left_without_processes_of_ours(files, scheduler):
    from distributed import Client

    run = cluster.run(files("a", *(f"tired {number}" for number in range(5))), setup={}, scheduler=scheduler)
    next(run)
    run.close()
    with Client(scheduler) as client:
        left = client.run(lambda: len(cluster._stations))  # a worker that was killed may not be back yet
        assert set(left.values()) == {0}


def test_another_version_is_an_error(files, scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "0")
    with pytest.raises(MirexError, match=f"workers have mirex {mirex.__version__}, this machine has 0"):
        answers(files("a"), scheduler)


def test_schedulers_that_cannot_be(files, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_WITHIN", 0.5)
    with pytest.raises(MirexError, match="'tcp://127.0.0.1:9' cannot be reached"):
        answers(files("a"), "tcp://127.0.0.1:9")
    with pytest.raises(UsageError, match="'nonsense://x' is not an address"):
        answers(files("a"), "nonsense://x")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"--scheduler needs Dask .*: .* -m pip install .*\[cluster\]"):
        answers(files("a"), "local")


def test_a_cluster_started_here_gives_the_same_bytes(tmp_path):
    path = str(write(tmp_path / "song.wav", song(0, seconds=2)))
    there = extract([path], scratch=tmp_path / "there", scheduler="local", device="cpu")
    here = extract([path], scratch=tmp_path / "here", device="cpu")
    assert (there.computed, there.failures) == (1, {})
    assert there.embeddings.tobytes() == here.embeddings.tobytes()
