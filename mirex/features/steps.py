"""Uncompressed samples that are out of step: bytes lost, or put in, between two of them.

Behind such a place every sample is made of parts of two, which sounds as noise. Sound is smooth, its
neighbouring samples alike; a piece that is not, while it would be from another byte on, is out of step.
"""

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Samples
from mirex.features.containers import Window
from mirex.features.track import LARGEST_SAMPLE, WILD_SAMPLE, Blocks

_PIECE = 2048  # frames looked at together
_SMOOTH = 0.4  # correlation of neighbouring samples; sound has more, noise less
_NOTHING = 1e-12  # full scale is 1.0; floats out of step are mostly smaller, or wild
_PLACES = 16  # where a file is looked at
_TYPES = {"PCM_16": "i2", "PCM_24": "u1", "PCM_32": "i4", "FLOAT": "f4", "DOUBLE": "f8"}


class Reader:
    """The samples of an uncompressed file.

    Parameters
    ----------
    source : Window
        The samples' bytes.
    rate, channels : int
        Frames a second, and samples in each.
    subtype : str
        libsndfile's name of the samples' form.
    big_endian : bool
        The order of a sample's bytes.

    """

    def __init__(self, source: Window, *, rate: int, channels: int, subtype: str, big_endian: bool) -> None:
        self._known = subtype in _TYPES
        self._source, self._rate, self._channels, self._big = source, rate, channels, big_endian
        self._type = np.dtype((">" if big_endian else "<") + _TYPES.get(subtype, "u1"))
        self._width = channels * (3 if subtype == "PCM_24" else self._type.itemsize)
        self._full_scale = 1.0 if self._type.kind == "f" else 2.0 ** (8 * self._width // channels - 1)

    def out_of_step(self) -> bool:
        """Whether some place of the file is; its end is looked at too.

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
        """All samples, each in step; the pieces in which the step changes are left out.

        Yields
        ------
        tuple of int and float32 [frames, channels]
        """
        position, size = 0, _PIECE * self._width
        while position < self._source.size:
            # A piece in which the step changes is no measure; the next one is.
            shift = self._shift(position + size) if self._smoothness(position) < _SMOOTH else 0
            if not shift:
                yield self._rate, _narrowed(self._values(position))
            position += size + shift

    def _shift(self, position: int) -> int:
        """From how many bytes further on a piece is smooth, if it is not where it stands; else 0."""
        here = self._smoothness(position)
        if here >= _SMOOTH:
            return 0
        # From the next channel on it would be in step too; there a few wild samples may be missing.
        shifts = [shift for shift in range(1, self._width) if shift % (self._width // self._channels)]
        found = {shift: self._smoothness(position + shift) for shift in shifts}
        best = max(found, key=found.__getitem__, default=0)
        return best if best and found[best] >= max(2 * _SMOOTH, here + _SMOOTH) else 0

    def _smoothness(self, position: int) -> float:
        """Correlation of neighbouring samples; 1 for silence and the very end, 0 for what are no samples."""
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
        """Of one piece, [frames, channels]."""
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
    """As float32; what would be infinite there stays a sample that is none."""
    return np.clip(values, -2 * LARGEST_SAMPLE, 2 * LARGEST_SAMPLE).astype(np.float32)
