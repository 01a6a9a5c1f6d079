"""The parts of NCSN's RefineNet (Song and Ermon 2019, appendix A; Lin et al. 2017).

A block brings the output of its level and that of the block below together and refines them. In
the first NCSN a norm that knows the noise level stands before every convolution.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.networks.instance_norm import InstanceNormPlus

_STAGES = 2


def convolution(
    channels_in: int, channels: int, *, dilation: int = 1, bias: bool = True
) -> nn.Conv2d:
    """A 3x3 convolution of the same size."""
    return nn.Conv2d(channels_in, channels, 3, padding=dilation, dilation=dilation, bias=bias)


class Residual(nn.Module):
    """Twice norm, ELU and a 3x3 convolution, added to the input; of half the size, or dilated."""

    def __init__(
        self, channels_in: int, channels: int, levels: int, *, down: bool = False, dilation: int = 1
    ) -> None:
        super().__init__()
        self.halves = down and dilation == 1
        inner = channels_in if down else channels
        self.normalize1 = InstanceNormPlus(channels_in, levels)
        self.conv1 = convolution(channels_in, inner, dilation=dilation)
        self.normalize2 = InstanceNormPlus(inner, levels)
        self.conv2 = convolution(inner, channels, dilation=dilation)
        self.shortcut: nn.Conv2d | None = None
        if down or channels_in != channels:
            self.shortcut = (
                convolution(channels_in, channels, dilation=dilation)
                if dilation > 1
                else nn.Conv2d(channels_in, channels, 1)
            )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Evaluate, [B, C_in, H, W] -> [B, C, H, W] or half of it."""
        h = self.conv1(F.elu(self.normalize1(x, level)))
        h = self.conv2(F.elu(self.normalize2(h, level)))
        total: Tensor = h + (x if self.shortcut is None else self.shortcut(x))
        return F.avg_pool2d(total, 2) if self.halves else total


class Convolutions(nn.Module):
    """Residual units: each twice (norm,) ELU and a 3x3 convolution, added to its input."""

    def __init__(self, channels: int, units: int, levels: int) -> None:
        super().__init__()
        count = units * _STAGES
        self.convs = nn.ModuleList(
            convolution(channels, channels, bias=False) for _ in range(count)
        )
        self.norms = nn.ModuleList(
            InstanceNormPlus(channels, levels) for _ in range(count if levels else 0)
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Evaluate, [B, C, H, W] -> [B, C, H, W]."""
        h = x
        for i, conv in enumerate(self.convs):
            h = self.norms[i](h, level) if self.norms else h
            h = conv(F.elu(h))
            if i % _STAGES == _STAGES - 1:
                x = h = h + x
        return x


class Fusion(nn.Module):
    """The sum of inputs of several sizes, each through a 3x3 convolution."""

    def __init__(self, channels_in: Sequence[int], channels: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convolution(c, channels) for c in channels_in)
        self.norms = nn.ModuleList(
            InstanceNormPlus(c, levels) for c in (channels_in if levels else ())
        )

    def forward(self, inputs: Sequence[Tensor], level: Tensor) -> Tensor:
        """Sum at the size of the first, bilinearly with the corners in place."""
        size, total = inputs[0].shape[2:], torch.zeros(())
        for i, (conv, x) in enumerate(zip(self.convs, inputs, strict=True)):
            h = conv(self.norms[i](x, level) if self.norms else x)
            h = F.interpolate(h, size=size, mode="bilinear", align_corners=True)
            total = total.to(h) + h
        return total


class Pooling(nn.Module):
    """A chain of 5x5 pools and 3x3 convolutions, each added.

    Pools take the largest pixel, or with norms the mean.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            convolution(channels, channels, bias=False) for _ in range(_STAGES)
        )
        self.norms = nn.ModuleList(
            InstanceNormPlus(channels, levels) for _ in range(_STAGES if levels else 0)
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Evaluate, [B, C, H, W] -> [B, C, H, W]."""
        x = path = F.elu(x)
        for i, conv in enumerate(self.convs):
            if self.norms:
                path = F.avg_pool2d(self.norms[i](path, level), 5, stride=1, padding=2)
            else:
                path = F.max_pool2d(path, 5, stride=1, padding=2)
            path = conv(path)
            x = x + path
        return x


class Refine(nn.Module):
    """One block of the way up, at the size of its first input."""

    def __init__(
        self, channels_in: Sequence[int], channels: int, levels: int, *, units: int = 1
    ) -> None:
        """Build a block; ``units`` are the residual units at its end."""
        super().__init__()
        self.adapt = nn.ModuleList(Convolutions(c, 2, levels) for c in channels_in)
        self.fusion = Fusion(channels_in, channels, levels) if len(channels_in) > 1 else None
        self.pooling = Pooling(channels, levels)
        self.output = Convolutions(channels, units, levels)

    def forward(self, inputs: Sequence[Tensor], level: Tensor) -> Tensor:
        """Evaluate, each [B, C_i, H_i, W_i] -> [B, C, H_0, W_0]."""
        adapted = [unit(x, level) for unit, x in zip(self.adapt, inputs, strict=True)]
        h = adapted[0] if self.fusion is None else self.fusion(adapted, level)
        refined: Tensor = self.output(self.pooling(h, level), level)
        return refined
