"""The probability-flow ODE in the Gaussian world, where every term is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from ddpm_eval.measure.bound import levels
from ddpm_eval.measure.bound.flow import Flow, Solver, log_density
from ddpm_eval.measure.bound.levels import Weights
from ddpm_eval.model import Model
from ddpm_train import schedule
from ddpm_train.architectures import UNetConfig
from ddpm_train.config import ObjectiveConfig, ScheduleConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.fast import prepare
from ddpm_train.networks.unet import UNet
from tests import oracle

SHAPE = (1, 4, 4)
D = 16


def gaussian(
    variance: float, T: int = 100, *, prediction: str = "eps", scale: float = 1.0
) -> Model:
    """The best model of N(0, variance): what it predicts is a multiple of x_t at any real t.

    The decoder's variance is the exact one, so that every image's -log p(x_0) is the Gaussian's.
    """
    process = schedule.build(ScheduleConfig(kind="log_snr", T=T, snr_start=1e3, snr_end=1e-5))
    bars = process.alphas_bar.numpy()
    line = 0.5 * np.log((1 - bars[1:]) / bars[1:])

    def network(x: Tensor, t: Tensor) -> Tensor:
        s = np.interp(t.numpy(), np.arange(1, T + 1), line)
        bar = torch.from_numpy(1 / (1 + np.exp(2 * s))).view(-1, 1, 1, 1)
        of_x_0 = bar.sqrt() * variance / (bar * variance + 1 - bar)
        of_eps = (1 - bar.sqrt() * of_x_0) / (1 - bar).sqrt()
        if prediction != "mu_tilde":
            of_v = bar.sqrt() * of_eps - (1 - bar).sqrt() * of_x_0
            return scale * {"eps": of_eps, "x_0": of_x_0, "v": of_v}[prediction] * x
        index = t.numpy()
        before = torch.from_numpy(np.interp(index - 1, np.arange(T + 1), bars)).view(-1, 1, 1, 1)
        betas = 1 - bar / before
        c_0 = before.sqrt() * betas / (1 - bar)
        c_t = (1 - betas).sqrt() * (1 - before) / (1 - bar)
        return (c_0 * of_x_0 + c_t) * x

    denoise = Denoiser(network, process, ObjectiveConfig(prediction=prediction))  # type: ignore[arg-type]
    exact = variance * (1 - bars[1]) / (variance * bars[1] + 1 - bars[1])
    assert denoise.log_variances is not None
    denoise.log_variances[1] = math.log(exact)
    return replace(oracle.subject(denoise), shape=SHAPE)


def bits(model: Model, x_0: Tensor, *, draws: int = 1, count: int = 2) -> Weights:
    """What the measure does, in memory."""
    values = []
    for draw in range(draws):
        eps = torch.stack([levels.noise(0, i, draw, SHAPE) for i in range(len(x_0))])
        signs = [levels.probes(0, i, draw, (count, *SHAPE)) for i in range(len(x_0))]
        start = levels.with_decoder(model, x_0, eps, clip=False)
        result = log_density(Flow(model), start.x_1, torch.stack(signs, 1), solver=Solver())
        values.append((result.log_density + start.rest).T)
    return Weights(np.stack(values, 1), D)


def images(n: int, variance: float) -> Tensor:
    rng = np.random.default_rng(7)
    return torch.from_numpy(rng.normal(size=(n, *SHAPE))) * math.sqrt(variance)


@pytest.mark.parametrize("prediction", ["eps", "x_0", "v", "mu_tilde"])
@pytest.mark.parametrize("variance", [1.0, 0.2])
def test_every_image_costs_what_it_does_in_the_gaussian_world(
    variance: float, prediction: str
) -> None:
    """Not the mean alone: -log2 p(x_0) of each, since the posterior is exact."""
    x_0 = images(6, variance)
    wanted = x_0.square().mean((1, 2, 3)) / variance + math.log(2 * math.pi * variance)
    result = bits(gaussian(variance, prediction=prediction), x_0).bits()
    np.testing.assert_allclose(result, 0.5 * wanted.numpy() / math.log(2), atol=0.002)


def test_both_routes_give_the_entropy() -> None:
    """2.0471: the flow on images whose mean square is that of N(0, I)."""
    x_0 = images(50, 1.0)
    x_0 /= x_0.square().mean().sqrt()
    assert bits(gaussian(1.0), x_0).bits().mean() == pytest.approx(oracle.ENTROPY, abs=0.002)


def wrong_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget half of log 2 pi e: the 0.92 bits of a withdrawn paper."""
    right = levels.with_decoder

    def wrong(model: Model, x_0: Tensor, eps: Tensor, *, clip: bool = True) -> levels.Start:
        start = right(model, x_0, eps, clip=clip)
        return replace(start, rest=start.rest - 0.5 * D)

    monkeypatch.setattr(levels, "with_decoder", wrong)


def wrong_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Flow.drift

    def wrong(self: Flow, x: Tensor, probes: Tensor, s: float) -> tuple[Tensor, Tensor]:
        drift, divergence = right(self, x, probes, s)
        return drift, 0.99 * divergence

    monkeypatch.setattr(Flow, "drift", wrong)


@pytest.mark.parametrize("plant", [wrong_entropy, wrong_divergence])
def test_a_planted_mistake_is_seen(plant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)  # type: ignore[operator]
    with pytest.raises(AssertionError):
        test_every_image_costs_what_it_does_in_the_gaussian_world(0.2, "eps")


def test_a_worse_model_costs_more_and_draws_help() -> None:
    x_0 = images(8, 0.2)
    best, worse = (bits(gaussian(0.2, scale=scale), x_0, draws=6) for scale in (1.0, 0.9))
    assert worse.bits().mean() > best.bits().mean() + 0.01
    trend = [worse.bits(k).mean() for k in (1, 2, 3, 6)]
    assert trend == sorted(trend, reverse=True)
    errors = worse.errors()
    assert errors["total"] ** 2 == pytest.approx(
        sum(errors[part] ** 2 for part in ("images", "draws", "probes")), rel=1e-6
    )


def test_the_mean_over_draws_is_inside_the_logarithm() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    result = Weights(values, 10).bits()
    wanted = -(logsumexp(values.mean(2), axis=1) - math.log(4)) / (10 * math.log(2))
    np.testing.assert_allclose(result, wanted)
    pairs = values.mean(2).reshape(3, 2, 2)
    wanted = -(logsumexp(pairs, axis=2) - math.log(2)).mean(1) / (10 * math.log(2))
    np.testing.assert_allclose(Weights(values, 10).bits(2), wanted)


def test_the_trace_is_that_of_the_jacobian() -> None:
    """Difference quotients of a prepared float32 network against float64 gradients."""
    config = UNetConfig(
        image_size=8, base_channels=32, channel_mult=(1,), attn_resolutions=(), dropout=0.0
    )
    network = UNet(config, out_channels=3, seed=1)
    with torch.no_grad():
        network.conv_out.weight.mul_(1e5)
    process = schedule.build(ScheduleConfig())
    model = replace(
        oracle.subject(Denoiser(prepare.prepare(network, 1000), process, ObjectiveConfig())),
        dtype=torch.float32,
    )
    field = Flow(model)
    s = float(field.line[300]) + 0.001
    moment = field.at(s)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 8, 8)))
    signs = levels.probes(0, 0, 0, (2, 3, 8, 8)) * torch.tensor([1, -1]).view(2, 1, 1, 1, 1)
    drift, divergence = field.drift(x, signs, s)
    exact = UNet(config, out_channels=3, seed=1).double()
    exact.load_state_dict(network.state_dict())
    times = torch.full((2,), moment.t, dtype=torch.float64)
    x.requires_grad_()
    eps = exact(x, times)
    (moved,) = torch.autograd.grad((eps * signs[0]).sum(), x)
    n = moment.noise
    trace = (moved * signs[0]).flatten(1).sum(1)
    assert 300 < moment.t - 1 < 301 and trace.abs().min() > 1
    torch.testing.assert_close(drift, n * eps.detach() - n**2 * x.detach(), rtol=0, atol=1e-4)
    # Of both signs the quotient's error cancels to second order.
    np.testing.assert_allclose(divergence.mean(0), n * trace - n**2 * 192, atol=0.02)


def test_dequantised_images_are_a_density_over_bins() -> None:
    """Of a Gaussian far wider than a level: the density in its middle, over D levels."""
    model = gaussian(0.2, T=200)
    x_0 = torch.zeros(3, *SHAPE, dtype=torch.float64)
    u = torch.stack([levels.uniform_noise(0, i, 0, SHAPE) for i in range(3)])
    start = levels.with_uniform_noise(model, x_0, u)
    signs = torch.stack([levels.probes(0, i, 0, (1, *SHAPE)) for i in range(3)], 1)
    result = log_density(Flow(model), start.x_1, signs, solver=Solver()).log_density[0] + start.rest
    bar = model.denoise.schedule.alphas_bar[1].item()
    blurred = 0.2 + (1 - bar) / bar  # the noise of x_1 is part of this density
    level = -0.5 * math.log2(2 * math.pi * blurred) + math.log2(levels.LEVEL)
    np.testing.assert_allclose(-result / (D * math.log(2)), -level, atol=0.002)


def test_a_solver_that_gives_up_gives_no_number() -> None:
    model, x_1 = gaussian(0.2), images(2, 0.2)
    signs = torch.ones(1, 2, *SHAPE, dtype=torch.float64)
    with pytest.raises(FixableError, match="took more than 10 evaluations"):
        log_density(Flow(model), x_1, signs, solver=Solver(most=10))


def test_schedules_without_an_end_are_named() -> None:
    process = schedule.build(ScheduleConfig(kind="jsd", T=50))
    objective = ObjectiveConfig(prediction="mu_tilde")
    model = oracle.subject(Denoiser(lambda x, t: x, process, objective))
    with pytest.raises(FixableError, match="no signal at T"):
        _ = Flow(model).line
