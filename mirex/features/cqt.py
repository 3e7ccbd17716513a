"""Constant-Q columns of a signal: the front end's exact definition, in two implementations.

Definition. Essentia's `ConstantQ` (after Brown & Puckette 1992) with `zeroPhase=False` and
`threshold=0` on raw frames. Bin k has the centre f_k = min_frequency * 2^(k / bins_per_octave) and
the kernel length L_k = Q * sample_rate / f_k, Q = 1 / (2^(1 / bins_per_octave) - 1). Its kernel is a
symmetric Hann window of floor(L_k) samples, scaled to the sum L_k, times exp(-2 pi i f_k n / sample_rate),
with its middle at sample frame/2 of the frame. Magnitudes are divided by L_k / 2, so that a tone of
amplitude 1 at a centre gives 1.0 in every bin. Frame t is centred at sample t * hop of the signal, zeros
outside it; there are ceil(samples / hop) frames. A column is the mean magnitude of
`frames_per_column` frames; a rest of fewer frames is dropped, unless it is all there is.

Implementations. "essentia" calls the library frame by frame: the reference. "matrix" computes the
same sums without frames or FFT: the signal is cut into rows of `hop` samples, and each octave's kernel,
which needs only the rows around its frame's middle, is added as one matrix product per row offset.
It departs from the reference by less than 1e-4 of the signal's peak, because Essentia leaves out the
kernels' negative frequencies; where the two differ, "matrix" is the one that follows the definition.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Columns, Samples
from mirex.errors import UsageError
from mirex.settings import FrontEndSettings

IMPLEMENTATIONS = ("matrix", "essentia")
CHUNK_COLUMNS = 64  # bounds memory, and is fixed so that the sums never depend on it


def columns(
    samples: Samples,
    *,
    settings: FrontEndSettings | None = None,
    implementation: str = "matrix",
    device: str = "cpu",
) -> Columns:
    """CQT columns of a signal.

    samples: float32 [samples], mono, at settings.sample_rate, finite. implementation: "matrix" or
    "essentia" (CPU only). device: a torch device for "matrix".
    Returns float32 [bins, columns], at least one column; 1.0 is a tone of amplitude 1.
    Raises UsageError for an unknown implementation.
    """
    settings = settings or FrontEndSettings()
    if implementation not in IMPLEMENTATIONS:
        raise UsageError(f"CQT implementation {implementation!r}: choose one of {', '.join(IMPLEMENTATIONS)}")
    total = count_columns(len(samples), settings=settings)
    chunk_magnitudes = (
        _essentia_magnitudes(settings)
        if implementation == "essentia"
        else _matrix_magnitudes(settings, device)
    )
    result = np.empty((settings.bins, total), np.float32)
    for start, stop, chunk in _chunks(samples, total, settings):
        result[:, start:stop] = _average(chunk_magnitudes(chunk), samples, start, stop, settings)
    return result


def count_columns(samples: int, *, settings: FrontEndSettings) -> int:
    """Number of columns that `columns` gives for a signal of so many samples."""
    frames = -(-samples // settings.hop)
    return max(1, frames // settings.frames_per_column)


def centre_frequencies(settings: FrontEndSettings) -> NDArray[np.float64]:
    """Centre of every bin in Hz: float64 [bins]."""
    return settings.min_frequency * 2.0 ** (np.arange(settings.bins) / settings.bins_per_octave)


def kernel_lengths(settings: FrontEndSettings) -> NDArray[np.float64]:
    """L_k of every bin in samples (not whole numbers): float64 [bins]."""
    q = 1.0 / (2.0 ** (1.0 / settings.bins_per_octave) - 1.0)
    return q * settings.sample_rate / centre_frequencies(settings)


def kernel(bin_index: int, *, settings: FrontEndSettings) -> NDArray[np.complex128]:
    """Time-domain kernel of one bin, divided by L_k / 2: complex128 [floor(L_k)]."""
    exact = kernel_lengths(settings)[bin_index]
    length = int(exact)
    n = np.arange(length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / (length - 1))
    phase = 2 * np.pi * centre_frequencies(settings)[bin_index] * (n - length // 2) / settings.sample_rate
    return 2.0 * window / window.sum() * np.exp(-1j * phase)


def _chunks(samples: Samples, total: int, settings: FrontEndSettings) -> Iterator[tuple[int, int, Samples]]:
    """Yield (first column, end column, the padded samples its frames need)."""
    per_column = settings.frames_per_column * settings.hop
    half = settings.frame // 2
    for start in range(0, total, CHUNK_COLUMNS):
        stop = min(start + CHUNK_COLUMNS, total)
        first = start * per_column - half
        last = (stop * settings.frames_per_column - 1) * settings.hop + half
        chunk = np.zeros(last - first, np.float32)
        inside = samples[max(first, 0) : max(last, 0)]
        offset = max(-first, 0)
        chunk[offset : offset + len(inside)] = inside
        yield start, stop, chunk


def _average(
    magnitudes: NDArray[np.float32], samples: Samples, start: int, stop: int, settings: FrontEndSettings
) -> Columns:
    """Mean over each column's frames; a signal shorter than one column has fewer frames than that."""
    frames = -(-len(samples) // settings.hop)
    per_column = settings.frames_per_column
    if frames < per_column:
        return magnitudes[:, : max(frames, 1)].mean(axis=1, keepdims=True)
    return magnitudes.reshape(settings.bins, stop - start, per_column).mean(axis=2)


def _essentia_magnitudes(settings: FrontEndSettings) -> Callable[[Samples], NDArray[np.float32]]:
    import essentia

    essentia.log.infoActive = False
    essentia.log.warningActive = False
    from essentia import standard

    transform = standard.ConstantQ(
        sampleRate=settings.sample_rate,
        minFrequency=settings.min_frequency,
        numberBins=settings.bins,
        binsPerOctave=settings.bins_per_octave,
        windowType=settings.window,
        threshold=settings.threshold,
        zeroPhase=False,
    )
    half_lengths = (kernel_lengths(settings) / 2).astype(np.float32)

    def magnitudes(chunk: Samples) -> NDArray[np.float32]:
        frames = range(0, len(chunk) - settings.frame + 1, settings.hop)
        spectra = [np.abs(transform(chunk[i : i + settings.frame])) / half_lengths for i in frames]
        return np.stack(spectra, axis=1).astype(np.float32)

    return magnitudes


def _matrix_magnitudes(settings: FrontEndSettings, device: str) -> Callable[[Samples], NDArray[np.float32]]:
    import torch

    bands = [(first, torch.from_numpy(blocks).to(device)) for first, blocks in _bands(settings)]
    rows_per_frame = settings.frame // settings.hop

    def magnitudes(chunk: Samples) -> NDArray[np.float32]:
        rows = torch.from_numpy(chunk).to(device).view(-1, settings.hop)
        frames = len(rows) - rows_per_frame + 1
        parts = []
        for first, blocks in bands:
            total = rows[first : first + frames] @ blocks[0]
            for offset in range(1, len(blocks)):
                total.addmm_(rows[first + offset : first + offset + frames], blocks[offset])
            real, imaginary = total.chunk(2, dim=1)
            parts.append(torch.hypot(real, imaginary))
        return torch.cat(parts, dim=1).T.contiguous().cpu().numpy()

    return magnitudes


@lru_cache(maxsize=2)
def _bands(settings: FrontEndSettings) -> list[tuple[int, NDArray[np.float32]]]:
    """Kernels octave by octave: (first row of the frame, float32 [rows, hop, 2 * bins]: real, imaginary)."""
    bands = []
    for low in range(0, settings.bins, settings.bins_per_octave):
        bins = range(low, min(low + settings.bins_per_octave, settings.bins))
        kernels = [kernel(index, settings=settings) for index in bins]
        begin = settings.frame // 2 - len(kernels[0]) // 2
        end = settings.frame // 2 + (len(kernels[0]) + 1) // 2
        first, last = begin // settings.hop, -(-end // settings.hop)
        dense = np.zeros(((last - first) * settings.hop, len(kernels)), np.complex128)
        for column, values in enumerate(kernels):
            offset = settings.frame // 2 - len(values) // 2 - first * settings.hop
            dense[offset : offset + len(values), column] = values
        stacked = np.concatenate([dense.real, dense.imag], axis=1).astype(np.float32)
        bands.append((first, stacked.reshape(last - first, settings.hop, -1)))
    return bands
