"""Losses: cross entropy over works, batch-hard triplet, center loss, supervised contrastive.

The first three are the paper's: cross entropy with label smoothing on a cosine classifier (NormFace,
Wang et al. 2017), batch-hard triplet (Hermans et al. 2017), center loss (Wen et al., ECCV 2016).
Supervised contrastive (Khosla et al. 2020) improves first while each work has been seen only a few times.
A run that begins with trained weights need not begin with a random classifier: imprinting (Qi et al., CVPR
2018) sets each work's row, and its center, from embeddings of its versions.

Nothing here makes a training step wait for a GPU, so the next step can be queued in time.

Conventions, all int64 [batch]: labels, the work of each sample; recordings: equal numbers are one recording,
which is never its own positive; sources: where the sample comes from; families: works that may be
the same have one family, and are not negatives of each other.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Root mean square of an imprinted row: large enough that a step of AdamW at rate 3e-3 turns it by a percent.
# At the 0.02 of fresh rows, the first ten steps would wipe out the imprint.
IMPRINT_RMS = 0.3


class CosineClassifier(nn.Module):
    """Logits = scale * cosine(embedding, weight of the work). float [batch, size] to [batch, works]."""

    def __init__(
        self, works: int, *, size: int = 2048, scale: float = 24.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(works, size).normal_(0, 0.02, generator=generator))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        embeddings : float [batch, size]
            Of any length.

        Returns
        -------
        float32 [batch, works]
        """
        cosines = _Cosines.apply(functional.normalize(embeddings, dim=1), self.weight)
        return self.scale * cosines

    @torch.no_grad()
    def imprint(self, embeddings: Tensor, labels: Tensor) -> None:
        """Set the rows of the works in the batch to the direction of their mean embedding.

        Parameters
        ----------
        embeddings : float [batch, size]
            Of any length.
        labels : int64 [batch]
            Their works.
        """
        unit = functional.normalize(embeddings.float(), dim=1)
        works, total, _ = _sums(unit, labels)
        self.weight[works] = IMPRINT_RMS * total.shape[1] ** 0.5 * functional.normalize(total, dim=1)


class _Cosines(torch.autograd.Function):
    """Cosines of unit vectors [batch, size] with the rows of a matrix [works, size]: float32 [batch, works].

    The products are divided by the rows' lengths and the gradient is written out, because the matrix is by
    far the largest here and each pass over it counts. Under autocast the products have its precision.
    """

    @staticmethod
    def forward(ctx: Any, unit: Tensor, weight: Tensor) -> Tensor:
        device = weight.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        lengths = torch.linalg.vector_norm(weight, dim=1).clamp_(min=1e-12)
        unit_low, weight_low = unit.to(low), weight.to(low)
        cosines = functional.linear(unit_low, weight_low).float() / lengths
        ctx.save_for_backward(unit_low, weight, weight_low, lengths, cosines)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        unit_low, weight, weight_low, lengths, cosines = ctx.saved_tensors
        scaled = gradient / lengths
        scaled_low = scaled.to(weight_low.dtype)
        of_weight = (scaled_low.T @ unit_low).to(weight.dtype)
        # Lengthening a row does not turn it: the cosine's gradient has no component along the row.
        along = (scaled * cosines).sum(dim=0) / lengths
        of_weight.addcmul_(weight, along[:, None].to(weight.dtype), value=-1)
        return (scaled_low @ weight_low).float(), of_weight


def classification(logits: Tensor, labels: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Cross entropy with label smoothing.

    Parameters
    ----------
    logits : float [batch, works]
        Of `CosineClassifier`.
    labels : int64 [batch]
        The works.
    smoothing : float
        Share of the target that is spread over all works, in [0, 1].

    Returns
    -------
    float []
        Mean over the batch.
    """
    return functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


class Pairs(NamedTuple):
    """Which pairs of a batch a loss may use.

    Attributes
    ----------
    positive, negative : bool [batch, batch]
        Versions of one work, and of different works.
    """

    positive: Tensor
    negative: Tensor


def pairs(labels: Tensor, recordings: Tensor, sources: Tensor, families: Tensor | None = None) -> Pairs:
    """Find which pairs of a batch are versions of one work, and which are not.

    Positive: same work, another recording, from any source. Negative: a work of another family, from the
    same source. Different works from different sources are not used: telling rendered scores from real
    chroma is easy, and would lower the loss without teaching the network anything about works.

    Parameters
    ----------
    labels, recordings, sources : int64 [batch]
        See the conventions above.
    families : int64 [batch], optional
        By default every work is its own family.

    Returns
    -------
    Pairs
    """
    same = labels[:, None] == labels[None, :]
    distinct = recordings[:, None] != recordings[None, :]
    together = sources[:, None] == sources[None, :]
    akin = same if families is None else same | (families[:, None] == families[None, :])
    return Pairs(same & distinct, ~akin & together)


def batch_hard_triplet(
    features: Tensor, chosen: Pairs, *, margin: float = 0.3, unit_length: bool = True
) -> Tensor:
    """Mean over anchors of max(0, d(hardest positive) - d(hardest negative) + margin).

    Parameters
    ----------
    features : float [batch, size]
        Of any length.
    chosen : Pairs
        Anchors without a positive or a negative are left out.
    margin : float
        In the unit of the distances.
    unit_length : bool
        Normalise features to unit length before taking Euclidean distances; otherwise use them as they are.

    Returns
    -------
    float []
        0 if no anchor is left.
    """
    x = functional.normalize(features.float(), dim=1) if unit_length else features.float()
    squares = x.square().sum(dim=1)
    # The clamp keeps the square root's gradient finite for coinciding features.
    distance = (squares[:, None] + squares[None, :] - 2 * x @ x.T).clamp(min=1e-8).sqrt()
    hardest_positive = distance.masked_fill(~chosen.positive, float("-inf")).amax(dim=1)
    hardest_negative = distance.masked_fill(~chosen.negative, float("inf")).amin(dim=1)
    valid = chosen.positive.any(dim=1) & chosen.negative.any(dim=1)
    losses = functional.relu(hardest_positive - hardest_negative + margin).masked_fill(~valid, 0.0)
    return losses.sum() / valid.sum().clamp(min=1)


def supervised_contrastive(features: Tensor, chosen: Pairs, *, temperature: float = 0.1) -> Tensor:
    """Mean over anchors of -mean over positives of log softmax of cosine / temperature.

    The softmax runs over the anchor's positives and negatives.

    Parameters
    ----------
    features : float [batch, size]
        Of any length.
    chosen : Pairs
        Anchors without a positive are left out.
    temperature : float
        Above 0.

    Returns
    -------
    float []
        0 if no anchor is left.
    """
    unit = functional.normalize(features.float(), dim=1)
    usable = chosen.positive | chosen.negative
    logits = (unit @ unit.T / temperature).masked_fill(~usable, float("-inf"))
    log_share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    count = chosen.positive.sum(dim=1)
    per_anchor = -log_share.masked_fill(~chosen.positive, 0.0).sum(dim=1) / count.clamp(min=1)
    return per_anchor.sum() / (count > 0).sum().clamp(min=1)


class Centers(nn.Module):
    """One center per work, moved towards the work's features by a rule of its own (Wen et al., equation 4).

    `forward` is half the mean squared distance of unit-length features to their centers.

    Parameters
    ----------
    works : int
        How many.
    size : int
        Dimensions of the features.
    rate : float
        How far an update moves a center.
    """

    centers: Tensor

    def __init__(self, works: int, *, size: int = 2048, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("centers", torch.zeros(works, size))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        unit = functional.normalize(features.float(), dim=1)
        return 0.5 * (unit - self.centers[labels]).square().sum(dim=1).mean()

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move the centers of the works in the batch.

        Each center moves by `rate` times the sum of (feature - center), divided by 1 + count, the number of
        its features.

        Parameters
        ----------
        features : float [batch, size]
            Of any length.
        labels : int64 [batch]
            Their works.
        """
        unit = functional.normalize(features.float(), dim=1)
        count = (labels[:, None] == labels[None, :]).sum(dim=1)
        moves = self.rate * (unit - self.centers[labels]) / (1.0 + count[:, None])
        self.centers.index_add_(0, labels, moves)

    @torch.no_grad()
    def imprint(self, features: Tensor, labels: Tensor) -> None:
        """Set the centers of the works in the batch to the mean of their unit-length features.

        Parameters
        ----------
        features : float [batch, size]
            Of any length.
        labels : int64 [batch]
            Their works.
        """
        works, total, count = _sums(functional.normalize(features.float(), dim=1), labels)
        self.centers[works] = total / count[:, None]


def _sums(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The works among the labels, the sum of each one's vectors [works, size], and their number."""
    works, index, count = labels.unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(works), vectors.shape[1], device=vectors.device).index_add_(0, index, vectors)
    return works, total, count
