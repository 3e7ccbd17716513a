"""The training loop: batches to a trained network, resumable, with a log that can be plotted.

Learning rate: linear warm-up, constant, linear decay over the last `decay_steps` ("warm-up, stable, decay"),
so that a run can be extended by resuming it with more steps. An exponential moving average of the weights
is kept, validated, and sealed at the end.
"""

import copy
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mirex.errors import TrainingError
from mirex.model import weights
from mirex.model.network import TwoViewNetwork, tensors_of
from mirex.training import losses
from mirex.training.batches import Batch
from mirex.training.checkpoint import load_checkpoint, save_checkpoint
from mirex.training.echoes import shifted
from mirex.training.precision import half_precision
from mirex.training.settings import LoopSettings
from mirex.training.statistics import renew_statistics
from mirex.training.validation import RecordingSet, ValidationSet


class Trainer:
    """Network, loss modules, optimiser and moving average, which together make one checkpoint.

    Parameters
    ----------
    works : int
        Classes of the classifier.
    settings : LoopSettings
        Of the loop and the losses.
    embedding_size : int
        Width of the network; a multiple of 64.
    device : str
        Torch device.
    """

    def __init__(
        self, works: int, *, settings: LoopSettings, embedding_size: int = 2048, device: str = "cpu"
    ) -> None:
        generator = torch.Generator().manual_seed(settings.seed)
        self.settings = settings
        self.device = device
        network = TwoViewNetwork(embedding_size=embedding_size, generator=generator)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in self.network.first_stages(settings.frozen_stages):
            part.requires_grad_(False)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.classifier = losses.CosineClassifier(works, size=embedding_size, generator=generator).to(device)
        self.centers = losses.Centers(works, size=embedding_size).to(device)
        # Each step passes over the whole classifier, which is as large as the network or larger.
        self.classifies = settings.classification_weight > 0
        self.classifier.requires_grad_(self.classifies)
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
        """Name the parts of a checkpoint.

        Returns
        -------
        dict of str to Module
        """
        return {
            "network": self.network,
            "average": self.average,
            "classifier": self.classifier,
            "centers": self.centers,
        }

    def save(self, path: Path, *, metadata: dict[str, Any]) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        path : Path
            The file to write.
        metadata : dict
            Kept with the step.

        Raises
        ------
        TrainingError
            If it cannot be written.
        """
        save_checkpoint(
            self.modules(),
            optimiser=self.optimiser,
            parameters=self.parameters,
            metadata=metadata | {"step": self.step},
            path=path,
        )

    def load(self, path: Path) -> dict[str, Any]:
        """Continue from a checkpoint.

        Parameters
        ----------
        path : Path
            The checkpoint.

        Returns
        -------
        dict
            Its metadata.

        Raises
        ------
        TrainingError
            If the file is not a checkpoint, or does not fit.
        """
        metadata = load_checkpoint(
            self.modules(), optimiser=self.optimiser, parameters=self.parameters, path=path
        )
        self.step = int(metadata["step"])
        return metadata

    def start_from(self, path: Path) -> dict[str, Any]:
        """Start network and average from sealed weights.

        Parameters
        ----------
        path : Path
            The weights.

        Returns
        -------
        dict
            Their fingerprint and training, for the metadata.

        Raises
        ------
        TrainingError
            If the weights have another width.
        WeightsError
            If the file is missing or damaged.
        """
        sealed = weights.load(path, device=self.device)
        width, wanted = sealed.settings.embedding_size, self.network.cqt.neck.num_features
        if width != wanted:
            raise TrainingError(f"{path}: the weights have {width} dimensions, the network {wanted}")
        state = sealed.network.state_dict()
        self.network.load_state_dict(state)
        self.average.load_state_dict(state)
        return {"fingerprint": sealed.fingerprint, "training": json.loads(sealed.metadata["training"])}

    @torch.no_grad()
    def imprint(self, batches: Iterable[Batch]) -> None:
        """Set classifier and centers from the network's outputs for these batches (Qi et al., CVPR 2018).

        Parameters
        ----------
        batches : iterable of Batch
            Of a work in several batches, the last one counts.
        """
        self.average.eval()
        for batch in batches:
            cqt, chroma, labels, *_ = self._on_device(batch)
            with half_precision(self.device):
                pooled, embedding = self.average(cqt, chroma)
            self.classifier.imprint(embedding, labels)
            self.centers.imprint(pooled, labels)

    def renew_statistics(self, batches: Iterable[Batch]) -> None:
        """Recompute the BatchNorm statistics of the averaged weights.

        Parameters
        ----------
        batches : iterable of Batch
            To compute them from.
        """
        views = ((batch.cqt, batch.chroma) for batch in map(self._on_device, batches))
        kept = self.average.first_stages(self.settings.frozen_stages)
        renew_statistics(self.average, views, device=self.device, kept=kept)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch.

        Parameters
        ----------
        batch : Batch
            Of `mirex.training.batches`.

        Returns
        -------
        dict of str to float []
            The terms of the loss, their weighted sum and the gradient's norm. A GPU may still be computing
            them.
        """
        cqt, chroma, labels, recordings, sources, _, families = self._on_device(batch)
        chosen = losses.pairs(labels, recordings, sources, families)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, settings=self.settings)
        self.network.train()
        for part in self.network.first_stages(self.settings.frozen_stages):
            part.eval()
        with half_precision(self.device):
            pooled, embedding = self.network(cqt, chroma)
            logits = self.classifier(embedding) if self.classifies else None
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
        values = terms | {"total": total, "gradient_norm": norm}
        return {name: value.detach() for name, value in values.items()}

    def _on_device(self, batch: Batch) -> Batch:
        tensors = {name: tensor for name, tensor in batch._asdict().items() if tensor is not None}
        there = {name: tensor.to(self.device, non_blocking=True) for name, tensor in tensors.items()}
        count = len(batch.cqt)
        if batch.semitones is not None:
            there["cqt"] = shifted(there["cqt"], there["semitones"][:count], folded=False)
            there["chroma"] = shifted(there["chroma"], there["semitones"][count:], folded=True)
        for name in ("cqt", "chroma"):
            there[name] = there[name].contiguous(memory_format=torch.channels_last)
        return Batch(**there)

    def _terms(
        self,
        pooled: Tensor,
        embedding: Tensor,
        logits: Tensor | None,
        labels: Tensor,
        chosen: losses.Pairs,
    ) -> dict[str, Tensor]:
        classified = {} if logits is None else {"classification": losses.classification(logits, labels)}
        return classified | {
            "triplet": self._triplet(pooled, embedding, chosen),
            "center": self.centers(pooled, labels),
            "contrastive": losses.supervised_contrastive(embedding, chosen),
        }

    def _triplet(self, pooled: Tensor, embedding: Tensor, chosen: losses.Pairs) -> Tensor:
        kind, margin = self.settings.triplet_features, self.settings.triplet_margin
        features = embedding if kind == "embedding" else pooled
        return losses.batch_hard_triplet(features, chosen, margin=margin, unit_length=kind != "pooled")

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        shares = dataclasses.asdict(self.settings)
        return torch.stack([shares[f"{name}_weight"] * term for name, term in terms.items()]).sum()

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early averages adapt faster, so that they are worth validating from the start.
        decay = min(self.settings.average_decay, (1 + self.step) / (10 + self.step))
        mine, theirs = (tensors_of(module) for module in (self.average, self.network))
        floating = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        update = get_ema_multi_avg_fn(decay)
        update([mine[name] for name in floating], [theirs[name] for name in floating], None)
        for name in mine.keys() - floating:
            mine[name].copy_(theirs[name])


def learning_rate(step: int, *, settings: LoopSettings) -> float:
    """Learning rate of a step: warm-up, constant, decay to zero.

    Parameters
    ----------
    step : int
        From 0.
    settings : LoopSettings
        Of the loop.

    Returns
    -------
    float
    """
    warm = (step + 1) / max(settings.warmup_steps, 1)
    cool = (settings.steps - step) / max(settings.decay_steps, 1)
    return settings.learning_rate * max(min(1.0, warm, cool), 0.0)


def train(
    trainer: Trainer,
    *,
    batches: Iterator[Batch],
    validation: Mapping[str, ValidationSet | RecordingSet],
    folder: Path,
    metadata: dict[str, Any],
    report: Callable[[str], None] = print,
    deadline: float = math.inf,
) -> None:
    """Train up to `settings.steps`, with `checkpoint.safetensors` and `log.jsonl` in `folder`.

    Parameters
    ----------
    trainer : Trainer
        At its current step.
    batches : iterator of Batch
        Those of the steps from `trainer.step` on, followed by `settings.statistics_batches` more.
    validation : dict of str to ValidationSet
        The sets, by name.
    folder : Path
        Of checkpoint and log.
    metadata : dict
        Goes into every checkpoint (recipe, data), for `mirex seal`.
    report : callable
        Called with a line of progress.
    deadline : float
        On the clock of `time.monotonic`. After it the run stops with a checkpoint, to be resumed later.

    Raises
    ------
    TrainingError
        If the checkpoint or the log cannot be written, or the loss is no longer finite; the last
        checkpoint is then from before.
    """
    settings = trainer.settings
    began, samples = time.monotonic(), 0
    unwritten: list[dict[str, Any]] = []
    for step in range(trainer.step, settings.steps):
        batch = next(batches)
        entry: dict[str, Any] = {"step": step, **trainer.train_step(batch)}
        samples += len(batch.labels)
        entry["samples_per_second"] = samples / (time.monotonic() - began)
        unwritten.append(entry)
        done = step + 1
        if done == settings.steps and settings.statistics_batches:
            trainer.renew_statistics(itertools.islice(batches, settings.statistics_batches))
        if settings.validate_every and (done % settings.validate_every == 0 or done == settings.steps):
            entry["validation"] = validate(trainer, validation)
        late = time.monotonic() > deadline
        saving = late or done % settings.checkpoint_every == 0 or done == settings.steps
        # Reading a value waits for the GPU, so do not do it after every step.
        if done % 20 == 0 or saving or "validation" in entry:
            written = [_values(each) for each in unwritten]
            _log(folder / "log.jsonl", written)
            _check_finite(written, checkpoint=folder / "checkpoint.safetensors")
            report(_line(written[-1]))
            unwritten.clear()
        if saving:
            trainer.save(folder / "checkpoint.safetensors", metadata=metadata)
        if late:
            break


def validate(trainer: Trainer, validation: Mapping[str, ValidationSet | RecordingSet]) -> dict[str, float]:
    """Mean average precision of the averaged weights.

    Parameters
    ----------
    trainer : Trainer
    validation : mapping of str to ValidationSet or RecordingSet
        By name.

    Returns
    -------
    dict of str to float
        By name; a set of recordings has two figures.
    """
    return {
        name + kind: value
        for name, found in validation.items()
        for kind, value in found.average_precision(trainer.average, device=trainer.device).items()
    }


def _groups(parameters: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only, not for norms and biases."""
    decayed = [p for p in parameters.values() if p.dim() > 1]
    plain = [p for p in parameters.values() if p.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def lay_out_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give each gradient its parameter's strides.

    The fused optimiser passes over both in memory order, without a check (torch 2.13, on the CPU).

    Parameters
    ----------
    parameters : iterable of Parameter
        Changed in place; those without a gradient are skipped.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.stride() != parameter.stride():
            parameter.grad = torch.empty_like(parameter).copy_(gradient)


def _values(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: float(v) if isinstance(v, Tensor) else v for k, v in entry.items()}


def _log(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in entries)
    except OSError as error:
        raise TrainingError(f"{path}: the log cannot be written ({error.strerror})") from error


def _check_finite(entries: Iterable[dict[str, Any]], *, checkpoint: Path) -> None:
    for entry in entries:
        for name, value in entry.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} at step {entry['step'] + 1}, so nothing more can be learned; go on "
                    f"from the last {checkpoint}, if there is one, with a lower --learning-rate"
                )


def _line(entry: dict[str, Any]) -> str:
    terms = " ".join(f"{k} {v:.3f}" for k, v in entry.items() if isinstance(v, float))
    maps = " ".join(f"{k} {v:.3f}" for k, v in entry.get("validation", {}).items())
    return f"step {entry['step'] + 1}: {terms}" + (f" | mAP {maps}" if maps else "")
