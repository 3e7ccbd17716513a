"""Results: one JSON file with every system's figures on every set, which README and model card quote.

    {"made": {...}, "drawing": {...},
     "tables": {title: {"source": ..., "recordings": ..., "queries": ..., "cliques": ...,
                        "query_cliques": [...],
                        "systems": {key: {"system", "settings", "figures", "lead", "hubness",
                                          "describe_seconds", "compare_seconds",
                                          "average_precision": [...], "first_rank": [...]}}}},
     "robustness": {"source": ..., "recordings": ...,
                    "systems": {key: {"system", "settings", "rows": [...]}}}}

`source` is a fingerprint of the recordings. The same source and settings give the same distances, so a slow
baseline is measured once and kept while the weights change. Values per query are kept because paired
differences need them.
"""

import hashlib
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mirex.benchmarks.accuracy import Drawing, EvaluatedSet, Measured, Row, Table, tabulate
from mirex.errors import EvaluationError
from mirex.files import write_whole
from mirex.untrusted import parse_json

ARRAYS = ("average_precision", "first_rank")
WIDTH = 110
SHORT_NAMES = {"ours": "mirex", "qmax": "Qmax"}  # for any view or number of frames


def fingerprint(conditions: Mapping[str, Any]) -> str:
    """Fingerprint of what a set is made from.

    Parameters
    ----------
    conditions : mapping
        Anything that JSON can hold.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256 of the canonical JSON.
    """
    text = json.dumps(conditions, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Results:
    """The file's content, from which tables are read and in which they are replaced.

    Parameters
    ----------
    content : dict, optional
        As in the file; empty by default.
    """

    def __init__(self, content: dict[str, Any] | None = None) -> None:
        self.content = content or {"made": {}, "drawing": {}, "tables": {}, "robustness": {}}

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read the file; a missing one gives empty results.

        Parameters
        ----------
        path : Path
            The JSON file.

        Returns
        -------
        Results

        Raises
        ------
        EvaluationError
            If the file cannot be read or holds something else.
        """
        try:
            content = parse_json(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{path}: not a results file ({error}); name another file") from error
        if not isinstance(content, dict) or not {"made", "tables"} <= set(content):
            raise EvaluationError(f"{path}: JSON, but not results of this command; name another file")
        return cls(content)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Parameters
        ----------
        path : Path
            The JSON file.

        Raises
        ------
        EvaluationError
            If it cannot be written.
        """
        try:
            write_whole(path, self.text())
        except OSError as error:
            raise EvaluationError(
                f"{path}: cannot be written ({error.strerror}); name another file"
            ) from error

    def text(self) -> str:
        """Format the content as indented JSON; the numbers of an array share lines.

        Returns
        -------
        str
            What the file holds.
        """
        plain = json.dumps(self.content, indent=1, ensure_ascii=False)
        return re.sub(r"\[([^\[\]{}\"]*)\]", _folded, plain) + "\n"

    def markdown(self) -> str:
        """Format MAP, MR1 and Rank-1 of every system on every set, for README and model card.

        Returns
        -------
        str
            One Markdown table.
        """
        tables = self.content["tables"]
        names: dict[str, str] = {}
        for table in tables.values():
            for key, system in table["systems"].items():
                names.setdefault(key, SHORT_NAMES.get(key, system["system"]))
        lines = ["| set | " + " | ".join(names.values()) + " |", "|---" * (len(names) + 1) + "|"]
        for title, table in tables.items():
            cells = [_figures(table["systems"].get(key)) for key in names]
            size = f"{title} ({table['queries']} queries of {table['recordings']})"
            lines.append(f"| {size} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def figures(self, *, weights: str) -> dict[str, dict[str, dict[str, float]]]:
        """MAP, MR1 and Rank-1 alone, as the metadata of weights have them.

        Parameters
        ----------
        weights : str
            Fingerprint of the weights that the figures are for.

        Returns
        -------
        dict
            {title of the table: {name of the system: {figure: value}}}.

        Raises
        ------
        EvaluationError
            If a table was measured with other weights.
        """
        found = {}
        for title, table in self.content["tables"].items():
            for system in table["systems"].values():
                used = system["settings"].get("weights", weights)
                if used != weights:
                    raise EvaluationError(
                        f"{title}: measured with weights {used}, not {weights}; measure it again"
                    )
            found[title] = {
                system["system"]: {name: round(each["value"], 4) for name, each in system["figures"].items()}
                for system in table["systems"].values()
            }
        return found

    def test_set(self, title: str, *, source: str) -> EvaluatedSet | None:
        """Look up a set as it was evaluated.

        Parameters
        ----------
        title : str
            The set's name.
        source : str
            Fingerprint of the recordings.

        Returns
        -------
        EvaluatedSet or None
            None if the set has not been evaluated from this source.
        """
        found = self.content["tables"].get(title)
        if not found or found["source"] != source:
            return None
        return EvaluatedSet(found["recordings"], np.array(found["query_cliques"], np.int64))

    def measured(self, title: str, *, source: str) -> dict[str, Measured]:
        """Look up the systems that were measured on a set.

        Parameters
        ----------
        title : str
            The set's name.
        source : str
            Fingerprint of the recordings.

        Returns
        -------
        dict of str to Measured
            By the systems' keys; empty if nothing was measured from this source.
        """
        found = self.content["tables"].get(title)
        if not found or found["source"] != source:
            return {}
        return {key: _measured(system) for key, system in found["systems"].items()}

    def put_table(
        self,
        title: str,
        measured: Mapping[str, Measured],
        *,
        test_set: EvaluatedSet,
        source: str,
        drawing: Drawing,
    ) -> Table:
        """Replace a set's figures; the first system is compared with each of the others.

        Parameters
        ----------
        title : str
            The set's name.
        measured : mapping of str to Measured
            By the systems' keys, all on the same queries.
        test_set : EvaluatedSet
            Of these.
        source : str
            Fingerprint of the recordings.
        drawing : Drawing
            How intervals and tests are drawn.

        Returns
        -------
        Table
        """
        table = tabulate(title, list(measured.values()), test_set=test_set, drawing=drawing)
        self.content["tables"][title] = {
            "source": source,
            "recordings": table.recordings,
            "queries": table.queries,
            "cliques": table.cliques,
            "systems": {key: _row_json(row) for key, row in zip(measured, table.rows, strict=True)},
            "query_cliques": test_set.query_cliques.tolist(),
        }
        return table


def _measured(system: Mapping[str, Any]) -> Measured:
    values = {name: system[name] for name in Measured._fields}
    return Measured(**values | {name: np.array(values[name]) for name in ARRAYS})


def _row_json(row: Row) -> dict[str, Any]:
    plain = row.measured._asdict()
    arrays = {name: plain.pop(name).tolist() for name in ARRAYS}
    figures = {name: vars(figure) for name, figure in row.figures.items()}
    lead = {name: vars(difference) for name, difference in row.lead.items()} if row.lead else None
    return {**plain, "figures": figures, "lead": lead, **arrays}


def _figures(system: Mapping[str, Any] | None) -> str:
    if system is None:
        return ""
    values = {name: figure["value"] for name, figure in system["figures"].items()}
    return f"{values['map']:.3f}, {values['mr1']:.2f}, {values['rank_1']:.3f}"


def _folded(match: re.Match[str]) -> str:
    return "[" + textwrap.fill(" ".join(match[1].split()), WIDTH - 2, break_on_hyphens=False) + "]"
