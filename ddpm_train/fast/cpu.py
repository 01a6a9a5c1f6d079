"""The U-Net laid out for evaluation on CPUs.

Constant work is done once: weights are laid out for the convolutions, the time embedding of every t
is a row of a table, queries, keys and values are one product, and nothing is saved for gradients. A
block evaluates a few images at a time, so that they stay in the cache from its first norm to its
last sum, and its 3x3 convolutions take fewer multiplications (``winograd``).

Activations are [B, H, W, C] here.
"""

from collections.abc import Iterable
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn

from ddpm_train.fast import memory
from ddpm_train.fast.blocks import (
    Block,
    Enlarge,
    Halve,
    Resample,
    height_of,
    images_at_once,
    normalise,
)
from ddpm_train.fast.packed import Convolution, fastest
from ddpm_train.fast.times import Times, copied
from ddpm_train.networks.blocks import Attention, ResidualBlock
from ddpm_train.networks.embeddings import fourier
from ddpm_train.networks.levels import Down, Level, Up
from ddpm_train.networks.unet import UNet


class OnCPU:
    """The network as a list of blocks on few images at a time."""

    def __init__(
        self,
        network: UNet,
        times: Times,
        dtype: torch.dtype,
        *,
        use_up: bool = False,
        small: bool = False,
    ) -> None:
        """Copy the network; a ``small`` copy has 3x3 kernels as they are."""
        self.dtype, self.times, self.norm_out = dtype, times, copied(network.norm_out)
        self.use_up, self.small, self.fourier = use_up, small, network.fourier
        self._parts = times.parts()
        height = height_of(cast(Level, network.down[0]).blocks[0])
        self.conv_in = Convolution(network.conv_in, dtype, rows=height)
        self.down: list[Block | Halve | Resample] = []
        for down in cast(Iterable[Down], network.down):
            self.down += self._level(down)
            if down.downsample is not None:
                self.down.append(self._between(down.downsample) or Halve(down, dtype))
        middle = network.middle
        self.middle = [
            self._block(middle.block_0, middle.attention),
            self._block(middle.block_1, None),
        ]
        self.up: list[Block | Enlarge | Resample] = []
        for up in cast(Iterable[Up], reversed(network.up)):
            self.up += self._level(up)
            if up.upsample is not None:
                self.up.append(self._between(up.upsample) or Enlarge(up, dtype))
        self.conv_out = Convolution(network.conv_out, dtype, rows=height)
        del self._parts
        memory.give_back()

    def _level(self, level: Level) -> list[Block]:
        return [
            self._block(block, level.attention_behind(i)) for i, block in enumerate(level.blocks)
        ]

    def _block(self, block: nn.Module, attention: nn.Module | None) -> Block:
        prepared = Block(
            cast(ResidualBlock, block),
            cast(Attention | None, attention),
            part=next(self._parts),
            dtype=self.dtype,
            convolution=Convolution if self.small else fastest,
        )
        if self.use_up:
            block.to("meta")
            memory.give_back()  # the new weights do not fit into the holes of the old
        return prepared

    def _between(self, module: nn.Module) -> Block | Resample | None:
        """Prepare what joins two levels; None: a convolution."""
        if isinstance(module, ResidualBlock):
            return self._block(module, None)
        return None if isinstance(module, nn.Conv2d) else Resample(module)

    @staticmethod
    def suits(network: nn.Module) -> TypeGuard[UNet]:
        """Whether a network is a U-Net."""
        return isinstance(network, UNet)

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate, [B, C, H, W] and [B] -> [B, out_channels, H, W] in the precision of ``x``."""
        temb = self.times(t, condition)
        pixels = fourier(x, self.fourier).to(self.dtype).permute(0, 2, 3, 1).contiguous()
        skips = [self.conv_in(pixels)]
        for step in self.down:
            h = skips[-1]
            skips.append(step(h, None, temb) if isinstance(step, Block) else step(h))
        h = skips[-1]
        for block in self.middle:
            h = block(h, None, temb)
        for part in self.up:
            if isinstance(part, Block):
                h = part(h, None if part.resize else skips.pop(), temb)
            else:
                h = part(h)
        return self._out(h).to(x.dtype)

    def _out(self, h: Tensor) -> Tensor:
        parts = h.split(images_at_once(h))
        outputs = [self.conv_out.of_swish(normalise(self.norm_out, part)) for part in parts]
        return torch.cat(outputs).permute(0, 3, 1, 2)
