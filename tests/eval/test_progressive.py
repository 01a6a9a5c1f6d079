"""Progressive generation: the chain's own frames, a closed form, and work in pieces."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.measure.bound.rate_distortion import root_mean
from ddpm_eval.measure.pictures import progressive, samples
from ddpm_eval.model import ModelFacts
from ddpm_eval.record.schema1 import Measurement
from ddpm_train import data
from ddpm_train.chain import chain, prior
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream
from ddpm_train.samplers import Ancestral
from tests import oracle
from tests.eval import jobs
from tests.eval.interrupted import Stopped, ask, counting, resumes, shared


def strip(found: Measurement) -> np.ndarray:
    grid = found.grids["progressive"]
    return grid.images.reshape(-1, grid.columns, *grid.images.shape[1:])


def test_the_last_frame_is_the_sample_of_the_same_index(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path / "a", batch=3), n=6)
    drawn = samples.measure(replace(job, work=tmp_path / "b")).grids["samples"].images
    np.testing.assert_array_equal(strip(progressive.measure(job))[:, -1], drawn)


def test_each_frame_is_the_chains_at_its_time(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path, batch=3), n=3)
    found = progressive.measure(job)
    stream, denoise = Stream(0, "sample"), job.subject.denoise
    x_T = prior(stream, range(3), (1, 8, 8))
    walk = list(chain(Ancestral(denoise), x_T, range(3), stream))
    assert found.settings["times"] == [39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11,
                                       9, 7, 5, 3, 1]  # fmt: skip
    for column, t in enumerate(found.settings["times"]):
        (frame,) = (frame for frame in walk if frame.t == t)
        np.testing.assert_array_equal(strip(found)[:, column], data.to_uint8(frame.x_0_hat))
    curve = found.curves["RMSE"]
    assert curve.x.tolist() == [41 - t for t in found.settings["times"]]
    errors = [(frame.x_0_hat - walk[-1].x_0_hat).double().square().mean() for frame in walk[1::2]]
    np.testing.assert_allclose(curve.y, [127.5 * error**0.5 for error in errors], atol=1e-9)
    labels = found.grids["progressive"].labels
    assert all(
        label in ("", str(41 - t))
        for label, t in zip(labels[:20], found.settings["times"], strict=True)
    )
    assert labels[19] == "40" and not any(labels[20:])


def test_the_error_has_its_closed_form_in_the_gaussian_world(tmp_path: Path) -> None:
    """E (x_0_hat(x_t) - x_0_hat(x_1))^2 = alpha-bar_1 - alpha-bar_t: what is left to be said."""
    facts = ModelFacts(digest="a", weights="ema")
    made = replace(oracle.subject(oracle.Exact(oracle.process(40))), facts=facts)
    job = jobs.job(tmp_path, made=made, clip=False)
    found = progressive.measure(ask(job, n=12))
    bar = made.denoise.schedule.alphas_bar.numpy()
    expected = 127.5 * np.sqrt(bar[1] - bar[found.settings["times"]])
    curve = found.curves["RMSE"]
    assert curve.stderr is not None and curve.n == 12
    assert np.all(np.abs(curve.y - expected) <= 4.5 * curve.stderr)
    np.testing.assert_allclose(curve.y, expected, rtol=0.03)


def test_the_error_bars_are_the_spread_of_repetitions() -> None:
    mse = np.random.default_rng(0).exponential([0.1, 0.01], (500, 80, 2))
    found = [root_mean(each) for each in mse]
    spread = np.std([root for root, _ in found], axis=0)
    np.testing.assert_allclose(np.mean([error for _, error in found], axis=0), spread, rtol=0.1)


def test_continuations_share_what_was_frozen_and_nothing_else(tmp_path: Path) -> None:
    job = jobs.job(tmp_path)
    grid = progressive.measure(ask(job, n=1)).grids["shared latents"]
    rows = grid.images.reshape(4, 8, 8, 8, 1)
    assert [label for label in grid.labels if label] == ["t = 40", "t = 30", "t = 20", "t = 10"]
    stream, denoise = Stream(0, "sample"), job.subject.denoise
    sampler, x_T = Ancestral(denoise), prior(stream, [0], (1, 8, 8))
    walk = {frame.t: frame.x_t for frame in chain(sampler, x_T, [0], stream)}
    spread = []
    for t, row in zip((40, 30, 20, 10), rows, strict=True):
        np.testing.assert_array_equal(row[0], data.to_uint8(walk[t])[0])
        for j in range(7):  # each alone, with its own noise
            alone = chain(sampler, walk[t], [j], Stream(0, "continue"), start=t)
            np.testing.assert_array_equal(row[1 + j], data.to_uint8([*alone][-1].x_0_hat)[0])
        assert len({picture.tobytes() for picture in row[1:]}) == 7
        spread.append(row[1:].astype(float).std(0).mean())
    assert spread[0] > spread[1] > spread[2] > spread[3] > 0


def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path / "a", batch=2), n=6)
    resumes(progressive.measure, job, stops=[90, 60])  # in the third shard, in the second row
    job = replace(job, work=tmp_path / "b")
    with pytest.raises(Stopped):
        progressive.measure(counting(job, [], stop=50))
    with pytest.raises(FixableError, match="seed: 0 -> 1"):
        progressive.measure(ask(job, seed=1))


def test_processes_share_the_work(tmp_path: Path) -> None:
    shared(progressive.measure, ask(jobs.job(tmp_path, batch=2), n=5))


def test_the_network_may_have_two_steps(tmp_path: Path) -> None:
    job = jobs.job(tmp_path, made=jobs.subject(T=2))
    found = progressive.measure(ask(job, n=2))
    assert found.settings["times"] == [2, 1]
    assert found.curves["RMSE"].y[-1] == 0 < found.curves["RMSE"].y[0]
