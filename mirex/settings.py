"""Feature settings: frozen dataclasses, sealed with a fingerprint into weights and embeddings.

Two embeddings may be compared only if both fingerprints agree: the front end's (audio to CQT
columns) and the weights' (which includes the network settings).
"""

import dataclasses
import hashlib
import json
from typing import Any, ClassVar, Self

from mirex.errors import SettingsMismatch
from mirex.untrusted import parse_json


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of the sealed settings: plain fields, canonical JSON, a fingerprint of it.

    A field that a later version adds with a default that changes nothing (`_added`) is left out while it has
    that default, so that files and fingerprints made before stay valid.
    """

    _added: ClassVar[frozenset[str]] = frozenset()

    def to_json(self) -> str:
        """Format the settings as canonical JSON.

        Returns
        -------
        str
            With sorted keys and no blanks.
        """
        values = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if field.name in self._added and values[field.name] == field.default:
                del values[field.name]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        """Hash the settings.

        Returns
        -------
        str
            First 16 hexadecimal digits of the SHA-256 of class name and canonical JSON.
        """
        text = f"{type(self).__name__}:{self.to_json()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse what `to_json` wrote.

        Parameters
        ----------
        text : str
            The JSON.

        Returns
        -------
        Self
            Settings of this class.

        Raises
        ------
        SettingsMismatch
            If the text is not such JSON, or fields are unknown or missing.
        """
        try:
            values: dict[str, Any] = dict(parse_json(text))
        except (ValueError, TypeError) as error:
            raise SettingsMismatch(
                f"{cls.__name__}: not settings in JSON ({error}): {text[:80]!r}"
            ) from error
        known = {field.name for field in dataclasses.fields(cls)}
        odd = ", ".join(sorted((set(values) ^ known) - (cls._added - set(values))))
        if odd:
            raise SettingsMismatch(
                f"{cls.__name__}: fields differ from this version's ({odd}); "
                "use the version of mirex that wrote the file, or write it again with this one"
            )
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class FrontEndSettings(Settings):
    """Audio to CQT columns; see `mirex.features.cqt` for the transform's exact definition.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    bins, bins_per_octave : int
        Of the constant-Q transform.
    min_frequency : float
        Centre of bin 0 (C1), in Hz.
    window : str
        Of the kernels, as Essentia names it.
    frame, hop : int
        In samples.
    frames_per_column : int
        CQT frames averaged into one column (20 x 512 samples = 0.464 s).
    threshold : float
        Essentia's spectral kernel threshold. 0 keeps the whole kernel; only then is its compact time-domain
        form exact.
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
        """Duration of one column.

        Returns
        -------
        float
            In seconds.
        """
        return self.hop * self.frames_per_column / self.sample_rate


# The front end's numbers for code without settings, such as for the shapes in a file.
SAMPLE_RATE = FrontEndSettings.sample_rate
HOP = FrontEndSettings.hop
BINS = FrontEndSettings.bins
BINS_PER_OCTAVE = FrontEndSettings.bins_per_octave

CHROMA = "peak magnitudes"


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Settings):
    """CQT columns to embedding; see `mirex.model.network` and `mirex.features.views`.

    Attributes
    ----------
    silence : float
        A column is silent if its loudest bin is below this share of the recording's reference level.
    longest_rest : int
        Silent columns in a row that are kept; longer runs, and silence at both ends, are removed.
    columns_per_step : int
        Columns averaged into one network step.
    beside_peaks : float
        Gain of bins lower than a neighbour in frequency, before averaging.
    chroma : str
        What the folded view sums; only CHROMA is known.
    chroma_octaves : int
        How many copies of the folded view's profile are stacked.
    level_gain : float
        g of the level compression log(1 + g m / r) / log(1 + g), r the recording's reference level.
    min_steps : int
        Shorter recordings are repeated to this length.
    window_steps, window_hop : int
        Length and hop of the windows in which the CQT view is embedded, in steps. A recording of up to that
        length, with 512 steps nearly eight minutes, is embedded whole.
    chroma_window_steps, chroma_window_hop : int
        The same for the folded view.
    chroma_weight : float
        Weight of the folded view's embedding; 0 for the CQT view alone.
    second_longer : float
        How many times as long the second playing is (`mirex.features.playing`); 0 for no second playing.
    second_lower : int
        By how many semitones the second playing is lower.
    embedding_size : int
        Dimensions.
    second_order_weight : float
        In the CQT view, weight of the stem's second-order vector (`mirex.model.second_order`) beside
        the network's own; 0 for the latter alone. Only whitenings bring both to `embedding_size` dimensions.
    second_order_tilt : float
        How much more high bins count than low ones in the second-order vector, 0 (all alike) to 1.
    second_order_phases : int
        Over how many of a step's columns the second moments are averaged: how often they are computed, each
        time from one column later on; 1 to `columns_per_step`.
    """

    _added: ClassVar[frozenset[str]] = frozenset(
        {"second_order_weight", "second_order_tilt", "second_order_phases"}
    )

    silence: float = 1e-3
    longest_rest: int = 4
    columns_per_step: int = 2
    beside_peaks: float = 0.25
    chroma: str = CHROMA
    chroma_octaves: int = 3
    level_gain: float = 100.0
    min_steps: int = 80
    window_steps: int = 512
    window_hop: int = 256
    chroma_window_steps: int = 256
    chroma_window_hop: int = 128
    chroma_weight: float = 0.0
    second_longer: float = 0.0
    second_lower: int = 1
    embedding_size: int = 2048
    second_order_weight: float = 0.0
    second_order_tilt: float = 0.0
    second_order_phases: int = 1
