"""What training is made of does what it is there for: each test fails where its part is switched off."""

import dataclasses

import numpy as np
import pytest
import torch

import made_corpus
from mirex.corpora.archive import save_archive
from mirex.corpora.cqt_levels import level_arrays
from mirex.model.network import tensors_of
from mirex.settings import NetworkSettings
from mirex.training.batches import BatchMaker
from mirex.training.loop import Trainer, validate
from mirex.training.recipe import make_batches
from mirex.training.settings import BatchSettings, Corpus, LoopSettings, Recipe, StitchSettings
from mirex.training.sources import Version
from mirex.training.synthesis.patches import save_patches
from mirex.training.validation import ValidationSet

LOOP = LoopSettings(steps=6, warmup_steps=1, decay_steps=1)
TERMS = ("classification", "triplet", "center", "contrastive")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two versions a work, which share no bin and no pitch class."""
    folder = tmp_path_factory.mktemp("corpus")
    made_corpus.write_scores(folder / "scores.npz", works=6)
    levels = np.round(np.log10(made_corpus.patches() + 1e-12) * 20 + 240).clip(0, 255).astype(np.uint8)
    save_patches(levels, path=folder / "patches.npz")
    profiles = np.zeros((12, 8 * 70), np.uint8)
    recordings = []
    for version in range(8):
        profiles[version % 2 * 5, version * 70 : (version + 1) * 70] = 15
        recordings.append(np.zeros((84, 140), np.float32))
        recordings[-1][20 + version % 2 * 41] = 0.1
    save_archive(
        {
            "hpcp": profiles,
            "recording_offset": np.arange(0, 561, 70).astype(np.uint32),
            "recording_work": np.repeat(np.arange(4), 2).astype(np.uint32),
            "recording_split": np.zeros(8, np.uint8),
        },
        path=folder / "hpcp.npz",
    )
    works = np.repeat(np.arange(4), 2).tolist()
    arrays = level_arrays(recordings, works=works, splits=["train"] * 8, names=[""] * 8)
    save_archive(arrays, path=folder / "recordings.npz")
    return folder


def _recipe(**changes):
    batch = BatchSettings(
        works=(3,),
        versions=2,
        lengths=(48,),
        chroma_lengths=(48,),
        start_strength=0.0,
        end_strength=0.0,
        curriculum_steps=1,
    )
    network = NetworkSettings(embedding_size=256)
    return dataclasses.replace(Recipe(network=network, batch=batch, loop=LOOP), fold_share=0.0, **changes)


@pytest.mark.parametrize("kind", ["chroma", "recordings"])
def test_so_many_crops_as_asked_hold_several_versions(corpus, kind):
    chroma, recordings = (
        Corpus(chroma=(corpus / "hpcp.npz",)),
        Corpus(recordings=(corpus / "recordings.npz",)),
    )
    data = chroma if kind == "chroma" else recordings

    def stitched(probability, **more):
        recipe = _recipe(stitching=StitchSettings(probability=probability), **more)
        maker = make_batches(data, recipe=recipe)
        views = [view[0] for step in range(5) for views in maker.batch(step)[:2] for view in views]
        loud = [
            np.flatnonzero((view[:36] if kind == "chroma" else view).numpy().max(axis=1) > 0.5)
            for view in views
        ]
        rows = [set((each % 12).tolist()) if kind == "chroma" else set(each.tolist()) for each in loud]
        return np.mean([len(found) > 1 for found in rows])

    assert stitched(0.0) == 0.0
    # Half of all further parts are of the version that the first one is of.
    assert 0.4 < stitched(1.0) <= 1.0
    assert 0.0 < stitched(0.5) < stitched(1.0)
    of_chroma = stitched(0.0, chroma_stitching=1.0)
    assert of_chroma > 0.4 if kind == "chroma" else of_chroma == 0.0


def test_stitched_scores_are_played_from_several_versions(corpus, monkeypatch):
    from mirex.training import sources

    played = []
    arrange = sources.arrange

    def listening(score, **more):
        played.append(tuple(score.program))
        return arrange(score, **more)

    monkeypatch.setattr(sources, "arrange", listening)
    data = Corpus(scores=(corpus / "scores.npz",), patches=(corpus / "patches.npz",))
    counts = []
    for probability in (0.0, 1.0):
        played.clear()
        recipe = _recipe(stitching=StitchSettings(probability=probability))
        make_batches(data, recipe=recipe).batch(0)
        counts.append(len(played))
    assert counts[0] == 6, "a crop, an arrangement"
    assert counts[1] >= 12


def test_the_average_moves_as_the_rule_says(corpus):
    maker = make_batches(Corpus(chroma=(corpus / "hpcp.npz",)), recipe=_recipe())
    trainer = Trainer(maker.works, settings=LOOP, embedding_size=256)
    name = "cqt.stages.0.0.conv1.weight"
    expected = tensors_of(trainer.network)[name].clone()
    for step in range(4):
        trainer.train_step(maker.batch(step))
        decay = min(LOOP.average_decay, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * tensors_of(trainer.network)[name]
    found, moved = tensors_of(trainer.average)[name], tensors_of(trainer.network)[name]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, moved, rtol=1e-4)


def test_every_term_is_in_the_total_with_its_weight_and_is_learned_from(corpus):
    maker = make_batches(Corpus(chroma=(corpus / "hpcp.npz",)), recipe=_recipe())
    settings = dataclasses.replace(LOOP, center_weight=0.7, triplet_weight=0.6)

    def gradients(**weights):
        trainer = Trainer(maker.works, settings=dataclasses.replace(settings, **weights), embedding_size=256)
        trainer.centers.centers.normal_(generator=torch.Generator().manual_seed(0))  # else all are as near
        values = trainer.train_step(maker.batch(0))
        computed = [term for term in TERMS if term in values]
        assert set(TERMS) - set(computed) <= {"classification"}, "left out if it counts for nothing"
        weighted = {term: getattr(trainer.settings, f"{term}_weight") * values[term] for term in computed}
        assert float(values["total"]) == pytest.approx(float(sum(weighted.values())), rel=1e-5)
        assert all(float(value) > 0 for value in values.values())
        return trainer.parameters["network.cqt.stem.0.weight"].grad

    whole = gradients()
    for term in TERMS:
        without = gradients(**{f"{term}_weight": 0.0})
        assert (whole - without).norm() > 1e-3 * whole.norm(), term


@pytest.mark.parametrize("features", ["unit", "pooled", "embedding"])
def test_the_triplet_term_compares_what_it_is_asked_to(corpus, features):
    maker = make_batches(Corpus(chroma=(corpus / "hpcp.npz",)), recipe=_recipe())
    settings = dataclasses.replace(LOOP, triplet_features=features, triplet_margin=7.0)
    trainer = Trainer(maker.works, settings=settings, embedding_size=256)
    seen: dict[str, torch.Tensor] = {}
    network = trainer.network
    network.register_forward_hook(lambda module, given, made: seen.update(pooled=made[0], embedding=made[1]))
    batch = maker.batch(0)
    found = float(trainer.train_step(batch)["triplet"])
    x = seen["embedding" if features == "embedding" else "pooled"].detach().double()
    if features != "pooled":
        x = x / x.norm(dim=1, keepdim=True)
    values = []
    for a in range(len(x)):
        gaps = [(x[a] - x[o]).norm() for o in range(len(x))]
        same = [batch.labels[o] == batch.labels[a] for o in range(len(x))]
        other = [batch.recordings[o] != batch.recordings[a] for o in range(len(x))]
        positives = [g for g, s, d in zip(gaps, same, other, strict=True) if s and d]
        negatives = [g for g, s in zip(gaps, same, strict=True) if not s]
        values.append(max(0.0, float(max(positives)) - float(min(negatives)) + 7.0))
    assert found == pytest.approx(np.mean(values), rel=2e-3)


def test_long_gradients_are_cut_to_the_longest_allowed(corpus):
    maker = make_batches(Corpus(chroma=(corpus / "hpcp.npz",)), recipe=_recipe())
    for clip, cut in ((1e-2, True), (1e6, False)):
        trainer = Trainer(maker.works, settings=dataclasses.replace(LOOP, clip_norm=clip), embedding_size=256)
        before = float(trainer.train_step(maker.batch(0))["gradient_norm"])
        gradients = [p.grad for p in trainer.parameters.values() if p.grad is not None]
        after = float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])))
        assert after == pytest.approx(clip if cut else before, rel=1e-3)


def test_weights_decay_in_kernels_and_matrices_only():
    settings = dataclasses.replace(LOOP, weight_decay=0.1)
    trainer = Trainer(3, settings=settings, embedding_size=256)
    with torch.no_grad():
        for parameter in trainer.parameters.values():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    for group in trainer.optimiser.param_groups:
        group["lr"] = 0.5
    trainer.optimiser.step()
    for name, parameter in trainer.parameters.items():
        kernel = parameter.dim() > 1
        assert kernel == any(part in name for part in ("conv", "stem.0", "shortcut.0", "classifier")), name
        assert torch.allclose(parameter, torch.tensor(0.95 if kernel else 1.0)), name


class _Recorded:
    """A source of nothing much, which remembers what it is asked."""

    def __init__(self, weights):
        self.work_weights = np.array(weights, float)
        self.works = [np.array([work]) for work in range(len(weights))]
        self.strengths = []
        self.drawn = []

    def draw(self, work, *, lengths, strength, generator):
        self.strengths.append(strength)
        self.drawn.append(work)
        return [self.version(work, self.works[work], lengths=each) for each in lengths]

    def version(self, index, siblings, *, lengths, draw=None, again=False):
        return Version(np.zeros((84, lengths.cqt), np.float32), False, None)


def test_augmentation_grows_along_the_curriculum():
    source = _Recorded([1.0] * 4)
    settings = BatchSettings(works=(2,), start_strength=0.2, end_strength=0.6, curriculum_steps=100)
    maker = BatchMaker([source], settings=settings, seed=1)
    for step in (0, 10, 30, 40, 400):
        source.strengths.clear()
        maker.batch(step)
        assert source.strengths == pytest.approx([min(0.6, 0.2 + step / 100)] * 2)


def test_crops_grow_from_the_first_length_to_the_last():
    """All else stays as drawn."""
    source = _Recorded([1.0] * 4)
    settings = BatchSettings(works=(2,), lengths=(16, 16, 24, 40), growing_steps=8)
    maker = BatchMaker([source], settings=settings, seed=1)
    lengths = [maker.batch(step).cqt.shape[3] for step in range(12)]
    assert lengths == [16, 16, 16, 16, 24, 24, 40, 40, 40, 40, 40, 40]
    chosen, source.drawn = source.drawn, []
    drawn = BatchMaker([source], settings=dataclasses.replace(settings, growing_steps=0), seed=1)
    assert {drawn.batch(step).cqt.shape[3] for step in range(12)} == {16, 24, 40}
    assert source.drawn == chosen


@pytest.mark.parametrize("kind", ["scores", "recordings"])
def test_works_with_several_versions_are_drawn_more_often(tmp_path, kind):
    """Work 0 has two versions, the seven others one each."""
    path = tmp_path / f"{kind}.npz"
    if kind == "scores":
        made_corpus.write_scores(path, works=10, versions=1)
        with np.load(path) as found:
            arrays = dict(found)
        arrays["song_work"][7] = 0
        save_patches(np.zeros((129, 84, 29, 84), np.uint8), path=tmp_path / "patches.npz")
        data = Corpus(scores=(path,), patches=(tmp_path / "patches.npz",))
    else:
        columns = [np.full((84, 100), 0.1, np.float32)] * 8
        works = [*range(7), 0]
        arrays = level_arrays(columns, works=works, splits=["train"] * 8, names=[""] * 8)
        data = Corpus(recordings=(path,))
    save_archive(arrays, path=path)
    for weight in (4.0, 9.0):
        batch = BatchSettings(works=(1,), versions=3, lengths=(16,), chroma_lengths=(16,))
        recipe = dataclasses.replace(_recipe(multiple_weight=weight), batch=batch)
        maker = make_batches(data, recipe=recipe)
        drawn = [int(maker.batch(step).labels[0]) for step in range(120)]
        share = drawn.count(0) / len(drawn)
        assert share == pytest.approx(weight / (6 + weight), abs=0.13)


def test_the_average_is_what_is_validated(corpus):
    maker = make_batches(Corpus(chroma=(corpus / "hpcp.npz",)), recipe=_recipe())
    trainer = Trainer(maker.works, settings=LOOP, embedding_size=256)
    views = np.random.default_rng(0).random((4, 36, 40), dtype=np.float32)
    sets = {"made": ValidationSet(list(views), np.array([0, 0, 1, 1]), folded=True)}
    before = validate(trainer, sets)
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter.fill_(torch.nan)
    assert validate(trainer, sets) == before
