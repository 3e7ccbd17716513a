"""Decoded blocks to one mono track at one sample rate.

Channels are averaged and resampled (soxr, "HQ") block by block, so that there is one float32 copy of the
result, in memory or in a temporary file (`mirex.features.spool`). A stream may change its rate or its
channels midway: each rate has its own resampler. Samples that cannot be audio are taken as 0; if the channels
cancel each other out, the louder one is used instead of their mean.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Samples
from mirex.errors import AudioError
from mirex.features.spool import Spool

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; outside, a header is damaged rather than unusual
LARGEST_SAMPLE = 1e6  # full scale is 1.0; beyond this the bytes were not samples
WILD_SAMPLE = 16.0  # beyond this a few samples are damage; many are a file with another full scale
TOLERATED_SHARE = 0.01  # of samples that are not numbers
_CANCELLED = 1e-4  # power of the mean by power of the channels, -40 dB
_STEP = 2.0**-15  # of 16 bit; silence is dithered with up to two of them
_MOST_DITHER, _SMOOTH = 5, 0.75  # steps, and correlation, of what lossy codecs make of dither; music has 0.9
_NOTHING = 2.0**-21  # what lossy codecs, AC-3 above all, or 24 bit with dither, make of silence

Blocks = Iterator[tuple[int, Samples]]
"""Pairs of sample rate in Hz and float32 [frames, channels]."""
Open = Callable[[list[str]], Blocks]
"""Decodes from the start, and appends notes for the user to the list."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What recordings are made into.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    in_memory, folder
        As for `mirex.features.spool.Spool`: how many samples are kept in memory, and where others are.
    """

    sample_rate: int
    in_memory: int | None = None
    folder: str | os.PathLike[str] | None = None

    def spool(self) -> Spool:
        """Make a place for the samples of a recording.

        Returns
        -------
        Spool
            Empty.
        """
        return Spool(in_memory=self.in_memory, folder=self.folder)


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A decoded recording.

    Attributes
    ----------
    samples : Spool
        Mono, full scale 1.0.
    seconds : float
        How much was decoded.
    silent : bool
        Whether nothing but silence, or its dither, was decoded.
    notes : list of str
        What a user must know about it.
    """

    samples: Spool
    seconds: float
    silent: bool
    notes: list[str]


def record(decoder: Open, *, target: Target) -> Recording:
    """Run a decoder and make a mono recording of its output.

    Parameters
    ----------
    decoder : callable
        Starts decoding; it is called again if a first pass shows that the channels cancel each
        other out or that the file has a full scale of its own.
    target : Target
        What the result is to be.

    Returns
    -------
    Recording
        May hold no samples.

    Raises
    ------
    AudioError
        If the sample rate is out of range, or more than 1 % of the samples are not numbers.
    NoRoom
        If the samples do not fit on the disk.
    """
    track, notes = _run(decoder, _Track(target))
    if track.has_other_scale:
        del track  # two would take twice the room
        track, notes = _run(decoder, _Track(target, limit=LARGEST_SAMPLE))
    if track.cancels:
        limit, channel = track.limit, int(np.argmax(track.powers.of_channels))
        del track
        track, notes = _run(decoder, _Track(target, limit=limit, channel=channel))
        notes.append(f"its channels cancel each other out; only channel {channel + 1} is used")
    notes += track.complaints()
    return Recording(track.samples(), track.seconds, track.powers.silent, notes)


def _run(decoder: Open, track: "_Track") -> tuple["_Track", list[str]]:
    notes: list[str] = []
    for rate, block in decoder(notes):
        track.add(rate, block)
    return track, notes


def mean_of_channels(block: Samples) -> Samples:
    """Average the channels.

    Parameters
    ----------
    block : float32 [frames, channels]
        At least one channel.

    Returns
    -------
    float32 [frames]
        A view of the block if it has one channel.
    """
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    if channels == 2:
        return (block[:, 0] + block[:, 1]) / np.float32(2)  # as mean(), several times as fast
    return block.mean(axis=1, dtype=np.float32)


class Powers:
    """Power of channels and of their mean, without constant offsets, and whether they are silent; summed up.

    Attributes
    ----------
    silent : bool
        Whether nothing but silence, constant offsets or dither was added.
    """

    def __init__(self) -> None:
        self.silent = True
        self._frames = 0
        self._mono = np.zeros(2)  # sum, and sum of squares
        self._channels = np.zeros((2, 0))  # the same of each

    @property
    def of_channels(self) -> NDArray[np.float64]:
        """Each channel's power, times the number of frames.

        Returns
        -------
        float64 [channels]
        """
        return self._channels[1] - self._channels[0] ** 2 / max(1, self._frames)

    @property
    def cancel(self) -> bool:
        """Whether the channels' mean lies more than 40 dB below their power.

        Returns
        -------
        bool
        """
        if self._channels.shape[1] < 2:
            return False
        of_mono = self._mono[1] - self._mono[0] ** 2 / max(1, self._frames)
        return bool(of_mono < _CANCELLED * self.of_channels.mean())

    def add(self, block: Samples, mono: Samples) -> None:
        """Add a block.

        Parameters
        ----------
        block : float32 [frames, channels]
            The samples.
        mono : float32 [frames]
            Their mean.
        """
        more = block.shape[1] - self._channels.shape[1]
        if more > 0:
            self._channels = np.pad(self._channels, ((0, 0), (0, more)))
        self._channels[1, : block.shape[1]] += [np.dot(channel, channel) for channel in block.T]
        self._mono[1] += np.dot(mono, mono)
        if block.shape[1] > 1:  # otherwise the sums are not needed, and would take time
            ones = np.ones(len(block), np.float32)
            self._channels[0, : block.shape[1]] += ones @ block
            self._mono[0] += np.dot(ones, mono)
        self._frames += len(block)
        if self.silent and len(block):
            self.silent = _is_silent(block)


def _is_silent(block: Samples) -> bool:
    sound = block - block.mean(axis=0) if len(block) > 1 else block
    peak = max(sound.max(), -sound.min())
    if peak <= _NOTHING:
        return True
    if peak > _MOST_DITHER * _STEP:
        return False
    # Dither consists of steps, or is noise that a lossy codec made of them. All else is very quiet music.
    steps = block / np.float32(_STEP)
    of_steps = peak <= 2 * _STEP and np.array_equal(steps, np.round(steps))
    return bool(of_steps or _smoothness(sound / np.float32(_STEP)) < _SMOOTH)


def _smoothness(sound: Samples) -> float:
    """Correlation of neighbouring samples, over all channels."""
    return float((sound[1:] * sound[:-1]).sum()) / float(np.square(sound).sum())


class _Track:
    """Collects blocks, and the counts on which decisions about the whole recording depend."""

    def __init__(self, target: Target, *, limit: float = WILD_SAMPLE, channel: int | None = None) -> None:
        self.limit = limit
        self.seconds = 0.0
        self.powers = Powers()
        self._total = self._bad = self._wild = 0
        self._sample_rate, self._channel = target.sample_rate, channel
        self._rate = 0
        self._resampler: Any = None
        self._samples = target.spool()

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel each other out in their mean.

        Returns
        -------
        bool
            False if one of them is used instead.
        """
        return self._channel is None and self.powers.cancel

    @property
    def has_other_scale(self) -> bool:
        """Whether samples beyond the limit belong to the recording: they are many, or the rest is loud too.

        Returns
        -------
        bool
        """
        if not self._wild:
            return False
        power = self.powers.of_channels.sum() / max(1, self._total - self._wild - self._bad)
        return self._wild > TOLERATED_SHARE * self._total or power >= 1

    def add(self, rate: int, block: Samples) -> None:
        """Append a block.

        Parameters
        ----------
        rate : int
            Sample rate, in Hz.
        block : float32 [frames, channels]
            The samples.

        Raises
        ------
        AudioError
            If the sample rate is out of range.
        NoRoom
            If the samples do not fit on the disk.
        """
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise AudioError(
                f"has a sample rate of {rate} Hz; only {LOWEST_RATE} to {HIGHEST_RATE} are supported"
            )
        block = self._clean(block)
        mono = self._mono(block)
        self.powers.add(block, mono)
        self.seconds += len(block) / rate
        self._samples.append(self._resample(rate, mono))

    def samples(self) -> Spool:
        """Finish the track; nothing can be added afterwards.

        Returns
        -------
        Spool
            Mono, at the track's sample rate.
        """
        self._samples.append(self._flush())
        return self._samples

    def complaints(self) -> list[str]:
        """List what the user must know about the samples' values.

        Returns
        -------
        list of str
            Notes.

        Raises
        ------
        AudioError
            If too many samples are not numbers.
        """
        if self._bad > TOLERATED_SHARE * self._total:
            raise AudioError(
                f"has {self._bad} of {self._total} samples that are not numbers in any audio range"
            )
        notes = [f"{self._bad} samples that are not numbers were taken as 0"] if self._bad else []
        if self._wild:
            notes.append(f"{self._wild} samples beyond {WILD_SAMPLE:.0f} x full scale were taken as 0")
        return notes

    def _clean(self, block: Samples) -> Samples:
        self._total += block.size
        if not block.size or (block.max() <= self.limit and block.min() >= -self.limit):  # false for NaN
            return block
        level = np.abs(block)
        good, numbers = level <= self.limit, int(np.count_nonzero(level <= LARGEST_SAMPLE))
        self._bad += block.size - numbers
        self._wild += numbers - int(np.count_nonzero(good))
        return np.where(good, block, np.float32(0))

    def _mono(self, block: Samples) -> Samples:
        if self._channel is None:
            return mean_of_channels(block)
        return block[:, min(self._channel, block.shape[1] - 1)]

    def _resample(self, rate: int, mono: Samples) -> Samples:
        flushed = np.empty(0, np.float32)
        if rate != self._rate:
            flushed = self._flush()
            self._rate, self._resampler = rate, _resampler(rate, self._sample_rate)
        if self._resampler is None:
            return np.concatenate([flushed, mono]) if len(flushed) else mono
        resampled = self._resampler.resample_chunk(np.ascontiguousarray(mono))
        return np.concatenate([flushed, resampled]) if len(flushed) else resampled

    def _flush(self) -> Samples:
        if self._resampler is None:
            return np.empty(0, np.float32)
        rest = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
        self._resampler = None
        return rest


def _resampler(rate: int, target: int) -> Any:
    if rate == target:
        return None
    import soxr

    return soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
