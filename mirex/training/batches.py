"""Batches: P works x K versions, those of a view of one length, each a pure function of seed and step.

So any number of rendering processes gives the same batches, and a resumed run goes on with exactly
the batches that the uninterrupted one would have had.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex.normalisation import at_least
from mirex.training.sources import Lengths, Source, Version

SHORT_STEPS = (20, 56)


class Batch(NamedTuple):
    """cqt, chroma: network input of each view, float32 [crops, 1, bins, steps]; either may have no crops.
    labels, recordings, sources: int64 [all crops], first those of `cqt`.
    """

    cqt: NDArray[np.float32]
    chroma: NDArray[np.float32]
    labels: NDArray[np.int64]
    recordings: NDArray[np.int64]
    sources: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """works: P, for each source. versions: K. lengths: of crops in the CQT view, in steps, one a batch;
    chroma_lengths: in the folded view. short_share: of crops that hold an excerpt of SHORT_STEPS (19 to 52 s)
    only, over and over, so that short recordings are found among whole songs.

    The strength of augmentation rises from start_strength by 1 in curriculum_steps, to end_strength.
    """

    works: tuple[int, ...]
    versions: int = 3
    lengths: tuple[int, ...] = (64, 96)
    chroma_lengths: tuple[int, ...] = (80, 128, 192)
    short_share: float = 0.0
    curriculum_steps: int = 1000
    start_strength: float = 0.25
    end_strength: float = 1.0


class BatchMaker:
    """Draws batches from sources; labels number the works of all sources one after the other."""

    def __init__(self, sources: Sequence[Source], *, settings: BatchSettings, seed: int) -> None:
        self._sources = sources
        self._settings = settings
        self._seed = seed
        counts = [len(source.work_weights) for source in sources]
        self._first_label = np.concatenate([[0], np.cumsum(counts)])
        self._shares = [source.work_weights / source.work_weights.sum() for source in sources]

    @property
    def works(self) -> int:
        """Number of works in all sources."""
        return int(self._first_label[-1])

    def batch(self, step: int) -> Batch:
        """The batch of this training step."""
        generator = np.random.default_rng([self._seed, step])
        settings = self._settings
        risen = settings.start_strength + step / max(settings.curriculum_steps, 1)
        strength = min(settings.end_strength, risen)
        lengths = Lengths(
            int(generator.choice(settings.lengths)), int(generator.choice(settings.chroma_lengths))
        )
        crops: list[_Crop] = []
        for index, (source, count) in enumerate(zip(self._sources, settings.works, strict=True)):
            chosen = generator.choice(len(self._shares[index]), count, replace=False, p=self._shares[index])
            for work in chosen.tolist():
                each = [self._excerpt(lengths, generator) for _ in range(settings.versions)]
                versions = source.draw(work, lengths=each, strength=strength, generator=generator)
                crops += self._labelled(versions, work, source=index, step=step, place=len(crops))
        # A view's only crop is left out: it has no batch statistics.
        return _stacked(crops, lengths, fewest=2)

    def once_through(self, *, works: int) -> Iterator[Batch]:
        """One version of every work, so many works a batch, without augmentation, in the longest crops."""
        lengths = Lengths(max(self._settings.lengths), max(self._settings.chroma_lengths))
        for index, source in enumerate(self._sources):
            count = len(source.work_weights)
            for first in range(0, count, works):
                generator = np.random.default_rng([self._seed, index, first])
                crops: list[_Crop] = []
                for work in range(first, min(first + works, count)):
                    versions = source.draw(work, lengths=[lengths], strength=0.0, generator=generator)
                    crops += self._labelled(versions, work, source=index, step=0, place=len(crops))
                yield _stacked(crops, lengths, fewest=1)

    def _excerpt(self, lengths: Lengths, generator: np.random.Generator) -> Lengths:
        """How long an excerpt the crop of one version holds: the whole crop, or a short one."""
        # Nothing is drawn where there are none, so that all other draws stay as they were.
        if not self._settings.short_share or generator.random() >= self._settings.short_share:
            return lengths
        steps = round(float(np.exp(generator.uniform(*np.log(SHORT_STEPS)))))
        return Lengths(min(steps, lengths.cqt), min(steps, lengths.chroma))

    def _labelled(
        self, versions: Sequence[Version], work: int, *, source: int, step: int, place: int
    ) -> list["_Crop"]:
        """Versions of one work as crops; place: of the first in its batch."""
        label = int(self._first_label[source]) + work
        return [
            _Crop(version, label, self._recording(source, version.recording, step, place + offset), source)
            for offset, version in enumerate(versions)
        ]

    @staticmethod
    def _recording(source: int, recording: int | None, step: int, place: int) -> int:
        """A number that no other recording has; a made version (None) is a recording of its own."""
        if recording is None:
            return -(step * 100_000 + place) - 1
        return recording * 16 + source


class _Crop(NamedTuple):
    version: Version
    label: int
    recording: int
    source: int


def _stacked(crops: list[_Crop], lengths: Lengths, *, fewest: int) -> Batch:
    """Crops by view, the CQT view's first, all of its length. A view with fewer than `fewest` is left out."""
    by_view = [[crop for crop in crops if crop.version.folded == folded] for folded in (False, True)]
    kept = [found if len(found) >= fewest else [] for found in by_view]
    nothing = np.zeros((0, 1, 1, 1), np.float32)
    cqt, chroma = (
        np.stack([at_least(crop.version.view, steps=steps) for crop in found])[:, None] if found else nothing
        for found, steps in zip(kept, lengths, strict=True)
    )
    _, labels, recordings, sources = zip(*kept[0], *kept[1], strict=True)
    return Batch(cqt, chroma, np.array(labels), np.array(recordings), np.array(sources))


def stream(
    make: Callable[[], BatchMaker], *, first: int, last: int, processes: int = 0
) -> Iterator[tuple[int, Batch]]:
    """Yield (step, batch) in order, made ahead by so many processes (0: here, when asked)."""
    if processes == 0:
        maker = make()
        for step in range(first, last):
            yield step, maker.batch(step)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(make,)) as pool:
        ahead: list[Future[Batch]] = []
        for step in range(first, min(first + 2 * processes, last)):
            ahead.append(pool.submit(_worker_batch, step))
        for step in range(first, last):
            batch = ahead.pop(0).result()
            following = step + 2 * processes
            if following < last:
                ahead.append(pool.submit(_worker_batch, following))
            yield step, batch


_worker_maker: list[BatchMaker] = []


def _start_worker(make: Callable[[], BatchMaker]) -> None:
    _worker_maker.append(make())


def _worker_batch(step: int) -> Batch:
    return _worker_maker[0].batch(step)
