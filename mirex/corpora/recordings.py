"""A user's own recordings as training data: a CSV of `work,path` to cached CQT columns.

Decoding and transform are the product's own; columns are kept in the scratch store, so a second run reads
them. A recording that cannot be read is reported and left out; a work needs two that can.
"""

import csv
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex.errors import AudioError, TrainingError
from mirex.extraction.store import Store, content_hash
from mirex.features.audio import decode
from mirex.features.cqt import columns
from mirex.settings import FrontEndSettings


def read_recordings(path: Path) -> dict[str, list[Path]]:
    """Paths by work from a CSV with the header `work,path`; relative ones count from the CSV's folder.

    Raises TrainingError for a missing file or column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"work", "path"} <= set(reader.fieldnames or ()):
                raise TrainingError(f"{path}: header {reader.fieldnames}; name the columns work and path")
            works: dict[str, list[Path]] = {}
            for row in reader:
                works.setdefault(row["work"], []).append(path.parent / row["path"])
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror}; give a CSV with the header work,path") from error
    return works


def load_columns(
    works: dict[str, list[Path]], *, scratch: Path, processes: int, report: Callable[[str], None]
) -> list[list[NDArray[np.float32]]]:
    """CQT columns of every work with at least two readable recordings.

    Returns for each such work its recordings' float32 [84, columns]. Raises TrainingError if no work is left.
    """
    paths = [path for found in works.values() for path in found]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        answers = list(pool.map(_columns_or_reason, paths, [scratch] * len(paths)))
    by_path = dict(zip(paths, answers, strict=True))
    kept = []
    for found in works.values():
        good = [by_path[path] for path in found]
        for path, answer in zip(found, good, strict=True):
            if isinstance(answer, str):
                report(f"left out {path}: {answer}")
        arrays = [answer for answer in good if not isinstance(answer, str)]
        if len(arrays) >= 2:
            kept.append(arrays)
    if not kept:
        raise TrainingError(
            f"none of {len(works)} works has two readable recordings; training needs versions"
        )
    return kept


def _columns_or_reason(path: Path, scratch: Path) -> NDArray[np.float32] | str:
    settings = FrontEndSettings()
    store = Store(scratch, front_end=settings.fingerprint(), weights="")
    try:
        content = content_hash(path)
        cached = store.get(content, kind="columns")
        if cached is None:
            store.put(content, columns(decode(path), settings=settings), kind="columns")
            cached = store.get(content, kind="columns")
        return cached.astype(np.float32) if cached is not None else "its columns could not be kept"
    except AudioError as error:
        return str(error)
