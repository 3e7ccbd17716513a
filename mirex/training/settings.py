"""The options of training, all in one place: the fields of a recipe file and the flags of `mirex train`.

A recipe is a TOML file (`weights/recipes/` has some). Its tables are `[data]`, `[run]`, `[network]`,
`[batch]`, `[stitching]` and `[loop]`; shares and weights of sources come before them. Every option is a
field of a dataclass here, with its help text. Flags are made from these fields (`mirex.training.options`) and
override the file.

`Recipe` decides what a run learns and how. It goes into each checkpoint and from there into the
metadata of the sealed weights.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mirex.settings import NetworkSettings
from mirex.training.options import build, flattened, option

SOURCES = ("scores", "chroma", "recordings")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Where the data lie; what is not given is not used. Paths are relative to the folder `corpus`."""

    scores: tuple[Path, ...] = option(
        (), "archives of scores, the first is what others link to; need --patches"
    )
    patches: tuple[Path, ...] = option((), "files of 'mirex patches'")
    chroma: tuple[Path, ...] = option((), "archives of profiles, the first is what links are to")
    recordings: tuple[Path, ...] = option(
        (), "archives of recordings, or a CSV of your own with the header work,path"
    )
    links: Path | None = option(None, "links.tsv: works that chroma and scores have in common")
    anthems: Path | None = option(None, "anthems.npz, for validation only")
    corpus: Path = option(Path(), "folder that the other paths count from (the current one)")
    scratch: Path = Path("scratch")
    decoders: int = 1

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources given, in the order of `BatchSettings.works`.

        Returns
        -------
        tuple of str
        """
        return tuple(name for name in SOURCES if getattr(self, name))

    def located(self) -> "Corpus":
        """Put the folder before every path.

        Returns
        -------
        Corpus
        """

        def there(paths: tuple[Path, ...]) -> tuple[Path, ...]:
            return tuple(self.corpus / path for path in paths)

        return dataclasses.replace(
            self,
            scores=there(self.scores),
            patches=there(self.patches),
            chroma=there(self.chroma),
            recordings=there(self.recordings),
            links=self.corpus / self.links if self.links else None,
            anthems=self.corpus / self.anthems if self.anthems else None,
            corpus=Path(),
        )


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Where and for how long a run computes; of these, only the start affects the result."""

    start_from: Path | None = option(None, "sealed weights to begin a new run with")
    minutes: float = option(math.inf, "stop then, with a checkpoint to go on from (never)")
    device: str = option(
        "auto", "of the network (auto: CUDA if there is any)", choices=("auto", "cpu", "cuda")
    )
    threads: int = option(1, "of the network on the CPU (1)")
    processes: int = option(0, "rendering processes (0: in the main one)")


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """Batches of P works x K versions; all crops of a view in a batch have one length."""

    works: tuple[int, ...] = option((12, 9), "works a batch, one number a source (12 9)")
    versions: int = option(3, "versions of each work in a batch (3)")
    lengths: tuple[int, ...] = option(
        (64, 96), "lengths of crops in the CQT view, steps of 0.93 s, one a batch (64 96)"
    )
    chroma_lengths: tuple[int, ...] = option((80, 128, 192), "of the folded view (80 128 192)")
    short_share: float = option(
        0.0,
        "of crops that repeat an excerpt of 19 to 52 s, so that short recordings are found among whole "
        "songs (0)",
    )
    multiple: int = option(
        1,
        "crops of each view in a batch are a multiple of this, those beyond are left out; a GPU likes 32, "
        "and no other shapes (1)",
    )
    echoes: int = option(
        0,
        "how often each batch is learned from again, in other keys, where making batches is what takes "
        "longest (0)",
    )
    curriculum_steps: int = option(
        800, "augmentation's strength rises by 1 in so many batches, until it is full (800)"
    )
    start_strength: float = option(0.25, "of augmentation at first (0.25)")
    end_strength: float = option(0.5, "of augmentation in the end (0.5)", flag="strength")


@dataclasses.dataclass(frozen=True)
class StitchSettings:
    """Spectrum stitching (`mirex.training.augmentation.stitching`)."""

    probability: float = option(0.3, "share of stitched samples (0.3)", flag="stitching")
    segments: int = option(3, "most parts of a stitched sample (3)")
    shortest: int = option(16, "steps of the shortest part (16)", flag="shortest-part")
    match_level: bool = option(True, "bring the parts to one level first (yes)")
    share_key: bool = option(True, "play the parts of rendered samples in one key (yes)")


TRIPLET_FEATURES = ("unit", "pooled", "embedding")


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """The training loop, and the weights of the terms of the loss."""

    steps: int = option(2800, "training steps in all (2800)")
    decay_steps: int = option(700, "last steps, of falling rate (700)")
    warmup_steps: int = option(100, "first steps, of rising rate (100)")
    learning_rate: float = option(2e-3, "the constant one (2e-3)")
    weight_decay: float = option(1e-4, "of kernels and matrices (1e-4)")
    clip_norm: float = option(5.0, "longest gradient (5)")
    average_decay: float = option(0.998, "of the moving average of the weights; 0: there is none (0.998)")
    classification_weight: float = option(0.3, "of cross entropy over works (0.3)")
    triplet_weight: float = option(0.3, "of the batch-hard triplet term (0.3)")
    triplet_features: str = option(
        "unit",
        "what its distances are between: pooled features at unit length, pooled features as they are, or "
        "embeddings, after the neck, at unit length (unit)",
        choices=TRIPLET_FEATURES,
    )
    triplet_margin: float = option(0.3, "of the triplet term (0.3)")
    center_weight: float = option(5e-4, "of the center loss (5e-4)")
    contrastive_weight: float = option(1.0, "of the supervised contrastive term (1)")
    validate_every: int = option(200, "steps (200); 0: never")
    checkpoint_every: int = option(100, "steps (100)")
    statistics_batches: int = option(
        0, "batches that BatchNorm's statistics of the averaged weights are made anew from in the end (0)"
    )
    seed: int = option(
        1, "of the draws (the checkpoint's; after --start-from one that no earlier run used; else 1)"
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns and how."""

    network: NetworkSettings = dataclasses.field(default_factory=NetworkSettings)
    batch: BatchSettings = dataclasses.field(default_factory=BatchSettings)
    stitching: StitchSettings = dataclasses.field(default_factory=StitchSettings)
    loop: LoopSettings = dataclasses.field(default_factory=LoopSettings)
    fold_share: float = option(
        0.25, "of crops of scores, recordings and voiced chroma in the folded view (0.25)"
    )
    backwards_weight: float = option(
        0.0, "how often works of chroma are played backwards, as works of their own (0: never)"
    )
    mirrored_weight: float = option(
        0.0, "how often they are played with intervals mirrored, likewise (0: never)"
    )
    voiced_share: float = option(
        0.0, "of crops of chroma that instruments play, in both views; needs --patches (0)"
    )
    chroma_stitching: float | None = option(
        None, "share of stitched crops of chroma, where it is to differ from the others (as they)"
    )
    sounded_share: float = option(
        0.0,
        "of crops of recordings that instruments play; with --patches the second of each always is (0)",
    )
    registers_share: float = option(0.5, "of those, the share whose notes stay in their octaves (0.5)")
    multiple_weight: float = option(
        4.0, "how often a work with several versions is drawn, where another counts 1 (4)"
    )

    def to_json(self) -> str:
        """Format the recipe as canonical JSON.

        Returns
        -------
        str
            With sorted keys.
        """
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_metadata(cls, found: Mapping[str, Any]) -> "Recipe":
        """The recipe in a checkpoint's metadata.

        Parameters
        ----------
        found : mapping of str to object
            As `dataclasses.asdict` and JSON leave a recipe. Options that it lacks have their defaults.

        Returns
        -------
        Recipe

        Raises
        ------
        SettingsMismatch
            If its network settings are those of another version.
        """
        network = NetworkSettings.from_json(json.dumps(found["network"]))
        values = {path: value for path, value in flattened(found) if value is not None}
        return dataclasses.replace(build(cls, values), network=network)
