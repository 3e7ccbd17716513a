"""The network in OpenVINO, built from the sealed tensors without PyTorch.

The layers are those of `mirex.model.network`, after whose parameters the tensors are named; BatchNorm uses
the sealed statistics. PyTorch, which would have to be loaded to convert its network, takes 200 MB and more
than a second.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirex._typing import Array
from mirex.model.stem_moments import stem_moments
from mirex.settings import NetworkSettings
from mirex.threads import wanted

if TYPE_CHECKING:
    from openvino import Node

_EPSILON = 1e-5  # of all normalisations
_LEAST = 1e-6  # in the generalised mean
_HALVING_STAGES = (1, 2)
_PREPARED = 500  # layers kept ready, those of a few lengths; ten times as many by default, for 50 MB more


class CompiledViews:
    """Stands in for a TwoViewNetwork: the networks of the views that the settings ask for.

    Parameters
    ----------
    tensors : mapping of str to float16 or float32 array
        Of a `TwoViewNetwork`; those of one axis or none are float32.
    settings : NetworkSettings
        Of the network.

    Raises
    ------
    KeyError
        With the name of a tensor that is missing.
    RuntimeError, ValueError
        If tensors do not fit together.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], *, settings: NetworkSettings) -> None:
        self.cqt = CompiledNetwork(tensors, view="cqt")
        if settings.chroma_weight > 0:
            self.chroma = CompiledNetwork(tensors, view="chroma")


class CompiledNetwork:
    """Stands in for a ResNet50IBN in evaluation mode.

    Parameters
    ----------
    tensors : mapping of str to array
        As for `CompiledViews`.
    view : {"cqt", "chroma"}
        Whose statistics to use.

    Raises
    ------
    KeyError, RuntimeError, ValueError
        As `CompiledViews`.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], *, view: str) -> None:
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # instead of the CPU's fastest
            "INFERENCE_NUM_THREADS": wanted(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # or all worker processes would share one core
            "CPU_RUNTIME_CACHE_CAPACITY": _PREPARED,
        }
        builder = _Builder(tensors, view)
        model = openvino.Core().compile_model(builder.model(), "CPU", options)
        self._request, self._stem = model.create_infer_request(), builder.stem()

    def infer(self, windows: Array) -> Array:
        """Compute the embeddings of windows.

        One window at a time, because OpenVINO prepares again for every new number of windows.

        Parameters
        ----------
        windows : float32 [windows, bins, steps]
            Normalised by `mirex.features.views`.

        Returns
        -------
        float32 [windows, embedding_size]
            As `mirex.model.network.ResNet50IBN.infer` gives them.
        """
        # The request's result is overwritten by the next one.
        return np.array(
            [self._request.infer([np.ascontiguousarray(each[None, None])])[0][0] for each in windows]
        )

    def infer_moments(self, windows: Array, *, tilt: float) -> Array:
        """Compute the second moments of windows.

        Parameters
        ----------
        windows : float32 [windows, bins, steps]
            Normalised by `mirex.features.views`.
        tilt : float
            Of the bins' weights (`mirex.model.second_order.bin_weights`).

        Returns
        -------
        float32 [windows, (embedding_size / 32) ** 2]
            As `mirex.model.network.ResNet50IBN.infer_moments` gives them.
        """
        return np.array([stem_moments(each, tilt=tilt, **self._stem) for each in windows])


class _Builder:
    """The layers of one view, from tensors by name: parameters are shared, statistics are the view's own."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], view: str) -> None:
        from openvino import opset13

        self._tensors, self._view, self._ops = tensors, view, opset13

    def model(self) -> Any:
        from openvino import Model

        ops = self._ops
        windows = ops.parameter([1, 1, -1, -1], np.float32)
        x = self._convolution(windows, "stem.0", stride=2)
        x = ops.relu(self._batch_norm(x, "stem.1"))
        x = ops.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
        for stage, block in self._blocks():
            halves = stage in _HALVING_STAGES and block == 0
            x = self._bottleneck(x, f"stages.{stage}.{block}", 2 if halves else 1)
        return Model([self._neck(self._generalised_mean(x))], [windows])

    def stem(self) -> dict[str, Array]:
        """The stem as `stem_moments` takes it."""
        scale, bias = self._scale_and_bias("stem.1")
        kernel = self._parameter("stem.0.weight").astype(np.float32) * scale[:, None, None, None]
        return {"kernel": kernel, "bias": bias}

    def _blocks(self) -> list[tuple[int, int]]:
        """Stage and number in it of each block, from 0."""
        names = {tuple(name.split(".")[2:4]) for name in self._tensors if name.startswith("cqt.stages.")}
        return sorted((int(stage), int(block)) for stage, block in names)

    def _bottleneck(self, x: "Node", name: str, stride: int) -> "Node":
        ops = self._ops
        y = ops.relu(self._first_norm(self._convolution(x, f"{name}.conv1"), f"{name}.norm1"))
        y = ops.relu(self._batch_norm(self._convolution(y, f"{name}.conv2", stride=stride), f"{name}.norm2"))
        y = self._batch_norm(self._convolution(y, f"{name}.conv3"), f"{name}.norm3")
        if f"cqt.{name}.shortcut.0.weight" in self._tensors:
            x = self._convolution(x, f"{name}.shortcut.0", stride=stride)
            x = self._batch_norm(x, f"{name}.shortcut.1")
        return ops.relu(ops.add(y, x))

    def _convolution(self, x: "Node", name: str, *, stride: int = 1) -> "Node":
        kernel = self._parameter(f"{name}.weight")
        around = [(size - 1) // 2 for size in kernel.shape[2:]]
        return self._ops.convolution(x, self._constant(kernel), [stride, stride], around, around, [1, 1])

    def _first_norm(self, x: "Node", name: str) -> "Node":
        """IBN-a, where the block has it."""
        if f"cqt.{name}.instance.weight" not in self._tensors:
            return self._batch_norm(x, name)
        ops = self._ops
        scale, bias = (self._parameter(f"{name}.instance.{part}") for part in ("weight", "bias"))
        rest = len(self._parameter(f"{name}.batch.weight"))
        halves = ops.variadic_split(x, 1, [len(scale), rest])
        first = ops.mvn(halves.output(0), [2, 3], True, _EPSILON, "INSIDE_SQRT")
        first = self._affine(first, scale, bias)
        return ops.concat([first, self._batch_norm(halves.output(1), f"{name}.batch")], 1)

    def _batch_norm(self, x: "Node", name: str) -> "Node":
        scale, bias = self._scale_and_bias(name)
        return self._affine(x, scale, bias)

    def _affine(self, x: "Node", scale: NDArray[Any], bias: NDArray[Any]) -> "Node":
        ops = self._ops
        scale, bias = (each.reshape(1, -1, 1, 1) for each in (scale, bias))
        return ops.add(ops.multiply(x, self._constant(scale)), self._constant(bias))

    def _generalised_mean(self, x: "Node") -> "Node":
        ops, p = self._ops, self._parameter("pool.p")
        powered = ops.power(ops.maximum(x, self._constant(_LEAST)), self._constant(p))
        mean = ops.reduce_mean(powered, [2, 3], False)
        return ops.power(mean, self._constant(1 / p))

    def _neck(self, pooled: "Node") -> "Node":
        scale, bias = self._scale_and_bias("neck")
        return self._ops.add(self._ops.multiply(pooled, self._constant(scale)), self._constant(bias))

    def _scale_and_bias(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """What a BatchNorm does with its sealed statistics."""
        mean, variance = (self._tensors[f"{self._view}.{name}.running_{part}"] for part in ("mean", "var"))
        scale = self._parameter(f"{name}.weight") / np.sqrt(variance + np.float32(_EPSILON))
        return scale, self._parameter(f"{name}.bias") - mean * scale

    def _parameter(self, name: str) -> NDArray[Any]:
        return self._tensors[f"cqt.{name}"]

    def _constant(self, values: ArrayLike) -> "Node":
        return self._ops.constant(values, np.float32)
