"""A model to try functions with, where no checkpoint is at hand."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddpm_eval.door.wrapping import wrap
from ddpm_eval.model import Model
from ddpm_train.errors import FixableError

FIRST, LAST, STEEPEST = 0.05, 10.0, 0.9  # beta_1 T and beta_T T, so that x_T is noise; most of beta


class GaussianNetwork(nn.Module):
    """The best eps_hat where pixels are independent, x_0 ~ N(0, variance).

    eps_hat(x_t, t) = sqrt(1 - alpha-bar_t) / (alpha-bar_t variance + 1 - alpha-bar_t) x_t
    """

    scales: Tensor

    def __init__(self, betas: Tensor, variance: float) -> None:
        super().__init__()
        bars = (1 - betas).cumprod(0)
        self.register_buffer("scales", (1 - bars).sqrt() / (bars * variance + 1 - bars))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Give eps_hat, [B, C, H, W]."""
        return self.scales[t - 1, None, None, None] * x


def gaussian_model(
    T: int = 3, *, variance: float = 1.0, image_shape: Sequence[int] = (1, 8, 8)
) -> Model:
    """Make the exact model of images whose pixels are independent, x_0 ~ N(0, variance).

    It needs no file and no training, and takes a fraction of a second. Of real images its numbers
    mean nothing.

    Args:
        T: Steps of the process, 1 or more.
        variance: Of a pixel, whose levels 0..255 are -1..1; above 0.
        image_shape: (C, H, W) of an image; the digits' by default.

    Raises:
        FixableError: A setting is out of its range.

    >>> print(gaussian_model())
    GaussianNetwork: unknown weights, 0 parameters, 8x8x1 images, T = 3, fixedlarge, on cpu
    """
    if T < 1:
        raise FixableError(f"T={T}: below 1", "choose 1 or more")
    if not 0 < variance < float("inf"):
        raise FixableError(f"variance={variance:g}: not above 0", "choose 1, say")
    betas = torch.linspace(LAST / T, FIRST / T, T).flip(0).clamp(max=STEEPEST)
    return wrap(GaussianNetwork(betas, variance), schedule=betas, image_shape=image_shape)
