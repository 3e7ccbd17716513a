"""Every loss is computed again by explicit loops; gradients are checked numerically."""

import math

import pytest
import torch

from mirex.training import losses


def _example(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(9, 5, generator=generator, dtype=dtype)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])
    recordings = torch.tensor([0, 1, 1, 2, 3, 4, 5, 6, 7])  # two crops of recording 1
    sources = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1])
    return features, labels, recordings, sources


def _cosines(features):
    unit = features / features.norm(dim=1, keepdim=True)
    return (unit @ unit.T).tolist()


def test_triplet_against_loops():
    features, labels, recordings, sources = _example()
    cosine = _cosines(features)
    values = []
    for a in range(9):
        distance = [math.sqrt(max(2 - 2 * cosine[a][o], 1e-8)) for o in range(9)]
        positives = [
            distance[o] for o in range(9) if labels[o] == labels[a] and recordings[o] != recordings[a]
        ]
        negatives = [distance[o] for o in range(9) if labels[o] != labels[a] and sources[o] == sources[a]]
        if positives and negatives:
            values.append(max(0.0, max(positives) - min(negatives) + 0.3))
    found = losses.batch_hard_triplet(features, losses.pairs(labels, recordings, sources), margin=0.3)
    assert len(values) == 8
    assert float(found) == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_triplet_without_any_positive_is_zero():
    features, _, recordings, sources = _example()
    chosen = losses.pairs(torch.arange(9), recordings, sources)
    assert float(losses.batch_hard_triplet(features, chosen)) == 0.0
    assert float(losses.supervised_contrastive(features, chosen)) == 0.0


def test_a_recording_is_never_its_own_positive():
    labels, recordings = torch.tensor([0, 0, 1]), torch.tensor([7, 7, 8])
    positive, negative = losses.pairs(labels, recordings, torch.zeros(3, dtype=torch.int64))
    assert not positive.any()
    assert negative.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_works_of_different_sources_are_no_pairs():
    _, labels, recordings, sources = _example()
    positive, negative = losses.pairs(labels, recordings, sources)
    assert not negative[:5, 5:].any()
    assert not positive[:5, 5:].any()
    assert negative[5, 8]


def test_pairs_against_loops():
    """Works 0 and 3 may be the same; work 4 has crops of two sources."""
    labels = torch.tensor([0, 0, 0, 3, 3, 4, 4, 4, 5, 6])
    recordings = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5, 6, 7])
    sources = torch.tensor([0, 0, 0, 0, 1, 0, 1, 1, 1, 0])
    families = torch.tensor([0, 0, 0, 0, 0, 4, 4, 4, 5, 6])
    positive, negative = losses.pairs(labels, recordings, sources, families)
    for a in range(10):
        for o in range(10):
            version = labels[a] == labels[o] and recordings[a] != recordings[o]
            other = labels[a] != labels[o] and families[a] != families[o] and sources[a] == sources[o]
            assert positive[a, o] == version, (a, o)
            assert negative[a, o] == other, (a, o)
    assert positive[5, 6], "versions of one work are positives across sources"
    assert not negative[0, 3], "works that may be the same are no negatives"
    assert not negative[5, 8], "nor are works of different sources"


def test_losses_leave_out_what_is_no_negative():
    """Against loops, with families that join the two first works."""
    features, labels, recordings, sources = _example()
    families = torch.tensor([0, 0, 0, 0, 0, 2, 2, 2, 3])
    chosen = losses.pairs(labels, recordings, sources, families)
    cosine = _cosines(features)
    contrastive, triplet = [], []
    for a in range(9):
        positives = [o for o in range(9) if labels[o] == labels[a] and recordings[o] != recordings[a]]
        negatives = [o for o in range(9) if families[o] != families[a] and sources[o] == sources[a]]
        total = sum(math.exp(cosine[a][o] / 0.1) for o in positives + negatives)
        if positives:
            terms = [-math.log(math.exp(cosine[a][o] / 0.1) / total) for o in positives]
            contrastive.append(sum(terms) / len(terms))
        if positives and negatives:
            gap = [float((features[a] - features[o]).norm()) for o in range(9)]
            triplet.append(max(0.0, max(gap[o] for o in positives) - min(gap[o] for o in negatives) + 0.3))
    found = losses.supervised_contrastive(features, chosen)
    assert float(found) == pytest.approx(sum(contrastive) / len(contrastive), rel=1e-5)
    found = losses.batch_hard_triplet(features, chosen, unit_length=False)
    assert len(triplet) == 3
    assert float(found) == pytest.approx(sum(triplet) / len(triplet), rel=1e-5)


def test_contrastive_against_loops():
    features, labels, recordings, sources = _example()
    cosine = _cosines(features)
    values = []
    for a in range(9):
        positives = [o for o in range(9) if labels[o] == labels[a] and recordings[o] != recordings[a]]
        negatives = [o for o in range(9) if labels[o] != labels[a] and sources[o] == sources[a]]
        total = sum(math.exp(cosine[a][o] / 0.1) for o in positives + negatives)
        if positives:
            terms = [-math.log(math.exp(cosine[a][o] / 0.1) / total) for o in positives]
            values.append(sum(terms) / len(terms))
    found = losses.supervised_contrastive(features, losses.pairs(labels, recordings, sources))
    assert float(found) == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_classification_against_loops():
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 5, 2, 2])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(v) for v in row))
        for index, value in enumerate(row):
            share = 0.1 / 6 + (0.9 if index == label else 0.0)
            total += share * (log_sum - value)
    assert float(losses.classification(logits, labels)) == pytest.approx(total / 4, rel=1e-5)


def test_center_loss_and_its_update_against_loops():
    features, labels, _, _ = _example(torch.float32)
    centers = losses.Centers(5, size=5, rate=0.5)
    centers.centers.copy_(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)))
    before = centers.centers.clone()
    unit = features / features.norm(dim=1, keepdim=True)
    expected = sum(float(((u - before[k]) ** 2).sum()) for u, k in zip(unit, labels, strict=True)) / 9 / 2
    assert float(centers(features, labels)) == pytest.approx(expected, rel=1e-5)
    centers.update(features, labels)
    for work in range(5):
        members = unit[labels == work]
        moved = before[work].clone()
        if len(members):
            moved += 0.5 * (members - before[work]).sum(dim=0) / (1 + len(members))
        assert torch.allclose(centers.centers[work], moved, atol=1e-6)


@pytest.mark.parametrize("name", ["batch_hard_triplet", "supervised_contrastive"])
def test_gradients_numerically(name):
    features, labels, recordings, sources = _example(torch.float32)
    features.requires_grad_()
    function, chosen = getattr(losses, name), losses.pairs(labels, recordings, sources)
    function(features, chosen).backward()
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(4))
    step = 1e-3
    with torch.no_grad():
        up = function(features + step * direction, chosen)
        down = function(features - step * direction, chosen)
    numeric = float(up - down) / (2 * step)
    assert float((features.grad * direction).sum()) == pytest.approx(numeric, rel=0.02, abs=1e-3)


def test_coinciding_features_give_finite_gradients():
    features = torch.ones(4, 5, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    chosen = losses.pairs(labels, torch.arange(4), torch.zeros(4, dtype=torch.int64))
    losses.batch_hard_triplet(features, chosen).backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_cosine_classifier_ignores_length():
    classifier = losses.CosineClassifier(3, size=4, scale=10.0, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(classifier(x), classifier(7 * x), atol=1e-5)
    assert classifier(classifier.weight).diagonal().tolist() == pytest.approx([10.0] * 3, rel=1e-5)


def test_cosine_classifier_and_its_gradients_against_normalising_both_sides():
    classifier = losses.CosineClassifier(7, size=5, scale=24.0, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    unit = torch.nn.functional.normalize
    expected = 24 * unit(x, dim=1) @ unit(classifier.weight, dim=1).T
    found = classifier(x)
    torch.testing.assert_close(found, expected)
    direction = torch.randn(4, 7, generator=torch.Generator().manual_seed(2))
    inputs = [x, classifier.weight]
    gradients = [torch.autograd.grad((logits * direction).sum(), inputs) for logits in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_cosine_classifier_under_autocast_is_close_to_full_precision():
    classifier = losses.CosineClassifier(50, size=64, generator=torch.Generator().manual_seed(0))
    x = torch.randn(6, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    inputs = [x, classifier.weight]
    exact = classifier(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = classifier(x)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.2)
    gradients = [torch.autograd.grad(logits.square().sum(), inputs) for logits in (found, exact)]
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.02


def test_imprinted_works_get_their_mean_direction_and_the_others_keep_theirs():
    features, labels, _, _ = _example(torch.float32)
    unit = features / features.norm(dim=1, keepdim=True)
    means = [
        sum(u for u, k in zip(unit, labels, strict=True) if k == work) / n
        for work, n in enumerate((3, 2, 3, 1))
    ]
    classifier = losses.CosineClassifier(6, size=5, generator=torch.Generator().manual_seed(0))
    centers = losses.Centers(6, size=5)
    before = classifier.weight.detach().clone()
    classifier.imprint(3 * features, labels)
    centers.imprint(3 * features, labels)
    for work, mean in enumerate(means):
        row = classifier.weight[work].detach()
        torch.testing.assert_close(row / row.norm(), mean / mean.norm())
        assert float(row.square().mean().sqrt()) == pytest.approx(losses.IMPRINT_RMS, rel=1e-5)
        torch.testing.assert_close(centers.centers[work], mean)
    assert torch.equal(classifier.weight[4:], before[4:])
    assert not centers.centers[4:].any()
