"""Heun's method: its order on a known world, Algorithms 1 and 2 written out, EDM's c."""

import itertools
import math
from collections import deque
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddpm_train import heun, samplers
from ddpm_train.chain import chain, prior
from ddpm_train.config import ObjectiveConfig, SamplerConfig, ScheduleConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.predictions import PREDICTIONS
from ddpm_train.schedule import NoiseSchedule, at, build, from_betas

DEVIATION = 0.4  # of the world's images, all pixels independent
STREAM, SHAPE = Stream(2, "sample"), (1, 2, 2)
FINE = ScheduleConfig(kind="log_snr", T=100_000, snr_start=0.002**-2, snr_end=80.0**-2)


def denoiser(process: NoiseSchedule) -> Denoiser:
    """The exact network of eps: E[eps | x_t] of images N(0, DEVIATION^2)."""
    bar = process.alphas_bar
    share = (1 - bar).sqrt() / (1 - bar + DEVIATION**2 * bar)
    return Denoiser(lambda x, t: at(share, t, x) * x, process, ObjectiveConfig())


@pytest.fixture(scope="module")
def exact() -> Denoiser:
    return denoiser(build(FINE))


def x_0_hat(y: Tensor, sigma: float) -> Tensor:
    return y * DEVIATION**2 / (DEVIATION**2 + sigma**2)


def ends(denoise: Denoiser, n: int, **settings: float) -> tuple[Tensor, Tensor, samplers.Sampler]:
    """The state at the start, y = x_0 + sigma eps, and where the walk ends."""
    sampler = samplers.build(denoise, SamplerConfig(sampler="heun", **settings), clip=False)  # type: ignore[arg-type]
    x_T = prior(STREAM, range(n), SHAPE).double()
    x_0 = deque(chain(sampler, x_T, range(n), STREAM), maxlen=1).pop().x_0_hat
    return x_T / sampler.schedule.alphas_bar[-1].sqrt(), x_0, sampler


def test_the_error_falls_with_the_square_of_the_steps(exact: Denoiser) -> None:
    """The flow of the world is known: y goes with sqrt(c^2 + sigma^2)."""
    first, last = heun.noise_levels(exact.schedule.alphas_bar)[[1, -1]].tolist()
    errors = []
    for steps in (16, 32, 64):
        y, x_0, _ = ends(exact, 3, steps=steps)
        along = y * math.sqrt((DEVIATION**2 + first**2) / (DEVIATION**2 + last**2))
        errors.append((x_0 - x_0_hat(along, first)).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.15)
    assert errors[2] < 1e-2


def test_the_levels_are_even_in_a_root_of_sigma(exact: Denoiser) -> None:
    """Karras et al. 2022, Eq. 5, but for the rounding to the model's levels."""
    for rho in (1.0, 7.0):
        _, _, sampler = ends(exact, 1, rho=rho)
        sigmas = heun.noise_levels(sampler.schedule.alphas_bar)[1:].flip(0)
        assert len(sigmas) == 18
        ratio = [
            sigma / (80 ** (1 / rho) + i / 17 * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
            for i, sigma in enumerate(sigmas.tolist())
        ]
        torch.testing.assert_close(torch.tensor(ratio), torch.ones(18), rtol=0, atol=1e-4)


def algorithm_2(y: Tensor, sigmas: list[float], churn: heun.Churn, tables: Tensor,
                noise: Callable[[int], Tensor]) -> Tensor:  # fmt: skip
    """Lines 2 to 11 of Algorithm 2; ``sigmas`` fall to 0, ``tables`` are the model's levels."""
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        gamma = min(churn.amount / (len(sigmas) - 1), 2**0.5 - 1)
        if i and churn.least <= sigma <= churn.most and gamma:
            hat = tables[(tables - sigma * (1 + gamma)).abs().argmin()].item()
            y = y + math.sqrt(hat**2 - sigma**2) * churn.noise * noise(i)
            sigma = hat
        d = (y - x_0_hat(y, sigma)) / sigma
        following = y + (after - sigma) * d
        if after:
            second = (following - x_0_hat(following, after)) / after
            following = y + (after - sigma) * (d + second) / 2
        y = following
    return y


@pytest.mark.parametrize("amount", [0.0, 3.0, 100.0])
def test_it_is_algorithm_2_written_out(exact: Denoiser, amount: float) -> None:
    settings = {"churn": amount, "churn_from": 0.01, "churn_to": 10.0, "churn_noise": 1.003}
    changes = settings if amount else {}
    y, x_0, sampler = ends(exact, 3, steps=12, **changes)
    times = sampler.schedule.times.tolist()[::-1]
    tables = heun.noise_levels(exact.schedule.alphas_bar)
    churn = heun.Churn(amount=amount, least=0.01, most=10, noise=1.003)
    wanted = algorithm_2(
        y,
        [*tables[times[:-1]].tolist(), 0.0],
        churn,
        tables[1:],
        lambda i: normal(STREAM, range(3), SHAPE, steps=times[i - 1]).double(),
    )
    torch.testing.assert_close(x_0, wanted, rtol=1e-7, atol=1e-9)


def test_a_churn_keeps_the_distribution_and_less_noise_narrows_it(exact: Denoiser) -> None:
    n = 3000
    for noise, narrower in ((1.0, False), (0.9, True)):
        _, x_0, _ = ends(exact, n, steps=80, churn=40.0, churn_noise=noise)
        variance = x_0.var().item() / DEVIATION**2
        assert (variance < 0.9) if narrower else (variance == pytest.approx(1, abs=0.06))


TABLE_1: dict[str, Callable[[float], tuple[float, float, float, float]]] = {
    "edm": lambda s: (
        0.25 / (s**2 + 0.25),
        0.5 * s / math.sqrt(s**2 + 0.25),
        1 / math.sqrt(s**2 + 0.25),
        math.log(s) / 4,
    ),
    "ve": lambda s: (1.0, s, 1.0, math.log(s / 2)),
}
"""c_skip, c_out, c_in, c_noise of a sigma (Karras et al. 2022)."""


@pytest.mark.parametrize("kind", TABLE_1)
def test_a_preconditioned_network_is_read_as_in_table_1(kind: str) -> None:
    process = build(ScheduleConfig(kind="log_snr", T=50, snr_start=1e4, snr_end=1e-3))
    taken = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        taken.append(x)
        return x.sin()

    objective = ObjectiveConfig(prediction=kind, loss="mse")
    denoise = Denoiser(network, process, objective)
    y = torch.linspace(-2, 2, 8, dtype=torch.float64).view(2, 1, 2, 2)
    for t in (1, 20, 50):
        bar = process.alphas_bar[t]
        sigma = heun.noise_levels(bar).item()
        skip, out, scale, _ = TABLE_1[kind](sigma)
        k, x_t = torch.full((2,), t), bar.sqrt() * y
        result = denoise.estimate(x_t, k)
        torch.testing.assert_close(taken[-1], scale * y)
        torch.testing.assert_close(result, skip * y + out * (scale * y).sin())
        eps = (y - result) / sigma
        torch.testing.assert_close(denoise.eps_hat((scale * y).sin(), x_t, k), eps)
        torch.testing.assert_close(denoise(x_t, k, clip=False).x_0_hat, result)
        x_0 = 0.3 * y
        target = PREDICTIONS[kind].target(process, x_0, x_t, k, (y - x_0) / sigma)
        torch.testing.assert_close(target, (x_0 - skip * y) / out)


def test_what_has_no_effect_or_no_meaning_is_refused(exact: Denoiser) -> None:
    def refused(match: str, denoise: Denoiser = exact, **settings: object) -> None:
        with pytest.raises(FixableError, match=match):
            samplers.build(denoise, SamplerConfig(**settings))  # type: ignore[arg-type]

    refused(r"spacing=quad has no effect on the heun", sampler="heun", spacing="quad")
    refused(r"churn=3\.0 has no effect on the ddim", sampler="ddim", churn=3.0)
    refused(r"eta=1\.0 has no effect on the heun", sampler="heun", eta=1.0)
    refused(r"steps=200,000: the model has 100,000", sampler="heun", steps=200_000)
    blind = denoiser(from_betas(torch.tensor([0.1, 0.5, 1.0])))
    refused("leaves no signal at T", blind, sampler="heun")
