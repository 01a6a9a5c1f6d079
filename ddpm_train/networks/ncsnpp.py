"""DDPM++ and NCSN++ (Song et al. 2021, appendix H): the networks of score_sde.

EDM's SongUNet is the same function.
"""

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train import settings
from ddpm_train.architectures import NcsnppConfig
from ddpm_train.errors import FixableError
from ddpm_train.networks import blocks, filters
from ddpm_train.networks.base import ImageNetwork, check_condition
from ddpm_train.networks.blocks import Attention, ResidualBlock, norm, share_dropout
from ddpm_train.networks.embeddings import random_fourier, time_embedding
from ddpm_train.networks.initial import initialise
from ddpm_train.noise import Stream

_HALF = math.sqrt(0.5)  # of a sum of two parts, so that its variance is that of each
_FOURIER_SCALE = 16.0  # the deviation of random frequencies
_HALVE = {"box": blocks.halve, "fir": filters.halve}
_DOUBLE = {"box": blocks.double, "fir": filters.double}


class ScaledBlock(ResidualBlock):
    """A residual block whose sum is divided by sqrt(2); where it resizes it has a shortcut."""

    def __init__(
        self,
        config: NcsnppConfig,
        level: int,
        channels_in: int,
        channels: int,
        resize: blocks.Resize | None = None,
    ) -> None:
        super().__init__(config, level, channels_in, channels, resize)
        if resize is not None:
            self.shortcut = nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> Tensor:
        """Evaluate, [B, C_in, H, W] -> [B, C, H, W]; ``temb`` is after its swish."""
        return super().forward(x, temb, keep) * _HALF


class ScaledAttention(Attention):
    """Attention whose sum with its input is divided by sqrt(2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate, [B, C, H, W] -> [B, C, H, W]."""
        return super().forward(x) * _HALF


class Down(nn.Module):
    """The blocks of one resolution on the way down, then half the size."""

    def __init__(self, config: NcsnppConfig, level: int, channels_in: int, below: int) -> None:
        """Build a level; ``below`` are the channels of the shrunken image at its end."""
        super().__init__()
        channels = config.base_channels * config.channel_mult[level]
        inputs = [channels_in] + [channels] * (config.num_res_blocks - 1)
        self.blocks = nn.ModuleList(ScaledBlock(config, level, c, channels) for c in inputs)
        attends = config.image_size >> level in config.attn_resolutions
        self.attentions = nn.ModuleList(
            ScaledAttention(config, channels) for _ in inputs if attends
        )
        self.downsample: nn.Module | None = None
        self.residual: nn.Module | None = None
        if level + 1 < len(config.channel_mult):
            resize = _HALVE[config.filter]
            self.downsample = ScaledBlock(config, level + 1, channels, channels, resize)
            if config.residual_input:
                self.residual = nn.Conv2d(below, channels, 3, stride=2)

    def forward(
        self, x: Tensor, image: Tensor, temb: Tensor, keep: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Give every output for the way up, and the image as the next level takes it."""
        outputs = []
        for i, block in enumerate(self.blocks):
            x = block(x, temb, keep)
            x = self.attentions[i](x) if self.attentions else x
            outputs.append(x)
        if self.downsample is not None:
            x = self.downsample(x, temb, keep)
            if self.residual is not None:
                x = image = (self.residual(filters.blur(image)) + x) * _HALF
            outputs.append(x)
        return outputs, image


class Middle(nn.Module):
    """The lowest resolution, between the two ways."""

    def __init__(self, config: NcsnppConfig, channels: int) -> None:
        super().__init__()
        level = len(config.channel_mult) - 1
        self.block_0 = ScaledBlock(config, level, channels, channels)
        self.attention = ScaledAttention(config, channels)
        self.block_1 = ScaledBlock(config, level, channels, channels)

    def forward(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> Tensor:
        """Give the output, of the input's shape."""
        h: Tensor = self.block_1(self.attention(self.block_0(x, temb, keep)), temb, keep)
        return h


class Up(nn.Module):
    """One resolution on the way up, with attention once at its end, then twice the size."""

    def __init__(self, config: NcsnppConfig, level: int, channels_in: Iterable[int]) -> None:
        super().__init__()
        channels = config.base_channels * config.channel_mult[level]
        self.blocks = nn.ModuleList(ScaledBlock(config, level, c, channels) for c in channels_in)
        attends = config.image_size >> level in config.attn_resolutions
        self.attentions = nn.ModuleList([ScaledAttention(config, channels)] if attends else [])
        resize = _DOUBLE[config.filter]
        self.upsample = (
            ScaledBlock(config, level - 1, channels, channels, resize) if level else None
        )

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor, keep: Tensor | None) -> Tensor:
        """Give the level's output; takes what it uses off the end of ``skips``."""
        for block in self.blocks:
            x = block(torch.cat([x, skips.pop()], 1), temb, keep)
        for attention in self.attentions:
            x = attention(x)
        return x if self.upsample is None else cast(Tensor, self.upsample(x, temb, keep))


class NCSNpp(ImageNetwork):
    """The network: x_t and t in, the objective's prediction out.

    >>> net = NCSNpp(NcsnppConfig(), out_channels=3, seed=None)
    >>> f"{sum(p.numel() for p in net.parameters()):,}"
    '61,804,419'
    """

    def __init__(self, config: NcsnppConfig, *, out_channels: int, seed: int | None = 0) -> None:
        """Build the network with initial weights that depend on the seed alone.

        Without a seed it has shapes only, on the device ``meta``.

        Raises:
            FixableError: The settings describe no network.
        """
        super().__init__()
        _check(config)
        self.config, self.classes = config, config.classes
        width, random = config.base_channels, config.embedding == "fourier"
        with torch.device("meta"):
            self.time_dense_0 = nn.Linear(width * (1 + random), 4 * width)
            self.time_dense_1 = nn.Linear(4 * width, 4 * width)
            self.labels = (
                nn.Linear(config.classes, width * (1 + random)) if config.classes else None
            )
            self.conv_in = nn.Conv2d(config.channels, width, 3, padding=1)
            self._build_levels(config)
            self.norm_out = norm(config, width * config.channel_mult[0])
            self.conv_out = nn.Conv2d(width * config.channel_mult[0], out_channels, 3, padding=1)
            frequencies = torch.empty(width) if random else None
        self.register_buffer("frequencies", frequencies)
        self.dropout_elements = share_dropout(self) if config.dropout else 0
        self.to(memory_format=torch.channels_last)
        if seed is not None:
            self.to_empty(device="cpu")
            self._initialise(seed)

    def _build_levels(self, config: NcsnppConfig) -> None:
        widths = [config.base_channels * mult for mult in config.channel_mult]
        skips, below = [config.base_channels], config.channels
        self.down = nn.ModuleList()
        for level, channels in enumerate(widths):
            self.down.append(Down(config, level, skips[-1], below))
            below = channels
            skips += [channels] * (config.num_res_blocks + (level + 1 < len(widths)))
        self.middle = Middle(config, widths[-1])
        self.up = nn.ModuleList()
        now = widths[-1]
        for level in reversed(range(len(widths))):
            before = [now] + [widths[level]] * config.num_res_blocks
            self.up.insert(0, Up(config, level, [c + skips.pop() for c in before]))
            now = widths[level]

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
            t: The paper's time 1..T of each image, [B]; it need not be an integer.
            condition: The class label of each image, [B] int64; None for a network without classes.
            keep: What dropout keeps, [B, dropout_elements] bool; None keeps everything.
        """
        temb = self.embed(t.to(x.device, non_blocking=x.is_cuda), condition)
        image = x.contiguous(memory_format=torch.channels_last)
        skips = [self.conv_in(image)]
        for down in self.down:
            outputs, image = down(skips[-1], image, temb, keep)
            skips += outputs
        h = self.middle(skips[-1], temb, keep)
        for up in reversed(self.up):
            h = up(h, skips, temb, keep)
        output: Tensor = self.conv_out(self.norm_out(h, swish=True))
        return output

    def embed(self, t: Tensor, condition: Tensor | None) -> Tensor:
        """Embed times and classes for all blocks, [B] -> [B, embedding_channels], after a swish."""
        check_condition(condition, self.classes)
        config, dtype = self.config, self.time_dense_0.weight.dtype
        first, scale = config.time_first, config.time_scale
        if config.embedding == "fourier":
            times = first + scale * (t - 1).double()
            waves = random_fourier(times, cast(Tensor, self.frequencies))
        else:
            waves = time_embedding(t, config.base_channels, first=first, scale=scale)
        temb = waves.to(dtype)
        if self.labels is not None and condition is not None:
            one_hot = F.one_hot(condition.to(temb.device), self.classes).to(dtype)
            temb = temb + self.labels(one_hot * math.sqrt(self.classes))
        return F.silu(self.time_dense_1(F.silu(self.time_dense_0(temb))))

    def _initialise(self, seed: int) -> None:
        initialise(self, seed, last=self.conv_out)
        if isinstance(self.frequencies, Tensor):
            draws = Stream(seed, "init").generator(sum(1 for _ in self.modules()))
            values = _FOURIER_SCALE * draws.standard_normal(len(self.frequencies))
            self.frequencies.copy_(torch.from_numpy(values))


def _check(config: NcsnppConfig) -> None:
    """Raise a FixableError if no network has these settings."""
    settings.check(config, "ncsnpp.")
    if config.image_size % 2 ** (len(config.channel_mult) - 1):
        raise FixableError(
            f"ncsnpp.image_size={config.image_size} cannot be halved "
            f"{len(config.channel_mult) - 1} times",
            "choose another size, or fewer levels in ncsnpp.channel_mult",
        )
    if config.base_channels % 4 or (config.base_channels > 128 and config.base_channels % 32):
        raise FixableError(
            f"ncsnpp.base_channels={config.base_channels} does not split into groups",
            "choose a multiple of 4 up to 128, or of 32",
        )
    if config.residual_input and config.filter != "fir":
        raise FixableError(
            "ncsnpp.residual_input=true needs the filter of the image", "set ncsnpp.filter=fir"
        )
