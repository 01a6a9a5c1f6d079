"""Settings of the bound: what is scored, from which seed, and when an estimate stops."""

from dataclasses import dataclass

from ddpm_train.errors import FixableError


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSettings:
    """Bits/dim, rate and distortion, and comparisons of two models."""

    n: int = 0  # images; 0: all of them
    first: bool = False  # the first n, as the original's protocol; else n that the seed draws
    drop_remainder: int = 0  # drop the last incomplete batch of so many images; 0: none
    target_stderr: float = 0.0  # estimate the bound to this standard error, bits/dim; 0: no
    budget: int = 0  # estimate the bound with at most so many evaluations; 0: no
    calibrate: int = 0  # training images that the best variance is learned from; 0: none
    clip: bool = True  # keep x_0_hat in [-1, 1], as the original evaluates
    seed: int = 0  # of the noise and of the choice of images

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

    n: int = 0  # images; 0: all of them
    first: bool = False  # the first n; else n that the seed draws
    seed: int = 0  # of the untrained network, of its noise and of the choice of images
