"""A plot of a training log: loss terms and validation mAP over the steps."""

import json
from pathlib import Path

import numpy as np

from mirex.files import appearing_whole

TERMS = ("classification", "triplet", "contrastive")
SMOOTHING_STEPS = 50


def read_log(path: Path) -> list[dict]:
    """Read a `log.jsonl`.

    Parameters
    ----------
    path : Path
        The log.

    Returns
    -------
    list of dict
        Entries by step. If a step was run twice (after a resume), the later entry.
    """
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [entry for _, entry in sorted({entry["step"]: entry for entry in entries}.items())]


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
    steps = np.array([entry["step"] + 1 for entry in entries])
    for term in TERMS:
        values = np.array([entry[term] for entry in entries])
        width = min(SMOOTHING_STEPS, len(values))
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        left.plot(steps[width - 1 :], smooth / smooth[0], label=term)
    left.set(xlabel="step", ylabel="loss relative to its start", ylim=(0, None))
    validated = [entry for entry in entries if "validation" in entry]
    for name in validated[0]["validation"] if validated else ():
        right.plot(
            [entry["step"] + 1 for entry in validated],
            [entry["validation"][name] for entry in validated],
            marker=".",
            label=name,
        )
    right.set(xlabel="step", ylabel="validation mAP", ylim=(0, 1))
    for axes in (left, right):
        if axes.lines:
            axes.legend()
        axes.grid(alpha=0.3)
    with appearing_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
