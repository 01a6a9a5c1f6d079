"""The whole evaluator against closed forms, without weights or data (see tests/oracle.py)."""

import numpy as np
import pytest
import torch

from ddpm_eval.measure.bound.likelihood import BoundTerms
from ddpm_train.chain import chain, prior
from ddpm_train.denoiser import Denoiser
from ddpm_train.noise import Stream
from ddpm_train.samplers import Ancestral
from tests import oracle

N = {4: 300, 30: 150, 100: 80, 300: 64, 1000: 48}


def bound(denoise: Denoiser, n: int, **settings: object) -> BoundTerms:
    subject = oracle.subject(denoise)
    work = oracle.run_sweep(
        subject, oracle.images(n), range(n), seed=0, clip=False, batch=512, **settings
    )
    return oracle.run(work)


@pytest.fixture(scope="module", params=N)
def exact(request: pytest.FixtureRequest) -> tuple[Denoiser, BoundTerms]:
    denoise = oracle.Exact(oracle.process(request.param))
    return denoise, bound(denoise, N[request.param])


def test_the_bound_is_the_entropy(exact: tuple[Denoiser, BoundTerms]) -> None:
    total = exact[1].total()
    stderr = total.std(ddof=1) / len(total) ** 0.5
    assert stderr < 0.02
    assert abs(total.mean() - oracle.ENTROPY) < 3 * stderr


def test_the_rate_is_shannons(exact: tuple[Denoiser, BoundTerms]) -> None:
    """Rate(t) = 1/2 log2(1/D_t), and D_t = 1 - alpha-bar_t, for every t from 2 on."""
    denoise, terms = exact
    distortion = 1 - denoise.schedule.alphas_bar.numpy()
    shannon = 0.5 * np.log2(1 / distortion[1:])
    rates = terms.rate()[:, 1:]
    stderr = rates.std(0, ddof=1) / len(rates) ** 0.5
    assert np.all(np.abs(rates.mean(0) - shannon) < 4 * stderr + 1e-6)
    mse = terms.mse[:, 1:].mean(0, dtype=np.float64)
    np.testing.assert_allclose(mse, distortion[1:], rtol=0.05)


def test_every_wrong_variance_is_looser() -> None:
    """sigma^2 = beta_t is the best: 10% more or less costs 0.5 (r - 1 - ln r) nats a step."""
    tables, n = oracle.process(30), 60
    best = bound(oracle.Exact(tables), n).total()
    for factor in (0.9, 1.1):
        denoise = oracle.Exact(tables)
        denoise.log_variances = denoise.log_variances + np.log(factor)
        extra = bound(denoise, n).total() - best  # the same noise: a sharp comparison
        cost = 0.5 * (1 / factor - 1 + np.log(factor)) / np.log(2) * 30
        assert extra.mean() == pytest.approx(cost, rel=0.05)


def test_the_chain_draws_from_the_data() -> None:
    denoise, n = oracle.Exact(oracle.process(30)), 200
    stream, like = Stream(5, "sample"), torch.zeros((), dtype=torch.float64)
    x_T = prior(stream, range(n), oracle.SHAPE).to(like)
    last = list(chain(Ancestral(denoise, clip=False), x_T, range(n), stream))[-1]
    # The last step is noiseless: it shrinks N(0, I) by x_0_hat's sqrt(alpha-bar_1).
    x_0 = last.x_0_hat / denoise.schedule.alphas_bar[1].sqrt()
    assert x_0.mean().item() == pytest.approx(0, abs=4 / x_0.numel() ** 0.5)
    assert x_0.var().item() == pytest.approx(1, abs=4 * (2 / x_0.numel()) ** 0.5)
    neighbours = (x_0[..., 1:] * x_0[..., :-1]).mean().item()
    assert neighbours == pytest.approx(0, abs=4 / x_0.numel() ** 0.5)


def test_results_do_not_depend_on_the_batch_size() -> None:
    subject = oracle.subject(oracle.Exact(oracle.process(30)))
    x_0 = oracle.images(7)
    one, two = (
        oracle.run(oracle.run_sweep(subject, x_0, range(7), seed=3, clip=False, batch=batch))
        for batch in (210, 13)
    )
    np.testing.assert_allclose(one.bits, two.bits, rtol=1e-6)
    part = oracle.run(oracle.run_sweep(subject, x_0[4:6], range(4, 6), seed=3, clip=False))
    np.testing.assert_allclose(one.bits[4:6], part.bits, rtol=1e-6)
