"""The file of an index: a safetensors file that is mapped into memory, never read completely.

Tensors: `embeddings` float16 [songs, size], rows of unit length before rounding; `names`, the songs' paths as
bytes with a zero byte after each; `contents` uint8 [songs, 32], SHA-256 of their audio files; `seconds`
float32 [songs], seconds of sound in each, NaN if unknown; and, in an index with windows,
`windows` float16 [windows, size], `window_song` uint32 [windows], the song's row, not descending, and
`window_seconds` float32 [windows, 2], start and end. Metadata: `format`, the fingerprints that make
embeddings comparable (`front_end`, `cqt`, `weights`), `window_layout` (JSON), and `sha256:NAME` of each
tensor.

A file from elsewhere may contain anything. safetensors itself checks that the tensors fill the file exactly.
Here types and shapes are checked, and the small tables against their hashes; nothing is assumed to be short.
The hashes of the matrices are checked when an index is changed (which copies it) or `verify` is called.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirex.errors import IndexFileError
from mirex.files import appearing_whole
from mirex.untrusted import parse_json

FORMAT = "mirex-index-1"
FINGERPRINTS = ("front_end", "cqt", "weights")
BLOCK = 1024  # rows read, widened or copied at a time
_LONGEST_HEADER = 1 << 20
_ALIGNED = 4096


class _Type(NamedTuple):
    """Type of a tensor: its name in safetensors, in NumPy, and the number of axes."""

    code: str
    dtype: np.dtype
    axes: int


_TYPES = {
    "embeddings": _Type("F16", np.dtype("<f2"), 2),
    "names": _Type("U8", np.dtype("u1"), 1),
    "contents": _Type("U8", np.dtype("u1"), 2),
    "seconds": _Type("F32", np.dtype("<f4"), 1),
    "windows": _Type("F16", np.dtype("<f2"), 2),
    "window_song": _Type("U32", np.dtype("<u4"), 1),
    "window_seconds": _Type("F32", np.dtype("<f4"), 2),
    # of the graph beside an index (`mirex.retrieval.graph_file`)
    "levels": _Type("I32", np.dtype("<i4"), 1),
    "neighbours": _Type("I32", np.dtype("<i4"), 1),
}
_SMALL = ("names", "contents", "seconds", "window_song", "window_seconds")


@dataclasses.dataclass(frozen=True)
class Part:
    """A tensor to write.

    Attributes
    ----------
    shape : tuple of int
        Of the whole tensor.
    blocks : iterable of array
        Its values, in blocks of rows.
    """

    shape: tuple[int, ...]
    blocks: Iterable[NDArray]


def write(path: str | os.PathLike[str], parts: Mapping[str, Part], *, metadata: Mapping[str, str]) -> None:
    """Write an index; it appears whole or not at all.

    Parameters
    ----------
    path : path-like
        The file.
    parts : {name: Part}
        As described above; values are converted to the types given there.
    metadata : {str: str}
        Fingerprints and window layout. A `format` in it marks a file other than an index.

    Raises
    ------
    IndexFileError
        If it cannot be written.
    """
    metadata = {"format": FORMAT, **metadata, **{f"sha256:{name}": "0" * 64 for name in parts}}
    try:
        with appearing_whole(path, sync=True) as temporary, open(temporary, "w+b") as file:
            file.write(_header(parts, metadata))
            for name, part in parts.items():
                metadata[f"sha256:{name}"] = _write_part(file, name, part)
            file.seek(0)
            file.write(_header(parts, metadata))
    except OSError as error:
        raise IndexFileError(
            f"{os.fspath(path)} cannot be written: {error.strerror}; free some space or name another file"
        ) from error


def _header(parts: Mapping[str, Part], metadata: Mapping[str, str]) -> bytes:
    """The safetensors header, with blanks at its end so that the first tensor starts on a page."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, part in parts.items():
        code, dtype, _ = _TYPES[name]
        start, end = end, end + dtype.itemsize * int(np.prod(part.shape))
        header[name] = {"dtype": code, "shape": part.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNED)
    return len(text).to_bytes(8, "little") + text


def _write_part(file: IO[bytes], name: str, part: Part) -> str:
    digest, rows = hashlib.sha256(), 0
    for block in part.blocks:
        values = np.asarray(block, dtype=_TYPES[name].dtype).tobytes()
        rows += len(block)
        file.write(values)
        digest.update(values)
    assert rows == part.shape[0], f"{name}: {rows} rows instead of {part.shape[0]}"
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class Mapped:
    """An index file, mapped.

    Attributes
    ----------
    metadata : mapping of str to str
        Of the file.
    tensors : mapping of str to array
        By name; read-only.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, NDArray]

    def verify(self) -> None:
        """Compare every byte with the hashes in the file.

        Raises
        ------
        IndexFileError
            If they differ.
        """
        for name in self.tensors:
            _check_hash(self, name)


def read(path: str | os.PathLike[str]) -> Mapped:
    """Map an index file into memory and check everything but the values of its matrices.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Mapped

    Raises
    ------
    IndexFileError
        For a file that is missing, damaged, or something else.
    """
    name = os.fspath(path)
    try:
        mapped = map_file(path, form=FORMAT)
    except FileNotFoundError:
        raise IndexFileError(f"{name}: no such index; make one with 'mirex index'") from None
    except OSError as error:
        raise IndexFileError(f"{name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise IndexFileError(f"{name}: not an index of 'mirex index', or damaged ({error})") from error
    try:
        _check(mapped)
    except (ValueError, KeyError) as error:
        raise IndexFileError(f"{name}: the index is damaged ({error}); make it again") from error
    return mapped


def map_file(path: str | os.PathLike[str], *, form: str) -> Mapped:
    """Map a file made by `write` into memory and check only its types.

    Parameters
    ----------
    path : path-like
        The file.
    form : str
        Its `format`.

    Returns
    -------
    Mapped

    Raises
    ------
    OSError
        As the file system raises it.
    ValueError, KeyError, TypeError
        For a file that is damaged, or something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ValueError("not a file") if path.exists() else FileNotFoundError(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            raise ValueError("not the header of an index")
        text = file.read(length)
        try:
            with safe_open(path, framework="numpy"):  # checks that the tensors fill the file, without overlap
                pass
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        header = parse_json(text)
        metadata = header.pop("__metadata__", {})
        if metadata.get("format") != form:
            raise ValueError(f"its format is not {form!r}")
        tensors = {name: _tensor(file, name, entry, 8 + length) for name, entry in header.items()}
    return Mapped(metadata, tensors)


def _tensor(file: IO[bytes], name: str, entry: Mapping[str, Any], start: int) -> NDArray:
    code, dtype, axes = _TYPES[name]
    shape = tuple(int(size) for size in entry["shape"])
    if entry["dtype"] != code or len(shape) != axes:
        raise ValueError(f"{name} is {entry['dtype']} {list(shape)}")
    if 0 in shape:
        return np.empty(shape, dtype)
    # Of the open file, which cannot have been replaced since its header was read.
    return np.memmap(file, dtype=dtype, mode="r", offset=start + entry["data_offsets"][0], shape=shape)


def _check(mapped: Mapped) -> None:
    """Check that shapes fit together, and that small tables are as written."""
    tensors = mapped.tensors
    songs, size = tensors["embeddings"].shape
    if tensors["contents"].shape != (songs, 32):
        raise ValueError(f"{len(tensors['contents'])} contents of {songs} songs")
    if tensors["seconds"].shape != (songs,):
        raise ValueError(f"{len(tensors['seconds'])} lengths of {songs} songs")
    for name in FINGERPRINTS:
        if not mapped.metadata.get(name):
            raise ValueError(f"no fingerprint {name!r}")
    for name in _SMALL:
        if name in tensors:
            _check_hash(mapped, name)
    if np.count_nonzero(tensors["names"] == 0) != songs:
        raise ValueError(f"names are not those of {songs} songs")
    if "windows" in tensors:
        _check_windows(tensors, songs, size)


def _check_windows(tensors: Mapping[str, NDArray], songs: int, size: int) -> None:
    owners, seconds = tensors["window_song"], tensors["window_seconds"]
    count = len(owners)
    if tensors["windows"].shape != (count, size) or seconds.shape != (count, 2):
        raise ValueError("tables of windows differ in length")
    if count and (int(owners.max()) >= songs or np.any(owners[1:] < owners[:-1])):
        raise ValueError("windows of songs that do not exist")
    if not np.isfinite(seconds).all():
        raise ValueError("windows without times")


def _check_hash(mapped: Mapped, name: str) -> None:
    digest, tensor = hashlib.sha256(), mapped.tensors[name]
    step = max(1, (1 << 22) // max(1, tensor[:1].nbytes))
    for start in range(0, len(tensor), step):
        digest.update(tensor[start : start + step].tobytes())
    if digest.hexdigest() != mapped.metadata.get(f"sha256:{name}"):
        raise IndexFileError(f"{name} of the index do not match their hash: it is damaged, make it again")


def encode_names(names: Sequence[str]) -> NDArray[np.uint8]:
    """Encode paths as bytes, with a zero byte after each.

    Parameters
    ----------
    names : sequence of str
        Paths.

    Returns
    -------
    uint8 [bytes]

    Examples
    --------
    >>> encode_names(["a", "b"]).tobytes()
    b'a\\x00b\\x00'
    """
    return np.frombuffer(b"".join(os.fsencode(name) + b"\0" for name in names), np.uint8)


def decode_names(names: NDArray[np.uint8]) -> list[str]:
    """Decode what `encode_names` wrote.

    Parameters
    ----------
    names : uint8 [bytes]
        Paths, a zero byte after each.

    Returns
    -------
    list of str

    Examples
    --------
    >>> decode_names(encode_names(["a", "b"]))
    ['a', 'b']
    """
    return [os.fsdecode(name) for name in names.tobytes().split(b"\0")[:-1]]
