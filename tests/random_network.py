"""Networks with random weights: what a test needs when it does not matter what was learned."""

import copy
import functools
from pathlib import Path

import torch

from mirex.model import weights
from mirex.model.network import ResNet50IBN, TwoViewNetwork, tensors_of
from mirex.model.weights import Sealed
from mirex.settings import FrontEndSettings, NetworkSettings


def random_network(*, seed: int = 0) -> ResNet50IBN:
    """The network of the CQT view of `random_views`."""
    return random_views(seed=seed).cqt


def random_state(*, seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of `random_views`, as they are sealed."""
    return tensors_of(random_views(seed=seed))


def random_views(*, seed: int = 0, embedding_size: int = 2048) -> TwoViewNetwork:
    """A network in evaluation mode, every part of which has a say.

    As initialised the residual branches are switched off and the norms' statistics are empty; here
    the branches are on, and some batches of noise have passed.
    """
    return copy.deepcopy(_random_views(seed, embedding_size))


@functools.cache
def _random_views(seed: int, embedding_size: int) -> TwoViewNetwork:
    generator = torch.Generator().manual_seed(seed)
    network = TwoViewNetwork(embedding_size=embedding_size, generator=generator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("norm3.weight"):
                parameter.fill_(0.5)
        for _ in range(3):
            network(*(torch.rand(4, 1, bins, 16, generator=generator) for bins in (84, 36)))
    return network.eval().requires_grad_(False)


def random_sealed(*, settings: NetworkSettings | None = None, seed: int = 0) -> Sealed:
    """The same, as `mirex.model.weights.load` would give it."""
    settings = settings or NetworkSettings()
    views = random_views(seed=seed, embedding_size=settings.embedding_size)
    return Sealed(views, FrontEndSettings(), settings, {}, "random")


def save_random(path: Path, *, seed: int = 0, half: bool = True) -> str:
    """Seal it into a file; returns the fingerprint."""
    return weights.save(
        random_state(seed=seed),
        front_end=FrontEndSettings(),
        settings=NetworkSettings(),
        metadata={"licence": "none", "date": "2025-01-01"},
        path=path,
        half=half,
    )
