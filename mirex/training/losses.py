"""Losses: cross entropy over works, batch-hard triplet, center loss, supervised contrastive.

The first three are the paper's. Cross entropy with label smoothing on a cosine classifier (NormFace,
Wang et al. 2017), batch-hard triplet (Hermans et al. 2017), center loss (Wen et al., ECCV 2016).
Supervised contrastive (Khosla et al. 2020) is what moves first when each work has been seen only a few times.

Conventions: labels int64 [batch], a work each; recordings int64 [batch]: equal numbers are one recording,
which is never its own positive; sources int64 [batch]: where the sample comes from.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class CosineClassifier(nn.Module):
    """Logits = scale * cosine(embedding, weight of the work). float [batch, size] to [batch, works]."""

    def __init__(
        self, works: int, *, size: int = 2048, scale: float = 24.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(works, size).normal_(0, 0.02, generator=generator))

    def forward(self, embeddings: Tensor) -> Tensor:
        """float [batch, size] to float32 [batch, works]."""
        products = functional.linear(functional.normalize(embeddings, dim=1), self.weight)
        # Dividing the products spares several passes over the weights, by far the largest matrix here.
        return self.scale * products.float() / torch.linalg.vector_norm(self.weight, dim=1).clamp(min=1e-12)


def classification(logits: Tensor, labels: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Cross entropy with label smoothing, mean over the batch."""
    return functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


class Pairs(NamedTuple):
    """Which pairs of a batch a loss may use: bool [batch, batch] each."""

    positive: Tensor
    negative: Tensor


def pairs(labels: Tensor, recordings: Tensor, sources: Tensor) -> Pairs:
    """Positive: same work, another recording. Negative: another work of the same source.

    Works of different sources are no pairs: a network that tells rendered scores from real chroma, which is
    easy, would lower the loss without learning anything about works.
    """
    same = labels[:, None] == labels[None, :]
    distinct = recordings[:, None] != recordings[None, :]
    together = sources[:, None] == sources[None, :]
    return Pairs(same & distinct, ~same & together)


def batch_hard_triplet(features: Tensor, chosen: Pairs, *, margin: float = 0.3) -> Tensor:
    """Mean over anchors of max(0, d(hardest positive) - d(hardest negative) + margin).

    Distances are Euclidean between L2-normalised features. Anchors without a positive or a negative are
    left out; 0 if none is left.
    """
    unit = functional.normalize(features.float(), dim=1)
    # The clamp keeps the square root's gradient finite for coinciding features.
    distance = (2 - 2 * unit @ unit.T).clamp(min=1e-8).sqrt()
    hardest_positive = distance.masked_fill(~chosen.positive, -1.0).amax(dim=1)
    hardest_negative = distance.masked_fill(~chosen.negative, 3.0).amin(dim=1)
    valid = chosen.positive.any(dim=1) & chosen.negative.any(dim=1)
    losses = functional.relu(hardest_positive - hardest_negative + margin)
    return losses[valid].sum() / valid.sum().clamp(min=1)


def supervised_contrastive(features: Tensor, chosen: Pairs, *, temperature: float = 0.1) -> Tensor:
    """Mean over anchors of -mean over positives of log softmax of cosine / temperature.

    The softmax runs over the anchor's positives and negatives. Anchors without a positive are left
    out; 0 if none is left.
    """
    unit = functional.normalize(features.float(), dim=1)
    usable = chosen.positive | chosen.negative
    logits = (unit @ unit.T / temperature).masked_fill(~usable, float("-inf"))
    log_share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    count = chosen.positive.sum(dim=1)
    per_anchor = -log_share.masked_fill(~chosen.positive, 0.0).sum(dim=1) / count.clamp(min=1)
    return per_anchor[count > 0].sum() / (count > 0).sum().clamp(min=1)


class Centers(nn.Module):
    """One center a work, moved towards its features by a rule of its own.

    `forward` is half the mean squared distance of unit-length features to their centers. `update`
    moves each center of the batch by `rate` times the mean of (feature - center) over 1 + count (Wen et al.,
    equation 4).
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
        """Move the centers of the works in the batch."""
        unit = functional.normalize(features.float(), dim=1)
        works, index, count = labels.unique(return_inverse=True, return_counts=True)
        total = torch.zeros(len(works), unit.shape[1], device=unit.device).index_add_(
            0, index, unit - self.centers[labels]
        )
        self.centers[works] += self.rate * total / (1.0 + count[:, None])
