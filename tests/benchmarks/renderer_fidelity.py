"""How like real sound rendered scores are: the renderer against FluidSynth and the real front end.

    python tests/benchmarks/renderer_fidelity.py scores.npz SoundFont.sf2 patches.npz

For validation scores as written: correlation of compressed columns (the network's view), for one program
alone and for all together. In the mix the renderer gives every program the same level on purpose, where the
SoundFont has its own balance; so only the first column measures the method.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirex.corpora.fluidsynth import Notes, synthesise
from mirex.corpora.scores import ScoreCorpus
from mirex.features.cqt import columns
from mirex.features.views import cqt_view
from mirex.settings import NetworkSettings
from mirex.training.synthesis.arrangement import arrange, from_start
from mirex.training.synthesis.patches import load_patches
from mirex.training.synthesis.rendering import render

COLUMNS = 60
SONGS = 20


def correlation(notes: Notes, *, soundfont: Path, patches: np.ndarray) -> float:
    """Correlation of the two ways' compressed columns."""
    rendered = render(notes, patches=patches, columns=COLUMNS)
    heard = columns(synthesise(notes, soundfont=soundfont))[:, :COLUMNS]
    views = [cqt_view(m[:, : heard.shape[1]], settings=NetworkSettings()) for m in (rendered, heard)]
    return float(np.corrcoef(views[0].ravel(), views[1].ravel())[0, 1])


def main() -> None:
    """Print a line a song and the medians."""
    scores, soundfont, patch_file = (Path(argument) for argument in sys.argv[1:4])
    patches = load_patches(patch_file)
    corpus = ScoreCorpus.load(scores, split="validation")
    generator = np.random.default_rng(0)
    pairs = []
    for songs in corpus.works[:SONGS]:
        score = corpus.score(int(songs[0]))
        notes = arrange(score, excerpt=from_start(28.0), strength=0.0, generator=generator, transposition=0)
        whole = _select(notes, notes.onset >= 0)
        program = np.bincount(whole.program).argmax()
        alone = _select(whole, whole.program == program)
        pairs.append([correlation(n, soundfont=soundfont, patches=patches) for n in (alone, whole)])
        print(f"program {program:3d} alone {pairs[-1][0]:.3f}, all {pairs[-1][1]:.3f}")
    alone_median, all_median = np.median(pairs, axis=0)
    print(f"median of {SONGS} songs: one program {alone_median:.3f}, all {all_median:.3f}")


def _select(notes: Notes, wanted: NDArray[np.bool_]) -> Notes:
    return Notes._make(values[wanted] for values in notes)


if __name__ == "__main__":
    main()
