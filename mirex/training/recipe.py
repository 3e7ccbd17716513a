"""From data and a recipe to sources, batches and validation sets.

`mirex.training.settings` lists the options of a recipe; the data given decide the sources.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mirex._typing import Array
from mirex.corpora.archive import Joined
from mirex.corpora.cqt_levels import LevelCorpus
from mirex.corpora.profiles import ProfileCorpus
from mirex.corpora.recordings import PackedRecordings, load_columns, read_recordings
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import UsageError
from mirex.model.network import EMBEDDING_UNITS, STAGE_BLOCKS
from mirex.training.batches import BatchMaker
from mirex.training.mixing import MixedSource, Numbering, find_links, number_works
from mirex.training.settings import Corpus, Recipe
from mirex.training.sources import (
    ChromaSource,
    KeptColumns,
    KeptLevels,
    Recordings,
    RecordingSource,
    ScoreSource,
    Source,
    turns,
)
from mirex.training.synthesis.patches import load_patches
from mirex.training.validation import (
    RecordingSet,
    ValidationSet,
    anthem_sets,
    chroma_set,
    recording_set,
    score_set,
    voiced_set,
)

SMALLEST_EMBEDDING = 2 * EMBEDDING_UNITS  # of the narrowest network
SEEDS = 2**64  # that PyTorch takes

SUMMARY = {
    "scores": "split train: MIDI transcriptions, rendered to CQT as new arrangements",
    "chroma": "split train: pitch-class profiles of real covers (works of SHS100K-TEST, where hpcp.npz)",
    "recordings": "split train: real recordings as CQT levels, or a private collection of recordings",
}


def summary(corpus: Corpus) -> list[str]:
    """Describe the sources of a corpus.

    Parameters
    ----------
    corpus : Corpus
        The data.

    Returns
    -------
    list of str
        For each source, its files' names and what they hold.
    """
    return [
        f"{', '.join(path.name for path in getattr(corpus, name))}, {SUMMARY[name]}"
        for name in corpus.sources
    ]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A corpus whose recordings have been read; handed to the processes that make batches.

    Attributes
    ----------
    corpus : Corpus
        The data.
    packed : PackedRecordings or None
        The recordings of a user's CSV.
    """

    corpus: Corpus
    packed: PackedRecordings | None = None


def prepare(corpus: Corpus, *, report: Callable[[str], None] = print) -> Prepared:
    """Read the recordings of a user's CSV, if there is one.

    Parameters
    ----------
    corpus : Corpus
        The data.
    report : callable
        Called with a line for each recording that is left out.

    Returns
    -------
    Prepared

    Raises
    ------
    TrainingError
        If no work has two readable recordings.
    """
    tables = _tables(corpus)
    if not tables:
        return Prepared(corpus)
    works = read_recordings(tables[0])
    packed = load_columns(works, scratch=corpus.scratch, processes=corpus.decoders, report=report)
    return Prepared(corpus, packed)


def make_batches(corpus: Corpus | Prepared, *, recipe: Recipe) -> BatchMaker:
    """Load the sources.

    Parameters
    ----------
    corpus : Corpus or Prepared
        A Corpus is prepared first.
    recipe : Recipe
        What to learn, and how.

    Returns
    -------
    BatchMaker

    Raises
    ------
    UsageError
        If data and recipe do not fit.
    TrainingError
        If data cannot be read.
    """
    found = corpus if isinstance(corpus, Prepared) else None
    data = found.corpus if found else corpus
    assert isinstance(data, Corpus)
    check(data, recipe)
    prepared = found or prepare(data)
    sources, numbering, digest = _sources(prepared, recipe)
    for name, source, wanted in zip(data.sources, sources, recipe.batch.works, strict=True):
        there = int(np.count_nonzero(source.work_weights))
        if wanted > there:
            raise UsageError(
                f"{wanted} works of {name} per batch, but there are only {there}; give at most that"
            )
    return BatchMaker(
        sources, settings=recipe.batch, seed=recipe.loop.seed, numbering=numbering, digest=digest
    )


def _sources(prepared: Prepared, recipe: Recipe) -> tuple[list[Source], Numbering, str]:
    """The sources, mixed where their works have versions in others, their works' labels, and their digest."""
    corpus = prepared.corpus
    patches = [load_patches(path) for path in corpus.patches]
    made: list[Source] = []
    archives: dict[str, tuple[int, Joined]] = {}
    if corpus.scores:
        scores = Joined([ScoreCorpus.load(path) for path in corpus.scores])
        archives["scores"] = (len(made), scores)
        made.append(_score_source(scores, patches, recipe))
    if corpus.chroma:
        chroma = Joined([ProfileCorpus.load(path) for path in corpus.chroma])
        archives["chroma"] = (len(made), chroma)
        made.append(_chroma_source(chroma, patches, recipe))
    if corpus.recordings:
        if prepared.packed is None:
            levels = Joined([LevelCorpus.load(path) for path in corpus.recordings])
            archives["recordings"] = (len(made), levels)
            made.append(_recording_source(KeptLevels(levels), patches, recipe))
        else:
            made.append(_recording_source(KeptColumns(prepared.packed), patches, recipe))
    linked = find_links(**archives, table=corpus.links)
    counts = [len(source.work_weights) for source in made]
    numbering = number_works(counts, links=linked.links, doubtful=linked.doubtful)
    mixed: list[Source] = [
        MixedSource(place, made, numbering=numbering, multiple_weight=recipe.multiple_weight)
        for place in range(len(made))
    ]
    return mixed, numbering, _digest(_works_of(archives, prepared.packed, recipe), numbering)


def _works_of(
    archives: dict[str, tuple[int, Joined]], packed: PackedRecordings | None, recipe: Recipe
) -> dict[str, list[Any]]:
    """What tells the works of each source apart, in the source's order: number or name, and turn."""
    works: dict[str, list[Any]] = {name: found.numbers.tolist() for name, (_, found) in archives.items()}
    if "chroma" in works:
        played = turns(backwards_weight=recipe.backwards_weight, mirrored_weight=recipe.mirrored_weight)
        works["chroma"] = [
            [number, turn.rows.step, turn.columns.step] for turn in played for number in works["chroma"]
        ]
    return works | ({"recordings": list(packed.names)} if packed else {})


def _digest(works: dict[str, list[Any]], numbering: Numbering) -> str:
    labels = [found.tolist() for found in numbering.labels]
    told = [[*found, label] for found, label in zip(works.items(), labels, strict=True)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def changed_recipes(metadata: dict[str, Any], *, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Extend a run's history: each earlier recipe with the step up to which it held.

    Parameters
    ----------
    metadata : dict
        Of the checkpoint.
    recipe : dict
        The one to continue with.

    Returns
    -------
    list of dict
        {"recipe", "until_step"}, earliest first.
    """
    history = list(metadata.get("history", []))
    # JSON turns tuples into lists, so compare what it makes of both.
    if metadata["recipe"] != json.loads(json.dumps(recipe)):
        history.append({"recipe": metadata["recipe"], "until_step": metadata["step"]})
    return history


def unused_seed(training: dict[str, Any]) -> int:
    """Find the smallest seed above those of all runs behind some weights.

    With one of their seeds, a new run would draw the same works, and mostly the same crops, again.

    Parameters
    ----------
    training : dict
        Of the weights' metadata. The oldest weights have neither history nor start.

    Returns
    -------
    int
    """
    phases = [phase["recipe"] for phase in training.get("history", [])] + [training["recipe"]]
    earlier = (training.get("started_from") or {}).get("training")
    before = unused_seed(earlier) if earlier else 0
    return max(before, *(recipe["loop"]["seed"] + 1 for recipe in phases))


def validation_sets(corpus: Corpus, *, recipe: Recipe) -> dict[str, ValidationSet | RecordingSet]:
    """Make the quick validation sets that the corpus has data for (`mirex.training.validation`).

    Parameters
    ----------
    corpus : Corpus
        The data.
    recipe : Recipe
        Of the network's settings, and whether chroma is voiced.

    Returns
    -------
    dict of str to ValidationSet or RecordingSet
        By name.

    Raises
    ------
    TrainingError
        If data cannot be read.
    """
    sets: dict[str, ValidationSet | RecordingSet] = {}
    voiced = bool(corpus.chroma) and recipe.voiced_share > 0
    if corpus.scores or voiced:
        patches = load_patches(corpus.patches[0])
    if corpus.scores:
        held_out = ScoreCorpus.load(corpus.scores[0], split="validation")
        if any(len(songs) > 1 for songs in held_out.works):
            sets["scores"] = score_set(held_out, patches=patches, settings=recipe.network, works=100)
    if corpus.anthems is not None:
        sets |= anthem_sets(corpus.anthems, settings=recipe.network)
    if corpus.chroma and ProfileCorpus.load(corpus.chroma[0], split="validation").works:
        sets["chroma"] = chroma_set(corpus.chroma[0], works=75, settings=recipe.network)
        if voiced:
            sets["voiced"] = voiced_set(corpus.chroma[0], works=75, patches=patches, settings=recipe.network)
    archives = [path for path in corpus.recordings if path.suffix == ".npz"]
    found = recording_set(archives[0], settings=recipe.network) if archives else None
    return sets | ({"pop": found} if found else {})


def check(corpus: Corpus, recipe: Recipe) -> None:
    """Check that recipe and data fit, as far as possible before the data are read.

    Parameters
    ----------
    corpus : Corpus
        The data.
    recipe : Recipe
        The options.

    Raises
    ------
    UsageError
        If they do not fit, or a value is out of range.
    """
    batch = recipe.batch
    if len(corpus.sources) != len(batch.works) or not corpus.sources:
        raise UsageError(
            f"works per batch {batch.works} for the sources {corpus.sources}: give one number per source"
        )
    if min(batch.works) < 0 or batch.versions < 1:
        raise UsageError(
            f"works per batch {batch.works}, versions {batch.versions}: give works of 0 or more, and 1 "
            "version or more"
        )
    for name in ("backwards", "mirrored"):
        weight = getattr(recipe, f"{name}_weight")
        if not weight >= 0:
            raise UsageError(f"weight of works played {name} {weight}: give 0 or more")
    shares = {
        "voiced": recipe.voiced_share,
        "short": batch.short_share,
        "folded": recipe.fold_share,
        "sounded": recipe.sounded_share,
        "register": recipe.registers_share,
        "stitched": recipe.stitching.probability,
        "stitched chroma": recipe.chroma_stitching or 0.0,
    }
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"share of {name} crops {share}: give 0 to 1")
    for name, strength in (("initial", batch.start_strength), ("final", batch.end_strength)):
        if not 0 <= strength <= 1:
            raise UsageError(f"{name} strength of augmentation {strength}: give 0 to 1")
    if not recipe.multiple_weight > 0:
        raise UsageError(f"weight of works with several versions {recipe.multiple_weight}: give more than 0")
    if batch.growing_steps < 0:
        raise UsageError(f"batches with growing crops {batch.growing_steps}: give 0 or more")
    if batch.echoes < 0:
        raise UsageError(f"echoes {batch.echoes}: give 0 or more")
    _check_crops(recipe)
    _check_numbers(recipe)
    _check_files(corpus, recipe)


def _check_crops(recipe: Recipe) -> None:
    crops, multiple = sum(recipe.batch.works) * recipe.batch.versions, recipe.batch.multiple
    if multiple < 1 or (multiple > 1 and crops < 2 * multiple):
        raise UsageError(
            f"crops in multiples of {multiple}, with {crops} in a batch: give 1, or at most half of them"
        )
    # Of three, at least two are in one view; a single one has no batch statistics and is dropped.
    if crops < 3:
        raise UsageError(
            f"{crops} crops in a batch may leave a single one in each view, from which nothing can be "
            "learned: give more works or versions"
        )


def _check_numbers(recipe: Recipe) -> None:
    size, seed = recipe.network.embedding_size, recipe.loop.seed
    if size < SMALLEST_EMBEDDING or size % SMALLEST_EMBEDDING:
        raise UsageError(f"embedding size {size}: give a multiple of {SMALLEST_EMBEDDING}")
    if not 0 <= seed < SEEDS:
        raise UsageError(f"seed {seed}: give 0 or more, below 2^64")
    frozen = recipe.loop.frozen_stages
    if not 0 <= frozen <= len(STAGE_BLOCKS):
        raise UsageError(f"frozen stages {frozen}: give 0 to {len(STAGE_BLOCKS)}")
    views = {"lengths": recipe.batch.lengths, "chroma lengths": recipe.batch.chroma_lengths}
    for name, lengths in views.items():
        if min(lengths, default=0) < 1:
            raise UsageError(f"{name} of crops {lengths}: give one or more, each of 1 step or more")
    counts = {
        "steps of the shortest part": (recipe.stitching.shortest, 1),
        "training steps": (recipe.loop.steps, 1),
        "steps between checkpoints": (recipe.loop.checkpoint_every, 1),
        "batches for statistics": (recipe.loop.statistics_batches, 0),
    }
    for name, (count, least) in counts.items():
        if count < least:
            raise UsageError(f"{name} {count}: give {least} or more")


def _check_files(corpus: Corpus, recipe: Recipe) -> None:
    tables = _tables(corpus)
    if tables and len(corpus.recordings) > 1:
        raise UsageError(
            f"recordings {', '.join(map(str, corpus.recordings))}: give one CSV, or archives (.npz) only"
        )
    voiced = bool(corpus.chroma) and recipe.voiced_share > 0
    sounded = bool(corpus.recordings) and recipe.sounded_share > 0
    if not corpus.patches and (corpus.scores or voiced or sounded):
        needing = "voiced crops of chroma" if voiced else "sounded crops of recordings"
        raise UsageError(
            f"{'scores' if corpus.scores else needing} need note patches: make them with 'mirex patches' "
            "and give them with --patches"
        )


def _tables(corpus: Corpus) -> list[Path]:
    """The recordings given as a user's CSV instead of an archive."""
    return [path for path in corpus.recordings if path.suffix != ".npz"]


def _score_source(corpus: Joined[ScoreCorpus], patches: Sequence[Array], recipe: Recipe) -> ScoreSource:
    return ScoreSource(
        corpus,
        patches=patches,
        settings=recipe.network,
        stitching=recipe.stitching,
        fold_share=recipe.fold_share,
        multiple_weight=recipe.multiple_weight,
    )


def _chroma_source(corpus: Joined[ProfileCorpus], patches: Sequence[Array], recipe: Recipe) -> ChromaSource:
    stitching, share = recipe.stitching, recipe.chroma_stitching
    if share is not None:
        stitching = dataclasses.replace(stitching, probability=share)
    return ChromaSource(
        corpus,
        settings=recipe.network,
        stitching=stitching,
        backwards_weight=recipe.backwards_weight,
        mirrored_weight=recipe.mirrored_weight,
        voiced_share=recipe.voiced_share,
        fold_share=recipe.fold_share,
        patches=patches,
    )


def _recording_source(recordings: Recordings, patches: Sequence[Array], recipe: Recipe) -> RecordingSource:
    return RecordingSource(
        recordings,
        settings=recipe.network,
        stitching=recipe.stitching,
        fold_share=recipe.fold_share,
        patches=patches,
        sounded_share=recipe.sounded_share,
        registers_share=recipe.registers_share,
        multiple_weight=recipe.multiple_weight,
    )
