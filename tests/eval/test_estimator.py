"""The fast estimator on term matrices whose mean is known: no bias, and errors that are true."""

import numpy as np
import pytest

from ddpm_eval.measure.bound import estimator
from ddpm_eval.measure.bound import two_stage as two_stages
from ddpm_eval.measure.bound.draws import Draws
from ddpm_eval.measure.bound.estimator import Goal, Wanted
from ddpm_eval.measure.bound.two_stage import two_stage
from tests import oracle

T = 200


def terms(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Terms [n, T] that fall with t and follow what is known [n, 2] up to an image's own part."""
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(n, 2))
    t = np.arange(1, T + 1)
    own = rng.normal(size=(n, 1)) * 0.06
    slope = 0.1 + 0.2 * np.log(t) / np.log(T)
    log = np.log(0.9) - 1.2 * np.log(t) + covariates[:, :1] * slope + 0.04 * covariates[:, 1:] + own
    y = np.exp(log) * np.exp((0.03 + 0.1 * np.log(t) / np.log(T)) * rng.normal(size=(n, T)))
    y[:, 0] = 2.2 + 0.15 * covariates[:, 0] + 0.4 * own[:, 0] + 0.05 * rng.normal(size=n)
    return y, covariates


def replicate(
    y: np.ndarray, covariates: np.ndarray, goal: Goal, times: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values, both errors and evaluations of independent estimates of the same mean."""
    result = [
        estimator.estimate(
            lambda _, i, t: y[i, t - 1][:, None],
            covariates,
            Wanted(np.ones((1, 1)), np.r_[0, np.ones(y.shape[1])][:, None]),
            goal,
            np.random.default_rng(seed),
        )
        for seed in range(times)
    ]
    rows = [(e.value[0], e.these[0], e.population[0], spent) for e, spent in result]
    values, these, population, spent = np.array(rows).T
    return values, these, population, spent


@pytest.mark.parametrize("goal", [Goal(evaluations=300), Goal(evaluations=900), Goal(0.01)])
def test_it_is_unbiased_and_its_interval_covers(goal: Goal) -> None:
    y, covariates = terms(150)
    truth = y.sum(1).mean()
    values, these, _, spent = replicate(y, covariates, goal, 150)
    assert abs(values.mean() - truth) < 3.5 * values.std() / 150**0.5
    assert 0.90 <= (np.abs(values - truth) < 1.96 * these).mean() <= 0.99
    if goal.evaluations:
        assert (spent == goal.evaluations).all()
    else:
        assert (these <= goal.stderr).all()
        assert spent.mean() < y.size / 30


@pytest.mark.parametrize("n", [60, 600])
def test_its_error_for_the_population_covers_the_populations_mean(n: int) -> None:
    truth = terms(20_000, seed=1)[0].sum(1).mean()
    inside = []
    for seed in range(150):
        y, covariates = terms(n, seed=2 + seed)
        value, _, population, _ = replicate(y, covariates, Goal(evaluations=400), 1)
        inside.append(abs(value[0] - truth) < 1.96 * population[0])
    assert 0.90 <= np.mean(inside) <= 0.99


def test_a_useless_control_costs_precision_not_correctness() -> None:
    y, covariates = terms(150)
    truth = y.sum(1).mean()
    shuffled = np.random.default_rng(5).permutation(covariates)
    values, these, _, _ = replicate(y, shuffled, Goal(evaluations=400), 120)
    assert abs(values.mean() - truth) < 3.5 * values.std() / 120**0.5
    assert (np.abs(values - truth) < 1.96 * these).mean() >= 0.90
    good = replicate(y, covariates, Goal(evaluations=400), 50)[1]
    assert good.mean() < 0.87 * these.mean()


def test_it_needs_a_twentieth_of_the_evaluations_of_its_rivals() -> None:
    """Uniform times need n sd^2 / error^2 draws; all times of some images, T times as many."""
    y, covariates = terms(150)
    _, these, _, spent = replicate(y, covariates, Goal(0.01), 20)
    rows = np.random.default_rng(0).integers(150, size=100_000)
    times = np.random.default_rng(1).integers(T, size=100_000)
    uniform = (T * y[rows, times]).var() / 0.01**2
    f = y.sum(1).var(ddof=1)
    subset = T * f / (0.01**2 + f / 150)
    assert these.max() <= 0.01
    assert 20 * spent.mean() < min(uniform, subset)


def test_every_sum_is_estimated_at_once() -> None:
    """Parts of the sum, and a combination of two kinds of terms, each without bias."""
    y, covariates = terms(100)
    other = 0.9 * y + 0.01
    times = np.zeros((T + 1, 3))
    times[1, 0], times[2:, 1], times[1:, 2] = 1, 1, 1
    wanted = Wanted(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, -1.0]]), times)
    truth = np.array([y[:, 0].mean(), y[:, 1:].sum(1).mean(), (y - other).sum(1).mean()])
    result = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        pair = np.stack([y, other], 2)
        evaluate = lambda _, i, t: pair[i, t - 1]  # noqa: E731, B023
        result.append(
            estimator.estimate(evaluate, covariates, wanted, Goal(evaluations=400), rng)[0]
        )
    values, these = (np.array([getattr(e, key) for e in result]) for key in ("value", "these"))
    assert (np.abs(values.mean(0) - truth) < 3.5 * values.std(0) / 120**0.5).all()
    covered = (np.abs(values - truth) < 1.96 * these).mean(0)
    assert (covered >= 0.90).all()
    assert (covered <= 0.995).all()


def test_the_gaussian_worlds_bound_is_covered() -> None:
    denoise = oracle.Exact(oracle.process(T))
    x_0 = oracle.images(60)
    work = oracle.run_sweep(oracle.subject(denoise), x_0, range(60), seed=0, clip=False, batch=512)
    full = oracle.run(work)
    y, covariates = full.bits[:, :-1].astype(float), x_0.square().mean((1, 2, 3)).numpy()[:, None]
    covariates = (covariates - covariates.mean()) / covariates.std()
    values, these, population, _ = replicate(y, covariates, Goal(evaluations=400), 150)
    truth = y.sum(1).mean()
    assert 0.90 <= (np.abs(values - truth) < 1.96 * these).mean() <= 0.99
    entropy = oracle.ENTROPY - full.prior().mean()
    assert abs(values.mean() - entropy) < 3 * population.mean()


def test_draws_are_shared_equally_and_follow_the_shares() -> None:
    n, shares = 30, estimator.proposal(50)
    draws = Draws(n, np.random.default_rng(0))
    for size in (20, 31, 40, 500):
        images, times = draws.draw(size, shares)
        assert len(images) == len(times) == size
    counts = np.bincount(draws.images, minlength=n)
    assert counts.sum() == 591
    assert counts.max() - counts.min() <= 1
    np.testing.assert_allclose(np.bincount(draws.times, minlength=51), 591 * shares, atol=8)
    np.testing.assert_allclose(draws.shares(), shares)


def test_first_draws_fall_one_into_each_part_and_later_ones_apart_from_them() -> None:
    draws = Draws(60, np.random.default_rng(0))
    shares = np.r_[0, np.full(1000, 1e-3)]
    draws.draw(60, shares)
    fresh = len(set(draws.images))
    assert fresh == 50
    place = draws.places()
    assert (np.sort((place[:fresh] * fresh).astype(int)) == np.arange(fresh)).all()
    draws.draw(300, shares)
    for image in range(60):
        own = np.sort(draws.places()[draws.images == image])
        assert 0.08 < np.diff(own).min() < np.diff(own).max() < 0.4
        assert (draws.times == np.ceil(draws.places() * 1000 - 1e-9)).mean() > 0.999


def test_rounds_of_other_shares_are_one_sample_of_their_mixture() -> None:
    """The weights 1/q of the mixture make sums over times exact on average."""
    rng = np.random.default_rng(0)
    y, value = rng.random(20), []
    for seed in range(400):
        draws = Draws(16, np.random.default_rng(seed))
        for _ in range(3):
            draws.draw(24, np.r_[0, rng.random(20) ** 4 + 0.01])
        value.append((y[draws.times - 1] / draws.shares()[draws.times]).mean())
        assert (np.floor(draws.shares().cumsum()[draws.times] - draws.places() + 1e-9) >= 0).all()
    assert np.mean(value) == pytest.approx(y.sum(), abs=3.5 * np.std(value) / 400**0.5)


def test_some_draws_repeat_images_before_all_have_one() -> None:
    draws = Draws(1000, np.random.default_rng(0))
    images, _ = draws.draw(300, estimator.proposal(10))
    counts = np.bincount(images, minlength=1000)
    assert (counts == 1).sum() == 200
    assert (counts == 2).sum() == 50
    # Which images those are has nothing to do with the places.
    assert draws.places()[counts[images] == 2].mean() == pytest.approx(0.5, abs=0.1)


def test_variance_components_are_recovered() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    images = np.repeat(np.arange(n), 3)
    values = (0.3 * rng.normal(size=n)[images] + 0.2 * rng.normal(size=3 * n))[:, None]
    place = rng.random(3 * n)
    estimate = two_stage(images, place, values, np.zeros((2 * n, 1)))
    assert estimate.components.between[0] ** 0.5 == pytest.approx(0.3, rel=0.05)
    assert estimate.components.within[0] ** 0.5 == pytest.approx(0.2, rel=0.05)
    expected = (1 / n - 1 / (2 * n)) * 0.09 + 0.04 / (3 * n)
    assert estimate.these[0] ** 2 == pytest.approx(expected, rel=0.08)
    assert estimate.population[0] ** 2 == pytest.approx(0.09 / n + 0.04 / (3 * n), rel=0.08)


@pytest.mark.parametrize("R", [1.2, 2, 5])
def test_the_error_counts_what_evenly_spread_places_gain(R: float) -> None:
    """Errors that are Brownian motions over the place have the variogram slope * d."""
    n, grid, worlds = 40, 500, 200
    squares, stated, plain = [], [], []
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        motion = rng.normal(size=(n, grid)).cumsum(1) * (2 / grid) ** 0.5
        motion -= motion.mean(1, keepdims=True)
        draws = Draws(n, rng)
        draws.draw(int(R * n), np.r_[0, np.full(grid, 1 / grid)])
        values = motion[draws.images, draws.times - 1] + 0.3 * rng.normal(size=len(draws))
        estimate = two_stage(draws.images, draws.places(), values[:, None], np.zeros((n, 1)))
        squares.append(estimate.value[0] ** 2)
        stated.append(estimate.these[0] ** 2)
        plain.append((1 / 3 + 0.09) / len(draws))
        planned = estimate.components.variance(len(draws), n, estimator.REPEATS)
        assert 0.5 < planned[0] / estimate.these[0] ** 2 < 2
    assert 0.85 < np.mean(stated) / np.mean(squares) < 1.35
    if R > 1.5:
        assert np.mean(squares) < 0.8 * np.mean(plain)


def test_energy_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    images, place = rng.integers(4, size=30), rng.random(30)
    u = (np.arange(20_000) + 0.5) / 20_000
    for image, energy in enumerate(two_stages.energy(images, place)):
        own = place[images == image]
        to_uniform = np.abs(own[:, None] - u).mean()
        among = np.abs(own[:, None] - own).mean()
        assert energy == pytest.approx(2 * to_uniform - among - 1 / 3, abs=1e-6)


def test_the_control_learns_the_terms() -> None:
    y, covariates = terms(400)
    rng = np.random.default_rng(0)
    images, times = rng.integers(400, size=600), rng.integers(1, T + 1, 600)
    times[:300] = rng.integers(1, 6, 300)
    control = estimator.fit(covariates[images], times, y[images, times - 1], T)
    for t in (1, 2, 5, 20, 150):
        predicted = control.predict(covariates, np.full(400, t))
        residual = y[:, t - 1] - predicted
        design = np.column_stack([np.ones(400), covariates])
        best = y[:, t - 1] - design @ np.linalg.lstsq(design, y[:, t - 1], rcond=None)[0]
        assert residual.std() < 1.1 * best.std() < 0.99 * y[:, t - 1].std()
        assert abs(residual.mean()) < 0.1 * y[:, t - 1].mean()
    weights = np.zeros((T + 1, 2))
    weights[1:, 0], weights[7, 1] = 1, 1
    all_times = np.arange(1, T + 1)
    covariates = covariates[:3] * [[1], [1], [20]]  # the last lies far outside what taught
    direct = [control.predict(np.tile(row, (T, 1)), all_times) for row in covariates]
    np.testing.assert_allclose(control.sums(covariates, weights)[:, 0], np.sum(direct, 1))
    np.testing.assert_allclose(control.sums(covariates, weights)[:, 1], np.array(direct)[:, 6])


def test_few_steps_are_no_special_case() -> None:
    """T = 4 has two knots, T = 2 one."""
    for few in (2, 4):
        y = terms(80)[0][:, :few]
        covariates = terms(80)[1]
        values, these, _, _ = replicate(y, covariates, Goal(evaluations=150), 60)
        assert abs(values.mean() - y.sum(1).mean()) < 4 * values.std() / 60**0.5 + 1e-9
        assert (np.abs(values - y.sum(1).mean()) < 1.96 * these).mean() > 0.85
