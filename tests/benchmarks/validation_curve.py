"""Draw the validation MAP along the runs behind the weights: weights/validation.csv to docs/validation.png.

Usage, in the repository's root: PYTHONPATH=. python tests/benchmarks/validation_curve.py
"""

import csv
from pathlib import Path

from mirex.evaluation.plots import new_figure
from mirex.files import appearing_whole

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Read the table, draw a line a column."""
    with open(ROOT / "weights" / "validation.csv", newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for name in rows[0]:
        if name != "samples":
            held = [row for row in rows if name in row]
            axes.plot([row["samples"] for row in held], [row[name] for row in held], label=name)
    axes.set(xlabel="training samples", ylabel="validation MAP", xscale="log", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    with appearing_whole(ROOT / "docs" / "validation.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    main()
