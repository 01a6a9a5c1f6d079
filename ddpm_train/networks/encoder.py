"""The U-Net's way down: what it shares with a classifier of noisy images."""

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train import settings
from ddpm_train.architectures import UNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast.layers import GROUPS
from ddpm_train.networks.base import ImageNetwork
from ddpm_train.networks.embeddings import time_embedding
from ddpm_train.networks.levels import Down, Middle


class Encoder(ImageNetwork):
    """The time embedding, the way down and the middle; without weights, for whoever inherits it."""

    def __init__(self, config: UNetConfig) -> None:
        """Build the layers; on the device ``meta`` they have shapes only.

        Raises:
            FixableError: The settings describe no network.
        """
        super().__init__()
        check(config)
        self.sines = partial(
            time_embedding,
            channels=config.embedding_channels // 4,
            order=config.time_order,
            freq_shift=config.time_freq_shift,
            scale=config.time_scale,
            first=config.time_first,
        )
        width, embedding = config.base_channels, config.embedding_channels
        self.time_dense_0 = nn.Linear(embedding // 4, embedding)
        self.time_dense_1 = nn.Linear(embedding, embedding)
        inputs = config.channels * (1 + 2 * len(config.fourier))
        self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
        self.skips = [width]  # channels of each output for the way up
        self.down = nn.ModuleList()
        for level, mult in enumerate(config.channel_mult):
            self.down.append(Down(config, level, self.skips[-1]))
            resamples = level + 1 < len(config.channel_mult)
            self.skips += [width * mult] * (config.num_res_blocks + resamples)
        self.middle = Middle(config, self.skips[-1])

    def embed_times(self, t: Tensor) -> Tensor:
        """Embed times, [B] -> [B, embedding_channels], before the last swish."""
        temb = self.sines(t).to(self.time_dense_0.weight.dtype)
        dense: Tensor = self.time_dense_1(F.silu(self.time_dense_0(temb)))
        return dense

    def descend(self, x: Tensor, temb: Tensor, keep: Tensor | None) -> list[Tensor]:
        """Give every output of the way down, the lowest last; ``temb`` is after its swish."""
        outputs = [self.conv_in(x.contiguous(memory_format=torch.channels_last))]
        for down in self.down:
            outputs += down(outputs[-1], temb, keep)
        return outputs


def check(config: UNetConfig) -> None:
    """Check the settings of a network.

    Raises:
        FixableError: No network has these settings.
    """
    settings.check(config, "unet.")
    levels, size = len(config.channel_mult), config.image_size
    _check_groups(config)
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
    half = config.embedding_channels // 8
    if config.time_freq_shift >= half:
        raise FixableError(
            f"unet.time_freq_shift={config.time_freq_shift}: there are {half} frequencies",
            f"choose less than {half}; most systems have 0 or 1",
        )


def _check_groups(config: UNetConfig) -> None:
    """Refuse widths that a group norm cannot split, those joined with a skip connection too."""
    for width in sorted(_widths(config)):
        groups = min(GROUPS, width // config.group_channels)
        if not groups or width % groups:
            raise FixableError(
                f"unet.base_channels={config.base_channels} makes {width} channels, which do not "
                f"split into {groups or 1} groups",
                f"choose a multiple of {GROUPS}",
            )


def _widths(config: UNetConfig) -> set[int]:
    """How many channels the norms of a network see.

    >>> sorted(_widths(UNetConfig(base_channels=32, channel_mult=(1, 4), num_res_blocks=1)))
    [32, 64, 128, 160, 256]
    """
    mults = (1, *config.channel_mult)
    joined = {a + b for a, b in pairwise(mults)}  # the first and the last block of a level
    twice = mults[1:] if config.num_res_blocks > 1 else mults[-1:]
    return {config.base_channels * m for m in {*mults, *joined, *(2 * m for m in twice)}}
