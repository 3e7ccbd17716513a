"""Weights: one safetensors file, sealed with everything needed to use it and to identify it.

Metadata (strings, JSON where noted): `format`; `front_end` and `network` (JSON of the settings) with
`front_end_fingerprint` and `network_fingerprint`; `training`, `results`, `calibration` (JSON); `date`;
`licence`; `content_sha256` over settings and tensors, `metadata_sha256` over all other entries. Tensors
are those of a `TwoViewNetwork`, shared ones once, and `whitening.mean` and `whitening.projection` if there
is a whitening of the CQT view, `chroma_whitening.mean` and `.projection` if there is one of the chroma view.
Those with two or more axes may be float16; others are float32. Loading checks hashes and fingerprints, and
never unpickles.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mirex.errors import SettingsMismatch, WeightsError
from mirex.files import appearing_whole
from mirex.model import backend as backends
from mirex.settings import CHROMA, FrontEndSettings, NetworkSettings
from mirex.untrusted import parse_json

if TYPE_CHECKING:
    from torch import Tensor

    from mirex.model.network import TwoViewNetwork
    from mirex.model.whitening import Whitening

FORMAT = "mirex-weights-2"
_LONGEST_HEADER = 10_000_000  # bytes
WHITENINGS = ("whitening", "chroma_whitening")  # each has tensors .mean and .projection
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
    """

    network: "TwoViewNetwork"
    front_end: FrontEndSettings
    settings: NetworkSettings
    metadata: dict[str, str]
    fingerprint: str
    whitening: "Whitening | None" = None
    chroma_whitening: "Whitening | None" = None


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
    import torch

    from mirex.model.network import tensors_of

    path = path or default_path()
    metadata = read_metadata(path)
    tensors = _read_tensors(path)
    front_end, settings = _checked_settings(path, metadata)
    if content_hash(tensors, metadata=metadata) != metadata["content_sha256"]:
        raise WeightsError(f"{path}: content does not match its hash; the file is damaged, download it again")
    try:
        network = _network(tensors, settings)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: tensors do not fit ResNet50-IBN ({error})") from error
    # Statistics as well as parameters; BatchNorm's step counters, which are integers, are not kept.
    needed = {name for name, value in tensors_of(network).items() if value.is_floating_point()}
    missing = needed - set(tensors)
    if missing:
        raise WeightsError(f"{path}: {len(missing)} tensors are missing, the first: {min(missing)}")
    network.to(device).eval().requires_grad_(False)
    if device == "cpu" and backend == "torch":  # its convolutions are then a tenth faster
        torch.nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    whitenings = [_whitening(tensors, name, path) for name in WHITENINGS]
    del tensors  # compiling takes memory too
    sealed = Sealed(network, front_end, settings, metadata, fingerprint(metadata), *whitenings)
    return backends.compiled(sealed, backend=backend)


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
    """
    import torch

    kept = {
        name: (value.half() if half and value.dim() > 1 else value.float()).contiguous().cpu()
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
        If the file is missing, damaged or of another kind.
    """
    metadata, tensors = read_metadata(path), _read_tensors(path)
    front_end, settings = _checked_settings(path, metadata)
    kept = {name: value for name, value in metadata.items() if name not in (*REQUIRED, "format")}
    kept |= entries
    return _write(tensors, front_end=front_end, settings=settings, metadata=kept, path=path)


def _write(
    kept: Mapping[str, "Tensor"],
    *,
    front_end: FrontEndSettings,
    settings: NetworkSettings,
    metadata: Mapping[str, str],
    path: Path,
) -> str:
    """Seal tensors as they are."""
    from safetensors.torch import save_file

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
    with appearing_whole(path) as temporary:
        save_file(dict(kept), temporary, metadata=sealed)
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read
    return fingerprint(sealed)


def content_hash(tensors: Mapping[str, "Tensor"], *, metadata: Mapping[str, str]) -> str:
    """Hash settings and tensors.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        On the CPU.
    metadata : mapping of str to str
        With `front_end` and `network`.

    Returns
    -------
    str
        SHA-256, hexadecimal, over both settings, then name, type, shape and bytes of every tensor by name.
    """
    digest = hashlib.sha256()
    digest.update(metadata["front_end"].encode() + b"\0" + metadata["network"].encode() + b"\0")
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.numpy().tobytes())
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


def _read_tensors(path: Path) -> dict[str, "Tensor"]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        odd = {value.dtype for value in tensors.values()} - {torch.float16, torch.float32}
        if odd:
            raise ValueError(f"tensors of type {', '.join(sorted(map(str, odd)))}")
        return tensors
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: damaged weights file ({error}); download it again") from error


def _network(tensors: Mapping[str, "Tensor"], settings: NetworkSettings) -> "TwoViewNetwork":
    """The network with these tensors in place. Missing ones have no values; counters are 0."""
    import torch

    from mirex.model.network import TwoViewNetwork

    # The meta device saves half the time: no random values are drawn for the file's to replace.
    with torch.device("meta"):
        network = TwoViewNetwork(embedding_size=settings.embedding_size)
    # Copies, because the originals may be mapped from a file that can change.
    values = {name: value.to(torch.float32, copy=True) for name, value in tensors.items()}
    network.load_state_dict(values, strict=False, assign=True)
    network.share_parameters()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.num_batches_tracked = torch.tensor(0)
    return network


def _whitening(tensors: Mapping[str, "Tensor"], name: str, path: Path) -> "Whitening | None":
    """The whitening of this name among the tensors, or None if there is none."""
    import torch

    from mirex.model.whitening import Whitening

    found = [tensors.get(f"{name}.{part}") for part in Whitening._fields]
    if all(each is None for each in found):
        return None
    # Copies: a view would keep the whole file mapped into memory.
    mean, projection = (None if each is None else each.to(torch.float32, copy=True).numpy() for each in found)
    if mean is None or projection is None or projection.shape != (len(mean), len(mean)):
        raise WeightsError(f"{path}: the tensors of {name} do not fit; run 'mirex whiten' again")
    return Whitening(mean, projection)


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
