"""The paper's U-Net (appendix B), as the authors' code has it to the last padding.

The network draws no random number: what dropout keeps is an argument.
"""

from collections.abc import Iterable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train import settings
from ddpm_train.config import UNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast.layers import GROUPS, Convolution, enlarge
from ddpm_train.networks.base import ImageNetwork, check_condition
from ddpm_train.networks.blocks import BLOCKS, Attention, ResidualBlock, norm
from ddpm_train.networks.embeddings import fourier, time_embedding
from ddpm_train.networks.initial import initialise

_PADDINGS = {"bottom_right": (0, 1, 0, 1), "both": (1, 1, 1, 1)}  # left, right, top, bottom


class Level(nn.Module):
    """The blocks of one resolution on one of the two ways, each with its attention if any."""

    def __init__(self, config: UNetConfig, level: int, channels_in: Iterable[int]) -> None:
        super().__init__()
        channels = config.base_channels * config.channel_mult[level]
        attends = config.image_size >> level in config.attn_resolutions
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleList()
        for c in channels_in:
            self.blocks.append(BLOCKS[config.time_modulation](config, level, c, channels))
            if attends:
                self.attentions.append(Attention(config, channels))

    def step(self, i: int, x: Tensor, temb: Tensor, keep: Tensor | None) -> Tensor:
        """Go through block i and the attention behind it."""
        h: Tensor = self.blocks[i](x, temb, keep)
        return self.attentions[i](h) if self.attentions else h


class Down(Level):
    """One resolution on the way down, then half the size."""

    def __init__(self, config: UNetConfig, level: int, channels_in: int) -> None:
        channels = config.base_channels * config.channel_mult[level]
        super().__init__(config, level, [channels_in] + [channels] * (config.num_res_blocks - 1))
        last = level + 1 == len(config.channel_mult)
        self.downsample = None if last else nn.Conv2d(channels, channels, 3, stride=2)
        self.padding = _PADDINGS[config.pad_down]

    def forward(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> list[Tensor]:
        """Give every output for the way up; the last one is the level's own."""
        outputs = []
        for i in range(len(self.blocks)):
            x = self.step(i, x, temb, keep)
            outputs.append(x)
        if self.downsample is not None:
            # The paper's zeros lie below and to the right only, as TensorFlow pads for a stride.
            outputs.append(self.downsample(F.pad(x, self.padding)))
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
        super().__init__(config, level, map(sum, zip(before, skips, strict=True)))
        self.upsample = Convolution(channels, channels) if level else None

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor, keep: Tensor | None) -> Tensor:
        """Give the level's output; takes what it uses off the end of ``skips``."""
        for i in range(len(self.blocks)):
            x = self.step(i, torch.cat([x, skips.pop()], 1), temb, keep)
        return x if self.upsample is None else enlarge(x, cast(nn.Conv2d, self.upsample))


class UNet(ImageNetwork):
    """The network: x_t and t in, the objective's prediction out.

    >>> unet = UNet(UNetConfig(dropout=0.0), out_channels=3)
    >>> f"{sum(p.numel() for p in unet.parameters()):,}"
    '35,746,307'
    """

    def __init__(self, config: UNetConfig, *, out_channels: int, seed: int = 0) -> None:
        """Build the network with the paper's initial weights, which depend on the seed alone.

        Raises:
            FixableError: The settings describe no network.
        """
        super().__init__()
        _check(config)
        width = config.base_channels
        self.classes, self.fourier = config.classes, config.fourier
        self.sines = partial(
            time_embedding,
            channels=width,
            order=config.time_order,
            freq_shift=config.time_freq_shift,
            scale=config.time_scale,
        )
        widths = [width * mult for mult in config.channel_mult]
        with torch.device("meta"):  # shapes only: PyTorch's own initial weights are not wanted
            self.time_dense_0 = nn.Linear(width, 4 * width)
            self.time_dense_1 = nn.Linear(4 * width, 4 * width)
            inputs = config.channels * (1 + 2 * len(config.fourier))
            self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
            skips = [width]
            self.down = nn.ModuleList()
            for level, channels in enumerate(widths):
                self.down.append(Down(config, level, skips[-1]))
                skips += [channels] * (config.num_res_blocks + (level + 1 < len(widths)))
            self.middle = Middle(config, widths[-1])
            self.up = nn.ModuleList()
            for level in reversed(range(len(widths))):
                channels_in = widths[min(level + 1, len(widths) - 1)]
                concatenated = [skips.pop() for _ in range(config.num_res_blocks + 1)]
                self.up.insert(0, Up(config, level, channels_in, concatenated))
            self.norm_out = norm(config, widths[0])
            self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
            self.labels = nn.Embedding(config.classes, 4 * width) if config.classes else None
        self.to(memory_format=torch.channels_last)
        self.to_empty(device="cpu")
        initialise(self, seed, last=self.conv_out)
        self.dropout_elements = self._share_dropout() if config.dropout else 0

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Predict, [B, C, H, W] in about [-1, 1] -> [B, out_channels, H, W].

        Args:
            x: The noisy images.
            t: The paper's time 1..T of each image, [B].
            condition: The class label of each image, [B] int64; None for a network without classes.
            keep: What dropout keeps, [B, dropout_elements] bool (``noise.keep_mask``), scaled by
                1 / (1 - dropout). None keeps everything, unscaled: evaluation.
        """
        temb = self.embed(t.to(x.device, non_blocking=x.is_cuda), condition)
        x = fourier(x, self.fourier)
        skips = [self.conv_in(x.contiguous(memory_format=torch.channels_last))]
        for down in self.down:
            skips += down(skips[-1], temb, keep)
        h = self.middle(skips[-1], temb, keep)
        for up in reversed(self.up):
            h = up(h, skips, temb, keep)
        output: Tensor = self.conv_out(self.norm_out(h, swish=True))
        return output

    def embed(self, t: Tensor, condition: Tensor | None) -> Tensor:
        """Embed times and labels for all blocks, [B] -> [B, 4 base_channels], after the swish."""
        check_condition(condition, self.classes)
        temb = self.sines(t).to(self.time_dense_0.weight.dtype)
        temb = self.time_dense_1(F.silu(self.time_dense_0(temb)))
        if self.labels is not None and condition is not None:
            temb = temb + self.labels(condition.to(temb.device, non_blocking=temb.is_cuda))
        return F.silu(temb)

    def _share_dropout(self) -> int:
        """Give every residual block its part of a row of ``keep``; return the row's length."""
        first = 0
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.first = first
                first += module.elements
        return first


def _check(config: UNetConfig) -> None:
    """Raise a FixableError if no network has these settings."""
    settings.check(config, "unet.")
    levels, size = len(config.channel_mult), config.image_size
    if config.base_channels % GROUPS:
        raise FixableError(
            f"unet.base_channels={config.base_channels} does not split into {GROUPS} groups",
            f"choose a multiple of {GROUPS}",
        )
    if size % 2 ** (levels - 1):
        raise FixableError(
            f"unet.image_size={size} cannot be halved {levels - 1} times",
            f"choose a multiple of {2 ** (levels - 1)}, or fewer levels in unet.channel_mult",
        )
    sizes = [size >> level for level in range(levels)]
    strange = [str(size) for size in config.attn_resolutions if size not in sizes]
    if strange:
        raise FixableError(
            f"unet.attn_resolutions: no level has {' or '.join(strange)} pixels",
            f"choose among {', '.join(map(str, sizes))}",
        )
    deepest = config.base_channels * config.channel_mult[-1]
    if deepest % config.heads or deepest % max(1, config.head_channels):
        raise FixableError(
            f"unet.heads={config.heads}, unet.head_channels={config.head_channels} do not split "
            f"{deepest} channels",
            f"choose a divisor of {deepest}",
        )
    half = config.base_channels // 2
    if config.time_freq_shift >= half:
        raise FixableError(
            f"unet.time_freq_shift={config.time_freq_shift}: there are {half} frequencies",
            f"choose less than {half}; most systems have 0 or 1",
        )
