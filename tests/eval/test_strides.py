"""Fewer steps: the best walks against a search of all, and the whole chain against the bound."""

from itertools import combinations

import numpy as np
import pytest
import torch

from ddpm_eval.measure.bound import strides
from ddpm_eval.measure.bound.strides import StrideCosts
from ddpm_train import schedule
from ddpm_train.config import ObjectiveConfig, ScheduleConfig
from ddpm_train.diffusion import step_kl
from ddpm_train.errors import FixableError
from ddpm_train.schedule import respace
from ddpm_train.variances import optimal
from tests import oracle
from tests.eval import jobs


def errors(process: schedule.NoiseSchedule, n: int = 3) -> np.ndarray:
    """The errors for pixels of three variances, each image's own: M falls faster than -M^2."""
    bar = process.alphas_bar.numpy()[1:]
    variances = np.linspace(0.5, 1.5, n)[:, None, None] * np.array([[0.5], [0.02], [0.0005]])
    curves = variances / (1 + variances * bar / (1 - bar))
    return np.hstack([np.zeros((n, 1)), curves.mean(1)])


def test_the_best_walk_is_the_best_of_all() -> None:
    process = oracle.process(9)
    costs = StrideCosts.of(process, errors(process))
    for count, walk in strides.choose(costs, range(2, 9)).items():
        every = [(1, *middle, 9) for middle in combinations(range(2, 9), count - 2)]
        totals = [costs.walk(times).mean() for times in every]
        assert walk == every[int(np.argmin(totals))]


@pytest.mark.parametrize("fit", ["these", "others"])
def test_strides_are_the_steps_of_a_respaced_process(fit: str) -> None:
    """The formula against the KL of Gaussians with Analytic-DPM's variance."""
    process = schedule.build(ScheduleConfig(T=60))
    measured = errors(process)
    fitted = measured.mean(0) * (1 if fit == "these" else 1.4)
    costs = StrideCosts.of(process, measured, fitted)
    times = [1, 4, 9, 30, 60]
    short = respace(process, times)
    table = optimal(short, torch.from_numpy(fitted)[[0, *times]])
    rows = torch.arange(2, 6)
    nats = step_kl(short, rows, torch.from_numpy(measured)[:, times[1:]], table).sum(1)
    np.testing.assert_allclose(costs.walk(times), nats.numpy() / np.log(2), rtol=1e-10)
    if fit == "these":
        snr = costs.snr[times]
        formula = 0.5 * np.log2(1 + (snr[:-1] - snr[1:]) * fitted[times[1:]]).sum()
        assert costs.walk(times).mean() == pytest.approx(formula, rel=1e-12)


def test_all_strides_are_the_sweeps_bound() -> None:
    model = jobs.subject(ObjectiveConfig(variance="fixedsmall"))
    pictures = jobs.pictures(4)
    x_0 = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2).double() / 127.5 - 1
    terms = oracle.run(oracle.run_sweep(model, x_0, range(4), seed=0))
    process = model.denoise.schedule
    costs = StrideCosts.of(process, terms.error)
    table = optimal(process, torch.from_numpy(costs.fitted))
    terms.decoders["optimal"] = terms.decoders["fixedsmall"]
    other = terms.with_variance("optimal", process, table)
    (walk,) = strides.choose(costs, [40]).values()
    assert walk == tuple(range(1, 41))
    np.testing.assert_allclose(costs.walk(walk), other.steps(), atol=1e-6)


def test_more_strides_cost_less_and_the_best_least() -> None:
    process = schedule.build(ScheduleConfig(T=200))
    costs = StrideCosts.of(process, errors(process))
    walks = strides.choose(costs, [2, 5, 10, 50, 199, 200])
    totals = [costs.walk(walk).mean() for walk in walks.values()]
    assert totals == sorted(totals, reverse=True)
    for count, walk in walks.items():
        for other in (strides.even(200, count), strides.quadratic(200, count)):
            assert other[0] == 1 and other[-1] == 200 and len(set(other)) == count
            assert costs.walk(walk).mean() <= costs.walk(other).mean() + 1e-12


@pytest.mark.parametrize("counts", [[0], [1], [5, 41], []])
def test_walks_that_do_not_exist_are_named(counts: list[int]) -> None:
    process = oracle.process(40)
    with pytest.raises(FixableError, match="2 to 40 steps"):
        strides.choose(StrideCosts.of(process, errors(process)), counts)
