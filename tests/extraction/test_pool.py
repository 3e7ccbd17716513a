"""The pool, with workers that analyse nothing: what dies, hangs or does not start costs its own recording."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mirex.errors import MirexError, StoreError
from mirex.extraction import pool
from mirex.extraction.extract import extract

WORKER = [sys.executable, str(Path(__file__).parents[1] / "quick_worker.py")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start at once."""
    monkeypatch.setattr(pool, "COMMAND", WORKER)


def answers(paths: list[str], **options) -> dict[str, str | None]:
    """Reason of failure, or None, by name."""
    options = {"workers": 2} | options
    found = {Path(paths[i]).name: answer.failure for i, answer in pool.run(paths, setup={}, **options)}
    assert len(found) == len(paths)
    return found


def test_a_crash_costs_its_own_recording_and_one_more_try_saves_it(files):
    found = answers(files("a", "killer", "b", "once", "c"))
    reason = "crashed the process that analysed it, twice (SIGSEGV)"
    assert found == {"a": None, "killer": reason, "b": None, "once": None, "c": None}


def test_a_crash_beside_reused_recordings_does_not_end_the_run(files, tmp_path):
    good, killer = files("good", "killer")
    extract([good], scratch=tmp_path, device="cpu")
    result = extract([good, killer], scratch=tmp_path, device="cpu")
    assert (result.reused, result.computed, list(result.failures)) == (1, 0, [1])


def test_a_folder_that_cannot_be_written_serves_if_it_is_complete(files, tmp_path, monkeypatch, caplog):
    (good,) = files("good")
    scratch = tmp_path / "scratch"
    first = extract([good], scratch=scratch, device="cpu")

    def refuse(path, data):
        raise OSError(30, "Read-only file system")

    for module in ("store", "report", "contents"):
        monkeypatch.setattr(f"mirex.extraction.{module}.write_whole", refuse)
    missing = str(tmp_path / "missing")
    again = extract([good, missing], scratch=scratch, device="cpu")
    assert again.reused == 1
    assert again.embeddings[0].tobytes() == first.embeddings[0].tobytes()
    assert "failed.tsv cannot be written: Read-only file system; see this log for failures" in caplog.text
    assert f"failed: {missing}: no such file" in caplog.text
    with pytest.raises(StoreError, match="Read-only file system"):
        extract(files("other"), scratch=scratch, device="cpu")


def test_a_scratch_folder_removed_under_the_run_ends_it(files, tmp_path):
    scratch = tmp_path / "scratch"

    def remove(done: int, total: int) -> None:
        shutil.rmtree(scratch, ignore_errors=True)

    with pytest.raises(StoreError, match=r"scratch was removed during the run; run again"):
        extract(files("a", "b"), scratch=scratch, device="cpu", progress=remove)
    assert not scratch.exists()


def test_a_decoder_that_never_ends_costs_its_own_recording(files):
    found = answers(files("endless", "a", "slow", "b"), time_limit=1)
    reason = "took more than 1 seconds, twice; raise --time-limit"
    assert found == {"endless": reason, "a": None, "slow": None, "b": None}


def test_the_time_limit_grows_with_the_length_once_that_is_known(files, monkeypatch):
    paths = files("tired")
    assert answers(paths, time_limit=1) == {"tired": None}
    monkeypatch.setattr(pool, "SHARE_OF_LENGTH", 0.0)
    assert answers(paths, time_limit=1) != {"tired": None}
    assert answers(paths, time_limit=0) == {"tired": None}, "0 is no limit"


def test_before_that_the_size_of_the_file_stands_for_it(files, monkeypatch):
    (path,) = files("a")
    os.truncate(path, 1_600_000)  # 100 seconds at 128 kbit/s
    limits: list[float | None] = []
    limited = pool.Process._limited

    def noted(self, seconds):
        limits.append(seconds)
        return limited(self, seconds)

    monkeypatch.setattr(pool.Process, "_limited", noted)
    assert answers([path], time_limit=5) == {"a": None}
    assert limits[1:] == [5 + 10]


def test_time_is_counted_in_ticks_so_that_a_stopped_machine_is_no_delay(files):
    process = pool.Process()
    process.set_up({})
    with process._limited(1.0):
        process.tick(0.5)
        assert process.usable()
        process.tick(0.5)
        assert not process.usable()
    process.close()


def test_a_process_that_dies_while_it_starts_is_tried_again(files, tmp_path, monkeypatch):
    (tmp_path / "dies").touch()
    monkeypatch.setattr(pool, "COMMAND", [*WORKER, str(tmp_path / "dies")])
    assert answers(files("a"), workers=1) == {"a": None}
    assert not (tmp_path / "dies").exists()


def test_a_process_that_cannot_be_started_is_an_error(files, monkeypatch):
    monkeypatch.setattr(pool, "COMMAND", ["/nowhere"])
    with pytest.raises(MirexError, match="a worker process cannot be started: No such file"):
        answers(files("a"))

    def without_handles(*_, **options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", without_handles)
    with pytest.raises(MirexError, match=r"Too many open files; raise the limit \(ulimit -n\) or lower"):
        answers(files("a"))


@pytest.mark.parametrize("at_work", ["tired", "a"])
def test_leaving_early_leaves_nothing_behind(files, monkeypatch, at_work):
    """No threads, no processes, no handles: with jobs in work, and with results that nobody took."""
    started: list[pool.Process] = []
    init = pool.Process.__init__

    def noted(self):
        started.append(self)
        init(self)

    watch = pool.Crew._watch

    def late(self):
        watch(self)
        time.sleep(0.2)

    monkeypatch.setattr(pool.Process, "__init__", noted)
    monkeypatch.setattr(pool.Crew, "_watch", late)
    threads, handles = threading.active_count(), len(os.listdir("/proc/self/fd"))
    paths = files("first", *(f"{at_work} {number}" for number in range(20)))
    found = pool.run(paths, setup={}, workers=2)
    next(found)
    time.sleep(0.3)
    found.close()
    assert threading.active_count() == threads
    assert len(started) == 2
    assert not any(process.usable() for process in started)
    started.clear()
    assert len(os.listdir("/proc/self/fd")) == handles


def test_a_worker_that_hangs_dies_with_its_parent(files):
    program = (
        "import sys, time, threading\n"
        "from mirex.extraction import pool\n"
        "pool.COMMAND = sys.argv[1:3]\n"
        "process = pool.Process()\n"
        "process.set_up({})\n"
        "threading.Thread(target=process.ask, args=(sys.argv[3],), daemon=True).start()\n"
        "print(process._popen.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", program, *WORKER, *files("endless")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        time.sleep(0.2)
        assert Path(f"/proc/{worker}").exists()
        parent.kill()
    for _ in range(100):
        if not running(worker):
            return
        time.sleep(0.05)
    pytest.fail("it still runs")


def running(process: int) -> bool:
    """Whether it is there and no zombie that init has not fetched yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_arrays_arrive_as_they_were(files):
    (path,) = files("a")
    ((_, answer),) = pool.run([path], setup={}, workers=1)
    assert answer.arrays["embedding"].shape == (2048,)
    np.testing.assert_allclose(np.linalg.norm(answer.arrays["embedding"]), 1.0, rtol=1e-6)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system knows no affinity")
def test_workers_do_not_share_one_core_whatever_the_environment_asks_of_openmp(monkeypatch):
    """PyTorch loads OpenMP, which else binds the process to its first core."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one core only")
    for name, value in (("OMP_PROC_BIND", "true"), ("OMP_PLACES", "cores"), ("GOMP_CPU_AFFINITY", "0-1")):
        monkeypatch.setenv(name, value)
    program = "import os, torch; print(*sorted(os.sched_getaffinity(0)))"
    command = [sys.executable, "-W", "ignore", "-c", program]
    found = subprocess.run(command, env=pool._environment(), stdout=subprocess.PIPE, check=True, text=True)
    assert {int(core) for core in found.stdout.split()} == os.sched_getaffinity(0)
