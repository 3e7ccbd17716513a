"""Windows of many recordings through the network in full batches, as a GPU wants them.

`mirex.model.embedding` runs the network on one recording at a time, so that an embedding's bytes depend on
the recording alone. A GPU is then busy for a small part of the time. Here windows of one recording after
another fill a batch; what a batch holds besides changes an output by rounding only (cosine above 0.999999).
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator

import numpy as np
import torch

from mirex._typing import Array
from mirex.model.network import ResNet50IBN


def in_batches(recordings: Iterable[Array], *, network: ResNet50IBN, batch: int = 256) -> Iterator[Array]:
    """The network's outputs for the windows of recordings.

    Recordings are taken from the iterable only as batches need them, so that it may decode meanwhile, and
    results come as soon as a recording's last window is computed.

    Parameters
    ----------
    recordings : iterable of float32 [windows, bins, steps]
        Network input of each; windows of the same shape share batches.
    network : ResNet50IBN
        In evaluation mode, on any device.
    batch : int
        Windows a batch; it bounds memory.

    Yields
    ------
    float32 [windows, embedding_size]
        Of each recording, in order, not made unit length.
    """
    counts: deque[int] = deque()
    waiting: list[Array] = []
    ready: list[Array] = []
    for windows in recordings:
        if waiting and waiting[0].shape[1:] != windows.shape[1:]:
            ready += _compute(waiting, network, batch)
            waiting = []
        counts.append(len(windows))
        waiting.append(windows)
        while sum(map(len, waiting)) >= batch:
            together = np.concatenate(waiting)
            ready += _compute([together[:batch]], network, batch)
            waiting = [together[batch:]] if len(together) > batch else []
        ready = yield from _complete(counts, ready)
    ready += _compute(waiting, network, batch)
    yield from _complete(counts, ready)


def _compute(windows: list[Array], network: ResNet50IBN, batch: int) -> list[Array]:
    """Outputs of all windows, at most a batch of them at a time."""
    from mirex.model.embedding import full_precision

    if not windows:
        return []
    together = np.concatenate(windows)
    found = []
    with torch.inference_mode(), full_precision():
        for start in range(0, len(together), batch):
            x = torch.from_numpy(together[start : start + batch, None]).to(network.device)
            found.append(network(x)[1].cpu().numpy())
    return found


def _complete(counts: deque[int], ready: list[Array]) -> Generator[Array, None, list[Array]]:
    """Yield the recordings that are whole; return what is left over of `ready`."""
    rows = np.concatenate(ready) if ready else None
    while counts and rows is not None and counts[0] <= len(rows):
        count = counts.popleft()
        yield rows[:count]
        rows = rows[count:]
    return [rows] if rows is not None and len(rows) else []
