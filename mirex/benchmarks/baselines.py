"""Baselines: two systems without learning that a user could choose instead, on the same CQT columns as ours.

Chroma. Both take the pitch-class profile of `mirex.features.views.fold`, which sums each column's peaks as
Essentia's HPCP does: with it both find more of the anthems than with the power of all bins. It comes from the
CQT columns because not every test set has audio; one column is 0.464 s, the frame length that Serra et al.
recommend.

Qmax (J. Serra, X. Serra, R. Andrzejak, "Cross recurrence quantification for cover song identification", New
Journal of Physics 11, 2009), by Essentia's ChromaCrossSimilarity and CoverSongSimilarity at their defaults,
which include the optimal transposition index. Compares each pair: distance sqrt(reference length) / Qmax.
Where frames are longer, fewer are stacked, so that a stack spans the same 4.2 s: with 9 frames of 0.93 s it
finds fewer anthems.

2-D Fourier magnitude (T. Bertin-Mahieux, D. Ellis, "Large-scale cover song recognition using the 2D Fourier
transform magnitude", ISMIR 2012; as a time series: P. Seetharaman, Z. Rafii, ICASSP 2017). One vector per
recording: the median, over patches of 75 frames at every frame, of the magnitude of the patch's 2-D Fourier
transform, which is invariant to shifts in pitch and time. Differences from the paper: frames of fixed
length instead of beats; no principal components, which would have to be learned; amplitudes instead of the
power 1.96, and no constant term, because that is better on the anthems. The distance is the cosine distance.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from mirex._typing import Array
from mirex.features.views import fold
from mirex.retrieval.distance import distance_matrix

Progress = Callable[[int, int], None]

STACK_FRAMES = 9  # Essentia's default
MIN_FRAMES = 12  # Essentia stacks 9 frames and needs 2 more
PATCH_FRAMES = 75
PROFILE_COLUMNS = 2  # CQT columns per step of a profile
NO_MATCH = 1e6  # distance of a pair without any similar frames; finite, so that means can be taken


class System(Protocol):
    """A system under test: `describe` is called once per recording, `compare` once for all pairs."""

    name: str

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its distances depend on, besides the recordings.

        Returns
        -------
        mapping
            {name: value}, for JSON.
        """

    def describe(self, columns: Array) -> Array:
        """Compute what the system keeps of a recording.

        Parameters
        ----------
        columns : float32 [84, columns]
            From `mirex.features.cqt`.

        Returns
        -------
        array
            For `compare`.
        """

    def describe_profile(self, profile: Array) -> Array:
        """Compute what the system keeps of a recording of which only the pitch classes are known.

        Parameters
        ----------
        profile : float32 [12, steps]
            In 0..1; row 0 is C; a step is two columns (0.93 s).

        Returns
        -------
        array
            For `compare`.
        """

    def compare(
        self, queries: Sequence[Array], references: Sequence[Array], *, progress: Progress | None = None
    ) -> Array:
        """Compute the distance of every query to every reference.

        Parameters
        ----------
        queries, references : sequence of array
            As `describe` or `describe_profile` gives them.
        progress : callable, optional
            Called with (done, total) recordings.

        Returns
        -------
        float32 [queries, references]
            Lower is more similar.
        """


class Qmax:
    """Essentia's ChromaCrossSimilarity and CoverSongSimilarity.

    Parameters
    ----------
    columns_per_frame : int
        Columns averaged into one chroma frame. Twice as many make a pair four times as fast. A profile's step
        is always one frame.
    """

    def __init__(self, *, columns_per_frame: int = 1) -> None:
        frame = "" if columns_per_frame == 1 else f", {columns_per_frame} columns a frame"
        self.name = f"Qmax{frame}"
        self.settings: dict[str, Any] = {
            "columns_per_frame": columns_per_frame,
            "frames_per_stack": -(-STACK_FRAMES // columns_per_frame),
        }
        self._columns_per_frame = columns_per_frame

    def describe(self, columns: Array) -> Array:
        """Compute a recording's chroma.

        Parameters
        ----------
        columns : float32 [84, columns]
            From `mirex.features.cqt`.

        Returns
        -------
        float32 [frames, 12]
            At least MIN_FRAMES frames; a shorter recording is repeated.
        """
        return self.describe_profile(fold(_average(columns, self._columns_per_frame)))

    def describe_profile(self, profile: Array) -> Array:
        """Transpose a profile, and repeat a short one.

        Parameters
        ----------
        profile : float32 [12, steps]
            As `System.describe_profile` takes it.

        Returns
        -------
        float32 [frames, 12]
            At least MIN_FRAMES frames, one per step.
        """
        repeats = -(-MIN_FRAMES // profile.shape[1])
        return np.ascontiguousarray(np.tile(profile, repeats).T)

    def compare(
        self, queries: Sequence[Array], references: Sequence[Array], *, progress: Progress | None = None
    ) -> Array:
        distance = _qmax_distance(stack=-(-STACK_FRAMES // self._columns_per_frame))
        result = np.zeros((len(queries), len(references)), np.float32)
        # Within one list only one order of a pair is computed: Qmax is the same for the other.
        within = queries is references
        for row, query in enumerate(queries):
            for column in range(row) if within else range(len(references)):
                value, ratio = distance(query, references[column])
                result[row, column] = min(value, NO_MATCH)
                if within:
                    result[column, row] = min(value * ratio, NO_MATCH)
            if progress:
                progress(row + 1, len(queries))
        return result


def _qmax_distance(*, stack: int) -> Callable[[Array, Array], tuple[float, float]]:
    """Function of two chromas: gives the distance, and the factor that makes it that of the swapped pair.

    stack: frames that are compared together.
    """
    import essentia

    essentia.log.infoActive = False
    essentia.log.warningActive = False
    from essentia import standard

    cross_similarity = standard.ChromaCrossSimilarity(frameStackSize=stack)
    similarity = standard.CoverSongSimilarity()

    def distance(query: Array, reference: Array) -> tuple[float, float]:
        similar = cross_similarity(query, reference)
        rows, columns = similar.shape
        if not similar.any():
            return NO_MATCH, 1.0
        return float(similarity(similar)[1]), float(np.sqrt(rows / columns))

    return distance


class FourierMagnitude:
    """The 2-D Fourier magnitude of chroma, one unit vector per recording."""

    name = "2-D Fourier magnitude"
    settings: ClassVar[dict[str, Any]] = {"frames_per_patch": PATCH_FRAMES}

    def describe(self, columns: Array) -> Array:
        """Compute a recording's vector.

        Parameters
        ----------
        columns : float32 [84, columns]
            From `mirex.features.cqt`.

        Returns
        -------
        float32 [12 * 38]
            Of unit length; zeros for silence.
        """
        return _fourier(fold(columns), frames=PATCH_FRAMES)

    def describe_profile(self, profile: Array) -> Array:
        """Compute a profile's vector, with patches of half as many steps, which span the same time.

        Parameters
        ----------
        profile : float32 [12, steps]
            As `System.describe_profile` takes it.

        Returns
        -------
        float32 [12 * 20]
            Of unit length; zeros for silence.
        """
        return _fourier(profile, frames=-(-PATCH_FRAMES // PROFILE_COLUMNS))

    def compare(
        self, queries: Sequence[Array], references: Sequence[Array], *, progress: Progress | None = None
    ) -> Array:
        return compare_vectors(queries, references)


def _fourier(chroma: Array, *, frames: int) -> Array:
    """Unit vector of the patches' median magnitude, float32 [12 * (frames // 2 + 1)]; zeros for silence."""
    chroma = np.tile(chroma, -(-frames // chroma.shape[1]))
    patches = np.lib.stride_tricks.sliding_window_view(chroma, frames, axis=1).swapaxes(0, 1)
    magnitude = np.median(np.abs(np.fft.rfft2(patches)), axis=0)
    magnitude[0, 0] = 0.0
    return (magnitude / max(np.linalg.norm(magnitude), 1e-12)).ravel().astype(np.float32)


def compare_vectors(queries: Iterable[Array], references: Iterable[Array]) -> Array:
    """Compute cosine distances of vectors.

    Parameters
    ----------
    queries, references : iterable of float32 [dimensions]
        All of the same length.

    Returns
    -------
    float32 [queries, references]
    """
    return distance_matrix(np.stack(list(queries)), np.stack(list(references)))


def _average(columns: Array, count: int) -> Array:
    """Mean of `count` columns at a time; a remainder is dropped, unless it is all there is."""
    frames = max(columns.shape[1] // count, 1)
    return columns[:, : frames * count].reshape(len(columns), frames, -1).mean(axis=2)
