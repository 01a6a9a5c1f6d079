"""Times and pixel values as waves."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

# The order of sines and cosines in other systems; the paper's is the first.
_ORDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sin_cos": lambda sines, cosines: torch.cat([sines, cosines], 1),
    "cos_sin": lambda sines, cosines: torch.cat([cosines, sines], 1),
    "interleaved": lambda sines, cosines: torch.stack([sines, cosines], 2).flatten(1),
}


def time_embedding(
    t: Tensor,
    channels: int,
    *,
    order: str = "sin_cos",
    freq_shift: int = 1,
    scale: float = 1.0,
    first: float = 0.0,
) -> Tensor:
    """Turn the paper's t into sines, then cosines, [B] -> [B, channels] float64.

    The angles are (t - 1) 10000^(-j/(half - 1)), j = 0 .. half - 1, half = channels / 2: the
    released weights count time from 0.

    Args:
        t: Times.
        channels: Twice the number of angles.
        order: The settings from here on are those of ``UNetConfig``.
        freq_shift: What is taken from ``half`` in the exponent.
        scale: Stretches time.
        first: What the network takes at t = 1, added to (t - 1) scale.

    >>> time_embedding(torch.tensor([1, 2]), 4)
    tensor([[0.0000e+00, 0.0000e+00, 1.0000e+00, 1.0000e+00],
            [8.4147e-01, 1.0000e-04, 5.4030e-01, 1.0000e+00]], dtype=torch.float64)
    """
    half = channels // 2
    # Apple's GPUs have no float64.
    wide = torch.float32 if t.device.type == "mps" else torch.float64
    exponents = torch.arange(half, device=t.device, dtype=wide) / (half - freq_shift)
    times = first + scale * (t - 1).to(wide)
    angles = times[:, None] * torch.exp(-math.log(10_000) * exponents)
    return _ORDERS[order](angles.sin(), angles.cos())


def random_fourier(times: Tensor, frequencies: Tensor) -> Tensor:
    """Turn times into sin(2 pi w t), then cosines, [B] and [N] -> [B, 2N] (Tancik et al. 2020)."""
    angles = 2 * math.pi * times[:, None] * frequencies.to(times.dtype)
    return torch.cat([angles.sin(), angles.cos()], 1)


def fourier(x: Tensor, exponents: Iterable[int]) -> Tensor:
    """Add sin(2^n pi x) and cos(2^n pi x) as channels, [B, C, H, W] -> [B, C (1 + 2N), H, W].

    They separate levels that lie close: the period of n = 7 is two of 256 (Kingma et al. 2021,
    appendix C). No exponents: x itself.

    >>> fourier(torch.full((1, 1, 1, 1), 0.125), (1, 2)).flatten().round(decimals=3)
    tensor([0.1250, 0.7070, 0.7070, 1.0000, -0.0000])
    """
    angles = [2**n * math.pi * x for n in exponents]
    waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return torch.cat([x, *waves], 1) if waves else x
