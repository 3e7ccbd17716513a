"""Sources of training versions with a common interface: scores, chroma, recordings.

A source has works and draws versions of them as network input. All randomness comes from the generator
passed in, so a sample is a pure function of seed, step and place in the batch. `mirex.training.mixing` draws
from works that have versions in several sources.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mirex._typing import Array
from mirex.corpora.archive import Joined
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.corpora.profiles import ProfileCorpus
from mirex.corpora.recordings import PackedRecordings
from mirex.corpora.scores import ScoreCorpus
from mirex.features.playing import transpose
from mirex.features.views import chroma_view, cqt_view, fold, tile
from mirex.settings import FrontEndSettings, NetworkSettings
from mirex.training.augmentation import recolour
from mirex.training.augmentation.stitching import draw_lengths, stitch
from mirex.training.settings import StitchSettings
from mirex.training.synthesis.arrangement import Excerpt, arrange
from mirex.training.synthesis.rendering import render
from mirex.training.synthesis.voicing import sound, sound_in_registers

POSITION_SPREAD = 0.1


class Version(NamedTuple):
    """A training version of a work.

    Attributes
    ----------
    view : float32 [bins, steps]
        Network input.
    folded : bool
        Whether it is the chroma view, not the CQT view.
    recording : int or None
        Its number in the source; None for a synthetic one.
    origin : int or None
        Number of its source, if a draw mixes sources; None: the source that drew it.
    """

    view: Array
    folded: bool
    recording: int | None
    origin: int | None = None


class Lengths(NamedTuple):
    """Steps of a crop in each view; the folded view has fewer bins, so longer crops cost no more.

    Attributes
    ----------
    cqt : int
        Steps in the CQT view.
    chroma : int
        Steps in the chroma view.
    """

    cqt: int
    chroma: int


class Draw(NamedTuple):
    """What the versions of a work in one batch have in common.

    Attributes
    ----------
    strength : float
        Of augmentation, in [0, 1].
    anchor : float
        Approximate position of all of their crops in the song, in [0, 1].
    generator : numpy.random.Generator
        Draws everything random.
    """

    strength: float
    anchor: float
    generator: np.random.Generator


class Source(Protocol):
    """Works from which to draw training versions.

    Attributes
    ----------
    works : list of int64 [versions]
        Versions of each work. Further works that are derived from these may follow.
    work_weights : float64 [all works]
        Relative frequency of each.
    """

    works: list[NDArray[np.int64]]
    work_weights: NDArray[np.float64]

    def draw(
        self, work: int, *, lengths: Sequence[Lengths], strength: float, generator: np.random.Generator
    ) -> list[Version]:
        """Draw versions of a work; every recording is used once before any is used twice.

        Parameters
        ----------
        work : int
            Its number in the source.
        lengths : sequence of Lengths
            One for each version: its length in either view.
        strength : float
            Of augmentation, in [0, 1].
        generator : numpy.random.Generator
            Of all randomness.

        Returns
        -------
        list of Version
            One for each of `lengths`.
        """

    def version(
        self, index: int, siblings: NDArray[np.int64], *, lengths: Lengths, draw: Draw, again: bool
    ) -> Version:
        """Make one version.

        Parameters
        ----------
        index : int
            Its number in the source.
        siblings : int64 [versions]
            All versions of its work in this source.
        lengths : Lengths
            Its length in either view.
        draw : Draw
            What the versions of its work have in common.
        again : bool
            Whether the draw already has it.

        Returns
        -------
        Version
        """


def draw_versions(
    source: Source, versions: NDArray[np.int64], *, lengths: Sequence[Lengths], draw: Draw
) -> list[Version]:
    """Draw versions of a work; each is taken once before any is taken twice.

    Parameters
    ----------
    source : Source
        Makes the versions.
    versions : int64 [versions]
        Those of the work, by their numbers in the source.
    lengths : sequence of Lengths
        One for each version that is drawn.
    draw : Draw
        What the versions share.

    Returns
    -------
    list of Version
        One for each of `lengths`.
    """
    chosen = choose_versions(len(versions), len(lengths), draw.generator).tolist()
    return [
        source.version(int(versions[index]), versions, lengths=each, draw=draw, again=place >= len(versions))
        for place, (index, each) in enumerate(zip(chosen, lengths, strict=True))
    ]


def choose_versions(available: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Choose among versions; each is taken once before any is taken twice.

    Parameters
    ----------
    available : int
        How many there are; at least 1.
    count : int
        How many to choose.
    generator : numpy.random.Generator
        Draws their order.

    Returns
    -------
    int64 [count]
        Indices below `available`.
    """
    rounds = [generator.permutation(available) for _ in range(-(-count // available))]
    return np.concatenate(rounds)[:count]


def part_lengths(steps: int, *, stitching: StitchSettings, generator: np.random.Generator) -> list[int]:
    """Draw the lengths of the parts of a sample: one part, or several if it is stitched.

    Parameters
    ----------
    steps : int
        Of the sample.
    stitching : StitchSettings
        `probability` is the share of stitched samples; the others are as in `draw_lengths`.
    generator : numpy.random.Generator
        Draws whether it is stitched, and the lengths.

    Returns
    -------
    list of int
        Steps of each part; their sum is `steps`.
    """
    if generator.random() >= stitching.probability:
        return [steps]
    return draw_lengths(steps, settings=stitching, generator=generator)


def draw_view(lengths: Lengths, *, fold_share: float, generator: np.random.Generator) -> tuple[bool, int]:
    """Draw the view of a crop.

    Parameters
    ----------
    lengths : Lengths
        Steps of the crop in each view.
    fold_share : float
        Share of crops given as the chroma view, in [0, 1].
    generator : numpy.random.Generator
        Draws the view.

    Returns
    -------
    folded : bool
        Whether it is the chroma view.
    steps : int
        Of the crop in that view.
    """
    folded = bool(generator.random() < fold_share)
    return folded, lengths.chroma if folded else lengths.cqt


def near(anchor: float, *, strength: float, generator: np.random.Generator) -> float:
    """Draw a position near the anchor that the versions of a work in one batch share.

    The network is to compare whole songs, so crops of one work should mostly show the same music; crops from
    anywhere in the song may have nothing in common.

    Parameters
    ----------
    anchor : float
        In [0, 1].
    strength : float
        Of augmentation, in [0, 1]; the spread around the anchor grows with it.
    generator : numpy.random.Generator
        Draws the position.

    Returns
    -------
    float
        In [0, 1].
    """
    return float(np.clip(anchor + generator.normal(0, POSITION_SPREAD * strength), 0.0, 1.0))


class ScoreSource:
    """Rendered scores: a new arrangement for every crop, sometimes folded to chroma.

    Parameters
    ----------
    corpus : ScoreCorpus or Joined of ScoreCorpus
        The scores.
    patches : sequence of float32 [129, 84, PATCH_FRAMES, 84]
        Of the instruments, as power (`load_patches`), one set a SoundFont.
    settings : NetworkSettings
        Of the network whose input is made.
    stitching : StitchSettings
        How often samples are stitched, and how.
    fold_share : float
        Share of crops given as the chroma view, in [0, 1], so that rendered and real chroma meet.
    multiple_weight : float
        How often a work of several versions is wanted, where another counts 1.

    Attributes
    ----------
    works, work_weights
        As a `Source` has them.
    """

    def __init__(
        self,
        corpus: ScoreCorpus | Joined[ScoreCorpus],
        *,
        patches: Sequence[Array],
        settings: NetworkSettings,
        stitching: StitchSettings,
        fold_share: float = 0.25,
        multiple_weight: float = 4.0,
    ) -> None:
        self._corpus = corpus
        self._patches = patches
        self._settings = settings
        self._stitching = stitching
        self._fold_share = fold_share
        self.works = corpus.works
        sizes = np.array([len(songs) for songs in corpus.works])
        self.work_weights = np.where(sizes > 1, multiple_weight, 1.0)

    def draw(
        self, work: int, *, lengths: Sequence[Lengths], strength: float, generator: np.random.Generator
    ) -> list[Version]:
        draw = Draw(strength, generator.random(), generator)
        return draw_versions(self, self.works[work], lengths=lengths, draw=draw)

    def version(
        self, index: int, siblings: NDArray[np.int64], *, lengths: Lengths, draw: Draw, again: bool
    ) -> Version:
        stitching, (strength, anchor, generator) = self._stitching, draw
        folded, steps = draw_view(lengths, fold_share=self._fold_share, generator=generator)
        part_steps = part_lengths(steps, stitching=stitching, generator=generator)
        others = generator.choice(siblings, len(part_steps) - 1)
        key = None
        if len(part_steps) > 1 and stitching.share_key:
            key = recolour.draw_key(strength=strength, generator=generator)
        position = near(anchor, strength=strength, generator=generator)
        parts, elapsed = [], 0
        for each, length in zip([index, *others], part_steps, strict=True):
            excerpt = Excerpt(self._seconds(length), self._seconds(steps), self._seconds(elapsed), position)
            parts.append(self._render(each, length, excerpt, strength, generator, key))
            elapsed += length
        magnitude = stitch(parts, match_level=stitching.match_level)
        view = _augmented_view(
            magnitude, steps, folded=folded, strength=strength, settings=self._settings, generator=generator
        )
        return Version(view, folded, None)

    def _seconds(self, steps: int) -> float:
        return steps * self._settings.columns_per_step * FrontEndSettings().seconds_per_column

    def _render(
        self,
        song: int,
        steps: int,
        excerpt: Excerpt,
        strength: float,
        generator: np.random.Generator,
        key: int | None,
    ) -> Array:
        corpus, place = self._corpus.at(song)
        notes = arrange(
            corpus.score(place),
            excerpt=excerpt,
            strength=strength,
            generator=generator,
            transposition=key,
        )
        patches = self._patches[int(generator.integers(len(self._patches)))]
        release = float(generator.uniform(0.05, 0.7))
        columns = steps * self._settings.columns_per_step
        return render(notes, patches=patches, columns=columns, release=release)


class Turn(NamedTuple):
    """A way of playing that turns the works of a corpus into other works.

    Attributes
    ----------
    rows : slice
        The order of pitch classes.
    columns : slice
        The order of steps.
    weight : float
        Relative frequency of such works.
    """

    rows: slice
    columns: slice
    weight: float


def turns(*, backwards_weight: float, mirrored_weight: float) -> list[Turn]:
    """List the ways of playing: unchanged, backwards, with mirrored intervals, and both.

    Parameters
    ----------
    backwards_weight : float
        Relative frequency of works played backwards; unchanged ones count 1.
    mirrored_weight : float
        Relative frequency of works with mirrored intervals; unchanged ones count 1.

    Returns
    -------
    list of Turn
        In this order; those of weight 0 are left out. The weight of both is the product of the two.
    """
    as_is, turned = slice(None), slice(None, None, -1)
    found = [
        Turn(rows, columns, of_rows * of_columns)
        for rows, of_rows in ((as_is, 1.0), (turned, mirrored_weight))
        for columns, of_columns in ((as_is, 1.0), (turned, backwards_weight))
    ]
    return [turn for turn in found if turn.weight > 0]


class ChromaSource:
    """Real covers as pitch-class profiles, tiled under a random envelope or, sometimes, sounded.

    Played backwards, the versions of a work become those of another work, with the same chords in another
    order. With mirrored intervals, which rise where they fell, major chords become minor ones. So there are
    more works to tell apart. The works of the corpus come first, then those of each other turn.

    Parameters
    ----------
    corpus : ProfileCorpus or Joined of ProfileCorpus
        The profiles.
    settings : NetworkSettings
        Of the network whose input is made.
    stitching : StitchSettings
        How often samples are stitched, and how.
    backwards_weight : float
        Relative frequency of works played backwards; unchanged ones count 1; 0: none. Works that are also
        mirrored count the product of both weights.
    mirrored_weight : float
        The same for works with mirrored intervals.
    voiced_share : float
        Share of crops that are sounded by instruments (`mirex.training.synthesis.voicing`), in [0, 1].
    fold_share : float
        Share of those given as the chroma view, like that of a recording; the others are given as the CQT
        view. In [0, 1].
    patches : sequence of float32 [129, 84, PATCH_FRAMES, 84]
        Of the instruments, as power (`load_patches`), one set a SoundFont.

    Attributes
    ----------
    works, work_weights
        As a `Source` has them.
    """

    def __init__(
        self,
        corpus: ProfileCorpus | Joined[ProfileCorpus],
        *,
        settings: NetworkSettings,
        stitching: StitchSettings,
        backwards_weight: float = 0.0,
        mirrored_weight: float = 0.0,
        voiced_share: float = 0.0,
        fold_share: float = 0.25,
        patches: Sequence[Array] = (),
    ) -> None:
        self._corpus = corpus
        self._settings = settings
        self._voiced_share = voiced_share
        self._fold_share = fold_share
        self._patches = patches
        self._stitching = stitching
        self._turns = turns(backwards_weight=backwards_weight, mirrored_weight=mirrored_weight)
        self.works = corpus.works
        self.work_weights = np.repeat([turn.weight for turn in self._turns], len(corpus.works))

    def draw(
        self, work: int, *, lengths: Sequence[Lengths], strength: float, generator: np.random.Generator
    ) -> list[Version]:
        kind, place = divmod(work, len(self.works))
        recordings = self.works[place]
        draw = Draw(strength, generator.random(), generator)
        chosen = choose_versions(len(recordings), len(lengths), generator).tolist()
        return [
            self._version(int(recordings[index]), recordings, each, draw, self._turns[kind])
            for index, each in zip(chosen, lengths, strict=True)
        ]

    def version(
        self, index: int, siblings: NDArray[np.int64], *, lengths: Lengths, draw: Draw, again: bool
    ) -> Version:
        return self._version(index, siblings, lengths, draw, self._turns[0])

    def _version(
        self, recording: int, recordings: NDArray[np.int64], lengths: Lengths, draw: Draw, turn: Turn
    ) -> Version:
        strength, anchor, generator = draw
        voiced = bool(generator.random() < self._voiced_share)
        fold_share = self._fold_share if voiced else 1.0
        folded, steps = draw_view(lengths, fold_share=fold_share, generator=generator)
        part_steps = part_lengths(steps, stitching=self._stitching, generator=generator)
        chosen = [recording, *generator.choice(recordings, len(part_steps) - 1)]
        profiles = [self._profile(int(each))[turn.rows, turn.columns] for each in chosen]
        parts = crop_parts(profiles, part_steps, anchor=anchor, strength=strength, generator=generator)
        chroma = np.roll(np.concatenate(parts, axis=1), generator.integers(12), axis=0)
        chroma = recolour.recolour_profile(chroma, strength=strength, generator=generator)
        if voiced:
            view = self._voiced(chroma, folded, strength, generator)
        else:
            view = self._tiled(chroma, strength, generator)
        return Version(view, folded, recording)

    def _profile(self, recording: int) -> Array:
        corpus, place = self._corpus.at(recording)
        return corpus.profile(place)

    def _tiled(self, chroma: Array, strength: float, generator: np.random.Generator) -> Array:
        tiled = tile(chroma, octaves=self._settings.chroma_octaves)
        view = tiled * _envelope(len(tiled), generator)
        return recolour.mask(view, strength=strength, generator=generator)

    def _voiced(self, chroma: Array, folded: bool, strength: float, generator: np.random.Generator) -> Array:
        patches = self._patches[int(generator.integers(len(self._patches)))]
        magnitude = sound(chroma, patches=patches, generator=generator)
        columns = np.repeat(magnitude, self._settings.columns_per_step, axis=1)
        return _augmented_view(
            columns,
            chroma.shape[1],
            folded=folded,
            strength=strength,
            settings=self._settings,
            generator=generator,
        )


class Recordings(Protocol):
    """Recordings of works as CQT columns.

    Attributes
    ----------
    works : list of int64 [recordings]
        Indices of the recordings of each work.
    """

    works: list[NDArray[np.int64]]

    def columns(self, recording: int, *, generator: np.random.Generator) -> Array:
        """Read a whole recording.

        Parameters
        ----------
        recording : int
            Its index.
        generator : numpy.random.Generator
            Draws the dither, if the recording is stored as levels.

        Returns
        -------
        float32 [84, columns]
            Magnitudes.
        """


class KeptLevels:
    """Recordings in archives of CQT levels, with new dither each time.

    Parameters
    ----------
    corpus : Joined of LevelCorpus
        The archives.

    Attributes
    ----------
    works
        As `Recordings` have them.
    """

    def __init__(self, corpus: Joined[LevelCorpus]) -> None:
        self.works = corpus.works
        self._corpus = corpus

    def columns(self, recording: int, *, generator: np.random.Generator) -> Array:
        corpus, place = self._corpus.at(recording)
        return corpus.columns(place, generator=generator)


class KeptColumns:
    """A user's own recordings, whose columns are stored unrounded.

    Parameters
    ----------
    packed : PackedRecordings
        Their columns.

    Attributes
    ----------
    works
        As `Recordings` have them.
    """

    def __init__(self, packed: PackedRecordings) -> None:
        self.works = [np.array(work, np.int64) for work in packed.works]
        self._packed = packed

    def columns(self, recording: int, *, generator: np.random.Generator) -> Array:
        return self._packed.columns(recording)


class RecordingSource:
    """Real recordings: crops in another key, tempo and colour, or sounded by other instruments.

    Two unsounded crops of a recording are never each other's positives, since they teach little about
    versions; a sounded one counts as a recording of its own.

    Parameters
    ----------
    recordings : Recordings
        Their CQT columns.
    settings : NetworkSettings
        Of the network whose input is made.
    stitching : StitchSettings
        How often samples are stitched, and how.
    fold_share : float
        Share of crops given as the chroma view, in [0, 1].
    patches : sequence of float32 [129, 84, PATCH_FRAMES, 84]
        Of the instruments, as power (`load_patches`), one set per SoundFont. Without any, no crop is
        sounded.
    sounded_share : float
        Share of sounded crops, in [0, 1]. The second crop of a recording in a batch always is.
    registers_share : float
        Share of those that keep the registers (`mirex.training.synthesis.voicing`), in [0, 1]; the others
        are sounded from chroma.
    multiple_weight : float
        Relative frequency of works with several recordings; others count 1.

    Attributes
    ----------
    works, work_weights
        As a `Source` has them.
    """

    def __init__(
        self,
        recordings: Recordings,
        *,
        settings: NetworkSettings,
        stitching: StitchSettings,
        fold_share: float = 0.25,
        patches: Sequence[Array] = (),
        sounded_share: float = 0.0,
        registers_share: float = 0.5,
        multiple_weight: float = 1.0,
    ) -> None:
        self._recordings = recordings
        self._settings = settings
        self._stitching = stitching
        self._fold_share = fold_share
        self._patches = patches
        self._sounded_share = sounded_share
        self._registers_share = registers_share
        self.works = recordings.works
        sizes = np.array([len(work) for work in recordings.works])
        self.work_weights = np.where(sizes > 1, multiple_weight, 1.0)

    def draw(
        self, work: int, *, lengths: Sequence[Lengths], strength: float, generator: np.random.Generator
    ) -> list[Version]:
        draw = Draw(strength, generator.random(), generator)
        return draw_versions(self, self.works[work], lengths=lengths, draw=draw)

    def version(
        self, index: int, siblings: NDArray[np.int64], *, lengths: Lengths, draw: Draw, again: bool
    ) -> Version:
        strength, anchor, generator = draw
        anew = bool(self._patches) and (again or generator.random() < self._sounded_share)
        folded, steps = draw_view(lengths, fold_share=self._fold_share, generator=generator)
        part_steps = part_lengths(steps, stitching=self._stitching, generator=generator)
        chosen = [index, *generator.choice(siblings, len(part_steps) - 1)]
        columns = [length * self._settings.columns_per_step for length in part_steps]
        kept = [self._recordings.columns(int(each), generator=generator) for each in chosen]
        parts = crop_parts(kept, columns, anchor=anchor, strength=strength, generator=generator)
        magnitude = stitch(parts, match_level=self._stitching.match_level)
        if anew:
            magnitude = self._sounded(magnitude, generator)
        magnitude = transpose(magnitude, semitones=recolour.draw_key(strength=strength, generator=generator))
        view = _augmented_view(
            magnitude, steps, folded=folded, strength=strength, settings=self._settings, generator=generator
        )
        return Version(view, folded, None if anew else index)

    def _sounded(self, columns: Array, generator: np.random.Generator) -> Array:
        patches = self._patches[int(generator.integers(len(self._patches)))]
        if generator.random() < self._registers_share:
            return sound_in_registers(columns, patches=patches, generator=generator)
        return sound(fold(columns), patches=patches, generator=generator)


def crop_parts(
    recordings: Sequence[Array],
    lengths: Sequence[int],
    *,
    anchor: float,
    strength: float,
    generator: np.random.Generator,
) -> list[Array]:
    """Cut consecutive parts of an excerpt, each from its own recording and at its own tempo.

    Parameters
    ----------
    recordings : sequence of float32 [bins, columns]
        One that is shorter than needed is repeated.
    lengths : sequence of int
        Columns of each.
    anchor : float
        Approximate position of the excerpt in the song, in [0, 1].
    strength : float
        Of augmentation, in [0, 1].
    generator : numpy.random.Generator
        Draws position and tempos.

    Returns
    -------
    list of float32 [bins, length]
        One for each recording.
    """
    position = near(anchor, strength=strength, generator=generator)
    parts, elapsed = [], 0
    for recording, length in zip(recordings, lengths, strict=True):
        tempo = recolour.draw_tempo(most=1.3, strength=strength, generator=generator)
        wanted = max(round(length * tempo), 2)
        room = max(recording.shape[1] - round(sum(lengths) * tempo), 0)
        start = (round(position * room) + round(elapsed * tempo)) % recording.shape[1]
        repeats = -(-(start + wanted) // recording.shape[1])
        found = np.tile(recording, repeats)[:, start : start + wanted]
        # The nearest column, not a mean of two, which would make crops steadier than whole recordings.
        parts.append(found[:, np.linspace(0, wanted - 1, length).round().astype(np.int64)])
        elapsed += length
    return parts


def _augmented_view(
    columns: Array,
    steps: int,
    *,
    folded: bool,
    strength: float,
    settings: NetworkSettings,
    generator: np.random.Generator,
) -> Array:
    """The CQT view, or the chroma view, of a recoloured crop, with SpecAugment.

    columns: float32 [84, columns]. Returns float32 [bins, steps].
    """
    columns = recolour.recolour(columns, strength=strength, generator=generator)
    if folded:
        view = chroma_view(columns, settings=settings)
        view = view * _envelope(len(view), generator)
    else:
        view = cqt_view(columns, settings=settings)
    # The cut undoes the repetition of crops shorter than the network's minimum input.
    return recolour.mask(view[:, :steps], strength=strength, generator=generator)


def _envelope(bins: int, generator: np.random.Generator) -> Array:
    """Level of each octave of a tiled profile: flat, or smooth between 0.3 and 1. float32 [bins, 1]."""
    if generator.random() < 0.4:
        return np.ones((bins, 1), np.float32)
    points = generator.uniform(0.3, 1.0, 5)
    return np.interp(np.arange(bins), np.linspace(0, bins - 1, 5), points)[:, None].astype(np.float32)
