"""ResNet50-IBN: network input to embedding.

ResNet-50 (He et al., CVPR 2016) with one input channel; IBN-a (Pan et al., "Two at Once", ECCV
2018) in stages 1-3: half of the channels after a block's first convolution are instance-normalised,
half batch-normalised; plain BatchNorm in stage 4, whose stride is 1. GeM pooling (Radenovic et al.,
TPAMI 2019) with a learned exponent; BNNeck (Luo et al., "Bag of Tricks", CVPRW 2019): the embedding
is the BatchNorm of the pooled vector. This is the network of CasperNet (MIREX 2020) as far as its
abstract and ByteCover (ICASSP 2021, Table 1) describe it.

A recording is seen in two views (`mirex.features.views`), which differ so much in level and height that
each has its own BatchNorm statistics, while all parameters are shared (domain-specific batch normalisation,
Chang et al., CVPR 2019).

InstanceNorm and GeM use the clip's own statistics, so padding a clip changes its embedding: all clips of a
batch have the same length, or the padding is masked (`mirex.model.padded`).

embedding_size 2048 is the paper's network. A smaller one makes every layer narrower in proportion, for
experiments that would take too long at full width.
"""

import copy
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mirex._typing import Array
from mirex.model.second_order import bin_weights
from mirex.model.stem_moments import stem_moments

STAGE_BLOCKS = (3, 4, 6, 3)
STAGE_WIDTHS = (1, 2, 4, 8)  # in units of the stem's channels
EXPANSION = 4
EMBEDDING_UNITS = STAGE_WIDTHS[-1] * EXPANSION


class InstanceBatchNorm(nn.Module):
    """IBN-a: InstanceNorm on the first half of the channels, BatchNorm on the second.

    Shape: [batch, channels, bins, steps] to the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.instance_channels = channels // 2
        self.instance = nn.InstanceNorm2d(self.instance_channels, affine=True)
        self.batch = nn.BatchNorm2d(channels - self.instance_channels)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[:, : self.instance_channels], x[:, self.instance_channels :]
        return torch.cat([self._instance_norm(first), self.batch(second)], dim=1)

    def _instance_norm(self, x: Tensor) -> Tensor:
        return _InstanceNorm.apply(x, self.instance.weight, self.instance.bias, self.instance.eps)


class _InstanceNorm(torch.autograd.Function):
    """InstanceNorm in plain float32 arithmetic.

    Unlike PyTorch's own, it accepts channels with a single position (variance 0) and keeps the channels-last
    layout without copying. Its gradient (Ioffe and Szegedy, ICML 2015, section 3, over one clip) is written
    out, because autograd's passes over memory more often, which dominates this layer's time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x32 = x.float()
        mean = x32.mean(dim=(2, 3), keepdim=True)
        centred = x32 - mean
        inverse = torch.rsqrt(centred.square().mean(dim=(2, 3), keepdim=True) + eps)
        scale = weight.view(1, -1, 1, 1) * inverse
        ctx.save_for_backward(x, mean, inverse, scale)
        return (centred * scale + bias.view(1, -1, 1, 1)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, inverse, scale = ctx.saved_tensors
        given = gradient.float()
        unit = x.float().sub_(mean).mul_(inverse)
        of_bias = given.mean(dim=(2, 3), keepdim=True)
        of_weight = (given * unit).mean(dim=(2, 3), keepdim=True)
        of_x = torch.addcmul(given - of_bias, unit, of_weight, value=-1).mul_(scale)
        positions = x.shape[2] * x.shape[3]
        return of_x.to(x.dtype), *(positions * sums.sum(dim=(0, 2, 3)) for sums in (of_weight, of_bias)), None


class StridedConvolution(nn.Conv2d):
    """A convolution that computes one or two steps in float32, even under autocast.

    With a stride of 2, PyTorch 2.13 returns whatever lay in memory for them in bfloat16, on CPUs with AMX.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type) or x.shape[3] > 2:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Bottleneck(nn.Module):
    """Residual bottleneck: 1x1, 3x3 (with the stride), 1x1; the first norm is IBN-a where asked."""

    def __init__(self, inputs: int, width: int, *, stride: int, ibn: bool) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm1 = InstanceBatchNorm(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = StridedConvolution(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        y = functional.relu(self.norm2(self.conv2(y)), inplace=True)
        return functional.relu(self.norm3(self.conv3(y)) + self.shortcut(x), inplace=True)


class GeneralisedMean(nn.Module):
    """GeM: (mean of x^p over bins and steps)^(1/p), p learned from 3.

    Shape: [batch, channels, bins, steps] to [batch, channels].
    """

    def __init__(self, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # float32: x^3 of half-precision activations loses most of its digits.
        powered = x.float().clamp(min=self.eps).pow(self.p)
        return powered.mean(dim=(2, 3)).pow(1.0 / self.p)


class ResNet50IBN(nn.Module):
    """The trunk, GeM and BNNeck.

    Parameters
    ----------
    embedding_size : int
        A multiple of 64.
    generator : torch.Generator, optional
        Of the initial parameters.

    Raises
    ------
    ValueError
        If `embedding_size` is not a multiple of 64.
    """

    def __init__(self, *, embedding_size: int = 2048, generator: torch.Generator | None = None) -> None:
        super().__init__()
        # Even, since IBN-a halves the channels of the narrowest stage.
        if embedding_size <= 0 or embedding_size % (2 * EMBEDDING_UNITS):
            raise ValueError(f"embedding_size {embedding_size}: give a multiple of {2 * EMBEDDING_UNITS}")
        channels = embedding_size // EMBEDDING_UNITS
        self.stem = nn.Sequential(
            StridedConvolution(1, channels, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(*_stages(channels))
        self.pool = GeneralisedMean()
        self.neck = nn.BatchNorm1d(embedding_size)
        self.neck.bias.requires_grad_(False)
        if (
            not self.neck.weight.is_meta
        ):  # on the meta device the values come later, and drawing none still takes seconds
            _initialise(self, generator)

    @property
    def device(self) -> torch.device:
        """Device of the parameters.

        Returns
        -------
        torch.device
        """
        return self.neck.weight.device

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute pooled vectors and embeddings.

        Triplet and center loss act on the pooled vectors, classification and retrieval on the embeddings.

        Parameters
        ----------
        x : float [batch, 1, bins, steps]
            Normalised by `mirex.features.views`.

        Returns
        -------
        pooled : float32 [batch, embedding_size]
            Before the neck.
        embedding : float32 [batch, embedding_size]
            After it.
        """
        pooled = self.pool(self.stages(self.stem(x)))
        return pooled, self.neck(pooled)

    def moments(self, x: Tensor, *, tilt: float) -> Tensor:
        """Compute second moments of the stem (`mirex.model.second_order`).

        Parameters
        ----------
        x : float [batch, 1, bins, steps]
            Normalised by `mirex.features.views`.
        tilt : float
            Of the bins' weights (`mirex.model.second_order.bin_weights`).

        Returns
        -------
        float32 [batch, (embedding_size / 32) ** 2]
            Of the stem's channels, computed at every bin and step instead of every fourth: the weighted mean
            of the product of each two, row by row.
        """
        dense = dense_pool(self.dense_convolution(x))
        return summed_products(dense, tilt=tilt) / (x.shape[2] * x.shape[3])

    def dense_convolution(self, x: Tensor) -> Tensor:
        """Compute the stem's convolution, norm and ReLU at every bin and step instead of every second.

        Parameters
        ----------
        x : float [batch, 1, bins, steps]
            Normalised by `mirex.features.views`.

        Returns
        -------
        float [batch, embedding_size / 32, bins, steps]
        """
        convolution, norm = cast("nn.Conv2d", self.stem[0]), self.stem[1]
        return functional.relu(norm(functional.conv2d(x, convolution.weight, padding=3)), inplace=True)

    def infer(self, windows: Array) -> Array:
        """Compute embeddings outside training, in full precision.

        Parameters
        ----------
        windows : float32 [windows, bins, steps]
            Normalised by `mirex.features.views`.

        Returns
        -------
        float32 [windows, embedding_size]
        """
        with torch.inference_mode(), full_precision():
            return self(self._there(windows))[1].cpu().numpy()

    def infer_moments(self, windows: Array, *, tilt: float) -> Array:
        """Compute second moments outside training, in full precision.

        Parameters
        ----------
        windows : float32 [windows, bins, steps]
            Normalised by `mirex.features.views`.
        tilt : float
            As for `moments`.

        Returns
        -------
        float32 [windows, (embedding_size / 32) ** 2]
        """
        with torch.inference_mode(), full_precision():
            if self.device.type != "cpu":
                return self.moments(self._there(windows), tilt=tilt).cpu().numpy()
            stem = self._folded_stem()
        # PyTorch would take as long, and 100 MB more for windows of many lengths.
        return np.array([stem_moments(each, tilt=tilt, **stem) for each in windows])

    def _there(self, windows: Array) -> Tensor:
        return torch.from_numpy(windows[:, None]).to(self.device)

    def _folded_stem(self) -> dict[str, Array]:
        """The stem as `stem_moments` takes it: its norm is folded into the convolution."""
        convolution, norm = cast("nn.Conv2d", self.stem[0]), cast("nn.BatchNorm2d", self.stem[1])
        mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        kernel = convolution.weight * scale.view(-1, 1, 1, 1)
        return {"kernel": kernel.numpy(), "bias": (norm.bias - mean * scale).numpy()}


def dense_pool(y: Tensor) -> Tensor:
    """Pool as the stem does, but at every bin and step.

    Parameters
    ----------
    y : float [batch, channels, bins, steps]
        As `ResNet50IBN.dense_convolution` gives it; not negative, so that zeros around it do not count.

    Returns
    -------
    float [batch, channels, bins, steps]
        Every fourth bin and step of it are the stem's output.
    """
    return functional.max_pool2d(functional.pad(y, (2, 2, 2, 2)), 3, stride=1, dilation=2)


def summed_products(x: Tensor, *, tilt: float) -> Tensor:
    """Sum the products of each two channels over bins and steps, weighted by bin.

    The bins are added up in float64: rounded to float32 all along, the sums would be too coarse for the
    smallest eigenvalues.

    Parameters
    ----------
    x : float [batch, channels, bins, steps]
        A feature map.
    tilt : float
        Of the weights (`mirex.model.second_order.bin_weights`).

    Returns
    -------
    float32 [batch, channels * channels]
        Row by row.
    """
    by_bin = x.transpose(1, 2)
    weights = torch.from_numpy(bin_weights(x.shape[2], tilt=tilt)).to(x.device)
    products = (by_bin @ by_bin.transpose(2, 3)).double() * weights[:, None, None]
    return products.sum(dim=1).float().flatten(1)


class TwoViewNetwork(nn.Module):
    """One ResNet50-IBN for both views: `cqt` and `chroma` share every parameter, but not the statistics.

    Parameters
    ----------
    embedding_size, generator
        As for `ResNet50IBN`.
    """

    def __init__(self, *, embedding_size: int = 2048, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.cqt = ResNet50IBN(embedding_size=embedding_size, generator=generator)
        self.chroma = copy.deepcopy(self.cqt)
        self.share_parameters()

    def share_parameters(self) -> None:
        """Give `chroma` the parameters of `cqt` again, after they were replaced."""
        for name, parameter in self.cqt.named_parameters():
            module, _, attribute = name.rpartition(".")
            setattr(self.chroma.get_submodule(module), attribute, parameter)

    def first_stages(self, count: int) -> list[nn.Module]:
        """List the stem and the first stages, of both views.

        Parameters
        ----------
        count : int
            Stages, 0 to 4. With 0 the list is empty: without a stage there is no stem.

        Returns
        -------
        list of Module
        """
        if count == 0:
            return []
        return [part for view in (self.cqt, self.chroma) for part in (view.stem, *list(view.stages)[:count])]

    def forward(self, cqt: Tensor, chroma: Tensor) -> tuple[Tensor, Tensor]:
        """Compute pooled vectors and embeddings of both views.

        Parameters
        ----------
        cqt, chroma : float [batch, 1, bins, steps]
            Crops of each view. One of the batches may be empty, not both.

        Returns
        -------
        pooled, embedding : float32 [both batches, embedding_size]
            Of the CQT view, then of the folded view.
        """
        # BatchNorm has no statistics of an empty batch.
        pairs = [network(x) for network, x in ((self.cqt, cqt), (self.chroma, chroma)) if len(x)]
        pooled, embedding = zip(*pairs, strict=True)
        return torch.cat(pooled), torch.cat(embedding)


def full_precision() -> AbstractContextManager[None]:
    """Make a GPU compute in full precision and repeatably: the cosine with the CPU's result is above 0.9999.

    By default convolutions round to TF32, and cuDNN may choose algorithms that are not repeatable.

    Returns
    -------
    context manager
        Holds within its block.
    """
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Collect a module's parameters and statistics.

    Parameters
    ----------
    module : nn.Module
        Such as a network.

    Returns
    -------
    dict of str to Tensor
        By name, shared ones once. They are not copies: changing one changes the module.
    """
    found = dict(module.named_parameters()) | dict(module.named_buffers())
    return {name: tensor.detach() for name, tensor in found.items()}


def _stages(channels: int) -> list[nn.Module]:
    stages: list[nn.Module] = []
    inputs = channels
    for index, (blocks, units) in enumerate(zip(STAGE_BLOCKS, STAGE_WIDTHS, strict=True)):
        width = units * channels
        stride = 2 if index in (1, 2) else 1
        layers: list[nn.Module] = []
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, stride=stride if block == 0 else 1, ibn=index < 3))
            inputs = width * EXPANSION
        stages.append(nn.Sequential(*layers))
    return stages


def _initialise(network: nn.Module, generator: torch.Generator | None) -> None:
    """He's normal initialisation, fan out; the last norm of a block starts at 0.

    Goyal et al. 2017, section 5.1: with the residual branch at zero a block starts as identity.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.norm3.weight)
