"""Checkpoints: everything that a resumed run needs, as safetensors with JSON metadata; no pickle.

Tensors are named `part/name`; the optimiser's are `optimiser/<parameter>/<slot>`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mirex.errors import TrainingError
from mirex.files import appearing_whole
from mirex.model.network import tensors_of
from mirex.untrusted import parse_json


def save_checkpoint(
    modules: dict[str, nn.Module],
    *,
    optimiser: torch.optim.Optimizer,
    parameters: dict[str, nn.Parameter],
    metadata: dict[str, Any],
    path: Path,
) -> None:
    """Write a checkpoint. It appears whole, so a killed run leaves the last complete one.

    Parameters
    ----------
    modules : dict of str to Module
        The parts, by name.
    optimiser : Optimizer
        Its state is saved too.
    parameters : dict of str to Parameter
        The optimiser's parameters, by name.
    metadata : dict
        Anything that JSON can hold.
    path : Path
        The file to write.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for part, module in modules.items():
        tensors |= {f"{part}/{name}": value for name, value in tensors_of(module).items()}
    for name, parameter in parameters.items():
        for slot, value in optimiser.state[parameter].items():
            tensors[f"optimiser/{name}/{slot}"] = torch.as_tensor(value)
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        with appearing_whole(path) as temporary:
            save_file(whole, temporary, metadata={"checkpoint": json.dumps(metadata)})
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be written ({error}); free some space") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata given to `save_checkpoint`.

    Parameters
    ----------
    path : Path
        A checkpoint.

    Returns
    -------
    dict

    Raises
    ------
    TrainingError
        If the file is not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return parse_json(file.metadata()["checkpoint"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path}: not a checkpoint of 'mirex train' ({error})") from error


def load_checkpoint(
    modules: dict[str, nn.Module],
    *,
    optimiser: torch.optim.Optimizer | None,
    parameters: dict[str, nn.Parameter],
    path: Path,
) -> dict[str, Any]:
    """Load modules and optimiser in place.

    Parameters
    ----------
    modules : dict of str to Module
        The parts to load, by name.
    optimiser : Optimizer or None
        None leaves the optimiser's state out.
    parameters : dict of str to Parameter
        The optimiser's parameters, by name.
    path : Path
        A checkpoint.

    Returns
    -------
    dict
        The metadata.

    Raises
    ------
    TrainingError
        If the file is not a checkpoint, or does not fit.
    """
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        try:
            for part, module in modules.items():
                state = {n.split("/", 1)[1]: file.get_tensor(n) for n in names if n.startswith(f"{part}/")}
                _fill(module, state)
        except (KeyError, RuntimeError) as error:
            raise TrainingError(f"{path}: does not fit this network or corpus ({error})") from error
        if optimiser is not None:
            _load_optimiser(file, names, optimiser, parameters)
    return metadata


@torch.no_grad()
def _fill(module: nn.Module, state: dict[str, Tensor]) -> None:
    for name, tensor in tensors_of(module).items():
        if state[name].shape != tensor.shape:  # a copy would spread a smaller tensor over a larger one
            raise RuntimeError(f"{name} of shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}")
        tensor.copy_(state[name])


def _load_optimiser(
    file: Any, names: list[str], optimiser: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]
) -> None:
    for name, parameter in parameters.items():
        prefix = f"optimiser/{name}/"
        for key in (n for n in names if n.startswith(prefix)):
            value = file.get_tensor(key)
            slot = key.removeprefix(prefix)
            # On the parameter's device and in its memory layout, which the fused optimiser assumes.
            like = parameter.new_empty(()) if slot == "step" else torch.empty_like(parameter)
            optimiser.state[parameter][slot] = like.copy_(value)
