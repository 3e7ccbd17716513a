"""Uncompressed samples that are out of step because bytes were lost or inserted between two of them.

After such a place every sample consists of parts of two others, which sounds like noise. In real sound
neighbouring samples are similar. A piece in which they are not, but would be if it started a few bytes later,
is out of step.
"""

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Samples
from mirex.features.containers import Window
from mirex.features.track import LARGEST_SAMPLE, WILD_SAMPLE, Blocks

_PIECE = 2048  # frames judged together
_SMOOTH = 0.4  # correlation of neighbouring samples; higher in sound, lower in noise
_NOTHING = 1e-12  # full scale is 1.0; floats out of step are mostly smaller, or huge
_PLACES = 16  # checked in each file
_TYPES = {"PCM_16": "i2", "PCM_24": "u1", "PCM_32": "i4", "FLOAT": "f4", "DOUBLE": "f8"}


class Reader:
    """Reads the samples of an uncompressed file.

    Parameters
    ----------
    source : Window
        The samples' bytes.
    rate, channels : int
        Frames per second, and samples per frame.
    subtype : str
        libsndfile's name for the sample format.
    big_endian : bool
        Byte order of the samples.

    """

    def __init__(self, source: Window, *, rate: int, channels: int, subtype: str, big_endian: bool) -> None:
        self._known = subtype in _TYPES
        self._source, self._rate, self._channels, self._big = source, rate, channels, big_endian
        self._type = np.dtype((">" if big_endian else "<") + _TYPES.get(subtype, "u1"))
        self._width = channels * (3 if subtype == "PCM_24" else self._type.itemsize)
        self._full_scale = 1.0 if self._type.kind == "f" else 2.0 ** (8 * self._width // channels - 1)

    def out_of_step(self) -> bool:
        """Whether the file is out of step at any of 16 places, the end included.

        Returns
        -------
        bool
        """
        last = self._source.size // self._width - _PIECE - 1
        if not self._known or last < 0:
            return False
        places = np.linspace(0, last, _PLACES).astype(int) * self._width
        return any(self._shift(int(place)) for place in places)

    def blocks(self) -> Blocks:
        """Decode all samples in step, except the pieces in which the step changes.

        Yields
        ------
        tuple of int and float32 [frames, channels]
        """
        position, size = 0, _PIECE * self._width
        while position < self._source.size:
            # A piece in which the step changes cannot be judged, but the next one can.
            shift = self._shift(position + size) if self._smoothness(position) < _SMOOTH else 0
            if not shift:
                yield self._rate, _narrowed(self._values(position))
            position += size + shift

    def _shift(self, position: int) -> int:
        """How many bytes later a piece must start to be smooth; 0 if it is smooth, or never becomes so."""
        here = self._smoothness(position)
        if here >= _SMOOTH:
            return 0
        # A shift by whole samples swaps channels and stays in step, so it is no candidate.
        shifts = [shift for shift in range(1, self._width) if shift % (self._width // self._channels)]
        found = {shift: self._smoothness(position + shift) for shift in shifts}
        best = max(found, key=found.__getitem__, default=0)
        return best if best and found[best] >= max(2 * _SMOOTH, here + _SMOOTH) else 0

    def _smoothness(self, position: int) -> float:
        """Correlation of neighbouring samples; 1 for silence and the last piece, 0 for no samples."""
        channel = self._values(position)[:, 0]
        if len(channel) < _PIECE:
            return 1.0
        level = np.abs(channel).max()
        if not level <= WILD_SAMPLE or 0 < level < _NOTHING:  # true for NaN
            return 0.0
        channel = channel - channel.mean()
        power = float(np.dot(channel, channel))
        return float(np.dot(channel[1:], channel[:-1])) / power if power else 1.0

    def _values(self, position: int) -> NDArray[np.float64]:
        """Samples of one piece, [frames, channels]."""
        data = self._source.at(position, _PIECE * self._width)
        data = data[: len(data) // self._width * self._width]
        whole = self._type.itemsize > 1
        values = np.frombuffer(data, self._type) if whole else _of_24_bits(data, big=self._big)
        with np.errstate(over="ignore", invalid="ignore"):
            return values.reshape(-1, self._channels).astype(np.float64) / self._full_scale


def _of_24_bits(data: bytes, *, big: bool) -> np.ndarray:
    digits = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
    low, middle, high = digits.T[::-1] if big else digits.T
    return ((high << 24 | middle << 16 | low << 8) >> 8).astype(np.int32)


def _narrowed(values: NDArray[np.float64]) -> Samples:
    """As float32; values too large for it stay recognisable as damage."""
    return np.clip(values, -2 * LARGEST_SAMPLE, 2 * LARGEST_SAMPLE).astype(np.float32)
