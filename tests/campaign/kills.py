"""Runs that are killed at a random moment: the parent, a worker, the writing of a matrix, the set-up.

Asked of each: there is no output, or the whole of it; a run that lost only a worker completes with the bytes
of an undisturbed one; and so does the next run after any kill.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from campaign.outcome import Outcome
from campaign.runs import Setting, command, environment, run, start
from made_wheel import make_wheel
from synthesis import song, write

SECONDS_A_RUN = 300.0
TOLD_EVERY = 20  # kills
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WRITE = """
import sys, numpy as np
from mirex.formats.matrix import write_matrix
names = [f"{number}.wav" for number in range(1500)]
rows = np.full((1500, 1500), 0.5, np.float32)
np.fill_diagonal(rows, 0)
print("ready", flush=True)
while True:
    write_matrix(sys.argv[1], names=names, query_positions=list(range(1500)), rows=rows)
"""


def try_kills(
    folder: Path,
    *,
    weights: Path,
    count: int,
    seed: int,
    outcome: Outcome,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Kill so many runs; every fifth while it writes a matrix.

    Parameters
    ----------
    folder : Path
        For everything that is made.
    weights : Path
        Sealed weights.
    count : int
        How many runs are killed.
    seed : int
        Of moments, victims and signals.
    outcome : Outcome
        Takes what was found.
    told : callable
        Called from time to time.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    names = [write(folder / f"{number}.flac", song(number, seconds=20)) for number in range(4)]
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    undisturbed = Setting(folder / "list.txt", weights, folder / "undisturbed")
    undisturbed.folder.mkdir()
    began = time.monotonic()
    if run(command(undisturbed), seconds=SECONDS_A_RUN, cwd=folder).returncode:
        outcome.wrong("kills", "the undisturbed run failed")
        return
    seconds, expected = time.monotonic() - began, undisturbed.matrix.read_bytes()
    for number in range(count):
        place = folder / f"kill-{number}"
        place.mkdir()
        if number % 5 == 4:
            kill_a_writer(place, generator=generator, outcome=outcome)
        else:
            setting = undisturbed._replace(folder=place)
            kill_a_run(setting, seconds=seconds, expected=expected, generator=generator, outcome=outcome)
        outcome.kills += 1
        if outcome.kills % TOLD_EVERY == 0:
            told()


def kill_a_run(
    setting: Setting, *, seconds: float, expected: bytes, generator: np.random.Generator, outcome: Outcome
) -> None:
    """Kill a run, or one of its workers, at a moment of its life; run it once more."""
    worker = generator.random() < 0.4
    number = SIGNALS[int(generator.integers(len(SIGNALS)))]
    process = start(command(setting), cwd=setting.folder)
    moment = float(generator.uniform(0, 1.1 * seconds))
    time.sleep(moment)
    where = f"{'worker' if worker else 'parent'}, {signal.Signals(number).name}, after {moment:.2f} s"
    children = _children(process.pid)
    with contextlib.suppress(ProcessLookupError):
        if worker and children:
            os.kill(children[int(generator.integers(len(children)))], signal.SIGKILL)
        else:
            worker = False
            process.send_signal(number)
    try:
        status = process.wait(SECONDS_A_RUN)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        outcome.wrong(where, "the run hangs")
        return
    if setting.matrix.exists() and setting.matrix.read_bytes() != expected:
        outcome.wrong(where, "the output has other bytes")
    if worker and (status or not setting.matrix.exists()):
        outcome.wrong(where, f"a run that lost one worker ended with status {status}")
    if _alive(children):
        outcome.wrong(where, "workers outlive their run")
    again = run(command(setting), seconds=SECONDS_A_RUN, cwd=setting.folder)
    if again.returncode or setting.matrix.read_bytes() != expected:
        outcome.wrong(where, f"the next run: status {again.returncode}, {again.stdout[-300:]}")


def kill_a_writer(folder: Path, *, generator: np.random.Generator, outcome: Outcome) -> None:
    """Kill a process that writes one matrix after the other: the name stands for a whole one."""
    path = folder / "matrix.txt"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, env=environment(), cwd=folder
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(float(generator.uniform(0, 3)))
    process.kill()
    process.wait()
    if path.exists() and path.read_bytes().count(b"\n") != 1 + 1500 + 1 + 1500:
        outcome.wrong("writing", "half a matrix stands under the output's name")


def try_set_ups(folder: Path, *, count: int, seed: int, outcome: Outcome) -> None:
    """Kill so many set-ups of an environment at a random moment; the next one must give a whole environment.

    Parameters
    ----------
    folder : Path
        For everything that is made: a package, found there by pip and nowhere else, and the environments.
    count : int
        How many set-ups are killed.
    seed : int
        Of the moments.
    outcome : Outcome
        Takes what was found.
    """
    generator = np.random.default_rng(seed)
    needs = folder / "needs"
    needs.mkdir(parents=True)
    (needs / "requirements.txt").write_text("mirex-test-package>=1.0\n")
    (needs / "constraints.txt").write_text("mirex-test-package==1.0\n")
    make_wheel(folder / "wheels")
    for number in range(count):
        _kill_set_up(folder / f"set-up-{number}" / ".venv", needs, float(generator.uniform(0, 6)), outcome)
        outcome.kills += 1


def _kill_set_up(private: Path, needs: Path, seconds: float, outcome: Outcome) -> None:
    private.parent.mkdir()
    code = (
        "import sys; from pathlib import Path; from mirex.bootstrap.environment import choose; "
        "print(choose(Path(sys.argv[1]), [Path(sys.argv[2])], prefer_this=False))"
    )
    words = [sys.executable, "-c", code, str(private), str(needs)]
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(needs.parent / "wheels")}
    with _variables(offline):
        process = start(words, cwd=needs)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = run(words, seconds=SECONDS_A_RUN, cwd=needs)
    python = done.stdout.splitlines()[-1] if done.stdout else "none"
    found = subprocess.run([python, "-c", "import mirex_test_package"], capture_output=True)
    if done.returncode or found.returncode:
        outcome.wrong("set-up", f"killed after {seconds:.1f} s; the next one: {done.stdout[-300:]}")


@contextlib.contextmanager
def _variables(more: dict[str, str]) -> Iterator[None]:
    """The process's environment with more variables, for a while."""
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _children(pid: int) -> list[int]:
    """The process's children, by Linux's /proc."""
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _alive(pids: list[int]) -> bool:
    """Whether one of the processes still runs a moment later."""
    for _ in range(50):
        if not any(Path(f"/proc/{pid}/cmdline").exists() and _command(pid) for pid in pids):
            return False
        time.sleep(0.1)
    return True


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
