"""Weights files: whole ones load, anything else is refused with a reason, and nothing is ever unpickled."""

import json
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirex.errors import MirexError, SettingsMismatch, WeightsError
from mirex.model import embedding, weights
from mirex.model.network import tensors_of
from mirex.settings import FrontEndSettings, NetworkSettings
from random_network import random_state, random_views, save_random

NEEDS_WEIGHTS = pytest.mark.skipif(
    not weights.default_path().is_file(), reason="weights/mirex.safetensors is not there yet"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    save_random(path)
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    return tmp_path / "damaged.safetensors"


def header_length(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def flip(source: Path, target: Path, position: int) -> None:
    data = bytearray(source.read_bytes())
    data[position] ^= 0x10
    target.write_bytes(data)


def edit_metadata(source: Path, target: Path, changes: dict[str, str | None], *, rehash: bool = True) -> None:
    """Write the same tensors with other metadata; None takes an entry away.

    rehash: as a careful forger would, so that the checks behind the metadata's own hash are met.
    """
    data = source.read_bytes()
    end = header_length(data)
    header = json.loads(data[8:end])
    merged = header["__metadata__"] | changes
    header["__metadata__"] = {name: value for name, value in merged.items() if value is not None}
    if rehash and "metadata_sha256" not in changes:
        header["__metadata__"]["metadata_sha256"] = weights.metadata_hash(header["__metadata__"])
    text = json.dumps(header).encode()
    target.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def save_state(state: dict[str, torch.Tensor], path: Path, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "front_end": FrontEndSettings(), "settings": NetworkSettings(), "metadata": {}
    }  # fmt: skip
    return weights.save(state, **(arguments | changes), path=path)


# --- files that cannot be written ---------------------------------------------------------------


def test_weights_that_cannot_be_written(tmp_path):
    save_random(tmp_path / "whole.safetensors")
    before = (tmp_path / "whole.safetensors").read_bytes()
    with pytest.raises(WeightsError, match=r"none/w: cannot be written \(.*[Nn]o such file.*\); free"):
        save_random(tmp_path / "none" / "w")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"whole.safetensors: cannot be written .*name another file"):
            weights.replace_metadata(tmp_path / "whole.safetensors", entries={"date": "2026-01-01"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.safetensors"]
    assert (tmp_path / "whole.safetensors").read_bytes() == before


# --- whole files --------------------------------------------------------------------------------


def test_round_trip(whole):
    sealed = weights.load(whole)
    expected = random_state()
    found = tensors_of(sealed.network)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value.is_floating_point():
            stored = value.half().float() if value.dim() > 1 else value
            assert torch.equal(found[name], stored), name
    assert sealed.front_end == FrontEndSettings()
    assert sealed.settings == NetworkSettings()
    assert sealed.metadata["licence"] == "none"
    assert sealed.fingerprint == weights.fingerprint(weights.read_metadata(whole))


def test_the_network_is_ready_for_use(whole):
    network = weights.load(whole).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_loading_draws_nothing_at_random(whole):
    before = torch.get_rng_state()
    network = weights.load(whole).network
    assert torch.equal(torch.get_rng_state(), before), "time is lost on values that the file's replace"
    shared = zip(network.cqt.named_parameters(), network.chroma.parameters(), strict=True)
    assert all(parameter is other for (_, parameter), other in shared)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_full_precision_round_trip(tmp_path):
    path = tmp_path / "full.safetensors"
    save_random(path, half=False)
    found = tensors_of(weights.load(path).network)
    for name, value in random_state().items():
        assert not value.is_floating_point() or torch.equal(found[name], value), name


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not say what is mapped")
def test_nothing_of_the_file_stays_in_memory(tmp_path):
    """Not mapped either: the file may change, and every worker process would hold its pages."""
    path, size = tmp_path / "whitened.safetensors", 64
    state = tensors_of(random_views(embedding_size=size))
    state |= {"whitening.mean": torch.rand(size), "whitening.projection": torch.rand(size, size)}
    save_state(state, path, settings=NetworkSettings(embedding_size=size))
    sealed = weights.load(path)
    assert sealed.whitening is not None
    assert str(path) not in Path("/proc/self/maps").read_text("utf-8")


def test_half_precision_hardly_moves_an_embedding(whole, rng):
    sealed = weights.load(whole)
    full = sealed._replace(network=random_views())
    columns = [rng.random((84, 48)).astype(np.float32) for _ in range(2)]
    found, expected = embedding.embed(columns, sealed=sealed), embedding.embed(columns, sealed=full)
    assert (1 - (found * expected).sum(axis=1)).max() < 1e-3


def test_sealing_twice_gives_the_same_file(whole, tmp_path):
    path = tmp_path / "again.safetensors"
    save_random(path)
    found, expected = path.read_bytes(), whole.read_bytes()
    assert found[header_length(found) :] == expected[header_length(expected) :]
    assert weights.read_metadata(path) == weights.read_metadata(whole)


def test_fingerprint_stands_for_tensors_and_settings(whole, tmp_path):
    state = random_state()
    path = tmp_path / "other.safetensors"
    found = {
        weights.fingerprint(weights.read_metadata(whole)),
        save_state(state, path, front_end=FrontEndSettings(hop=256)),
        save_state(state, path, settings=NetworkSettings(window_steps=100)),
        save_state(state | {"cqt.pool.p": state["cqt.pool.p"] + 1e-6}, path),
    }
    assert len(found) == 4
    assert save_state(state, path, metadata={"date": "today"}) in found, "not for the rest of the metadata"


def test_reading_metadata_needs_no_torch(whole):
    code = f"""
import sys
from pathlib import Path
from mirex.model import weights
print(weights.read_metadata(Path({str(whole)!r}))["format"], "torch" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(weights.__file__).parents[2], capture_output=True, text=True
    )
    assert run.stdout.split() == [weights.FORMAT, "False"], run.stderr


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 0.77, 1.0])
def test_flipped_byte_in_the_tensors(whole, damaged, share):
    data = whole.read_bytes()
    first, last = header_length(data), len(data) - 1
    flip(whole, damaged, int(first + share * (last - first)))
    with pytest.raises(WeightsError, match="damaged"):
        weights.load(damaged)


def test_flipped_byte_in_the_header(whole, damaged, rng):
    """Wherever it is: refused, or without effect (a description, which nothing is computed from)."""
    sealed = weights.load(whole)
    length = header_length(whole.read_bytes())
    refused = 0
    for position in [*range(8), *rng.integers(8, length, 12)]:
        flip(whole, damaged, int(position))
        try:
            found = weights.load(damaged)
        except MirexError:
            refused += 1
            continue
        assert found[1:3] == sealed[1:3]
        for name, tensor in tensors_of(found.network).items():
            assert torch.equal(tensor, tensors_of(sealed.network)[name]), name
    assert refused > 10


@pytest.mark.parametrize("name", [*weights.REQUIRED, "format"])
def test_flipped_byte_in_what_is_sealed(whole, damaged, name):
    data = whole.read_bytes()
    value = json.dumps(weights.read_metadata(whole)[name])[1:-1].encode()
    assert data.count(value) == 1
    for offset in (0, len(value) // 2, len(value) - 1):
        flip(whole, damaged, data.index(value) + offset)
        with pytest.raises(MirexError):
            weights.load(damaged)


@pytest.mark.parametrize("size", [0, 7, 8, 500, 100_000, 20_000_000, -1])
def test_truncated_file(whole, damaged, size):
    damaged.write_bytes(whole.read_bytes()[:size])
    with pytest.raises(WeightsError, match=r"damaged\.safetensors"):
        weights.load(damaged)


def test_bytes_added_at_the_end(whole, damaged):
    damaged.write_bytes(whole.read_bytes() + b"\0")
    with pytest.raises(WeightsError):
        weights.load(damaged)


@pytest.mark.parametrize("read", [weights.load, weights.read_metadata])
def test_missing_file(tmp_path, read):
    with pytest.raises(WeightsError, match="no such weights file"):
        read(tmp_path / "none.safetensors")


@pytest.mark.parametrize("read", [weights.load, weights.read_metadata])
def test_folder(tmp_path, read):
    with pytest.raises(WeightsError, match="not a sealed weights file"):
        read(tmp_path)


@pytest.mark.parametrize(
    "header", [b"", b"{}", b"[]", b"3", b"null", b'{"__metadata__":null}', b'{"__metadata__":"x"}', b"\xff{"]
)
def test_foreign_headers(damaged, header):
    damaged.write_bytes(len(header).to_bytes(8, "little") + header)
    for read in (weights.load, weights.read_metadata):
        with pytest.raises(WeightsError):
            read(damaged)


def test_safetensors_of_another_program(damaged):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(3)}, damaged)
    with pytest.raises(WeightsError, match="not a sealed weights file"):
        weights.load(damaged)
    save_file({"x": torch.zeros(3)}, damaged, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=weights.FORMAT):
        weights.load(damaged)


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["front_end", "network"])
def test_wrong_fingerprint(whole, damaged, name):
    edit_metadata(whole, damaged, {f"{name}_fingerprint": "0123456789abcdef"})
    with pytest.raises(WeightsError, match=f"{name} fingerprint 0123456789abcdef"):
        weights.load(damaged)


@pytest.mark.parametrize("name", ["calibration", "results", "licence", "front_end", "content_sha256"])
def test_metadata_cannot_be_altered_unnoticed(whole, damaged, name):
    edit_metadata(whole, damaged, {name: "something else"}, rehash=False)
    with pytest.raises(WeightsError, match="metadata do not match their hash"):
        weights.read_metadata(damaged)


def test_wrong_hash(whole, damaged):
    edit_metadata(whole, damaged, {"content_sha256": "0" * 64})
    with pytest.raises(WeightsError, match="hash"):
        weights.load(damaged)


def test_altered_settings(whole, damaged):
    altered = FrontEndSettings(min_frequency=65.406)
    edit_metadata(whole, damaged, {"front_end": altered.to_json()})
    with pytest.raises(WeightsError, match="fingerprint"):
        weights.load(damaged)
    # A careful forger: the fingerprint fits, but the hash covers the settings too.
    edit_metadata(
        whole, damaged, {"front_end": altered.to_json(), "front_end_fingerprint": altered.fingerprint()}
    )
    with pytest.raises(WeightsError, match="hash"):
        weights.load(damaged)


def test_settings_of_another_version(whole, damaged):
    values = json.loads(NetworkSettings().to_json()) | {"sparkle": 1}
    edit_metadata(whole, damaged, {"network": json.dumps(values)})
    with pytest.raises(SettingsMismatch, match="sparkle"):
        weights.load(damaged)


def test_another_kind_of_chroma(whole, damaged):
    edit_metadata(whole, damaged, {"network": NetworkSettings(chroma="powers").to_json()})
    with pytest.raises(SettingsMismatch, match="powers"):
        weights.load(damaged)


@pytest.mark.parametrize("name", weights.REQUIRED)
def test_missing_metadata(whole, damaged, name):
    edit_metadata(whole, damaged, {name: None})
    for read in (weights.load, weights.read_metadata):
        with pytest.raises(WeightsError, match=name):
            read(damaged)


# --- tensors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["cqt.stem.0.weight", "cqt.neck.bias", "cqt.neck.running_mean", "chroma.stem.1.running_var"]
)
def test_missing_tensor(damaged, name):
    state = random_state()
    del state[name]
    save_state(state, damaged)
    with pytest.raises(WeightsError, match=f"tensor {name} is missing"):
        weights.load(damaged)


def test_tensor_of_another_shape(damaged):
    state = random_state()
    save_state(state | {"cqt.neck.weight": torch.ones(1024)}, damaged)
    with pytest.raises(WeightsError, match="do not fit"):
        weights.load(damaged)


def test_another_embedding_size(damaged):
    save_state(random_state(), damaged, settings=NetworkSettings(embedding_size=512))
    with pytest.raises(WeightsError, match="do not fit"):
        weights.load(damaged)


# --- pickles ------------------------------------------------------------------------------------


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "pwned")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("zipped", [True, False, None])
def test_a_pickle_is_refused_and_never_run(tmp_path, name, zipped):
    trace = tmp_path / "trace"
    path = tmp_path / name
    content = {"stem.0.weight": torch.zeros(3), "payload": Payload(trace)}
    if zipped is None:
        path.write_bytes(pickle.dumps(content))
        pickle.loads(path.read_bytes())
        assert trace.exists(), "the payload works"
        trace.unlink()
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for read in (weights.load, weights.read_metadata):
        with pytest.raises(WeightsError, match="not a sealed weights file"):
            read(path)
    assert not trace.exists()


# --- the shipped file ---------------------------------------------------------------------------


@NEEDS_WEIGHTS
def test_shipped_weights_load_and_say_what_they_are():
    sealed = weights.load()
    assert sealed.front_end == FrontEndSettings(), "the frozen front end"
    for name in ("training", "results", "date", "licence"):
        assert sealed.metadata.get(name), name
    assert json.loads(sealed.metadata["training"])
    assert all(torch.isfinite(value).all() for value in sealed.network.state_dict().values())


def test_metadata_are_replaced_and_the_fingerprint_stays(whole, tmp_path):
    path = tmp_path / "copy.safetensors"
    path.write_bytes(whole.read_bytes())
    before = weights.load(path)
    assert weights.replace_metadata(path, entries={"calibration": "new"}) == before.fingerprint
    after = weights.load(path)
    assert after.metadata["calibration"] == "new"
    assert after.metadata["licence"] == before.metadata["licence"]
    changed = ("calibration", "metadata_sha256")
    assert {k: v for k, v in after.metadata.items() if k not in changed} == {
        k: v for k, v in before.metadata.items() if k not in changed
    }
