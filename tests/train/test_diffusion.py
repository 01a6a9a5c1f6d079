"""The equations against Bayes, sums to one, and PROTOCOL's published figures."""

import math

import pytest
import torch
from torch import Tensor

from ddpm_train import diffusion, schedule, variances
from ddpm_train.config import ObjectiveConfig, ScheduleConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import Gaussian
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.objective import Objective, check
from ddpm_train.predictions import PREDICTIONS

PAPER = schedule.build(ScheduleConfig())


def draws(*shape: int, seed: int = 0) -> Tensor:
    return normal(Stream(seed, "init"), [0], shape)[0].double()


def test_bayes() -> None:
    """q(x_s|x_t,x_0) q(x_t|x_0) = q(x_t|x_s) q(x_s|x_0) at random points, every t > 1."""
    process, at = PAPER, schedule.at
    bar, betas = process.alphas_bar, process.betas

    def log_p(x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return -0.5 * ((x - mean).square() / var + (2 * math.pi * var).log())

    def marginal(x: Tensor, k: Tensor) -> Tensor:
        return log_p(x, at(bar.sqrt(), k, x) * x_0, at(1 - bar, k, x))

    x_0, x_s, x_t = draws(3, 999, 5)
    t = torch.arange(2, 1001)
    step = log_p(x_t, at((1 - betas).sqrt(), t, x_s) * x_s, at(betas, t, x_s))
    posterior = diffusion.q_posterior(process, x_0, x_t, t)
    left = log_p(x_s, posterior.mean, posterior.log_var.exp()) + marginal(x_t, t)
    torch.testing.assert_close(left, step + marginal(x_s, t - 1), rtol=1e-9, atol=1e-9)


def test_the_marginal_is_the_product_of_steps() -> None:
    process = schedule.build(ScheduleConfig(kind="quad", T=50))
    x_0, t = draws(50, 3), torch.arange(1, 51)
    mean = diffusion.q_sample(process, x_0, t, torch.zeros_like(x_0))
    before = diffusion.q_sample(process, x_0, t - 1, torch.zeros_like(x_0))
    torch.testing.assert_close(mean, schedule.at((1 - process.betas).sqrt(), t, x_0) * before)


def test_float32_pixels_get_float64_coefficients() -> None:
    """Subtracting in float32 would leave four digits of sqrt(1 - alpha-bar_1) = 0.01."""
    one, t = torch.ones(1, 1, 1, 1), torch.tensor([1])
    noise = diffusion.q_sample(PAPER, 0 * one, t, one)
    assert noise.dtype == torch.float32 and noise.item() == pytest.approx(0.01, rel=2e-7)
    eps = diffusion.x_0_from_eps(PAPER, 0 * one, t, -one)
    assert eps.item() == pytest.approx((1e-4 / 0.9999) ** 0.5, rel=2e-7)


def test_readings_of_x_0_invert_their_definitions() -> None:
    x_0, eps, t = draws(1000, 4), draws(1000, 4, seed=1), torch.arange(1, 1001)
    x_t = diffusion.q_sample(PAPER, x_0, t, eps)
    torch.testing.assert_close(diffusion.x_0_from_eps(PAPER, x_t, t, eps), x_0)
    mean = diffusion.q_posterior(PAPER, x_0, x_t, t).mean
    torch.testing.assert_close(diffusion.x_0_from_mean(PAPER, x_t, t, mean), x_0)


@pytest.mark.parametrize("mean", [-3.0, -1.0, -0.2, 0.999, 1.0, 4.0])
@pytest.mark.parametrize("log_var", [-9.8, -4.0, 0.0])
@pytest.mark.parametrize("cdf", [diffusion.tanh_cdf, torch.special.ndtr])
def test_the_decoder_is_a_distribution_over_256_levels(mean, log_var, cdf) -> None:  # type: ignore[no-untyped-def]
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    p = Gaussian(torch.tensor(mean, dtype=torch.float64), torch.tensor(log_var).double())
    mass = (-diffusion.decoder_nll(levels, p, cdf=cdf)).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-9)


def test_the_decoders_published_figure() -> None:
    """sigma_1 and a Gaussian error of RMSE 0.95 grey levels cost 1.977 bits (PROTOCOL 4)."""
    sigma_1 = variances.fixed_large(PAPER)[1].mul(0.5).exp().item()
    assert sigma_1 == pytest.approx(0.0073846, rel=1e-5)
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    inner = levels[50:200].repeat(400)
    error = draws(len(inner)) * 0.95 / 127.5
    p = Gaussian(inner + error, torch.tensor(2 * math.log(sigma_1)).double())
    bits = diffusion.decoder_nll(inner, p).mean().item() / math.log(2)
    assert bits == pytest.approx(1.977, abs=0.01)


def test_fixedlarge_costs_its_published_mismatch() -> None:
    """0.5 (-1 + ln(beta/pv) + pv/beta) over t > 1 sums to 0.486 bits/dim (PROTOCOL 4)."""
    zero = torch.zeros(999, dtype=torch.float64)
    q = Gaussian(zero, PAPER.posterior_variances[2:].log())
    costs = diffusion.kl(q, Gaussian(zero, variances.fixed_large(PAPER)[2:]))
    assert costs.sum().item() / math.log(2) == pytest.approx(0.486, abs=0.0005)


def test_kl_is_the_expected_log_ratio() -> None:
    p, q = Gaussian(draws(1), draws(1, seed=2)), Gaussian(draws(1, seed=3), draws(1, seed=4))
    x = torch.linspace(-40, 40, 400_001, dtype=torch.float64)

    def log_density(g: Gaussian) -> Tensor:
        return -0.5 * ((x - g.mean) ** 2 / g.log_var.exp() + g.log_var + math.log(2 * math.pi))

    ratio = log_density(p).exp() * (log_density(p) - log_density(q))
    assert torch.trapezoid(ratio, x).item() == pytest.approx(diffusion.kl(p, q).item(), rel=1e-8)


def test_prior_kl_agrees_with_the_general_formula() -> None:
    x_0 = draws(2, 1, 3, 3)
    bar = PAPER.alphas_bar[-1]
    zero = torch.zeros((), dtype=torch.float64)
    x_T = Gaussian(bar.sqrt() * x_0, (1 - bar).log().expand_as(x_0))
    expected = diffusion.kl(x_T, Gaussian(zero, zero))
    torch.testing.assert_close(diffusion.prior_kl(PAPER, x_0), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_network_gives_the_posterior_mean(prediction: str) -> None:
    """For every prediction: p's mean is mu-tilde, x_0_hat is x_0, eps_hat eps, at t = 1 too."""
    x_0, eps, t = draws(6, 2, 3, 3).clamp(-1, 1), draws(6, 2, 3, 3, seed=1), torch.arange(1, 7)
    x_t = diffusion.q_sample(PAPER, x_0, t, eps)
    truth = diffusion.q_posterior(PAPER, x_0, x_t, t).mean
    target = PREDICTIONS[prediction].target(PAPER, x_0, x_t, t, eps)
    assert (target == {"eps": eps, "x_0": x_0, "mu_tilde": truth}.get(prediction, target)).all()
    config = ObjectiveConfig(prediction=prediction, variance="learned")  # type: ignore[arg-type]
    raw = torch.full_like(x_0, -3.0)
    denoise = Denoiser(lambda x, t: torch.cat([target, raw], 1), PAPER, config)
    p, x_0_hat = denoise(x_t, t)
    torch.testing.assert_close(denoise.eps_hat(denoise.evaluate(x_t, t), x_t, t), eps)
    torch.testing.assert_close(p.mean, truth)
    torch.testing.assert_close(x_0_hat, x_0)
    assert (p.log_var == -3).all()


def test_clipping_acts_on_the_mean_of_eps_and_not_of_mu_tilde() -> None:
    x_t, t = torch.full((1, 1, 1, 1), 3.0).double(), torch.tensor([5])
    zero = lambda x, t: 0 * x  # noqa: E731
    for clip in (True, False):
        p, x_0_hat = Denoiser(zero, PAPER, ObjectiveConfig())(x_t, t, clip=clip)
        assert (x_0_hat == 1).all() == clip
        torch.testing.assert_close(p.mean, diffusion.q_posterior(PAPER, x_0_hat, x_t, t).mean)
        p, _ = Denoiser(zero, PAPER, ObjectiveConfig(prediction="mu_tilde"))(x_t, t, clip=clip)
        assert (p.mean == 0).all()


def test_the_bound_term_picks_decoder_and_kl_with_finite_gradients() -> None:
    x_0, eps = draws(3, 1, 2, 2).clamp(-1, 1), draws(3, 1, 2, 2, seed=1)
    t = torch.tensor([1, 2, 700])
    x_t = diffusion.q_sample(PAPER, x_0, t, eps)
    log_var = torch.tensor([-6.0, -4.0, 3.0]).double().view(3, 1, 1, 1).requires_grad_()
    mean = diffusion.q_posterior(PAPER, x_0, x_t, t).mean.requires_grad_()
    nats = diffusion.bound_term(PAPER, x_0, x_t, t, Gaussian(mean, log_var))
    torch.testing.assert_close(
        nats[0], diffusion.decoder_nll(x_0[0], Gaussian(mean[0], log_var[0]))
    )
    q = diffusion.q_posterior(PAPER, x_0, x_t, t)
    torch.testing.assert_close(
        nats[2], diffusion.kl(Gaussian(q.mean[2], q.log_var[2]), Gaussian(mean[2], log_var[2]))
    )
    nats.sum().backward()
    assert mean.grad is not None and mean.grad.isfinite().all()
    assert log_var.grad is not None and log_var.grad.isfinite().all()


def test_losses_are_their_definitions() -> None:
    """Each loss at a known output, and the bound minimised by the true posterior's mean."""
    x_0, eps = draws(4, 1, 2, 2).clamp(-1, 1), draws(4, 1, 2, 2, seed=1)
    t = torch.tensor([1, 2, 50, 1000])

    def loss(output: Tensor, **settings: str) -> Tensor:
        config = ObjectiveConfig(**settings)  # type: ignore[arg-type]
        objective = Objective(config, Denoiser(lambda x, t: output, PAPER, config))
        x_t = objective.noisy(x_0, t, eps)
        return objective.loss(output, x_0, x_t, t, eps)

    torch.testing.assert_close(loss(eps + 2), torch.full((4,), 4.0).double())
    x_t = diffusion.q_sample(PAPER, x_0, t, eps)
    mean = diffusion.q_posterior(PAPER, x_0, x_t, t).mean
    mse = loss(mean + 3, prediction="mu_tilde", loss="mse")
    torch.testing.assert_close(mse, torch.full((4,), 9.0).double())
    bound = {"prediction": "mu_tilde", "loss": "L", "variance": "fixedsmall"}
    assert loss(mean, **bound)[1:].abs().max() < 1e-9  # KL(q || q) in bits
    off = loss(mean + 1e-3, **bound)[2:]
    expected = 0.5 * 1e-6 / PAPER.posterior_variances[t[2:]] / math.log(2)
    torch.testing.assert_close(off, expected)


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ({"prediction": "mu_tilde"}, "objective.loss=mse or L"),
        ({"loss": "mse"}, "objective.loss=L_simple or L"),
        ({"variance": "learned"}, "objective.loss=L"),
    ],
)
def test_contradictions_are_refused_with_the_fix(settings: dict[str, str], fix: str) -> None:
    with pytest.raises(FixableError, match="fix: .*" + fix):
        check(ObjectiveConfig(**settings), PAPER)  # type: ignore[arg-type]


def test_eps_cannot_be_predicted_where_no_signal_is_left() -> None:
    with pytest.raises(FixableError, match="prediction=v, x_0 or mu_tilde"):
        check(ObjectiveConfig(), schedule.build(ScheduleConfig(kind="jsd")))
