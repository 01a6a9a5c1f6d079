"""The score networks of NCSN and NCSNv2 (Song and Ermon 2019, 2020): RefineNets.

They know images in [0, 1] with noise of sigma_1 > ... > sigma_L, and estimate the score of the
noisy images. Here they are a DDPM's network in other clothes: x_t has the variance 1, T = L, t = 1
is the least noise, and with the noise sigma = 2 sigma_c on images in [-1, 1]

    alpha-bar_t = 1 / (1 + sigma^2),   output = sigma score = -eps_hat.
"""

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train import settings
from ddpm_train.architectures import RefineNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.networks.base import ImageNetwork, check_condition
from ddpm_train.networks.initial import draw_as_pytorch
from ddpm_train.networks.instance_norm import InstanceNormPlus
from ddpm_train.networks.refine import Refine, Residual, convolution

# The channels of each level over the first's; whether it halves the size, or its dilation.
_DEPTHS: dict[str, tuple[tuple[int, int], ...]] = {
    "standard": ((1, 0), (2, 1), (2, 2), (2, 4)),
    "deeper": ((1, 0), (2, 1), (2, 1), (4, 2), (4, 4)),
    "deepest": ((1, 0), (2, 1), (2, 1), (2, 1), (4, 2), (4, 4)),
}


class RefineNet(ImageNetwork):
    """The network: x_t and t in, sigma times the score out.

    >>> net = RefineNet(RefineNetConfig(levels=232, sigma_begin=50.0), out_channels=3, seed=None)
    >>> f"{sum(p.numel() for p in net.parameters()):,}"
    '29,694,083'
    """

    sigmas: Tensor

    def __init__(self, config: RefineNetConfig, *, out_channels: int, seed: int | None = 0) -> None:
        """Build the network with initial weights that depend on the seed alone.

        Without a seed it has shapes only, on the device ``meta``.

        Raises:
            FixableError: The settings describe no network.
        """
        super().__init__()
        _check(config)
        levels = config.levels if config.conditional else 0
        self.conditional, self.count = config.conditional, config.levels
        plan = _DEPTHS[config.depth]
        widths = [config.base_channels * mult for mult, _ in plan]
        with torch.device("meta"):
            self.conv_in = convolution(config.channels, widths[0])
            self.down = nn.ModuleList()
            before = widths[0]
            for width, (_, dilation) in zip(widths, plan, strict=True):
                wide = max(1, dilation)
                first = Residual(before, width, levels, down=dilation > 0, dilation=wide)
                self.down.append(
                    nn.ModuleList([first, Residual(width, width, levels, dilation=wide)])
                )
                before = width
            self.up = nn.ModuleList(_way_up(widths, levels))
            self.norm_out = InstanceNormPlus(widths[0], levels)
            self.conv_out = convolution(widths[0], out_channels)
        self.register_buffer("sigmas", geometric(config), persistent=False)
        self.to(memory_format=torch.channels_last)
        if seed is not None:
            self.to_empty(device="cpu")
            draw_as_pytorch(self, seed)
            self.sigmas.copy_(geometric(config))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Estimate sigma times the score, [B, C, H, W] of variance about 1 -> [B, C, H, W].

        Args:
            x: The noisy images x_t.
            t: The time 1..L of each image, [B].
            condition: None: these networks take no labels.
            keep: None: they have no dropout.
        """
        check_condition(condition, 0)
        level = self.count - t.to(x.device, non_blocking=x.is_cuda).long()
        sigmas = self.sigmas[level][:, None, None, None].to(x.dtype)
        noisy = x * (1 + 4 * sigmas.square()).sqrt()  # of images in [-1, 1]
        output = self.score_of(noisy.contiguous(memory_format=torch.channels_last), level)
        return output * sigmas if self.conditional else output

    def score_of(self, x: Tensor, level: Tensor) -> Tensor:
        """Evaluate the layers, on images in [-1, 1] with their noise and the level's index."""
        outputs = [self.conv_in(x)]
        for blocks in self.down:
            h = outputs[-1]
            for block in cast(nn.ModuleList, blocks):
                h = block(h, level)
            outputs.append(h)
        h = self.up[0]([outputs.pop()], level)
        for refine in self.up[1:]:
            h = refine([outputs.pop(), h], level)
        score: Tensor = self.conv_out(F.elu(self.norm_out(h, level)))
        return score


def _way_up(widths: list[int], levels: int) -> Iterator[Refine]:
    """The blocks on the way up, the lowest first; each gives the channels of the level above."""
    targets = [widths[0], *widths[:-1]]
    last = len(widths) - 1
    for level in range(last, -1, -1):
        inputs = [widths[level]] if level == last else [widths[level], targets[level + 1]]
        yield Refine(inputs, targets[level], levels, units=1 if level else 3)


def geometric(config: RefineNetConfig) -> Tensor:
    """The noise levels sigma_1..sigma_L on images in [0, 1], falling geometrically, [L] float32."""
    ends = math.log(config.sigma_begin), math.log(config.sigma_end)
    return torch.linspace(*ends, config.levels, dtype=torch.float64).exp().float()


def _check(config: RefineNetConfig) -> None:
    """Raise a FixableError if no network has these settings."""
    settings.check(config, "refinenet.")
    halvings = sum(dilation == 1 for _, dilation in _DEPTHS[config.depth])
    if config.image_size % 2**halvings:
        raise FixableError(
            f"refinenet.image_size={config.image_size} cannot be halved {halvings} times",
            f"choose a multiple of {2**halvings}",
        )
    if config.sigma_begin <= config.sigma_end:
        raise FixableError(
            f"refinenet.sigma_begin={config.sigma_begin:g} is not above "
            f"sigma_end={config.sigma_end:g}",
            "the levels of noise fall: choose a larger sigma_begin",
        )
