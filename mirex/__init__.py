"""Audio cover song identification for MIREX: audio to embeddings, embeddings to a distance matrix.

    import mirex

    names = ["a.wav", "b.wav", "c.wav"]
    extraction = mirex.extract(names, scratch="scratch")
    distances = mirex.distance_matrix(extraction.embeddings[:1], extraction.embeddings, query_positions=[0])
    mirex.write_matrix("matrix.txt", names=names, query_positions=[0], rows=distances)

    evaluation = mirex.evaluate(mirex.read_matrix("matrix.txt"), cliques=mirex.read_cliques("cliques.tsv"))
    print(evaluation.scores.metrics())

Names are loaded when they are first used, so that importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirex.audio import decode as decode
    from mirex.cliques import read_cliques as read_cliques
    from mirex.distance import distance_matrix as distance_matrix
    from mirex.errors import MirexError as MirexError
    from mirex.evaluation import Evaluation as Evaluation
    from mirex.evaluation import evaluate as evaluate
    from mirex.evaluation import summarise as summarise
    from mirex.extraction import Extraction as Extraction
    from mirex.extraction import extract as extract
    from mirex.filelist import number_collection as number_collection
    from mirex.filelist import read_list as read_list
    from mirex.matrix import Matrix as Matrix
    from mirex.matrix import read_matrix as read_matrix
    from mirex.matrix import write_matrix as write_matrix
    from mirex.ranking import search as search
    from mirex.report import write_report as write_report
    from mirex.similarity import cross_similarity as cross_similarity

__version__ = "0.1.0"

_HOMES = {
    "decode": "audio",
    "distance_matrix": "distance",
    "MirexError": "errors",
    "Extraction": "extraction",
    "extract": "extraction",
    "number_collection": "filelist",
    "read_list": "filelist",
    "Matrix": "matrix",
    "read_matrix": "matrix",
    "write_matrix": "matrix",
    "read_cliques": "cliques",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "summarise": "evaluation",
    "search": "ranking",
    "write_report": "report",
    "cross_similarity": "similarity",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
