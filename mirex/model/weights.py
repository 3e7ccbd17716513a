"""Weights: one safetensors file, sealed with everything needed to use it and to identify it.

Metadata (strings, JSON where noted): `format`; `front_end` and `network` (JSON of the settings) with
`front_end_fingerprint` and `network_fingerprint`; `training`, `results`, `calibration` (JSON); `date`;
`licence`; `content_sha256` over settings and tensors, `metadata_sha256` over all other entries. Tensors
are those of a `TwoViewNetwork`, shared ones once, and `whitening.mean` and `whitening.projection` if there
is a whitening of the CQT view, `chroma_whitening.mean` and `.projection` if there is one of the chroma view,
and `second_order_whitening.mean` and `.projection` if second-order vectors are joined to the CQT view's.
Those with two or more axes may be float16; others are float32. Loading checks hashes and fingerprints, and
never unpickles.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from mirex.errors import SettingsMismatch, WeightsError
from mirex.files import appearing_whole
from mirex.model import backend as backends
from mirex.model.second_order import dimensions
from mirex.settings import CHROMA, FrontEndSettings, NetworkSettings
from mirex.untrusted import parse_json

if TYPE_CHECKING:
    from torch import Tensor

    from mirex.model.network import TwoViewNetwork
    from mirex.model.whitening import Whitening

Half = NDArray[np.float16 | np.float32]

FORMAT = "mirex-weights-2"
_LONGEST_HEADER = 10_000_000  # bytes
WHITENINGS = ("whitening", "chroma_whitening", "second_order_whitening")
"""Each has tensors .mean and .projection."""
FILE_NAME = "mirex.safetensors"
REQUIRED = (
    "front_end",
    "front_end_fingerprint",
    "network",
    "network_fingerprint",
    "content_sha256",
    "metadata_sha256",
)


class Sealed(NamedTuple):
    """Weights ready for use: the network in evaluation mode and what it was sealed with.

    Attributes
    ----------
    network : TwoViewNetwork
        In evaluation mode.
    front_end, settings : FrontEndSettings, NetworkSettings
        Audio to columns, and columns to embedding.
    metadata : dict of str to str
        All metadata of the file.
    fingerprint : str
        16 hexadecimal digits that identify tensors, front end and network settings.
    whitening, chroma_whitening : Whitening or None
        Of the windows of the CQT view and of the chroma view.
    second_order_whitening : Whitening or None
        Of the second-order vectors of the CQT view.
    """

    network: "TwoViewNetwork"
    front_end: FrontEndSettings
    settings: NetworkSettings
    metadata: dict[str, str]
    fingerprint: str
    whitening: "Whitening | None" = None
    chroma_whitening: "Whitening | None" = None
    second_order_whitening: "Whitening | None" = None


def default_path() -> Path:
    """Find the shipped weights: beside the package in a checkout, inside it when installed.

    Returns
    -------
    Path
    """
    beside = Path(__file__).parents[2] / "weights" / FILE_NAME
    return beside if beside.is_file() else Path(__file__).parents[1] / "shipped_weights" / FILE_NAME


def read_metadata(path: Path | None = None) -> dict[str, str]:
    """Read the metadata without the tensors, and check them against their hash.

    Parameters
    ----------
    path : Path, optional
        A weights file; the shipped one by default.

    Returns
    -------
    dict of str to str

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another kind.
    """
    path = path or default_path()
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST_HEADER:
                raise ValueError("no safetensors header")
            metadata = parse_json(file.read(length))["__metadata__"]
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such weights file; give one with --weights") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: not a sealed weights file ({error}); make one with 'mirex seal'"
        ) from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise WeightsError(f"{path}: not in the format {FORMAT!r}; use the version of mirex that wrote it")
    absent = [name for name in REQUIRED if not isinstance(metadata.get(name), str)]
    if absent:
        raise WeightsError(
            f"{path}: metadata lack {', '.join(absent)}; the file is damaged, download it again"
        )
    if metadata_hash(metadata) != metadata["metadata_sha256"]:
        raise WeightsError(
            f"{path}: metadata do not match their hash; the file is damaged, download it again"
        )
    return metadata


def fingerprint(metadata: Mapping[str, str], *, backend: str = "torch") -> str:
    """Identify tensors and settings.

    Parameters
    ----------
    metadata : mapping of str to str
        As `read_metadata` gives it.
    backend : str
        What computes the embeddings.

    Returns
    -------
    str
        First 16 digits of the content hash, with the backend's name unless it is torch.
    """
    return backends.fingerprint(metadata["content_sha256"][:16], backend=backend)


def load(path: Path | None = None, *, device: str = "cpu", backend: str = "torch") -> Sealed:
    """Load and check weights.

    Parameters
    ----------
    path : Path, optional
        A weights file; the shipped one by default.
    device : str
        Of the network: "cpu" or "cuda".
    backend : str
        See `mirex.model.backend`.

    Returns
    -------
    Sealed

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another kind.
    SettingsMismatch
        If its settings are those of another version.
    UsageError, MirexError
        As `mirex.model.backend.check`.
    """
    path = path or default_path()
    backends.check(backend, device=device)
    metadata = read_metadata(path)
    arrays = _read_arrays(path)
    front_end, settings = _checked_settings(path, metadata)
    if content_hash(arrays, metadata=metadata) != metadata["content_sha256"]:
        raise WeightsError(f"{path}: content does not match its hash; the file is damaged, download it again")
    whitenings = [_whitening(arrays, name, path) for name in WHITENINGS]
    try:
        network = _network(arrays, settings, device=device, backend=backend)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: tensors do not fit ResNet50-IBN ({error})") from error
    except KeyError as error:
        raise WeightsError(f"{path}: tensor {error.args[0]} is missing; seal the weights again") from error
    named = fingerprint(metadata, backend=backend)
    sealed = Sealed(network, front_end, settings, metadata, named, *whitenings)
    _check_sizes(sealed, path)
    return sealed


def save(
    tensors: Mapping[str, "Tensor"],
    *,
    front_end: FrontEndSettings,
    settings: NetworkSettings,
    metadata: Mapping[str, str],
    path: Path,
    half: bool = True,
) -> str:
    """Seal tensors into a file.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of a `TwoViewNetwork`; those that are not floating-point are left out.
    front_end : FrontEndSettings
        Audio to columns.
    settings : NetworkSettings
        Columns to embedding.
    metadata : mapping of str to str
        Further entries (`training`, `results`, `calibration`, `date`, `licence`).
    path : Path
        The file to write; it appears whole.
    half : bool
        Store tensors of two or more axes as float16.

    Returns
    -------
    str
        The fingerprint.

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    import torch

    kept = {
        name: (value.half() if half and value.dim() > 1 else value.float()).contiguous().cpu().numpy()
        for name, value in tensors.items()
        if torch.is_floating_point(value)
    }
    return _write(kept, front_end=front_end, settings=settings, metadata=metadata, path=path)


def replace_metadata(path: Path, *, entries: Mapping[str, str]) -> str:
    """Change metadata of a weights file; tensors, settings and fingerprint stay.

    Parameters
    ----------
    path : Path
        Of sealed weights; the file is replaced.
    entries : mapping of str to str
        New metadata entries, such as `calibration`; all others stay.

    Returns
    -------
    str
        The fingerprint.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another kind, or cannot be written.
    """
    metadata, arrays = read_metadata(path), _read_arrays(path)
    front_end, settings = _checked_settings(path, metadata)
    kept = {name: value for name, value in metadata.items() if name not in (*REQUIRED, "format")}
    kept |= entries
    return _write(arrays, front_end=front_end, settings=settings, metadata=kept, path=path)


def _write(
    kept: Mapping[str, Half],
    *,
    front_end: FrontEndSettings,
    settings: NetworkSettings,
    metadata: Mapping[str, str],
    path: Path,
) -> str:
    """Seal tensors as they are."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    sealed = {
        **metadata,
        "format": FORMAT,
        "front_end": front_end.to_json(),
        "front_end_fingerprint": front_end.fingerprint(),
        "network": settings.to_json(),
        "network_fingerprint": settings.fingerprint(),
    }
    sealed["content_sha256"] = content_hash(kept, metadata=sealed)
    sealed["metadata_sha256"] = metadata_hash(sealed)
    try:
        with appearing_whole(path) as temporary:
            save_file(dict(kept), temporary, metadata=sealed)
            temporary.chmod(0o644)  # safetensors makes files that only their owner can read
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise WeightsError(
            f"{path}: cannot be written ({reason}); free some space or name another file"
        ) from error
    return fingerprint(sealed)


def content_hash(arrays: Mapping[str, Half], *, metadata: Mapping[str, str]) -> str:
    """Hash settings and tensors.

    Parameters
    ----------
    arrays : mapping of str to float16 or float32 array
        The tensors.
    metadata : mapping of str to str
        With `front_end` and `network`.

    Returns
    -------
    str
        SHA-256, hexadecimal, over both settings, then name, type, shape and bytes of every tensor by name.
    """
    digest = hashlib.sha256()
    digest.update(metadata["front_end"].encode() + b"\0" + metadata["network"].encode() + b"\0")
    for name in sorted(arrays):
        value = arrays[name]
        digest.update(f"{name}\0torch.{value.dtype.name}\0{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def metadata_hash(metadata: Mapping[str, str]) -> str:
    """Hash the metadata.

    Parameters
    ----------
    metadata : mapping of str to str
        `metadata_sha256` itself is left out.

    Returns
    -------
    str
        SHA-256 of the canonical JSON, hexadecimal.
    """
    others = {name: value for name, value in metadata.items() if name != "metadata_sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _read_arrays(path: Path) -> dict[str, Half]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            odd = {file.get_slice(name).get_dtype() for name in names} - {"F16", "F32"}
            if odd:
                raise ValueError(f"tensors of type {', '.join(sorted(odd))}")
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: damaged weights file ({error}); download it again") from error


def _network(
    arrays: dict[str, Half], settings: NetworkSettings, *, device: str, backend: str
) -> "TwoViewNetwork":
    """The network with these tensors in place, which are used up; KeyError names a missing one."""
    if backend == "torch":
        return _by_torch(arrays, settings, device)
    from mirex.model.openvino_network import CompiledViews

    return cast("TwoViewNetwork", CompiledViews(arrays, settings=settings))


def _by_torch(arrays: dict[str, Half], settings: NetworkSettings, device: str) -> "TwoViewNetwork":
    import torch

    from mirex.model.network import TwoViewNetwork, tensors_of

    # The meta device saves half the time: no random values are drawn for the file's to replace.
    with torch.device("meta"):
        network = TwoViewNetwork(embedding_size=settings.embedding_size)
    # Statistics as well as parameters; BatchNorm's step counters, which are integers, are not kept.
    for name in sorted(tensors_of(network)):
        if name not in arrays and not name.endswith("num_batches_tracked"):
            raise KeyError(name)
    # One at a time, so that memory holds each tensor once.
    values = {name: torch.from_numpy(arrays.pop(name)).float() for name in list(arrays)}
    network.load_state_dict(values, strict=False, assign=True)
    del values
    network.share_parameters()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.num_batches_tracked = torch.tensor(0)
    network.to(device).eval().requires_grad_(False)
    if device == "cpu":  # its convolutions are then a tenth faster
        torch.nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network


def _whitening(arrays: Mapping[str, Half], name: str, path: Path) -> "Whitening | None":
    """The whitening of this name among the tensors, or None if there is none."""
    from mirex.model.whitening import Whitening

    found = [arrays.get(f"{name}.{part}") for part in Whitening._fields]
    if all(each is None for each in found):
        return None
    mean, projection = found
    if mean is None or projection is None or not _fit_together(mean, projection):
        raise WeightsError(f"{path}: the tensors of {name} do not fit; run 'mirex whiten' again")
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def _fit_together(mean: Half, projection: Half) -> bool:
    if mean.ndim != 1 or projection.ndim != 2:
        return False
    dimensions, kept = projection.shape
    return dimensions == len(mean) and 0 < kept <= dimensions


def _check_sizes(sealed: Sealed, path: Path) -> None:
    """The parts of a view's vector, of which all or none are whitened, must have the settings' dimensions."""
    size = sealed.settings.embedding_size
    last, chroma = (sealed.whitening, size), (sealed.chroma_whitening, size)
    beside = (sealed.second_order_whitening, dimensions(size))
    for parts in ([last, beside] if sealed.settings.second_order_weight else [last], [chroma]):
        if len(parts) == 1 and parts[0][0] is None:
            continue
        shapes = [whitening.projection.shape for whitening, _ in parts if whitening is not None]
        taken, given = [shape[0] for shape in shapes], sum(shape[1] for shape in shapes)
        if taken != [whole for _, whole in parts] or given != size:
            raise WeightsError(
                f"{path}: the whitenings do not give {size} dimensions; run 'mirex whiten' again"
            )


def _checked_settings(path: Path, metadata: Mapping[str, str]) -> tuple[FrontEndSettings, NetworkSettings]:
    front_end = FrontEndSettings.from_json(metadata["front_end"])
    settings = NetworkSettings.from_json(metadata["network"])
    if settings.chroma != CHROMA:
        raise SettingsMismatch(
            f"{path}: the folded view of these weights sums {settings.chroma!r}, that of this version "
            f"{CHROMA!r}; use the version of mirex that made them"
        )
    for name, found in (("front_end", front_end.fingerprint()), ("network", settings.fingerprint())):
        sealed = metadata.get(f"{name}_fingerprint")
        if sealed != found:
            raise WeightsError(
                f"{path}: {name} fingerprint {sealed} does not match its settings ({found}); "
                "the file was altered, download it again"
            )
    return front_end, settings
