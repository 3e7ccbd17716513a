"""Files that claim too much, or are too much: huge lines, headers, shapes and nestings for our readers.

`giants` gives what writes each of them; nothing is made before.
"""

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from mirex.extraction import contents
from mirex.extraction.store import Store
from mirex.model import weights
from mirex.settings import FrontEndSettings, NetworkSettings

TEXT_READERS = ("matrix", "check", "list", "cliques")
CONTENT = "ab" * 32  # of the recording whose entry the store is asked for

Make = Callable[[Path], None]
Piece = bytes | tuple[bytes, int]
"""Bytes, or bytes and how often."""


def giants() -> dict[tuple[str, str], Make]:
    """What writes each file.

    Returns
    -------
    dict of (str, str) to callable
        By the reader that is to read it, and a name; takes the path to write to.
    """
    found = {(reader, kind): make for reader in TEXT_READERS for kind, make in _texts().items()}
    groups = {
        "matrix": _matrices(), "check": _matrices(), "weights": _headers() | _weights(),
        "index": _headers() | _indices(), "store": _entries(), "hashed files": _hashed(),
        "scores": _archives(), "profiles": _archives(),
    }  # fmt: skip
    return found | {(reader, kind): make for reader, group in groups.items() for kind, make in group.items()}


def store(folder: Path) -> Store:
    """The store that is asked, and that the entries here are made for.

    Parameters
    ----------
    folder : Path
        Where its folder is to be.

    Returns
    -------
    Store
    """
    return Store(folder / "scratch", front_end="f", weights="w")


def _made(*pieces: Piece) -> Make:
    """Writes the pieces one after the other."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            for piece in pieces:
                part, count = piece if isinstance(piece, tuple) else (piece, 1)
                file.write(part * count)

    return write


def _sparse(data: bytes, size: int) -> Make:
    """Writes the data, then zeros that take no room."""

    def write(path: Path) -> None:
        path.write_bytes(data)
        os.truncate(path, size)

    return write


def _texts() -> dict[str, Make]:
    return {
        "a line of 1 GB without an end": _sparse(b"mirex\n1\ta\n2\t", 1 << 30),
        "1 GB of zeros": _sparse(b"", 1 << 30),
        "20 MB in one line": _made((b"x", 20_000_000)),
        "20 MB of tabs": _made(b"a", (b"\t", 20_000_000)),
        "20 MB of blanks": _made(b"a", (b" ", 20_000_000), b"b"),
        "1,000,000 blank lines": _made((b"\n", 1_000_000)),
        "300,000 short lines": _made((b"a\n", 300_000)),
        "300,000 short pairs": _made((b"a\tb\n", 300_000)),
        "60,000 backslashes": _made(b"a", (b"\\", 60_000), b"/b\n"),
        "60,000 blanks and a letter": _made(b"a", (b" ", 60_000), b"b\n"),
        "20,000 quotes": _made(b'FILE "', (b'a" ', 20_000), b"\n"),
        "30,000 columns": _made((b"a.b,", 30_000), b"\n"),
        "nested JSON": _made((b"[", 1_000_000)),
        "an endless stream": lambda path: path.symlink_to("/dev/zero"),
    }


def _matrices() -> dict[str, Make]:
    def of(count: int, *behind: Piece) -> Make:
        def write(path: Path) -> None:
            numbers = range(1, count + 1)
            head = b"mirex\n" + b"".join(b"%d\ta\n" % number for number in numbers)
            columns = b"Q/R\t" + b"\t".join(b"%d" % number for number in numbers) + b"\n"
            _made(head, columns, *behind)(path)

        return write

    return {
        "a Q/R line of 10^7 columns": _made(b"m\n1\ta\nQ/R", (b"\t1", 10_000_000)),
        "a row of 10^7 values": of(1, b"1", (b"\t0", 10_000_000)),
        "a row of 10^7 words": of(1, b"1", (b" 0", 10_000_000)),
        "100,000 names and as many blank lines": of(100_000, (b"\n", 100_000)),
        "100,000 names and one row": of(100_000, b"1", (b"\t0", 100_000), b"\n"),
        "100,000 names and a row of words": of(100_000, b"1", (b" 0", 100_000), b"\n"),
        "a number of 20 MB": _made(b"m\n", (b"1", 20_000_000), b"\ta\n"),
    }


def _length(size: int) -> bytes:
    return struct.pack("<Q", size)


def _safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return _length(len(text)) + text + data


def _headers() -> dict[str, Make]:
    claim = {"embeddings": {"dtype": "F16", "shape": [2**40, 2048], "data_offsets": [0, 2**52]}}
    nested = b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return {
        "a header of 2^60 bytes": _made(_length(1 << 60), b"{}"),
        "a header of 99 MB": _sparse(_length(99_000_000) + b"{", 100_000_000),
        "30 MB of lists": _made(_length(30_000_000), b'{"a":', (b"[],", 10_000_000)),
        "9 MB of lists": _made(_length(9_000_008), b'{"a":[[]', (b",[]", 2_999_999), b"]}"),
        "nested JSON": _made(_length(len(nested)), nested),
        "tensors of 2^52 bytes": _made(_safetensors(claim, b"x")),
        "an endless stream": lambda path: path.symlink_to("/dev/zero"),
    }


def _weights() -> dict[str, Make]:
    """Tensors of odd types, and settings of odd forms, with hashes that fit."""

    def sealed(path: Path, **changes: str) -> dict[str, str]:
        settings = {"front_end": FrontEndSettings(), "settings": NetworkSettings()}
        weights.save({"a": torch.ones(2)}, **settings, metadata={}, path=path)
        metadata = weights.read_metadata(path) | changes
        return metadata | {"metadata_sha256": weights.metadata_hash(metadata)}

    def of_type(code: str, size: int) -> Make:
        entry = {"dtype": code, "shape": [4], "data_offsets": [0, 4 * size]}
        return lambda path: _made(
            _safetensors({"__metadata__": sealed(path), "cqt.a": entry}, bytes(4 * size))
        )(path)

    def with_settings(text: str) -> Make:
        return lambda path: _made(_safetensors({"__metadata__": sealed(path, network=text)}))(path)

    types = {"BF16": 2, "F8_E4M3": 1, "BOOL": 1, "C64": 8, "I64": 8, "F64": 8}
    texts = ('{"embedding_size":"a"}', "[]", "[" * 100_000, '{"a":1}', "1" * 5000, "\ud800")
    found = {f"a tensor of {code}": of_type(code, size) for code, size in types.items()}
    return found | {f"settings {text[:20]!r}": with_settings(text) for text in texts}


def _indices() -> dict[str, Make]:
    found = {}
    for shape in ([2**64 - 1, 0], [0, 2**63], [2**32, 2**32]):
        entry = {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}
        header = {"__metadata__": {"format": "mirex-index-1"}, "embeddings": entry}
        found[f"embeddings of {shape}"] = _made(_safetensors(header))
    return found


def _entries() -> dict[str, Make]:
    """Entries of the store whose header is none, or whose hash fits and whose shape does not."""

    def of_shape(shape: object) -> Make:
        def write(path: Path) -> None:
            key = store(path.parent)._key(CONTENT, "embedding")
            header = {"key": key, "shape": shape, "sha256": hashlib.sha256(bytes(8)).hexdigest()}
            _made(b"mirex-store 1\n", json.dumps(header).encode(), b"\n", bytes(8))(path)

        return write

    headers = (b"[]", b"1", b"[" * 4000, b'"a"', b"null", b'{"key":[]}', b'{"key":{},"sha256":1}')
    shapes = ([2**70], [-1], "[", {"a": 1}, [[1]], [2**62, 4], None)
    found = {f"a header {text[:9]!r}": _made(b"mirex-store 1\n", text, b"\n", bytes(8)) for text in headers}
    found |= {f"a shape of {shape}": of_shape(shape) for shape in shapes}
    return found | {"1 GB of zeros": _sparse(b"mirex-store 1\n", 1 << 30)}


def _hashed() -> dict[str, Make]:
    """Lines that are not ours, with checksums that fit."""
    lines = (b"[]", b"{}", b"1", b"[[],1,2,3,4]", b"[" * 100_000, b'["a"]', b'[{"a":1},1]', b"[1,2]")
    return {f"a line {line[:9]!r}": _made(contents._check(line), b" ", line, b"\n") for line in lines}


def _archives() -> dict[str, Make]:
    return {
        "a shape of 2^60": _archive(_npy("(1152921504606846976,)")),
        "a shape of 2^40": _archive(_npy("(1099511627776,)")),
        "a negative shape": _archive(_npy("(-5,)")),
        "a shape of words": _archive(_npy("('a',)")),
        "a nested header": _archive(_npy("(" * 5000)),
        "a string without an end": _archive(_npy("'''(1,)")),
        "objects": _archive(_npy("(1,)", dtype="|O")),
        "no header": _archive(b""),
        "2 GB of zeros in 2 MB": _bomb,
        "nested JSON": _made((b"[", 100_000)),
        "an array alone": _made(_npy("(2,)")),
    }


def _npy(shape: str, *, dtype: str = "<u4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(8)


def _archive(member: bytes) -> Make:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("song_split", "song_work", "recording_split", "recording_work"):
                archive.writestr(f"{name}.npy", member)

    return write


def _bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("song_split.npy", "w", force_zip64=True) as member,
    ):
        member.write(_npy("(2147483648,)", dtype="|u1")[:-8])
        for _ in range(128):
            member.write(bytes(1 << 24))
