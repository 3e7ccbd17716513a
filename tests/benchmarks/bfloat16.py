"""What bfloat16 in the network would do to embeddings, distances, ranks and MAP.

    PYTHONPATH=. python tests/benchmarks/bfloat16.py /path/to/corpus/recordings.npz

Processors with instructions for bfloat16 multiply numbers of 8 significant bits and add the products in
float32. Here that is done on any processor: the weights, the input and the output of each convolution are
rounded to bfloat16, and everything else is computed in float32. The recordings are those of the set
`pop-among`; every one is embedded in both ways.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mirex._typing import Array
from mirex.corpora.clips import Clip, pop_clips
from mirex.evaluation.evaluate import Matrix, evaluate
from mirex.model import weights
from mirex.model.embedding import embed
from mirex.model.weights import Sealed


def main() -> None:
    """Embed the recordings in both ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path, help="recordings.npz")
    parser.add_argument("--weights", type=Path, help="instead of the shipped")
    args = parser.parse_args()
    sealed = weights.load(args.weights)
    clips, paired = pop_clips(args.corpus, front_end=sealed.front_end)
    print(table(*in_both(clips, sealed), clips=clips, paired=paired))


def in_both(clips: Sequence[Clip], sealed: Sealed) -> tuple[Array, Array]:
    """Embed clips with a network in float32, then in bfloat16.

    Parameters
    ----------
    clips : sequence of Clip
        The recordings.
    sealed : Sealed
        Weights in torch, on the CPU. They are rounded to bfloat16 here.

    Returns
    -------
    plain, rounded : float32 [clips, 2048]
        Rows of unit length.
    """
    columns = [clip.columns for clip in clips]
    plain = embed(columns, sealed=sealed)
    round_convolutions(sealed.network)
    return plain, embed(columns, sealed=sealed)


def round_convolutions(network: nn.Module) -> None:
    """Round a network's convolutions to bfloat16: weights now, input and output whenever they are computed.

    Parameters
    ----------
    network : nn.Module
        In float32; changed in place. On a CPU the second moments are computed without these modules: the
        weights are rounded there, and nothing else.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = rounded(module.weight.data)
            module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),))
            module.register_forward_hook(lambda _, __, output: rounded(output))


def rounded(x: Tensor) -> Tensor:
    """Round to bfloat16.

    Parameters
    ----------
    x : float32
        Of any shape.

    Returns
    -------
    float32
        The same shape.
    """
    return x.bfloat16().float()


def table(plain: Array, halves: Array, *, clips: Sequence[Clip], paired: NDArray[np.bool_]) -> str:
    """Compare the embeddings.

    Parameters
    ----------
    plain, halves : float32 [clips, size]
        Rows of unit length: in float32 and in bfloat16.
    clips : sequence of Clip
        The recordings.
    paired : bool [clips]
        Those of the set `pop`.

    Returns
    -------
    str
        A Markdown table.
    """
    cosines = np.sum(plain * halves, axis=1)
    distances = [1 - each @ each.T for each in (plain, halves)]
    nearest = [np.argmin(each + 2 * np.eye(len(each)), axis=1) for each in distances]
    lines = ["| | float32 | bfloat16 |", "|---|---|---|"]
    for name, kept in (("pop", paired), ("pop-among", np.ones(len(clips), bool))):
        chosen = [clip for clip, there in zip(clips, kept, strict=True) if there]
        found = [_figures(each[np.ix_(kept, kept)], chosen) for each in distances]
        lines.append(f"| {name}, MAP / mean rank of the first version | {' | '.join(found)} |")
    other = int((nearest[0] != nearest[1]).sum())
    return "\n".join([
        *lines, "",
        f"cosine of a recording's two embeddings: median {np.median(cosines):.6f}, least {cosines.min():.6f}",
        f"largest change of a distance: {np.abs(distances[0] - distances[1]).max():.4f}",
        f"recordings whose nearest is another one: {other} of {len(clips)}",
    ])  # fmt: skip


def _figures(distances: Array, clips: Sequence[Clip]) -> str:
    matrix = Matrix("mirex", tuple(clip.name for clip in clips), np.arange(len(clips)), distances)
    scores = evaluate(matrix, cliques={clip.name: clip.work for clip in clips}).scores
    return f"{scores.average_precision.mean():.4f} / {scores.first_rank.mean():.2f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
