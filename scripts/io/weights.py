# SPDX-License-Identifier: Apache-2.0
"""Weights in files: read without unpickling, written whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from scripts.io.files import FilePath, refuse_pointer
from scripts.io.writing import whole_file
from scripts.runtime import InputError


def load_weights(network: nn.Module, path: FilePath | None, name: str = "network") -> nn.Module:
    """Load a file of weights into a network.

    Args:
        network: network that gets the weights.
        path: path of the weights, as in `read_weights`; None leaves the network as it is.
        name: name of the network in a checkpoint.

    Returns:
        The network.

    Raises:
        InputError: if the file is missing or unreadable, or does not fit the network (it names what differs).
    """
    if path is None:
        return network
    state = read_weights(path, name)
    wanted = network.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    unexpected = sorted(map(str, state.keys() - wanted.keys()))
    reshaped = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    differences = [
        f"{title} {len(found)} ({found[0]}{', ...' if len(found) > 1 else ''})"
        for title, found in (("missing", missing), ("unknown", unexpected), ("other shape", reshaped))
        if found
    ]
    if differences:
        raise InputError(f"{path}: does not fit the network: {'; '.join(differences)}; give its own network_def")
    network.load_state_dict(state)
    return network


def read_weights(path: FilePath, name: str = "network") -> dict[str, Tensor]:
    """Read a state_dict: a .safetensors file, a torch file, or the `network` of a checkpoint.

    Args:
        path: path of the file.
        name: name of the network in a checkpoint.

    Raises:
        InputError: if it is missing or unreadable, or holds anything but finite tensors.
    """
    content = read_checkpoint(path)
    state = content.get(name, content)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds more or other things than tensors; give a state_dict")
    broken = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{path}: {broken[0]} is NaN or infinite; give weights of a training that went well")
    return state


def write_safetensors(weights: str, output: str) -> None:
    """Write weights as safetensors, which no reader has to unpickle.

    Args:
        weights: path of the weights, as in `read_weights`.
        output: path of the file to write, which ends in `.safetensors`.

    Raises:
        InputError: as `read_weights`, or if `output` does not end in .safetensors or cannot be written.
    """
    if Path(output).suffix != ".safetensors":
        raise InputError(f"{output}: want a name that ends in .safetensors, by which such files are known")
    content = safetensors_bytes(read_weights(weights), metadata={"format": "pt"})
    with whole_file(output) as file:
        file.write_bytes(content)


def read_checkpoint(path: FilePath) -> dict[str, Any]:
    """Read what a file of weights or a checkpoint holds, without unpickling it.

    Args:
        path: a .safetensors file, or one of torch.

    Raises:
        InputError: if it is missing or cannot be read safely.
    """
    refuse_pointer(path)
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; train first, or give other weights with --weights") from error
    except Exception as error:  # of any kind: the readers check little before they read
        raise InputError(f"{path}: not a file of weights that can be read safely; give a state_dict") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds {type(content).__name__}, not weights; give a state_dict")
    return content
