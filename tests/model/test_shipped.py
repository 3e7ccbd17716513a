"""`mirex.columns` and `mirex.embed`: audio to embeddings in a loop of one's own."""

import os
import subprocess
import sys

import numpy as np
import pytest

import mirex
from mirex.errors import AudioError, WeightsError
from mirex.model import embedding, weights
from mirex.settings import FrontEndSettings
from random_network import save_random
from synthesis import song, write


@pytest.fixture(scope="module")
def columns():
    return [mirex.columns(song(number, seconds=4)) for number in range(2)]


@pytest.fixture
def path(tmp_path):
    save_random(tmp_path / "random.safetensors")
    return tmp_path / "random.safetensors"


def test_they_are_those_that_extraction_gives(columns, path):
    sealed = weights.load(path)
    expected = embedding.embed(columns, sealed=sealed)
    assert np.array_equal(mirex.embed(columns, weights=path), expected)
    assert np.array_equal(mirex.embed(columns, weights=str(path)), expected)
    assert np.array_equal(mirex.embed(columns, weights=sealed), expected)
    assert columns[0].shape[0] == FrontEndSettings().bins


def test_a_file_is_loaded_once_and_again_when_it_changed(columns, path, monkeypatch):
    loads = []
    load = weights.load

    def counted(*given, **options):
        loads.append(given)
        return load(*given, **options)

    monkeypatch.setattr(weights, "load", counted)
    before = mirex.embed(columns[:1], weights=path)
    assert np.array_equal(mirex.embed(columns[:1], weights=path), before)
    assert len(loads) == 1
    save_random(path, seed=1)
    os.utime(path, ns=(1, 1))
    assert not np.array_equal(mirex.embed(columns[:1], weights=path), before)
    assert len(loads) == 2


def test_the_shipped_weights_unless_others_are_given(columns, path, monkeypatch):
    monkeypatch.setattr(weights, "default_path", lambda: path)
    assert np.array_equal(mirex.embed(columns), mirex.embed(columns, weights=path))


def test_what_is_no_columns_is_an_error(columns, path):
    with pytest.raises(AudioError, match="shape"):
        mirex.embed(columns[0], weights=path)
    assert mirex.embed([], weights=path).shape == (0, 2048)


def test_no_such_weights(columns, tmp_path):
    with pytest.raises(WeightsError, match="no such weights file"):
        mirex.embed(columns, weights=tmp_path / "none")


def test_importing_the_package_loads_neither_numpy_nor_torch():
    code = "import sys, mirex; mirex.__version__; print({'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_loop_of_ones_own_gives_what_extraction_gives(tmp_path):
    silence = np.zeros(30_000, np.float32)
    write(tmp_path / "song.wav", np.concatenate([silence, song(0, seconds=22), silence]))
    sealed = tmp_path / "random.safetensors"
    save_random(sealed)
    path = str(tmp_path / "song.wav")
    extracted = mirex.extract([path], scratch=tmp_path / "scratch", weights=sealed, device="cpu")
    found = mirex.embed([mirex.columns(mirex.decode(path))], weights=sealed)
    np.testing.assert_allclose(found, extracted.embeddings, atol=1e-4)
