"""Feature settings: frozen dataclasses, sealed with a fingerprint into weights and embeddings.

Two embeddings may be compared only if both fingerprints agree: the front end's (audio to CQT
columns) and the weights' (which includes the network settings).
"""

import dataclasses
import hashlib
import json
from typing import Any, Self

from mirex.errors import SettingsMismatch


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of the sealed settings: plain fields, canonical JSON, a fingerprint of it."""

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of class name and canonical JSON."""
        text = f"{type(self).__name__}:{self.to_json()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse what `to_json` wrote; unknown or missing fields raise `SettingsMismatch`."""
        try:
            values: dict[str, Any] = dict(json.loads(text))
        except (ValueError, TypeError) as error:
            raise SettingsMismatch(f"{cls.__name__}: no settings in JSON ({error}): {text[:80]!r}") from error
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            odd = ", ".join(sorted(set(values) ^ known))
            raise SettingsMismatch(
                f"{cls.__name__}: fields differ from this version's ({odd}); "
                "use the version of mirex that made the file, or make the file again"
            )
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class FrontEndSettings(Settings):
    """Audio to CQT columns; see `mirex.features.cqt` for the transform's exact definition.

    sample_rate: Hz. bins, bins_per_octave: of the constant-Q transform. min_frequency: Hz,
    centre of bin 0 (C1). frame, hop: samples. frames_per_column: CQT frames averaged into one
    column (20 x 512 samples = 0.464 s). threshold: Essentia's spectral kernel threshold; 0 keeps
    the kernel whole, which is what makes a compact time-domain form of it exact.
    """

    sample_rate: int = 22050
    bins: int = 84
    bins_per_octave: int = 12
    min_frequency: float = 32.703
    window: str = "hann"
    frame: int = 16384
    hop: int = 512
    frames_per_column: int = 20
    threshold: float = 0.0

    @property
    def seconds_per_column(self) -> float:
        """Duration of one column in seconds."""
        return self.hop * self.frames_per_column / self.sample_rate


CHROMA = "peak magnitudes"


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Settings):
    """CQT columns to embedding; see `mirex.model.network` and `mirex.features.views`.

    columns_per_step: columns averaged into one network step. beside_peaks: gain of bins lower than a
    neighbour in frequency, before averaging. chroma: what the folded view sums; only CHROMA is
    known. chroma_octaves: how often its profile is laid over itself. level_gain: g of the level
    compression log(1 + g m / r) / log(1 + g), r the clip's reference level. min_steps: shorter clips are
    repeated to this length. max_steps: longer clips are cut into equal parts whose embeddings are averaged.
    chroma_weight: weight of the embedding of the folded view (0: one view). second_longer, second_lower: the
    second playing (`mirex.features.playing`) is so many times as long (0: there is none) and so many
    semitones lower. embedding_size: dimensions.
    """

    columns_per_step: int = 2
    beside_peaks: float = 0.25
    chroma: str = CHROMA
    chroma_octaves: int = 3
    level_gain: float = 100.0
    min_steps: int = 16
    max_steps: int = 400
    chroma_weight: float = 1.0
    second_longer: float = 1.1
    second_lower: int = 1
    embedding_size: int = 2048
