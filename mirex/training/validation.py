"""Validation during training: mAP of held-out works in quick sets.

`scores`: validation scores, human-made versions, rendered as written. `anthems`: real recordings. `chroma`:
real covers as tiled profiles. `voiced`: the same covers, sounded for the CQT view. Each clip is embedded
whole, in the view named.
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
from mirex.corpora.scores import ScoreCorpus
from mirex.evaluation.metrics import score
from mirex.features.views import chroma_view, cqt_view, profile_view
from mirex.retrieval.distance import distance_matrix
from mirex.settings import FrontEndSettings, NetworkSettings
from mirex.training.synthesis.arrangement import arrange, from_start
from mirex.training.synthesis.rendering import render
from mirex.training.synthesis.voicing import sound


class ValidationSet(NamedTuple):
    """Clips of held-out works.

    Attributes
    ----------
    clips : list of float32 [bins, steps]
        Network input.
    labels : int64 [clips]
        The works.
    folded : bool
        Whether the clips are of the folded view.
    """

    clips: list[Array]
    labels: NDArray[np.int64]
    folded: bool = False


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
    # Keys have a generator of their own, so that they stay when arranging draws more or less.
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


def _labels(clips: Sequence[Clip] | Sequence[ProfileClip]) -> NDArray[np.int64]:
    """A number for each clip's work."""
    return np.unique([clip.work for clip in clips], return_inverse=True)[1]


def mean_average_precision(embeddings: Array, labels: NDArray[np.int64]) -> float:
    """Compute the mAP with every clip a query against all others.

    Parameters
    ----------
    embeddings : float32 [clips, size]
        Of unit length.
    labels : int64 [clips]
        The works.

    Returns
    -------
    float
        In 0..1.
    """
    positions = np.arange(len(labels))
    distances = distance_matrix(embeddings, embeddings)
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
        x = torch.from_numpy(np.stack([clips[i] for i in indices])[:, None]).to(device)
        with torch.autocast(device_type=device, dtype=torch.bfloat16):
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
