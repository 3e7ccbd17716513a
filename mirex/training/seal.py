"""Sealing: the averaged weights of a checkpoint to a weights file."""

import dataclasses
import datetime
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mirex.errors import TrainingError
from mirex.model import weights
from mirex.model.network import TwoViewNetwork, tensors_of
from mirex.retrieval.calibration import METADATA_KEY, from_metadata
from mirex.settings import FrontEndSettings, NetworkSettings
from mirex.training.batches import Batch
from mirex.training.checkpoint import read_metadata
from mirex.training.statistics import renew_statistics

LICENCE = "AGPL-3.0-or-later"


def seal(
    checkpoint: Path,
    *,
    path: Path,
    results: dict[str, Any] | None = None,
    calibration: dict[str, Any] | None = None,
    chroma_weight: float | None = None,
    start: Path | None = None,
    start_share: float = 0.0,
    batches: Iterable[Batch] = (),
    date: str | None = None,
    half: bool = True,
) -> str:
    """Write the moving average of a checkpoint as sealed weights.

    Weights before and after further training, averaged, often generalise better than either (Wortsman et al.,
    "Robust fine-tuning of zero-shot models", CVPR 2022).

    Parameters
    ----------
    checkpoint : Path
        Of a training run.
    path : Path
        The weights file to write; it appears whole.
    results, calibration : dict, optional
        For the metadata, as JSON.
    chroma_weight : float, optional
        Of the folded view in the embedding; the recipe's by default. Training does not depend on it.
    start : Path, optional
        The weights that the run started from, to average with those of the run.
    start_share : float
        Their share in every tensor, in [0, 1).
    batches : iterable of Batch
        Training batches for recomputing the BatchNorm statistics after averaging; needed if
        `start_share` is above 0.
    date : str, optional
        ISO; today by default.
    half : bool
        Store large tensors as float16, not float32.

    Returns
    -------
    str
        The fingerprint of the weights.

    Raises
    ------
    TrainingError
        If the file is not a checkpoint, the weight is negative or not finite, the share is out of range, the
        run started from other weights, or averaging lacks batches.
    WeightsError
        If the calibration cannot be read, or the file cannot be written.
    SettingsMismatch
        If the checkpoint was made by a version with other settings.
    """
    found = read_metadata(checkpoint)
    recipe = found["recipe"]
    phases = [*found.get("history", []), {"recipe": recipe, "until_step": found["step"]}]
    training = {
        "data": found["data"],
        "works": found["works"],
        "recipe": recipe,
        "history": phases[:-1],
        "started_from": found.get("started_from"),
        "start_share": start_share,
        "steps": found["step"],
        "samples": _samples(phases),
    }
    metadata = {
        "training": json.dumps(training, sort_keys=True),
        "results": json.dumps(results or {}, sort_keys=True),
        "date": date or datetime.date.today().isoformat(),
        "licence": LICENCE,
    }
    if calibration is not None:
        metadata[METADATA_KEY] = json.dumps(calibration, sort_keys=True)
        from_metadata(metadata)  # otherwise only whoever uses the weights would find out
    with safe_open(checkpoint, framework="pt") as file:
        prefix = "average/"
        tensors = {n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if n.startswith(prefix)}  # noqa: SIM118
    if start is not None or start_share != 0:
        tensors = _mixed(tensors, start=start, share=start_share, origin=found.get("started_from"))
    if start_share > 0:
        tensors = _with_new_statistics(tensors, recipe, batches)
    settings = NetworkSettings.from_json(json.dumps(recipe["network"]))
    if chroma_weight is not None:
        if not 0 <= chroma_weight < math.inf:
            raise TrainingError(
                f"weight of the folded view {chroma_weight}: give a finite number of 0 or more"
            )
        settings = dataclasses.replace(settings, chroma_weight=chroma_weight)
    return weights.save(
        tensors, front_end=FrontEndSettings(), settings=settings, metadata=metadata, path=path, half=half
    )


def _mixed(
    tensors: dict[str, Tensor], *, start: Path | None, share: float, origin: dict[str, Any] | None
) -> dict[str, Tensor]:
    """Tensors with this share of the start's mixed in; counters are left as they are."""
    if not 0 <= share < 1:
        raise TrainingError(f"share of the start {share}: give 0 or more, below 1")
    if start is None:
        raise TrainingError(f"share of the start {share}, but no start: also give the weights of the start")
    sealed = weights.load(start)
    wanted = origin["fingerprint"] if origin else "nothing"
    if sealed.fingerprint != wanted:
        raise TrainingError(f"{start}: weights {sealed.fingerprint}, but the run started from {wanted}")
    before = tensors_of(sealed.network)
    return {
        name: value.lerp(before[name], share) if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def _with_new_statistics(
    tensors: dict[str, Tensor], recipe: dict[str, Any], batches: Iterable[Batch]
) -> dict[str, Tensor]:
    """Recompute the statistics of what was trained: the mean of two networks' statistics is meaningless."""
    views = [(batch.cqt, batch.chroma) for batch in batches]
    if not views:
        raise TrainingError(
            "averaged weights need training batches to recompute the BatchNorm statistics; give the run's "
            "data"
        )
    network = TwoViewNetwork(
        embedding_size=recipe["network"]["embedding_size"], generator=torch.Generator()
    )
    network.load_state_dict(tensors, strict=False)
    # Older recipes do not have the option.
    kept = network.first_stages(recipe["loop"].get("frozen_stages", 0))
    renew_statistics(network, views, device="cpu", kept=kept)
    return tensors_of(network)


def _samples(phases: list[dict[str, Any]]) -> int:
    """Training samples seen, with echoes and those that `multiple` dropped; the batch may have changed."""
    total, begun = 0, 0
    for phase in phases:
        batch = phase["recipe"]["batch"]
        total += (phase["until_step"] - begun) * sum(batch["works"]) * batch["versions"]
        begun = phase["until_step"]
    return total
