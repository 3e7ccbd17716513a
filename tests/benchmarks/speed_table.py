"""What `benchmarks.speed` measured, as the table that README shows, and as pictures."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OURS = "mirex"
LIMIT = "limit: "


def table(report: Mapping[str, Any]) -> str:
    """Markdown: seconds (medians) and how many times ours (medians of the ratios of each turn)."""
    lines = [describe(report), ""]
    lines += ["| stage | how | seconds | times ours |", "|---|---|---|---|"]
    for stage, candidates in report["stages"].items():
        for name, seconds in candidates.items():
            first = stage if name == OURS else ""
            ratio = "" if name == OURS else f"{times(seconds, candidates[OURS]):.2g}"
            lines.append(f"| {first} | {name} | {statistics.median(seconds):.3f} | {ratio} |")
    lines += ["", "| tracks | workers | backend | wall s | processor s a track | MiB a process, at most |"]
    lines += ["|---|---|---|---|---|---|"]
    for run in report["growth"]["runs"]:
        each = run["processor"] / run["tracks"]
        lines.append(
            f"| {run['tracks']} | {run['threads']} | {run['backend']} | {run['wall']:.1f} | {each:.2f} | "
            f"{run['mebibytes']:.0f} |"
        )
    found = report["long"]
    lines += [
        "",
        f"One recording of {found['hours']:g} h in stereo at 44,100 Hz: {found['wall']:.1f} s, "
        f"{found['mebibytes']:.0f} MiB.",
    ]
    return "\n".join(lines)


def describe(report: Mapping[str, Any]) -> str:
    """One sentence on the machine."""
    found = report["machine"]
    instructions = "".join(f", {name}" for name in found["instructions"])
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    left_out = "".join(f" Left out: {name} ({reason})." for name, reason in report["skipped"].items())
    return (
        f"{found['cores']} cores: {found['processor']}{instructions}; {versions}. Stages: processor "
        f"seconds of one thread, for one track of {report['track_seconds']} s at 22,050 Hz.{left_out}"
    )


def times(seconds: Sequence[float], ours: Sequence[float]) -> float:
    """Median over the turns of how many times ours something took.

    >>> times([2.0, 9.0, 4.0], [1.0, 3.0, 2.0])
    2.0
    """
    return statistics.median(one / other for one, other in zip(seconds, ours, strict=True))


def plots(report: Mapping[str, Any], folder: Path) -> None:
    """Pictures of the growth: length.png, runs.png, matrix.png."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    growth = report["growth"]
    lengths = {float(length): parts for length, parts in growth["length"].items()}
    parts = sorted({part for found in lengths.values() for part in found})
    curves = {
        "length": ("seconds of music", {p: [(x, found[p]) for x, found in lengths.items()] for p in parts}),
        "matrix": ("rows and columns", {OURS: [(float(n), s) for n, s in growth["matrix"].items()]}),
        "runs": ("tracks", run_curves(growth["runs"])),
    }
    for name, (what, lines) in curves.items():
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        for label, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.set(xlabel=what, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        axes.legend()
        figure.savefig(folder / f"{name}.png", dpi=120)


def run_curves(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Wall seconds by number of tracks, for each backend and number of workers."""
    found: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        plural = "s" if run["threads"] > 1 else ""
        label = f"{run['backend']}, {run['threads']} worker{plural}"
        found.setdefault(label, []).append((run["tracks"], run["wall"]))
    return found
