"""Progressive generation: the chain's own frames, a closed form, and work in pieces."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.measure.bound.rate_distortion import root_mean
from ddpm_eval.measure.pictures import progressive, samples
from ddpm_eval.measure.pictures.settings import ProgressiveSettings, SamplingSettings
from ddpm_eval.model import Model, ModelFacts
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.chain import chain, prior
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream
from ddpm_train.samplers import Ancestral
from tests import oracle
from tests.eval import jobs
from tests.eval.pieces import assert_resumes, assert_shared, counting


def measure(model: Model, n: int = 6, *, batch: int = 3, clip: bool = True) -> Measurement:
    settings = ProgressiveSettings(n=n, clip=clip)
    return progressive.measure(model, settings, Runtime(batch=batch))


def strip(result: Measurement) -> np.ndarray:
    grid = result.grids["progressive"]
    return grid.images.reshape(-1, grid.columns, *grid.images.shape[1:])


def test_the_last_frame_is_the_sample_of_the_same_index() -> None:
    model = jobs.subject()
    drawn = samples.draw(model, SamplingSettings(n=6), Runtime(batch=3))
    np.testing.assert_array_equal(strip(measure(model))[:, -1], drawn.read(range(6)))


def test_each_frame_is_the_chains_at_its_time() -> None:
    model = jobs.subject()
    result = measure(model, 3)
    stream = Stream(0, "sample")
    x_T = prior(stream, range(3), (1, 8, 8))
    walk = list(chain(Ancestral(model.denoise), x_T, range(3), stream))
    times = [39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1]
    assert result.facts["times"] == times
    for column, t in enumerate(times):
        (frame,) = (frame for frame in walk if frame.t == t)
        np.testing.assert_array_equal(strip(result)[:, column], data.to_uint8(frame.x_0_hat))
    curve = result.curve("rmse")
    assert curve is not None and curve.over == "reverse_steps"
    assert curve.x.tolist() == [41 - t for t in times]
    errors = [(frame.x_0_hat - walk[-1].x_0_hat).double().square().mean() for frame in walk[1::2]]
    np.testing.assert_allclose(curve.y, [127.5 * error**0.5 for error in errors], atol=1e-9)
    labels = result.grids["progressive"].labels
    assert all(label in ("", str(41 - t)) for label, t in zip(labels[:20], times, strict=True))
    assert labels[19] == "40" and not any(labels[20:])


def test_the_score_is_a_point_of_the_curve() -> None:
    result = measure(jobs.subject())
    (score,), curve = result.scores, result.curve("rmse")
    assert curve is not None and score.of.at == ("reverse_steps", 20.0)
    assert score.value == curve.y[curve.x.tolist().index(20)] and score.of.whose == "samples"
    assert score.error is not None and 0 < score.error.size < score.value


def test_the_error_has_its_closed_form_in_the_gaussian_world() -> None:
    """E (x_0_hat(x_t) - x_0_hat(x_1))^2 = alpha-bar_1 - alpha-bar_t: what is left to be said."""
    facts = ModelFacts(digest="a", weights="ema")
    model = replace(oracle.subject(oracle.Exact(oracle.process(40))), facts=facts)
    result = measure(model, 12, batch=64, clip=False)
    bar = model.denoise.schedule.alphas_bar.numpy()
    expected = 127.5 * np.sqrt(bar[1] - bar[result.facts["times"]])
    curve = result.curve("rmse")
    assert curve is not None and curve.error is not None and curve.n == 12
    assert np.all(np.abs(curve.y - expected) <= 4.5 * curve.error)
    np.testing.assert_allclose(curve.y, expected, rtol=0.03)


def test_the_error_bars_are_the_spread_of_repetitions() -> None:
    mse = np.random.default_rng(0).exponential([0.1, 0.01], (500, 80, 2))
    result = [root_mean(item) for item in mse]
    spread = np.std([root for root, _ in result], axis=0)
    np.testing.assert_allclose(np.mean([error for _, error in result], axis=0), spread, rtol=0.1)


def test_continuations_share_what_was_frozen_and_nothing_else() -> None:
    model = jobs.subject()
    grid = measure(model, 1).grids["shared latents"]
    rows = grid.images.reshape(4, 8, 8, 8, 1)
    assert [label for label in grid.labels if label] == ["t = 40", "t = 30", "t = 20", "t = 10"]
    stream, sampler = Stream(0, "sample"), Ancestral(model.denoise)
    x_T = prior(stream, [0], (1, 8, 8))
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


def by(settings: ProgressiveSettings):
    return lambda model, runtime: progressive.measure(model, settings, runtime)


def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    runtime, model = Runtime(cache=tmp_path, batch=2), jobs.subject()
    settings = ProgressiveSettings(n=6)
    assert_resumes(
        by(settings), model, runtime, stops=[90, 60]
    )  # in the third shard, in the second row


def test_work_of_another_seed_is_in_nobodys_way(tmp_path: Path) -> None:
    runtime, model = Runtime(cache=tmp_path, batch=2), jobs.subject()
    one = by(ProgressiveSettings(n=4))(model, runtime)
    two = by(ProgressiveSettings(n=4, seed=1))(model, runtime)
    assert (strip(one) != strip(two)).any() and one.protocol.key != two.protocol.key
    np.testing.assert_array_equal(strip(two), strip(measure_seed(model, 1)))
    other_batch = by(ProgressiveSettings(n=4))(model, replace(runtime, batch=3))
    assert np.abs(strip(other_batch).astype(int) - strip(one)).max() <= 1


def measure_seed(model: Model, seed: int) -> Measurement:
    return by(ProgressiveSettings(n=4, seed=seed))(model, Runtime(batch=2))


def test_processes_share_the_work(tmp_path: Path) -> None:
    runtime = Runtime(cache=tmp_path, batch=2)
    assert_shared(by(ProgressiveSettings(n=5)), jobs.subject(), runtime)


def test_the_network_may_have_two_steps() -> None:
    result = measure(jobs.subject(T=2), 2)
    assert result.facts["times"] == [2, 1]
    curve = result.curve("rmse")
    assert curve is not None and curve.y[-1] == 0 < curve.y[0]


def test_finished_work_is_shown_and_not_repeated() -> None:
    model, calls = jobs.subject(), []
    first = measure(model, 2)

    def recorded(name: str, protocol: object) -> Measurement | None:
        return first if (name, protocol) == ("progressive", first.protocol) else None

    runtime = Runtime(batch=3, recorded=recorded)
    counted = counting(model, calls)
    assert progressive.measure(counted, ProgressiveSettings(n=2), runtime) is first and not calls
    assert progressive.measure(counted, ProgressiveSettings(n=1), runtime) is not first


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_cannot_be_shown_are_refused_before_work(channels: int) -> None:
    model, calls = replace(jobs.subject(), shape=(channels, 8, 8)), []
    with pytest.raises(FixableError, match=f"{channels} channels cannot be shown"):
        measure(counting(model, calls), 2)
    assert not calls
