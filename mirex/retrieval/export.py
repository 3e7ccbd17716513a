"""Exporting an index to files for other programs: NumPy's `.npy`, or Parquet."""

import os
from pathlib import Path

import numpy as np

from mirex.errors import IndexFileError, MirexError, UsageError
from mirex.extras import how_to_install
from mirex.files import appearing_whole, write_whole
from mirex.retrieval.index import Index
from mirex.retrieval.index_file import BLOCK


def export(index: Index, path: str | os.PathLike[str]) -> list[Path]:
    """Write the songs of an index in the format given by the file's extension.

    Parameters
    ----------
    index : Index
        An open index.
    path : path-like
        `.npy`: float16 [songs, size], and in a second file with the extension `.names.txt` the paths, one per
        line, in the same order. `.parquet` (needs the extra `parquet`): columns `name`, `content` and
        `embedding`, a list of float32.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    UsageError
        For another extension.
    MirexError
        If pyarrow is missing.
    IndexFileError
        If a file cannot be written.
    """
    target = Path(path)
    writers = {".npy": _write_npy, ".parquet": _write_parquet}
    if target.suffix not in writers:
        raise UsageError(f"{target}: give a name ending in {' or '.join(writers)}")
    try:
        return writers[target.suffix](index, target)
    except OSError as error:
        raise IndexFileError(
            f"{target} cannot be written: {error.strerror or error}; name another file"
        ) from error


def _write_npy(index: Index, target: Path) -> list[Path]:
    names = target.with_suffix(".names.txt")
    with appearing_whole(target) as temporary, open(temporary, "wb") as file:
        np.save(file, index.embeddings, allow_pickle=False)
    write_whole(names, b"".join(os.fsencode(name) + b"\n" for name in index.names))
    return [target, names]


def _write_parquet(index: Index, target: Path) -> list[Path]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MirexError(
            f"Parquet needs pyarrow, which is not installed; {how_to_install('parquet')}"
        ) from error
    size = index.embeddings.shape[1]
    types = {"name": pa.string(), "content": pa.string(), "embedding": pa.list_(pa.float32(), size)}
    names = [os.fsencode(name).decode("utf-8", "replace") for name in index.names]
    with appearing_whole(target) as temporary, parquet.ParquetWriter(temporary, pa.schema(types)) as writer:
        for start in range(0, len(index), BLOCK):
            rows = slice(start, start + BLOCK)
            values = pa.array(index.embeddings[rows].astype(np.float32).ravel())
            columns = [names[rows], index.contents[rows], pa.FixedSizeListArray.from_arrays(values, size)]
            writer.write_table(pa.table(dict(zip(types, columns, strict=True)), schema=pa.schema(types)))
    return [target]
