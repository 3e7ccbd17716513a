"""Networks with random weights: what a test needs when it does not matter what was learned."""

import copy
import functools
from pathlib import Path

import torch

from mirex import weights
from mirex.network import ResNet50IBN
from mirex.settings import FrontEndSettings, NetworkSettings
from mirex.weights import Sealed


def random_network(*, seed: int = 0) -> ResNet50IBN:
    """A network in evaluation mode, every part of which has a say.

    As initialised the residual branches are switched off and the norms' statistics are empty; here
    the branches are on, and some batches of noise have passed.
    """
    return copy.deepcopy(_random_network(seed))


@functools.cache
def _random_network(seed: int) -> ResNet50IBN:
    generator = torch.Generator().manual_seed(seed)
    network = ResNet50IBN(generator=generator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("norm3.weight"):
                parameter.fill_(0.5)
        for _ in range(3):
            network(torch.rand(4, 1, 84, 16, generator=generator))
    return network.eval().requires_grad_(False)


def random_sealed(*, settings: NetworkSettings | None = None, seed: int = 0) -> Sealed:
    """The same, as `mirex.weights.load` would give it."""
    return Sealed(random_network(seed=seed), FrontEndSettings(), settings or NetworkSettings(), {}, "random")


def save_random(path: Path, *, seed: int = 0, half: bool = True) -> str:
    """Seal it into a file; returns the fingerprint."""
    return weights.save(
        random_network(seed=seed).state_dict(),
        front_end=FrontEndSettings(),
        settings=NetworkSettings(),
        metadata={"licence": "none", "date": "2025-01-01"},
        path=path,
        half=half,
    )
