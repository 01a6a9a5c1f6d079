"""What is model of the sweep and of the estimator: estimates, comparisons, rate and distortion."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import compare, likelihood, scoring
from ddpm_eval.measure.bound import estimate as estimates
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Score
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests import oracle
from tests.eval import forks, jobs


def bits(measurement: Measurement, **of: str) -> Score:
    """The bits/dim of the model itself, or of what is asked for."""
    score = measurement.score("bits_per_dim", **{"variance": "", "part": "total", **of})
    assert score is not None
    return score


def curve(measurement: Measurement, metric: str, **of: str) -> Curve:
    result = measurement.curve(metric, **of)
    assert result is not None
    return result


def size(score: Score) -> float:
    assert score.error is not None
    return score.error.size


@pytest.fixture(scope="module")
def full() -> Measurement:
    return jobs.nll(size=120, calibrate=20)


def test_an_estimate_agrees_with_the_full_bound(full: Measurement) -> None:
    part = jobs.nll(size=120, calibrate=20, budget=1200)
    compared = 0
    for whole in full.scores:
        mine = part.score(whole.metric, part=whole.of.part, variance=whole.of.variance)
        if mine is not None and mine.error and whole.of.part != "prior":
            assert abs(mine.value - whole.value) < 4 * size(mine)
            assert size(mine) < 1.6 * (whole.error.size if whole.error else 0) + 0.05
            compared += 1
    assert compared >= 8
    these = bits(part, part="these images")
    assert abs(these.value - bits(full).value) < 4 * size(these)
    assert size(these) < size(bits(part))
    spent, every = (score.value for score in part.scores if score.metric == "evaluations")
    assert (spent, every) == (1200, 4800)
    assert bits(part, part="prior").value == pytest.approx(bits(full, part="prior").value)
    assert part.protocol.estimator is not None
    assert part.protocol.estimator.budget == 1200


def test_the_curve_of_terms_is_the_full_bounds_class_by_class(full: Measurement) -> None:
    terms, whole = curve(jobs.nll(size=120, budget=1500), "bound_term"), curve(full, "bound_term")
    edges = [*estimates.octaves(40), 41]
    for i, (a, b) in enumerate(pairwise(edges)):
        assert terms.error is not None
        assert abs(terms.y[i] - whole.y[a - 1 : b - 1].mean()) < 4.5 * terms.error[i] + 1e-9
        assert terms.x[i] == pytest.approx(np.arange(a - 1, b - 1).mean())


def test_a_target_is_met() -> None:
    measurement = jobs.nll(size=120, target_stderr=0.1)
    assert size(bits(measurement, part="these images")) <= 0.1
    spent = measurement.score("evaluations", whose="model")
    assert spent is not None
    assert spent.value < 4800


def test_an_estimate_goes_on_after_a_kill(tmp_path: Path) -> None:
    whole = jobs.nll(size=60, budget=300)

    def track(items, label, total):  # type: ignore[no-untyped-def]
        for item in items:
            if label.endswith("round-3"):
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        jobs.nll(size=60, budget=300, runtime=Runtime(cache=tmp_path, track=track))
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.npz")}
    again = jobs.nll(size=60, budget=300, runtime=Runtime(cache=tmp_path, batch=50))
    assert len(first) == 2
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())
    assert bits(again).value == pytest.approx(bits(whole).value)
    assert bits(jobs.nll(size=60, budget=300, seed=1)).value != bits(whole).value


def test_goals_out_of_reach_are_refused() -> None:
    for options in ({"budget": 100}, {"budget": 4800}):
        with pytest.raises(FixableError, match=r"budget=.*: cannot be estimated from 120 images"):
            jobs.nll(size=120, **options)
    with pytest.raises(FixableError, match="n=10: too few images"):
        jobs.nll(size=10, target_stderr=0.1)
    with pytest.raises(FixableError, match="more evaluations than the full bound's 800"):
        jobs.nll(size=20, target_stderr=1e-9)
    with pytest.raises(FixableError, match=r"target_stderr=0.1, budget=200: two goals"):
        jobs.nll(size=20, target_stderr=0.1, budget=200)


# ---------------------------------------------------------------------------------- comparisons


@pytest.mark.parametrize("goal", [{}, {"budget": 400}])
def test_the_difference_of_a_model_and_itself_is_nothing(goal: dict[str, int]) -> None:
    measurement = jobs.comparison(jobs.subject(digest="b"), size=40, **goal)
    assert bits(measurement, whose="difference").value == pytest.approx(0, abs=1e-9)
    assert measurement.facts["verdict"] == "no difference can be told (95%)"


def test_a_small_difference_is_told_on_the_same_noise() -> None:
    worse = jobs.subject(skill=0.85, digest="b")
    whole = jobs.comparison(worse, size=40)
    truth = bits(whole, whose="difference")
    mine, theirs = bits(jobs.nll(size=40)), bits(jobs.nll(size=40, model=worse))
    assert bits(whole, whose="model") == mine
    assert bits(whole, whose="other model").value == theirs.value
    assert truth.value == pytest.approx(mine.value - theirs.value)
    assert truth.value < 0
    assert whole.facts["verdict"] == "the model needs fewer bits than the other (95%)"
    gain = whole.score("pairing_gain")
    assert gain is not None
    assert gain.value == pytest.approx(np.hypot(size(mine), size(theirs)) / size(truth))
    assert gain.value > 3
    part = jobs.comparison(worse, size=40, budget=600)
    guess = bits(part, whose="difference")
    assert abs(guess.value - truth.value) < 4 * size(guess)
    half, spent = part.score("pairing_gain"), part.score("evaluations", whose="model")
    assert half is not None and spent is not None
    assert half.value > 2
    assert spent.value == 1200
    swapped = jobs.comparison(jobs.subject(), size=40, model=worse)
    assert bits(swapped, whose="difference").value == pytest.approx(-truth.value)
    assert whole.protocol.other_model == "b"
    assert whole.key != part.key


def test_a_verdict_from_few_images_is_students(full: Measurement) -> None:
    """2.5 standard errors are enough of 100 images, not of 4."""
    for n, is_told_apart in ((100, True), (4, False)):
        score = estimates.scored("bits_per_dim", 0.025, n, 0.01)
        assert ("more bits" in compare.verdict(score)) == is_told_apart


def test_models_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(FixableError, match="40 and 50 steps"):
        jobs.comparison(jobs.subject(T=50))
    with pytest.raises(FixableError, match="calibrate=3: of no effect"):
        jobs.comparison(jobs.subject(), calibrate=3)


# ---------------------------------------------------------------------- rate and distortion


def test_rate_and_distortion_are_sums_and_roots_of_the_sweep(full: Measurement) -> None:
    measurement = jobs.curves(size=120, calibrate=20)
    terms, mse = (full.arrays[name].astype(float) for name in ("terms", "mse"))
    for name in ("fixedlarge", "fixedsmall", "optimal"):
        rate = curve(measurement, "rate", variance=name)
        assert rate.x[0] == 1
        assert rate.x[-1] == 40
        assert rate.y[0] == pytest.approx(bits(full, part="prior").value, rel=1e-4)
        left, total = (bits(full, part=part, variance=name).value for part in ("decoder", "total"))
        assert rate.y[-1] + left == pytest.approx(total, rel=1e-6)
    t = 11
    row = 40 - t  # reverse step T - t + 1
    rate = curve(measurement, "rate", variance="fixedlarge")
    assert rate.y[row] == pytest.approx(terms[:, t:].sum(1).mean(), rel=1e-6)
    root = 127.5 * mse[:, t].mean() ** 0.5
    assert curve(measurement, "rmse").y[row] == pytest.approx(root, rel=1e-6)
    mean_root = 127.5 * np.sqrt(mse[:, t]).mean()
    assert curve(measurement, "mean_rmse").y[row] == pytest.approx(mean_root, rel=1e-6)
    rmse, own = measurement.score("rmse"), measurement.score("rate", variance="")
    assert rmse is not None and own is not None
    assert rmse.value == pytest.approx(127.5 * mse[:, 1].mean() ** 0.5)
    assert own.value == pytest.approx(terms[:, 1:].sum(1).mean())


def test_the_records_bound_is_used_if_it_is_the_same(full: Measurement) -> None:
    def track(items, label, total):  # type: ignore[no-untyped-def]
        raise AssertionError("the network was asked")

    def recorded(measure: str, protocol: Protocol) -> Measurement | None:
        return full if (measure, protocol.key) == full.key else None

    runtime = Runtime(track=track, recorded=recorded)
    measurement = jobs.curves(size=120, calibrate=20, runtime=runtime)
    assert bits(measurement, part="decoder").value == bits(full, part="decoder").value
    direct = jobs.curves(size=120, calibrate=20)
    for name in ("fixedlarge", "fixedsmall", "optimal"):
        a, b = (curve(item, "rate", variance=name).y for item in (measurement, direct))
        np.testing.assert_allclose(a, b, rtol=1e-6)
    for change in ({"n": 50}, {"calibrate": 19}, {"clip": False}, {"seed": 1}):
        with pytest.raises(AssertionError, match="network was asked"):
            jobs.curves(**{"size": 120, "calibrate": 20, "runtime": runtime, **change})


def test_estimated_curves_agree_with_all_terms() -> None:
    whole, part = jobs.curves(size=60), jobs.curves(size=60, budget=2200)
    spent = part.score("evaluations", whose="model")
    assert spent is not None
    assert spent.value <= 2200
    for metric, variance in (("rate", "fixedlarge"), ("rate", "fixedsmall"), ("rmse", "")):
        some, every = (curve(item, metric, variance=variance) for item in (part, whole))
        assert some.error is not None
        reference = every.y[some.x.astype(int) - 1]
        assert (np.diff(some.x) > 0).all()
        assert (np.abs(some.y - reference) < 4.5 * some.error + 1e-9).all()
        assert (some.error < 1.01 * np.abs(some.y) + 1e-5 * some.y.max()).all()


def test_the_gaussian_worlds_curve_is_shannons() -> None:
    """Rate 1/2 log2(1/D) at distortion D = 1 - alpha-bar_t, within 0.01 bit."""
    process = oracle.process(100)
    x_0 = oracle.images(200)
    work = oracle.run_sweep(
        oracle.subject(oracle.Exact(process)), x_0, range(200), seed=0, clip=False, batch=512
    )
    terms = oracle.run(work)
    distortion = 1 - process.alphas_bar.numpy()[1:]
    shannon = 0.5 * np.log2(1 / distortion)
    assert np.abs(terms.rate()[:, 1:].mean(0) - shannon).max() < 0.01
    assert np.abs(np.sqrt(terms.mse[:, 1:].mean(0)) / np.sqrt(distortion) - 1).max() < 0.02


def test_two_processes_share_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its part of the shards; whoever reads finds all of them."""
    monkeypatch.setattr(scoring, "SHARD_EVALUATIONS", 16)
    alone = jobs.nll(size=40, budget=200)

    def share(world: World) -> None:
        runtime = Runtime(world=world, cache=tmp_path)
        together = jobs.nll(size=40, budget=200, runtime=runtime)
        assert bits(together).value == bits(alone).value

    assert [forks.wait(pid) for pid in forks.start_world(2, share)] == [0, 0]


@pytest.mark.slow
def test_intervals_of_estimated_curves_cover() -> None:
    """95% intervals of L_t, octave by octave, over 60 choices of images, noise and pairs."""
    model, images = jobs.subject(T=200), ImageSet.of(jobs.pictures(1500, seed=5))
    whole = likelihood.measure(model, images, BoundSettings(), Runtime(batch=512))
    terms = whole.arrays["terms"].mean(0, dtype=np.float64)
    edges = [*estimates.octaves(200), 201]
    truth = np.array([terms[a - 1 : b - 1].mean() for a, b in pairwise(edges)])
    hits = np.zeros(len(truth))
    for seed in range(60):
        settings = BoundSettings(n=150, seed=seed, budget=400)
        part = estimates.measure(model, images, settings, Runtime(batch=512))
        octaves = curve(part, "bound_term")
        hits += np.abs(octaves.y - truth) < 1.96 * octaves.error
    assert (hits / 60 >= 0.88).all(), hits / 60


def test_estimated_rates_rise_from_the_prior() -> None:
    for seed in range(3):
        measurement = jobs.curves(size=60, budget=700, seed=seed, model=jobs.subject(T=100))
        for rate in measurement.curves:
            if rate.metric == "rate":
                assert (np.diff(rate.y) >= 0).all() and rate.y[0] >= 0
