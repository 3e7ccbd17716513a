"""Works with versions in several sources: what is joined, what a draw holds, and what is no negative."""

import dataclasses

import numpy as np
import pytest
import torch

import made_corpus
from mirex.corpora.archive import Joined, save_archive
from mirex.corpora.cqt_levels import LevelCorpus, level_arrays
from mirex.corpora.profiles import NO_WORK, ProfileCorpus
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import TrainingError
from mirex.settings import NetworkSettings
from mirex.training.loop import Trainer
from mirex.training.losses import pairs
from mirex.training.mixing import Node, find_links, number_works, read_links
from mirex.training.precision import half_precision
from mirex.training.recipe import make_batches
from mirex.training.settings import BatchSettings, Corpus, LoopSettings, Recipe
from mirex.training.statistics import renew_statistics
from mirex.training.synthesis.patches import save_patches

SCORES, CHROMA, RECORDINGS = range(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scores of works 0 to 7, chroma of works 0 to 5, seven recordings; the last works are for validation.

    Recording 0 is of songs 2 and 3 (work 1); 1 and 2 are a work; 3 and 4 have the same artist and title; 5
    is of a song for validation; 6 is for validation. Chroma's work 2 is the scores' work 1; its work 3 has
    an unconfirmed link to the scores' work 2; a row of the table leads to a work for validation.
    """
    folder = tmp_path_factory.mktemp("corpus")
    made_corpus.write_scores(folder / "scores.npz")
    made_corpus.write_chroma(folder / "hpcp.npz")
    _write_more_profiles(folder / "profiles-more.npz")
    rng = np.random.default_rng(0)
    columns = [(0.1 * rng.random((84, 200))).astype(np.float32) for _ in range(7)]
    names = ["A - One", "B - Two", "B - Two (live)", "C - Same", "c - SAME", " - ", "A - One"]
    arrays = level_arrays(
        columns,
        works=[0, 1, 1, 3, 4, 5, 6],
        splits=["train"] * 6 + ["validation"],
        names=names,
        songs=[(2, 3), (), (), (), (), (13,), ()],
    )
    save_archive(arrays, path=folder / "recordings.npz")
    (folder / "links.tsv").write_text("hpcp_work\tscore_work\ttitle\n2\t1\tx\n1\t7\ty\n5\t0\tz\n", "utf-8")
    levels = np.round(np.log10(made_corpus.patches() + 1e-12) * 20 + 240).clip(0, 255).astype(np.uint8)
    save_patches(levels, path=folder / "patches.npz")
    return folder


def _write_more_profiles(path):
    """Another version of chroma's work 0, which the scores' work 3 is too, and one of a work of its own."""
    rng = np.random.default_rng(1)
    save_archive(
        {
            "hpcp": rng.integers(0, 16, (12, 210)).astype(np.uint8),
            "recording_offset": np.array([0, 70, 140, 210], np.uint32),
            "recording_work": np.array([0, 10_000, 10_000], np.uint32),
            "recording_split": np.zeros(3, np.uint8),
            "recording_score_work": np.array([3, 2, NO_WORK], np.uint32),
            "recording_confirmed": np.array([1, 0, 1], np.uint8),
        },
        path=path,
    )


def _linked(folder):
    scores = (SCORES, Joined([ScoreCorpus.load(folder / "scores.npz")]))
    chroma = (CHROMA, Joined([ProfileCorpus.load(folder / f"{n}.npz") for n in ("hpcp", "profiles-more")]))
    recordings = (RECORDINGS, Joined([LevelCorpus.load(folder / "recordings.npz")]))
    return find_links(scores=scores, chroma=chroma, recordings=recordings, table=folder / "links.tsv")


def _corpus(folder):
    return Corpus(
        scores=(folder / "scores.npz",),
        chroma=(folder / "hpcp.npz", folder / "profiles-more.npz"),
        recordings=(folder / "recordings.npz",),
        links=folder / "links.tsv",
        patches=(folder / "patches.npz",),
    )


def _maker(folder, *, works=(0, 0, 4), versions=4, **more):
    batch = BatchSettings(works=works, versions=versions, lengths=(16,), chroma_lengths=(16,))
    network = NetworkSettings(embedding_size=256)
    recipe = dataclasses.replace(Recipe(network=network, batch=batch), fold_share=0.0, **more)
    return make_batches(_corpus(folder), recipe=recipe)


def test_archives_that_number_their_works_alike_are_one(folder):
    first, second = (ProfileCorpus.load(folder / f"{name}.npz") for name in ("hpcp", "profiles-more"))
    joined = Joined([first, second])
    assert joined.numbers.tolist() == [0, 1, 2, 3, 10_000]
    assert joined.works[0].tolist() == [0, 1, 2, 18]
    assert joined.works[4].tolist() == [19, 20]
    assert joined.at(2) == (first, 2)
    assert joined.at(18) == (second, 0)
    assert joined.at(20) == (second, 2)


def test_links_are_those_of_the_archives_and_the_table_for_the_split_alone(folder):
    linked = _linked(folder)
    assert set(linked.links) == {
        (Node(RECORDINGS, 0), Node(SCORES, 1)),
        (Node(CHROMA, 0), Node(SCORES, 3)),
        (Node(CHROMA, 2), Node(SCORES, 1)),
    }
    assert set(linked.doubtful) == {
        (Node(CHROMA, 4), Node(SCORES, 2)),
        (Node(RECORDINGS, 2), Node(RECORDINGS, 3)),
    }


def test_what_links_join_over_others_is_one_work():
    links = [(Node(0, 2), Node(1, 0)), (Node(1, 0), Node(1, 3)), (Node(2, 1), Node(1, 3))]
    doubtful = [(Node(0, 0), Node(2, 0))]
    numbering = number_works([3, 4, 2], links=links, doubtful=doubtful)
    scores, chroma, recordings = (labels.tolist() for labels in numbering.labels)
    assert scores == [0, 1, 2]
    assert chroma == [2, 3, 4, 2]
    assert recordings == [5, 2]
    families = numbering.families.tolist()
    assert families[0] == families[5]
    assert len(set(families)) == 5
    plain = number_works([2, 3])
    assert [labels.tolist() for labels in plain.labels] == [[0, 1], [2, 3, 4]]
    assert plain.families.tolist() == [0, 1, 2, 3, 4]


def test_a_draw_mixes_the_sources_that_have_the_work(folder):
    maker = _maker(folder, voiced_share=1.0)  # a folded crop alone in its view would be left out
    mixed: dict[int, set[int]] = {}
    for step in range(12):
        batch = maker.batch(step)
        for label in set(batch.labels.tolist()):
            mixed.setdefault(label, set()).update(batch.sources[batch.labels == label].tolist())
    of_song = int(_label(folder, RECORDINGS, 0))
    assert of_song == int(_label(folder, SCORES, 1)) == int(_label(folder, CHROMA, 2))
    assert mixed.pop(of_song) == {SCORES, CHROMA, RECORDINGS}
    assert set(map(frozenset, mixed.values())) == {frozenset({RECORDINGS})}


def _label(folder, source, work):
    linked = _linked(folder)
    return number_works([6, 5, 5], links=linked.links, doubtful=linked.doubtful).labels[source][work]


def test_a_recording_and_its_rendered_score_are_positives_and_two_crops_of_one_are_not(folder):
    maker = _maker(folder, works=(0, 0, 5), versions=4)
    _, _, labels, recordings, sources, _, families = maker.batch(0)
    positive, negative = pairs(labels, recordings, sources, families)
    of_song = labels == int(_label(folder, RECORDINGS, 0))
    real, rendered = of_song & (sources == RECORDINGS), of_song & (sources == SCORES)
    assert real.any()
    assert rendered.any()
    assert positive[real][:, rendered].all()
    same, other = (int(_label(folder, RECORDINGS, work)) for work in (2, 3))
    assert not negative[labels == same][:, labels == other].any(), "the same artist and title"
    assert not positive[labels == same][:, labels == other].any()
    assert negative[labels == same][:, real].all()


def test_a_recording_drawn_again_is_sounded_anew_and_only_then_its_own_positive(folder):
    for step in range(4):
        _, _, labels, recordings, sources, _, _ = _maker(folder).batch(step)
        positive = pairs(labels, recordings, sources).positive
        for label in set(labels.tolist()):
            places = np.flatnonzero((labels == label) & (sources == RECORDINGS))
            as_it_is = [place for place in places if recordings[place] >= 0]
            assert len({int(recordings[place]) for place in as_it_is}) == len(as_it_is)
            assert len(places) == 1 or positive[places[0], places[1]]
    unsounded = dataclasses.replace(_corpus(folder), scores=(), chroma=(), links=None, patches=())
    batch = BatchSettings(works=(4,), versions=3, lengths=(16,), chroma_lengths=(16,))
    maker = make_batches(unsounded, recipe=dataclasses.replace(Recipe(batch=batch), fold_share=0.0))
    _, _, labels, recordings, sources, _, _ = maker.batch(0)
    positive = pairs(labels, recordings, sources).positive
    for label in set(labels.tolist()):
        numbers = recordings[labels == label]
        found = positive[labels == label][:, labels == label]
        assert torch.equal(found, numbers[:, None] != numbers[None, :])


def test_works_that_others_have_too_are_drawn_more_often(folder):
    counts = {}
    for weight in (1.0, 9.0):
        maker = _maker(folder, works=(0, 0, 1), versions=3, multiple_weight=weight)
        drawn = [int(maker.batch(step).labels[0]) for step in range(150)]
        counts[weight] = drawn.count(int(_label(folder, RECORDINGS, 0))) / len(drawn)
    assert counts[1.0] == pytest.approx(1 / 5, abs=0.1)
    # The work of two recordings is wanted as often.
    assert counts[9.0] == pytest.approx(9 / 21, abs=0.12)


def test_mixed_batches_are_learned_from_and_imprinted(folder):
    maker = _maker(folder, works=(2, 2, 2), versions=3, voiced_share=0.5, sounded_share=0.3)
    trainer = Trainer(maker.works, settings=LoopSettings(), embedding_size=256)
    trainer.imprint(maker.once(portion) for portion in maker.portions(works=4))
    values = trainer.train_step(maker.batch(0))
    assert all(np.isfinite(float(value)) for value in values.values())
    assert maker.works == 6 + 5 + 5 - 3


def test_another_table_of_links_is_refused(tmp_path):
    (tmp_path / "links.tsv").write_text("a\tb\n1\t2\n", "utf-8")
    for name in ("links.tsv", "none.tsv"):
        with pytest.raises(TrainingError, match=f"{name}: not a table with the columns hpcp_work"):
            read_links(tmp_path / name)


def test_statistics_are_the_mean_over_batches_and_of_views_that_occur_alone(rng):
    network = Trainer(3, settings=LoopSettings(), embedding_size=256).average
    batches = [
        (torch.from_numpy(rng.random((4, 1, 84, 20), dtype=np.float32)), torch.zeros(0, 1, 1, 1))
        for _ in range(3)
    ]
    before = network.chroma.stem[1].running_mean.clone()
    network.eval()
    renew_statistics(network, batches, device="cpu")
    assert not network.training
    found = network.cqt.stem[1]
    with torch.no_grad(), half_precision("cpu"):
        made = [network.cqt.stem[0](cqt).float() for cqt, _ in batches]
    means = torch.stack([each.mean(dim=(0, 2, 3)) for each in made]).mean(dim=0)
    variances = torch.stack([each.var(dim=(0, 2, 3)) for each in made]).mean(dim=0)
    torch.testing.assert_close(found.running_mean, means, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.running_var, variances, rtol=1e-2, atol=1e-5)
    assert found.momentum == 0.1
    assert torch.equal(network.chroma.stem[1].running_mean, before)


def test_a_run_can_end_with_statistics_made_anew(folder, tmp_path):
    from mirex.cli import main
    from mirex.training.checkpoint import read_metadata

    def averages(name, *more):
        command = ["train", str(tmp_path / name), "--chroma", str(folder / "hpcp.npz"), "--works", "2"]
        command += ["--versions", "2", "--chroma-lengths", "16", "--embedding-size", "256", "--steps", "2"]
        assert main([*command, "--validate-every", "0", *more]) == 0
        checkpoint = tmp_path / name / "checkpoint.safetensors"
        assert read_metadata(checkpoint)["step"] == 2
        from safetensors.torch import load_file

        tensors = load_file(checkpoint)
        return {n: t for n, t in tensors.items() if n.startswith("average/chroma.stem.1")}

    plain, renewed = averages("plain"), averages("renewed", "--statistics-batches", "3")
    name = "average/chroma.stem.1.running_mean"
    assert not torch.equal(plain[name], renewed[name])
    weight = "average/cqt.stem.1.weight"
    assert plain.get(weight) is None or torch.equal(plain[weight], renewed[weight])
