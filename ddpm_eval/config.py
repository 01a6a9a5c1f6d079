"""Settings of an evaluation; what ran is saved whole in the record."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["test", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """What is measured, on how much, and from which seed."""

    split: Split = "test"
    n: int = 0  # images; 0: all of the split
    seed: int = 0
    clip: bool = True  # keep x_0_hat in [-1, 1], as the original evaluates
    batch: int = 64  # images in one evaluation of the network; changes no result
