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
    """Paths of the data; what is not given is not used. They are relative to the folder `corpus`."""

    scores: tuple[Path, ...] = option((), "archives of scores (links refer to the first one); need --patches")
    patches: tuple[Path, ...] = option((), "note patches made by 'mirex patches'")
    chroma: tuple[Path, ...] = option((), "archives of profiles (links refer to the first one)")
    recordings: tuple[Path, ...] = option(
        (), "archives of recordings, or your own CSV with the header work,path"
    )
    links: Path | None = option(None, "links.tsv: works that are in both chroma and scores")
    anthems: Path | None = option(None, "anthems.npz, for validation only")
    corpus: Path = option(
        Path(), "folder that the paths of data are relative to (the current one)", metavar="FOLDER"
    )
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

    start_from: Path | None = option(None, "sealed weights to start a new run from")
    minutes: float = option(math.inf, "minutes to train, then stop with a checkpoint (no limit)")
    device: str = option(
        "auto", "where the network runs (auto: CUDA if available)", choices=("auto", "cpu", "cuda")
    )
    threads: int = option(1, "CPU threads of the network (1)")
    processes: int = option(0, "processes that make batches (0: the main process does)")


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """Batches of P works x K versions; all crops of a view in a batch have one length."""

    works: tuple[int, ...] = option(
        (12, 9), "works per batch, a number for each of scores, chroma, recordings that is given (12 9)"
    )
    versions: int = option(3, "versions of each work in a batch (3)")
    lengths: tuple[int, ...] = option(
        (64, 96), "crop lengths in the CQT view, in steps of 0.93 s; each batch has one (64 96)"
    )
    chroma_lengths: tuple[int, ...] = option((80, 128, 192), "the same for the chroma view (80 128 192)")
    growing_steps: int = option(
        0,
        "batches in which crops grow from the first length to the last, which all later batches have; 0: "
        "each batch draws one (0)",
    )
    short_share: float = option(
        0.0,
        "share of crops that repeat an excerpt of 19 to 52 s, so that short recordings are found among "
        "whole songs (0)",
    )
    multiple: int = option(
        1,
        "make the number of crops of each view in a batch a multiple of this, and drop the rest; use 32 on a "
        "GPU, which is slow with other shapes (1)",
    )
    echoes: int = option(
        0,
        "how many more times to learn from each batch, in other keys; for when making batches is the "
        "bottleneck (0)",
    )
    curriculum_steps: int = option(
        800, "the strength of augmentation rises by 1 in this many batches, until it reaches --strength (800)"
    )
    start_strength: float = option(0.25, "initial strength of augmentation (0.25)")
    end_strength: float = option(0.5, "final strength of augmentation (0.5)", flag="strength")


@dataclasses.dataclass(frozen=True)
class StitchSettings:
    """Spectrum stitching (`mirex.training.augmentation.stitching`)."""

    probability: float = option(0.3, "share of stitched samples (0.3)", flag="stitching")
    segments: int = option(3, "maximum number of parts of a stitched sample (3)")
    shortest: int = option(16, "minimum length of a part, in steps (16)", flag="shortest-part")
    match_level: bool = option(True, "match the levels of the parts (yes)")
    share_key: bool = option(True, "render the parts of a sample in the same key (yes)")


TRIPLET_FEATURES = ("unit", "pooled", "embedding")


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """The training loop, and the weights of the terms of the loss."""

    steps: int = option(2800, "training steps in total (2800)")
    decay_steps: int = option(700, "steps at the end with a falling learning rate (700)")
    warmup_steps: int = option(100, "steps at the start with a rising learning rate (100)")
    learning_rate: float = option(2e-3, "learning rate between warm-up and decay (2e-3)")
    weight_decay: float = option(1e-4, "weight decay of kernels and matrices (1e-4)")
    frozen_stages: int = option(
        0,
        "how many of the network's four stages keep their weights and statistics, and the stem with them; "
        "with --start-from, for a shorter run; 0: everything learns (0)",
    )
    clip_norm: float = option(5.0, "maximum norm of the gradient (5)")
    average_decay: float = option(0.998, "decay of the moving average of the weights; 0: none (0.998)")
    classification_weight: float = option(0.3, "weight of cross entropy over works (0.3)")
    triplet_weight: float = option(0.3, "weight of the batch-hard triplet loss (0.3)")
    triplet_features: str = option(
        "unit",
        "what the triplet loss compares: pooled features at unit length (unit), pooled features as they are "
        "(pooled), or embeddings, after the neck, at unit length (embedding) (unit)",
        choices=TRIPLET_FEATURES,
    )
    triplet_margin: float = option(0.3, "margin of the triplet loss (0.3)")
    center_weight: float = option(5e-4, "weight of the center loss (5e-4)")
    contrastive_weight: float = option(1.0, "weight of the supervised contrastive loss (1)")
    validate_every: int = option(200, "steps between validations; 0: none (200)")
    checkpoint_every: int = option(100, "steps between checkpoints (100)")
    statistics_batches: int = option(
        0, "batches for recomputing the BatchNorm statistics of the averaged weights at the end (0)"
    )
    seed: int = option(
        1, "seed of all draws (the checkpoint's; with --start-from one that no earlier run used; else 1)"
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns and how."""

    network: NetworkSettings = dataclasses.field(default_factory=NetworkSettings)
    batch: BatchSettings = dataclasses.field(default_factory=BatchSettings)
    stitching: StitchSettings = dataclasses.field(default_factory=StitchSettings)
    loop: LoopSettings = dataclasses.field(default_factory=LoopSettings)
    fold_share: float = option(
        0.25, "share of crops of scores, recordings and voiced chroma in the chroma view (0.25)"
    )
    backwards_weight: float = option(
        0.0, "relative frequency of chroma works played backwards, as works of their own (0)"
    )
    mirrored_weight: float = option(
        0.0, "relative frequency of chroma works with mirrored intervals, as works of their own (0)"
    )
    voiced_share: float = option(
        0.0, "share of chroma crops that instruments resynthesise, in both views; needs --patches (0)"
    )
    chroma_stitching: float | None = option(
        None, "share of stitched chroma crops, if it is to differ from --stitching (the same)"
    )
    sounded_share: float = option(
        0.0,
        "share of recording crops that instruments resynthesise; with --patches, the second crop of a "
        "recording in a batch always is (0)",
    )
    registers_share: float = option(
        0.5, "share of resynthesised recording crops that keep their octaves (0.5)"
    )
    multiple_weight: float = option(
        4.0, "relative frequency of works with several versions; that of others is 1 (4)"
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
        """Read the recipe in a checkpoint's metadata.

        Parameters
        ----------
        found : mapping of str to object
            A recipe as `dataclasses.asdict` and JSON make it. Missing options have their defaults.

        Returns
        -------
        Recipe

        Raises
        ------
        SettingsMismatch
            If its network settings are of another version.
        """
        network = NetworkSettings.from_json(json.dumps(found["network"]))
        values = {path: value for path, value in flattened(found) if value is not None}
        return dataclasses.replace(build(cls, values), network=network)
