"""Damaged files, in lists of a hundred with sound recordings among them.

Asked of each run: it ends in time, with status 0, a valid matrix and no trace of a defect in its log; a file
is either embedded or named in failed.tsv; what became shorter than it should have is warned of; the sound
recordings' distances are, to the byte, those of a run without the others.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from campaign.damage import RATE, SECONDS, Sample, damaged_files, strange_paths
from campaign.outcome import Outcome
from campaign.runs import DEFECTS, Setting, command, extract_command, failures, run, wrong_with_matrix
from mirex.extraction.store import Store, content_hash
from mirex.formats.matrix import read_matrix
from mirex.model.weights import fingerprint, read_metadata
from mirex.settings import FrontEndSettings
from synthesis import song, write

BATCH = 100
SECONDS_A_RUN = 600.0
SHORT = 0.9  # of the length that a file should have


def try_files(
    folder: Path,
    *,
    weights: Path,
    count: int,
    seed: int,
    outcome: Outcome,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Make the files, run the batches, and note what was wrong with each.

    Parameters
    ----------
    folder : Path
        For everything that is made.
    weights : Path
        Sealed weights.
    count : int
        How many damaged files; the strange paths come on top.
    seed : int
        Of the files.
    outcome : Outcome
        Takes what was found.
    told : callable
        Called after each batch.
    """
    generator = np.random.default_rng(seed)
    made = folder / "files"
    made.mkdir(parents=True)
    good = [str(write(made / f"good {number}.flac", song(number, seconds=SECONDS))) for number in range(3)]
    samples = [*strange_paths(made), *damaged_files(made, count=count, generator=generator)]
    order = generator.permutation(len(samples))
    expected = _good_distances(_setting(folder / "alone", good, weights), good, outcome)
    for start in range(0, len(samples), BATCH):
        batch = [samples[index] for index in order[start : start + BATCH]]
        place = folder / f"batch-{start}"
        _try_batch(place, batch, good=good, weights=weights, expected=expected, outcome=outcome)
        outcome.files += len(batch)
        told()


def _setting(folder: Path, names: Sequence[str], weights: Path) -> Setting:
    folder.mkdir()
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    return Setting(folder / "list.txt", weights, folder)


def _try_batch(
    folder: Path, batch: list[Sample], *, good: list[str], weights: Path, expected: str, outcome: Outcome
) -> None:
    setting = _setting(folder, [*good, *(sample.path for sample in batch)], weights)
    distances = _good_distances(setting, good, outcome)
    if distances != expected:
        outcome.wrong(folder.name, "the sound recordings' distances changed beside damaged files")
    if not distances:
        return
    if list(folder.glob("injected")):
        outcome.wrong(folder.name, "a path of the list reached a shell")
    log, failed = (folder / "log.txt").read_text("utf-8"), failures(setting.scratch)
    outcome.failed += sum(sample.path in failed for sample in batch)
    for sample in batch:
        _judge(sample, setting, reason=failed.get(sample.path), log=log, outcome=outcome)


def _good_distances(setting: Setting, good: list[str], outcome: Outcome) -> str:
    """Run the list; the distances among its first recordings, as one text."""
    log = ""
    for words in (extract_command(setting, "--keep-columns"), command(setting)):
        done = run(words, seconds=SECONDS_A_RUN, cwd=setting.folder)
        log += done.stdout
        if done.returncode:
            outcome.wrong(setting.folder.name, f"exit status {done.returncode}: {done.stdout[-300:]}")
            return ""
    (setting.folder / "log.txt").write_text(log, "utf-8", "backslashreplace")
    for line in log.splitlines():
        if DEFECTS.search(line):
            outcome.wrong(setting.folder.name, f"trace of a defect: {line}")
    for wrong in wrong_with_matrix(setting):
        outcome.wrong(setting.folder.name, wrong)
    return str(read_matrix(setting.matrix).distances[: len(good), : len(good)].tolist())


def _judge(sample: Sample, setting: Setting, *, reason: str | None, log: str, outcome: Outcome) -> None:
    """Note a crash or a hang that the run reports, and audio that was lost without a word."""
    if reason and "time limit" in reason:
        outcome.hangs += 1
        outcome.wrong(sample.kind, f"{sample.path}: {reason}")
    elif reason and "SIG" in reason:
        outcome.crashes += 1
        outcome.wrong(sample.kind, f"{sample.path}: {reason}")
    elif sample.whole and not reason and Path(sample.path).name not in log:
        length = _seconds(sample.path, setting)
        if length < SHORT * SECONDS:
            outcome.shortened += 1
            outcome.wrong(sample.kind, f"{sample.path}: {length:.1f} of {SECONDS} s, and no warning")
    elif sample.whole and reason:
        outcome.lose(sample.kind)


def _seconds(path: str, setting: Setting) -> float:
    """Length of what was analysed, from its columns in the scratch store."""
    front_end = FrontEndSettings()
    store = Store(
        setting.scratch,
        front_end=front_end.fingerprint(),
        weights=fingerprint(read_metadata(setting.weights)),
    )
    columns = store.get(content_hash(path), kind="columns")
    assert columns is not None
    assert front_end.sample_rate == RATE
    return columns.shape[1] * front_end.seconds_per_column
