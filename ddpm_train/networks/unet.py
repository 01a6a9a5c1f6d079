"""The paper's U-Net (appendix B), as the authors' code has it to the last padding.

Activations lie in memory as [B, H, W, C] (``channels_last``), which is what convolutions want on
CPUs and GPUs alike. The network draws no random number: what dropout keeps is an argument.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train import settings
from ddpm_train.config import UNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast import winograd
from ddpm_train.fast.norm import GROUPS, GroupNorm
from ddpm_train.noise import Stream

_FEW_PAIRS = 1 << 22  # of an image's pixels, which fit into memory
_NEARLY_ZERO = 1e-5  # the gain of layers that start as "zero": the root of the scale 1e-10

# How other systems lay out what is the paper's with the first name.
_ORDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sin_cos": lambda sines, cosines: torch.cat([sines, cosines], 1),
    "cos_sin": lambda sines, cosines: torch.cat([cosines, sines], 1),
    "interleaved": lambda sines, cosines: torch.stack([sines, cosines], 2).flatten(1),
}
_PADDINGS = {"bottom_right": (0, 1, 0, 1), "both": (1, 1, 1, 1)}  # left, right, top, bottom


def time_embedding(
    t: Tensor,
    channels: int,
    *,
    order: str = "sin_cos",
    freq_shift: int = 1,
    scale: float = 1.0,
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

    >>> time_embedding(torch.tensor([1, 2]), 4)
    tensor([[0.0000e+00, 0.0000e+00, 1.0000e+00, 1.0000e+00],
            [8.4147e-01, 1.0000e-04, 5.4030e-01, 1.0000e+00]], dtype=torch.float64)
    """
    half = channels // 2
    # Apple's GPUs have no float64.
    wide = torch.float32 if t.device.type == "mps" else torch.float64
    exponents = torch.arange(half, device=t.device, dtype=wide) / (half - freq_shift)
    angles = scale * (t - 1).to(wide)[:, None] * torch.exp(-math.log(10_000) * exponents)
    return _ORDERS[order](angles.sin(), angles.cos())


def fourier(x: Tensor, exponents: Iterable[int]) -> Tensor:
    """Add sin(2^n pi x) and cos(2^n pi x) as channels, [B, C, H, W] -> [B, C (1 + 2N), H, W].

    They tell levels apart that lie close: the period of n = 7 is two of 256 (Kingma et al. 2021,
    appendix C). No exponents: x itself.

    >>> fourier(torch.full((1, 1, 1, 1), 0.125), (1, 2)).flatten().round(decimals=3)
    tensor([0.1250, 0.7070, 0.7070, 1.0000, -0.0000])
    """
    angles = [2**n * math.pi * x for n in exponents]
    waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return torch.cat([x, *waves], 1) if waves else x


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


def _norm(config: UNetConfig, channels: int) -> GroupNorm:
    return GroupNorm(GROUPS, channels, config.norm_eps)


class ResidualBlock(nn.Module):
    """Twice norm, swish and a 3x3 convolution, with the time in between, added to the input.

    Between its convolutions it has ``elements`` activations for each image; dropout keeps those
    that ``keep[:, first : first + elements]`` names, in the order [H, W, C].
    """

    first: int

    def __init__(self, config: UNetConfig, level: int, channels_in: int, channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(config, channels_in)
        self.conv1 = Convolution(channels_in, channels)
        self.temb_proj = nn.Linear(4 * config.base_channels, channels)
        self.norm2 = _norm(config, channels)
        self.conv2 = Convolution(channels, channels)
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None
        self.boost = 1 / (1 - config.dropout)
        self.elements = channels * (config.image_size >> level) ** 2

    def forward(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> Tensor:
        """Give the block's output, [B, C_in, H, W] -> [B, C, H, W]; ``temb`` is after its swish."""
        h: Tensor = self.conv1(self.norm1(x, swish=True))
        h = self.tell(h, self.temb_proj(temb)[:, :, None, None])
        if keep is not None:
            B, C, H, W = h.shape
            mask = keep[:, self.first : self.first + self.elements].view(B, H, W, C)
            h = (h * mask.permute(0, 3, 1, 2)).mul_(self.boost)
        h = self.conv2(h)
        return h.add_(x if self.shortcut is None else self.shortcut(x))

    def tell(self, h: Tensor, time: Tensor) -> Tensor:
        """Tell the activations of the time, between the first convolution and the second."""
        told: Tensor = self.norm2(h.add_(time), swish=True)
        return told


class ScaleShiftBlock(ResidualBlock):
    """A residual block whose second norm is scaled and shifted by the time, as in improved DDPM."""

    def __init__(self, config: UNetConfig, level: int, channels_in: int, channels: int) -> None:
        super().__init__(config, level, channels_in, channels)
        self.temb_proj = nn.Linear(4 * config.base_channels, 2 * channels)

    def tell(self, h: Tensor, time: Tensor) -> Tensor:
        """Scale by the first half of ``time``, shift by the second."""
        scale, shift = time.chunk(2, dim=1)
        told: Tensor = F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale))
        return told


_BLOCKS = {"shift": ResidualBlock, "scale_shift": ScaleShiftBlock}


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(C)) v, each [B, heads, pixels, C]; the softmax is in float32.

    PyTorch's own multiplies bf16 numbers as float32 on CPUs without matrix units.
    """
    few = q.shape[1] * q.shape[2] ** 2 <= _FEW_PAIRS
    if q.dtype != torch.bfloat16 or q.device.type != "cpu" or not few:
        return F.scaled_dot_product_attention(q, k, v)
    scores = (q @ k.transpose(-1, -2)).float().mul_(q.shape[-1] ** -0.5)
    h: Tensor = scores.softmax(-1).to(q.dtype) @ v
    return h


class Attention(nn.Module):
    """Self-attention over all pixels, in the paper with one head, added to the input."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.heads = config.heads_of(channels)
        self.norm = _norm(config, channels)
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Give the block's output, [B, C, H, W] -> [B, C, H, W]."""
        B, C, H, W = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(B, H * W, C)
        q, k, v = (
            dense(pixels).view(B, H * W, self.heads, C // self.heads).transpose(1, 2)
            for dense in (self.q, self.k, self.v)
        )
        h = attend(q, k, v).transpose(1, 2).reshape(B, H * W, C)
        h = self.proj(h).view(B, H, W, C).permute(0, 3, 1, 2)
        return x.add(h)


class Level(nn.Module):
    """The blocks of one resolution on one of the two ways, each with its attention if any."""

    def __init__(self, config: UNetConfig, level: int, channels_in: Iterable[int]) -> None:
        super().__init__()
        channels = config.base_channels * config.channel_mult[level]
        attends = config.image_size >> level in config.attn_resolutions
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleList()
        for c in channels_in:
            self.blocks.append(_BLOCKS[config.time_modulation](config, level, c, channels))
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
        """Give every output that the way up will want; the last one is the level's own."""
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
        block = _BLOCKS[config.time_modulation]
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
        if self.upsample is not None:
            x = _enlarge(x, cast(nn.Conv2d, self.upsample))
        return x


def _enlarge(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Enlarge an image twice, then convolve; on CPUs both at once where that pays."""
    dtype = _computes_in(x)
    if dtype and winograd.suits_enlarging(layer.in_channels, dtype):
        return winograd.enlarge(x, layer.weight, cast(Tensor, layer.bias), dtype)
    enlarged: Tensor = layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    return enlarged


def _computes_in(x: Tensor) -> torch.dtype | None:
    """What a layer computes in that is given x on a CPU; None elsewhere or where compiled."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    if x.dtype == torch.float64:
        return x.dtype  # which autocast leaves alone
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class UNet(nn.Module):
    """The network that looks at x_t and t and predicts what the objective asks for.

    A pure function of its inputs. ``dropout_elements`` is the length of a row of ``keep``: 0
    without dropout.

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
        self.embed = partial(
            time_embedding,
            channels=width,
            order=config.time_order,
            freq_shift=config.time_freq_shift,
            scale=config.time_scale,
        )
        self.fourier = config.fourier
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
                below = widths[min(level + 1, len(widths) - 1)]
                taken = [skips.pop() for _ in range(config.num_res_blocks + 1)]
                self.up.insert(0, Up(config, level, below, taken))
            width = widths[0]
            self.norm_out = _norm(config, width)
            self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)
        self.to_empty(device="cpu")
        self._initialise(seed)
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
            condition: The slot of class labels; this network has none.
            keep: What dropout keeps, [B, dropout_elements] bool (``noise.keep_mask``), scaled by
                1 / (1 - dropout). None keeps everything, unscaled: evaluation.
        """
        check_condition(condition)
        t = t.to(x.device, non_blocking=x.is_cuda)
        temb = self.embed(t).to(self.time_dense_0.weight.dtype)
        temb = F.silu(self.time_dense_1(F.silu(self.time_dense_0(temb))))
        x = fourier(x, self.fourier)
        skips = [self.conv_in(x.contiguous(memory_format=torch.channels_last))]
        for down in self.down:
            skips += down(skips[-1], temb, keep)
        h = self.middle(skips[-1], temb, keep)
        for up in reversed(self.up):
            h = up(h, skips, temb, keep)
        output: Tensor = self.conv_out(self.norm_out(h, swish=True))
        return output

    def _initialise(self, seed: int) -> None:
        """Draw every weight uniformly, with variance gain^2 / (mean of fan in and fan out)."""
        stream = Stream(seed, "init")
        nearly_zero: set[nn.Module] = {self.conv_out}
        for index, module in enumerate(self.modules()):
            if isinstance(module, ResidualBlock):
                nearly_zero.add(module.conv2)
            elif isinstance(module, Attention):
                nearly_zero.add(module.proj)
            elif isinstance(module, nn.GroupNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d | nn.Linear):
                weight = module.weight.detach()
                fans = weight.numel() / weight.shape[0] + weight.numel() / weight.shape[1]
                bound = math.sqrt(6 / fans) * (_NEARLY_ZERO if module in nearly_zero else 1.0)
                draws = stream.generator(index).uniform(-bound, bound, weight.shape)
                weight.copy_(torch.from_numpy(draws))
                nn.init.zeros_(cast(Tensor, module.bias))

    def _share_dropout(self) -> int:
        """Give every residual block its part of a row of ``keep``; return the row's length."""
        first = 0
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.first = first
                first += module.elements
        return first


def check_condition(condition: Tensor | None) -> None:
    """Refuse class labels that a network without classes would ignore."""
    if condition is not None:
        raise FixableError("condition: this network has no classes", "leave it out")


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
