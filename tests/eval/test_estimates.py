"""What is made of the sweep and of the estimator: estimates, comparisons, rate and distortion."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.measure.bound import compare, likelihood, rate_distortion, work
from ddpm_eval.measure.bound import estimate as fast
from ddpm_eval.record.schema1 import Measurement
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests import oracle
from tests.eval import forks, jobs


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    return likelihood.measure(jobs.job(tmp_path_factory.mktemp("full"), n=120, calibrate=20))


def test_an_estimate_agrees_with_the_full_bound(tmp_path: Path, full: Measurement) -> None:
    found = fast.measure(jobs.job(tmp_path, n=120, calibrate=20, budget=1200))
    for name, whole in full.quantities.items():
        part = found.quantities.get(name)
        if part is not None and part.stderr and name != "prior":
            assert abs(part.value - whole.value) < 4 * part.stderr
            assert part.stderr < 1.6 * (whole.stderr or 0) + 0.05
    these = found.quantities["total of these images"]
    assert abs(these.value - full.quantities["total"].value) < 4 * (these.stderr or 0)
    assert (these.stderr or 1) < (found.quantities["total"].stderr or 0)
    assert found.quantities["evaluations"].value == 1200
    assert found.quantities["evaluations of the full bound"].value == 4800
    assert found.quantities["prior"].value == pytest.approx(full.quantities["prior"].value)
    assert found.settings["calibration"] == full.settings["calibration"]


def test_the_curve_of_terms_is_the_full_bounds_class_by_class(
    tmp_path: Path, full: Measurement
) -> None:
    found = fast.measure(jobs.job(tmp_path, n=120, budget=1500)).curves["terms"]
    edges = [*fast.octaves(40), 41]
    for i, (a, b) in enumerate(pairwise(edges)):
        whole = full.curves["terms"].y[a - 1 : b - 1].mean()
        assert found.stderr is not None
        assert abs(found.y[i] - whole) < 4.5 * found.stderr[i] + 1e-9
        assert found.x[i] == pytest.approx(np.arange(a - 1, b - 1).mean())


def test_a_target_is_met(tmp_path: Path) -> None:
    found = fast.measure(jobs.job(tmp_path, n=120, target_stderr=0.1))
    assert (found.quantities["total of these images"].stderr or 1) <= 0.1
    assert found.quantities["evaluations"].value < 4800


def test_an_estimate_goes_on_after_a_kill_and_is_shared(tmp_path: Path) -> None:
    whole = fast.measure(jobs.job(tmp_path / "a", n=60, budget=300))

    def track(items, label, total):  # type: ignore[no-untyped-def]
        for item in items:
            if label.endswith("round-2"):
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        fast.measure(jobs.job(tmp_path / "b", n=60, budget=300, track=track))
    kept = sorted(path.name for path in (tmp_path / "b").glob("*/*.npz"))
    again = fast.measure(jobs.job(tmp_path / "b", n=60, budget=300, batch=50))
    assert len(kept) == 2
    assert again.quantities["total"].value == pytest.approx(whole.quantities["total"].value)
    other = fast.measure(jobs.job(tmp_path / "c", n=60, budget=300, seed=1))
    assert other.quantities["total"].value != whole.quantities["total"].value


def test_goals_out_of_reach_are_refused(tmp_path: Path) -> None:
    for options in ({"budget": 100}, {"budget": 4800}, {"n": 10, "budget": 200}):
        with pytest.raises(FixableError, match="cannot be estimated from"):
            fast.measure(jobs.job(tmp_path, **({"n": 120} | options)))
    with pytest.raises(FixableError, match="more evaluations than the full bound's 800"):
        fast.measure(jobs.job(tmp_path, n=20, target_stderr=1e-9))


# ---------------------------------------------------------------------------------- comparisons


def test_the_difference_of_a_model_and_itself_is_nothing(tmp_path: Path) -> None:
    for folder, options in (("full", {}), ("fast", {"budget": 400})):
        job = jobs.job(tmp_path / folder, n=40, against=jobs.subject(digest="b"), **options)
        found = compare.measure(job)
        assert found.quantities["difference"].value == pytest.approx(0, abs=1e-9)
        assert found.settings["verdict"] == "no difference can be told (95%)"


def test_a_small_difference_is_told_on_the_same_noise(tmp_path: Path) -> None:
    worse = jobs.subject(skill=0.85, digest="b")
    whole = compare.measure(jobs.job(tmp_path / "full", n=40, against=worse))
    truth = whole.quantities["difference"]
    mine = likelihood.measure(jobs.job(tmp_path / "a", n=40)).quantities["total"]
    theirs = likelihood.measure(jobs.job(tmp_path / "b", n=40, made=worse)).quantities["total"]
    assert whole.quantities["model"] == mine
    assert whole.quantities["against"] == theirs
    assert truth.value == pytest.approx(mine.value - theirs.value)
    assert truth.value < 0
    assert whole.settings["verdict"] == "the model needs fewer bits than the other (95%)"
    gain = whole.quantities["gain in error by pairing"].value
    apart = np.hypot(mine.stderr or 0, theirs.stderr or 0)
    assert gain == pytest.approx(apart / (truth.stderr or 0))
    assert gain > 3
    part = compare.measure(jobs.job(tmp_path / "fast", n=40, against=worse, budget=600))
    guess = part.quantities["difference"]
    assert abs(guess.value - truth.value) < 4 * (guess.stderr or 0)
    assert part.quantities["gain in error by pairing"].value > 2
    assert part.quantities["evaluations"].value == 1200
    swapped = jobs.job(tmp_path / "swap", n=40, made=worse, against=jobs.subject())
    assert compare.measure(swapped).quantities["difference"].value == pytest.approx(-truth.value)


def test_models_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match="40 and 50 steps"):
        compare.measure(jobs.job(tmp_path, against=jobs.subject(T=50)))


# ---------------------------------------------------------------------- rate and distortion


def test_rate_and_distortion_are_sums_and_roots_of_the_sweep(
    tmp_path: Path, full: Measurement
) -> None:
    found = rate_distortion.measure(jobs.job(tmp_path, n=120, calibrate=20))
    terms, mse = (full.arrays[name].astype(float) for name in ("terms", "mse"))
    for name in ("fixedlarge", "fixedsmall", "optimal"):
        curve = found.curves[f"rate ({name})"]
        assert curve.x[0] == 1
        assert curve.x[-1] == 40
        assert curve.y[0] == pytest.approx(full.quantities["prior"].value, rel=1e-4)
        left = full.quantities[f"decoder ({name})"].value
        total = full.quantities[f"total ({name})"].value
        assert curve.y[-1] + left == pytest.approx(total, rel=1e-6)
    t = 11
    row = 40 - t  # reverse step T - t + 1
    rate = found.curves["rate (fixedlarge)"]
    assert rate.y[row] == pytest.approx(terms[:, t:].sum(1).mean(), rel=1e-6)
    root = 127.5 * mse[:, t].mean() ** 0.5
    assert found.curves["distortion"].y[row] == pytest.approx(root, rel=1e-6)
    mean_root = 127.5 * np.sqrt(mse[:, t]).mean()
    other = found.curves["distortion (mean of each image's RMSE)"]
    assert other.y[row] == pytest.approx(mean_root, rel=1e-6)
    assert found.quantities["RMSE"].value == pytest.approx(127.5 * mse[:, 1].mean() ** 0.5)
    assert found.quantities["rate"].value == pytest.approx(terms[:, 1:].sum(1).mean())


def test_the_records_bound_is_used_if_it_is_the_same(tmp_path: Path, full: Measurement) -> None:
    def track(items, label, total):  # type: ignore[no-untyped-def]
        raise AssertionError("the network was asked")

    job = jobs.job(tmp_path, n=120, recorded=lambda name: {"nll": full}[name], track=track)
    found = rate_distortion.measure(job)
    assert found.settings["calibration"] == full.settings["calibration"]
    assert found.quantities["distortion"].value == full.quantities["decoder"].value
    again = rate_distortion.measure(replace(job, config=replace(job.config, calibrate=20)))
    assert again.quantities["rate (optimal)"] == found.quantities["rate (optimal)"]
    for change in ({"n": 50}, {"calibrate": 19}):
        with pytest.raises(AssertionError, match="network was asked"):
            rate_distortion.measure(replace(job, config=replace(job.config, **change)))


def test_estimated_curves_agree_with_all_terms(tmp_path: Path) -> None:
    whole = rate_distortion.measure(jobs.job(tmp_path / "full", n=60))
    found = rate_distortion.measure(jobs.job(tmp_path / "fast", n=60, budget=2200))
    assert found.settings["estimator"]["evaluations"] <= 2200
    for name in ("rate (fixedlarge)", "rate (fixedsmall)", "distortion"):
        part, curve = found.curves[name], whole.curves[name]
        assert part.stderr is not None
        reference = curve.y[part.x.astype(int) - 1]
        assert (np.diff(part.x) > 0).all()
        assert (np.abs(part.y - reference) < 4.5 * part.stderr + 1e-9).all()
        assert (part.stderr < 1.01 * np.abs(part.y)).all()


def test_the_gaussian_worlds_curve_is_shannons(tmp_path: Path) -> None:
    """Rate 1/2 log2(1/D) at distortion D = 1 - alpha-bar_t, within 0.01 bit."""
    process = oracle.process(100)
    x_0 = oracle.images(200)
    work = likelihood.run_sweep(
        oracle.subject(oracle.Exact(process)), x_0, range(200), seed=0, clip=False, batch=512
    )
    terms = oracle.run(work)
    distortion = 1 - process.alphas_bar.numpy()[1:]
    shannon = 0.5 * np.log2(1 / distortion)
    assert np.abs(terms.rate()[:, 1:].mean(0) - shannon).max() < 0.01
    assert np.abs(np.sqrt(terms.mse[:, 1:].mean(0)) / np.sqrt(distortion) - 1).max() < 0.02


def test_two_processes_share_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its part of the shards; whoever reads finds all of them."""
    monkeypatch.setattr(work, "SHARD_EVALUATIONS", 16)
    alone = fast.measure(jobs.job(tmp_path / "alone", n=40, budget=200))

    def share(here: World) -> None:
        both = fast.measure(jobs.job(tmp_path / "both", n=40, budget=200, world=here))
        assert both.quantities["total"].value == alone.quantities["total"].value

    assert [forks.wait(pid) for pid in forks.start_world(2, share)] == [0, 0]


def test_too_many_images_to_learn_from_are_told_by_their_own_option(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match=r"--calibrate 100,000: .* images") as found:
        likelihood.measure(jobs.job(tmp_path, n=4, calibrate=100_000))
    assert found.value.fix == "choose fewer"
