"""The paper's U-Net (appendix B), as the authors' code has it to the last padding.

The network draws no random number: what dropout keeps is an argument.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.architectures import UNetConfig
from ddpm_train.networks.base import check_condition
from ddpm_train.networks.blocks import norm, share_dropout
from ddpm_train.networks.embeddings import fourier
from ddpm_train.networks.encoder import Encoder
from ddpm_train.networks.initial import initialise
from ddpm_train.networks.levels import Up


class UNet(Encoder):
    """The network: x_t and t in, the objective's prediction out.

    >>> unet = UNet(UNetConfig(dropout=0.0), out_channels=3)
    >>> f"{sum(p.numel() for p in unet.parameters()):,}"
    '35,746,307'
    """

    def __init__(self, config: UNetConfig, *, out_channels: int, seed: int | None = 0) -> None:
        """Build the network with the paper's initial weights, which depend on the seed alone.

        Without a seed it has shapes only, on the device ``meta``.

        Raises:
            FixableError: The settings describe no network.
        """
        with torch.device("meta"):  # shapes only: PyTorch's own initial weights are not wanted
            super().__init__(config)
            widths = [config.base_channels * mult for mult in config.channel_mult]
            skips = list(self.skips)
            self.up = nn.ModuleList()
            for level in reversed(range(len(widths))):
                channels_in = widths[min(level + 1, len(widths) - 1)]
                concatenated = [skips.pop() for _ in range(config.num_res_blocks + 1)]
                self.up.insert(0, Up(config, level, channels_in, concatenated))
            self.norm_out = norm(config, widths[0])
            self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
            classes, channels = config.classes, config.embedding_channels
            self.labels = nn.Embedding(classes, channels) if classes else None
        self.classes, self.fourier = config.classes, config.fourier
        self.dropout_elements = share_dropout(self) if config.dropout else 0
        self.to(memory_format=torch.channels_last)
        if seed is not None:
            self.to_empty(device="cpu")
            initialise(self, seed, last=self.conv_out)

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
        skips = self.descend(fourier(x, self.fourier), temb, keep)
        h = self.middle(skips[-1], temb, keep)
        for up in reversed(self.up):
            h = up(h, skips, temb, keep)
        output: Tensor = self.conv_out(self.norm_out(h, swish=True))
        return output

    def embed(self, t: Tensor, condition: Tensor | None) -> Tensor:
        """Embed times and labels for all blocks, [B] -> [B, embedding_channels], after a swish."""
        check_condition(condition, self.classes)
        temb = self.embed_times(t)
        if self.labels is not None and condition is not None:
            temb = temb + self.labels(condition.to(temb.device, non_blocking=temb.is_cuda))
        return F.silu(temb)
