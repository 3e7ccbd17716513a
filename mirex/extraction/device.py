"""Columns and embeddings on a GPU, by the process that collects what the workers decode.

The samples of a recording become columns as soon as they arrive. One recording is too little to keep the
network busy, so many are embedded together, while the workers decode the next ones. The result for a
recording does not depend on the others (`mirex.model.embedding.embed_together`). If a batch fails, its
recordings are embedded one by one, so that an exception costs one recording only, as it does in a worker.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mirex.errors import AudioError, MirexError
from mirex.extraction.pool import Answer
from mirex.extraction.worker import Arrays, embedded, kept

if TYPE_CHECKING:
    from mirex.model.weights import Sealed

TOGETHER = 1 << 16
"""Columns that wait to be embedded together: some 140 recordings of 210 s, or 22 MB.

Recordings share a block of the network if their windows are padded to the same length
(`mirex.model.padded`). Lengths differ, so many recordings are needed to fill the blocks."""


class Device:
    """The transform and the network on a device.

    Parameters
    ----------
    path : Path
        The weights.
    device : str
        As PyTorch names it.

    Raises
    ------
    WeightsError
        If the weights cannot be loaded.
    """

    def __init__(self, path: Path, device: str) -> None:
        from mirex.model import weights

        self._sealed = weights.load(path, device=device)
        self._name = str(next(self._sealed.network.parameters()).device)

    def transformed(self, answer: Answer) -> Answer:
        """Replace samples by columns. Threads may call it at the same time.

        Parameters
        ----------
        answer : Answer
            With or without samples.

        Returns
        -------
        Answer
            Without samples; a failure if an exception came up that is the recording's own.

        Raises
        ------
        MirexError
            As `embed`.
        """
        if "samples" not in answer.arrays:
            return answer
        arrays = dict(answer.arrays)
        samples = arrays.pop("samples")
        return _completed(dataclasses.replace(answer, arrays=arrays), lambda: self._columns(samples))

    def _columns(self, samples: np.ndarray) -> Arrays:
        from mirex.features import cqt

        try:
            return {"columns": cqt.columns(samples, settings=self._sealed.front_end, device=self._name)}
        except Exception as error:
            _end_without_device(self._sealed, error)
            raise

    def embed(self, columns: np.ndarray) -> Arrays:
        """Embed one recording.

        Parameters
        ----------
        columns : float32 [84, columns]

        Returns
        -------
        dict
            As `mirex.extraction.worker.embedded` gives it.

        Raises
        ------
        MirexError
            If the device has stopped working: after some errors it fails for every recording in this process.
        Exception
            Any other that it raises.
        """
        try:
            return embedded(columns, self._sealed)
        except AudioError:
            raise
        except Exception as error:
            _end_without_device(self._sealed, error)
            raise

    def embed_together(self, columns: Sequence[np.ndarray]) -> list[Arrays]:
        """Embed recordings that share the network's blocks.

        Parameters
        ----------
        columns : sequence of float32 [84, columns]

        Returns
        -------
        list of dict
            As `embed` gives them, within the rounding of float32.

        Raises
        ------
        Exception
            Any, if one of them fails.
        """
        from mirex.model.embedding import embed_together

        embeddings = embed_together(columns, sealed=self._sealed)
        return [
            kept(each, embedding, self._sealed) for each, embedding in zip(columns, embeddings, strict=True)
        ]


def in_batches(answers: Iterable[tuple[int, Answer]], device: Device) -> Iterator[tuple[int, Answer]]:
    """Add embeddings to answers that have columns.

    Parameters
    ----------
    answers : iterable of (int, Answer)
        As `mirex.extraction.pool.run` yields them.
    device : Device

    Yields
    ------
    tuple of int and Answer
        The same, in no certain order; failures at once.
    """
    waiting: list[tuple[int, Answer]] = []
    for job, answer in answers:
        if answer.failure is not None:
            yield job, answer
            continue
        waiting.append((job, answer))
        if sum(each.arrays["columns"].shape[1] for _, each in waiting) >= TOGETHER:
            yield from _embedded_together(waiting, device)
            waiting = []
    if waiting:
        yield from _embedded_together(waiting, device)


def _embedded_together(waiting: Sequence[tuple[int, Answer]], device: Device) -> Iterator[tuple[int, Answer]]:
    try:
        found = device.embed_together([answer.arrays["columns"] for _, answer in waiting])
    except Exception:  # which of them it was is found out one by one
        for job, answer in waiting:
            yield job, _completed(answer, partial(device.embed, answer.arrays["columns"]))
        return
    for (job, answer), arrays in zip(waiting, found, strict=True):
        yield job, dataclasses.replace(answer, arrays={**answer.arrays, **arrays})


def _completed(answer: Answer, compute: Callable[[], Arrays]) -> Answer:
    """The answer with more arrays; an exception fails this recording only, as it does in a worker."""
    try:
        return dataclasses.replace(answer, arrays={**answer.arrays, **compute()})
    except AudioError as error:
        return Answer(failure=str(error))
    except MirexError:
        raise
    except Exception as error:
        return Answer(failure=f"{type(error).__name__}: {error}", unexpected=True)


def _end_without_device(sealed: "Sealed", cause: Exception) -> None:
    """End the run if the device is lost."""
    import torch

    try:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        torch.ones(1, device=next(sealed.network.parameters()).device).add(1).item()
    except Exception:
        raise MirexError(
            f"the CUDA device has stopped working ({' '.join(str(cause).split())}); finished work is "
            "kept, so run the same command again to resume, with --device cpu if this happens again"
        ) from cause
