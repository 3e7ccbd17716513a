"""Backends: the same embeddings by other code, and never taken for each other; the network as ONNX."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirex.cli import main
from mirex.errors import MirexError, UsageError, WeightsError
from mirex.extraction.extract import extract
from mirex.extras import how_to_install
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.model import backend, weights
from mirex.model.embedding import embed
from mirex.model.network import TwoViewNetwork, tensors_of
from mirex.model.openvino_network import CompiledNetwork
from mirex.retrieval.indexing import fingerprints
from mirex.settings import FrontEndSettings, NetworkSettings
from random_network import random_sealed

VECTORS = {"cosine": 0.999999, "value": 1e-4}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Weights of a narrow network in a file."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    settings = NetworkSettings(embedding_size=64, second_order_tilt=0.5)
    network = TwoViewNetwork(embedding_size=64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("norm3.weight"):
                parameter.fill_(0.5)
    metadata = {"licence": "none", "date": "2025-01-01"}
    weights.save(
        tensors_of(network), front_end=FrontEndSettings(), settings=settings, metadata=metadata, path=path
    )
    return path


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors_of(weights.load(path).network).items()}


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first.astype(np.float64) * second.astype(np.float64)).sum(axis=1)


# --- which can be used ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "onnx", "Torch"])
def test_an_unknown_backend_is_wrong_usage(name, tmp_path):
    with pytest.raises(UsageError, match="choose one of torch, openvino"):
        backend.check(name)
    with pytest.raises(UsageError, match="choose one of torch, openvino"):
        extract([], scratch=tmp_path, backend=name)


def test_openvino_on_cuda_is_wrong_usage():
    with pytest.raises(UsageError, match="--device cpu"):
        backend.check("openvino", device="cuda")


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        MirexError, match=r"openvino is not installed; install it with: .* -m pip install .*\[fast\]"
    ):
        backend.check("openvino")
    (tmp_path / "a.wav").write_bytes(b"no audio")
    (tmp_path / "list").write_text("a.wav\n")
    assert main(["extract", "--backend", "openvino", str(tmp_path / "s"), str(tmp_path / "list")]) == 1
    assert how_to_install("fast") in capsys.readouterr().err


def test_a_missing_exporter_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MirexError, match=r"pip install .*\[export\]"):
        backend.export_onnx(random_sealed(), tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_on_the_processor_lie_as_convolutions_like_them(small):
    kernel = dict(weights.load(small).network.cqt.named_parameters())["stages.0.0.conv2.weight"]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


# --- another backend, other embeddings -----------------------------------------------------------


def test_a_backend_other_than_torch_has_a_fingerprint_of_its_own(small):
    metadata = weights.read_metadata(small)
    assert weights.fingerprint(metadata) == metadata["content_sha256"][:16]
    assert weights.fingerprint(metadata, backend="openvino") == f"{weights.fingerprint(metadata)}-openvino"


def test_openvino_gives_the_embeddings_of_torch(small, rng):
    pytest.importorskip("openvino")
    recordings = [(10 ** rng.uniform(-4, 0, (84, count))).astype(np.float32) for count in (32, 93, 900)]
    by_torch, by_openvino = (weights.load(small, backend=name) for name in backend.BACKENDS)
    expected = embed(recordings, sealed=by_torch)
    found = embed(recordings, sealed=by_openvino)
    assert by_openvino.fingerprint == f"{by_torch.fingerprint}-openvino"
    assert cosines(found, expected).min() > VECTORS["cosine"]
    assert embed(recordings, sealed=by_openvino).tobytes() == found.tobytes()
    assert embed(recordings[1:2], sealed=by_openvino).tobytes() == found[1:2].tobytes()


def test_openvino_leaves_it_to_the_system_which_core_a_process_runs_on(small):
    pytest.importorskip("openvino")
    network: Any = weights.load(small, backend="openvino").network
    assert network.cqt._request.get_compiled_model().get_property("ENABLE_CPU_PINNING") is False


def test_openvino_computes_every_view_and_length(small, rng):
    """Last vectors and moments, before they are made unit length, where a wrong scale shows; odd lengths."""
    pytest.importorskip("openvino")
    by_torch = weights.load(small)
    for view, bins in (("cqt", 84), ("chroma", 36)):
        network = CompiledNetwork(read_tensors(small), view=view)
        for count, steps in ((1, 16), (2, 97), (1, 226)):
            windows = rng.random((count, bins, steps), np.float32)
            other = getattr(by_torch.network, view)
            for found, expected in (
                (network.infer(windows), other.infer(windows)),
                (network.infer_moments(windows, tilt=0.5), other.infer_moments(windows, tilt=0.5)),
            ):
                np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["cqt.stages.1.0.conv2.weight", "cqt.neck.running_mean"])
def test_openvino_names_a_missing_tensor(small, tmp_path, name):
    pytest.importorskip("openvino")
    sealed = weights.load(small)
    tensors = {key: value for key, value in tensors_of(sealed.network).items() if key != name}
    path = tmp_path / "lacking.safetensors"
    metadata = {"licence": "none", "date": "2025-01-01"}
    weights.save(tensors, front_end=sealed.front_end, settings=sealed.settings, metadata=metadata, path=path)
    with pytest.raises(WeightsError, match=f"tensor {name} is missing"):
        weights.load(path, backend="openvino")


def test_openvino_needs_no_pytorch(small, demo_file, tmp_path):
    """It would take half of a worker's memory, and of the time until it is ready."""
    pytest.importorskip("openvino")
    code = (
        "import json, sys; from mirex.extraction import worker; "
        "analyse = worker._prepare(json.loads(sys.argv[1])); "
        "print(sorted(analyse(sys.argv[2], lambda seconds: None)), 'torch' in sys.modules)"
    )
    setup = {
        "front_end": FrontEndSettings().to_json(), "cqt": "multirate", "weights": str(small),
        "weights_fingerprint": weights.fingerprint(weights.read_metadata(small), backend="openvino"),
        "backend": "openvino", "columns": False, "samples": False, "scratch": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(setup), demo_file], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['embedding', 'seconds'] False\n"


def test_stored_embeddings_of_two_backends_never_meet(small, tmp_path, demo_file):
    pytest.importorskip("openvino")
    options = {"scratch": tmp_path / "scratch", "weights": small, "device": "cpu"}
    by_torch = extract([demo_file], **options)
    by_openvino = extract([demo_file], **options, backend="openvino")
    assert (by_torch.computed, by_openvino.computed) == (1, 1)
    assert by_openvino.weights == f"{by_torch.weights}-openvino"
    assert cosines(by_openvino.embeddings, by_torch.embeddings)[0] > VECTORS["cosine"]
    for name, first in (("openvino", by_openvino), ("torch", by_torch)):
        again = extract([demo_file], **options, backend=name)
        assert (again.reused, again.computed) == (1, 0)
        assert again.embeddings.tobytes() == first.embeddings.tobytes()


@pytest.fixture
def demo_file(tmp_path):
    """Ten seconds of the demo."""
    import soundfile

    import make_vectors

    path = tmp_path / "ten.wav"
    soundfile.write(path, decode(make_vectors.DEMO / "bay.ogg")[: 10 * 22050], 22050)
    return str(path)


def test_an_index_says_its_backend(small):
    found = [fingerprints(small, cqt="multirate", backend=name) for name in backend.BACKENDS]
    assert found[1] == {**found[0], "weights": f"{found[0]['weights']}-openvino"}


# --- ONNX ----------------------------------------------------------------------------------------


def test_the_exported_network_gives_the_embeddings_of_torch(small, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "network.onnx"
    assert main(["export", str(path), "--weights", str(small)]) == 0
    sealed = weights.load(small)
    assert capsys.readouterr().out == f"network of weights {sealed.fingerprint} in {path}\n"
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    described = session.get_modelmeta().custom_metadata_map
    assert described["mirex_weights"] == sealed.fingerprint
    assert NetworkSettings.from_json(described["network"]) == sealed.settings
    assert FrontEndSettings.from_json(described["front_end"]) == sealed.front_end
    for count, steps in ((1, 96), (3, 33), (2, 400)):
        x = torch.rand(count, 1, 84, steps, generator=torch.Generator().manual_seed(steps))
        outputs = session.run(["embedding", "moments"], {"windows": x.numpy()})
        by_torch = (
            sealed.network.cqt(x)[1],
            sealed.network.cqt.moments(x, tilt=sealed.settings.second_order_tilt),
        )
        for found, expected in zip(outputs, by_torch, strict=True):
            np.testing.assert_allclose(found, expected, atol=VECTORS["value"] * float(expected.abs().max()))


def test_an_unknown_view_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="choose one of cqt, chroma"):
        backend.export_onnx(random_sealed(), tmp_path / "network.onnx", view="both")


def test_columns_are_computed_on_the_device_that_is_given(rng):
    samples = rng.uniform(-1, 1, 22050).astype(np.float32)
    assert columns(samples, device="cpu").tobytes() == columns(samples).tobytes()
    with pytest.raises(RuntimeError):
        columns(samples, device="no-device")
