"""Text and JSON of an evaluation: MIREX's tables, the counts, the definitions."""

from collections.abc import Sequence
from typing import Any

from mirex.evaluation import metrics
from mirex.evaluation.evaluate import Comparison, Evaluation, Interval
from mirex.evaluation.hubness import Hubness, hubness_facts, hubness_json
from mirex.logs import printable

LABELS = {
    "tnci10": "TNCI10",
    "mnci10": "MNCI10",
    "map": "MAP",
    "mr1": "MR1",
    "precision_at_10": "P@10",
    "rank_1": "Rank-1",
    "rank_5": "Rank-5",
    "rank_10": "Rank-10",
    "median_rank": "Median rank",
    "nar": "NAR (%)",
    "nar_unbiased": "NAR unbiased (%)",
}
"""Printed names of `metrics.DEFINITIONS`."""


INTERVALS = {"percentile": "percentile bootstrap", "bca": "BCa bootstrap"}
"""Printed names of `mirex.evaluation.significance.METHODS`."""


def evaluation_text(
    evaluation: Evaluation,
    summary: dict[str, Interval],
    *,
    level: float = 0.95,
    resample: str = "cliques",
    method: str = "percentile",
    hubness: Hubness | None = None,
) -> str:
    """Format the tables for a terminal: what was evaluated, metrics with intervals, covers by rank, hubness.

    Parameters
    ----------
    evaluation : Evaluation
        Of one matrix.
    summary : dict of str to Interval
        Its metrics, as `summarise` returns them.
    level : float
        Of the intervals in `summary`, in (0, 1); printed.
    resample : {"cliques", "queries"}
        What was drawn for them; printed.
    method : {"percentile", "bca"}
        Their kind; printed.
    hubness : Hubness, optional
        Of the same matrix; no lines on hubness without it.

    Returns
    -------
    str
        Lines, without a line feed at the end.
    """
    parts = [
        aligned([[f"{name}:", printable(value)] for name, value in facts(evaluation)]),
        aligned(
            [
                ["metric", "value", f"{100 * level:g} % interval ({INTERVALS[method]} over {resample})"],
                *([LABELS[name], *metric_cells(name, cell)] for name, cell in summary.items()),
            ]
        ),
        "number of correct covers at rank\n" + aligned(_transposed(rank_table(evaluation))),
    ]
    if hubness:
        parts.append(aligned([[f"{name}:", printable(value)] for name, value in hubness_facts(hubness)]))
    return "\n\n".join(parts)


def comparison_text(comparison: Comparison, *, level: float = 0.95) -> str:
    """Format paired differences for a terminal.

    Parameters
    ----------
    comparison : Comparison
        As `compare` returns it.
    level : float
        Of its intervals, in (0, 1); printed.

    Returns
    -------
    str
        Lines, without a line feed at the end.
    """
    header = ["metric", "this", "other", "difference", f"{100 * level:g} % interval", "p (permutation)"]
    rows = [
        [
            LABELS[name],
            f"{row.ours:.4f}",
            f"{row.theirs:.4f}",
            f"{row.difference:+.4f}",
            f"{row.low:+.4f} to {row.high:+.4f}",
            f"{row.p:.4f}",
        ]
        for name, row in comparison.differences.items()
    ]
    other = printable(comparison.other_system)
    title = f"paired differences over {comparison.queries} queries, this minus other ({other})"
    unpaired = comparison.only_ours + comparison.only_theirs
    note = f"\n{unpaired} queries are evaluated in only one of the two and left out" if unpaired else ""
    return f"{title}{note}\n{aligned([header, *rows])}"


def explanation_text() -> str:
    """Explain the definitions and the conventions.

    Returns
    -------
    str
        Several lines.
    """
    lines = ["definitions"]
    lines += [f"  {LABELS[name]}: {words}" for name, words in metrics.DEFINITIONS.items()]
    lines += ["conventions"]
    lines += [f"  {name}: {words}" for name, words in metrics.CONVENTIONS.items()]
    lines += ["intervals and tests", *(f"  {name}: {words}" for name, words in STATISTICS.items())]
    return "\n".join(lines)


STATISTICS = {
    "interval": "Percentile bootstrap or, with --interval bca, the bootstrap corrected for bias and skewness "
    "(BCa). Whole cliques are drawn with replacement, because the queries of one "
    "clique are not independent (--resample queries draws single queries).",
    "p": "Two-sided sign-flip permutation test of the mean difference, also by clique; "
    "not corrected for testing several metrics.",
}


def facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Summarise what was evaluated, in a few lines.

    Parameters
    ----------
    evaluation : Evaluation
        Of one matrix.

    Returns
    -------
    list of (str, str)
        Name and value of each line; counts of zero are omitted, except that of left-out queries.
    """
    scores, cliques = evaluation.scores, len(set(evaluation.query_cliques.tolist()))
    left_out = sum(evaluation.left_out.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in evaluation.left_out.items() if count)
    notes = {
        "references without a clique": evaluation.references_without_clique,
        "found by base name only": evaluation.labels.by_base_name,
        "repeated paths in the collection": evaluation.repeated_paths,
    }
    return [
        ("system", evaluation.system),
        ("collection", f"{len(evaluation.names)} recordings"),
        ("queries evaluated", f"{len(scores)}, of {cliques} cliques, with {scores.covers.sum()} covers"),
        ("queries left out", f"{left_out}: {reasons}" if left_out else "0"),
        *((name, str(count)) for name, count in notes.items() if count),
    ]


def metric_cells(name: str, cell: Interval) -> list[str]:
    """Format value and interval of a metric.

    Parameters
    ----------
    name : str
        Of the metric, one of `metrics.DEFINITIONS`.
    cell : Interval
        Its value and bounds.

    Returns
    -------
    list of str
        The value, and "low to high": TNCI10 as a whole number, ranks with 1 or 2 decimals, percentages
        with 2, all others (shares and MNCI10) with 4.
    """
    digits = {"tnci10": 0, "mr1": 2, "median_rank": 1, "nar": 2, "nar_unbiased": 2}.get(name, 4)
    return [f"{cell.value:.{digits}f}", f"{cell.low:.{digits}f} to {cell.high:.{digits}f}"]


def rank_table(evaluation: Evaluation) -> list[list[str]]:
    """Tabulate the number of correct covers by rank.

    Parameters
    ----------
    evaluation : Evaluation
        Of one matrix.

    Returns
    -------
    list of list of str
        Rows [rank, number of correct covers] for rank 1..10, and ["sum", their sum], which is TNCI10.
    """
    counts = evaluation.scores.correct_at_rank().tolist()
    rows = [[str(rank), str(count)] for rank, count in enumerate(counts, start=1)]
    return [*rows, ["sum", str(sum(counts))]]


def evaluation_json(
    evaluation: Evaluation,
    summary: dict[str, Interval],
    *,
    level: float = 0.95,
    resample: str = "cliques",
    method: str = "percentile",
    hubness: Hubness | None = None,
) -> dict[str, Any]:
    """Turn what `evaluation_text` shows into a dictionary for `json.dumps`.

    Parameters
    ----------
    evaluation : Evaluation
        Of one matrix.
    summary : dict of str to Interval
        Its metrics, as `summarise` returns them.
    level : float
        Of the intervals in `summary`, in (0, 1); noted under "interval".
    resample : {"cliques", "queries"}
        What was drawn for them; noted there too.
    method : {"percentile", "bca"}
        Their kind; noted there too.
    hubness : Hubness, optional
        Of the same matrix; "hubness" is None without it.

    Returns
    -------
    dict
    """
    return {
        "system": evaluation.system,
        "collection": len(evaluation.names),
        "queries": len(evaluation.scores) + sum(evaluation.left_out.values()),
        "queries_evaluated": len(evaluation.scores),
        "queries_left_out": evaluation.left_out,
        "cliques": len(set(evaluation.query_cliques.tolist())),
        "covers": int(evaluation.scores.covers.sum()),
        "references_without_clique": evaluation.references_without_clique,
        "found_by_base_name": evaluation.labels.by_base_name,
        "repeated_paths": evaluation.repeated_paths,
        "interval": {"level": level, "resample": resample, "method": method},
        "metrics": {
            name: {"value": cell.value, "low": cell.low, "high": cell.high} for name, cell in summary.items()
        },
        "correct_covers_at_rank": evaluation.scores.correct_at_rank().tolist(),
        "hubness": hubness_json(hubness) if hubness else None,
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Turn paired differences into a dictionary for `json.dumps`.

    Parameters
    ----------
    comparison : Comparison
        As `compare` returns it.

    Returns
    -------
    dict
        "other_system", "queries", "queries_in_one_only" and "differences": {metric: the fields of
        `Difference`}, where `ours` is called "this" and `theirs` "other".
    """
    return {
        "other_system": comparison.other_system,
        "queries": comparison.queries,
        "queries_in_one_only": comparison.only_ours + comparison.only_theirs,
        "differences": {
            name: {
                "this": row.ours,
                "other": row.theirs,
                "difference": row.difference,
                "low": row.low,
                "high": row.high,
                "p": row.p,
            }
            for name, row in comparison.differences.items()
        },
    }


def explanation_json() -> dict[str, dict[str, str]]:
    """Turn the definitions and conventions into a dictionary.

    Returns
    -------
    dict of str to dict of str to str
        "definitions", "conventions" and "statistics", each {name: text}.
    """
    return {"definitions": metrics.DEFINITIONS, "conventions": metrics.CONVENTIONS, "statistics": STATISTICS}


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align columns of text, two blanks apart.

    Parameters
    ----------
    rows : sequence of sequence of str
        Cells, row by row; at least one row. Rows may differ in length.

    Returns
    -------
    str
        One line per row, without a line feed at the end. The first and the last column are aligned left, the
        numbers between them right.
    """
    columns = max(len(row) for row in rows)
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    return "\n".join(_aligned_row(row, widths=widths) for row in rows)


def _aligned_row(row: Sequence[str], *, widths: list[int]) -> str:
    numeric = [cell[:1].isdigit() or cell[:1] in "+-" for cell in row]
    cells = [
        cell.rjust(width) if number and i and i < len(widths) - 1 else cell.ljust(width)
        for i, (cell, width, number) in enumerate(zip(row, widths, numeric, strict=False))
    ]
    return "  ".join(cells).rstrip()


def _transposed(rows: list[list[str]]) -> list[list[str]]:
    return [["rank", *(row[0] for row in rows)], ["covers", *(row[1] for row in rows)]]
