"""The bundled recordings: where they are, and the whole way from audio to a report page.

In a checkout they are in `tests/demo`; an installed package has them beside the weights. `x_fast.ogg` is
another version of `x.ogg`; the folder's README names authors and licence.
"""

import os
from pathlib import Path
from typing import NamedTuple

VARIANT = "_fast"


class Made(NamedTuple):
    """What `run_demo` wrote.

    Attributes
    ----------
    matrix : Path
        The distance matrix.
    report : Path
        The report page.
    """

    matrix: Path
    report: Path


def demo_folder() -> Path:
    """Find the bundled recordings: in the tests of a checkout, inside the package when installed.

    Returns
    -------
    Path
    """
    beside = Path(__file__).parents[1] / "tests" / "demo"
    return beside if beside.is_dir() else Path(__file__).parent / "shipped_demo"


def demo_cliques(names: list[str]) -> dict[str, str]:
    """Name each recording's work: its file name without the suffix of a variant.

    Parameters
    ----------
    names : list of str
        Paths of recordings.

    Returns
    -------
    dict of str to str
        The clique of each path.
    """
    return {name: Path(name).stem.removesuffix(VARIANT) for name in names}


def run_demo(folder: Path, *, weights: str | os.PathLike[str] | None = None) -> Made:
    """Extract the bundled recordings; write their matrix and a report page.

    Parameters
    ----------
    folder : Path
        For the embeddings, the matrix and the page; created if missing.
    weights : path-like, optional
        A sealed file; the shipped one by default.

    Returns
    -------
    Made
        Paths of the matrix and the page.

    Raises
    ------
    MirexError
        If the folder cannot be written, or the extra `plots` is missing.
    """
    import numpy as np

    from mirex.errors import StoreError
    from mirex.evaluation.evaluate import evaluate
    from mirex.evaluation.plots import new_figure
    from mirex.evaluation.report import write_report
    from mirex.extraction.extract import extract
    from mirex.formats.matrix import read_matrix, write_matrix
    from mirex.retrieval.distance import distance_matrix

    new_figure(1, 1)  # report a missing matplotlib before the work, not after it
    names = sorted(str(path) for path in demo_folder().glob("*.ogg"))
    made = Made(folder / "matrix.txt", folder / "report.html")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"folder {folder} cannot be created: {error.strerror}; name another") from error
    embeddings = extract(names, scratch=folder / "scratch", weights=weights).embeddings
    positions = list(range(len(names)))
    distances = distance_matrix(embeddings, embeddings, query_positions=positions)
    write_matrix(made.matrix, names=names, query_positions=positions, rows=distances)
    matrix = read_matrix(made.matrix)
    evaluation = evaluate(matrix, cliques=demo_cliques(names))
    write_report(made.report, matrix=matrix, evaluation=evaluation, generator=np.random.default_rng(0))
    return made
