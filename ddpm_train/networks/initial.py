"""Initial weights, as the authors' code draws them: a function of the seed alone."""

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_train.networks.blocks import Attention, ResidualBlock
from ddpm_train.noise import Stream

_NORM_DEVIATION = 0.02  # of the scales of NCSN's norms about 1
_NEARLY_ZERO = 1e-5  # the gain of layers that start as "zero": the root of the scale 1e-10


def initialise(network: nn.Module, seed: int, *, last: nn.Module) -> None:
    """Draw every weight uniformly, with variance gain^2 / (mean of fan in and fan out).

    The last layer of every block, and ``last``, begin nearly at zero. Embeddings of classes are
    standard normal.
    """
    stream = Stream(seed, "init")
    nearly_zero: set[nn.Module] = {last}
    for index, module in enumerate(network.modules()):
        if isinstance(module, ResidualBlock):
            nearly_zero.add(module.conv2)
        elif isinstance(module, Attention):
            nearly_zero.add(module.proj)
        elif isinstance(module, nn.GroupNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            draws = stream.generator(index).standard_normal(module.weight.shape)
            module.weight.detach().copy_(torch.from_numpy(draws))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            fans = weight.numel() / weight.shape[0] + weight.numel() / weight.shape[1]
            bound = math.sqrt(6 / fans) * (_NEARLY_ZERO if module in nearly_zero else 1.0)
            draws = stream.generator(index).uniform(-bound, bound, weight.shape)
            weight.copy_(torch.from_numpy(draws))
            nn.init.zeros_(cast(Tensor, module.bias))


def draw_as_pytorch(network: nn.Module, seed: int) -> None:
    """Draw weights uniformly within 1 / sqrt(fan in), as PyTorch does, from the seed alone.

    The scales of norms are drawn about 1, their shifts are 0 (NCSN's own).
    """
    stream = Stream(seed, "init")
    for index, (name, parameter) in enumerate(network.named_parameters()):
        values, generator = parameter.detach(), stream.generator(index)
        if name.endswith("embed.weight"):
            draws = generator.normal(1, _NORM_DEVIATION, values.shape)
            draws[:, 2 * draws.shape[1] // 3 :] = 0
        elif name.endswith(("alpha", "gamma")):
            draws = generator.normal(1, _NORM_DEVIATION, values.shape)
        elif values.ndim > 1:
            bound = (values.numel() / len(values)) ** -0.5
            draws = generator.uniform(-bound, bound, values.shape)
        else:
            draws = np.zeros(values.shape)
        values.copy_(torch.from_numpy(draws))
