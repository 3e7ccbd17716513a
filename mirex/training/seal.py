"""Sealing: a checkpoint's averaged weights to the weights file of record."""

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from mirex.errors import TrainingError
from mirex.model import weights
from mirex.model.network import tensors_of
from mirex.settings import FrontEndSettings, NetworkSettings
from mirex.training.checkpoint import read_metadata

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
    date: str | None = None,
    half: bool = True,
) -> str:
    """Write the moving average of a checkpoint as sealed weights; returns their fingerprint.

    results, calibration: go into the metadata as JSON. chroma_weight: of the folded view in the embedding;
    None: the recipe's. Training does not depend on it. start: the weights that the run started from, of
    which start_share is mixed into every tensor: the mean of weights before and after further training often
    generalises better than either (Wortsman et al., CVPR 2022). date: ISO, today if None. Raises
    TrainingError for a negative weight, a share outside [0, 1) or another start, SettingsMismatch for a
    checkpoint of a version with other settings.
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
        metadata["calibration"] = json.dumps(calibration, sort_keys=True)
    with safe_open(checkpoint, framework="pt") as file:
        prefix = "average/"
        tensors = {n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if n.startswith(prefix)}  # noqa: SIM118
    if start is not None or start_share != 0:
        tensors = _mixed(tensors, start=start, share=start_share, origin=found.get("started_from"))
    settings = NetworkSettings.from_json(json.dumps(recipe["network"]))
    if chroma_weight is not None:
        if not chroma_weight >= 0:
            raise TrainingError(f"weight of the folded view {chroma_weight}: give 0 or more")
        settings = dataclasses.replace(settings, chroma_weight=chroma_weight)
    return weights.save(
        tensors, front_end=FrontEndSettings(), settings=settings, metadata=metadata, path=path, half=half
    )


def _mixed(
    tensors: dict[str, Tensor], *, start: Path | None, share: float, origin: dict[str, Any] | None
) -> dict[str, Tensor]:
    """Tensors with so large a share of those of the start; counters are left as they are."""
    if not 0 <= share < 1:
        raise TrainingError(f"share of the start {share}: give 0 or more, less than 1")
    if start is None:
        raise TrainingError(f"share of the start {share}, but no start: give the weights of the start, too")
    sealed = weights.load(start)
    wanted = origin["fingerprint"] if origin else "nothing"
    if sealed.fingerprint != wanted:
        raise TrainingError(f"{start}: weights {sealed.fingerprint}, but the run started from {wanted}")
    before = tensors_of(sealed.network)
    return {
        name: value.lerp(before[name], share) if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def _samples(phases: list[dict[str, Any]]) -> int:
    """Training samples seen, echoes and what `multiple` left out included; the batch may have changed."""
    total, begun = 0, 0
    for phase in phases:
        batch = phase["recipe"]["batch"]
        total += (phase["until_step"] - begun) * sum(batch["works"]) * batch["versions"]
        begun = phase["until_step"]
    return total
