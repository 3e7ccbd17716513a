"""Validation on recordings: by windows, whitened, alone and among distractors."""

import numpy as np
import pytest
from torch import nn

from mirex.corpora.archive import save_archive
from mirex.corpora.cqt_levels import level_arrays
from mirex.model.network import TwoViewNetwork
from mirex.settings import NetworkSettings
from mirex.training.loop import Trainer, validate
from mirex.training.recipe import validation_sets
from mirex.training.settings import BatchSettings, Corpus, LoopSettings, Recipe
from mirex.training.validation import RecordingSet, recording_set

SETTINGS = NetworkSettings(embedding_size=256)


class _Means(nn.Module):
    """Stands for a network: a window's vector is its mean over time."""

    def forward(self, x):
        return None, x.mean(dim=(1, 3))


class _Views(TwoViewNetwork):
    """Stands for the network of both views."""

    def __init__(self):
        nn.Module.__init__(self)
        self.cqt = _Means()  # type: ignore[assignment]


def _archive(path, *, works, splits):
    """Recordings of some works, each under a loud accompaniment of its own, which hides the work."""
    generator = np.random.default_rng(0)
    tunes = generator.random((max(works) + 1, 28)) ** 2
    recordings = []
    for work in works:
        spectrum = np.full(84, 1e-3)
        spectrum[:48:3] = generator.random(16) * 4  # bins without neighbours, which are no peaks
        spectrum[49:77] = tunes[work] * 0.05 + generator.random(28) * 0.02
        recordings.append(np.repeat(spectrum[:, None], 240, axis=1).astype(np.float32))
    save_archive(level_arrays(recordings, works=works, splits=splits, names=[""] * len(works)), path=path)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    works = [0, 1, 2, 0, 1, 2, *range(3, 40)]
    splits = ["validation"] * 12 + ["train"] * (len(works) - 12)
    return _archive(tmp_path_factory.mktemp("recordings") / "made.npz", works=works, splits=splits)


@pytest.fixture(scope="module")
def found(archive):
    return recording_set(archive, settings=SETTINGS)


def _average_precision(vectors, labels, queries):
    """Plainly: unit vectors, every other one ranked."""
    values = []
    for query in queries:
        others = [i for i in range(len(labels)) if i != query]
        ranked = sorted(others, key=lambda i: -float(vectors[query] @ vectors[i]))
        hits = [place for place, i in enumerate(ranked, 1) if labels[i] == labels[query]]
        values.append(np.mean([n / place for n, place in enumerate(hits, 1)]))
    return float(np.mean(values))


def _pooled(found, project):
    def vectors(windows):
        means = np.stack([window.astype(np.float32).mean(axis=1) for window in windows])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    each = project(vectors(found.windows), vectors(found.others))
    total = np.stack([each[found.recordings == i].mean(axis=0) for i in range(len(found.labels))])
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def _whitened(vectors, others):
    covariance = np.cov(others.T, bias=True)
    size = len(covariance)
    covariance = 0.98 * covariance + 0.02 * np.trace(covariance) / size * np.eye(size)
    values, directions = np.linalg.eigh(covariance)
    projected = (vectors - others.mean(axis=0)) @ (directions * values**-0.35) @ directions.T
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)


def test_recordings_are_judged_by_windows_and_whitened(found):
    assert isinstance(found, RecordingSet)
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    figures = found.average_precision(_Views(), device="cpu")
    whitened, plain = _pooled(found, _whitened), _pooled(found, lambda vectors, others: vectors)
    queries = range(6)
    assert figures["_among"] == pytest.approx(_average_precision(whitened, found.labels, queries), abs=1e-6)
    assert figures[""] == pytest.approx(_average_precision(whitened[:6], found.labels[:6], queries), abs=1e-6)
    assert figures["_among"] > _average_precision(plain, found.labels, queries)
    assert figures["_among"] < figures[""]


def test_without_versions_or_training_recordings_there_is_no_set(tmp_path):
    alone = _archive(tmp_path / "alone.npz", works=[0, 1, 2, 3], splits=["validation"] * 2 + ["train"] * 2)
    assert recording_set(alone, settings=SETTINGS) is None
    untrained = _archive(tmp_path / "untrained.npz", works=[0, 0], splits=["validation"] * 2)
    assert recording_set(untrained, settings=SETTINGS) is None


def test_a_run_with_recordings_validates_on_them(archive):
    recipe = Recipe(network=SETTINGS, batch=BatchSettings(works=(2,)))
    sets = validation_sets(Corpus(recordings=(archive,)), recipe=recipe)
    trainer = Trainer(2, settings=LoopSettings(), embedding_size=256)
    assert set(validate(trainer, sets)) == {"pop", "pop_among"}
