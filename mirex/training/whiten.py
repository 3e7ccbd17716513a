"""Fitting a whitening to recordings and sealing it into weights.

No labels are needed: every window of every recording counts once. See `mirex.model.whitening`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mirex._typing import Array
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.model import weights
from mirex.model.embedding import embed_windows
from mirex.model.network import tensors_of
from mirex.model.weights import Sealed
from mirex.model.whitening import POWER, SHRINKAGE, Whitening, fit

KEPT: tuple[str, ...] = ("results", "calibration", "date", "licence")


def whiten(
    path: Path,
    *,
    recordings: Sequence[Path],
    output: Path,
    power: float = POWER,
    shrinkage: float = SHRINKAGE,
    seed: int = 0,
    calibration: dict[str, Any] | None = None,
    results: dict[str, Any] | None = None,
    date: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Fit a whitening on the windows of recordings and seal weights with it.

    Parameters
    ----------
    path : Path
        Sealed weights; an existing whitening is replaced.
    recordings : sequence of Path
        Archives of recordings as CQT levels; the training split is used.
    output : Path
        The weights file to write.
    power, shrinkage : float
        See `mirex.model.whitening.fit`.
    seed : int
        Of the dither that replaces the rounded digits of the levels.
    calibration, results : dict, optional
        Replace those in the weights' metadata.
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
    sealed = weights.load(path)._replace(whitening=None)
    corpora = [LevelCorpus.load(archive, split="train") for archive in recordings]
    count = [0]

    def counted() -> Iterator[Array]:
        for block in window_vectors(corpora, sealed=sealed, seed=seed, progress=progress):
            count[0] += len(block)
            yield block

    found = fit(counted(), power=power, shrinkage=shrinkage)
    told = {
        "recordings": sum(len(corpus.recordings) for corpus in corpora),
        "windows": count[0],
        "power": power,
        "shrinkage": shrinkage,
        "seed": seed,
    }
    changes = {"calibration": calibration, "results": results, "date": date}
    return seal_whitened(sealed, whitening=found, told=told, changes=changes, output=output)


def window_vectors(
    corpora: Sequence[LevelCorpus],
    *,
    sealed: Sealed,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Array]:
    """Compute the network's vectors of each recording's windows.

    Parameters
    ----------
    corpora : sequence of LevelCorpus
        The recordings.
    sealed : Sealed
        Weights without a whitening.
    seed : int
        Of the dither, together with the recording's place in its archive.
    progress : callable, optional
        Called with (done, total) recordings.

    Yields
    ------
    float32 [windows, dimensions]
        One recording's; rows of unit length.
    """
    places = [(number, index) for number, each in enumerate(corpora) for index in each.recordings.tolist()]
    for done, (number, index) in enumerate(places, 1):
        generator = np.random.default_rng([seed, number, index])
        yield embed_windows(corpora[number].columns(index, generator=generator), sealed=sealed)
        if progress:
            progress(done, len(places))


def seal_whitened(
    sealed: Sealed, *, whitening: Whitening, told: dict[str, Any], changes: dict[str, Any], output: Path
) -> str:
    """Write weights with a whitening.

    Parameters
    ----------
    sealed : Sealed
        The network and its metadata.
    whitening : Whitening
        To seal in.
    told : dict
        The whitening's entry in the metadata.
    changes : dict
        New `calibration`, `results` and `date` of the metadata; None keeps the old entry.
    output : Path
        The file to write.

    Returns
    -------
    str
        Its fingerprint.
    """
    training = {**json.loads(sealed.metadata.get("training", "{}")), "whitening": told}
    kept = {name: sealed.metadata[name] for name in KEPT if name in sealed.metadata}
    given = {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in changes.items()
        if value is not None
    }
    tensors = {
        **tensors_of(sealed.network),
        "whitening.mean": torch.from_numpy(whitening.mean),
        "whitening.projection": torch.from_numpy(whitening.projection),
    }
    return weights.save(
        tensors,
        front_end=sealed.front_end,
        settings=sealed.settings,
        metadata={**kept, **given, "training": json.dumps(training, sort_keys=True)},
        path=output,
    )
