"""The variances of p(x_{t-1} | x_t): fixed tables (section 3.2), and learned ones."""

from collections.abc import Callable

from torch import Tensor

from ddpm_train.config import ObjectiveConfig
from ddpm_train.diffusion import posterior_coefficients
from ddpm_train.errors import FixableError
from ddpm_train.schedule import NoiseSchedule, at


def fixed_small(schedule: NoiseSchedule) -> Tensor:
    """The table log sigma^2_t = log beta-tilde_t, row 1 (there 0) taken from row 2, [T+1]."""
    variances = schedule.posterior_variances.clone()
    variances[1] = variances[min(2, schedule.T)]  # of a single step it is not used
    return variances.log()


def fixed_large(schedule: NoiseSchedule) -> Tensor:
    """The table log sigma^2_t = log beta_t, row 1 as in ``fixed_small``, [T+1]."""
    log_variances = schedule.betas.log()
    log_variances[:2] = fixed_small(schedule)[:2]
    return log_variances


def optimal(schedule: NoiseSchedule, errors: Tensor) -> Tensor:
    """The table log sigma*^2_t of the best isotropic variance (Bao et al. 2022), [T+1].

        sigma*^2_t = beta-tilde_t + c_0^2 E (x_0 - x_0_hat)^2

    It minimises the expected KL of every step; at t = 1 it is the error itself.

    Args:
        schedule: The forward process.
        errors: The mean squared error per dimension when x_0 is estimated from x_t, float64 [T+1];
            row 0 is not used.
    """
    c_0 = posterior_coefficients(schedule)[0]
    return (schedule.posterior_variances + c_0.square() * errors).log()


def errors_of(schedule: NoiseSchedule, log_variances: Tensor) -> Tensor:
    """Find the errors that a table of the best variance was fitted to: ``optimal`` inverted."""
    c_0 = posterior_coefficients(schedule)[0]
    return (log_variances.exp() - schedule.posterior_variances) / c_0.square()


VARIANCES: dict[str, Callable[[NoiseSchedule], Tensor]] = {
    "fixedsmall": fixed_small,
    "fixedlarge": fixed_large,
}
"""Fixed variances, as tables."""


def isotropic(
    schedule: NoiseSchedule, objective: ObjectiveConfig, errors: Tensor | None
) -> Tensor | None:
    """The table log sigma^2_t of an isotropic variance, [T+1]; None where the network learned one.

    Raises:
        FixableError: The best variance is wanted and the errors that it follows from are missing.
    """
    if objective.variance == "optimal":
        if errors is None:
            raise FixableError(
                "objective.variance=optimal: there is no table of errors with these weights",
                "use a checkpoint of such a run, or set objective.variance=fixedsmall",
            )
        return optimal(schedule, errors)
    fixed = VARIANCES.get(objective.variance)
    return None if fixed is None else fixed(schedule)


def raw(schedule: NoiseSchedule, out: Tensor, t: Tensor) -> Tensor:
    """The output is log sigma^2 (the paper's Table 2)."""
    return out


def in_range(schedule: NoiseSchedule, out: Tensor, t: Tensor) -> Tensor:
    """The output places log sigma^2 between its bounds (Nichol and Dhariwal, Eq. 15).

    log sigma^2 = w log beta_t + (1 - w) log beta-tilde_t,   w = (out + 1) / 2
    """
    small, large = at(fixed_small(schedule), t, out), at(schedule.betas.log(), t, out)
    return small + (out + 1) / 2 * (large - small)


def errors_of_raw(schedule: NoiseSchedule, out: Tensor, t: Tensor) -> Tensor:
    """What the network expects to miss of x_0 in each pixel, where it puts out log sigma^2.

    M = (sigma^2 - beta-tilde_t) / c_0^2, float64 as ``out``; its sign is not sure where an error
    hardly changes a step.
    """
    double = out.double()
    small, c_0 = schedule.posterior_variances, posterior_coefficients(schedule)[0]
    return (double.exp() - at(small, t, double)) / at(c_0.square(), t, double)


def errors_in_range(schedule: NoiseSchedule, out: Tensor, t: Tensor) -> Tensor:
    """The same where the output is a place between the bounds, which loses no digit at large t."""
    double, low, high = out.double(), fixed_small(schedule), schedule.betas.log()
    w, span = (double + 1) / 2, at(high - low, t, double)
    grown = (w * span).expm1() * at(low.exp(), t, double)
    rest = at(low.exp() - schedule.posterior_variances, t, double)  # of the first step
    c_0 = posterior_coefficients(schedule)[0]
    return (grown + rest) / at(c_0.square(), t, double)


LEARNED: dict[str, Callable[[NoiseSchedule, Tensor, Tensor], Tensor]] = {
    "learned": raw,
    "learned_range": in_range,
}
"""Learned variances: log sigma^2 from the second half of the network's output."""


ERRORS: dict[str, Callable[[NoiseSchedule, Tensor, Tensor], Tensor]] = {
    "learned": errors_of_raw,
    "learned_range": errors_in_range,
}
"""The mean square that the network expects to miss, from the same half: ``optimal`` inverted."""
