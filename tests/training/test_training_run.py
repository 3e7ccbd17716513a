"""The loop end to end on a made corpus: resuming, sealing, the learning rate, recordings as data."""

import contextlib
import dataclasses
import json
import math
import time
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import made_corpus
from mirex.cli import main
from mirex.corpora.recordings import load_columns, read_recordings
from mirex.errors import SettingsMismatch, TrainingError, UsageError, WeightsError
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.model import weights
from mirex.model.embedding import embed
from mirex.model.network import tensors_of
from mirex.settings import NetworkSettings
from mirex.training.checkpoint import read_metadata
from mirex.training.echoes import DELAY, shifted
from mirex.training.loop import Trainer, lay_out_gradients, learning_rate, train
from mirex.training.plot import plot_log, read_log
from mirex.training.recipe import changed_recipes, make_batches, unused_seed, validation_sets
from mirex.training.seal import seal
from mirex.training.settings import BatchSettings, Corpus, LoopSettings, Recipe
from mirex.training.statistics import renew_statistics
from mirex.training.synthesis.patches import save_patches
from mirex.training.validation import ValidationSet

LOOP = LoopSettings(steps=4, decay_steps=2, warmup_steps=1, validate_every=4, checkpoint_every=2)
RECIPE = Recipe(
    network=NetworkSettings(embedding_size=256),
    batch=BatchSettings(works=(2,), versions=2, chroma_lengths=(16,), curriculum_steps=4, end_strength=1.0),
    loop=LOOP,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "hpcp.npz"
    made_corpus.write_chroma(path)
    return Corpus(chroma=(path,))


class _Killed(Exception):
    """Stands for the kill of the process."""


class _Killable(Trainer):
    """A trainer that dies before a step."""

    def __init__(self, trainer, stop_at):
        self.__dict__.update(trainer.__dict__)
        self._stop_at = stop_at

    def train_step(self, batch):
        if self.step == self._stop_at:
            raise _Killed
        return super().train_step(batch)


def _run(corpus, folder, *, stop_at=None, deadline=math.inf):
    """Train in `folder`, or go on there; `stop_at` ends the run early, as a kill would."""
    folder.mkdir(exist_ok=True)
    maker = make_batches(corpus, recipe=RECIPE)
    trainer = Trainer(maker.works, settings=RECIPE.loop, embedding_size=256)
    checkpoint = folder / "checkpoint.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
    metadata = {"recipe": dataclasses.asdict(RECIPE), "data": ["made"], "works": maker.works}

    def report(line: str) -> None:
        """Called after every validation; nothing to see here."""

    with contextlib.suppress(_Killed):
        train(
            trainer if stop_at is None else _Killable(trainer, stop_at),
            batches=map(maker.batch, range(trainer.step, RECIPE.loop.steps)),
            validation={},
            folder=folder,
            metadata=metadata,
            report=report,
            deadline=deadline,
        )
    return checkpoint


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    return _run(corpus, tmp_path_factory.mktemp("run") / "whole")


def test_a_resumed_run_ends_with_the_bytes_of_an_uninterrupted_one(corpus, finished, tmp_path):
    _run(corpus, tmp_path / "broken", stop_at=3)
    assert read_metadata(tmp_path / "broken" / "checkpoint.safetensors")["step"] == 2
    resumed = _run(corpus, tmp_path / "broken")
    assert resumed.read_bytes() == finished.read_bytes()


def test_a_run_that_is_late_leaves_a_checkpoint_to_go_on_from(corpus, finished, tmp_path):
    _run(corpus, tmp_path / "late", deadline=time.monotonic())
    assert read_metadata(tmp_path / "late" / "checkpoint.safetensors")["step"] == 1
    assert [entry["step"] for entry in read_log(tmp_path / "late" / "log.jsonl")] == [0]
    assert _run(corpus, tmp_path / "late").read_bytes() == finished.read_bytes()


def test_the_log_can_be_read_and_plotted(finished, tmp_path):
    entries = read_log(finished.parent / "log.jsonl")
    assert [entry["step"] for entry in entries] == [0, 1, 2, 3]
    assert all(np.isfinite(entry["total"]) for entry in entries)
    pytest.importorskip("matplotlib")
    plot_log(finished.parent / "log.jsonl", path=tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_log_that_is_cut_off_or_has_other_terms_is_plotted(tmp_path):
    pytest.importorskip("matplotlib")
    entries: list[dict[str, Any]] = [
        {"step": 0, "triplet": 1.0, "contrastive": 1.0, "validation": {"pop": 0.5}},
        {"step": 1, "classification": 2.0, "triplet": 1.0, "contrastive": 1.0, "validation": {"scores": 0.5}},
    ]
    log = "".join(json.dumps(entry) + "\n" for entry in entries) + '{"step": 2, "trip'
    (tmp_path / "log.jsonl").write_text(log)
    assert read_log(tmp_path / "log.jsonl") == entries
    plot_log(tmp_path / "log.jsonl", path=tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 0


def test_a_loss_that_is_no_longer_finite_ends_the_run_before_its_checkpoint(corpus, tmp_path):
    maker = make_batches(corpus, recipe=RECIPE)
    trainer = Trainer(maker.works, settings=LOOP, embedding_size=256)

    def batches():
        yield from (maker.batch(0), maker.batch(1))
        broken = maker.batch(2)
        yield broken._replace(chroma=broken.chroma * math.nan, cqt=broken.cqt * math.nan)
        yield maker.batch(3)

    options: dict[str, Any] = {"validation": {}, "folder": tmp_path, "metadata": {}}
    with pytest.raises(TrainingError, match=r"is nan at step 3.* lower --learning-rate"):
        train(trainer, batches=batches(), report=lambda line: None, **options)
    assert read_metadata(tmp_path / "checkpoint.safetensors")["step"] == 2


def test_sealed_weights_load_and_say_what_they_were_trained_on(finished, tmp_path):
    path = tmp_path / "weights.safetensors"
    fingerprint = seal(finished, path=path, results={"x": 1}, date="2026-01-01")
    sealed = weights.load(path)
    assert sealed.fingerprint == fingerprint
    training = json.loads(sealed.metadata["training"])
    assert training["data"] == ["made"]
    assert (training["steps"], training["samples"]) == (4, 16)
    assert sealed.settings == RECIPE.network
    vector = embed([np.random.default_rng(0).random((84, 64), dtype=np.float32)], sealed=sealed)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_the_weight_of_the_folded_view_is_chosen_when_sealing(finished, tmp_path):
    path = tmp_path / "weights.safetensors"
    seal(finished, path=path, chroma_weight=0.5)
    assert weights.load(path).settings == dataclasses.replace(RECIPE.network, chroma_weight=0.5)
    with pytest.raises(TrainingError, match="-1"):
        seal(finished, path=path, chroma_weight=-1.0)
    with pytest.raises(TrainingError, match="weight of the folded view inf: give a finite number"):
        seal(finished, path=path, chroma_weight=float("inf"))
    with pytest.raises(WeightsError, match="slope"):
        seal(finished, path=path, calibration={"slope": 3})


@pytest.fixture(scope="module")
def continued(corpus, finished, tmp_path_factory):
    """Sealed weights and the checkpoint of a run that started from them."""
    folder = tmp_path_factory.mktemp("continued")
    start, checkpoint = folder / "start.safetensors", folder / "checkpoint.safetensors"
    seal(finished, path=start, half=False)
    batches = make_batches(corpus, recipe=RECIPE)
    trainer = Trainer(batches.works, settings=LOOP, embedding_size=256)
    origin = trainer.start_from(start)
    trainer.train_step(batches.batch(0))
    metadata = {"recipe": dataclasses.asdict(RECIPE), "data": ["made"], "works": batches.works}
    trainer.save(checkpoint, metadata=metadata | {"started_from": origin})
    return start, checkpoint


def test_a_share_of_the_start_is_mixed_into_every_parameter(continued, corpus, tmp_path):
    start, checkpoint = continued
    after, mixed = tmp_path / "after", tmp_path / "mixed"
    fingerprint = seal(checkpoint, path=after, half=False)
    assert seal(checkpoint, path=after, half=False, start=start, start_share=0.0) == fingerprint
    batches = [make_batches(corpus, recipe=RECIPE).batch(1)]
    seal(checkpoint, path=mixed, half=False, start=start, start_share=0.4, batches=batches)
    found = weights.load(mixed)
    old, new, mean = (tensors_of(each.network) for each in (weights.load(start), weights.load(after), found))
    for name, _ in found.network.named_parameters():
        torch.testing.assert_close(mean[name], 0.4 * old[name] + 0.6 * new[name])
    assert any(not torch.equal(old[name], new[name]) for name in mean)
    assert json.loads(found.metadata["training"])["start_share"] == 0.4


def test_averaged_weights_get_statistics_of_their_own(continued, corpus, tmp_path):
    start, checkpoint = continued
    path = tmp_path / "mixed"
    batch = make_batches(corpus, recipe=RECIPE).batch(1)
    seal(checkpoint, path=path, half=False, start=start, start_share=0.4, batches=[batch])
    network = weights.load(path).network
    before = {name: tensor.clone() for name, tensor in tensors_of(network).items()}
    renew_statistics(network, [(batch.cqt, batch.chroma)], device="cpu")
    for name, tensor in tensors_of(network).items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-3, atol=1e-5)
    with pytest.raises(TrainingError, match="need training batches"):
        seal(checkpoint, path=path, start=start, start_share=0.4)
    command = ["seal", str(checkpoint), str(tmp_path / "by command"), "--full", "--start", str(start)]
    command += ["--start-share", "0.4", "--statistics-batches", "1", "--chroma", str(corpus.chroma[0])]
    assert main(command) == 0  # the batch after the run's one step, which is the same
    assert weights.load(tmp_path / "by command").fingerprint == weights.load(path).fingerprint


def test_averaged_weights_keep_the_statistics_of_frozen_stages(continued, corpus, tmp_path):
    start, _ = continued
    recipe = dataclasses.replace(RECIPE, loop=dataclasses.replace(LOOP, frozen_stages=1))
    batches = make_batches(corpus, recipe=recipe)
    trainer = Trainer(batches.works, settings=recipe.loop, embedding_size=256)
    origin = trainer.start_from(start)
    trainer.train_step(batches.batch(0))
    metadata = {"recipe": dataclasses.asdict(recipe), "data": ["made"], "works": batches.works}
    trainer.save(tmp_path / "checkpoint", metadata=metadata | {"started_from": origin})
    options: dict[str, Any] = {"start": start, "start_share": 0.4, "batches": [batches.batch(1)]}
    seal(tmp_path / "checkpoint", path=tmp_path / "mixed", half=False, **options)
    before, after = (tensors_of(weights.load(path).network) for path in (start, tmp_path / "mixed"))
    torch.testing.assert_close(
        after["chroma.stages.0.2.norm3.running_var"], before["chroma.stages.0.2.norm3.running_var"]
    )
    torch.testing.assert_close(after["chroma.stem.1.running_mean"], before["chroma.stem.1.running_mean"])
    name = "chroma.stages.1.0.norm2.running_mean"
    assert not torch.allclose(after[name], before[name])


def test_only_the_weights_that_the_run_started_from_are_mixed_in(continued, finished, tmp_path):
    start, checkpoint = continued
    other = tmp_path / "other.safetensors"
    seal(checkpoint, path=other)
    wrong = {
        "started from": {"start": other, "start_share": 0.4},
        "give the weights": {"start_share": 0.4},
        "share of the start 1.0": {"start": start, "start_share": 1.0},
        "share of the start -0.1": {"start": start, "start_share": -0.1},
        "share of the start nan": {"start": start, "start_share": float("nan")},
    }
    for message, options in wrong.items():
        with pytest.raises(TrainingError, match=message):
            seal(checkpoint, path=tmp_path / "weights.safetensors", **options)
    with pytest.raises(TrainingError, match="started from nothing"):
        seal(finished, path=tmp_path / "weights.safetensors", start=start, start_share=0.4)
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_checkpoint_of_other_settings_is_not_sealed_with_this_versions(tmp_path):
    recipe = dataclasses.asdict(RECIPE)
    del recipe["network"]["beside_peaks"]
    path = tmp_path / "checkpoint.safetensors"
    Trainer(2, settings=LOOP, embedding_size=256).save(
        path, metadata={"recipe": recipe, "data": ["made"], "works": 2}
    )
    with pytest.raises(SettingsMismatch, match="beside_peaks"):
        seal(path, path=tmp_path / "weights.safetensors")
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_run_begins_with_sealed_weights_of_its_own_width_only(finished, tmp_path):
    path = tmp_path / "weights.safetensors"
    fingerprint = seal(finished, path=path)
    trainer = Trainer(9, settings=LOOP, embedding_size=256)
    assert trainer.start_from(path)["fingerprint"] == fingerprint
    sealed = tensors_of(weights.load(path).network)
    assert all(torch.equal(value, sealed[name]) for name, value in tensors_of(trainer.network).items())
    with pytest.raises(TrainingError, match="have 256 dimensions, the network 512"):
        Trainer(9, settings=LOOP, embedding_size=512).start_from(path)


@pytest.mark.parametrize("kind", ["backwards", "mirrored"])
@pytest.mark.parametrize("weight", [-0.5, float("nan")])
def test_a_weight_that_is_none_is_refused(corpus, kind, weight):
    with pytest.raises(UsageError, match=f"played {kind} {weight}: give 0 or more"):
        make_batches(corpus, recipe=dataclasses.replace(RECIPE, **{f"{kind}_weight": weight}))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(corpus, share):
    with pytest.raises(UsageError, match=f"voiced crops {share}: give 0 to 1"):
        make_batches(corpus, recipe=dataclasses.replace(RECIPE, voiced_share=share))
    batch = dataclasses.replace(RECIPE.batch, short_share=share)
    with pytest.raises(UsageError, match=f"short crops {share}: give 0 to 1"):
        make_batches(corpus, recipe=dataclasses.replace(RECIPE, batch=batch))


def test_a_batch_in_other_keys_is_learned_from_as_if_it_had_been_made_in_them(corpus):
    maker = make_batches(corpus, recipe=RECIPE)
    batch = maker.batch(0)
    semitones = torch.arange(1, 1 + len(batch.labels))
    moved = batch._replace(chroma=shifted(batch.chroma, semitones[len(batch.cqt) :], folded=True))
    found, expected, plain = (
        Trainer(maker.works, settings=LOOP, embedding_size=256).train_step(each)
        for each in (batch._replace(semitones=semitones), moved, batch)
    )
    assert found == expected != plain


@pytest.mark.parametrize(
    ("name", "said"), [("echoes", "echoes"), ("growing_steps", "batches with growing crops")]
)
def test_numbers_less_than_none_are_refused(corpus, name, said):
    change: dict[str, Any] = {name: -1}
    batch = dataclasses.replace(RECIPE.batch, **change)
    with pytest.raises(UsageError, match=f"{said} -1: give 0"):
        make_batches(corpus, recipe=dataclasses.replace(RECIPE, batch=batch))


@pytest.mark.parametrize("frozen", [-1, 5])
def test_stages_that_there_are_not_cannot_be_frozen(corpus, frozen):
    loop = dataclasses.replace(LOOP, frozen_stages=frozen)
    with pytest.raises(UsageError, match=f"frozen stages {frozen}: give 0 to 4"):
        make_batches(corpus, recipe=dataclasses.replace(RECIPE, loop=loop))


@pytest.mark.parametrize("multiple", [0, 3])
def test_a_multiple_that_leaves_no_crops_is_refused(corpus, multiple):
    batch = dataclasses.replace(RECIPE.batch, multiple=multiple)
    with pytest.raises(UsageError, match=f"multiples of {multiple}, with 4 in a batch: give 1"):
        make_batches(corpus, recipe=dataclasses.replace(RECIPE, batch=batch))


def test_a_run_that_is_never_validated_logs_every_step(corpus, tmp_path):
    loop = dataclasses.replace(LOOP, validate_every=0, checkpoint_every=3)
    maker = make_batches(corpus, recipe=RECIPE)
    trainer = Trainer(maker.works, settings=loop, embedding_size=256)
    batches = map(maker.batch, range(4))
    train(trainer, batches=batches, validation={}, folder=tmp_path, metadata={}, report=lambda line: None)
    entries = read_log(tmp_path / "log.jsonl")
    assert [entry["step"] for entry in entries] == [0, 1, 2, 3]
    assert not any("validation" in entry for entry in entries)
    assert read_metadata(tmp_path / "checkpoint.safetensors")["step"] == 4


def test_voiced_chroma_needs_patches_and_is_validated_too(corpus, tmp_path):
    voiced = dataclasses.replace(RECIPE, voiced_share=0.5)
    with pytest.raises(UsageError, match="voiced crops of chroma need note patches"):
        make_batches(corpus, recipe=voiced)
    levels = np.round(np.log10(made_corpus.patches() + 1e-12) * 20 + 240).clip(0, 255).astype(np.uint8)
    save_patches(levels, path=tmp_path / "made.npz")
    equipped = dataclasses.replace(corpus, patches=(tmp_path / "made.npz",))
    maker = make_batches(equipped, recipe=voiced)
    batch = next(batch for batch in map(maker.batch, range(9)) if len(batch.cqt) == 2)
    assert len(batch.cqt) + len(batch.chroma) == 4
    sets = validation_sets(equipped, recipe=voiced)
    assert set(sets) == {"chroma", "voiced"}
    played = sets["voiced"]
    assert isinstance(played, ValidationSet)
    assert played.labels.tolist() == sets["chroma"].labels.tolist()
    assert not played.folded
    assert {clip.shape for clip in played.clips} == {(84, 70)}
    assert set(validation_sets(corpus, recipe=RECIPE)) == {"chroma"}


def test_turned_works_are_works_of_the_batch_maker(corpus):
    weights = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
    recipes = [
        dataclasses.replace(RECIPE, backwards_weight=backwards, mirrored_weight=mirrored)
        for backwards, mirrored in weights
    ]
    assert [make_batches(corpus, recipe=recipe).works for recipe in recipes] == [4, 8, 8, 16]


def test_an_imprinted_classifier_knows_the_works_before_the_first_step(corpus):
    maker = make_batches(corpus, recipe=RECIPE)
    trainer = Trainer(maker.works, settings=LOOP, embedding_size=256)
    before = {name: tensor.clone() for name, tensor in tensors_of(trainer.network).items()}
    (everything,) = maker.portions(works=maker.works)
    shown = maker.once(everything)
    trainer.imprint([shown])
    with torch.no_grad():
        _, embedding = trainer.average.eval()(shown.cqt, shown.chroma)
    assert trainer.classifier(embedding).argmax(dim=1).tolist() == shown.labels.tolist()
    assert (trainer.centers.centers.norm(dim=1) > 0.9).all()
    assert all(torch.equal(value, before[name]) for name, value in tensors_of(trainer.network).items())


def test_another_file_is_not_taken_for_a_checkpoint(corpus, finished, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match="not a checkpoint"):
        read_metadata(path)
    with pytest.raises(TrainingError, match="does not fit"):
        Trainer(99, settings=LOOP, embedding_size=256).load(finished)


def test_a_checkpoint_of_one_work_does_not_spread_over_many(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    Trainer(1, settings=LOOP, embedding_size=256).save(path, metadata={})
    with pytest.raises(TrainingError, match=r"does not fit.*shape \(1, 256\), not \(9, 256\)"):
        Trainer(9, settings=LOOP, embedding_size=256).load(path)


def test_learning_rate_warms_up_holds_and_decays():
    settings = LoopSettings(steps=100, decay_steps=20, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(step, settings=settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == [1.0] * 72
    assert rates[90] == pytest.approx(0.5)
    assert rates[100] == 0.0


def test_a_run_that_goes_on_with_another_recipe_says_so(finished):
    metadata = read_metadata(finished)
    same = dataclasses.asdict(RECIPE)
    assert changed_recipes(metadata, recipe=same) == []
    other = dataclasses.asdict(dataclasses.replace(RECIPE, fold_share=0.5))
    (earlier,) = changed_recipes(metadata, recipe=other)
    assert earlier["until_step"] == 4
    assert earlier["recipe"]["fold_share"] == RECIPE.fold_share
    both = changed_recipes(metadata | {"history": [earlier], "step": 9}, recipe=other)
    assert [phase["until_step"] for phase in both] == [4, 9]


def test_a_run_can_start_from_sealed_weights(finished, tmp_path):
    path = tmp_path / "weights.safetensors"
    fingerprint = seal(finished, path=path, half=False)
    trainer = Trainer(4, settings=LOOP, embedding_size=256)
    origin = trainer.start_from(path)
    assert origin["fingerprint"] == fingerprint
    assert origin["training"]["samples"] == 16
    expected = tensors_of(weights.load(path).network)
    for network in (trainer.network, trainer.average):
        state = tensors_of(network)
        assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert trainer.step == 0


def test_a_run_that_starts_from_weights_draws_what_their_runs_did_not(corpus, finished, tmp_path):
    path = tmp_path / "weights.safetensors"
    seal(finished, path=path, half=False)
    command = ["train", str(tmp_path / "run"), "--chroma", str(corpus.chroma[0]), "--works", "2"]
    command += ["--versions", "2", "--lengths", "32", "--chroma-lengths", "32", "--embedding-size", "256"]

    def seed_of_a_run(*more):
        assert main([*command, "--steps", "1", *more]) == 0
        return read_metadata(tmp_path / "run" / "checkpoint.safetensors")["recipe"]["loop"]["seed"]

    assert seed_of_a_run("--start-from", str(path)) == LOOP.seed + 1
    assert seed_of_a_run("--steps", "2") == LOOP.seed + 1, "one that goes on keeps its own"
    assert seed_of_a_run("--steps", "3", "--seed", "9") == 9


def test_a_run_with_echoes_ends_with_the_same_bytes_however_it_is_run(corpus, tmp_path):
    def checkpoint(folder, *more):
        command = ["train", str(tmp_path / folder), "--chroma", str(corpus.chroma[0]), "--works", "2"]
        command += ["--versions", "2", "--lengths", "16", "--chroma-lengths", "16", "--embedding-size", "256"]
        command += ["--steps", "54", "--decay-steps", "9", "--validate-every", "0", "--echoes", "1"]
        assert main([*command, *more]) == 0
        return tmp_path / folder / "checkpoint.safetensors"

    whole = checkpoint("whole", "--processes", "1")
    assert read_metadata(whole)["step"] == 54 > DELAY, "some batches are heard again"
    assert read_metadata(checkpoint("broken", "--minutes", "0"))["step"] == 1
    assert checkpoint("broken").read_bytes() == whole.read_bytes()


def test_training_on_a_missing_cuda_is_wrong_usage(corpus, tmp_path, capfd):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert main(["train", str(tmp_path), "--chroma", str(corpus.chroma[0]), "--device", "cuda"]) == 2
    assert "no CUDA device" in capfd.readouterr().err


def test_no_seed_of_any_run_behind_the_weights_is_used_again():
    def training(seed, history=(), started_from=None):
        phases = [{"recipe": {"loop": {"seed": each}}, "until_step": 1} for each in history]
        return {"recipe": {"loop": {"seed": seed}}, "history": phases, "started_from": started_from}

    assert unused_seed({"recipe": {"loop": {"seed": 1}}}) == 2
    assert unused_seed(training(1)) == 2
    assert unused_seed(training(1, history=[7, 3])) == 8
    assert unused_seed(training(2, started_from={"training": training(5, history=[4])})) == 6


def test_recipe_and_data_must_fit(corpus):
    with pytest.raises(UsageError, match="one number per source"):
        make_batches(corpus, recipe=Recipe())


def test_recordings_are_read_cached_and_bad_ones_reported(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("a1", "a2", "b1"):
        soundfile.write(tmp_path / f"{name}.wav", generator.normal(0, 0.1, 22050), 22050)
    (tmp_path / "b2.wav").write_text("not audio")
    table = tmp_path / "works.csv"
    table.write_text("work,path\nA,a1.wav\nA,a2.wav\nB,b1.wav\nB,b2.wav\n", encoding="utf-8")
    works = read_recordings(table)
    said: list[str] = []
    first = load_columns(works, scratch=tmp_path / "scratch", processes=1, report=said.append)
    assert first.works == ((0, 1),)
    assert len(said) == 1
    assert "b2.wav" in said[0]
    again = load_columns(works, scratch=tmp_path / "scratch", processes=1, report=said.append)
    assert again == first
    for name, index in (("a1", 0), ("a2", 1)):
        expected = columns(decode(tmp_path / f"{name}.wav")).astype(np.float16)
        assert np.array_equal(first.columns(index), expected.astype(np.float32))


def test_a_recording_that_a_work_has_twice_is_no_version_of_itself(tmp_path, rng):
    soundfile.write(tmp_path / "a.wav", rng.normal(0, 0.1, 22050), 22050)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    works = {"A": [tmp_path / "a.wav", tmp_path / "copy.wav"]}
    with pytest.raises(TrainingError, match="two readable recordings"):
        load_columns(works, scratch=tmp_path / "scratch", processes=1, report=print)


def test_recordings_of_ones_own_are_learned_from_in_several_processes(tmp_path, capfd):
    generator = np.random.default_rng(0)
    for name in ("a1", "a2", "b1", "b2"):
        soundfile.write(tmp_path / f"{name}.wav", generator.normal(0, 0.1, 8 * 22050), 22050)
    table = "work,path\nA,a1.wav\nA,a2.wav\nB,b1.wav\nB,b2.wav\nB,none.wav\n"
    (tmp_path / "works.csv").write_text(table, encoding="utf-8")
    command = ["train", str(tmp_path / "run"), "--recordings", str(tmp_path / "works.csv")]
    command += ["--works", "2", "--versions", "2", "--lengths", "16", "--chroma-lengths", "16"]
    command += ["--steps", "2", "--embedding-size", "256", "--processes", "2"]
    assert main(command) == 0
    said = capfd.readouterr()
    assert said.out.count("left out") == 1, "they are read once, not once a process"
    assert "none.wav" in said.out
    assert read_metadata(tmp_path / "run" / "checkpoint.safetensors")["step"] == 2


def _train_on(folder, rows, *more):
    """Train in `folder / "run"` on a table of these rows."""
    table = folder / "works.csv"
    table.write_text("\n".join(["work,path", *rows]), encoding="utf-8")
    command = ["train", str(folder / "run"), "--recordings", str(table), "--works", "2", "--versions", "2"]
    command += ["--lengths", "16", "--chroma-lengths", "16", "--embedding-size", "256"]
    return main([*command, "--validate-every", "0", *more])


@pytest.fixture
def rows(tmp_path, rng):
    names = [f"{work}{version}" for work in "ABC" for version in (1, 2)]
    for name in names:
        soundfile.write(tmp_path / f"{name}.wav", rng.normal(0, 0.1, 4 * 22050), 22050)
    return [f"{name[0]},{name}.wav" for name in names]


def test_a_run_does_not_go_on_where_its_labels_would_mean_other_works(tmp_path, rows, capsys):
    assert _train_on(tmp_path, rows, "--steps", "1") == 0
    renamed = [row.replace("C,", "D,") for row in rows]
    for other in (rows[::-1], renamed, rows[:4]):
        assert _train_on(tmp_path, other, "--steps", "2") == 1
        said = capsys.readouterr().err
        assert f"other works, or another order of works, than the run in {tmp_path / 'run'}; restore" in said
    assert _train_on(tmp_path, [rows[1], rows[0], *rows[2:]], "--steps", "2") == 0
    assert read_metadata(tmp_path / "run" / "checkpoint.safetensors")["step"] == 2


def test_a_checkpoint_that_does_not_name_its_works_can_be_gone_on_from(tmp_path, rows):
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    assert _train_on(tmp_path, rows, "--steps", "1") == 0
    metadata = read_metadata(checkpoint)
    digest = metadata.pop("works_digest")
    save_file(load_file(checkpoint), checkpoint, metadata={"checkpoint": json.dumps(metadata)})
    assert _train_on(tmp_path, rows, "--steps", "2") == 0
    assert read_metadata(checkpoint)["works_digest"] == digest
    seal(checkpoint, path=tmp_path / "sealed.safetensors")
    assert "digest" not in weights.load(tmp_path / "sealed.safetensors").metadata["training"]


def test_the_digest_tells_works_and_their_turns_apart(corpus, tmp_path):
    made_corpus.write_chroma(tmp_path / "more.npz", works=12)
    more = Corpus(chroma=(*corpus.chroma, tmp_path / "more.npz"))

    def maker(data, **change: Any):
        return make_batches(data, recipe=dataclasses.replace(RECIPE, **change))

    plain, further = maker(corpus), maker(more)
    backwards, mirrored = maker(more, backwards_weight=0.5), maker(more, mirrored_weight=0.5)
    assert backwards.works == mirrored.works
    assert len({each.digest for each in (plain, further, backwards, mirrored)}) == 4
    assert maker(more, fold_share=0.5).digest == further.digest
    assert maker(more, mirrored_weight=0.25).digest == mirrored.digest


def test_a_csv_without_the_columns_is_an_error(tmp_path):
    table = tmp_path / "works.csv"
    table.write_text("song,file\nA,a.wav\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="work and path"):
        read_recordings(table)


def test_gradients_of_another_layout_reach_the_fused_optimiser_in_order():
    start = torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))
    fused, plain = (
        torch.nn.Parameter(start.clone(memory_format=torch.channels_last)),
        torch.nn.Parameter(start.clone()),
    )
    fused.grad, plain.grad = gradient.clone(), gradient.clone()
    lay_out_gradients([fused])
    torch.optim.AdamW([fused], lr=0.1, fused=True).step()
    torch.optim.AdamW([plain], lr=0.1).step()
    torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
        ),
    ],
)
def test_a_restored_trainer_takes_the_step_that_the_first_would_have_taken(corpus, tmp_path, device):
    batches = make_batches(corpus, recipe=RECIPE)
    first, second = (
        Trainer(batches.works, settings=LOOP, embedding_size=256, device=device) for _ in range(2)
    )
    first.train_step(batches.batch(0))
    first.save(tmp_path / "checkpoint.safetensors", metadata={})
    second.load(tmp_path / "checkpoint.safetensors")
    # On a GPU sums of atomic additions differ in their last digits from run to run.
    tolerance = {"rtol": 0, "atol": 0} if device == "cpu" else {"rtol": 1e-2, "atol": 1e-3}
    wanted, found = (trainer.train_step(batches.batch(1)) for trainer in (first, second))
    torch.testing.assert_close(found, wanted, **tolerance)
    for name, tensor in tensors_of(first.average).items():
        torch.testing.assert_close(tensors_of(second.average)[name], tensor, **tolerance)
