"""Mixing two images: encoded by q(x_t | x_0), weighed by lambda, ready to be decoded from t on.

The noise that encodes an image belongs to its pixels and the noise that decodes to the pair,
whichever image comes first: so a path moves by lambda alone, and from the other end it is the same
path.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_eval.measure.pictures.settings import InterpolationSettings
from ddpm_eval.model import Model
from ddpm_eval.record.arrays import Array
from ddpm_train import data
from ddpm_train.diffusion import q_sample
from ddpm_train.noise import Stream, normal, splitmix64


def linear(part: float) -> float:
    """The paper's weight of a noise: the variance of a mix of two shrinks, to a half at 1/2."""
    return part


def spherical(part: float) -> float:
    """The weight of a noise on the great circle between two: the variance stays 1.

    >>> round(spherical(0.3) ** 2 + spherical(0.7) ** 2, 12)
    1.0
    """
    return math.sin(part * math.pi / 2)


MIXES: Mapping[str, Callable[[float], float]] = {"linear": linear, "spherical": spherical}
"""How the weight of an image's noise follows from the weight of the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two images, uint8 [2, H, W, C], their names, and their classes where the model takes any."""

    pixels: Array
    names: tuple[str, str]
    labels: Tensor | None = None

    @property
    def keys(self) -> tuple[int, int]:
        """What names the noise of each image: its pixels, wherever they were read from."""
        first, second = (
            int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:4]) for image in self.pixels
        )
        return first, second

    @property
    def key(self) -> int:
        """What names the noise that decodes: the two images, in either order."""
        low, high = sorted(self.keys)
        return splitmix64(low << 32 | high) >> 32


def encode(model: Model, pair: Pair, t: int, settings: InterpolationSettings) -> Tensor:
    """Mix two images at t, [len(lambdas), C, H, W] float64.

        x_t = sqrt(alpha-bar_t) ((1 - l) x_0 + l x_0') + sqrt(1 - alpha-bar_t) (v eps + w eps')

    With v = 1 - l and w = l that is (1 - l) x_t + l x_t', the paper's mix.
    """
    x_0 = data.to_model(pair.pixels).double()
    stream, lambdas = Stream(settings.seed, "encode"), settings.lambdas
    eps = normal(stream, pair.keys, x_0.shape[1:]).double()  # one noise for every t
    mixed = mix(x_0, lambdas, linear)
    noise = mix(eps, lambdas, MIXES[settings.mix])
    return q_sample(model.denoise.schedule, mixed, torch.full((len(lambdas),), t), noise)


def mix(two: Tensor, lambdas: Sequence[float], weight: Callable[[float], float]) -> Tensor:
    """Weigh two tensors for each lambda, so that 1 - lambda from the other end is the same."""
    first, second = (
        torch.tensor([weight(part) for part in parts], dtype=two.dtype).view(-1, 1, 1, 1)
        for parts in ([round(1 - x, 12) for x in lambdas], lambdas)
    )
    return first * two[0] + second * two[1]


def nearest_classes(pair: Pair, lambdas: Sequence[float]) -> Tensor | None:
    """Give each mix the class of the nearer image, [len(lambdas)]; the lower one halfway.

    >>> import numpy as np
    >>> pair = Pair(np.zeros((2, 8, 8, 1), np.uint8), ("a", "b"), torch.tensor([7, 2]))
    >>> nearest_classes(pair, [0.0, 0.4, 0.5, 1.0])
    tensor([7, 7, 2, 2])
    """
    if pair.labels is None:
        return None
    first, second = pair.labels.tolist()
    halfway = min(first, second)
    picks = [halfway if part == 0.5 else first if part < 0.5 else second for part in lambdas]
    return torch.tensor(picks)
