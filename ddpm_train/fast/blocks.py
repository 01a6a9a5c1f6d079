"""The blocks of the U-Net laid out for CPUs; activations are [B, H, W, C]."""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.fast import enlarging, winograd
from ddpm_train.fast.layers import attend
from ddpm_train.fast.packed import Convolution
from ddpm_train.fast.times import copied
from ddpm_train.networks.blocks import Attention, ResidualBlock, Resize, ScaleShiftBlock
from ddpm_train.networks.levels import Down, Up

_CACHE_ELEMENTS = 1 << 19  # of a block's input at a time; a fixed rule, since bits depend on it


class Block:
    """A residual block and the attention behind it; between two levels it resamples."""

    def __init__(
        self,
        block: ResidualBlock,
        attention: Attention | None,
        *,
        part: slice,
        dtype: torch.dtype,
        convolution: Callable[..., Convolution],
    ) -> None:
        """Lay out a block; ``part`` of a row of ``Times`` is its own."""
        self.part = part
        self.norms = copied(block.norm1), copied(block.norm2)  # in float32
        self.scales = isinstance(block, ScaleShiftBlock)
        self.shortcut: Convolution | None = None
        self.attention: SelfAttention | None = None
        height = height_of(block)
        self.resize = block.resize
        self.convs = [convolution(conv, dtype, rows=height) for conv in (block.conv1, block.conv2)]
        if block.shortcut is not None:
            self.shortcut = Convolution(block.shortcut, dtype, rows=height)
        if attention is not None:
            self.attention = SelfAttention(attention, dtype, height)

    def __call__(self, x: Tensor, skip: Tensor | None, temb: Tensor) -> Tensor:
        """[B, H, W, C_in] -> [B, H', W', C], some images at a time; behind ``x`` comes ``skip``.

        H' is H, or half or twice that between two levels.
        """
        B, H, W, _ = x.shape
        if self.resize is not None:
            H, W = self.resize(torch.empty(1, 1, H, W, device="meta")).shape[2:]
        out = x.new_empty(B, H, W, self.convs[1].channels)
        size = images_at_once(x if self.resize is None else out)
        for i in range(0, B, size):
            images = slice(i, i + size)
            inputs = x[images] if skip is None else torch.cat([x[images], skip[images]], 3)
            self._advance(inputs, temb[images, None, None, self.part], out[images])
        return out

    def _advance(self, x: Tensor, time: Tensor, out: Tensor) -> None:
        h = normalise(self.norms[0], x)
        if self.resize is None:
            h = self.convs[0].of_swish(h).float()
        else:
            h = self.convs[0].of(resized(F.silu(h, inplace=True), self.resize)).float()
            x = resized(x, self.resize)
        if self.scales:
            scale, shift = time.chunk(2, 3)
            h = torch.addcmul(shift, normalise(self.norms[1], h), 1 + scale)
        else:
            h = normalise(self.norms[1], h.add_(time))
        h = self.convs[1].of_swish(h)
        torch.add(h, x if self.shortcut is None else self.shortcut(x), out=out)
        if self.attention is not None:
            self.attention.add_to(out)


class SelfAttention:
    """Self-attention over all pixels."""

    def __init__(self, attention: Attention, dtype: torch.dtype, rows: int) -> None:
        self.norm, self.heads = copied(attention.norm), attention.heads
        dense = (attention.q, attention.k, attention.v)
        weight, bias = (torch.cat([getattr(d, name) for d in dense]) for name in ("weight", "bias"))
        proj = attention.proj.weight[:, :, None, None], attention.proj.bias
        self.qkv = Convolution((weight[:, :, None, None], bias), dtype, rows=rows)
        self.proj = Convolution(proj, dtype, rows=rows)

    def add_to(self, x: Tensor) -> None:
        """Add the attention of x to x, [B, H, W, C]."""
        B, H, W, C = x.shape
        qkv = self.qkv(normalise(self.norm, x).to(x.dtype))
        qkv = qkv.view(B, H * W, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        self.proj.add_to(x, attend(*qkv).transpose(1, 2).reshape(B, H, W, C))


class Resample:
    """Another size without weights."""

    def __init__(self, resize: Resize) -> None:
        self.resize = resize

    def __call__(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H', W', C]."""
        return resized(x, self.resize)


class Halve:
    """Half the size: a convolution with a stride."""

    def __init__(self, level: Down, dtype: torch.dtype) -> None:
        self.padding = level.padding
        layer = cast(nn.Conv2d, level.downsample)
        self.conv = Convolution(layer, dtype, rows=height_of(level.blocks[0]), stride=2, padding=0)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H/2, W/2, C]."""
        return self.conv(F.pad(x, (0, 0, *self.padding)))


class Enlarge:
    """Twice the size: nearest neighbours, then a 3x3 convolution, in a quarter of the products."""

    def __init__(self, level: Up, dtype: torch.dtype) -> None:
        layer, height = cast(nn.Conv2d, level.upsample), height_of(level.blocks[0])
        self.convs: list[Convolution] = []
        self.direct: Convolution | None = None
        if not winograd.sums_pay(dtype):
            self.direct = Convolution(layer, dtype, rows=2 * height)
            return
        for kernel in enlarging.kernels_of_differences(layer.weight.double()):
            bias = torch.zeros(len(kernel)) if self.convs else cast(Tensor, layer.bias)
            self.convs.append(Convolution((kernel.float(), bias), dtype, rows=height))

    def __call__(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, 2H, 2W, C]."""
        if self.direct is not None:
            return self.direct(x.repeat_interleave(2, 1).repeat_interleave(2, 2))
        B, H, W, C = x.shape
        out = x.new_empty(B, H, 2, W, 2, C)
        size = images_at_once(x)
        for i in range(0, B, size):
            self._enlarge(x[i : i + size], out[i : i + size])
        return out.view(B, 2 * H, 2 * W, C)

    def _enlarge(self, x: Tensor, out: Tensor) -> None:
        parts = zip(self.convs, enlarging.differences(x.float()), strict=True)
        products = [conv(part.to(x.dtype)).float() for conv, part in parts]
        for (a, b), terms in zip(enlarging.KINDS, enlarging.assemble(products), strict=True):
            torch.add(*terms, out=out[:, :, a, :, b])


def resized(x: Tensor, resize: Resize) -> Tensor:
    """Change the size of images, [B, H, W, C] -> [B, H', W', C]."""
    return resize(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()


def height_of(block: nn.Module) -> int:
    """The height of the images of a block, in pixels."""
    block = cast(ResidualBlock, block)
    return math.isqrt(block.elements // block.conv1.out_channels)


def images_at_once(x: Tensor) -> int:
    """How many images of a batch fit into the cache."""
    return max(1, _CACHE_ELEMENTS // x[0].numel())


def normalise(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The norm of x in float32: more exact than in bf16, and on some sizes much faster."""
    return norm(x.float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
