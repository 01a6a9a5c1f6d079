"""The exponential moving average of the weights that is sampled from and measured."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class WeightAverage:
    """shadow <- decay shadow + (1 - decay) weight after every step.

    As in the original: it begins at the initial weights, without a ramp or bias correction.

    >>> weight = torch.zeros(2)
    >>> average = WeightAverage({"w": weight}, decay=0.9)
    >>> average.update([weight + 1])
    >>> average.shadow["w"]
    tensor([0.1000, 0.1000])
    """

    def __init__(self, weights: Mapping[str, Tensor], *, decay: float) -> None:
        self.shadow = {name: weight.detach().clone() for name, weight in weights.items()}
        self.decay = decay

    @torch.no_grad()
    def update(self, weights: Iterable[Tensor]) -> None:
        """Take one step; ``weights`` come in the order of the first ones."""
        torch._foreach_lerp_(list(self.shadow.values()), list(weights), 1 - self.decay)
