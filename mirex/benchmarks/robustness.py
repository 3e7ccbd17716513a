"""Robustness: is a degraded recording still found next to its original?

Each recording is degraded as audio and goes through the front end again. The degraded recordings are the
queries, the originals the collection, which includes the recording itself. The nearest should be the
original, or another version of the same work, which may happen to be closer in tempo.

Degradations. Tempo: FFmpeg's `atempo`, which overlaps and adds waveform segments that fit (WSOLA) and keeps
the pitch. Transposition: resampling, which changes pitch and duration together, then `atempo` back to the
original duration. Low-pass: band-limited resampling to twice the cut-off and back. Noise: white. MP3: encoded
by LAME (in FFmpeg) at a constant bit rate, decoded by `mirex.features.audio`.
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
    """Shift the pitch and keep the duration.

    Parameters
    ----------
    samples : float32 [samples]
        At 22,050 Hz.
    semitones : float
        Positive is up.

    Returns
    -------
    float32 [samples]
    """
    import soxr

    ratio = 2.0 ** (semitones / 12)
    return change_tempo(soxr.resample(samples, SAMPLE_RATE * ratio, SAMPLE_RATE), factor=1.0 / ratio)


def change_tempo(samples: Samples, *, factor: float) -> Samples:
    """Change the tempo and keep the pitch.

    Parameters
    ----------
    samples : float32 [samples]
        At 22,050 Hz.
    factor : float
        How many times as fast, 0.5 to 2.

    Returns
    -------
    float32 [samples]
        About 1 / `factor` times as many.
    """
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
    """Remove everything above a frequency.

    Parameters
    ----------
    samples : float32 [samples]
        At 22,050 Hz.
    hertz : float
        The cut-off.

    Returns
    -------
    float32 [samples]
    """
    import soxr

    return soxr.resample(soxr.resample(samples, SAMPLE_RATE, 2 * hertz), 2 * hertz, SAMPLE_RATE)


def add_noise(samples: Samples, *, decibels: float, generator: np.random.Generator) -> Samples:
    """Add white noise.

    Parameters
    ----------
    samples : float32 [samples]
        At 22,050 Hz.
    decibels : float
        How far the noise lies below the recording's mean power.
    generator : numpy.random.Generator
        Of the noise.

    Returns
    -------
    float32 [samples]
    """
    noise = generator.standard_normal(len(samples), dtype=np.float32)
    power = float(np.mean(samples.astype(np.float64) ** 2))
    return samples + np.float32(np.sqrt(power) * 10 ** (-decibels / 20)) * noise


def part(samples: Samples, *, start: float, stop: float) -> Samples:
    """Cut out a part of a recording.

    Parameters
    ----------
    samples : float32 [samples]
        The recording.
    start, stop : float
        Shares of the duration, in 0..1.

    Returns
    -------
    float32 [samples]
    """
    return samples[round(start * len(samples)) : round(stop * len(samples))]


def later(samples: Samples, *, seconds: float) -> Samples:
    """Cut off the start of a recording.

    Parameters
    ----------
    samples : float32 [samples]
        At 22,050 Hz.
    seconds : float
        To leave out.

    Returns
    -------
    float32 [samples]
    """
    return samples[round(seconds * SAMPLE_RATE) :]


def middle(samples: Samples, *, seconds: float) -> Samples:
    """Cut out the middle of a recording.

    Parameters
    ----------
    samples : float32 [samples]
        At 22,050 Hz.
    seconds : float
        Duration to keep; a shorter recording is kept whole.

    Returns
    -------
    float32 [samples]
    """
    wanted = min(round(seconds * SAMPLE_RATE), len(samples))
    first = (len(samples) - wanted) // 2
    return samples[first : first + wanted]


def mp3(samples: Samples, *, bit_rate: int) -> Samples:
    """Encode as MP3 and decode again.

    Parameters
    ----------
    samples : float32 [samples]
        At 22,050 Hz.
    bit_rate : int
        In bits per second.

    Returns
    -------
    float32 [samples]
    """
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
    *(Degradation(f"starts {s:g} s later", _without_chance(later, seconds=s)) for s in (0.2, 0.46)),
    Degradation("first half", _without_chance(part, start=0.0, stop=0.5)),
    Degradation("second half", _without_chance(part, start=0.5, stop=1.0)),
    Degradation("20 s of the middle", _without_chance(middle, seconds=20.0)),
    Degradation("MP3 32 kbit/s", _without_chance(mp3, bit_rate=32_000)),
)


class Robustness(NamedTuple):
    """One line of the table.

    Attributes
    ----------
    degradation, system : str
        Printed names.
    rank_1 : float
        Share of degraded recordings that are nearer to an original of their work than to any other work.
    own : float
        Mean distance to the original, in the system's own unit.
    others : float
        Mean distance to the other works, in the same unit.
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
    """Compute the columns of recordings, as they are and under every degradation.

    Parameters
    ----------
    recordings : iterable of Recording
        Read once.
    front_end : FrontEndSettings
        Of the columns.
    degradations : sequence of Degradation
        All known ones by default.
    seed : int
        Of the noise, which otherwise depends only on the recording's place in the list.
    progress : callable, optional
        Called with the number of recordings done.

    Returns
    -------
    originals : list of Clip
        The recordings as they are.
    degraded : dict
        {name of degradation: list of float32 [84, columns], one per recording}.
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
    """Compare degraded recordings with the originals.

    Parameters
    ----------
    originals, degraded
        As `degrade` gives them, of two works or more.
    systems : sequence of System
        The systems under test.
    progress : callable, optional
        Called with (done, total) degradations.

    Returns
    -------
    list of Robustness
        Lines of the table, degradation by degradation.
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
    """Format the table for a terminal: one line per degradation, three columns per system.

    Parameters
    ----------
    rows : sequence of Robustness
        Of `compare_degraded`.
    recordings : int
        How many recordings were degraded.

    Returns
    -------
    str
        Title, table and legend.
    """
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
