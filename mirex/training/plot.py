"""A plot of a training log: loss terms and validation mAP over the steps."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirex.files import appearing_whole

TERMS = ("classification", "triplet", "contrastive")
SMOOTHING_STEPS = 50


def read_log(path: Path) -> list[dict]:
    """Read a `log.jsonl`. Lines that a full disk or a kill has cut off are left out.

    Parameters
    ----------
    path : Path
        The log.

    Returns
    -------
    list of dict
        Entries by step. If a step was run twice (after a resume), the later entry.
    """
    entries = [found for line in path.read_text("utf-8").splitlines() if (found := _entry(line))]
    return [entry for _, entry in sorted({entry["step"]: entry for entry in entries}.items())]


def _entry(line: str) -> dict[str, Any] | None:
    """A line's entry; a line that was cut off has none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "step" in found else None


def plot_log(log: Path, *, path: Path) -> None:
    """Plot a log as PNG. Needs matplotlib (the extra `plots`).

    Parameters
    ----------
    log : Path
        A `log.jsonl`.
    path : Path
        The file to write; it appears whole.
    """
    from matplotlib.figure import Figure

    entries = read_log(log)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for term in TERMS:
        steps, values = _series(entries, term)
        if len(values):
            width = min(SMOOTHING_STEPS, len(values))
            smooth = np.convolve(values, np.ones(width) / width, mode="valid")
            left.plot(steps[width - 1 :], smooth / smooth[0], label=term)
    left.set(xlabel="step", ylabel="loss relative to its start", ylim=(0, None))
    validated = [{"step": entry["step"], **entry["validation"]} for entry in entries if "validation" in entry]
    for name in dict.fromkeys(name for entry in validated for name in entry if name != "step"):
        right.plot(*_series(validated, name), marker=".", label=name)
    right.set(xlabel="step", ylabel="validation mAP", ylim=(0, 1))
    for axes in (left, right):
        if axes.lines:
            axes.legend()
        axes.grid(alpha=0.3)
    with appearing_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _series(
    entries: Sequence[Mapping[str, Any]], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps, from 1, and values of the entries that have this name."""
    found = [(entry["step"] + 1, entry[name]) for entry in entries if name in entry]
    steps, values = np.array(found, np.float64).reshape(-1, 2).T
    return steps, values
