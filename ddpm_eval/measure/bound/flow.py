"""A discrete model as a probability-flow ODE: a density of x_1 without Gaussian steps.

With sigma_t^2 = (1 - alpha-bar_t) / alpha-bar_t and s = log sigma, the marginals of q move along

    dx/ds = n eps_hat(x, t) - n^2 x,    n = sqrt(1 - alpha-bar),

and a density along it changes by the divergence of the right side (Song et al. 2021, section 4.3):

    log p(x_1) = log N(x_T; 0, I) + integral over s from s_1 to s_T of
                                    n tr(d eps_hat / dx) - n^2 D.

The model knows t = 1..T only. Between them t is interpolated linearly in s, that is, in the
logarithm of the signal-to-noise ratio. Whatever eps_hat says there, p is the density of the flow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ddpm_eval.model import Model
from ddpm_eval.record.arrays import Array
from ddpm_train.errors import FixableError
from ddpm_train.schedule import NoiseSchedule

Method = Literal["RK45", "DOP853", "RK23"]
STEP = 0.01  # of the difference quotient, in units of the noise n
LEAST_RTOL = 3e-14  # the error is controlled by atol: x is of the order of 1


class TooManyEvaluations(Exception):
    """The solver takes more evaluations than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """How the ODE is solved.

    Attributes:
        tolerance: Of one step: the error of x, and of log p in nats per dimension.
        method: One of scipy's explicit Runge-Kutta methods.
        most: Evaluations of the right side after which it gives up.
    """

    tolerance: float = 1e-5
    method: Method = "RK45"
    most: int = 2000


class Moment(NamedTuple):
    """A place on the flow: the paper's t between its integers, and the process there."""

    t: float
    noise: float  # sqrt(1 - alpha-bar)
    process: NoiseSchedule  # rows 0, t - 1 and t


@dataclass(frozen=True)
class Flow:
    """The ODE of a model, given the class of each state where it takes classes."""

    model: Model
    labels: Tensor | None = None

    @cached_property
    def line(self) -> Array:
        """The logarithms s of sigma_1..sigma_T, rising, [T].

        Raises:
            FixableError: The schedule leaves no signal at T, where s is infinite.
        """
        bar = self.model.denoise.schedule.alphas_bar[1:].numpy()
        if not (bar > 0).all() or not (np.diff(bar) < 0).all():
            raise FixableError(
                "ode: this schedule leaves no signal at T, so its logarithm has no value there",
                "measure the bound instead",
            )
        line: Array = 0.5 * np.log((1 - bar) / bar)
        return line

    def at(self, s: float) -> Moment:
        """The model at a place between s_1 and s_T."""
        whole = self.model.denoise.schedule
        t = float(np.interp(s, self.line, np.arange(1, whole.T + 1)))
        bar = 1 / (1 + math.exp(2 * s))
        before = float(np.interp(t - 1, np.arange(whole.T + 1), whole.alphas_bar.numpy()))
        bars = torch.tensor([1.0, before, bar], dtype=torch.float64)
        betas = torch.cat([torch.zeros(1, dtype=torch.float64), 1 - bars[1:] / bars[:-1]])
        process = NoiseSchedule(betas, bars, torch.arange(3))
        return Moment(t, math.sqrt(1 - bar), process)

    def eps_hat(self, x: Tensor, moment: Moment) -> Tensor:
        """The noise that the model sees in x, float64 [B, C, H, W], whatever it predicts."""
        denoise, rows = self.model.denoise, torch.full((len(x),), 2)
        times = torch.full((len(x),), moment.t, dtype=torch.float64)
        labels = self.labels
        condition = () if labels is None else (labels.repeat(len(x) // len(labels)),)
        taken = denoise.prediction.scaled(moment.process, x, rows)
        output = denoise.network(taken.to(self.model.dtype), times, *condition).double()
        if denoise.objective.learns_variance:
            output = output.chunk(2, dim=1)[0]
        return denoise.prediction.eps(moment.process, x, rows, output)

    def drift(self, x: Tensor, probes: Tensor, s: float) -> tuple[Tensor, Tensor]:
        """The right side, and its divergence as each probe sees it.

        Hutchinson: v' J v has the mean tr J for probes of independent signs. J v is a difference
        quotient, which takes one evaluation and no gradient.

        Args:
            x: The state, float64 [B, C, H, W].
            probes: Signs, [R, B, C, H, W].
            s: log sigma.

        Returns:
            dx/ds [B, C, H, W] and its divergence [R, B].
        """
        moment = self.at(s)
        n, size = moment.noise, STEP * moment.noise
        points = torch.cat([x[None], x + size * probes]).flatten(0, 1)
        eps, *moved = self.eps_hat(points, moment).view(len(probes) + 1, *x.shape)
        quotients = (torch.stack(moved) - eps) / size
        trace = (probes * quotients).flatten(2).sum(2)
        return n * eps - n**2 * x, n * trace - n**2 * x[0].numel()


class Solution(NamedTuple):
    """What a solver gave."""

    log_density: Array  # of each state as each probe sees it, nats, [R, B]
    evaluations: int  # of the right side


@torch.inference_mode()
def log_density(
    flow: Flow,
    x_1: Tensor,
    probes: Tensor,
    *,
    solver: Solver,
    tick: Callable[[], None] = lambda: None,
) -> Solution:
    """Follow states from t = 1 to T and give log p(x_1) by each probe.

    Args:
        flow: The ODE.
        x_1: States, float64 [B, C, H, W] on the model's device.
        probes: Signs, [R, B, C, H, W].
        solver: How the ODE is solved.
        tick: Called after each.

    Raises:
        FixableError: The solver did not reach T.
    """
    shape, device = x_1.shape, x_1.device
    size, dimensions = x_1.numel(), x_1[0].numel()
    scale = dimensions**-0.5  # an error of log p / D then weighs as much as one of all of x
    count = 0

    def right_side(s: float, state: Array) -> Array:
        nonlocal count
        count += 1
        if count > solver.most:
            raise TooManyEvaluations
        x = torch.from_numpy(state[:size]).view(shape).to(device)
        drift, divergence = flow.drift(x, probes, s)
        tick()
        return np.concatenate(
            [drift.cpu().numpy().ravel(), scale * divergence.cpu().numpy().ravel()]
        )

    start = np.concatenate([x_1.cpu().numpy().ravel(), np.zeros(probes[:, :, 0, 0, 0].numel())])
    ends = float(flow.line[0]), float(flow.line[-1])
    try:
        result = solve_ivp(
            right_side,
            ends,
            start,
            method=solver.method,
            rtol=LEAST_RTOL,
            atol=solver.tolerance,
            t_eval=ends[1:],
        )
    except TooManyEvaluations:
        raise _no_number(f"took more than {solver.most:,} evaluations", solver) from None
    if not result.success or not np.isfinite(result.y).all():
        raise _no_number(f"stopped ({result.message})", solver)
    end = result.y[:, -1]
    x_T = end[:size].reshape(len(x_1), -1)
    prior = -0.5 * (np.square(x_T).sum(1) + dimensions * math.log(2 * math.pi))
    change = end[size:].reshape(len(probes), len(x_1)) / scale
    return Solution(prior + change, count)


def _no_number(problem: str, solver: Solver) -> FixableError:
    return FixableError(
        f"ode: the solver {problem}, so there is no number",
        f"raise ode.tolerance={solver.tolerance:g} (float32 networks rarely bear less than 1e-6)",
    )
