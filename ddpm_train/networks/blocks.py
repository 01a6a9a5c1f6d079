"""The blocks of the U-Net (appendix B): residual blocks and attention.

Activations lie in memory as [B, H, W, C] (``channels_last``): convolutions are fastest so, on CPUs
and GPUs alike.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.architectures import NcsnppConfig, UNetConfig
from ddpm_train.fast.layers import GROUPS, Convolution, GroupNorm, attend

Resize = Callable[[Tensor], Tensor]
BlockConfig = UNetConfig | NcsnppConfig
"""The settings of networks that are made of these blocks."""


def norm(config: BlockConfig, channels: int) -> GroupNorm:
    """Group norm of 32 groups, or fewer that have ``config.group_channels`` each."""
    return GroupNorm(min(GROUPS, channels // config.group_channels), channels, config.norm_eps)


def halve(x: Tensor) -> Tensor:
    """Take the mean of every 2x2 pixels, [B, C, H, W] -> [B, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    """Repeat every pixel in both directions, [B, C, H, W] -> [B, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class ResidualBlock(nn.Module):
    """Twice norm, swish and a 3x3 convolution, with the time in between, added to the input.

    Between its convolutions it has ``elements`` activations for each image; dropout keeps those
    that ``keep[:, first : first + elements]`` names, in the order [H, W, C].

    Between two levels ``resize`` changes the size before the first convolution, and that of the
    input.
    """

    first: int

    def __init__(
        self,
        config: BlockConfig,
        level: int,
        channels_in: int,
        channels: int,
        resize: Resize | None = None,
    ) -> None:
        """Build a block whose output has the size of ``level``."""
        super().__init__()
        self.norm1 = norm(config, channels_in)
        self.conv1 = Convolution(channels_in, channels)
        self.temb_proj = nn.Linear(config.embedding_channels, channels)
        self.norm2 = norm(config, channels)
        self.conv2 = Convolution(channels, channels)
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None
        self.boost = 1 / (1 - config.dropout)
        self.elements = channels * (config.image_size >> level) ** 2
        self.resize = resize

    def forward(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> Tensor:
        """Evaluate, [B, C_in, H, W] -> [B, C, H, W]; ``temb`` is after its swish."""
        h: Tensor = self.norm1(x, swish=True)
        if self.resize is not None:
            h, x = self.resize(h), self.resize(x)
        h = self.conv1(h)
        h = self.modulate(h, self.temb_proj(temb)[:, :, None, None])
        if keep is not None:
            B, C, H, W = h.shape
            mask = keep[:, self.first : self.first + self.elements].view(B, H, W, C)
            h = (h * mask.permute(0, 3, 1, 2)).mul_(self.boost)
        h = self.conv2(h)
        return h.add_(x if self.shortcut is None else self.shortcut(x))

    def modulate(self, h: Tensor, time: Tensor) -> Tensor:
        """Add the time embedding, then norm and swish, [B, C, H, W]."""
        modulated: Tensor = self.norm2(h.add_(time), swish=True)
        return modulated


class ScaleShiftBlock(ResidualBlock):
    """A residual block whose second norm is scaled and shifted by the time, as in improved DDPM."""

    def __init__(
        self,
        config: BlockConfig,
        level: int,
        channels_in: int,
        channels: int,
        resize: Resize | None = None,
    ) -> None:
        super().__init__(config, level, channels_in, channels, resize)
        self.temb_proj = nn.Linear(config.embedding_channels, 2 * channels)

    def modulate(self, h: Tensor, time: Tensor) -> Tensor:
        """Scale by the first half of the time embedding, shift by the second, then swish."""
        scale, shift = time.chunk(2, dim=1)
        modulated: Tensor = F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale))
        return modulated


BLOCKS = {"shift": ResidualBlock, "scale_shift": ScaleShiftBlock}
"""By ``UNetConfig.time_modulation``."""


class Attention(nn.Module):
    """Self-attention over all pixels, in the paper with one head, added to the input."""

    def __init__(self, config: BlockConfig, channels: int) -> None:
        super().__init__()
        self.heads = config.heads_of(channels)
        self.norm = norm(config, channels)
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate, [B, C, H, W] -> [B, C, H, W]."""
        B, C, H, W = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(B, H * W, C)
        q, k, v = (
            dense(pixels).view(B, H * W, self.heads, C // self.heads).transpose(1, 2)
            for dense in (self.q, self.k, self.v)
        )
        h = attend(q, k, v).transpose(1, 2).reshape(B, H * W, C)
        h = self.proj(h).view(B, H, W, C).permute(0, 3, 1, 2)
        return x.add(h)


def share_dropout(network: nn.Module) -> int:
    """Give every residual block its part of a row of ``keep``; return the row's length."""
    first = 0
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.first = first
            first += module.elements
    return first
