"""`mirex train` and `mirex patches` as a user meets them: what is wrong is said before anything is done."""

import builtins
import importlib.util

import numpy as np
import pytest

import made_corpus
from mirex import extras
from mirex.cli import main
from mirex.corpora import fluidsynth
from mirex.errors import MirexError, TrainingError
from mirex.extras import how_to_install
from mirex.training.synthesis import patches
from mirex.training.synthesis.patches import load_patches, make_patches


@pytest.fixture
def chroma(tmp_path):
    made_corpus.write_chroma(tmp_path / "hpcp.npz")
    return tmp_path / "hpcp.npz"


def _train(folder, chroma, *more):
    command = ["train", str(folder), "--chroma", str(chroma), "--works", "2", "--versions", "2"]
    command += ["--chroma-lengths", "16", "--embedding-size", "256", "--steps", "1", "--validate-every", "0"]
    return main([*command, *more])


def _without(monkeypatch, missing):
    """As if a module were not installed."""
    find, load = importlib.util.find_spec, builtins.__import__

    def find_spec(name, *more):
        return None if name == missing else find(name, *more)

    def importing(name, *more, **options):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return load(name, *more, **options)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(extras, "find_spec", find_spec)
    monkeypatch.setattr(builtins, "__import__", importing)


def test_a_missing_matplotlib_is_told_before_training_which_goes_on_without(
    tmp_path, chroma, monkeypatch, capsys
):
    _without(monkeypatch, "matplotlib")
    assert _train(tmp_path / "run", chroma) == 0
    said = capsys.readouterr().out
    assert f"no curve will be plotted: matplotlib is missing; {how_to_install('plots')}" in said
    assert said.index("no curve") < said.index("seed ")
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "run" / "curve.png").exists()


@pytest.mark.parametrize("module", ["mido", "numba"])
def test_a_missing_extra_is_named_with_what_installs_it(tmp_path, chroma, monkeypatch, capsys, module):
    _without(monkeypatch, module)
    assert _train(tmp_path / "run", chroma) == 1
    said = capsys.readouterr().err
    assert f"{module}: not installed; {how_to_install('train')}" in said
    assert "defect" not in said


def test_patches_without_mido_say_how_to_get_it(tmp_path, monkeypatch, capsys):
    _without(monkeypatch, "mido")
    (tmp_path / "any.sf2").write_bytes(b"")
    assert main(["patches", str(tmp_path / "any.sf2"), str(tmp_path / "any.npz")]) == 1
    said = capsys.readouterr().err
    assert f"mido: not installed; {how_to_install('train')}" in said
    assert "defect" not in said
    notes = fluidsynth.Notes._make([np.zeros(1, np.int64)] * 5)
    with pytest.raises(MirexError, match="mido: not installed"):
        fluidsynth.write_midi(notes, path=tmp_path / "any.mid")


def test_patches_are_made_on_one_thread_and_show_how_far_they_are(tmp_path, monkeypatch):
    import torch

    from mirex.commands import patches as command
    from mirex.logs import ProgressLine

    calls: list[object] = []
    monkeypatch.setattr(ProgressLine, "__call__", lambda self, done, total: calls.append((done, total)))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: calls.append(f"{count} thread"))

    def made(*which):
        calls.append("made")
        return np.zeros((84, 29, 84), np.uint8)

    monkeypatch.setattr(patches, "_program_patches", made)
    (tmp_path / "any.sf2").write_bytes(b"")
    assert command.__doc__
    assert main(["patches", str(tmp_path / "any.sf2"), str(tmp_path / "any.npz")]) == 0
    assert calls[:4] == ["1 thread", (0, 129), "made", (1, 129)]
    assert calls[-1] == (129, 129)
    assert load_patches(tmp_path / "any.npz").shape == (129, 84, 29, 84)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path, chroma, capsys):
    with pytest.raises(TrainingError, match="none.sf2: no such file"):
        make_patches(tmp_path / "none.sf2")
    (tmp_path / "text.npz").write_text("text")
    for name in ("none.npz", "text.npz"):
        with pytest.raises(TrainingError, match=f"{name}: not a file of 'mirex patches'"):
            load_patches(tmp_path / name)
    assert main(["patches", str(tmp_path / "text.npz"), str(tmp_path / "no" / "where.npz")]) == 2
    assert "where.npz: the folder does not exist" in capsys.readouterr().err
    (tmp_path / "file").write_text("no folder")
    assert _train(tmp_path / "file", chroma) == 2
    assert f"run folder {tmp_path / 'file'}: File exists" in capsys.readouterr().err
    (tmp_path / "run" / "log.jsonl").mkdir(parents=True)
    assert _train(tmp_path / "run", chroma) == 1
    said = capsys.readouterr().err
    assert "log.jsonl: the log cannot be written (Is a directory)" in said
    assert "defect" not in said


def test_an_error_of_the_file_system_is_no_defect(monkeypatch, tmp_path, capsys):
    from mirex.commands import check

    def fails(args):
        raise PermissionError(13, "Permission denied", str(tmp_path / "locked"))

    monkeypatch.setattr(check, "run", fails)
    assert main(["check", "matrix.txt"]) == 1
    said = capsys.readouterr().err
    assert f"mirex: error: {tmp_path / 'locked'}: Permission denied\n" == said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--works", "5"], "5 works of chroma per batch, but there are only 4"),
        (["--works", "1"], "2 crops in a batch may leave a single one in each view"),
        (["--works", "2", "--versions", "0"], "1 version or more"),
        (["--works", "-1"], "give works of 0 or more"),
        (["--works", "2", "3"], "give one number per source"),
        (["--stitching", "1.5"], "share of stitched crops 1.5: give 0 to 1"),
        (["--multiple-weight", "0"], "give more than 0"),
        (["--seed", "-1"], "seed -1: give 0 or more"),
        (["--seed", str(2**64)], f"seed {2**64}: give 0 or more, below 2^64"),
        (["--embedding-size", "100"], "embedding size 100: give a multiple of 64"),
        (["--embedding-size", "0"], "embedding size 0: give a multiple of 64"),
        (["--lengths", "0"], "lengths of crops (0,): give one or more, each of 1 step or more"),
        (["--chroma-lengths", "16", "0"], "chroma lengths of crops (16, 0): give one or more"),
        (["--threads", "0"], "threads 0: give 1 or more"),
        (["--processes", "-1"], "processes -1: give 0 or more"),
        (["--shortest-part", "0"], "steps of the shortest part 0: give 1 or more"),
        (["--steps", "0"], "training steps 0: give 1 or more"),
        (["--statistics-batches", "-1"], "batches for statistics -1: give 0 or more"),
        (["--strength", "-1"], "final strength of augmentation -1.0: give 0 to 1"),
        (["--checkpoint-every", "0"], "steps between checkpoints 0: give 1 or more"),
        (["--triplet-features", "neck"], "invalid choice: 'neck'"),
        (["--recordings", "a.csv", "b.csv", "--works", "2", "2"], "give one CSV, or archives"),
        (["--recordings", "a.npz", "--works", "2", "2", "--sounded-share", "0.5"], "need note patches"),
    ],
)
def test_what_cannot_be_in_a_batch_is_wrong_usage(tmp_path, chroma, capsys, options, message):
    try:
        status = _train(tmp_path / "run", chroma, *options)
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    said = capsys.readouterr().err
    assert message in said
    assert not (tmp_path / "run").exists()
