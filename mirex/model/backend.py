"""Backends: what computes the network on a CPU, and the network as an ONNX file.

"torch" is the reference: every published figure and every shipped vector comes from it. "openvino" (the extra
`fast`, `mirex.model.openvino_network`) computes the same network, always in float32 even where the CPU
supports lower precision. It is faster, and its embeddings have a cosine of more than 0.999999 with torch's.
Their bytes still differ, so the fingerprint of a backend other than torch includes its name, and stored
embeddings of two backends are never mixed.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirex.errors import MirexError, UsageError
from mirex.extras import how_to_install
from mirex.features.views import BINS, BINS_PER_OCTAVE
from mirex.files import appearing_whole

if TYPE_CHECKING:
    from torch import Tensor

    from mirex.model.network import ResNet50IBN
    from mirex.model.weights import Sealed

BACKENDS = ("torch", "openvino")
VIEWS = ("cqt", "chroma")
_STEPS = 96  # of the input to trace the network with; the result takes any number


def check(backend: str, *, device: str = "cpu") -> None:
    """Raise an error unless the backend can be used here.

    Parameters
    ----------
    backend : str
        One of BACKENDS.
    device : str
        Where the network is to run; only torch can use "cuda".

    Raises
    ------
    UsageError
        For an unknown backend, or one that does not run on the device.
    MirexError
        If the backend is not installed; the message says how to install it.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend == "openvino":
        if device == "cuda":
            raise UsageError("backend openvino runs on the CPU only; use --device cpu, or backend torch")
        with _extra("fast", "backend openvino"):
            import openvino  # noqa: F401


def fingerprint(weights: str, *, backend: str = "torch") -> str:
    """Fingerprint of embeddings computed with these weights by this backend.

    Parameters
    ----------
    weights : str
        Fingerprint of the weights.
    backend : str
        One of BACKENDS.

    Returns
    -------
    str
        That of the weights, with the backend's name unless it is torch.

    Examples
    --------
    >>> fingerprint("0123456789abcdef"), fingerprint("0123456789abcdef", backend="openvino")
    ('0123456789abcdef', '0123456789abcdef-openvino')
    """
    return weights if backend == "torch" else f"{weights}-{backend}"


def backend_of(fingerprint: str) -> str:
    """The backend that a fingerprint of embeddings names.

    Parameters
    ----------
    fingerprint : str
        As `fingerprint` gives it.

    Returns
    -------
    str
        One of BACKENDS.

    Examples
    --------
    >>> backend_of("0123456789abcdef-openvino"), backend_of("0123456789abcdef")
    ('openvino', 'torch')
    """
    return next((name for name in BACKENDS if fingerprint.endswith(f"-{name}")), "torch")


def export_onnx(sealed: "Sealed", path: Path, *, view: str = "cqt") -> None:
    """Write a view's network as an ONNX file, whose metadata describe it.

    Input "windows": float32 [windows, 1, bins, steps], normalised by `mirex.features.views`, any number of
    windows and steps. Outputs, as those of `mirex.model.network.ResNet50IBN`: "embedding", float32 [windows,
    embedding_size], and "moments", float32 [windows, (embedding_size / 32) ** 2], from which
    `mirex.model.second_order` makes second-order vectors.

    Parameters
    ----------
    sealed : Sealed
        Weights in torch, on the CPU.
    path : Path
        The file to write; it appears whole.
    view : {"cqt", "chroma"}
        The folded view has its own BatchNorm statistics.

    Raises
    ------
    UsageError
        For an unknown view.
    MirexError
        If the extra `export` is missing.
    """
    if view not in VIEWS:
        raise UsageError(f"view {view!r}: choose one of {', '.join(VIEWS)}")
    with _extra("export", "ONNX export"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    bins = BINS if view == "cqt" else BINS_PER_OCTAVE * sealed.settings.chroma_octaves
    program = _onnx_program(getattr(sealed.network, view), bins, sealed.settings.second_order_tilt)
    described: dict[str, str] = {"mirex_weights": sealed.fingerprint, "mirex_view": view}
    described |= {"front_end": sealed.front_end.to_json(), "network": sealed.settings.to_json()}
    described |= {name: value for name, value in sealed.metadata.items() if name in ("licence", "date")}
    program.model.metadata_props.update(described)
    with appearing_whole(path) as temporary:
        program.save(temporary, external_data=False)


def _onnx_program(network: "ResNet50IBN", bins: int, tilt: float) -> Any:
    import logging

    import torch
    from torch import nn

    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, windows: "Tensor") -> "tuple[Tensor, Tensor]":
            return self.network(windows)[1], self.network.moments(windows, tilt=tilt)

    free = torch.export.Dim.DYNAMIC
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # it warns about operators of torchvision, which are not used here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                Embedding().eval(),
                (torch.zeros(2, 1, bins, _STEPS),),
                input_names=["windows"],
                output_names=["embedding", "moments"],
                dynamic_shapes={"windows": {0: free, 3: free}},
                verbose=False,
            )
    finally:
        log.setLevel(before)


@contextlib.contextmanager
def _extra(name: str, what: str) -> Iterator[None]:
    """Turn a missing package into an error that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise MirexError(f"{what}: {error.name} is not installed; {how_to_install(name)}") from error
