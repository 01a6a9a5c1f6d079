"""The weights of a network: the network that they fit, and the digest that they are known by."""

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from ddpm_train import networks
from ddpm_train.config import ModelConfig, schedule_of_levels
from ddpm_train.errors import FixableError
from ddpm_train.networks import ImageNetwork
from ddpm_train.settings import to_dict

Tensors = dict[str, Tensor]

_LATER = {
    "schedule.snr_start": 1e4,
    "schedule.snr_end": 1e-4,
    "unet.fourier": [],
    "unet.classes": 0,
    "unet.resample": "conv",
    "unet.time_first": 0.0,
    "unet.time_channels": 0,
    "unet.attn_up": "every",
    "unet.group_channels": 1,
    "objective.times": "uniform",
}
"""Settings that models had no choice of at first, and the value that all of them have."""


def build_network(model: ModelConfig, *, seed: int | None = 0) -> ImageNetwork:
    """Build the network of a model's settings, initialised from ``seed``, or of shapes only.

    Raises:
        FixableError: The settings describe no network, or one of another schedule.
    """
    _require_levels(model)
    out_channels = model.net.channels * (2 if model.objective.learns_variance else 1)
    return networks.build(model.net, out_channels=out_channels, seed=seed)


def _require_levels(model: ModelConfig) -> None:
    """Refuse a score network whose levels of noise are not those of the schedule."""
    if model.network != "refinenet":
        return
    ours, own = to_dict(model.schedule), to_dict(schedule_of_levels(model.refinenet))
    names = [name for name in ("kind", "T", "snr_start", "snr_end") if ours[name] != own[name]]
    if names:
        raise FixableError(
            f"schedule.{names[0]}={ours[names[0]]}: not that of the levels of noise, "
            f"{own[names[0]]} (refinenet.levels, sigma_begin, sigma_end)",
            " ".join(f"--set schedule.{name}={own[name]}" for name in names),
        )


def load_weights(net: torch.nn.Module, weights: Tensors) -> None:
    """Copy weights into a network, by name and shape.

    Raises:
        FixableError: Names or shapes differ, and the first three differences are named; or a
            weight is no real number.
    """
    check_weights(net, weights)
    net.load_state_dict(weights)


def check_weights(net: torch.nn.Module, weights: Tensors) -> None:
    """Compare names and shapes with a network's, which may be on the device ``meta``.

    Raises:
        FixableError: They differ, and the first three are named; or a weight is no real number.
    """
    for name, tensor in weights.items():
        require_real(name, tensor)
    ours = net.state_dict()
    wrong = [f"{name} is missing" for name in ours.keys() - weights.keys()]
    wrong += [f"{name} is not part of this network" for name in weights.keys() - ours.keys()]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(ours[name].shape)}"
        for name in ours.keys() & weights.keys()
        if weights[name].shape != ours[name].shape
    ]
    if wrong:
        raise FixableError(
            f"{len(wrong)} weights do not fit the network: {'; '.join(sorted(wrong)[:3])}",
            "set the network's settings as the checkpoint was trained",
        )


def require_real(name: str, tensor: Tensor) -> None:
    """Refuse a weight that is no real number.

    Raises:
        FixableError: Names it and its type.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise FixableError(f"{name} holds {kind} numbers", "save the weights as float32")


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and bytes."""
    tensor = tensor.detach().cpu().contiguous()
    sha = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    sha.update(tensor.flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def weights_digest(weights: Tensors, model: ModelConfig, errors: Tensor | None = None) -> str:
    """SHA-256 of what is measured: these weights in this model, whatever file holds them.

    ``errors`` are the errors of x_0_hat that the model's variance follows from, if it does.
    """
    sha = hashlib.sha256(json.dumps(_identity(model), sort_keys=True).encode())
    for name in sorted(weights):
        sha.update(f"{name} {tensor_digest(weights[name])} ".encode())
    if errors is not None:
        sha.update(f"errors {tensor_digest(errors)} ".encode())
    return sha.hexdigest()


def _identity(model: ModelConfig) -> dict[str, Any]:
    """The settings that tell models apart: a new setting renames no model that does not use it."""
    plain = to_dict(model)
    for key, value in _LATER.items():
        group, _, name = key.partition(".")
        if plain.get(group, {}).get(name) == value:
            del plain[group][name]
    return plain
