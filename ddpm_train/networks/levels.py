"""The levels of the U-Net: the blocks of one resolution, and the way to the next one."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.architectures import UNetConfig
from ddpm_train.fast.layers import Convolution, enlarge
from ddpm_train.networks.blocks import BLOCKS, Attention, ResidualBlock, double, halve

_PADDINGS = {"bottom_right": (0, 1, 0, 1), "both": (1, 1, 1, 1)}  # left, right, top, bottom


class Level(nn.Module):
    """The blocks of one resolution on one of the two ways; attention is behind the last of them."""

    def __init__(
        self,
        config: UNetConfig,
        level: int,
        channels_in: Iterable[int],
        *,
        attends: str = "every",
    ) -> None:
        """Build a block for each number of ``channels_in``.

        Args:
            config: The network's settings.
            level: 0 is the highest resolution.
            channels_in: Of each block.
            attends: Where the level has attention: behind ``every`` block, or the ``last``.
        """
        super().__init__()
        channels = config.base_channels * config.channel_mult[level]
        has_attention = config.image_size >> level in config.attn_resolutions
        inputs = list(channels_in)
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleList()
        for i, c in enumerate(inputs):
            self.blocks.append(BLOCKS[config.time_modulation](config, level, c, channels))
            if has_attention and (attends == "every" or i + 1 == len(inputs)):
                self.attentions.append(Attention(config, channels))

    def attention_behind(self, i: int) -> Attention | None:
        """The attention behind block i, if there is one."""
        index = i - len(self.blocks) + len(self.attentions)
        return cast(Attention, self.attentions[index]) if index >= 0 else None

    def step(self, i: int, x: Tensor, temb: Tensor, keep: Tensor | None) -> Tensor:
        """Go through block i and the attention behind it."""
        h: Tensor = self.blocks[i](x, temb, keep)
        attention = self.attention_behind(i)
        return h if attention is None else attention(h)


class Down(Level):
    """One resolution on the way down, then half the size."""

    def __init__(self, config: UNetConfig, level: int, channels_in: int) -> None:
        channels = config.base_channels * config.channel_mult[level]
        super().__init__(config, level, [channels_in] + [channels] * (config.num_res_blocks - 1))
        self.downsample: nn.Module | None = None
        self.padding = _PADDINGS[config.pad_down]
        if level + 1 == len(config.channel_mult):
            return
        if config.resample == "conv":
            self.downsample = nn.Conv2d(channels, channels, 3, stride=2)
        elif config.resample == "block":
            block = BLOCKS[config.time_modulation]
            self.downsample = block(config, level + 1, channels, channels, halve)
        else:
            self.downsample = nn.AvgPool2d(2)

    def forward(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> list[Tensor]:
        """Give every output for the way up; the last one is the level's own."""
        outputs = []
        for i in range(len(self.blocks)):
            x = self.step(i, x, temb, keep)
            outputs.append(x)
        if isinstance(self.downsample, ResidualBlock):
            outputs.append(self.downsample(x, temb, keep))
        elif isinstance(self.downsample, nn.Conv2d):
            # The paper's zeros lie below and to the right only, as TensorFlow pads for a stride.
            outputs.append(self.downsample(F.pad(x, self.padding)))
        elif self.downsample is not None:
            outputs.append(self.downsample(x))
        return outputs


class Middle(nn.Module):
    """The lowest resolution, between the two ways."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        level = len(config.channel_mult) - 1
        block = BLOCKS[config.time_modulation]
        self.block_0 = block(config, level, channels, channels)
        self.attention = Attention(config, channels)
        self.block_1 = block(config, level, channels, channels)

    def forward(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> Tensor:
        """Give the output, of the input's shape."""
        h: Tensor = self.block_1(self.attention(self.block_0(x, temb, keep)), temb, keep)
        return h


class Up(Level):
    """One resolution on the way up, then twice the size.

    Each block takes the output of the one before and, behind it, one from the way down.
    """

    def __init__(self, config: UNetConfig, level: int, channels_in: int, skips: list[int]) -> None:
        channels = config.base_channels * config.channel_mult[level]
        before = [channels_in] + [channels] * config.num_res_blocks
        inputs = map(sum, zip(before, skips, strict=True))
        super().__init__(config, level, inputs, attends=config.attn_up)
        self.upsample: nn.Module | None = None
        if not level:
            return
        if config.resample == "conv":
            self.upsample = Convolution(channels, channels)
        elif config.resample == "block":
            block = BLOCKS[config.time_modulation]
            self.upsample = block(config, level - 1, channels, channels, double)
        else:
            self.upsample = nn.Upsample(scale_factor=2.0)

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor, keep: Tensor | None) -> Tensor:
        """Give the level's output; takes what it uses off the end of ``skips``."""
        for i in range(len(self.blocks)):
            x = self.step(i, torch.cat([x, skips.pop()], 1), temb, keep)
        if isinstance(self.upsample, ResidualBlock):
            return cast(Tensor, self.upsample(x, temb, keep))
        if isinstance(self.upsample, nn.Conv2d):
            return enlarge(x, self.upsample)
        return x if self.upsample is None else cast(Tensor, self.upsample(x))
