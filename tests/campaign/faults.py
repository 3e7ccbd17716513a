"""Faults of the machine: a full disk, a folder that vanishes, two runs at once, few file handles, damage.

Asked of each: an undisturbed run's bytes, or status 1 with one line that says what to do and no output; and
that the next run gives an undisturbed run's bytes.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from campaign.outcome import Outcome
from campaign.runs import Setting, command, environment, run, start
from synthesis import song, write

SECONDS_A_RUN = 300.0


def try_faults(folder: Path, *, weights: Path, seed: int, outcome: Outcome) -> None:
    """Try every fault once.

    Parameters
    ----------
    folder : Path
        For everything that is made.
    weights : Path
        Sealed weights.
    seed : int
        Of what is damaged in the store, and how.
    outcome : Outcome
        Takes what was found.
    """
    folder.mkdir(parents=True)
    names = [write(folder / f"{number}.flac", song(number, seconds=20)) for number in range(4)]
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    undisturbed = Setting(folder / "list.txt", weights, folder / "undisturbed")
    undisturbed.folder.mkdir()
    run(command(undisturbed), seconds=SECONDS_A_RUN, cwd=folder)
    expected = undisturbed.matrix.read_bytes()
    faults: dict[str, Callable[[Setting, np.random.Generator], list[str]]] = {
        "scratch on a full disk": full_scratch,
        "output on a full disk": full_output,
        "scratch removed under the run": vanishing_scratch,
        "two runs on one folder": two_runs,
        "24 file handles": few_handles,
        "damaged store entries": damaged_entries,
        "a scratch folder that is a file": scratch_is_a_file,
    }
    for number, (name, fault) in enumerate(faults.items()):
        setting = undisturbed._replace(folder=folder / f"fault-{number}")
        setting.folder.mkdir()
        for finding in fault(setting, np.random.default_rng([seed, number])):
            outcome.wrong(name, finding)
        done = run(command(setting), seconds=SECONDS_A_RUN, cwd=setting.folder)
        if done.returncode or setting.matrix.read_bytes() != expected:
            outcome.wrong(name, f"the next run: status {done.returncode}, {done.stdout[-300:]}")
        outcome.faults += 1


def full_scratch(setting: Setting, generator: np.random.Generator) -> list[str]:
    """The scratch folder holds 16 kB."""
    setting.scratch.mkdir()
    found = _on_small_disk(setting, setting.scratch, kilobytes=16)
    shutil.rmtree(setting.scratch)
    return found


def full_output(setting: Setting, generator: np.random.Generator) -> list[str]:
    """The output's folder holds nothing at all."""
    place = setting.folder / "small"
    place.mkdir()
    return _on_small_disk(setting, place, kilobytes=4, output=place / "matrix.txt")


def vanishing_scratch(setting: Setting, generator: np.random.Generator) -> list[str]:
    """The scratch folder is removed while the run works."""
    process = start(command(setting), cwd=setting.folder)
    while process.poll() is None and not setting.scratch.exists():
        time.sleep(0.01)
    time.sleep(float(generator.uniform(0, 2)))
    shutil.rmtree(setting.scratch, ignore_errors=True)
    status = process.wait(SECONDS_A_RUN)
    if status and setting.matrix.exists():
        return ["a failed run left an output"]
    setting.matrix.unlink(missing_ok=True)
    shutil.rmtree(setting.scratch, ignore_errors=True)
    return []


def two_runs(setting: Setting, generator: np.random.Generator) -> list[str]:
    """Two runs of the same list on one folder, at the same time, with outputs of their own."""
    other = setting.folder / "other.txt"
    words = command(setting)
    processes = [start(words, cwd=setting.folder), start([*words[:-1], str(other)], cwd=setting.folder)]
    statuses = [process.wait(SECONDS_A_RUN) for process in processes]
    if statuses != [0, 0]:
        return [f"statuses {statuses}"]
    return [] if other.read_bytes() == setting.matrix.read_bytes() else ["the two outputs differ"]


def few_handles(setting: Setting, generator: np.random.Generator) -> list[str]:
    """The process may open 24 files."""
    return _clear_failure(["sh", "-c", 'ulimit -n 24 && exec "$@"', "sh", *command(setting)], setting)


def damaged_entries(setting: Setting, generator: np.random.Generator) -> list[str]:
    """Every entry of the store cut, garbled or emptied."""
    run(command(setting), seconds=SECONDS_A_RUN, cwd=setting.folder)
    for path in sorted(path for path in setting.scratch.rglob("*") if path.is_file()):
        data = bytearray(path.read_bytes())
        kind = int(generator.integers(3))
        if kind == 0 or not data:
            data = data[: len(data) // 2]
        elif kind == 1:
            data[int(generator.integers(len(data)))] ^= 0x40
        else:
            data = bytearray(len(data))
        path.write_bytes(data)
    setting.matrix.unlink()
    return []


def scratch_is_a_file(setting: Setting, generator: np.random.Generator) -> list[str]:
    """Where the scratch folder should be lies a file."""
    setting.scratch.touch()
    found = _clear_failure(command(setting), setting)
    setting.scratch.unlink()
    return found


def _on_small_disk(setting: Setting, place: Path, *, kilobytes: int, output: Path | None = None) -> list[str]:
    """Run with a file system of so many kilobytes at `place`, in a mount namespace of its own."""
    words = command(setting)
    words[-1] = str(output or setting.matrix)
    mount = f'mount -t tmpfs -o size={kilobytes}k none "$0" && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*inside, "true"], env=environment(), capture_output=True).returncode:
        return []  # not allowed here
    return _clear_failure([*inside, "sh", "-c", mount, str(place), *words], setting)


def _clear_failure(words: Sequence[str], setting: Setting) -> list[str]:
    """Run; nothing to find if it completes, or fails with one line and no output."""
    done = run(words, seconds=SECONDS_A_RUN, cwd=setting.folder)
    if done.returncode == 0:
        setting.matrix.unlink(missing_ok=True)
        return []
    found = []
    last = done.stdout.rstrip().splitlines()[-1] if done.stdout.strip() else ""
    if not last.startswith("mirex: error: ") or "Traceback" in done.stdout or "defect" in last:
        found.append(f"no clear error: {done.stdout[-400:]}")
    if setting.matrix.exists():
        found.append("a failed run left an output")
    return found
