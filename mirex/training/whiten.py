"""Fitting a whitening to recordings and sealing it into weights.

No labels are needed: every window of every recording counts once. See `mirex.model.whitening`.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mirex._typing import Array
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.errors import TrainingError
from mirex.model import weights
from mirex.model.embedding import network_vectors
from mirex.model.network import tensors_of
from mirex.model.second_order import dimensions
from mirex.model.weights import Sealed
from mirex.model.whitening import POWER, SHRINKAGE, Moments, check
from mirex.settings import NetworkSettings

KEPT: tuple[str, ...] = ("date", "licence")
NUMBERS = (
    ("chroma_weight", "weight of the chroma view", 0, math.inf),
    ("second_order_weight", "weight of the second-order vector", 0, math.inf),
    ("second_order_tilt", "tilt of the second-order vector", 0, 1),
    ("second_order_phases", "phases of the second-order vector", 1, NetworkSettings.columns_per_step),
)
"""Settings that whitening may change, what they are called, and their least and largest values."""


class Window(NamedTuple):
    """Windows in which a view is embedded.

    Attributes
    ----------
    steps : int
        Length, in steps of 0.93 s. A shorter recording is one window.
    hop : int
        Steps from the start of one window to the start of the next.
    """

    steps: int
    hop: int


def whiten(
    path: Path,
    *,
    recordings: Sequence[Path],
    output: Path,
    views: Sequence[str] = ("cqt",),
    chroma_weight: float | None = None,
    second_order_weight: float | None = None,
    second_order_tilt: float | None = None,
    second_order_phases: int | None = None,
    window: Window | None = None,
    chroma_window: Window | None = None,
    power: float = POWER,
    shrinkage: float = SHRINKAGE,
    seed: int = 0,
    calibration: dict[str, Any] | None = None,
    results: dict[str, Any] | None = None,
    date: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Fit a whitening of each view on the windows of recordings and seal weights with it.

    Parameters
    ----------
    path : Path
        Sealed weights. An existing whitening of these views is replaced, that of another view is kept.
    recordings : sequence of Path
        Archives of recordings as CQT levels; the training split is used.
    output : Path
        The weights file to write.
    views : sequence of {"cqt", "chroma"}
        The views to fit a whitening for.
    chroma_weight : float, optional
        New weight of the chroma view in the embedding, 0 or more; that of the weights by default.
    second_order_weight : float, optional
        New weight of the second-order vector beside the last one, 0 or more; that of the weights by default.
        Above 0 the CQT view has two whitenings. That of the second-order vector keeps eleven sixteenths of
        the dimensions, if it has as many, and that of the last vector the rest. To change the weight, fit the
        CQT view anew.
    second_order_tilt : float, optional
        New tilt of the bins' weights in the second-order vector, 0 to 1; that of the weights by default. To
        change it, fit the CQT view anew.
    second_order_phases : int, optional
        New number of phases over which the second moments are averaged, 1 to the columns of a step; that of
        the weights by default. To change it, fit the CQT view anew.
    window, chroma_window : Window, optional
        New windows of the CQT view and of the chroma view; those of the weights by default.
    power, shrinkage : float
        See `mirex.model.whitening.Moments.whitening`.
    seed : int
        Of the dither that replaces the rounded digits of the levels.
    calibration, results : dict, optional
        For the metadata. Those of the old weights are not kept: they belong to other distances.
    date : str, optional
        ISO; that of the weights by default.
    progress : callable, optional
        Called with (done, total) recordings.

    Returns
    -------
    str
        The fingerprint of the new weights.

    Raises
    ------
    TrainingError
        If an archive cannot be read, or a number is out of range.
    WeightsError
        If the weights cannot be read.
    """
    check(power=power, shrinkage=shrinkage)
    sealed = weights.load(path)
    numbers = {
        "chroma_weight": chroma_weight,
        "second_order_weight": second_order_weight,
        "second_order_tilt": second_order_tilt,
        "second_order_phases": second_order_phases,
    }
    changed = _changed(sealed.settings, numbers, window=window, chroma_window=chroma_window)
    for name, what, *_ in NUMBERS[1:]:
        if "cqt" not in views and getattr(changed, name) != getattr(sealed.settings, name):
            raise TrainingError(f"{what} {numbers[name]}: fit the CQT view's whitening too")
    sealed = sealed._replace(settings=changed)
    corpora = [LevelCorpus.load(archive, split="train") for archive in recordings]
    told: dict[str, Any] = {}
    for view in views:
        last, beside = Moments(), Moments()
        for found in window_vectors(
            corpora, sealed=sealed, folded=view == "chroma", seed=seed, progress=progress
        ):
            last.add(found[0])
            if found[1] is not None:
                beside.add(found[1])
        fitted = _whitenings(view, last, beside, changed, power=power, shrinkage=shrinkage)
        sealed = sealed._replace(**fitted)
        facts = {
            "recordings": sum(len(corpus.recordings) for corpus in corpora),
            "windows": last.count,
            "power": power,
            "shrinkage": shrinkage,
            "seed": seed,
        }
        told |= {name: None if whitening is None else facts for name, whitening in fitted.items()}
    changes = {"calibration": calibration, "results": results, "date": date}
    return seal_whitened(sealed, told=told, changes=changes, output=output)


def _whitenings(
    view: str, last: Moments, beside: Moments, settings: NetworkSettings, **options: Any
) -> dict[str, Any]:
    """The whitenings of a view, by their names in `Sealed`."""
    if view == "chroma":
        return {"chroma_whitening": last.whitening(**options)}
    if not settings.second_order_weight:
        return {"whitening": last.whitening(**options), "second_order_whitening": None}
    size = settings.embedding_size
    kept = min(dimensions(size), size * 11 // 16)
    return {
        "whitening": last.whitening(kept=size - kept, **options),
        "second_order_whitening": beside.whitening(kept=kept, **options),
    }


def _changed(
    settings: NetworkSettings,
    numbers: Mapping[str, float | None],
    *,
    window: Window | None,
    chroma_window: Window | None,
) -> NetworkSettings:
    """The settings with what is given."""
    changes: dict[str, Any] = {}
    for name, what, least, most in NUMBERS:
        given = numbers[name]
        if given is None:
            continue
        kind = type(getattr(settings, name))
        if not (least <= given <= most and math.isfinite(given) and kind(given) == given):
            bounds = f"{least} or more" if math.isinf(most) else f"{least} to {most}"
            raise TrainingError(f"{what} {given}: give {bounds}")
        changes[name] = kind(given)
    for prefix, size in (("", window), ("chroma_", chroma_window)):
        if size is None:
            continue
        if not 1 <= size.hop <= size.steps:
            raise TrainingError(f"windows of {size.steps} steps with hop {size.hop}: give 1 <= hop <= steps")
        changes |= {f"{prefix}window_steps": size.steps, f"{prefix}window_hop": size.hop}
    return dataclasses.replace(settings, **changes)


def window_vectors(
    corpora: Sequence[LevelCorpus],
    *,
    sealed: Sealed,
    seed: int,
    folded: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Array, Array | None]]:
    """Compute the network's vectors of each recording's windows.

    Parameters
    ----------
    corpora : sequence of LevelCorpus
        The recordings.
    sealed : Sealed
        Weights; a whitening is not used.
    seed : int
        Of the dither, together with the recording's place in its archive.
    folded : bool
        The chroma view instead of the CQT view.
    progress : callable, optional
        Called with (done, total) recordings.

    Yields
    ------
    last, second_order : float32 [windows, dimensions], the second may be None
        One recording's, as `mirex.model.embedding.network_vectors` gives them.
    """
    places = [(number, index) for number, each in enumerate(corpora) for index in each.recordings.tolist()]
    for done, (number, index) in enumerate(places, 1):
        generator = np.random.default_rng([seed, number, index])
        columns = corpora[number].columns(index, generator=generator)
        yield network_vectors(columns, sealed=sealed, folded=folded)
        if progress:
            progress(done, len(places))


def seal_whitened(sealed: Sealed, *, told: dict[str, Any], changes: dict[str, Any], output: Path) -> str:
    """Write weights with their whitenings.

    Parameters
    ----------
    sealed : Sealed
        The network, its whitenings and its metadata.
    told : dict
        The metadata's entries on the whitenings that are new, by name; None removes one.
    changes : dict
        New `calibration`, `results` and `date` of the metadata; without it the date stays.
    output : Path
        The file to write.

    Returns
    -------
    str
        Its fingerprint.
    """
    training = {**json.loads(sealed.metadata.get("training", "{}")), **told}
    training = {name: entry for name, entry in training.items() if entry is not None or name not in told}
    kept = {name: sealed.metadata[name] for name in KEPT if name in sealed.metadata}
    given = {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in changes.items()
        if value is not None
    }
    tensors = tensors_of(sealed.network)
    for name in weights.WHITENINGS:
        found = getattr(sealed, name)
        if found is not None:
            tensors |= {f"{name}.{part}": torch.from_numpy(each) for part, each in found._asdict().items()}
    return weights.save(
        tensors,
        front_end=sealed.front_end,
        settings=sealed.settings,
        metadata={**kept, **given, "training": json.dumps(training, sort_keys=True)},
        path=output,
    )
