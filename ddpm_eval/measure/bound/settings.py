"""Settings of the bound: what is scored, from which seed, and when an estimate stops."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ddpm_train.errors import FixableError
from ddpm_train.leaves import Count, Number, Range, Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSettings:
    """Bits/dim, rate and distortion, and comparisons of two models."""

    n: Count = 0  # images; 0: all of them
    first: bool = False  # the first n, as the original's protocol; else n that the seed draws
    drop_remainder: Count = 0  # drop the last incomplete batch of so many images; 0: none
    target_stderr: Annotated[float, Range(0)] = 0.0  # estimate the bound to this, bits/dim; 0: no
    budget: Count = 0  # estimate the bound with at most so many evaluations; 0: no
    calibrate: Count = 0  # training images that the best variance is learned from; 0: none
    clip: bool = True  # keep x_0_hat in [-1, 1], as the original evaluates
    seed: Seed = 0  # of the noise and of the choice of images

    def __post_init__(self) -> None:
        if self.target_stderr and self.budget:
            raise FixableError(
                f"target_stderr={self.target_stderr:g}, budget={self.budget}: two goals",
                "give one of them",
            )

    @property
    def is_estimate(self) -> bool:
        """Whether the bound is estimated from chosen pairs, not computed from all."""
        return bool(self.target_stderr or self.budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSettings:
    """Bits/dim of models that know nothing, or each pixel alone."""

    n: Count = 0  # images; 0: all of them
    first: bool = False  # the first n; else n that the seed draws
    seed: Seed = 0  # of the untrained network, of its noise and of the choice of images


@dataclass(frozen=True, slots=True, kw_only=True)
class StrideSettings:
    """The bound of fewer steps than T."""

    counts: tuple[Annotated[int, Range(1, 1_000_000)], ...] = ()  # of steps K: 20,50,100


@dataclass(frozen=True, slots=True, kw_only=True)
class OdeSettings:
    """Bits/dim by the probability-flow ODE."""

    levels: Literal["decoder", "uniform"] = "decoder"  # from x_1 to 256 levels: p(x_0|x_1), or u
    draws: Number = 1  # K, importance samples of each image
    probes: Number = 2  # of the trace, for each draw
    tolerance: Annotated[float, Range(above=0, below=1)] = 1e-4  # of the solver in one step
    method: Literal["RK45", "RK23", "DOP853"] = "RK45"
    most: Number = 2000  # evaluations of the right side after which the solver gives up
    checked: Count = 4  # images that are solved at half the tolerance too
    paired: bool = True  # measure the bound of the same images too
