"""Validation during training: mAP of held-out works in quick sets.

`scores`: validation scores, human-made versions, rendered as written. `anthems`: real recordings. `chroma`:
real covers as tiled profiles. `voiced`: the same, sounded for the CQT view. Each clip is embedded whole, in
the view named.
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
    """clips: network input, float32 [bins, steps] each. labels: int64 [clips], the works. folded: they are
    the chroma view.
    """

    clips: list[Array]
    labels: NDArray[np.int64]
    folded: bool = False


def score_set(corpus: ScoreCorpus, *, patches: Array, settings: NetworkSettings, works: int) -> ValidationSet:
    """The first so many works with several versions, rendered as written, in a key of their own each."""
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
    """Real recordings of anthems, those whose versions alignment confirms, in each of the two views."""
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
    """Up to four versions of each of the first works."""
    clips = cover_clips(path, works=works)
    views = [profile_view(clip.profile, settings=settings) for clip in clips]
    return ValidationSet(views, _labels(clips), folded=True)


def voiced_set(path: Path, *, works: int, patches: Array, settings: NetworkSettings) -> ValidationSet:
    """The same covers, each sounded by other instruments."""
    generator = np.random.default_rng(0)
    clips = cover_clips(path, works=works)
    sounded = [sound(clip.profile, patches=patches, generator=generator) for clip in clips]
    columns = [np.repeat(steps, settings.columns_per_step, axis=1) for steps in sounded]
    return ValidationSet([cqt_view(each, settings=settings) for each in columns], _labels(clips))


def _labels(clips: Sequence[Clip] | Sequence[ProfileClip]) -> NDArray[np.int64]:
    """A number for each clip's work."""
    return np.unique([clip.work for clip in clips], return_inverse=True)[1]


def mean_average_precision(embeddings: Array, labels: NDArray[np.int64]) -> float:
    """mAP with every clip a query against all others."""
    positions = np.arange(len(labels))
    distances = distance_matrix(embeddings, embeddings)
    return float(score(distances, query_positions=positions, labels=labels).average_precision.mean())


@torch.no_grad()
def embed_clips(network: nn.Module, clips: Sequence[Array], *, device: str, batch_size: int = 16) -> Array:
    """Embeddings of clips, unit length: float32 [clips, size]. Equal lengths share a batch.

    Raises ValueError without clips.
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
