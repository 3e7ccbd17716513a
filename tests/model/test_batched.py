"""Batches over recordings: full, in order, taken as needed, and the same outputs."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mirex.model.batched import in_batches
from mirex.model.network import ResNet50IBN


class Watched(ResNet50IBN):
    """A narrow network that notes the batches it is given."""

    def __init__(self) -> None:
        super().__init__(embedding_size=64, generator=torch.Generator().manual_seed(0))
        self.batches: list[int] = []
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.batches.append(len(x))
        return super().forward(x)


@pytest.fixture
def network() -> Watched:
    return Watched()


def made(rng: np.random.Generator, *counts: int, steps: int = 16) -> list[np.ndarray]:
    return [rng.random((count, 84, steps), dtype=np.float32) for count in counts]


def assert_as_one_by_one(found: list[np.ndarray], recordings: list[np.ndarray], network: ResNet50IBN) -> None:
    assert [len(each) for each in found] == [len(each) for each in recordings]
    for each, windows in zip(found, recordings, strict=True):
        expected = network(torch.from_numpy(windows[:, None]))[1].numpy()
        np.testing.assert_allclose(each, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 4, 5, 100])
def test_outputs_are_those_of_each_recording_alone(network, rng, batch):
    recordings = made(rng, 3, 1, 7, 2, 5)
    found = list(in_batches(recordings, network=network, batch=batch))
    assert_as_one_by_one(found, recordings, network)


def test_batches_are_full_but_for_the_last(network, rng):
    list(in_batches(made(rng, 3, 1, 7, 2, 5), network=network, batch=4))
    assert network.batches == [4, 4, 4, 4, 2]


def test_windows_of_another_shape_begin_a_new_batch(network, rng):
    recordings = made(rng, 3) + made(rng, 2, steps=20) + made(rng, 2)
    found = list(in_batches(recordings, network=network, batch=8))
    assert network.batches == [3, 2, 2]
    assert_as_one_by_one(found, recordings, network)


def test_recordings_are_taken_as_they_are_needed(network, rng):
    taken = []

    def recordings() -> Iterator[np.ndarray]:
        for windows in made(rng, 4, 4, 4):
            taken.append(len(windows))
            yield windows

    results = in_batches(recordings(), network=network, batch=4)
    next(results)
    assert len(taken) == 1


def test_no_recordings_give_nothing(network):
    assert list(in_batches([], network=network)) == []
    assert network.batches == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(network, rng):
    recordings = made(rng, 3, 5, steps=96)
    expected = [network(torch.from_numpy(windows[:, None]))[1].numpy() for windows in recordings]
    found = list(in_batches(recordings, network=network.to("cuda"), batch=4))
    for each, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(each, other, atol=1e-3 * np.abs(other).max())
