"""InstanceNorm++ (Song and Ermon 2019, appendix A), with one set of coefficients or one a level.

    z = gamma (normal(x) + alpha m') + beta

normal(x) has mean 0 and variance 1 over the pixels of each channel; m' are the means over pixels,
normalised over the channels (with the unbiased variance).
"""

import torch
from torch import Tensor, nn

_EPS = 1e-5


class InstanceNormPlus(nn.Module):
    """The norm; ``levels`` sets of coefficients, or one for all where there are 0."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        if levels:
            self.embed = nn.Embedding(levels, 3 * channels)  # gamma, alpha, beta
        else:
            self.alpha, self.gamma, self.beta = (
                nn.Parameter(torch.empty(channels)) for _ in range(3)
            )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Normalise, [B, C, H, W] and the level's index [B] -> [B, C, H, W]."""
        means = x.mean((2, 3), keepdim=True)
        variances = x.var((2, 3), keepdim=True, correction=0)
        normal = (x - means) * (variances + _EPS).rsqrt()
        spread = means.var(1, keepdim=True)
        shift = (means - means.mean(1, keepdim=True)) * (spread + _EPS).rsqrt()
        gamma, alpha, beta = self._coefficients(level)
        z: Tensor = gamma * (normal + alpha * shift) + beta
        return z

    def _coefficients(self, level: Tensor) -> tuple[Tensor, ...]:
        if self.levels:
            parts = self.embed(level).chunk(3, 1)
            return tuple(part[:, :, None, None] for part in parts)
        return tuple(part[None, :, None, None] for part in (self.gamma, self.alpha, self.beta))
