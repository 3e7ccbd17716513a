"""The baselines: invariances that they are built for, and the shortcuts that the code takes."""

import numpy as np
import pytest

from mirex.benchmarks.baselines import MIN_FRAMES, NO_MATCH, FourierMagnitude, Qmax
from mirex.features.views import fold

SYSTEMS = [Qmax(), FourierMagnitude()]


def melody(rng, *, columns=60):
    """CQT columns of a random melody, one tone for two columns, with some noise: float32 [84, columns]."""
    result = 0.01 * rng.random((84, columns))
    tones = np.repeat(rng.integers(24, 48, columns // 2 + 1), 2)[:columns]
    result[tones, np.arange(columns)] += 1.0
    return result.astype(np.float32)


def measure(system, first, second):
    return system.compare(
        [system.describe(each) for each in first], [system.describe(each) for each in second]
    )


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
class TestEverySystem:
    def test_finds_a_transposed_version(self, system, rng):
        works = [melody(rng) for _ in range(4)]
        distances = measure(system, [np.roll(work, 5, axis=0) for work in works], works)
        assert distances.argmin(axis=1).tolist() == [0, 1, 2, 3]

    def test_finds_a_later_excerpt(self, system, rng):
        works = [melody(rng, columns=150) for _ in range(4)]
        distances = measure(system, [work[:, 40:] for work in works], works)
        assert distances.argmin(axis=1).tolist() == [0, 1, 2, 3]

    def test_level_does_not_matter(self, system, rng):
        first, second = melody(rng), melody(rng)
        loud = measure(system, [first], [second])
        np.testing.assert_allclose(measure(system, [first * 8], [second]), loud, rtol=1e-5)

    @pytest.mark.parametrize("columns", [1, MIN_FRAMES - 1, MIN_FRAMES])
    def test_short_recordings_have_a_distance(self, system, rng, columns):
        short = melody(rng)[:, :columns]
        distances = measure(system, [short], [melody(rng), short])
        assert distances.shape == (1, 2)
        assert np.isfinite(distances).all()

    def test_a_profile_of_every_length_has_a_distance(self, system, rng):
        profiles = [rng.random((12, steps)).astype(np.float32) for steps in (1, 11, 60)]
        described = [system.describe_profile(profile) for profile in profiles]
        distances = system.compare(described[:1], described)
        assert distances.shape == (1, 3)
        assert np.isfinite(distances).all()

    def test_silence_has_a_distance(self, system, rng):
        silence = np.zeros((84, 30), np.float32)
        distances = measure(system, [silence], [melody(rng), silence])
        assert np.isfinite(distances).all()


class TestQmax:
    def test_half_of_the_pairs_is_enough_within_one_list(self, rng):
        works = [melody(rng, columns=columns) for columns in (40, 55, 31, 80)]
        described = [Qmax().describe(work) for work in works]
        every_pair = Qmax().compare(described, list(described))
        np.fill_diagonal(every_pair, 0)
        np.testing.assert_allclose(Qmax().compare(described, described), every_pair, rtol=1e-5)

    def test_is_root_of_reference_length_over_qmax(self):
        """A recording without repetition matches itself along the whole diagonal, one point a cell."""
        chroma = np.eye(12)[np.random.default_rng(0).permutation(np.arange(60) % 12)]
        columns = np.zeros((84, 60), np.float32)
        columns[36:48] = chroma.T
        cells = 60 - 9  # stacks of 9 frames, Essentia leaves the last one out
        distance = measure(Qmax(), [columns], [columns]).item()
        assert distance == pytest.approx(np.sqrt(cells) / cells, rel=0.05)

    def test_averaged_columns(self, rng):
        assert Qmax(columns_per_frame=3).describe(melody(rng, columns=61)).shape == (20, 12)
        assert Qmax(columns_per_frame=3).name != Qmax().name

    def test_a_stack_spans_the_same_time(self, rng):
        """9 short frames or 5 long ones: a recording matches itself along so many frames less."""
        chroma = rng.permutation(np.arange(60) % 12)[None] == np.arange(12)[:, None]
        lengths = []
        for columns_per_frame in (1, 2):
            system = Qmax(columns_per_frame=columns_per_frame)
            described = system.describe_profile(chroma.astype(np.float32))
            lengths.append(1 / system.compare([described], [described.copy()]).item() ** 2)
        np.testing.assert_allclose(lengths, [60 - 9, 60 - 5], rtol=0.1)

    def test_progress(self, rng):
        described = [Qmax().describe(melody(rng)) for _ in range(3)]
        seen = []
        Qmax().compare(described, described, progress=lambda *done: seen.append(done))
        assert seen == [(1, 3), (2, 3), (3, 3)]

    def test_distances_stay_below_no_match(self, rng):
        assert measure(Qmax(), [melody(rng)], [melody(rng)]).max() < NO_MATCH


class TestFourierMagnitude:
    def test_against_the_definition(self, rng):
        columns = melody(rng, columns=80)
        chroma = fold(columns)
        magnitudes = np.median([abs(np.fft.rfft2(chroma[:, i : i + 75])) for i in range(6)], axis=0)
        magnitudes[0, 0] = 0
        expected = magnitudes.ravel() / np.linalg.norm(magnitudes)
        np.testing.assert_allclose(FourierMagnitude().describe(columns), expected, atol=1e-6)

    def test_a_patch_of_a_profile_spans_the_same_time(self, rng):
        profile = rng.random((12, 50)).astype(np.float32)
        magnitudes = np.median([abs(np.fft.rfft2(profile[:, i : i + 38])) for i in range(13)], axis=0)
        magnitudes[0, 0] = 0
        expected = magnitudes.ravel() / np.linalg.norm(magnitudes)
        np.testing.assert_allclose(FourierMagnitude().describe_profile(profile), expected, atol=1e-6)

    def test_transposition_by_octaves_and_classes_leaves_the_vector(self, rng):
        columns = np.zeros((84, 90), np.float32)
        columns[rng.integers(24, 48, 90), np.arange(90)] = 1.0
        vectors = [FourierMagnitude().describe(np.roll(columns, shift, axis=0)) for shift in (0, 7, 12)]
        np.testing.assert_allclose(vectors[1:], vectors[:1] * 2, atol=1e-6)
