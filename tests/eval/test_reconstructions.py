"""Lossy reconstructions: their errors and rates are the bound's own, and have closed forms."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.measure.bound import likelihood
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.pictures import reconstructions
from ddpm_eval.measure.pictures.settings import ReconstructionSettings
from ddpm_eval.model import Model, ModelFacts
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from tests import oracle
from tests.eval import jobs
from tests.eval.pieces import assert_resumes, assert_shared, counting, images


def measure(
    model: Model | None = None,
    n: int = 6,
    *,
    of: ImageSet | None = None,
    runtime: Runtime | None = None,
    **settings: Any,
) -> Measurement:
    return reconstructions.measure(
        model or jobs.subject(),
        of or images(),
        ReconstructionSettings(n=n, **settings),
        runtime or Runtime(),
    )


def frames(result: Measurement) -> dict[str, Any]:
    return result.facts["frames"]  # type: ignore[return-value]


def times(model: Model, result: Measurement) -> list[int]:
    return [model.denoise.schedule.T + 1 - s for s in frames(result)["reverse_steps"]]


@pytest.mark.parametrize("first", [True, False])
def test_rates_and_errors_are_those_of_the_bound(first: bool) -> None:
    """The same noise: what is shown is what was counted, image by image."""
    model, result = jobs.subject(), measure(first=first)
    chosen = choose(images(), 6, seed=0, first=first)
    assert result.facts["indices"] == chosen.indices.tolist()
    assert (result.facts["indices"] == list(range(6))) is first
    terms, _ = likelihood.full(model, chosen, BoundSettings(), Runtime())
    at = times(model, result)
    rate, rmse = terms.rate()[:, at], 127.5 * np.sqrt(terms.mse[:, at])
    grid = result.grids["reconstructions"]
    assert (grid.columns, len(grid.images)) == (6, 6 * frames(result)["rows"])
    texts = np.array([label.split("\n") for label in grid.labels[:-6]], float)
    texts = texts.reshape(len(at), 6, 2)
    np.testing.assert_allclose(texts[..., 0], rate.T, rtol=0.051)
    np.testing.assert_allclose(texts[..., 1], rmse.T, atol=0.0501)
    np.testing.assert_allclose(frames(result)["rate"], rate.mean(0), rtol=1e-6)
    root = 127.5 * np.sqrt(terms.mse[:, at].mean(0, dtype=np.float64))
    np.testing.assert_allclose(frames(result)["rmse"], root, rtol=1e-5)
    pictures = grid.images.reshape(-1, 6, 8, 8, 1).astype(float)
    np.testing.assert_array_equal(pictures[-1], images().read(chosen.indices))
    shown = np.sqrt(((pictures[:-1] - pictures[-1]) ** 2).mean((2, 3, 4)))
    np.testing.assert_allclose(shown, rmse.T, atol=0.5)  # but for the rounding of pixels


def test_the_error_has_its_closed_form_in_the_gaussian_world() -> None:
    """x_0_hat = alpha-bar x_0 + sqrt(alpha-bar (1 - alpha-bar)) eps, for whatever image."""
    facts = ModelFacts(digest="a", weights="ema")
    gaussian = replace(oracle.subject(oracle.Exact(oracle.process(30))), facts=facts)
    model = replace(gaussian, shape=jobs.subject().shape)
    result = measure(model, 60, of=images(60), clip=False)
    bar = gaussian.denoise.schedule.alphas_bar.numpy()[times(model, result)]
    square = ((images(60).read(range(60)) / 127.5 - 1) ** 2).mean()
    expected = 127.5 * np.sqrt((1 - bar) ** 2 * square + bar * (1 - bar))
    np.testing.assert_allclose(frames(result)["rmse"], expected, rtol=0.03)


def test_each_row_has_about_twice_the_bits() -> None:
    rate = np.array(frames(measure(jobs.subject(T=200), 2))["rate"])
    assert len(rate) == reconstructions.RATES
    np.testing.assert_allclose(rate[1:] / rate[:-1], 2, rtol=0.3)


def recorded(bound: Measurement) -> Callable[[str, Protocol], Measurement | None]:
    return lambda name, protocol: bound if (name, protocol) == ("bound", bound.protocol) else None


@pytest.mark.parametrize("change", [{}, {"seed": 1}, {"clip": False}])
def test_a_recorded_bound_is_used_if_it_is_of_these_settings(change: dict[str, Any]) -> None:
    model = jobs.subject()
    bound = likelihood.measure(model, images(), BoundSettings(**change), Runtime())
    calls: list[int] = []
    result = measure(counting(model, calls), runtime=Runtime(recorded=recorded(bound)))
    rows = frames(result)["rows"] - 1
    assert sum(calls) == rows * 6 + (6 * 40 if change else 0)
    np.testing.assert_allclose(frames(result)["rate"], frames(measure())["rate"], rtol=1e-6)


def test_a_bound_in_another_precision_says_nothing_of_this_one() -> None:
    model = jobs.subject()
    rough = replace(model, precision="bf16")
    bound = likelihood.measure(rough, images(), BoundSettings(), Runtime())
    calls: list[int] = []
    measure(counting(model, calls), runtime=Runtime(recorded=recorded(bound)))
    assert sum(calls) >= 6 * 40


def test_the_batch_changes_nothing() -> None:
    one, two = measure(n=7), measure(n=7, runtime=Runtime(batch=3))
    grids = (result.grids["reconstructions"].images.astype(int) for result in (one, two))
    assert np.abs(np.subtract(*grids)).max() <= 1
    np.testing.assert_allclose(frames(one)["rmse"], frames(two)["rmse"], rtol=1e-6)


def by(model: Model, runtime: Runtime) -> Measurement:
    return measure(model, 200, of=images(200), runtime=runtime)


def test_a_killed_measurement_goes_on_and_processes_share_it(tmp_path: Path) -> None:
    runtime = Runtime(cache=tmp_path / "a", batch=50)
    assert_resumes(by, jobs.subject(), runtime, stops=[100])
    assert_shared(by, jobs.subject(), replace(runtime, cache=tmp_path / "b"))


def test_more_images_than_there_are_are_refused() -> None:
    with pytest.raises(FixableError, match="n=31: pictures test has 30 images"):
        measure(n=31)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_cannot_be_shown_are_refused_before_work(channels: int) -> None:
    calls: list[int] = []
    many = replace(counting(jobs.subject(), calls), shape=(channels, 8, 8))
    with pytest.raises(FixableError, match=f"{channels} channels cannot be shown"):
        measure(many)
    assert not calls
