"""Make the frozen vectors again: front-end columns, and the shipped weights' embeddings of the demo.

They say what audio turned into when the weights were trained. Run this only when that is meant to
change: the front end's with new settings and a new training, the embeddings' with new weights.

Usage, in the repository's root: PYTHONPATH=. python tests/make_vectors.py [front-end | embeddings]
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from mirex.features import cqt
from mirex.features.audio import decode
from mirex.model import weights
from mirex.settings import FrontEndSettings

DEMO = Path(__file__).parent / "demo"
FRONT_END = Path(__file__).parent / "vectors" / "front_end.npz"
DEMO_EMBEDDINGS = Path(__file__).parent / "vectors" / "demo_embeddings.npz"

Samples = NDArray[np.float32]


def made_samples() -> Samples:
    """Six seconds of stereo at 44,100 Hz, decoded: gliding chord left, ticking bass right."""
    rate = 44_100
    time = np.arange(6 * rate) / rate
    glide = 220 * 2 ** (np.floor(time) / 12)
    left = sum(np.sin(2 * np.pi * np.cumsum(glide * ratio) / rate) for ratio in (1, 1.26, 1.5, 4.01)) / 5
    right = 0.8 * np.sin(2 * np.pi * 55 * time) * np.exp(-6 * (time % 0.5))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.wav"
        soundfile.write(path, np.stack([left, right], axis=1), rate, subtype="FLOAT")
        return decode(path)


def demo_samples() -> Samples:
    """Eight seconds of a demo file, decoded."""
    return decode(DEMO / "egypt.ogg")[30 * 22_050 : 38 * 22_050]


SOURCES: dict[str, Callable[[], Samples]] = {"made": made_samples, "demo": demo_samples}


def demo_files() -> list[Path]:
    """The demo's audio files by name."""
    return sorted(DEMO.glob("*.ogg"))


def load_front_end() -> dict[str, np.ndarray]:
    """`fingerprint`, and float32 [84, columns] for each of SOURCES."""
    with np.load(FRONT_END, allow_pickle=False) as vectors:
        return dict(vectors)


def load_demo_embeddings() -> dict[str, np.ndarray]:
    """`fingerprint` of the weights, `names` [10] and `embeddings` float32 [10, 2048]."""
    with np.load(DEMO_EMBEDDINGS, allow_pickle=False) as vectors:
        return dict(vectors)


def make_front_end() -> None:
    """Columns by the reference implementation."""
    made: dict[str, Any] = {"fingerprint": np.array(FrontEndSettings().fingerprint())}
    for name, samples in SOURCES.items():
        made[name] = cqt.columns(samples(), implementation="essentia")
    np.savez_compressed(FRONT_END, **made)


def make_demo_embeddings() -> None:
    """Embeddings by the shipped weights."""
    sealed = weights.load()
    names = np.array([path.name for path in demo_files()])
    found = embed_demo(sealed)
    np.savez_compressed(
        DEMO_EMBEDDINGS, fingerprint=np.array(sealed.fingerprint), names=names, embeddings=found
    )


def embed_demo(sealed: weights.Sealed) -> NDArray[np.float32]:
    """Embeddings of the demo files: float32 [10, 2048]."""
    from mirex.model.embedding import embed

    columns = [cqt.columns(decode(path), settings=sealed.front_end) for path in demo_files()]
    return embed(columns, sealed=sealed)


def main() -> None:
    """Make what the arguments name; without any, everything."""
    makers = {"front-end": make_front_end, "embeddings": make_demo_embeddings}
    FRONT_END.parent.mkdir(exist_ok=True)
    for name in sys.argv[1:] or makers:
        makers[name]()


if __name__ == "__main__":
    main()
