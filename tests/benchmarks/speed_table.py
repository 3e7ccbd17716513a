"""What `benchmarks.speed` measured, as the table that README shows, and as pictures."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OURS = "mirex"
MARK = "<!-- speed -->"


def table(report: Mapping[str, Any]) -> str:
    """Markdown: seconds (medians) and how many times ours (medians of the ratios of each turn)."""
    lines = [describe(report), ""]
    lines += ["| stage | how | seconds | relative to mirex |", "|---|---|---|---|"]
    for stage, candidates in report["stages"].items():
        for name, seconds in candidates.items():
            first = stage if name == OURS else ""
            ratio = "" if name == OURS else f"{times(seconds, candidates[OURS]):.2g}"
            lines.append(f"| {first} | {name} | {statistics.median(seconds):.3f} | {ratio} |")
    lines += ["", "| tracks | workers | backend | wall s | CPU s per track | peak MiB per worker |"]
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


def placed(found: str, text: str) -> str:
    """The text with the table between its two marks.

    >>> placed("new", "a\\n<!-- speed -->\\nold\\n<!-- speed -->\\nb")
    'a\\n<!-- speed -->\\nnew\\n<!-- speed -->\\nb'
    """
    before, _, after = text.split(MARK)
    return f"{before}{MARK}\n{found}\n{MARK}{after}"


def describe(report: Mapping[str, Any]) -> str:
    """One sentence on the machine."""
    found = report["machine"]
    instructions = "".join(f", {name}" for name in found["instructions"])
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    left_out = "".join(f" Left out: {name} ({reason})." for name, reason in report["skipped"].items())
    return (
        f"{found['cores']} cores: {found['processor']}{instructions}; {versions}. Stages: CPU "
        f"seconds of one thread, for one track of {report['track_seconds']} s at 22,050 Hz.{left_out}"
    )


def times(seconds: Sequence[float], ours: Sequence[float]) -> float:
    """Median over the turns of how many times ours something took.

    >>> times([2.0, 9.0, 4.0], [1.0, 3.0, 2.0])
    2.0
    """
    return statistics.median(one / other for one, other in zip(seconds, ours, strict=True))


def plot(report: Mapping[str, Any], path: Path) -> None:
    """A picture of the growth: with length, tracks, threads, and size of the matrix."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (what, unit, lines) in zip(figure.subplots(2, 2).flat, panels(report["growth"]), strict=True):
        for label, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.set(xlabel=what, ylabel=unit, xlim=(0, None), ylim=(0, None))
        axes.legend()
    figure.savefig(path, format="png", dpi=120)


Lines = dict[str, list[tuple[float, float]]]


def panels(growth: Mapping[str, Any]) -> list[tuple[str, str, Lines]]:
    """What grows, the unit of its time, and the points of each line."""
    lengths = {float(length): parts for length, parts in growth["length"].items()}
    parts = sorted({part for found in lengths.values() for part in found})
    stages = {part: [(x, found[part]) for x, found in lengths.items()] for part in parts}
    sizes = {OURS: [(float(size), seconds) for size, seconds in growth["matrix"].items()]}
    most = max(run["tracks"] for run in growth["runs"])
    longest = [run for run in growth["runs"] if run["tracks"] == most]
    return [
        ("seconds of music", "CPU seconds", stages),
        ("tracks", "wall seconds", lines_of(growth["runs"], along="tracks", apart="threads")),
        (f"workers, for {most} tracks", "wall seconds", lines_of(longest, along="threads", apart="")),
        ("rows and columns of the matrix", "CPU seconds", sizes),
    ]


def lines_of(runs: Sequence[Mapping[str, Any]], *, along: str, apart: str) -> Lines:
    """Wall seconds along one property of the runs, a line for each backend and value of another.

    >>> run = {"backend": "torch", "tracks": 2, "threads": 1, "wall": 3.0}
    >>> lines_of([run], along="tracks", apart="threads")
    {'torch, 1 worker': [(2, 3.0)]}
    """
    found: Lines = {}
    for run in runs:
        workers = f", {run[apart]} worker{'s' if run[apart] > 1 else ''}" if apart else ""
        found.setdefault(f"{run['backend']}{workers}", []).append((run[along], run["wall"]))
    return found
