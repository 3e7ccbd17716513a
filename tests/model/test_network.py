"""ResNet50-IBN: its shape, its parts against PyTorch's own and against formulas, its gradients."""

import copy
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from mirex.model.network import (
    Bottleneck,
    GeneralisedMean,
    InstanceBatchNorm,
    ResNet50IBN,
    TwoViewNetwork,
    dense_pool,
    full_precision,
    tensors_of,
)
from random_network import random_network, random_views

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
STEM_STRIDE = 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def network() -> ResNet50IBN:
    return random_network()


# --- the whole ----------------------------------------------------------------------------------


def test_parameter_count(network):
    resnet50_trunk = 23_508_032
    two_input_channels = 2 * 64 * 7 * 7
    neck, exponent = 2 * 2048, 1
    expected = resnet50_trunk - two_input_channels + neck + exponent
    assert sum(parameter.numel() for parameter in network.parameters()) == expected == 23_505_857


@pytest.mark.parametrize(
    ("steps", "table"),
    [
        (32, [(64, 21, 8), (256, 21, 8), (512, 11, 4), (1024, 6, 2), (2048, 6, 2)]),
        (16, [(64, 21, 4), (256, 21, 4), (512, 11, 2), (1024, 6, 1), (2048, 6, 1)]),
        (1, [(64, 21, 1), (256, 21, 1), (512, 11, 1), (1024, 6, 1), (2048, 6, 1)]),
    ],
)
def test_shapes_and_the_last_stride(network, steps, table):
    x = torch.rand(1, 1, 84, steps)
    found = []
    with torch.inference_mode():
        for part in (network.stem, *network.stages):
            x = part(x)
            found.append(tuple(x.shape[1:]))
    assert found == table, "the last stage keeps the map's size: its stride is 1"


def test_stages_have_ibn_in_the_first_three_only(network):
    blocks = [[type(block.norm1) for block in stage] for stage in network.stages]
    assert blocks == [[InstanceBatchNorm] * n for n in (3, 4, 6)] + [[nn.BatchNorm2d] * 3]


def test_one_input_channel(network):
    assert network.stem[0].in_channels == 1
    with pytest.raises(RuntimeError):
        network(torch.rand(1, 3, 84, 16))


def test_forward_gives_the_vector_before_and_after_the_neck(network):
    with torch.inference_mode():
        pooled, embedding = network(torch.rand(2, 1, 84, 16, generator=seeded()))
    neck = network.neck
    expected = (pooled - neck.running_mean) / (neck.running_var + neck.eps).sqrt() * neck.weight
    assert pooled.shape == embedding.shape == (2, 2048)
    torch.testing.assert_close(embedding, expected)


@pytest.mark.parametrize("size", [0, -64, 32, 1000])
def test_an_embedding_size_that_no_width_gives_is_refused(size):
    with pytest.raises(ValueError, match=f"embedding_size {size}:"):
        ResNet50IBN(embedding_size=size)


def test_a_smaller_embedding_is_a_narrower_network_of_the_same_layers(network):
    narrow = ResNet50IBN(embedding_size=512, generator=seeded())
    shapes = {name: value.shape for name, value in narrow.state_dict().items() if value.dim()}
    for name, value in network.state_dict().items():
        if value.dim() and name != "pool.p":
            expected = [n if n in (1, 3, 7) else n // 4 for n in value.shape]
            assert list(shapes[name]) == expected, name
    pooled, embedding = narrow(torch.rand(2, 1, 84, 16, generator=seeded()))
    assert pooled.shape == embedding.shape == (2, 512)


def test_neck_bias_is_zero_and_frozen():
    neck = ResNet50IBN(generator=seeded()).neck
    assert not neck.bias.any()
    assert not neck.bias.requires_grad
    assert neck.weight.requires_grad


def test_initialisation_depends_on_the_generator_alone():
    torch.manual_seed(1)
    first = ResNet50IBN(generator=seeded(3)).state_dict()
    torch.manual_seed(2)
    second = ResNet50IBN(generator=seeded(3)).state_dict()
    third = ResNet50IBN(generator=seeded(4)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], third["stem.0.weight"])


def test_a_fresh_block_starts_as_identity():
    block = ResNet50IBN(generator=seeded()).eval().get_submodule("stages.0.1")
    x = torch.rand(2, 256, 5, 4)
    torch.testing.assert_close(block(x), x)


def test_every_trained_parameter_gets_a_gradient():
    network = random_network().train().requires_grad_(True)
    network.neck.bias.requires_grad_(False)
    _, embedding = network(torch.rand(3, 1, 84, 16, generator=seeded()))
    (embedding * torch.rand(embedding.shape, generator=seeded(1))).sum().backward()
    for name, parameter in network.named_parameters():
        if name == "neck.bias":
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_batch_of_one_is_batch_of_n(network):
    x = torch.rand(5, 1, 84, 16, generator=seeded())
    with torch.inference_mode():
        _, together = network(x)
        alone = torch.cat([network(one[None])[1] for one in x])
    # To rounding: convolutions sum in another order for another batch, so `mirex.model.embedding`, which
    # promises bytes, always runs one recording at a time.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4 * float(together.abs().max()))


@pytest.mark.parametrize("padding", [4, 16])
def test_padding_changes_the_embedding(network, padding):
    # Why a batch holds clips of one length only: zeros enter InstanceNorm's and GeM's statistics.
    x = torch.rand(1, 1, 84, 32, generator=seeded())
    padded = nn.functional.pad(x, (0, padding))
    with torch.inference_mode():
        cosine = nn.functional.cosine_similarity(network(x)[1], network(padded)[1])
    assert float(cosine) < 0.99


def test_silence_gives_finite_values(network):
    with torch.inference_mode():
        pooled, embedding = network(torch.zeros(1, 1, 84, 16))
    assert torch.isfinite(pooled).all()
    assert torch.isfinite(embedding).all()


def test_memory_layout_does_not_matter(network):
    x = torch.rand(2, 1, 84, 32, generator=seeded())
    with torch.inference_mode():
        found = network(x.contiguous(memory_format=torch.channels_last))[1]
        expected = network(x)[1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("steps", [32, 33, 34, 35])
def test_the_dense_stem_has_the_stem_at_every_fourth_place(network, steps):
    """In any key: what lies two bins higher is the stem of a window that was moved by two bins."""
    x = torch.rand(2, 1, 84, steps, generator=seeded())
    with torch.inference_mode():
        dense = dense_pool(network.dense_convolution(x))
        assert dense.shape == (2, 64, 84, steps)
        torch.testing.assert_close(dense[:, :, ::STEM_STRIDE, ::STEM_STRIDE], network.stem(x))
        moved = network.stem(nn.functional.pad(x, (0, 0, 2, 0)))
        torch.testing.assert_close(dense[:, :, 6:80:STEM_STRIDE, ::STEM_STRIDE], moved[:, :, 2:21])


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_moments_are_those_of_the_dense_stem(network, tilt):
    """With a tilt, bin b counts 1 + tilt * ((2 b + 1) / 84 - 1) times."""
    x = torch.rand(2, 1, 84, 33, generator=seeded())
    with torch.inference_mode():
        moments = network.moments(x, tilt=tilt)
        dense = dense_pool(network.dense_convolution(x)).double().numpy()
    counts = [[1 + tilt * ((2 * bin_ + 1) / 84 - 1)] for bin_ in range(84)]
    expected = [[np.mean(counts * one * other) for one in each for other in each] for each in dense]
    np.testing.assert_allclose(moments, expected, rtol=1e-5)
    found = network.infer_moments(x[:, 0].numpy(), tilt=tilt)
    np.testing.assert_allclose(found, moments, rtol=1e-4)


def test_numpy_arrays_in_and_out(network):
    x = torch.rand(2, 1, 84, 33, generator=seeded())
    with torch.inference_mode():
        expected = network(x)[1].numpy()
    np.testing.assert_array_equal(network.infer(x[:, 0].numpy()), expected)


@CUDA
def test_cuda_agrees_with_the_cpu(network):
    x = torch.rand(2, 1, 84, 32, generator=seeded())
    with torch.inference_mode(), full_precision():
        expected = network(x)[1]
        found = random_network().cuda()(x.cuda())[1].cpu()
    assert (nn.functional.cosine_similarity(found, expected) > 0.9999).all()


# --- two views ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("copied", [False, True])
def test_the_views_share_every_parameter(copied, device):
    network = TwoViewNetwork(embedding_size=256, generator=seeded())
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if copied:
        network = copy.deepcopy(network)
    both = zip(network.cqt.named_parameters(), network.chroma.named_parameters(), strict=True)
    for (name, first), (other_name, second) in both:
        assert name == other_name
        assert first is second, name
    assert len(list(network.parameters())) == len(list(network.cqt.parameters()))


def test_each_view_has_statistics_of_its_own():
    network = TwoViewNetwork(embedding_size=256, generator=seeded()).train()
    alone = copy.deepcopy(network.chroma)
    cqt, chroma = (torch.rand(3, 1, bins, 16, generator=seeded(bins)) for bins in (84, 36))
    pooled, embedding = network(cqt, chroma)
    expected = alone(chroma)
    torch.testing.assert_close(pooled[3:], expected[0], rtol=0, atol=0)
    torch.testing.assert_close(embedding[3:], expected[1], rtol=0, atol=0)
    for name, value in alone.named_buffers():
        assert torch.equal(network.chroma.get_buffer(name), value), name
    moved = {name for name, value in network.cqt.named_buffers() if value.is_floating_point()}
    assert all(not torch.equal(network.cqt.get_buffer(n), alone.get_buffer(n)) for n in moved)


def test_gradients_of_both_views_add_up():
    network = TwoViewNetwork(embedding_size=256, generator=seeded()).train()
    cqt, chroma = (torch.rand(3, 1, bins, 16, generator=seeded(bins)) for bins in (84, 36))
    empty = torch.zeros(0, 1, 1, 1)
    found = []
    for inputs in ((cqt, chroma), (cqt, empty), (empty, chroma)):
        network.zero_grad()
        network(*inputs)[0].square().sum().backward()
        found.append([p.grad.clone() for p in network.cqt.stages.parameters() if p.grad is not None])
    for both, first, second in zip(*found, strict=True):
        torch.testing.assert_close(both, first + second, rtol=1e-4, atol=1e-4 * float(both.abs().max()))


def test_tensors_hold_shared_parameters_once_and_all_statistics():
    network = random_views()
    found = tensors_of(network)
    trained = {name for name, _ in network.cqt.named_parameters()}
    kept = {name for name, _ in network.cqt.named_buffers()}
    expected = {f"cqt.{name}" for name in trained | kept} | {f"chroma.{name}" for name in kept}
    assert found.keys() == expected


# --- IBN-a --------------------------------------------------------------------------------------


Norm = TypeVar("Norm", bound=nn.Module)


def random_norm(module: Norm, generator: torch.Generator) -> Norm:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [8, 7])
def test_ibn_against_pytorchs_own_norms(training, channels):
    generator = seeded(7)
    module = random_norm(InstanceBatchNorm(channels), generator)
    module.train(training)
    half = channels // 2
    instance = nn.InstanceNorm2d(half, affine=True).train(training)
    batch = nn.BatchNorm2d(channels - half).train(training)
    instance.load_state_dict(module.instance.state_dict())
    batch.load_state_dict(module.batch.state_dict())
    x = 3 * torch.randn(4, channels, 6, 5, generator=generator) + 10
    expected = torch.cat([instance(x[:, :half]), batch(x[:, half:])], dim=1)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(module.batch.running_mean, batch.running_mean, rtol=0, atol=0)


def test_ibn_gradients_against_pytorchs_own():
    generator = seeded(8)
    module = random_norm(InstanceBatchNorm(6), generator)
    x = torch.randn(2, 6, 4, 3, generator=generator, requires_grad=True)
    direction = torch.randn(2, 3, 4, 3, generator=generator)
    expected = nn.functional.instance_norm(x[:, :3], weight=module.instance.weight, bias=module.instance.bias)
    inputs = [x, module.instance.weight, module.instance.bias]
    wanted = torch.autograd.grad((expected * direction).sum(), inputs)
    found = torch.autograd.grad((module(x)[:, :3] * direction).sum(), inputs)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_ibn_of_one_position_is_the_bias():
    module = random_norm(InstanceBatchNorm(4), seeded(9))
    found = module(torch.randn(3, 4, 1, 1))[:, :2, 0, 0]
    torch.testing.assert_close(found, module.instance.bias.expand(3, 2))


def test_ibn_ignores_the_gain_of_the_instance_half_only():
    module = InstanceBatchNorm(4).eval()
    x = torch.randn(1, 4, 8, 8, generator=seeded()) * 10
    found, louder = module(x), module(5 * x)
    torch.testing.assert_close(found[:, :2], louder[:, :2], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[:, 2:], louder[:, 2:], rtol=0.1)


# --- bottleneck ---------------------------------------------------------------------------------


def test_bottleneck_shortcut_only_where_shapes_differ():
    assert len(Bottleneck(256, 64, stride=1, ibn=True).shortcut) == 0
    assert len(Bottleneck(64, 64, stride=1, ibn=True).shortcut) == 2
    assert len(Bottleneck(256, 64, stride=2, ibn=True).shortcut) == 2


def test_bottleneck_leaves_its_input_alone():
    block = random_norm(Bottleneck(256, 64, stride=1, ibn=True), seeded()).eval()
    x = torch.randn(1, 256, 4, 4, generator=seeded())
    before = x.clone()
    block(x)
    assert torch.equal(x, before), "the in-place ReLU works on its own values"


# --- GeM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 4.5])
def test_gem_against_loops(rng, p):
    values = rng.uniform(0, 2, (2, 3, 4, 5)).astype(np.float32)
    found = GeneralisedMean(p=p)(torch.from_numpy(values)).detach().numpy()
    for item in range(2):
        for channel in range(3):
            total = sum(max(float(value), 1e-6) ** p for value in values[item, channel].ravel())
            assert found[item, channel] == pytest.approx((total / 20) ** (1 / p), rel=1e-5)


def test_gem_with_p_1_is_the_mean():
    x = torch.rand(2, 3, 4, 5, generator=seeded())
    torch.testing.assert_close(GeneralisedMean(p=1.0)(x), x.mean(dim=(2, 3)))


def test_gem_approaches_the_maximum():
    x = torch.rand(2, 3, 4, 5, generator=seeded()) * 0.5 + 0.5
    largest = x.amax(dim=(2, 3))
    errors = [float((largest - GeneralisedMean(p=p)(x)).detach().max()) for p in (1.0, 3.0, 10.0, 50.0)]
    assert errors == sorted(errors, reverse=True)
    assert 0 <= errors[-1] < 0.06  # 1 - 20 ** (-1 / 50)


def test_gem_gradients_against_formulas():
    x = (torch.rand(1, 2, 3, 4, generator=seeded()) + 0.1).requires_grad_()
    pool = GeneralisedMean(p=3.0)
    found = pool(x)
    for_x, for_p = torch.autograd.grad(found.sum(), [x, pool.p])
    expected = x**2 / 12 * found[..., None, None] ** -2
    torch.testing.assert_close(for_x, expected)
    step = 1e-2
    up, down = (GeneralisedMean(p=3 + sign * step)(x).detach().sum() for sign in (1, -1))
    assert float(for_p) == pytest.approx(float(up - down) / (2 * step), rel=1e-2)


def test_gem_of_zeros_has_finite_gradients():
    x = torch.zeros(1, 2, 3, 4, requires_grad=True)
    pool = GeneralisedMean()
    pool(x).sum().backward()
    assert x.grad is not None
    assert pool.p.grad is not None
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(pool.p.grad)
