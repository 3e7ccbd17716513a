"""Validation during training: mAP of held-out works in quick sets.

`scores`: validation scores, human-made versions, rendered as written. `anthems`: real recordings. `chroma`:
real covers as tiled profiles. `voiced`: the same covers, sounded for the CQT view. Each of these clips is
embedded whole, in the view named.

`pop_among`: real recordings among distractors; `pop`: the same recordings alone. They are embedded as with
sealed weights: in windows, whitened with the vectors of training recordings. Without whitening the figures
would mislead, since it gives for free what training may take long to learn.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mirex._typing import Array
from mirex.corpora.clips import Clip, ProfileClip, anthem_clips, cover_clips
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.corpora.scores import ScoreCorpus
from mirex.evaluation.metrics import score
from mirex.features.views import chroma_view, cqt_view, profile_view
from mirex.model.embedding import windows_of
from mirex.model.network import TwoViewNetwork
from mirex.model.whitening import fit, unit
from mirex.retrieval.distance import distance_matrix
from mirex.settings import FrontEndSettings, NetworkSettings
from mirex.training.precision import half_precision
from mirex.training.synthesis.arrangement import arrange, from_start
from mirex.training.synthesis.rendering import render
from mirex.training.synthesis.voicing import sound

WHITENING_RECORDINGS = 500  # of the training split; with all of them MAP differs by a few thousandths


class ValidationSet(NamedTuple):
    """Clips that are embedded whole; each is a query.

    Attributes
    ----------
    clips : list of float32 [bins, steps]
        Network input.
    labels : int64 [clips]
        Their works.
    folded : bool
        Whether they are in the chroma view instead of the CQT view.
    """

    clips: list[Array]
    labels: NDArray[np.int64]
    folded: bool = False

    def average_precision(self, network: TwoViewNetwork, *, device: str) -> dict[str, float]:
        """Compute the mean average precision.

        Parameters
        ----------
        network : TwoViewNetwork
            In evaluation mode.
        device : str
            Torch device of the network.

        Returns
        -------
        dict of str to float
            By the suffix of its name, which is "".
        """
        view = network.chroma if self.folded else network.cqt
        embeddings = embed_clips(view, self.clips, device=device)
        return {"": mean_average_precision(embeddings, self.labels)}


class RecordingSet(NamedTuple):
    """Recordings that are embedded in windows and whitened.

    Attributes
    ----------
    windows : list of float16 [bins, steps]
        Network input of all recordings, one after the other.
    recordings : int64 [windows]
        Recording of each window, from 0.
    labels : int64 [recordings]
        Their works. Recordings with another version are queries, the others distractors.
    others : list of float16 [bins, steps]
        Windows of the recordings that the whitening is fitted to.
    """

    windows: list[Array]
    recordings: NDArray[np.int64]
    labels: NDArray[np.int64]
    others: list[Array]

    def average_precision(self, network: TwoViewNetwork, *, device: str) -> dict[str, float]:
        """Compute the mean average precision of the queries alone and among all recordings.

        Parameters
        ----------
        network : TwoViewNetwork
            In evaluation mode.
        device : str
            Torch device of the network.

        Returns
        -------
        dict of str to float
            By the suffix of its name: "" alone, "_among" among all.
        """
        whitening = fit([embed_clips(network.cqt, self.others, device=device)])
        vectors = whitening.apply(embed_clips(network.cqt, self.windows, device=device))
        pooled = np.zeros((len(self.labels), vectors.shape[1]), np.float32)
        np.add.at(pooled, self.recordings, vectors)
        embeddings = unit(pooled)
        _, work, count = np.unique(self.labels, return_inverse=True, return_counts=True)
        paired = np.flatnonzero(count[work] > 1)
        return {
            "": mean_average_precision(embeddings[paired], self.labels[paired]),
            "_among": mean_average_precision(embeddings, self.labels, queries=paired),
        }


def score_set(corpus: ScoreCorpus, *, patches: Array, settings: NetworkSettings, works: int) -> ValidationSet:
    """Render works that have several versions as written, each version in a key of its own.

    Parameters
    ----------
    corpus : ScoreCorpus
        Held-out scores.
    patches : float32 [129, 84, PATCH_FRAMES, 84]
        Of `load_patches`.
    settings : NetworkSettings
        Of the view.
    works : int
        How many works to take, from the first on.

    Returns
    -------
    ValidationSet
        In the CQT view.
    """
    # Keys have their own generator, so that they do not change if arranging draws more or less.
    keys, arranging = np.random.default_rng(0), np.random.default_rng(0)
    clips, labels = [], []
    for label, songs in enumerate([songs for songs in corpus.works if len(songs) > 1][:works]):
        for song in songs.tolist():
            found = corpus.score(song)
            length = min(float((found.onset + found.duration).max()), 180.0)
            key = int(keys.integers(-6, 7))
            notes = arrange(
                found, excerpt=from_start(length), strength=0.0, generator=arranging, transposition=key
            )
            columns = render(
                notes, patches=patches, columns=max(int(length / FrontEndSettings().seconds_per_column), 32)
            )
            clips.append(cqt_view(columns, settings=settings))
            labels.append(label)
    return ValidationSet(clips, np.array(labels))


def anthem_sets(path: Path, *, settings: NetworkSettings) -> dict[str, ValidationSet]:
    """Take real recordings of anthems whose versions alignment confirms.

    Parameters
    ----------
    path : Path
        anthems.npz.
    settings : NetworkSettings
        Of the views.

    Returns
    -------
    dict of str to ValidationSet
        "anthems" in the CQT view, "anthems_chroma" in the folded view.
    """
    clips, confirmed = anthem_clips(path, front_end=FrontEndSettings())
    kept = [clip for clip, sure in zip(clips, confirmed, strict=True) if sure]
    labels = _labels(kept)
    return {
        "anthems": ValidationSet([cqt_view(clip.columns, settings=settings) for clip in kept], labels),
        "anthems_chroma": ValidationSet(
            [chroma_view(clip.columns, settings=settings) for clip in kept], labels, folded=True
        ),
    }


def chroma_set(path: Path, *, works: int, settings: NetworkSettings) -> ValidationSet:
    """Take up to four covers of each of the first works.

    Parameters
    ----------
    path : Path
        hpcp.npz.
    works : int
        How many works to take.
    settings : NetworkSettings
        Of the view.

    Returns
    -------
    ValidationSet
        In the folded view.
    """
    clips = cover_clips(path, works=works)
    views = [profile_view(clip.profile, settings=settings) for clip in clips]
    return ValidationSet(views, _labels(clips), folded=True)


def voiced_set(path: Path, *, works: int, patches: Array, settings: NetworkSettings) -> ValidationSet:
    """Take the same covers as `chroma_set`, each sounded by other instruments.

    Parameters
    ----------
    path : Path
        hpcp.npz.
    works : int
        How many works to take.
    patches : float32 [129, 84, PATCH_FRAMES, 84]
        Of `load_patches`.
    settings : NetworkSettings
        Of the view.

    Returns
    -------
    ValidationSet
        In the CQT view.
    """
    generator = np.random.default_rng(0)
    clips = cover_clips(path, works=works)
    sounded = [sound(clip.profile, patches=patches, generator=generator) for clip in clips]
    columns = [np.repeat(steps, settings.columns_per_step, axis=1) for steps in sounded]
    return ValidationSet([cqt_view(each, settings=settings) for each in columns], _labels(clips))


def recording_set(path: Path, *, settings: NetworkSettings, seed: int = 0) -> RecordingSet | None:
    """Take the validation split of an archive of recordings.

    Parameters
    ----------
    path : Path
        The archive.
    settings : NetworkSettings
        Of the view.
    seed : int
        Of the dither, and of the choice of training recordings that the whitening is fitted to.

    Returns
    -------
    RecordingSet or None
        None if no work of the split has two versions, or there is no training split for the whitening.

    Raises
    ------
    TrainingError
        If the file is not such an archive.
    """
    held_out, training = (LevelCorpus.load(path, split=split) for split in ("validation", "train"))
    if not any(len(versions) > 1 for versions in held_out.works) or len(training.recordings) < 2:
        return None
    generator = np.random.default_rng(seed)
    wanted = min(WHITENING_RECORDINGS, len(training.recordings))
    chosen = np.sort(generator.choice(training.recordings, wanted, replace=False))
    found = [_windows_of(held_out, each, settings, generator) for each in held_out.recordings.tolist()]
    others = [_windows_of(training, each, settings, generator) for each in chosen.tolist()]
    return RecordingSet(
        [window for each in found for window in each],
        np.repeat(np.arange(len(found)), [len(each) for each in found]),
        np.array([held_out.work(each) for each in held_out.recordings.tolist()]),
        [window for each in others for window in each],
    )


def _windows_of(
    corpus: LevelCorpus, recording: int, settings: NetworkSettings, generator: np.random.Generator
) -> Array:
    """A recording's windows as network input: float16 [windows, bins, steps]."""
    columns = corpus.columns(recording, generator=generator)
    return windows_of(columns, settings=settings).astype(np.float16)


def _labels(clips: Sequence[Clip] | Sequence[ProfileClip]) -> NDArray[np.int64]:
    """A number for each clip's work."""
    return np.unique([clip.work for clip in clips], return_inverse=True)[1]


def mean_average_precision(
    embeddings: Array, labels: NDArray[np.int64], *, queries: NDArray[np.int64] | None = None
) -> float:
    """Compute the mAP of queries against all other clips.

    Parameters
    ----------
    embeddings : float32 [clips, size]
        Of unit length.
    labels : int64 [clips]
        Their works.
    queries : int64 [queries], optional
        Positions of the queries; all clips by default.

    Returns
    -------
    float
        In 0..1.
    """
    positions = np.arange(len(labels)) if queries is None else queries
    distances = distance_matrix(embeddings[positions], embeddings)
    return float(score(distances, query_positions=positions, labels=labels).average_precision.mean())


@torch.no_grad()
def embed_clips(network: nn.Module, clips: Sequence[Array], *, device: str, batch_size: int = 16) -> Array:
    """Embed clips; clips of equal length share a batch.

    Parameters
    ----------
    network : Module
        Of one view.
    clips : sequence of float32 [bins, steps]
        Network input.
    device : str
        Torch device of the network.
    batch_size : int
        Clips per batch at most.

    Returns
    -------
    float32 [clips, size]
        Of unit length.

    Raises
    ------
    ValueError
        If there are no clips.
    """
    was_training = network.training
    network.eval()
    found: dict[int, Array] = {}
    for indices in _equal_length_batches(clips, batch_size):
        x = torch.from_numpy(np.stack([clips[i] for i in indices])[:, None]).to(device).float()
        with half_precision(device):
            _, embedding = network(x.contiguous(memory_format=torch.channels_last))
        vectors = torch.nn.functional.normalize(embedding.float(), dim=1).cpu().numpy()
        found.update(zip(indices, vectors, strict=True))
    network.train(was_training)
    return np.stack([found[index] for index in range(len(clips))])


def _equal_length_batches(clips: Sequence[Array], batch_size: int) -> Iterable[list[int]]:
    by_length: dict[int, list[int]] = {}
    for index, clip in enumerate(clips):
        by_length.setdefault(clip.shape[1], []).append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]
