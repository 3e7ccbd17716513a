"""The constant-Q front end: two implementations, one definition, and vectors frozen with the weights."""

import dataclasses
import math
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

import make_vectors
from mirex.errors import UsageError
from mirex.features import cqt
from mirex.settings import FrontEndSettings

SETTINGS = FrontEndSettings()
COLUMN = SETTINGS.hop * SETTINGS.frames_per_column  # samples
CENTRES = cqt.centre_frequencies(SETTINGS)
LENGTHS = cqt.kernel_lengths(SETTINGS)
LEFT_OVER = 2.5e-5  # of a signal's peak: more than any signal can be from the definition


def tone(frequency: float, *, columns: float = 4, amplitude: float = 1.0) -> np.ndarray:
    n = np.arange(int(columns * COLUMN))
    return (amplitude * np.cos(2 * np.pi * frequency * n / SETTINGS.sample_rate)).astype(np.float32)


def assert_implementations_agree(samples: np.ndarray) -> np.ndarray:
    """Equal down to 80 dB below the signal's peak; returns the columns.

    There Essentia itself departs from the definition: it leaves out the kernels' negative frequencies.
    """
    found = cqt.columns(samples)
    expected = cqt.columns(samples, implementation="essentia")
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    peak = float(np.abs(samples).max(initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * peak)
    return found


def defined_columns(samples: np.ndarray, columns: range | None = None) -> np.ndarray:
    """Columns straight from the definition, frame by frame, in float64."""
    half, per_column = SETTINGS.frame // 2, SETTINGS.frames_per_column
    kernels = np.zeros((SETTINGS.frame, SETTINGS.bins), np.complex128)
    for index in range(SETTINGS.bins):
        values = cqt.kernel(index, settings=SETTINGS)
        start = half - len(values) // 2
        kernels[start : start + len(values), index] = values
    padded = np.pad(samples.astype(np.float64), SETTINGS.frame)
    found = []
    for column in columns or range(cqt.count_columns(len(samples), settings=SETTINGS)):
        middles = SETTINGS.frame + SETTINGS.hop * np.arange(column * per_column, (column + 1) * per_column)
        frames = np.stack([padded[middle - half : middle + half] for middle in middles])
        found.append((abs(frames @ kernels.real + 1j * (frames @ kernels.imag))).mean(axis=0))
    return np.stack(found, axis=1)


def assert_as_defined(samples: np.ndarray) -> None:
    """Within what the fit leaves over, of the signal's peak; 80 dB below the peak would be 1e-4."""
    peak = float(np.abs(samples).max(initial=0.0))
    np.testing.assert_allclose(
        cqt.columns(samples), defined_columns(samples), rtol=2e-6, atol=LEFT_OVER * peak
    )


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    samples, rate = soundfile.read(make_vectors.DEMO / "bay.ogg", dtype="float32")
    assert rate == SETTINGS.sample_rate
    return samples


# --- the definition -----------------------------------------------------------------------------


def test_centres_are_the_notes_of_equal_temperament():
    midi = 69 + 12 * np.log2(CENTRES / 440)
    np.testing.assert_allclose(midi, np.arange(24, 24 + 84), atol=2e-4)


def test_kernels_fit_the_frame():
    assert math.floor(LENGTHS[0]) == 11338
    assert max(LENGTHS) < SETTINGS.frame
    ratios = LENGTHS * CENTRES / SETTINGS.sample_rate
    np.testing.assert_allclose(ratios, 1 / (2 ** (1 / 12) - 1))


@pytest.mark.parametrize("index", [0, 1, 13, 40, 71, 83])
def test_kernel_against_essentia_probed_by_impulses(index):
    standard = pytest.importorskip("essentia.standard")
    transform = standard.ConstantQ(
        sampleRate=22050, minFrequency=32.703, numberBins=84, threshold=0, zeroPhase=False
    )
    expected = cqt.kernel(index, settings=SETTINGS)
    start = SETTINGS.frame // 2 - len(expected) // 2
    positions = np.unique(np.linspace(start - 3, start + len(expected) + 2, 41).astype(int))
    probed = []
    for position in positions:
        frame = np.zeros(SETTINGS.frame, np.float32)
        frame[position] = 1.0
        probed.append(transform(frame)[index] / (LENGTHS[index] / 2))
    inside = np.pad(expected, 3)[positions - (start - 3)]
    # One constant phase between the two (the middle of an even or odd window) leaves magnitudes alone.
    turn = np.vdot(inside, probed)
    np.testing.assert_allclose(probed, inside * turn / abs(turn), atol=1e-3 * abs(expected).max())


def test_kernel_is_symmetric_with_gain_two():
    for index in range(0, 84, 7):
        window = abs(cqt.kernel(index, settings=SETTINGS))
        np.testing.assert_allclose(window, window[::-1], atol=1e-12)
        assert window.sum() == pytest.approx(2.0)


@pytest.mark.parametrize("implementation", cqt.IMPLEMENTATIONS)
def test_tone_at_each_centre_has_its_bin_and_magnitude_one(implementation):
    step = 1 if implementation == "multirate" else 14
    for index in range(0, 84, step):
        # The middle columns: at the ends a low bin's kernel reaches over the edge of the signal.
        found = cqt.columns(tone(CENTRES[index]), implementation=implementation)[:, 1:3].mean(axis=1)
        assert found.argmax() == index
        assert found[index] == pytest.approx(1.0, abs=2e-3), index


def test_all_centres_agree_with_essentia():
    # One after the other, neighbours far apart: at once, they would hide one that is wrong.
    order = [index * 31 % 84 for index in range(84)]
    samples = np.concatenate([tone(CENTRES[index], columns=0.4, amplitude=0.5) for index in order])
    assert_implementations_agree(samples)


def test_magnitude_is_linear_in_amplitude(music):
    samples = music[: 3 * COLUMN]
    np.testing.assert_allclose(cqt.columns(samples * 0.01), cqt.columns(samples) * 0.01, rtol=1e-3, atol=1e-9)


# --- several rates ------------------------------------------------------------------------------


def test_no_signal_can_be_further_from_the_definition_than_the_fit_leaves_over():
    """A signal within [-1, 1] times what is left over sums to at most its absolute values."""
    for octave in cqt._octaves(SETTINGS):
        filters = cqt._filters(octave.halvings)
        for column in range(SETTINGS.bins_per_octave):
            spread = np.zeros(2 * octave.half * 2**octave.halvings + 1, np.complex128)
            spread[:: 2**octave.halvings] = octave.kernels[:, [column, column + 12]] @ [1, 1j]
            together = np.convolve(spread, filters)
            index = 12 * (6 - octave.halvings) + column
            expected = cqt.kernel(index, settings=SETTINGS)
            start = len(together) // 2 - len(expected) // 2
            together[start : start + len(expected)] -= expected
            assert abs(together).sum() < LEFT_OVER, index


def test_each_octave_but_the_highest_has_half_the_rate_of_the_one_above():
    assert [octave.halvings for octave in cqt._octaves(SETTINGS)] == [0, 1, 2, 3, 4, 5, 6]


def test_a_hop_that_cannot_be_halved_has_the_full_rate(music):
    odd = dataclasses.replace(SETTINGS, hop=511, frames_per_column=1)
    assert {octave.halvings for octave in cqt._octaves(odd)} == {0}
    found = cqt.columns(music[: 5 * 511], settings=odd)
    expected = cqt.columns(music[: 5 * 511], settings=odd, implementation="essentia")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_music_is_as_defined(music):
    assert_as_defined(music[: 6 * COLUMN])


def test_tones_are_as_defined():
    for index in range(84):
        assert_as_defined(tone(CENTRES[index] * 2 ** (index % 3 / 36), columns=1))


@pytest.mark.parametrize("frequency", [0.0, 2_800.0, 5_512.5, 8_600.0, 9_100.0, 10_900.0, 11_025.0])
def test_what_lies_outside_the_bins_is_as_defined(frequency):
    # Were the filter to let them through, 8,600 and 9,100 Hz would be 2,425 and 1,925 Hz after halving.
    assert_as_defined(tone(frequency, columns=2))


def test_noise_is_as_defined(rng):
    assert_as_defined(rng.uniform(-1, 1, 3 * COLUMN).astype(np.float32))


def test_clicks_are_as_defined():
    for distance in (1, 2, 3, 64, 997):  # as alternating steps they have the largest sums
        samples = np.zeros(2 * COLUMN, np.float32)
        samples[::distance] = np.resize([1.0, -1.0, -1.0], len(samples[::distance]))
        assert_as_defined(samples)


# --- two implementations ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bay.ogg", "West.ogg", "jumping_to_the_stars_remake_fast.ogg"])
def test_implementations_agree_on_music(name):
    samples, _ = soundfile.read(make_vectors.DEMO / name, dtype="float32", start=22050 * 20, frames=22050 * 6)
    found = assert_implementations_agree(samples)
    expected = cqt.columns(samples, implementation="essentia")
    logs = np.log(np.stack([found, expected]) + 1e-6).reshape(2, -1)
    assert np.corrcoef(logs)[0, 1] > 0.9999995


def test_implementations_agree_on_noise(rng):
    assert_implementations_agree((0.3 * rng.standard_normal(3 * COLUMN)).astype(np.float32))


def test_implementations_agree_on_silence():
    for implementation in cqt.IMPLEMENTATIONS:
        assert not cqt.columns(np.zeros(2 * COLUMN, np.float32), implementation=implementation).any()


def test_implementations_agree_on_clicks():
    samples = np.zeros(3 * COLUMN, np.float32)
    samples[[0, 5_000, 15_359, 15_360, 3 * COLUMN - 1]] = 1.0
    assert_implementations_agree(samples)


def test_implementations_agree_on_dc_and_it_is_nearly_nothing():
    found = assert_implementations_agree(np.full(4 * COLUMN, 0.5, np.float32))
    assert found[:, 1:3].max() < 1e-4, "away from the ends, where the offset is a step"


def test_implementations_agree_on_a_clipped_signal(music):
    assert_implementations_agree(np.clip(music[: 3 * COLUMN] * 30, -1, 1))


@pytest.mark.parametrize(
    "samples", [0, 1, 511, 512, 513, COLUMN - 512, COLUMN - 511, COLUMN, COLUMN + 1, 2 * COLUMN - 512]
)
def test_implementations_agree_on_short_signals(rng, samples):
    found = assert_implementations_agree(rng.uniform(-1, 1, samples).astype(np.float32))
    assert found.shape == (84, 1)
    assert np.isfinite(found).all()
    assert found.any() == (samples > 0)


# --- chunks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_signal() -> np.ndarray:
    """Two chunk borders and a rest; noise, so that no frame looks like its neighbour."""
    rng = np.random.default_rng(5)
    return rng.standard_normal((2 * cqt.CHUNK_COLUMNS + 5) * COLUMN + 3000).astype(np.float32)


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_columns_at_chunk_borders_follow_the_definition(long_signal, chunk):
    found = cqt.columns(long_signal)
    assert found.shape == (84, 2 * cqt.CHUNK_COLUMNS + 5)
    last = min((chunk + 1) * cqt.CHUNK_COLUMNS, found.shape[1]) - 1
    for column in (chunk * cqt.CHUNK_COLUMNS, last):
        expected = defined_columns(long_signal, range(column, column + 1))[:, 0]
        np.testing.assert_allclose(found[:, column], expected, rtol=2e-5)


def test_chunk_size_does_not_matter(long_signal, monkeypatch):
    expected = cqt.columns(long_signal)
    monkeypatch.setattr(cqt, "CHUNK_COLUMNS", 1000)
    np.testing.assert_allclose(cqt.columns(long_signal), expected, rtol=2e-6)


def test_memory_does_not_grow_with_the_signal():
    """Ten minutes are 53 MB as float32; a chunk is 2.8 MB."""
    samples = np.ones(600 * SETTINGS.sample_rate, np.float32)
    cqt.columns(samples[:COLUMN])  # kernels
    tracemalloc.start()
    cqt.columns(samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_a_column_does_not_depend_on_what_is_far_away(long_signal):
    cut = cqt.columns(long_signal[: 70 * COLUMN])
    np.testing.assert_allclose(cut[:, :69], cqt.columns(long_signal)[:, :69], rtol=2e-5)


def test_two_runs_give_the_same_bytes(long_signal):
    assert cqt.columns(long_signal).tobytes() == cqt.columns(long_signal.copy()).tobytes()


def test_threads_do_not_matter(long_signal, tmp_path):
    np.save(tmp_path / "signal.npy", long_signal)
    code = (
        "import sys, numpy as np, mirex; signal, result = sys.argv[1:]; "
        "np.save(result, mirex.columns(np.load(signal)))"
    )
    found = []
    for threads in ("1", "2"):
        paths = [str(tmp_path / "signal.npy"), str(tmp_path / f"{threads}.npy")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code, *paths], env=environment, check=True)
        found.append(np.load(paths[1]))
    np.testing.assert_allclose(found[0], found[1], rtol=2e-5)


@pytest.mark.parametrize("samples", [5 * 512, 3 * COLUMN, cqt.CHUNK_COLUMNS * COLUMN + 2 * COLUMN + 5])
def test_the_way_on_a_gpu_gives_the_same(music, samples, monkeypatch):
    """Longer chunks, averaged where the magnitudes are; PyTorch has a second name for the CPU."""
    signal = np.resize(music, samples)
    expected = cqt.columns(signal, device="cpu")
    monkeypatch.setattr(cqt, "CHUNK_COLUMNS", 0)
    np.testing.assert_allclose(cqt.columns(signal, device="cpu:0"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(music):
    np.testing.assert_allclose(
        cqt.columns(music, device="cuda"), cqt.columns(music, device="cpu"), rtol=1e-3, atol=1e-6
    )


# --- counts and arguments -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (0, 1),
        (1, 1),
        (COLUMN, 1),
        (2 * COLUMN - 512, 1),
        (2 * COLUMN - 511, 2),  # 40 frames: the last one's centre lies inside
        (2 * COLUMN, 2),
        (3600 * 22050, 7752),
    ],
)
def test_count_columns(samples, expected):
    assert cqt.count_columns(samples, settings=SETTINGS) == expected


def test_count_columns_agrees_with_columns(rng):
    settings = dataclasses.replace(SETTINGS, frames_per_column=3)
    for samples in rng.integers(0, 12 * 512, 20):
        signal = rng.standard_normal(samples).astype(np.float32)
        found = cqt.columns(signal, settings=settings).shape[1]
        assert found == cqt.count_columns(samples, settings=settings)


def test_more_frames_per_column_average_fewer(rng):
    signal = rng.standard_normal(COLUMN).astype(np.float32)
    fine = cqt.columns(signal, settings=dataclasses.replace(SETTINGS, frames_per_column=1))
    assert fine.shape == (84, 20)
    np.testing.assert_allclose(fine.mean(axis=1), cqt.columns(signal)[:, 0], rtol=1e-5)


@pytest.mark.parametrize("name", ["", "librosa", "matrix", "Multirate"])
def test_unknown_implementation(name):
    with pytest.raises(UsageError, match="multirate, essentia"):
        cqt.columns(np.zeros(100, np.float32), implementation=name)


# --- frozen vectors -----------------------------------------------------------------------------


def test_frozen_vectors_were_made_with_these_settings():
    assert make_vectors.load_front_end()["fingerprint"] == SETTINGS.fingerprint()


@pytest.mark.parametrize("implementation", cqt.IMPLEMENTATIONS)
@pytest.mark.parametrize("name", list(make_vectors.SOURCES))
def test_front_end_gives_the_frozen_vectors(name, implementation):
    # If this fails, audio no longer turns into what the weights were trained on.
    expected = make_vectors.load_front_end()[name]
    found = cqt.columns(make_vectors.SOURCES[name](), implementation=implementation)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5)
