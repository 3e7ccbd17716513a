"""Recomputing the BatchNorm statistics of averaged or mixed weights.

The mean of two networks' weights does not have the mean of their statistics. So the statistics are computed
from the activations of the averaged weights on training batches (Izmailov et al., "Averaging Weights Leads to
Wider Optima", UAI 2018, section 3.3).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mirex.model.network import TwoViewNetwork
from mirex.training.precision import half_precision

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def renew_statistics(
    network: TwoViewNetwork,
    views: Iterable[tuple[Tensor, Tensor]],
    *,
    device: str,
    kept: Sequence[nn.Module] = (),
) -> None:
    """Replace the running means and variances of a network with those over some batches.

    Parameters
    ----------
    network : TwoViewNetwork
        Changed in place; its mode, training or not, is restored.
    views : iterable of (Tensor, Tensor)
        Network input of the CQT view and of the chroma view, float [crops, 1, bins, steps] on the device. A
        view without any crops keeps its statistics.
    device : str
        As PyTorch names it.
    kept : sequence of Module
        Parts of the network that keep their statistics, and are used with them.
    """
    fixed = {id(module) for part in kept for module in part.modules()}
    norms = [module for module in network.modules() if isinstance(module, NORMS) and id(module) not in fixed]
    before = [
        (norm.momentum, norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms
    ]
    was_training = network.training
    for norm in norms:
        norm.momentum = None  # a mean over all batches with equal weight
        norm.running_mean, norm.running_var = (torch.zeros_like(_there(t)) for t in _running(norm))
        norm.num_batches_tracked = torch.zeros_like(_there(norm.num_batches_tracked))
    network.train()
    for part in kept:
        part.eval()
    for cqt, chroma in views:
        with half_precision(device):
            network(cqt, chroma)
    for norm, (momentum, mean, variance, tracked) in zip(norms, before, strict=True):
        norm.momentum = momentum
        met = bool(_there(norm.num_batches_tracked))
        new_mean, new_variance = _running(norm)
        norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, variance, tracked
        if met:
            _there(mean).copy_(_there(new_mean))
            _there(variance).copy_(_there(new_variance))
    network.train(was_training)


def _running(norm: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    assert isinstance(norm, NORMS)
    return norm.running_mean, norm.running_var


def _there(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor
