"""The recipe: from data and settings to sources, batches, validation sets and a trainer.

Everything that decides a run is in one frozen `Recipe`, which goes into each checkpoint and from there into
the metadata of the sealed weights. Where the data lies is a `Corpus`; what it holds decides the sources.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mirex._typing import Array
from mirex.corpora.profiles import ProfileCorpus
from mirex.corpora.recordings import load_columns, read_recordings
from mirex.corpora.scores import ScoreCorpus
from mirex.errors import TrainingError
from mirex.settings import NetworkSettings
from mirex.training.augmentation.stitching import StitchSettings
from mirex.training.batches import BatchMaker, BatchSettings
from mirex.training.loop import LoopSettings
from mirex.training.sources import ChromaSource, RecordingSource, ScoreSource, Source
from mirex.training.synthesis.patches import load_patches
from mirex.training.validation import ValidationSet, anthem_sets, chroma_set, score_set, voiced_set

SOURCES = ("scores", "chroma", "recordings")
SUMMARY = {
    "scores": "scores.npz, split train: MIDI transcriptions by fans, rendered to CQT as new arrangements",
    "chroma": "hpcp.npz, split train: pitch-class profiles of real covers (works of SHS100K-TEST)",
    "recordings": "a private collection of recordings",
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that decides what a run learns and how.

    fold_share: of rendered crops given as chroma view. backwards_weight, mirrored_weight: of works of chroma
    played backwards and with intervals mirrored. voiced_share: of crops of chroma played by instruments.
    """

    network: NetworkSettings = dataclasses.field(default_factory=NetworkSettings)
    batch: BatchSettings = dataclasses.field(default_factory=lambda: BatchSettings(works=(12, 4)))
    stitching: StitchSettings = dataclasses.field(default_factory=StitchSettings)
    loop: LoopSettings = dataclasses.field(default_factory=LoopSettings)
    fold_share: float = 0.25
    backwards_weight: float = 0.0
    mirrored_weight: float = 0.0
    voiced_share: float = 0.0

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Where the data lies; None: not used. patches: files of `mirex patches`, needed for scores and for
    voiced chroma. scratch: where columns of recordings are kept.
    """

    scores: Path | None = None
    chroma: Path | None = None
    recordings: Path | None = None
    anthems: Path | None = None
    patches: tuple[Path, ...] = ()
    scratch: Path = Path("scratch")
    decoders: int = 1

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that there are, in the order of `BatchSettings.works`."""
        return tuple(name for name in SOURCES if getattr(self, name) is not None)


def make_batches(corpus: Corpus, *, recipe: Recipe) -> BatchMaker:
    """Load the sources. Raises TrainingError where data and recipe do not fit."""
    _check(corpus, recipe)
    patches = [load_patches(path) for path in corpus.patches]
    made: list[Source] = []
    if corpus.scores is not None:
        made.append(_score_source(corpus.scores, patches, recipe))
    if corpus.chroma is not None:
        made.append(_chroma_source(corpus.chroma, patches, recipe))
    if corpus.recordings is not None:
        made.append(_recording_source(corpus.recordings, corpus, recipe))
    return BatchMaker(made, settings=recipe.batch, seed=recipe.loop.seed)


def changed_recipes(metadata: dict[str, Any], *, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The history of a run that goes on: each earlier recipe with the step up to which it held.

    metadata: of the checkpoint. recipe: the one to go on with, as a dictionary.
    """
    history = list(metadata.get("history", []))
    # JSON turns tuples into lists; only what it can tell apart counts.
    if metadata["recipe"] != json.loads(json.dumps(recipe)):
        history.append({"recipe": metadata["recipe"], "until_step": metadata["step"]})
    return history


def unused_seed(training: dict[str, Any]) -> int:
    """The least seed above all those of the runs behind some weights.

    With a seed of theirs a new run would draw the same works, and of most crops the same ones, once more.
    training: of the weights' metadata; the oldest weights have neither history nor start.
    """
    phases = [phase["recipe"] for phase in training.get("history", [])] + [training["recipe"]]
    earlier = (training.get("started_from") or {}).get("training")
    before = unused_seed(earlier) if earlier else 0
    return max(before, *(recipe["loop"]["seed"] + 1 for recipe in phases))


def validation_sets(corpus: Corpus, *, recipe: Recipe) -> dict[str, ValidationSet]:
    """The quick sets that the corpus has data for; see `mirex.training.validation`."""
    sets: dict[str, ValidationSet] = {}
    voiced = corpus.chroma is not None and recipe.voiced_share > 0
    if corpus.scores is not None or voiced:
        patches = load_patches(corpus.patches[0])
    if corpus.scores is not None:
        held_out = ScoreCorpus.load(corpus.scores, split="validation")
        sets["scores"] = score_set(held_out, patches=patches, settings=recipe.network, works=100)
    if corpus.anthems is not None:
        sets |= anthem_sets(corpus.anthems, settings=recipe.network)
    if corpus.chroma is not None:
        sets["chroma"] = chroma_set(corpus.chroma, works=75, settings=recipe.network)
        if voiced:
            sets["voiced"] = voiced_set(corpus.chroma, works=75, patches=patches, settings=recipe.network)
    return sets


def _check(corpus: Corpus, recipe: Recipe) -> None:
    if len(corpus.sources) != len(recipe.batch.works) or not corpus.sources:
        raise TrainingError(
            f"works per batch {recipe.batch.works} for the sources {corpus.sources}: give one number a source"
        )
    for name in ("backwards", "mirrored"):
        weight = getattr(recipe, f"{name}_weight")
        if not weight >= 0:
            raise TrainingError(f"weight of works played {name} {weight}: give 0 or more")
    for name, share in (("voiced", recipe.voiced_share), ("short", recipe.batch.short_share)):
        if not 0 <= share <= 1:
            raise TrainingError(f"share of {name} crops {share}: give 0 to 1")
    crops, multiple = sum(recipe.batch.works) * recipe.batch.versions, recipe.batch.multiple
    if multiple < 1 or (multiple > 1 and crops < 2 * multiple):
        raise TrainingError(
            f"crops in multiples of {multiple}, {crops} in a batch: give 1, or at most half of them"
        )
    if recipe.batch.echoes < 0:
        raise TrainingError(f"echoes {recipe.batch.echoes}: give 0 or more")
    voiced = corpus.chroma is not None and recipe.voiced_share > 0
    if not corpus.patches and (corpus.scores is not None or voiced):
        needing = "scores" if corpus.scores is not None else "voiced crops of chroma"
        raise TrainingError(
            f"{needing} need note patches: make them with 'mirex patches', give them with --patches"
        )


def _score_source(path: Path, patches: Sequence[Array], recipe: Recipe) -> ScoreSource:
    return ScoreSource(
        ScoreCorpus.load(path),
        patches=patches,
        settings=recipe.network,
        stitching=recipe.stitching,
        fold_share=recipe.fold_share,
    )


def _chroma_source(path: Path, patches: Sequence[Array], recipe: Recipe) -> ChromaSource:
    return ChromaSource(
        ProfileCorpus.load(path),
        settings=recipe.network,
        stitching=recipe.stitching,
        backwards_weight=recipe.backwards_weight,
        mirrored_weight=recipe.mirrored_weight,
        voiced_share=recipe.voiced_share,
        fold_share=recipe.fold_share,
        patches=patches,
    )


def _recording_source(path: Path, corpus: Corpus, recipe: Recipe) -> RecordingSource:
    found = load_columns(
        read_recordings(path), scratch=corpus.scratch, processes=corpus.decoders, report=print
    )
    return RecordingSource(
        found, settings=recipe.network, stitching=recipe.stitching, fold_share=recipe.fold_share
    )
