"""Whitening: what it does to a covariance, and that it is sealed."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirex.cli import main
from mirex.corpora.cqt_levels import LevelCorpus, level_arrays
from mirex.errors import TrainingError, WeightsError
from mirex.model import weights
from mirex.model.embedding import embed, embed_together, embed_windows, network_vectors
from mirex.model.whitening import fit, unit
from mirex.settings import FrontEndSettings, NetworkSettings
from mirex.training.whiten import Window, whiten, window_vectors
from random_network import random_state, save_random


def skewed(rng: np.random.Generator, *, count: int = 4000) -> np.ndarray:
    """Vectors that vary much along some directions and little along others, around a mean."""
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    vectors = (rng.normal(size=(count, 8)) * 2.0 ** -np.arange(8)) @ turn + rng.normal(size=8)
    return vectors.astype(np.float32)


def test_power_of_a_half_makes_all_directions_equal(rng):
    vectors = skewed(rng)
    found = fit([vectors], power=-0.5, shrinkage=1e-9)
    covariance = np.cov((vectors - found.mean) @ found.projection, rowvar=False)
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(8), atol=0.01)


def test_a_power_between_turns_strong_directions_down_by_so_much(rng):
    vectors = skewed(rng)
    found = fit([vectors], power=-0.25, shrinkage=1e-9)
    before = np.linalg.eigvalsh(np.cov(vectors, rowvar=False))
    after = np.linalg.eigvalsh(np.cov((vectors - found.mean) @ found.projection, rowvar=False))
    np.testing.assert_allclose(after / after[-1], np.sqrt(before / before[-1]), rtol=0.01)


def test_shrinkage_is_a_share_of_the_identity(rng):
    vectors = skewed(rng)
    found = fit([vectors], power=-0.5, shrinkage=0.3)
    covariance = np.cov(vectors, rowvar=False, bias=True)
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / 8 * np.eye(8)
    mapped = found.projection @ shrunk @ found.projection
    np.testing.assert_allclose(mapped / mapped[0, 0], np.eye(8), atol=1e-4)


def test_power_0_turns_nothing(rng):
    found = fit([skewed(rng)], power=0.0)
    np.testing.assert_allclose(found.projection, np.eye(8), atol=1e-6)


def test_the_directions_that_vary_most_are_kept(rng):
    vectors = skewed(rng)
    whole, part = fit([vectors], power=-0.3), fit([vectors], power=-0.3, kept=2)
    mapped, expected = ((vectors - whole.mean) @ each.projection for each in (part, whole))
    assert mapped.shape[1] == 2
    variances = np.linalg.eigvalsh(np.cov(expected.T))[::-1]
    np.testing.assert_allclose(mapped.var(axis=0), variances[:2], rtol=1e-2)


def test_blocks_are_the_whole(rng):
    vectors = skewed(rng, count=100)
    whole, blocks = fit([vectors]), fit([vectors[:1], vectors[1:60], vectors[60:]])
    np.testing.assert_allclose(blocks.mean, whole.mean, atol=1e-6)
    np.testing.assert_allclose(blocks.projection, whole.projection, rtol=1e-4, atol=1e-6)


def test_applied_vectors_have_unit_length(rng):
    vectors = skewed(rng, count=50)
    found = fit([vectors]).apply(unit(vectors))
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("options", [{"power": 0.1}, {"power": -0.6}, {"shrinkage": 0.0}, {"shrinkage": 1.5}])
def test_numbers_out_of_range(rng, options):
    with pytest.raises(TrainingError, match="give a power from -0.5 to 0"):
        fit([skewed(rng, count=9)], **options)


def test_too_few_vectors():
    with pytest.raises(TrainingError, match="give more recordings"):
        fit([np.ones((1, 8), np.float32)])


def save_recordings(path: Path, rng: np.random.Generator) -> None:
    """Two recordings of 93 and 121 s for training, and one for validation."""
    arrays = level_arrays(
        [(10 ** rng.uniform(-4, -1, (84, columns))).astype(np.float32) for columns in (200, 260, 40)],
        works=[1, 2, 3],
        splits=["train", "train", "validation"],
        names=["a", "b", "c"],
    )
    np.savez(path, **arrays)  # type: ignore[arg-type]


def test_weights_are_sealed_with_a_whitening_of_recordings(rng, tmp_path):
    save_recordings(tmp_path / "recordings.npz", rng)
    save_random(tmp_path / "plain.safetensors")
    plain = weights.load(tmp_path / "plain.safetensors")
    weights.replace_metadata(
        tmp_path / "plain.safetensors", entries={"calibration": '{"a": 1}', "results": '{"b": 1}'}
    )
    command = ["whiten", str(tmp_path / "plain.safetensors"), str(tmp_path / "white.safetensors")]
    assert main([*command, "--recordings", str(tmp_path / "recordings.npz"), "--date", "2026-01-01"]) == 0
    white = weights.load(tmp_path / "white.safetensors")
    assert not {"calibration", "results"} & set(white.metadata), "they belong to other distances"
    assert white.whitening is not None
    assert white.settings == plain.settings
    told = json.loads(white.metadata["training"])["whitening"]
    assert told["recordings"] == 2
    assert white.metadata["date"] == "2026-01-01"

    corpus = LevelCorpus.load(tmp_path / "recordings.npz", split="train")
    vectors = [last for last, _ in window_vectors([corpus], sealed=plain, seed=0)]
    assert told["windows"] == sum(len(each) for each in vectors)
    expected = fit(vectors)
    np.testing.assert_allclose(white.whitening.mean, expected.mean, atol=1e-6)
    np.testing.assert_allclose(white.whitening.projection, expected.projection, rtol=1e-3, atol=0.02)

    command[1:3] = [str(tmp_path / "white.safetensors"), str(tmp_path / "both.safetensors")]
    more = ["--recordings", str(tmp_path / "recordings.npz"), "--views", "chroma", "--chroma-weight", "0.35"]
    assert main([*command, *more]) == 0
    both = weights.load(tmp_path / "both.safetensors")
    assert both.settings == dataclasses.replace(plain.settings, chroma_weight=0.35)
    assert both.whitening is not None
    assert both.chroma_whitening is not None
    np.testing.assert_array_equal(both.whitening.projection, white.whitening.projection)
    folded = fit([last for last, _ in window_vectors([corpus], sealed=plain, folded=True, seed=0)])
    np.testing.assert_allclose(both.chroma_whitening.mean, folded.mean, atol=1e-6)
    entries = json.loads(both.metadata["training"])
    assert entries["whitening"] == told
    assert entries["chroma_whitening"]["windows"] == 2


def test_a_second_order_vector_is_sealed_with_a_whitening_of_its_own(rng, tmp_path):
    """Both parts together have as many dimensions as before, and are weighed as asked."""
    paths = [tmp_path / f"{name}.safetensors" for name in ("plain", "joined", "back")]
    save_recordings(tmp_path / "recordings.npz", rng)
    save_random(paths[0])
    more = ["--recordings", str(tmp_path / "recordings.npz"), "--second-order-tilt", "0.5"]
    more += ["--second-order-phases", "2", "--second-order-weight"]
    assert main(["whiten", str(paths[0]), str(paths[1]), *more, "0.7"]) == 0
    joined = weights.load(paths[1])
    chosen: dict[str, Any] = {"second_order_weight": 0.7, "second_order_tilt": 0.5, "second_order_phases": 2}
    assert joined.settings == dataclasses.replace(NetworkSettings(), **chosen)
    assert joined.whitening is not None
    assert joined.second_order_whitening is not None
    assert joined.whitening.projection.shape == (2048, 640)
    assert joined.second_order_whitening.projection.shape == (2080, 1408)
    told = json.loads(joined.metadata["training"])
    assert told["second_order_whitening"] == told["whitening"]

    columns = (10 ** rng.uniform(-4, -1, (84, 200))).astype(np.float32)
    last, beside = network_vectors(columns, sealed=joined)
    assert beside is not None
    changes: tuple[dict[str, Any], ...] = ({"second_order_tilt": 0.0}, {"second_order_phases": 1})
    for change in changes:
        changed = joined._replace(settings=dataclasses.replace(joined.settings, **change))
        different = network_vectors(columns, sealed=changed)[1]
        assert different is not None
        assert np.abs(different - beside).max() > 1e-4
    parts = joined.whitening.apply(last), 0.7 * joined.second_order_whitening.apply(beside)
    expected = unit(np.concatenate(parts, axis=1))
    np.testing.assert_allclose(embed([columns], sealed=joined), expected, atol=1e-6)
    np.testing.assert_allclose(embed_together([columns], sealed=joined), expected, atol=1e-5)

    more[3], more[5] = "0", "1"
    assert main(["whiten", str(paths[1]), str(paths[2]), *more, "0"]) == 0
    back = weights.load(paths[2])
    assert (back.settings, back.second_order_whitening) == (NetworkSettings(), None)
    assert "second_order_whitening" not in json.loads(back.metadata["training"])
    others: dict[str, Any] = {"second_order_weight": 0.2, "second_order_tilt": 0.2, "second_order_phases": 1}
    for name, value in others.items():
        with pytest.raises(TrainingError, match=f"{value}: fit the CQT view"):
            whiten(paths[1], recordings=[], output=paths[2], views=["chroma"], **{name: value})


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"whitening": (2048, 640)},
        {"whitening": (2048, 640), "second_order_whitening": (2080, 1409)},
        {"whitening": (2048, 1536), "second_order_whitening": (512, 512)},
    ],
)
def test_parts_of_an_embedding_that_do_not_add_up_are_refused(tmp_path, shapes):
    """A whitening that is missing, one that keeps too much, and one of other vectors."""
    tensors = random_state()
    for name, shape in shapes.items():
        tensors |= {f"{name}.mean": torch.zeros(shape[0]), f"{name}.projection": torch.zeros(shape)}
    path, settings = tmp_path / "odd.safetensors", NetworkSettings(second_order_weight=0.5)
    weights.save(tensors, front_end=FrontEndSettings(), settings=settings, metadata={}, path=path)
    with pytest.raises(WeightsError, match="2048 dimensions; run 'mirex whiten'"):
        weights.load(path)


@pytest.mark.parametrize("shape", [(), (2048,), (2048, 2049), (2048, 0), (2048, 2048, 1), (2048, 2047)])
@pytest.mark.parametrize("name", ["whitening", "chroma_whitening"])
def test_projections_of_an_odd_shape_are_refused(tmp_path, name, shape):
    tensors = random_state() | {f"{name}.mean": torch.zeros(2048), f"{name}.projection": torch.zeros(shape)}
    path = tmp_path / "odd.safetensors"
    weights.save(tensors, front_end=FrontEndSettings(), settings=NetworkSettings(), metadata={}, path=path)
    with pytest.raises(WeightsError, match="run 'mirex whiten'"):
        weights.load(path)


def test_windows_are_sealed_and_used_for_the_fit(rng, tmp_path):
    save_random(tmp_path / "plain.safetensors")
    save_recordings(tmp_path / "recordings.npz", rng)
    more = ["--window", "24", "12", "--chroma-window", "40", "20", "--power", "-0.2"]
    command = ["whiten", str(tmp_path / "plain.safetensors"), str(tmp_path / "white.safetensors")]
    assert main([*command, "--recordings", str(tmp_path / "recordings.npz"), *more]) == 0
    white = weights.load(tmp_path / "white.safetensors")
    chosen: dict[str, Any] = {
        "window_steps": 24,
        "window_hop": 12,
        "chroma_window_steps": 40,
        "chroma_window_hop": 20,
    }
    assert white.settings == dataclasses.replace(NetworkSettings(), **chosen)
    corpus = LevelCorpus.load(tmp_path / "recordings.npz", split="train")
    columns = [corpus.columns(each, generator=np.random.default_rng(0)) for each in corpus.recordings]
    counts = [len(embed_windows(each, sealed=white)) for each in columns]
    assert json.loads(white.metadata["training"])["whitening"]["windows"] == sum(counts)
    assert max(counts) > 1


@pytest.mark.parametrize("window", [Window(0, 0), Window(24, 0), Window(24, 25)])
def test_windows_out_of_range(tmp_path, window):
    save_random(tmp_path / "plain.safetensors")
    for name in ("window", "chroma_window"):
        with pytest.raises(TrainingError, match="give 1 <= hop <= steps"):
            whiten(
                tmp_path / "plain.safetensors",
                recordings=[],
                output=tmp_path / "white.safetensors",
                **{name: window},
            )


@pytest.mark.parametrize(
    ("name", "values", "bounds"),
    [
        ("chroma_weight", (-0.1, math.nan, math.inf), "0 or more"),
        ("second_order_weight", (-0.1, math.nan, math.inf), "0 or more"),
        ("second_order_tilt", (-0.1, 1.1, math.nan), "0 to 1"),
        ("second_order_phases", (0, 3, 1.5), "1 to 2"),
    ],
)
def test_settings_out_of_range(tmp_path, name, values, bounds):
    save_random(tmp_path / "plain.safetensors")
    for value in values:
        options: dict[str, Any] = {name: value}
        with pytest.raises(TrainingError, match=f"{value}: give {bounds}"):
            whiten(tmp_path / "plain.safetensors", recordings=[], output=tmp_path / "x", **options)


@pytest.mark.parametrize("name", ["whitening", "chroma_whitening", "second_order_whitening"])
def test_half_a_whitening_is_refused(tmp_path, name):
    tensors = random_state() | {f"{name}.mean": torch.zeros(2048)}
    path = tmp_path / "half.safetensors"
    settings = NetworkSettings()
    weights.save(tensors, front_end=FrontEndSettings(), settings=settings, metadata={}, path=path)
    with pytest.raises(WeightsError, match="mirex whiten"):
        weights.load(path)
