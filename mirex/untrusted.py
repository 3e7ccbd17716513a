"""Reading files from elsewhere, which may contain anything: with a result or one known error.

The standard library and NumPy raise many errors besides the documented ones: for nesting, for damaged
compression, for shapes that exceed any memory.
"""

import json
import os
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_SHOWN = 200  # characters
_PIECE = 1 << 20  # bytes, read at a time
# Archives of a corpus unpack to 8 times their size, and Deflate gives 1,000 times for zeros.
_MOST_EXPANSION, _ALWAYS_UNPACKED = 100, 1 << 26


def quoted(text: str) -> str:
    """Quote text for a message, cut to a readable length.

    Parameters
    ----------
    text : str
        Content of a file.

    Returns
    -------
    str

    Examples
    --------
    >>> quoted("a"), len(quoted(1000 * "a"))
    ("'a'", 205)
    """
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


def shortened(message: str) -> str:
    """Cut an error's message that quotes too much of a file.

    Parameters
    ----------
    message : str
        The message.

    Returns
    -------
    str
        At most 200 characters, and "..." if some are missing.

    Examples
    --------
    >>> shortened("no such array"), len(shortened(1000 * "a"))
    ('no such array', 203)
    """
    return message if len(message) <= _SHOWN else f"{message[:_SHOWN]}..."


def read_most(file: BinaryIO, most: int) -> bytes:
    """Read the rest of a file up to a limit; `read` alone would allocate the limit at once.

    Parameters
    ----------
    file : binary file
        Open for reading.
    most : int
        In bytes.

    Returns
    -------
    bytes
    """
    pieces, size = [], 0
    while size < most and (piece := file.read(min(_PIECE, most - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; unlike `json.loads`, raise no other error than `ValueError`.

    Parameters
    ----------
    text : str or bytes
        The JSON.

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If it is not JSON, or nested too deeply.

    Examples
    --------
    >>> parse_json('{"one": [1]}')
    {'one': [1]}
    >>> parse_json(100_000 * "[")
    Traceback (most recent call last):
    ValueError: JSON that is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def load_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read all arrays of a NumPy archive, without pickles.

    Parameters
    ----------
    path : path-like
        The `.npz` file.

    Returns
    -------
    dict of str to array

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not such an archive, is damaged, unpacks to far more than its size, or has shapes that do
        not fit its data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max(_ALWAYS_UNPACKED, _MOST_EXPANSION * os.path.getsize(path)):
            raise ValueError(f"it would unpack to {unpacked} bytes, too many for its size")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError:
        raise
    except ValueError as error:  # NumPy's quote a whole header
        raise ValueError(shortened(str(error))) from error
    except Exception as error:  # of zlib, lzma, struct, tokenize, the memory ...: whatever its bytes provoke
        raise ValueError(shortened(f"damaged archive: {error or type(error).__name__}")) from error
