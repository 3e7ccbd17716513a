"""Batches: P works x K versions; all crops of a view have one length.

A batch depends on seed and step alone. So any number of rendering processes gives the same batches, and a
resumed run continues with exactly the batches that the uninterrupted run would have had.
"""

import collections
from collections.abc import Callable, Generator, Sequence
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mirex.features.views import at_least
from mirex.threads import one_thread_each
from mirex.training.mixing import Numbering, number_works
from mirex.training.settings import BatchSettings
from mirex.training.sources import Lengths, Source, Version

SHORT_STEPS = (20, 56)


class Batch(NamedTuple):
    """Crops of both views.

    Attributes
    ----------
    cqt, chroma : float32 [crops, 1, bins, steps]
        Network input of each view; one of them may be empty.
    labels, recordings, sources : int64 [all crops]
        Of the CQT view's crops first.
    semitones : int64 [all crops], or None
        How far each crop is still to be moved up (`mirex.training.echoes`).
    families : int64 [all crops], or None
        Works of one family are not negatives (`mirex.training.mixing`). None: each work is its own family.
    """

    cqt: Tensor
    chroma: Tensor
    labels: Tensor
    recordings: Tensor
    sources: Tensor
    semitones: Tensor | None = None
    families: Tensor | None = None


class BatchMaker:
    """Draws batches from sources.

    Parameters
    ----------
    sources : sequence of Source
        In the order of `settings.works`.
    settings : BatchSettings
        Sizes, lengths and augmentation.
    seed : int
        Of all draws.
    numbering : Numbering, optional
        Labels and families of the sources' works. By default the works of all sources are numbered one after
        the other.
    digest : str
        Of the works and their labels, in order; kept as an attribute, to tell other data from these.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        settings: BatchSettings,
        seed: int,
        numbering: Numbering | None = None,
        digest: str = "",
    ) -> None:
        self.digest = digest
        self._sources = sources
        self._settings = settings
        self._seed = seed
        counts = [len(source.work_weights) for source in sources]
        self._numbering = numbering or number_works(counts)
        self._shares = [source.work_weights / source.work_weights.sum() for source in sources]

    @property
    def works(self) -> int:
        """Number of different works in all sources.

        Returns
        -------
        int
        """
        return len(self._numbering.families)

    def batch(self, step: int) -> Batch:
        """Draw a batch.

        Parameters
        ----------
        step : int
            The batch's number; without echoes, the training step.

        Returns
        -------
        Batch
        """
        generator = np.random.default_rng([self._seed, step])
        settings = self._settings
        risen = settings.start_strength + step / max(settings.curriculum_steps, 1)
        strength = min(settings.end_strength, risen)
        lengths = self._lengths(step, generator)
        crops: list[_Crop] = []
        for index, (source, count) in enumerate(zip(self._sources, settings.works, strict=True)):
            chosen = generator.choice(len(self._shares[index]), count, replace=False, p=self._shares[index])
            for work in chosen.tolist():
                each = [self._excerpt(lengths, generator) for _ in range(settings.versions)]
                versions = source.draw(work, lengths=each, strength=strength, generator=generator)
                crops += self._labelled(versions, work, source=index, step=step, place=len(crops))
        # A single crop in a view is dropped: it has no batch statistics.
        return _stacked(crops, lengths, fewest=2, multiple=settings.multiple)

    def portions(self, *, works: int) -> list["Portion"]:
        """Divide all works into batches of one source each.

        Parameters
        ----------
        works : int
            Works per batch at most.

        Returns
        -------
        list of Portion
        """
        return [
            Portion(index, first, min(first + works, len(source.work_weights)))
            for index, source in enumerate(self._sources)
            for first in range(0, len(source.work_weights), works)
        ]

    def once(self, portion: "Portion") -> Batch:
        """Take one version of each work of a portion, without augmentation, in the longest crops.

        Parameters
        ----------
        portion : Portion
            The works.

        Returns
        -------
        Batch
        """
        lengths = Lengths(max(self._settings.lengths), max(self._settings.chroma_lengths))
        index, first, last = portion
        generator = np.random.default_rng([self._seed, index, first])
        crops: list[_Crop] = []
        for work in range(first, last):
            versions = self._sources[index].draw(work, lengths=[lengths], strength=0.0, generator=generator)
            crops += self._labelled(versions, work, source=index, step=0, place=len(crops))
        return _stacked(crops, lengths, fewest=1, multiple=1)

    def _lengths(self, step: int, generator: np.random.Generator) -> Lengths:
        """Drawn, or growing with the step."""
        offered = self._settings.lengths, self._settings.chroma_lengths
        # Drawn in any case, so that all other draws stay the same.
        drawn = [int(generator.choice(each)) for each in offered]
        if not self._settings.growing_steps:
            return Lengths(*drawn)
        reached = min(step / self._settings.growing_steps, 1)
        return Lengths(*(each[min(int(reached * len(each)), len(each) - 1)] for each in offered))

    def _excerpt(self, lengths: Lengths, generator: np.random.Generator) -> Lengths:
        """How long an excerpt the crop of one version repeats: the whole crop, or a short one."""
        # Without short crops nothing is drawn, so that all other draws stay the same.
        if not self._settings.short_share or generator.random() >= self._settings.short_share:
            return lengths
        steps = round(float(np.exp(generator.uniform(*np.log(SHORT_STEPS)))))
        return Lengths(min(steps, lengths.cqt), min(steps, lengths.chroma))

    def _labelled(
        self, versions: Sequence[Version], work: int, *, source: int, step: int, place: int
    ) -> list["_Crop"]:
        """Versions of one work as crops; place: of the first one in its batch."""
        label = int(self._numbering.labels[source][work])
        family = int(self._numbering.families[label])
        crops = []
        for offset, version in enumerate(versions):
            origin = source if version.origin is None else version.origin
            recording = self._recording(origin, version.recording, step, place + offset)
            crops.append(_Crop(version, label, recording, origin, family))
        return crops

    @staticmethod
    def _recording(source: int, recording: int | None, step: int, place: int) -> int:
        """A number that no other recording has; a synthetic version (None) is a recording of its own."""
        if recording is None:
            return -(step * 100_000 + place) - 1
        return recording * 16 + source


class Portion(NamedTuple):
    """Works first to last - 1 of a source."""

    source: int
    first: int
    last: int


class _Crop(NamedTuple):
    version: Version
    label: int
    recording: int
    source: int
    family: int


def _stacked(crops: list[_Crop], lengths: Lengths, *, fewest: int, multiple: int) -> Batch:
    """Crops by view, the CQT view's first, each of its length. A view with fewer than `fewest` is dropped."""
    by_view = [[crop for crop in crops if crop.version.folded == folded] for folded in (False, True)]
    whole = [found[: len(found) // multiple * multiple] for found in by_view]
    kept = [found if len(found) >= fewest else [] for found in whole]
    nothing = np.zeros((0, 1, 1, 1), np.float32)
    cqt, chroma = (
        np.stack([at_least(crop.version.view, steps=steps) for crop in found])[:, None] if found else nothing
        for found, steps in zip(kept, lengths, strict=True)
    )
    _, *numbers = zip(*kept[0], *kept[1], strict=True)
    labels, recordings, sources, families = (torch.from_numpy(np.array(each)) for each in numbers)
    views = torch.from_numpy(cqt), torch.from_numpy(chroma)
    return Batch(*views, labels, recordings, sources, families=families)


def stream(
    make: Callable[[], BatchMaker],
    *,
    wanted: Sequence["Portion | int"],
    processes: int = 0,
    pinned: bool = False,
) -> Generator[Batch]:
    """Make batches, in order.

    Parameters
    ----------
    make : callable
        Makes a BatchMaker; every process calls it once.
    wanted : sequence of Portion or int
        Portions to show once, and numbers of batches to train with.
    processes : int
        How many processes make batches ahead; 0 makes each one here when it is asked for.
    pinned : bool
        Put them into memory from which a GPU can copy while it computes.

    Yields
    ------
    Batch
    """
    context = get_context("spawn")
    left = context.Event()
    made = _Made(make, wanted, left)
    if processes == 0:
        yield from map(made.__getitem__, range(len(made)))
        return
    loader = DataLoader(
        made,
        batch_size=None,
        num_workers=processes,
        multiprocessing_context=context,
        pin_memory=pinned,
    )
    with one_thread_each():
        batches = iter(loader)
    try:
        yield from batches
    finally:
        # A process that is stopped while it makes a batch aborts, so let all of them finish.
        left.set()
        collections.deque(batches, maxlen=0)


class _Made(Dataset[Batch]):
    """The batches wanted, by their place; each process that reads from it has its own maker.

    left: set once nobody waits for the rest, which then come empty.
    """

    def __init__(
        self, make: Callable[[], BatchMaker], wanted: Sequence["Portion | int"], left: Event
    ) -> None:
        self._make = make
        self._wanted = wanted
        self._left = left
        self._maker: BatchMaker | None = None

    def __len__(self) -> int:
        return len(self._wanted)

    def __getitem__(self, place: int) -> Batch:
        if self._left.is_set():
            return Batch(*[torch.zeros(0)] * 5)
        self._maker = self._maker or self._make()
        wanted = self._wanted[place]
        return self._maker.once(wanted) if isinstance(wanted, Portion) else self._maker.batch(wanted)
