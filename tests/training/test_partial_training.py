"""Training a part of the network: frozen stages, and a classifier that counts for nothing."""

import numpy as np
import pytest
import torch

from mirex.model.network import tensors_of
from mirex.training.batches import Batch
from mirex.training.loop import Trainer
from mirex.training.precision import half_precision
from mirex.training.settings import LoopSettings


def _settings(**changes):
    return LoopSettings(steps=4, decay_steps=2, warmup_steps=1, center_weight=0.0, **changes)


@pytest.fixture
def batch(rng):
    cqt = torch.from_numpy(rng.random((6, 1, 84, 24), dtype=np.float32))
    chroma = torch.from_numpy(rng.random((4, 1, 36, 24), dtype=np.float32))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 0, 1, 1])
    return Batch(cqt, chroma, labels, torch.arange(10), torch.zeros(10, dtype=torch.int64))


def _moved(trainer, before):
    """Names of the tensors that have changed, without the counters."""
    now = tensors_of(trainer)
    floating = [name for name in now if now[name].is_floating_point()]
    return {name for name in floating if not torch.equal(now[name], before[name])}


def _copy(module):
    return {name: tensor.clone() for name, tensor in tensors_of(module).items()}


@pytest.mark.parametrize("frozen", [0, 2])
def test_frozen_stages_keep_weights_and_statistics(batch, frozen):
    trainer = Trainer(3, settings=_settings(frozen_stages=frozen), embedding_size=64)
    network, average = _copy(trainer.network), _copy(trainer.average)
    for _ in range(2):
        trainer.train_step(batch)
    trainer.renew_statistics([batch])
    first = ("stem.", "stages.0.", "stages.1.")
    for moved in (_moved(trainer.network, network), _moved(trainer.average, average)):
        within = {name for name in moved if name.partition(".")[2].startswith(first)}
        assert bool(within) == (frozen == 0)
        assert {"cqt.stages.2.0.conv1.weight", "cqt.stages.3.2.norm3.running_mean", "cqt.pool.p"} <= moved
        assert "chroma.stages.2.0.norm2.running_var" in moved


def test_what_is_frozen_is_computed_with_its_running_statistics(batch):
    trainer = Trainer(3, settings=_settings(frozen_stages=1), embedding_size=64)
    outputs = []
    trainer.network.cqt.stages[0].register_forward_hook(lambda *call: outputs.append(call[2].detach()))
    trainer.train_step(batch)
    trainer.network.eval()
    with torch.no_grad(), half_precision("cpu"):
        expected = trainer.network.cqt.stages[0](trainer.network.cqt.stem(batch.cqt))
    torch.testing.assert_close(outputs[0], expected, rtol=1e-2, atol=1e-2)


def test_a_classifier_that_counts_for_nothing_is_neither_computed_nor_changed(batch, tmp_path):
    first, second = (
        Trainer(3, settings=_settings(classification_weight=0.0), embedding_size=64) for _ in range(2)
    )
    before = first.classifier.weight.clone()
    assert "classification" not in first.train_step(batch)
    assert torch.equal(first.classifier.weight, before)
    first.save(tmp_path / "checkpoint.safetensors", metadata={})
    second.load(tmp_path / "checkpoint.safetensors")
    first.train_step(batch)
    second.train_step(batch)
    for name, tensor in tensors_of(first.average).items():
        assert torch.equal(tensors_of(second.average)[name], tensor), name


@pytest.mark.parametrize("steps", [1, 5, 8, 16])
def test_half_precision_is_close_for_the_shortest_crops(rng, steps):
    network = Trainer(3, settings=_settings(), embedding_size=256).average.cqt.eval()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(norm.weight)  # a fresh block's last norm is 0
    x = torch.from_numpy(rng.random((4, 1, 84, steps), dtype=np.float32))
    with torch.no_grad():
        # What earlier tensors left in memory must not matter.
        junk = [torch.full((size,), float("nan")) for size in (1000, 10_000, 100_000, 1_000_000)]
        del junk
        with half_precision("cpu"):
            found = network(x.contiguous(memory_format=torch.channels_last))[1].float()
        expected = network(x)[1]
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.99
