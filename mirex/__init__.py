"""Audio cover song identification for MIREX: audio to embeddings, embeddings to a distance matrix.

    import mirex

    names = ["a.wav", "b.wav", "c.wav"]
    extraction = mirex.extract(names, scratch="scratch")
    distances = mirex.distance_matrix(extraction.embeddings[:1], extraction.embeddings, query_positions=[0])
    mirex.write_matrix("matrix.txt", names=names, query_positions=[0], rows=distances)

    evaluation = mirex.evaluate(mirex.read_matrix("matrix.txt"), cliques=mirex.read_cliques("cliques.tsv"))
    print(evaluation.scores.metrics())

Names are loaded on first use, so importing the package costs almost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirex.errors import MirexError as MirexError
    from mirex.evaluation.evaluate import Evaluation as Evaluation
    from mirex.evaluation.evaluate import evaluate as evaluate
    from mirex.evaluation.evaluate import summarise as summarise
    from mirex.evaluation.report import write_report as write_report
    from mirex.extraction.extract import Extraction as Extraction
    from mirex.extraction.extract import extract as extract
    from mirex.features.audio import decode as decode
    from mirex.formats.cliques import read_cliques as read_cliques
    from mirex.formats.filelist import number_collection as number_collection
    from mirex.formats.filelist import read_list as read_list
    from mirex.formats.matrix import Matrix as Matrix
    from mirex.formats.matrix import read_matrix as read_matrix
    from mirex.formats.matrix import write_matrix as write_matrix
    from mirex.model.shipped import columns as columns
    from mirex.model.shipped import embed as embed
    from mirex.retrieval.alignment import cross_similarity as cross_similarity
    from mirex.retrieval.distance import distance_matrix as distance_matrix
    from mirex.retrieval.index import Index as Index
    from mirex.retrieval.indexing import index_collection as index_collection
    from mirex.retrieval.scan import scan as scan
    from mirex.retrieval.search import search as search

__version__ = "0.1.0"

_HOMES = {
    "decode": "features.audio",
    "columns": "model.shipped",
    "embed": "model.shipped",
    "distance_matrix": "retrieval.distance",
    "MirexError": "errors",
    "Extraction": "extraction.extract",
    "extract": "extraction.extract",
    "number_collection": "formats.filelist",
    "read_list": "formats.filelist",
    "Matrix": "formats.matrix",
    "read_matrix": "formats.matrix",
    "write_matrix": "formats.matrix",
    "read_cliques": "formats.cliques",
    "Evaluation": "evaluation.evaluate",
    "evaluate": "evaluation.evaluate",
    "summarise": "evaluation.evaluate",
    "scan": "retrieval.scan",
    "search": "retrieval.search",
    "Index": "retrieval.index",
    "index_collection": "retrieval.indexing",
    "write_report": "evaluation.report",
    "cross_similarity": "retrieval.alignment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
