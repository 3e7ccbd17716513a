"""Sealed weights described as text: what they are, how they were trained, how good they are.

Everything comes from the file's metadata (`mirex.model.weights`); no tensor is read.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mirex.errors import WeightsError
from mirex.model.weights import WHITENINGS, fingerprint
from mirex.untrusted import parse_json

_PARSED = ("front_end", "network", "training", "calibration", "results")


class Run(NamedTuple):
    """One training run.

    Attributes
    ----------
    start : str
        Fingerprint of the weights that it started from; "" if from scratch.
    end : str
        Fingerprint of the weights that it made.
    facts : dict
        Its entry in the metadata.
    """

    start: str
    end: str
    facts: dict[str, Any]

    def phases(self) -> list[tuple[int, dict[str, Any]]]:
        """List the recipes that the run followed, one after the other.

        Returns
        -------
        list of (int, dict)
            The step up to which a recipe was followed, and the recipe, flat: {"loop.seed": 1}.
        """
        last = {"recipe": self.facts["recipe"], "until_step": self.facts["steps"]}
        phases = [*self.facts.get("history", []), last]
        return [(each["until_step"], dict(_flat(each["recipe"]))) for each in phases]


def parsed(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The metadata, with their JSON entries parsed.

    Parameters
    ----------
    metadata : mapping of str to str
        As `mirex.model.weights.read_metadata` gives it.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If an entry that should be a JSON object is not one.
    """
    return {name: _object(name, text) if name in _PARSED else text for name, text in metadata.items()}


def runs(metadata: Mapping[str, str]) -> list[Run]:
    """The training runs behind the weights, earliest first.

    Parameters
    ----------
    metadata : mapping of str to str
        As in `parsed`.

    Returns
    -------
    list of Run
        Empty if the metadata do not describe the training.

    Raises
    ------
    WeightsError
        If the training entry does not have the form that `mirex seal` writes.
    """
    facts, end = parsed(metadata).get("training") or {}, fingerprint(metadata)
    found: list[Run] = []
    try:
        while "recipe" in facts:
            origin = facts.get("started_from") or {}
            found.append(Run(origin.get("fingerprint", ""), end, facts))
            facts, end = origin.get("training") or {}, found[-1].start
            found[-1].phases()
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"the training entry of the weights cannot be read ({error!r})") from error
    return found[::-1]


def describe(metadata: Mapping[str, str]) -> str:
    """Describe the weights: identity, settings, training in short, results.

    Parameters
    ----------
    metadata : mapping of str to str
        As in `parsed`.

    Returns
    -------
    str
        Lines of text.

    Raises
    ------
    WeightsError
        As `runs`.
    """
    found = parsed(metadata)
    training = found.get("training") or {}
    lines = [f"weights {fingerprint(metadata)}, date {found.get('date', 'unknown')}"]
    lines.append(f"licence: {found.get('licence', 'unknown')}")
    lines.append(f"trained: {_trained(runs(metadata))}")
    lines += [f"trained on: {data}" for data in training.get("data", [])]
    parts = {name: found.get(name) for name in ("front_end", "network")}
    parts |= {name: training.get(name) for name in WHITENINGS} | {"calibration": found.get("calibration")}
    for name, values in parts.items():
        told = ", ".join(f"{key} {value}" for key, value in _flat(values or {}))
        lines.append(f"{name.replace('_', ' ')}: {told or 'none'}")
    return "\n".join([*lines, "results:", *_results(found.get("results") or {})])


def history(metadata: Mapping[str, str]) -> str:
    """Describe the training runs, earliest first; of each recipe, what differs from the one before.

    Parameters
    ----------
    metadata : mapping of str to str
        As in `parsed`.

    Returns
    -------
    str
        Lines of text.

    Raises
    ------
    WeightsError
        As `runs`.
    """
    lines: list[str] = []
    before: dict[str, Any] = {}
    for number, run in enumerate(runs(metadata), 1):
        share = run.facts.get("start_share") or 0
        mixed = f", of which {100 * share:.3g} % is mixed into the result," if share else ""
        lines.append(f"run {number}: from {run.start or 'scratch'}{mixed} to {run.end}, {_size(run)}")
        for until, recipe in run.phases():
            lines += [f"  to step {until:,}:", *_changes(before, recipe)]
            before = recipe
    return "\n".join(lines or ["the weights do not describe their training"])


def _object(name: str, text: str) -> Any:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise WeightsError(f"entry {name!r} of the weights is not JSON ({error})") from error
    if value is not None and not isinstance(value, dict):
        raise WeightsError(f"entry {name!r} of the weights is not a JSON object: {text[:80]}")
    return value


def _trained(found: list[Run]) -> str:
    if not found:
        return "unknown"
    samples = sum(run.facts.get("samples", 0) for run in found)
    runs_of = f"{len(found)} runs" if len(found) > 1 else "one run"
    return f"{samples:,} samples in {runs_of} ('mirex weights --history'), the last {_size(found[-1])}"


def _size(run: Run) -> str:
    given = [(run.facts.get(name), name) for name in ("steps", "samples", "works")]
    return ", ".join(f"{value:,} {name}" for value, name in given if value is not None)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Lines for what a recipe changes; the first recipe is shown in full."""
    lines = []
    for name in sorted({*before, *after}):
        value = "removed" if name not in after else f"= {json.dumps(after[name])}"
        if name not in before:
            lines.append(f"    {name} {value}")
        elif name not in after or before[name] != after[name]:
            lines.append(f"    {name} {value} (before: {json.dumps(before[name])})")
    return lines or ["    unchanged"]


def _results(results: Mapping[str, Any], *, name: str = "") -> Iterator[str]:
    """One line for each group of figures, named by the groups that contain it."""
    figures = {key: value for key, value in results.items() if not isinstance(value, dict)}
    if figures:
        told = ", ".join(f"{key} {_rounded(value)}" for key, value in figures.items())
        yield f"  {name}: {told}" if name else f"  {told}"
    for key, value in results.items():
        if isinstance(value, dict):
            yield from _results(value, name=f"{name} / {key}" if name else key)
    if not results and not name:
        yield "  none"


def _rounded(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(values: Mapping[str, Any], *, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values with dotted names: ("loop.seed", 1)."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, prefix=f"{prefix}{name}.")
        else:
            yield prefix + name, value
