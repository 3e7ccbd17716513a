"""The training loop: batches to a trained network, resumable, with a log that can be plotted.

Learning rate: linear warm-up, constant, linear decay over the last `decay_steps` ("warm-up, stable, decay"),
so that a run can be made longer by resuming with more steps. An exponential moving average of the weights
is kept, validated, and sealed at the end.
"""

import copy
import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mirex import weights
from mirex.errors import TrainingError
from mirex.network import TwoViewNetwork, tensors_of
from mirex.training import losses
from mirex.training.batches import Batch, BatchMaker, stream
from mirex.training.checkpoint import load_checkpoint, save_checkpoint
from mirex.training.validation import ValidationSet, embed_clips, mean_average_precision


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """steps: length of the run, the last decay_steps with falling rate. Weights of loss terms as named."""

    steps: int = 3000
    decay_steps: int = 600
    warmup_steps: int = 100
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    average_decay: float = 0.998
    classification_weight: float = 0.3
    triplet_weight: float = 0.3
    center_weight: float = 5e-4
    contrastive_weight: float = 1.0
    validate_every: int = 200
    checkpoint_every: int = 100
    seed: int = 1


class Trainer:
    """Network, loss modules, optimiser and moving average, which make one checkpoint together."""

    def __init__(
        self, works: int, *, settings: LoopSettings, embedding_size: int = 2048, device: str = "cpu"
    ) -> None:
        generator = torch.Generator().manual_seed(settings.seed)
        self.settings = settings
        self.device = device
        network = TwoViewNetwork(embedding_size=embedding_size, generator=generator)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.classifier = losses.CosineClassifier(works, size=embedding_size, generator=generator).to(device)
        self.centers = losses.Centers(works, size=embedding_size).to(device)
        self.parameters = {
            f"{part}.{name}": parameter
            for part, module in (("network", self.network), ("classifier", self.classifier))
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        groups = _groups(self.parameters, settings.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, fused=True)
        self.step = 0

    def modules(self) -> dict[str, nn.Module]:
        """The parts of a checkpoint by name."""
        return {
            "network": self.network,
            "average": self.average,
            "classifier": self.classifier,
            "centers": self.centers,
        }

    def save(self, path: Path, *, metadata: dict[str, Any]) -> None:
        """Write a checkpoint."""
        save_checkpoint(
            self.modules(),
            optimiser=self.optimiser,
            parameters=self.parameters,
            metadata=metadata | {"step": self.step},
            path=path,
        )

    def load(self, path: Path) -> dict[str, Any]:
        """Go on from a checkpoint; returns its metadata."""
        metadata = load_checkpoint(
            self.modules(), optimiser=self.optimiser, parameters=self.parameters, path=path
        )
        self.step = int(metadata["step"])
        return metadata

    def start_from(self, path: Path) -> dict[str, Any]:
        """Take network and average from sealed weights; returns what they are, for the metadata.

        Raises TrainingError for weights of another width.
        """
        sealed = weights.load(path, device=self.device)
        width, wanted = sealed.settings.embedding_size, self.network.cqt.neck.num_features
        if width != wanted:
            raise TrainingError(f"{path}: weights of {width} dimensions cannot begin a network of {wanted}")
        state = sealed.network.state_dict()
        self.network.load_state_dict(state)
        self.average.load_state_dict(state)
        return {"fingerprint": sealed.fingerprint, "training": json.loads(sealed.metadata["training"])}

    @torch.no_grad()
    def imprint(self, batches: Iterable[Batch]) -> None:
        """Set classifier and centers by what the network makes of these batches (Qi et al., CVPR 2018)."""
        self.average.eval()
        for batch in batches:
            cqt, chroma = (self._input(views) for views in (batch.cqt, batch.chroma))
            labels = torch.from_numpy(batch.labels).to(self.device)
            with torch.autocast(device_type=self.device, dtype=torch.bfloat16):
                pooled, embedding = self.average(cqt, chroma)
            self.classifier.imprint(embedding, labels)
            self.centers.imprint(pooled, labels)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step; returns the terms of the loss."""
        cqt, chroma = (self._input(views) for views in (batch.cqt, batch.chroma))
        labels = torch.from_numpy(batch.labels).to(self.device)
        recordings = torch.from_numpy(batch.recordings).to(self.device)
        sources = torch.from_numpy(batch.sources).to(self.device)
        chosen = losses.pairs(labels, recordings, sources)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, settings=self.settings)
        self.network.train()
        with torch.autocast(device_type=self.device, dtype=torch.bfloat16):
            pooled, embedding = self.network(cqt, chroma)
            logits = self.classifier(embedding)
        terms = self._terms(pooled.float(), embedding.float(), logits, labels, chosen)
        total = self._weighted(terms)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        lay_out_gradients(self.parameters.values())
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip_norm)
        self.optimiser.step()
        self.centers.update(pooled, labels)
        self._update_average()
        self.step += 1
        values = {name: float(term.detach()) for name, term in terms.items()}
        return values | {"total": float(total.detach()), "gradient_norm": float(norm)}

    def _input(self, views: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(views).to(self.device).contiguous(memory_format=torch.channels_last)

    def _terms(
        self, pooled: Tensor, embedding: Tensor, logits: Tensor, labels: Tensor, chosen: losses.Pairs
    ) -> dict[str, Tensor]:
        return {
            "classification": losses.classification(logits, labels),
            "triplet": losses.batch_hard_triplet(pooled, chosen),
            "center": self.centers(pooled, labels),
            "contrastive": losses.supervised_contrastive(embedding, chosen),
        }

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        shares = dataclasses.asdict(self.settings)
        return torch.stack([shares[f"{name}_weight"] * term for name, term in terms.items()]).sum()

    @torch.no_grad()
    def _update_average(self) -> None:
        # Young averages follow faster, so that they are worth validating from the start.
        decay = min(self.settings.average_decay, (1 + self.step) / (10 + self.step))
        for mine, theirs in zip(
            tensors_of(self.average).values(), tensors_of(self.network).values(), strict=True
        ):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def learning_rate(step: int, *, settings: LoopSettings) -> float:
    """Rate of this step: warm-up, constant, decay to zero."""
    warm = (step + 1) / max(settings.warmup_steps, 1)
    cool = (settings.steps - step) / max(settings.decay_steps, 1)
    return settings.learning_rate * max(min(1.0, warm, cool), 0.0)


def train(
    trainer: Trainer,
    *,
    make_batches: Callable[[], BatchMaker],
    validation: dict[str, ValidationSet],
    folder: Path,
    metadata: dict[str, Any],
    processes: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Run to settings.steps; checkpoints `checkpoint.safetensors` and `log.jsonl` lie in `folder`.

    metadata: goes into every checkpoint (recipe, data), for `mirex seal`.
    """
    settings = trainer.settings
    began, samples = time.monotonic(), 0
    for step, batch in stream(make_batches, first=trainer.step, last=settings.steps, processes=processes):
        entry: dict[str, Any] = {"step": step, **trainer.train_step(batch)}
        samples += len(batch.labels)
        entry["samples_per_second"] = samples / (time.monotonic() - began)
        done = step + 1
        if done % settings.validate_every == 0 or done == settings.steps:
            entry["validation"] = validate(trainer, validation)
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            trainer.save(folder / "checkpoint.safetensors", metadata=metadata)
        _log(folder / "log.jsonl", entry)
        if done % 20 == 0 or "validation" in entry:
            report(_line(entry))


def validate(trainer: Trainer, validation: dict[str, ValidationSet]) -> dict[str, float]:
    """mAP of the averaged weights on each set."""
    return {
        name: mean_average_precision(_embed(trainer, found), found.labels)
        for name, found in validation.items()
    }


def _embed(trainer: Trainer, found: ValidationSet) -> NDArray[np.float32]:
    network = trainer.average.chroma if found.folded else trainer.average.cqt
    return embed_clips(network, found.clips, device=trainer.device)


def _groups(parameters: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only, not for norms and biases."""
    decayed = [p for p in parameters.values() if p.dim() > 1]
    plain = [p for p in parameters.values() if p.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def lay_out_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give each gradient its parameter's strides.

    The fused optimiser goes through both as they lie in memory, without a check (torch 2.13, on the CPU).
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.stride() != parameter.stride():
            parameter.grad = torch.empty_like(parameter).copy_(gradient)


def _log(path: Path, entry: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _line(entry: dict[str, Any]) -> str:
    terms = " ".join(f"{k} {v:.3f}" for k, v in entry.items() if isinstance(v, float) and np.isfinite(v))
    maps = " ".join(f"{k} {v:.3f}" for k, v in entry.get("validation", {}).items())
    return f"step {entry['step'] + 1}: {terms}" + (f" | mAP {maps}" if maps else "")
