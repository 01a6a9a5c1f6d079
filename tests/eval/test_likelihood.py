"""The bound against another implementation, written from the protocol alone, and its bad inputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_eval.job import count
from ddpm_eval.measure.bound import likelihood, sweep, work
from ddpm_eval.model import Model
from ddpm_train import data, schedule
from ddpm_train.config import ObjectiveConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.variances import VARIANCES, optimal
from ddpm_train.world import World
from tests import oracle
from tests.eval import jobs

OBJECTIVES = {
    "eps, fixedlarge": ObjectiveConfig(),
    "eps, fixedsmall": ObjectiveConfig(variance="fixedsmall"),
    "mu_tilde, fixedlarge": ObjectiveConfig(prediction="mu_tilde", loss="L"),
    "eps, learned": ObjectiveConfig(variance="learned", loss="L"),
}


def reference(made: Model, pixels: np.ndarray, index: int, t: int, *, clip: bool) -> float:
    """L_{t-1} of one image in bits/dim: PROTOCOL section 4 in NumPy, sharing no code."""
    beta = np.linspace(*(made.config.schedule.beta_start, made.config.schedule.beta_end, 40))
    bar = np.cumprod(1 - beta)
    i = t - 1
    before = bar[i - 1] if i else 1.0
    posterior = beta * (1 - np.append(1.0, bar[:-1])) / (1 - bar)
    x_0 = pixels.transpose(2, 0, 1) / 127.5 - 1
    eps = normal(Stream(0, "nll"), [index], x_0.shape, steps=t).numpy()[0]
    x_t = (np.sqrt(bar[i]) * x_0 + np.sqrt(1 - bar[i]) * eps).astype(np.float32)
    out = made.denoise.network(torch.from_numpy(x_t[None]), torch.tensor([t])).numpy()[0]
    out, x_t = out.astype(np.float64), x_t.astype(np.float64)
    objective = made.denoise.objective
    if objective.variance == "learned":
        out, log_var = out[:1], out[1:]
    elif objective.variance == "fixedlarge":
        log_var = np.log(np.append(posterior[1], beta[1:])[i])
    else:
        log_var = np.log(np.append(posterior[1], posterior[1:])[i])
    first = np.sqrt(before) * beta[i] / (1 - bar[i])
    second = np.sqrt(1 - beta[i]) * (1 - before) / (1 - bar[i])
    if objective.prediction == "eps":
        guess = (x_t - np.sqrt(1 - bar[i]) * out) / np.sqrt(bar[i])
        mean = first * (np.clip(guess, -1, 1) if clip else guess) + second * x_t
    else:
        mean = out
    if t == 1:
        nats = -np.log(_bin(x_0, mean, np.exp(0.5 * log_var)))
    else:
        true = first * x_0 + second * x_t
        ratio = np.log(posterior[i]) - log_var
        nats = 0.5 * (np.exp(ratio) - 1 - ratio + (true - mean) ** 2 / np.exp(log_var))
    return float(np.mean(nats) / np.log(2))


def _bin(x: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    def cdf(z: np.ndarray) -> np.ndarray:
        return 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))

    upper = np.where(x > 0.999, 1.0, cdf((x + 1 / 255 - mean) / sigma))
    lower = np.where(x < -0.999, 0.0, cdf((x - 1 / 255 - mean) / sigma))
    return np.maximum(upper - lower, 1e-12)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_term_agrees_with_another_implementation(
    tmp_path: Path, objective: ObjectiveConfig, clip: bool
) -> None:
    made = jobs.subject(objective)
    job = jobs.job(tmp_path, n=5, made=made, clip=clip)
    terms = likelihood.full(job)[0]
    pixels = job.images("test").read(range(5))
    other = [[reference(made, pixels[i], i, t, clip=clip) for t in range(1, 41)] for i in range(5)]
    np.testing.assert_allclose(terms.bits[:, :-1], other, rtol=1e-5, atol=1e-9)
    beta = np.linspace(made.config.schedule.beta_start, made.config.schedule.beta_end, 40)
    bar, x_0 = np.prod(1 - beta), pixels / 127.5 - 1
    prior = 0.5 * (bar * x_0**2 + (1 - bar) - 1 - np.log1p(-bar))
    np.testing.assert_allclose(terms.prior(), prior.mean((1, 2, 3)) / np.log(2), rtol=1e-5)


@pytest.mark.parametrize("own", ["fixedlarge", "learned"])
def test_one_sweep_gives_what_a_sweep_with_each_variance_gives(tmp_path: Path, own: str) -> None:
    made = jobs.subject(ObjectiveConfig(variance=own, loss="L"))  # type: ignore[arg-type]
    terms, under, _ = likelihood.full(jobs.job(tmp_path / "all", n=4, made=made))
    x_0 = data.to_model(jobs.pictures(4, seed=2).pixels).double()
    for name in ("fixedlarge", "fixedsmall"):
        objective = ObjectiveConfig(variance=name, loss="L")  # type: ignore[arg-type]
        network = made.denoise.network
        if own == "learned":
            network = lambda x, t: made.denoise.network(x, t)[:, :1]  # noqa: E731
        alone = replace(made, denoise=Denoiser(network, made.denoise.schedule, objective))
        direct = oracle.run(likelihood.run_sweep(alone, x_0, range(4), seed=0))
        derived = terms.under(name, made.denoise.schedule, under[name])
        np.testing.assert_allclose(derived.bits, direct.bits, rtol=1e-5, atol=1e-8)


def test_a_clipped_mean_prediction_keeps_the_error_of_the_mean(tmp_path: Path) -> None:
    """Clipping acts on x_0_hat alone there: the bound must not see it."""
    made = jobs.subject(ObjectiveConfig(prediction="mu_tilde", loss="L"))
    one, two = (
        likelihood.full(jobs.job(tmp_path / str(clip), n=3, made=made, clip=clip))[0]
        for clip in (True, False)
    )
    np.testing.assert_array_equal(one.bits, two.bits)
    assert (one.mse < 0.9 * two.mse).any()


def test_the_best_variance_of_the_gaussian_world_is_beta() -> None:
    """There x_0_hat errs by 1 - alpha-bar_t, and beta-tilde + c_0^2 (1 - alpha-bar) = beta."""
    process = oracle.process(100)
    found = optimal(process, 1 - process.alphas_bar).exp()
    torch.testing.assert_close(found[1:], process.betas[1:], rtol=1e-12, atol=0)


def test_the_calibrated_variance_is_the_best(tmp_path: Path) -> None:
    job = jobs.job(tmp_path, n=40, calibrate=40)
    terms, under, settings = likelihood.full(job)
    process = job.subject.denoise.schedule
    totals = {name: terms.under(name, process, table).total() for name, table in under.items()}
    for name in VARIANCES:
        gain = totals[name] - totals["optimal"]
        assert gain.mean() > 3 * gain.std() / 40**0.5
    for factor in (0.7, 1.4):
        other = terms.under("optimal", process, under["optimal"] + np.log(factor)).kl()
        assert other.mean() > terms.under("optimal", process, under["optimal"]).kl().mean()
    assert settings["calibration"]["n"] == 40
    assert settings["calibration"]["images"] == "pictures train 20..59"
    assert len(settings["calibration"]["digest"]) == 16


def test_fixedlarge_costs_half_a_bit() -> None:
    process = schedule.from_betas(schedule.linear(1000, 1e-4, 0.02))
    under = {name: table(process) for name, table in VARIANCES.items()}
    found = likelihood.mismatch(process, under, 1)
    assert found["variance mismatch (fixedlarge)"].value == pytest.approx(0.486, abs=5e-4)
    assert found["variance mismatch (fixedsmall)"].value == pytest.approx(0, abs=1e-12)


def test_calibration_on_scored_images_is_refused(tmp_path: Path) -> None:
    job = jobs.job(tmp_path, split="train", n=0, calibrate=30)
    job = replace(job, config=replace(job.config, n=31))
    with pytest.raises(FixableError, match="1 of the scored images are among the last 30"):
        likelihood.measure(job)
    apart = replace(job, config=replace(job.config, n=3, calibrate=3))
    assert likelihood.measure(apart).name == "nll-train"


def test_the_last_incomplete_batch_can_be_dropped(tmp_path: Path) -> None:
    images = jobs.pictures(30)
    assert count(0, images, drop_remainder=8) == 24
    assert count(0, images) == 30
    with pytest.raises(FixableError, match="not one whole batch"):
        count(7, images, drop_remainder=8)
    with pytest.raises(FixableError, match="has 30 images"):
        count(31, images)
    found = likelihood.measure(jobs.job(tmp_path, n=5, drop_remainder=4))
    assert found.quantities["total"].n == 4
    assert found.settings["drop_remainder"] == 4


def test_work_goes_on_after_a_kill_and_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SHARD_EVALUATIONS", 50)
    whole = likelihood.measure(jobs.job(tmp_path / "whole", n=6))

    def killed_after(batches: int, rank: int) -> None:
        def track(items, label, total):  # type: ignore[no-untyped-def]
            for done, item in enumerate(items):
                if done == batches:
                    raise KeyboardInterrupt
                yield item

        world = World(jobs.CPU, rank, 1)
        with pytest.raises(KeyboardInterrupt):
            likelihood.measure(jobs.job(tmp_path / "cut", n=6, track=track, world=world))

    killed_after(2, 0)
    killed_after(1, 0)
    again = likelihood.measure(jobs.job(tmp_path / "cut", n=6))
    for name in ("terms", "mse"):
        np.testing.assert_array_equal(whole.arrays[name], again.arrays[name])
    with pytest.raises(FixableError, match="clip: True -> False"):
        likelihood.measure(jobs.job(tmp_path / "cut", n=6, clip=False))


def test_long_work_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LONG_SECONDS", 0.0)
    said: list[str] = []
    likelihood.measure(jobs.job(tmp_path / "a", n=30, notify=said.append))
    assert len(said) == 1
    assert "--target-stderr 0.01" in said[0]
    monkeypatch.undo()
    likelihood.measure(jobs.job(tmp_path / "b", n=30, notify=said.append))
    assert len(said) == 1


def test_pairs_are_scored_whatever_their_order_and_company() -> None:
    made = jobs.subject()
    x_0 = data.to_model(jobs.pictures(6).pixels).double()
    how = sweep.Sweep(
        subject=made,
        read=lambda chosen: x_0[torch.as_tensor(chosen)],
        stream=Stream(0, "nll"),
        under=sweep.tables(made),
    )
    every = sweep.Every(range(6), 40)
    whole = oracle.run(how.over(every, range(240)))
    places = np.random.default_rng(0).permutation(240)[:50]
    chosen = sweep.Chosen(places // 40, places % 40 + 1)
    some = oracle.run(replace(how, batch=7).over(chosen, range(50)))
    np.testing.assert_allclose(some.bits, whole.bits[places], rtol=1e-6)
    np.testing.assert_allclose(some.decoder[:, 0], some.bits[places % 40 == 0], rtol=1e-6)
