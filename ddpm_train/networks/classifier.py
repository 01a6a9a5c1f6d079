"""A classifier of noisy images, p(y | x_t): the U-Net's way down and the middle, then a pool.

Dhariwal and Nichol (2021), section 4 and appendix H; guided-diffusion's four pools.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.architectures import ClassifierConfig, UNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast.layers import GROUPS, attend
from ddpm_train.networks.blocks import norm, share_dropout
from ddpm_train.networks.encoder import Encoder
from ddpm_train.networks.initial import initialise
from ddpm_train.noise import Stream

_HIDDEN = 2048  # of the spatial pools


class AttentionPool(nn.Module):
    """The mean of the pixels, as one more token, attends to all of them; its row is projected."""

    def __init__(self, config: UNetConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = norm(config, channels)
        self.heads = config.heads_of(channels)
        pixels = (config.image_size >> (len(config.channel_mult) - 1)) ** 2
        self.position = nn.Parameter(torch.empty(channels, pixels + 1))
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, classes)

    def forward(self, outputs: list[Tensor]) -> Tensor:
        """Evaluate on the last output, [B, C, H, W] -> [B, classes]."""
        pixels = self.norm(outputs[-1], swish=True).flatten(2).transpose(1, 2)
        tokens = torch.cat([pixels.mean(1, keepdim=True), pixels], 1) + self.position.T
        B, _, C = tokens.shape
        parts = self.q(tokens[:, :1]), self.k(tokens), self.v(tokens)
        q, k, v = (part.view(B, -1, self.heads, C // self.heads).transpose(1, 2) for part in parts)
        logits: Tensor = self.proj(attend(q, k, v).transpose(1, 2).reshape(B, C))
        return logits


class MeanPool(nn.Module):
    """The mean of the pixels of the lowest level, projected."""

    def __init__(self, config: UNetConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = norm(config, channels)
        self.proj = nn.Linear(channels, classes)

    def forward(self, outputs: list[Tensor]) -> Tensor:
        """Evaluate on the last output, [B, C, H, W] -> [B, classes]."""
        logits: Tensor = self.proj(self.norm(outputs[-1], swish=True).mean((2, 3)))
        return logits


class SpatialPool(nn.Module):
    """The means over pixels of every output on the way down, and a hidden layer."""

    def __init__(self, channels: int, classes: int, *, normed: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, _HIDDEN)
        self.norm = nn.GroupNorm(GROUPS, _HIDDEN) if normed else None
        self.proj = nn.Linear(_HIDDEN, classes)

    def forward(self, outputs: list[Tensor]) -> Tensor:
        """Evaluate on all outputs, each [B, C, H, W] -> [B, classes]."""
        h = self.hidden(torch.cat([output.mean((2, 3)) for output in outputs], 1))
        h = F.relu(h) if self.norm is None else F.silu(self.norm(h))
        logits: Tensor = self.proj(h)
        return logits


class Classifier(Encoder):
    """The classifier: x_t and t in, one logit for each class.

    >>> net = Classifier(ClassifierConfig(classes=10), seed=None)
    >>> tuple(net.pool.proj.weight.shape)
    (10, 256)
    """

    def __init__(self, config: ClassifierConfig, *, seed: int | None = 0) -> None:
        """Build the classifier with initial weights that depend on the seed alone.

        Without a seed it has shapes only, on the device ``meta``.

        Raises:
            FixableError: The settings describe no network.
        """
        if config.encoder.classes or config.encoder.fourier:
            raise FixableError(
                "encoder.classes, encoder.fourier: a classifier takes images alone",
                "set encoder.classes=0 and leave encoder.fourier out",
            )
        with torch.device("meta"):
            super().__init__(config.encoder)
            lowest = self.skips[-1]
            self.pool: AttentionPool | MeanPool | SpatialPool
            if config.pool == "attention":
                self.pool = AttentionPool(config.encoder, lowest, config.classes)
            elif config.pool == "adaptive":
                self.pool = MeanPool(config.encoder, lowest, config.classes)
            else:
                total, normed = sum(self.skips) + lowest, config.pool == "spatial_v2"
                self.pool = SpatialPool(total, config.classes, normed=normed)
        self.config = config
        self.dropout_elements = share_dropout(self) if config.encoder.dropout else 0
        self.to(memory_format=torch.channels_last)
        if seed is not None:
            self.to_empty(device="cpu")
            self._initialise(seed)

    def forward(self, x: Tensor, t: Tensor, keep: Tensor | None = None) -> Tensor:
        """Classify, [B, C, H, W] in about [-1, 1] -> logits [B, classes].

        Args:
            x: The noisy images x_t.
            t: The paper's time 1..T of each image, [B]; 1 is the least noise.
            keep: What dropout keeps in training, [B, dropout_elements] bool; None keeps all.
        """
        temb = F.silu(self.embed_times(t.to(x.device, non_blocking=x.is_cuda)))
        outputs = self.descend(x, temb, keep)
        outputs.append(self.middle(outputs[-1], temb, keep))
        logits: Tensor = self.pool(outputs)
        return logits

    def _initialise(self, seed: int) -> None:
        initialise(self, seed, last=self.pool.proj)
        if isinstance(self.pool, AttentionPool):
            position = self.pool.position.detach()
            index = sum(1 for _ in self.modules())
            draws = Stream(seed, "init").generator(index).standard_normal(position.shape)
            position.copy_(torch.from_numpy(draws / len(position) ** 0.5))


def log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Give log p(y | x_t) in nats, logits [B, classes] and labels [B] -> [B].

    >>> log_probability(torch.zeros(1, 4), torch.tensor([2]))
    tensor([-1.3863])
    """
    return logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
