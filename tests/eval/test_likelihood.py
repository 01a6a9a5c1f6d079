"""The bound against another implementation, written from the protocol alone, and its bad inputs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddpm_eval.choice import choose
from ddpm_eval.measure.bound import calibration, likelihood, scoring, sweep
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.model import Model
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train import data, schedule
from ddpm_train.config import ObjectiveConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.variances import VARIANCES, optimal
from tests import oracle
from tests.eval import jobs

OBJECTIVES = {
    "eps, fixedlarge": ObjectiveConfig(),
    "eps, fixedsmall": ObjectiveConfig(variance="fixedsmall"),
    "mu_tilde, fixedlarge": ObjectiveConfig(prediction="mu_tilde", loss="L"),
    "eps, learned": ObjectiveConfig(variance="learned", loss="L"),
}


def reference(model: Model, pixels: np.ndarray, index: int, t: int, *, clip: bool) -> float:
    """L_{t-1} of one image in bits/dim: PROTOCOL section 4 in NumPy, sharing no code."""
    beta = np.linspace(*(model.config.schedule.beta_start, model.config.schedule.beta_end, 40))
    bar = np.cumprod(1 - beta)
    i = t - 1
    before = bar[i - 1] if i else 1.0
    posterior = beta * (1 - np.append(1.0, bar[:-1])) / (1 - bar)
    x_0 = pixels.transpose(2, 0, 1) / 127.5 - 1
    eps = normal(Stream(0, "nll"), [index], x_0.shape, steps=t).numpy()[0]
    x_t = (np.sqrt(bar[i]) * x_0 + np.sqrt(1 - bar[i]) * eps).astype(np.float32)
    out = model.denoise.network(torch.from_numpy(x_t[None]), torch.tensor([t])).numpy()[0]
    out, x_t = out.astype(np.float64), x_t.astype(np.float64)
    objective = model.denoise.objective
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


def terms_of(model: Model, n: int, *, clip: bool = True) -> likelihood.BoundTerms:
    images = jobs.held_out_images(n)
    return likelihood.full(model, images, BoundSettings(clip=clip), Runtime())[0]


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_term_agrees_with_another_implementation(
    objective: ObjectiveConfig, clip: bool
) -> None:
    model = jobs.subject(objective)
    terms = terms_of(model, 5, clip=clip)
    pixels = jobs.held_out_images(5).read(range(5))
    other = [[reference(model, pixels[i], i, t, clip=clip) for t in range(1, 41)] for i in range(5)]
    np.testing.assert_allclose(terms.bits[:, :-1], other, rtol=1e-5, atol=1e-9)
    beta = np.linspace(model.config.schedule.beta_start, model.config.schedule.beta_end, 40)
    bar, x_0 = np.prod(1 - beta), pixels / 127.5 - 1
    prior = 0.5 * (bar * x_0**2 + (1 - bar) - 1 - np.log1p(-bar))
    np.testing.assert_allclose(terms.prior(), prior.mean((1, 2, 3)) / np.log(2), rtol=1e-5)


@pytest.mark.parametrize("own", ["fixedlarge", "learned"])
def test_one_sweep_gives_what_a_sweep_with_each_variance_gives(own: str) -> None:
    model = jobs.subject(ObjectiveConfig(variance=own, loss="L"))  # type: ignore[arg-type]
    terms, tables = likelihood.full(model, jobs.held_out_images(4), BoundSettings(), Runtime())
    x_0 = data.to_model(jobs.pictures(4, seed=2).pixels).double()
    for name in ("fixedlarge", "fixedsmall"):
        objective = ObjectiveConfig(variance=name, loss="L")  # type: ignore[arg-type]
        network = model.denoise.network
        if own == "learned":
            network = lambda x, t: model.denoise.network(x, t)[:, :1]  # noqa: E731
        alone = replace(model, denoise=Denoiser(network, model.denoise.schedule, objective))
        direct = oracle.run(oracle.run_sweep(alone, x_0, range(4), seed=0))
        derived = terms.with_variance(name, model.denoise.schedule, tables[name])
        np.testing.assert_allclose(derived.bits, direct.bits, rtol=1e-5, atol=1e-8)


def test_a_clipped_mean_prediction_keeps_the_error_of_the_mean() -> None:
    """Clipping acts on x_0_hat alone there: the bound must not see it."""
    model = jobs.subject(ObjectiveConfig(prediction="mu_tilde", loss="L"))
    one, two = (terms_of(model, 3, clip=clip) for clip in (True, False))
    np.testing.assert_array_equal(one.bits, two.bits)
    assert (one.mse < 0.9 * two.mse).any()


def test_a_shortened_process_is_measured_at_the_papers_times() -> None:
    """A process of some times is the whole one's term at those times, on the same noise.

    A row k of it is the paper's t = times[k]; the network and the noise know t alone.
    """
    whole = jobs.subject(ObjectiveConfig(variance="fixedsmall"))
    times = [1, 4, 11, 25, 40]
    seen: list[int] = []

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.extend(t.tolist())
        return whole.denoise.network(x, t)

    watched = Denoiser(network, whole.denoise.schedule, whole.denoise.objective)
    short = replace(whole, denoise=watched.respaced(times))
    terms = terms_of(short, 3)
    assert sorted(set(seen)) == times
    every = terms_of(whole, 3)
    np.testing.assert_allclose(terms.mse[:, 1:], every.mse[:, times], rtol=1e-6)
    bar = whole.denoise.schedule.alphas_bar[times].numpy()
    by_hand = np.zeros((3, 4))
    for k in range(1, 5):  # L_k: the KL between two Gaussians of the posterior's variance
        beta = 1 - bar[k] / bar[k - 1]
        variance = beta * (1 - bar[k - 1]) / (1 - bar[k])
        c_0 = np.sqrt(bar[k - 1]) * beta / (1 - bar[k])
        by_hand[:, k - 1] = c_0**2 * every.mse[:, times[k]] / (2 * variance) / np.log(2)
    np.testing.assert_allclose(terms.bits[:, 1:5], by_hand, rtol=1e-5)
    curve = jobs.nll(size=3, model=short).curve("bound_term")
    assert curve is not None
    assert curve.x.tolist() == [0, *times]


def test_the_best_variance_of_the_gaussian_world_is_beta() -> None:
    """There x_0_hat errs by 1 - alpha-bar_t, and beta-tilde + c_0^2 (1 - alpha-bar) = beta."""
    process = oracle.process(100)
    result = optimal(process, 1 - process.alphas_bar).exp()
    torch.testing.assert_close(result[1:], process.betas[1:], rtol=1e-12, atol=0)


def test_the_calibrated_variance_is_the_best() -> None:
    model, images = jobs.subject(), jobs.held_out_images(40)
    settings = BoundSettings(calibrate=40)
    learned = calibration.training_images(images, jobs.training_images(), settings)
    terms, tables = likelihood.full(model, images, settings, Runtime(), training=learned)
    process = model.denoise.schedule
    totals = {
        name: terms.with_variance(name, process, table).total() for name, table in tables.items()
    }
    for name in VARIANCES:
        gain = totals[name] - totals["optimal"]
        assert gain.mean() > 3 * gain.std() / 40**0.5
    for factor in (0.7, 1.4):
        other = terms.with_variance("optimal", process, tables["optimal"] + np.log(factor)).steps()
        assert (
            other.mean() > terms.with_variance("optimal", process, tables["optimal"]).steps().mean()
        )


def test_fixedlarge_costs_half_a_bit() -> None:
    process = schedule.from_betas(schedule.linear(1000, 1e-4, 0.02))
    tables = {name: table(process) for name, table in VARIANCES.items()}
    cost = {score.of.variance: score.value for score in likelihood.mismatch(process, tables, 1)}
    assert cost["fixedlarge"] == pytest.approx(0.486, abs=5e-4)
    assert cost["fixedsmall"] == pytest.approx(0, abs=1e-12)


def test_no_scored_image_teaches_the_variance() -> None:
    """Drawn by the seed, and known by the pixels: training images may be scored too."""
    training = jobs.training_images(60)
    for scored in (training[:50], jobs.held_out_images(30)):
        settings = BoundSettings(calibrate=10)
        learned = calibration.training_images(scored, training, settings)
        assert learned is not None and len(set(learned.indices.tolist())) == 10
        if scored.split == "train":
            assert not set(learned.indices.tolist()) & set(scored.indices.tolist())
    with pytest.raises(FixableError, match="calibrate=11: only 10 training images are not scored"):
        calibration.training_images(training[:50], training, BoundSettings(calibrate=11))
    with pytest.raises(FixableError, match="calibrate=61: pictures train has 60 images"):
        jobs.nll(calibrate=61)
    with pytest.raises(FixableError, match="no training images are given"):
        calibration.training_images(training, None, settings)


def test_the_protocol_names_what_a_number_depends_on() -> None:
    """Every setting that moves a number moves the key; batches and progress do not."""
    base = {"size": 20, "n": 10}
    changes: list[dict[str, Any]] = [
        *({}, {"n": 11}, {"first": True}, {"seed": 1}, {"clip": False}, {"drop_remainder": 4}),
        *({"calibrate": 2}, {"model": jobs.subject(digest="b")}, {"size": 19}, {"n": 0}),
    ]
    keys = [jobs.nll(**{**base, **change}).key for change in changes]
    assert len(set(keys)) == len(keys)
    assert jobs.nll(**base, runtime=Runtime(batch=3)).key == keys[0]
    protocol = jobs.nll(**base).protocol
    assert protocol.images is not None
    assert (protocol.images.choice, protocol.images.n, protocol.images.seed) == ("drawn", 10, 0)
    assert protocol.estimator is None


def test_which_images_are_scored() -> None:
    """Image i has its bits in any selection: noise belongs to the image."""
    whole = jobs.nll(size=20).arrays["terms"]
    drawn = choose(jobs.held_out_images(20), 6, seed=0).indices
    np.testing.assert_allclose(jobs.nll(size=20, n=6).arrays["terms"], whole[drawn], rtol=1e-6)
    first = jobs.nll(size=20, n=6, first=True)
    np.testing.assert_allclose(first.arrays["terms"], whole[:6], rtol=1e-6)
    batches = jobs.nll(size=21, drop_remainder=4)
    assert batches.scores[0].n == 20


def test_one_image_has_no_error() -> None:
    score = jobs.nll(n=1).scores[0]
    assert (score.n, score.error) == (1, None)


def test_work_goes_on_after_a_kill_and_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SHARD_EVALUATIONS", 50)
    whole = jobs.nll(size=6)

    def killed_after(batches: int) -> None:
        def track(items, label, total):  # type: ignore[no-untyped-def]
            for done, item in enumerate(items):
                if done > batches:
                    raise KeyboardInterrupt
                yield item

        with pytest.raises(KeyboardInterrupt):
            jobs.nll(size=6, runtime=Runtime(cache=tmp_path, track=track))

    killed_after(2)
    killed_after(1)
    shards = sorted(tmp_path.glob("*/*.npz"))
    assert len(shards) == 3
    before = [path.stat().st_mtime_ns for path in shards]
    again = jobs.nll(size=6, runtime=Runtime(cache=tmp_path))
    assert [path.stat().st_mtime_ns for path in shards] == before
    for name in ("terms", "mse"):
        np.testing.assert_array_equal(whole.arrays[name], again.arrays[name])


def test_other_work_has_another_folder(tmp_path: Path) -> None:
    """Nothing unfinished is ever taken for the work of other settings."""
    for options in ({}, {"clip": False}, {"seed": 1}, {"n": 3}, {"n": 3, "first": True}):
        jobs.nll(size=6, **options, runtime=Runtime(cache=tmp_path))  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 5


def test_a_finished_measurement_is_given_back() -> None:
    first = jobs.nll(size=6)

    def track(items, label, total):  # type: ignore[no-untyped-def]
        raise AssertionError("the network was asked")

    def recorded(measure: str, protocol: Protocol) -> Measurement | None:
        return first if (measure, protocol.key) == first.key else None

    runtime = Runtime(track=track, recorded=recorded)
    assert jobs.nll(size=6, runtime=runtime) is first
    with pytest.raises(AssertionError, match="network was asked"):
        jobs.nll(size=6, clip=False, runtime=runtime)


@pytest.mark.parametrize("options", [{"n": 3}, {"n": 3, "first": True}, {"n": 2, "clip": False}])
def test_some_images_are_part_of_a_recorded_bound_of_all(options: dict[str, Any]) -> None:
    """Their terms are those that the network gives, and it is not asked."""
    clip = options.get("clip", True)
    whole = jobs.nll(size=6, clip=clip)
    texts: list[str] = []

    def track(items, label, total):  # type: ignore[no-untyped-def]
        raise AssertionError("the network was asked")

    def recorded(measure: str, protocol: Protocol) -> Measurement | None:
        return whole if (measure, protocol.key) == whole.key else None

    runtime = Runtime(track=track, recorded=recorded, notify=texts.append)
    part, anew = jobs.nll(size=6, **options, runtime=runtime), jobs.nll(size=6, **options)
    assert part.key == anew.key
    assert "all images" in texts[0]
    for one, other in zip(part.scores, anew.scores, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-6)
        assert (one.metric, one.of, one.n) == (other.metric, other.of, other.n)
    for name, array in anew.arrays.items():
        np.testing.assert_allclose(part.arrays[name], array, rtol=1e-5)
    for change in ({"seed": 1}, {"clip": not clip}):
        with pytest.raises(AssertionError, match="network was asked"):
            jobs.nll(size=6, **(options | change), runtime=runtime)


def test_long_work_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "LONG_SECONDS", 0.0)
    texts: list[str] = []
    jobs.nll(runtime=Runtime(notify=texts.append))
    assert len(texts) == 1
    assert "target_stderr=0.01" in texts[0]
    monkeypatch.undo()
    jobs.nll(runtime=Runtime(notify=texts.append))
    assert len(texts) == 1


def test_pairs_are_scored_whatever_their_order_and_company() -> None:
    model = jobs.subject()
    x_0 = data.to_model(jobs.pictures(6).pixels).double()
    scorer = sweep.Sweep(
        model=model,
        read=lambda places: x_0[torch.as_tensor(places)],
        indices=np.arange(6),
        stream=Stream(0, "nll"),
        variances=sweep.variance_tables(model),
    )
    every = sweep.Every(6, 40)
    whole = oracle.run(scorer.over(every, range(240)))
    places = np.random.default_rng(0).permutation(240)[:50]
    chosen = sweep.Chosen(places // 40, places % 40 + 1)
    some = oracle.run(replace(scorer, batch=7).over(chosen, range(50)))
    np.testing.assert_allclose(some.bits, whole.bits[places], rtol=1e-6)
    np.testing.assert_allclose(some.decoder[:, 0], some.bits[places % 40 == 0], rtol=1e-6)
