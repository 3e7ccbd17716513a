"""Constant-Q columns of a signal: the front end's exact definition, in two implementations.

Definition. Essentia's `ConstantQ` (after Brown & Puckette 1992) with `zeroPhase=False` and
`threshold=0` on raw frames. Bin k has the centre f_k = min_frequency * 2^(k / bins_per_octave) and
the kernel length L_k = Q * sample_rate / f_k, Q = 1 / (2^(1 / bins_per_octave) - 1). Its kernel is a
symmetric Hann window of floor(L_k) samples, scaled to the sum L_k, times exp(-2 pi i f_k n / sample_rate),
with its middle at sample frame/2 of the frame. Magnitudes are divided by L_k / 2, so that a tone of
amplitude 1 at a centre gives 1.0 in every bin. Frame t is centred at sample t * hop of the signal, zeros
outside it; there are ceil(samples / hop) frames. A column is the mean magnitude of
`frames_per_column` frames; a remainder of fewer frames is dropped, unless it is all there is.

Implementations. "essentia", the reference, calls the library frame by frame. "multirate" computes the
same sums with each octave at its own sampling rate (an idea of Schoerkhuber & Klapuri, SMC 2010).
The signal is halved once per octave by a low-pass filter of 27 taps, and the octave's kernels are fitted to
its grid by least squares, so that filters and kernel together are the kernel of the definition. The absolute
values of the residual sum to less than 2.5e-5 in every bin, so no signal's magnitudes can differ from the
definition by more than 2.5e-5 of the signal's peak. Essentia's differ by up to 1e-4 of it, because it leaves
out the kernels' negative frequencies.
"""

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mirex._typing import Columns, Samples
from mirex.errors import UsageError
from mirex.settings import FrontEndSettings

Numbers = Any  # a float32 array: NumPy's on the CPU, PyTorch's elsewhere

IMPLEMENTATIONS = ("multirate", "essentia")
CHUNK_COLUMNS = 64  # on a CPU; bounds memory; fixed, because the sums would depend on it
_GPU_CHUNK_COLUMNS = 1024  # 8 minutes: a GPU needs more work at a time
_TAPS = 27  # of the half-band filter; odd, and every other one but the middle is zero
_KAISER = 12.0  # its window: the fit has the smallest residual with this one
_PASS = 2150 / 22050  # of a rate: up to here the filter leaves amplitudes as they are, within 1e-6
_BESIDE = 4  # grid points by which a fitted kernel is longer than the defined one, on each side
_BLOCK = 16  # samples that halving computes at once, as one row of a matrix product


def columns(
    samples: Samples,
    *,
    settings: FrontEndSettings | None = None,
    implementation: str = "multirate",
    device: str = "cpu",
) -> Columns:
    """Compute the CQT columns of a signal.

    Parameters
    ----------
    samples : float32 [samples]
        Mono, at `settings.sample_rate`, finite.
    settings : FrontEndSettings, optional
        Of the transform; those of the shipped weights by default.
    implementation : {"multirate", "essentia"}
        "essentia" is the reference, hundreds of times slower, on the CPU only.
    device : str
        Where "multirate" computes: "cpu", in NumPy, or another device of PyTorch.

    Returns
    -------
    float32 [bins, columns]
        Magnitudes, at least one column; 1.0 is a tone of amplitude 1. A column depends on the samples
        under its kernels alone, not on the signal's length.

    Raises
    ------
    UsageError
        For an unknown implementation.

    Examples
    --------
    >>> import numpy as np
    >>> time = np.arange(22050, dtype=np.float32) / 22050
    >>> found = columns(np.sin(2 * np.pi * 440 * time))
    >>> found.shape, int(found.mean(axis=1).argmax())  # the A is 45 semitones above C1
    ((84, 2), 45)
    """
    settings = settings or FrontEndSettings()
    if implementation not in IMPLEMENTATIONS:
        raise UsageError(f"CQT implementation {implementation!r}: choose one of {', '.join(IMPLEMENTATIONS)}")
    transform = _Essentia(settings) if implementation == "essentia" else _multirate(settings, device)
    result = np.empty((settings.bins, count_columns(len(samples), settings=settings)), np.float32)
    step = CHUNK_COLUMNS if device == "cpu" else _GPU_CHUNK_COLUMNS
    for start in range(0, result.shape[1], step):
        stop = min(start + step, result.shape[1])
        first = start * settings.frames_per_column * settings.hop
        magnitudes = transform.magnitudes(samples, first, (stop - start) * settings.frames_per_column)
        result[:, start:stop] = _average(magnitudes, len(samples), settings)
    return result


def count_columns(samples: int, *, settings: FrontEndSettings) -> int:
    """Count the columns that `columns` gives for a signal.

    Parameters
    ----------
    samples : int
        Length of the signal.
    settings : FrontEndSettings
        Of the transform.

    Returns
    -------
    int
        1 or more.
    """
    frames = -(-samples // settings.hop)
    return max(1, frames // settings.frames_per_column)


def centre_frequencies(settings: FrontEndSettings) -> NDArray[np.float64]:
    """Compute the centre frequency of every bin.

    Parameters
    ----------
    settings : FrontEndSettings
        Of the transform.

    Returns
    -------
    float64 [bins]
        In Hz.
    """
    return settings.min_frequency * 2.0 ** (np.arange(settings.bins) / settings.bins_per_octave)


def kernel_lengths(settings: FrontEndSettings) -> NDArray[np.float64]:
    """Compute L_k of every bin.

    Parameters
    ----------
    settings : FrontEndSettings
        Of the transform.

    Returns
    -------
    float64 [bins]
        In samples; not whole numbers.
    """
    q = 1.0 / (2.0 ** (1.0 / settings.bins_per_octave) - 1.0)
    return q * settings.sample_rate / centre_frequencies(settings)


def kernel(bin_index: int, *, settings: FrontEndSettings) -> NDArray[np.complex128]:
    """Compute the time-domain kernel of one bin, divided by L_k / 2.

    Parameters
    ----------
    bin_index : int
        k, from 0.
    settings : FrontEndSettings
        Of the transform.

    Returns
    -------
    complex128 [floor(L_k)]
    """
    exact = kernel_lengths(settings)[bin_index]
    length = int(exact)
    n = np.arange(length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / (length - 1))
    phase = 2 * np.pi * centre_frequencies(settings)[bin_index] * (n - length // 2) / settings.sample_rate
    return 2.0 * window / window.sum() * np.exp(-1j * phase)


class _Transform(Protocol):
    def magnitudes(self, samples: Samples, first: int, frames: int) -> Numbers:
        """Compute the magnitudes of frames.

        Parameters
        ----------
        samples : float32 [samples]
            The whole signal.
        first : int
            Sample at the first frame's centre.
        frames : int
            How many frames.

        Returns
        -------
        float32 [bins, frames]
            On the transform's device.
        """


def _average(magnitudes: Numbers, samples: int, settings: FrontEndSettings) -> Columns:
    """Mean over each column's frames; a signal shorter than one column has fewer frames."""
    frames = -(-samples // settings.hop)
    if frames < settings.frames_per_column:
        found = magnitudes[:, : max(frames, 1)].mean(1)[:, None]
    else:
        found = magnitudes.reshape(settings.bins, -1, settings.frames_per_column).mean(2)
    return found if isinstance(found, np.ndarray) else found.cpu().numpy()


def _overlap(samples: Samples, first: int, length: int) -> tuple[int, Samples]:
    """The part of the signal that lies in a chunk beginning at sample `first`, and where it begins there."""
    return max(-first, 0), samples[max(first, 0) : max(first + length, 0)]


class _Essentia:
    def __init__(self, settings: FrontEndSettings) -> None:
        import essentia

        essentia.log.infoActive = False
        essentia.log.warningActive = False
        from essentia import standard

        self._transform = standard.ConstantQ(
            sampleRate=settings.sample_rate,
            minFrequency=settings.min_frequency,
            numberBins=settings.bins,
            binsPerOctave=settings.bins_per_octave,
            windowType=settings.window,
            threshold=settings.threshold,
            zeroPhase=False,
        )
        self._half_lengths = (kernel_lengths(settings) / 2).astype(np.float32)
        self._settings = settings

    def magnitudes(self, samples: Samples, first: int, frames: int) -> NDArray[np.float32]:
        hop, frame = self._settings.hop, self._settings.frame
        chunk = np.zeros((frames - 1) * hop + frame, np.float32)
        offset, inside = _overlap(samples, first - frame // 2, len(chunk))
        chunk[offset : offset + len(inside)] = inside
        spectra = [np.abs(self._transform(chunk[i * hop : i * hop + frame])) for i in range(frames)]
        return (np.stack(spectra, axis=1) / self._half_lengths[:, None]).astype(np.float32)


class _Octave(NamedTuple):
    """Kernels of an octave, on the grid of a signal that was halved `halvings` times.

    lowest: the first bin.
    kernels: float32 [2 * half + 1, 2 * bins], real parts, then imaginary; the middle row is the centre's.
    """

    lowest: int
    halvings: int
    half: int
    kernels: NDArray[np.float32]


class _Multirate:
    """In NumPy on the CPU, in PyTorch on another device.

    The first frame's centre is placed in a chunk so that it lies on the grid of every octave. The middle of
    sample i of a halved signal is sample 2 i + _TAPS // 2 of the signal before.
    """

    def __init__(self, settings: FrontEndSettings, device: str) -> None:
        self._settings, self._device = settings, device
        self._octaves = [(each, self._moved(each.kernels)) for each in _octaves(settings)]
        self._halvings = max(each.halvings for each, _ in self._octaves)
        self._own, self._following = map(self._moved, _halving_matrix())
        self._centres = self._place_first_centre()

    def magnitudes(self, samples: Samples, first: int, frames: int) -> Numbers:
        signal = self._chunk(samples, first, frames)
        result = self._zeros(self._settings.bins, frames)
        for halvings in range(self._halvings + 1):
            for octave, kernels in self._octaves:
                if octave.halvings == halvings:
                    start, hop = self._centres[halvings] - octave.half, self._settings.hop >> halvings
                    found = _rows(signal[start:], frames, len(kernels), hop) @ kernels
                    bins = found.shape[1] // 2
                    real, imaginary = found[:, :bins], found[:, bins:]
                    magnitudes = (real * real + imaginary * imaginary) ** 0.5
                    result[octave.lowest : octave.lowest + bins] = magnitudes.T
            if halvings < self._halvings:
                signal = self._halve(signal)
        return result

    def _place_first_centre(self) -> list[int]:
        """Position of the first frame's centre after 0, 1, ... halvings: as early as all kernels fit."""
        widest = {each.halvings: each.half for each, _ in self._octaves}
        deepest = 0
        while True:
            centres = [deepest]
            for _ in range(self._halvings):
                centres.insert(0, 2 * centres[0] + _TAPS // 2)
            if all(centres[halvings] >= half for halvings, half in widest.items()):
                return centres
            deepest += 1

    def _chunk(self, samples: Samples, first: int, frames: int) -> Numbers:
        """The samples that some frames need, from the begin of the first frame's kernels."""
        signal = self._zeros(self._needed(frames))
        offset, inside = _overlap(samples, first - self._centres[0], len(signal))
        signal[offset : offset + len(inside)] = self._moved(inside)
        return signal

    def _needed(self, frames: int) -> int:
        """Count these samples."""
        length = 0
        for halvings in range(self._halvings, -1, -1):
            if halvings < self._halvings:
                length = 2 * _BLOCK * -(-length // _BLOCK) + _TAPS - 2
            reach = max((each.half for each, _ in self._octaves if each.halvings == halvings), default=0)
            last = self._centres[halvings] + (frames - 1) * (self._settings.hop >> halvings)
            length = max(length, last + reach + 1)
        return length

    def _halve(self, signal: Numbers) -> Numbers:
        """Filter and keep every other sample: rows of 2 * _BLOCK samples to rows of _BLOCK."""
        step = len(self._own)
        count = (len(signal) - len(self._following)) // step
        halved = _rows(signal[step:], count, len(self._following), step) @ self._following
        halved += signal[: count * step].reshape(count, step) @ self._own
        return halved.reshape(-1)

    def _zeros(self, *shape: int) -> Numbers:
        if self._device == "cpu":
            return np.zeros(shape, np.float32)
        import torch

        return torch.zeros(shape, device=self._device)

    def _moved(self, values: NDArray[np.float32]) -> Numbers:
        if self._device == "cpu":
            return values
        import torch

        return torch.from_numpy(np.require(values, np.float32, "W")).to(self._device)


def _rows(signal: Numbers, count: int, length: int, step: int) -> Numbers:
    """Overlapping pieces of a signal, one every `step` samples, as rows of a matrix."""
    if isinstance(signal, np.ndarray):  # laid out anew, since BLAS cannot take rows that overlap
        return np.ascontiguousarray(sliding_window_view(signal, length)[::step][:count])
    return signal.unfold(0, length, step)[:count]


def half_band_filter() -> NDArray[np.float64]:
    """Design the low-pass filter for dropping every other sample: a sinc under a Kaiser window.

    At 22,050 Hz it passes 0 to 2,150 Hz, and stops what would alias into that range.

    Returns
    -------
    float64 [27]
    """
    n = np.arange(_TAPS) - _TAPS // 2
    taps = np.kaiser(_TAPS, _KAISER) * np.sinc(n / 2)
    return taps / taps.sum()


def _halving_matrix() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The filter as a matrix for a row of 2 * _BLOCK samples, and for those it needs of the next row."""
    taps, matrix = half_band_filter(), np.zeros((2 * _BLOCK + _TAPS - 2, _BLOCK), np.float32)
    for index in range(_BLOCK):
        matrix[2 * index : 2 * index + _TAPS, index] = taps
    return matrix[: 2 * _BLOCK], matrix[2 * _BLOCK :]


@lru_cache(maxsize=2)
def _multirate(settings: FrontEndSettings, device: str) -> _Multirate:
    return _Multirate(settings, device)


@lru_cache(maxsize=2)
def _octaves(settings: FrontEndSettings) -> list[_Octave]:
    """The kernels, highest octave first."""
    found = []
    for low in range(0, settings.bins, settings.bins_per_octave):
        bins = range(low, min(low + settings.bins_per_octave, settings.bins))
        halvings = _count_halvings(centre_frequencies(settings)[bins[-1]], settings)
        kernels = [kernel(index, settings=settings) for index in bins]
        half = -(-len(kernels[0]) // 2 // 2**halvings) + _BESIDE
        fitted = _fit(kernels, halvings=halvings, half=half).astype(np.float32)
        found.append(_Octave(low, halvings, half, fitted))
    return found[::-1]


def _count_halvings(frequency: float, settings: FrontEndSettings) -> int:
    """How often a signal may be halved for a bin with this centre; frames stay on whole samples."""
    halvings = 0
    while frequency <= _PASS * settings.sample_rate / 2**halvings and settings.hop % 2 ** (halvings + 1) == 0:
        halvings += 1
    return halvings


def _fit(kernels: list[NDArray[np.complex128]], *, halvings: int, half: int) -> NDArray[np.float64]:
    """Kernels for the halved signal that, together with the filters before them, best match the given ones.

    Returns float64 [2 * half + 1, 2 * kernels]: real parts, then imaginary.
    """
    filters, step = _filters(halvings), 2**halvings
    middle = half * step + len(filters) // 2
    wanted = np.zeros((2 * middle + 1, 2 * len(kernels)))
    for column, values in enumerate(kernels):
        start = middle - len(values) // 2
        wanted[start : start + len(values), column] = values.real
        wanted[start : start + len(values), column + len(kernels)] = values.imag
    if not halvings:
        return wanted
    # A row of the grid is the filters as one of its samples sees them. The normal equations are well
    # conditioned: filters and their images add up to nearly the same power at all frequencies.
    grid = np.zeros((2 * half + 1, len(wanted)))
    for index, row in enumerate(grid):
        row[index * step : index * step + len(filters)] = filters
    return np.linalg.solve(grid @ grid.T, grid @ wanted).astype(np.float64, copy=False)


def _filters(halvings: int) -> NDArray[np.float64]:
    """All filters of `halvings` halvings, as one filter at the first rate; 1 if there are none."""
    taps, combined = half_band_filter(), np.ones(1)
    for index in range(halvings):
        spread = np.zeros((_TAPS - 1) * 2**index + 1)
        spread[:: 2**index] = taps
        combined = np.convolve(combined, spread)
    return combined
