"""Robustness: is a degraded recording still found next to its original?

Each recording is degraded as audio and goes through the front end again. The degraded recordings are the
queries, the originals the collection, the recording itself included: the nearest one should be itself, or
another version of the same work, which may happen to be closer in tempo.

Degradations. Tempo: FFmpeg's `atempo`, overlap-add of waveform segments that fit (WSOLA), the pitch
stays. Transposition: resampling, which changes pitch and duration together, then `atempo` back to the old
duration. Low-pass: band-limited resampling to twice the cut-off and back. Noise: white. MP3: encoded by LAME
(in FFmpeg) at a constant bit rate, decoded by `mirex.features.audio`.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.benchmarks.baselines import Progress, System
from mirex.benchmarks.testsets import Recording
from mirex.corpora.clips import Clip
from mirex.evaluation.tables import aligned
from mirex.features.audio import SAMPLE_RATE, decode
from mirex.features.cqt import columns
from mirex.settings import FrontEndSettings

Samples = NDArray[np.float32]
BLOCK = 1 << 16  # samples given to FFmpeg at a time


class Degradation(NamedTuple):
    """A way to degrade samples; only noise draws from the generator."""

    name: str
    apply: Callable[[Samples, np.random.Generator], Samples]


def transpose(samples: Samples, *, semitones: float) -> Samples:
    """Shift the pitch; the duration stays. samples: float32 [samples] at 22,050 Hz."""
    import soxr

    ratio = 2.0 ** (semitones / 12)
    return change_tempo(soxr.resample(samples, SAMPLE_RATE * ratio, SAMPLE_RATE), factor=1.0 / ratio)


def change_tempo(samples: Samples, *, factor: float) -> Samples:
    """Play `factor` times as fast, 0.5 to 2; the pitch stays."""
    import av

    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")
    graph.link_nodes(source, graph.add("atempo", f"{factor:.9f}"), graph.add("abuffersink")).configure()
    parts = []
    for frame in [*_frames(samples), None]:
        graph.push(frame)
        parts += list(_pulled(graph))
    return np.concatenate(parts)


def low_pass(samples: Samples, *, hertz: float) -> Samples:
    """Take away what lies above a frequency."""
    import soxr

    return soxr.resample(soxr.resample(samples, SAMPLE_RATE, 2 * hertz), 2 * hertz, SAMPLE_RATE)


def add_noise(samples: Samples, *, decibels: float, generator: np.random.Generator) -> Samples:
    """Add white noise, so many decibels below the recording's mean power."""
    noise = generator.standard_normal(len(samples), dtype=np.float32)
    power = float(np.mean(samples.astype(np.float64) ** 2))
    return samples + np.float32(np.sqrt(power) * 10 ** (-decibels / 20)) * noise


def part(samples: Samples, *, start: float, stop: float) -> Samples:
    """The stretch between two shares of the duration, in 0..1."""
    return samples[round(start * len(samples)) : round(stop * len(samples))]


def middle(samples: Samples, *, seconds: float) -> Samples:
    """So many seconds about the middle, or all of a shorter recording."""
    wanted = min(round(seconds * SAMPLE_RATE), len(samples))
    first = (len(samples) - wanted) // 2
    return samples[first : first + wanted]


def mp3(samples: Samples, *, bit_rate: int) -> Samples:
    """Encode as MP3 at so many bits a second, and decode."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "encoded.mp3")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", format="fltp")
            stream.bit_rate = bit_rate
            # Full scale is 1.0: louder samples would be clipped by the encoder, another degradation.
            quiet = samples / max(1.0, float(np.abs(samples).max()))
            for frame in [*_frames(quiet, kind="fltp"), None]:
                container.mux(stream.encode(frame))
        return decode(path)


def _frames(samples: Samples, *, kind: str = "flt") -> Iterator:
    import av

    for start in range(0, len(samples), BLOCK):
        block = np.ascontiguousarray(samples[None, start : start + BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format=kind, layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        yield frame


def _pulled(graph) -> Iterator[Samples]:
    import av

    while True:
        try:
            yield graph.pull().to_ndarray()[0]
        except (av.BlockingIOError, av.EOFError):
            return


def _without_chance(function: Callable[..., Samples], **options: float) -> Callable[..., Samples]:
    return lambda samples, generator: function(samples, **options)


DEGRADATIONS = (
    *(
        Degradation(f"transposed {k:+g}", _without_chance(transpose, semitones=k))
        for k in (0.5, 1, 2, 3, 4, 5, 6, -0.5, -1, -2, -3, -4, -5, -6)
    ),
    *(Degradation(f"tempo {t:g}", _without_chance(change_tempo, factor=t)) for t in (0.8, 0.9, 1.1, 1.25)),
    Degradation("low-pass 1 kHz", _without_chance(low_pass, hertz=1000.0)),
    Degradation("white noise 10 dB", lambda s, generator: add_noise(s, decibels=10.0, generator=generator)),
    Degradation("first half", _without_chance(part, start=0.0, stop=0.5)),
    Degradation("second half", _without_chance(part, start=0.5, stop=1.0)),
    Degradation("20 s of the middle", _without_chance(middle, seconds=20.0)),
    Degradation("MP3 32 kbit/s", _without_chance(mp3, bit_rate=32_000)),
)


class Robustness(NamedTuple):
    """One line of the table.

    rank_1: share of degraded recordings nearer to an original of their work than to any other work. own,
    others: mean distance to the original, and to the other works; in the system's own unit.
    """

    degradation: str
    system: str
    rank_1: float
    own: float
    others: float


def degrade(
    recordings: Iterable[Recording],
    *,
    front_end: FrontEndSettings,
    degradations: Sequence[Degradation] = DEGRADATIONS,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Clip], dict[str, list[Array]]]:
    """The recordings as clips, and the columns of all of them under every degradation.

    seed: of the noise, which otherwise depends only on the recording's place in the list. progress: called
    with the number of recordings done. Returns originals, {degradation: float32 [84, columns] each}.
    """
    originals: list[Clip] = []
    degraded: dict[str, list[Array]] = {degradation.name: [] for degradation in degradations}
    for index, (name, work, samples) in enumerate(recordings):
        originals.append(Clip(name, work, columns(samples, settings=front_end)))
        for degradation in degradations:
            changed = degradation.apply(samples, np.random.default_rng([seed, index]))
            degraded[degradation.name].append(columns(changed, settings=front_end))
        if progress:
            progress(index + 1)
    return originals, degraded


def compare_degraded(
    originals: Sequence[Clip],
    degraded: Mapping[str, Sequence[Array]],
    *,
    systems: Sequence[System],
    progress: Progress | None = None,
) -> list[Robustness]:
    """Lines of the table, degradation by degradation.

    originals, degraded: as `degrade` gives them, of two works or more. progress: called with
    (done, total) degradations.
    """
    references = [[system.describe(clip.columns) for clip in originals] for system in systems]
    works = np.array([clip.work for clip in originals])
    same = works[:, None] == works
    rows = []
    for done, (name, clips) in enumerate(degraded.items(), start=1):
        for system, described in zip(systems, references, strict=True):
            queries = [system.describe(each) for each in clips]
            rows.append(_row(name, system.name, system.compare(queries, described), same))
        if progress:
            progress(done, len(degraded))
    return rows


def _row(degradation: str, system: str, distances: Array, same: NDArray[np.bool_]) -> Robustness:
    """distances, same work: [n, n], queries in the order of the collection."""
    nearest = [np.where(chosen, distances, np.inf).min(axis=1) for chosen in (same, ~same)]
    # Strictly nearer: a system that finds everything equally far has found nothing.
    found = (nearest[0] < nearest[1]).mean()
    own, others = np.diag(distances).mean(), distances[~same].mean()
    return Robustness(degradation, system, float(found), float(own), float(others))


def robustness_text(rows: Sequence[Robustness], *, recordings: int) -> str:
    """The table for a terminal: a line a degradation, three columns a system."""
    systems = list(dict.fromkeys(row.system for row in rows))
    cells = {(row.degradation, row.system): row for row in rows}
    head = ["degradation", *(text for name in systems for text in (f"{name}: Rank-1", "own", "others"))]
    lines = [
        [name, *(text for system in systems for text in _figures(cells[name, system]))]
        for name in dict.fromkeys(row.degradation for row in rows)
    ]
    title = f"robustness: {recordings} recordings, each degraded, against the originals"
    legend = "Rank-1: nearest is of the same work; own, others: mean distance to the original, to other works"
    return f"{title}\n{aligned([head, *lines])}\n{legend}"


def _figures(row: Robustness) -> list[str]:
    return [f"{row.rank_1:.3f}", f"{row.own:.3f}", f"{row.others:.3f}"]
