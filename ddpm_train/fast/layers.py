"""The layers of the networks, each by the fastest algorithm on its device.

This is the one seam between ``networks`` and the fast kernels: a layer has the weights and the
meaning of PyTorch's own, and chooses by device, precision and size how it computes.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.fast import enlarging, winograd
from ddpm_train.fast.norm import GROUPS, GroupNorm

__all__ = ["GROUPS", "Convolution", "GroupNorm", "attend", "enlarge"]

_MOST_PAIRS = 1 << 22  # of an image's pixels, whose scores fit into memory


class Convolution(nn.Conv2d):
    """A 3x3 convolution of the same size, on CPUs with half the multiplications where that pays."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve, [B, C_in, H, W] -> [B, C, H, W]."""
        dtype = _computes_in(input)
        if dtype and winograd.suits(self.in_channels, self.out_channels, input.shape[2], dtype):
            return winograd.convolve(input, self.weight, cast(Tensor, self.bias), dtype)
        return super().forward(input)


def enlarge(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Enlarge by nearest neighbours, then convolve, [B, C, H, W] -> [B, K, 2H, 2W].

    On CPUs both at once where that pays.
    """
    dtype = _computes_in(x)
    if dtype and enlarging.suits(layer.in_channels, dtype):
        return enlarging.convolve(x, layer.weight, cast(Tensor, layer.bias), dtype)
    enlarged: Tensor = layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    return enlarged


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(C)) v, each [B, heads, pixels, C]; the softmax is in float32.

    PyTorch's own multiplies bf16 numbers as float32 on CPUs without matrix units.
    """
    pairs = q.shape[1] * q.shape[2] ** 2
    if q.dtype != torch.bfloat16 or q.device.type != "cpu" or pairs > _MOST_PAIRS:
        return F.scaled_dot_product_attention(q, k, v)
    scores = (q @ k.transpose(-1, -2)).float().mul_(q.shape[-1] ** -0.5)
    h: Tensor = scores.softmax(-1).to(q.dtype) @ v
    return h


def _computes_in(x: Tensor) -> torch.dtype | None:
    """The precision of a layer's products with this input on a CPU; None elsewhere or compiled."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    if x.dtype == torch.float64:
        return x.dtype  # autocast leaves it alone
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
