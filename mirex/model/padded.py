"""Windows of different lengths in one batch: the network on padded input, every row as if it were alone.

Zeros to the right of a window change its vector: InstanceNorm and GeM would count them, and after the first
layer they are no longer zeros, so that convolutions would carry them into the window. Here the statistics
are those of the valid positions, and what lies beyond is set to zero before every layer that looks at
neighbours, where the plain pass has the layer's own padding. So a row equals the plain pass on its window,
within the rounding of float32.

A stride of 2 halves the valid length, rounding up, as it does the length of a window without padding.
1x1 convolutions and BatchNorm work position by position and need no mask.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mirex._typing import Array
from mirex.model.network import (
    Bottleneck,
    GeneralisedMean,
    InstanceBatchNorm,
    ResNet50IBN,
    dense_pool,
    summed_products,
)

LENGTH_STEP = 32
"""Windows are padded to a multiple of so many steps."""


def padded_length(steps: int) -> int:
    """Length to which a window is padded.

    Parameters
    ----------
    steps : int
        Its own length, 1 or more.

    Returns
    -------
    int
        The next multiple of LENGTH_STEP.

    Examples
    --------
    >>> [padded_length(steps) for steps in (1, 96, 97)]
    [32, 96, 128]
    """
    return -(-steps // LENGTH_STEP) * LENGTH_STEP


def blocks(windows: Sequence[Array], *, rows: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Put windows into batches of one fixed shape.

    Parameters
    ----------
    windows : sequence of float32 [bins, steps of the window]
        At least one; of one number of bins.
    rows : int
        Windows in a batch; the last batch is filled up with windows of zeros.
    steps : int
        Length of the batches: that of the longest window, or more.

    Yields
    ------
    x : float32 [rows, 1, bins, steps]
        Zeros to the right of each window.
    lengths : int64 [rows]
        Valid steps of each row.
    """
    for start in range(0, len(windows), rows):
        x = np.zeros((rows, 1, len(windows[0]), steps), np.float32)
        lengths = np.full(rows, steps)
        for row, window in enumerate(windows[start : start + rows]):
            lengths[row] = window.shape[1]
            x[row, 0, :, : lengths[row]] = window
        yield torch.from_numpy(x), torch.from_numpy(lengths)


def embedding(network: ResNet50IBN, x: Tensor, *, lengths: Tensor) -> Tensor:
    """Compute the embeddings of padded windows.

    Parameters
    ----------
    network : ResNet50IBN
        In evaluation mode.
    x : float32 [batch, 1, bins, steps]
        Zeros from each row's length on.
    lengths : int64 [batch]
        Valid steps of each row, 1 or more.

    Returns
    -------
    float32 [batch, embedding_size]
        As the network gives them for each window without its padding.
    """
    convolved, lengths = network.stem[:3](x), _halved(lengths)
    # The maximum over zeros is that over nothing, since no value is negative here.
    y, lengths = network.stem[3](_masked(convolved, lengths)), _halved(lengths)
    for block in network.stages.modules():
        if isinstance(block, Bottleneck):
            y, lengths = _bottleneck(block, y, lengths)
    return network.neck(_generalised_mean(network.pool, y, lengths))


def moments(network: ResNet50IBN, x: Tensor, *, lengths: Tensor, tilt: float) -> Tensor:
    """Compute the second moments of padded windows.

    Parameters
    ----------
    network, x, lengths
        As for `embedding`.
    tilt : float
        Of the bins' weights (`mirex.model.second_order.bin_weights`).

    Returns
    -------
    float32 [batch, (embedding_size / 32) ** 2]
        As `ResNet50IBN.moments` gives them for each window without its padding.
    """
    dense = dense_pool(_masked(network.dense_convolution(x), lengths))
    return summed_products(_masked(dense, lengths), tilt=tilt) / (dense.shape[2] * lengths)[:, None]


def _bottleneck(block: Bottleneck, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    y = functional.relu(_norm(block.norm1, block.conv1(x), lengths), inplace=True)
    y = functional.relu(block.norm2(block.conv2(_masked(y, lengths))), inplace=True)
    y = functional.relu(block.norm3(block.conv3(y)) + block.shortcut(x), inplace=True)
    return y, lengths if block.conv2.stride[1] == 1 else _halved(lengths)


def _norm(norm: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    if not isinstance(norm, InstanceBatchNorm):
        return norm(x)
    first, second = x[:, : norm.instance_channels], x[:, norm.instance_channels :]
    centred = first - _mean(first, lengths)
    scale = torch.rsqrt(_mean(centred.square(), lengths) + norm.instance.eps)
    weight, bias = (each.view(1, -1, 1, 1) for each in (norm.instance.weight, norm.instance.bias))
    return torch.cat([centred * (weight * scale) + bias, norm.batch(second)], dim=1)


def _generalised_mean(pool: GeneralisedMean, x: Tensor, lengths: Tensor) -> Tensor:
    return _mean(x.clamp(min=pool.eps).pow(pool.p), lengths).flatten(1).pow(1.0 / pool.p)


def _mean(x: Tensor, lengths: Tensor) -> Tensor:
    """Over the bins and the valid steps: [batch, channels, 1, 1]."""
    positions = (x.shape[2] * lengths).view(-1, 1, 1, 1)
    return _masked(x, lengths).sum(dim=(2, 3), keepdim=True) / positions


def _masked(x: Tensor, lengths: Tensor) -> Tensor:
    """With zeros from each row's length on."""
    beyond = torch.arange(x.shape[3], device=x.device) >= lengths[:, None]
    return x.masked_fill(beyond[:, None, None], 0.0)


def _halved(lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2
