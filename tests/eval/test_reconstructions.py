"""Lossy reconstructions: their errors and rates are the bound's own, and have closed forms."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_eval.job import Job
from ddpm_eval.measure.bound import likelihood
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.pictures import reconstructions
from ddpm_eval.model import ModelFacts
from ddpm_eval.record.schema1 import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from tests import oracle
from tests.eval import jobs
from tests.eval.interrupted import ask, resumes, shared


def frames(found: Measurement) -> dict[str, Any]:
    return found.settings["frames"]  # type: ignore[return-value]


def times(job: Job, found: Measurement) -> list[int]:
    return [job.subject.denoise.schedule.T + 1 - s for s in frames(found)["reverse_steps"]]


def test_rates_and_errors_are_those_of_the_bound(tmp_path: Path) -> None:
    """The same noise: what is shown is what was counted, image by image."""
    job = ask(jobs.job(tmp_path / "a"), n=6)
    found = reconstructions.measure(job)
    images = jobs.test_images(30)[:6]
    terms, _ = likelihood.full(job.subject, images, BoundSettings(), Runtime())
    chosen = times(job, found)
    rate, rmse = terms.rate()[:, chosen], 127.5 * np.sqrt(terms.mse[:, chosen])
    grid = found.grids["reconstructions"]
    assert (grid.columns, len(grid.images)) == (6, 6 * frames(found)["rows"])
    texts = np.array([label.split("\n") for label in grid.labels[:-6]], float)
    texts = texts.reshape(len(chosen), 6, 2)
    np.testing.assert_allclose(texts[..., 0], rate.T, rtol=0.051)
    np.testing.assert_allclose(texts[..., 1], rmse.T, atol=0.0501)
    np.testing.assert_allclose(frames(found)["rate"], rate.mean(0), rtol=1e-6)
    root = 127.5 * np.sqrt(terms.mse[:, chosen].mean(0, dtype=np.float64))
    np.testing.assert_allclose(frames(found)["rmse"], root, rtol=1e-5)
    pictures = grid.images.reshape(-1, 6, 8, 8, 1).astype(float)
    np.testing.assert_array_equal(pictures[-1], job.images("test").read(range(6)))
    shown = np.sqrt(((pictures[:-1] - pictures[-1]) ** 2).mean((2, 3, 4)))
    np.testing.assert_allclose(shown, rmse.T, atol=0.5)  # but for the rounding of pixels


def test_the_error_has_its_closed_form_in_the_gaussian_world(tmp_path: Path) -> None:
    """x_0_hat = alpha-bar x_0 + sqrt(alpha-bar (1 - alpha-bar)) eps, for whatever image."""
    facts = ModelFacts(digest="a", weights="ema")
    made = replace(oracle.subject(oracle.Exact(oracle.process(30))), facts=facts)
    model = replace(made, shape=jobs.subject().shape)
    job = ask(jobs.job(tmp_path, n=60, made=model, clip=False), n=60)
    found = reconstructions.measure(job)
    bar = made.denoise.schedule.alphas_bar.numpy()[times(job, found)]
    square = ((job.images("test").read(range(60)) / 127.5 - 1) ** 2).mean()
    expected = 127.5 * np.sqrt((1 - bar) ** 2 * square + bar * (1 - bar))
    np.testing.assert_allclose(frames(found)["rmse"], expected, rtol=0.03)


def test_each_row_has_about_twice_the_bits(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path, made=jobs.subject(T=200)), n=2)
    rate = np.array(frames(reconstructions.measure(job))["rate"])
    assert len(rate) == reconstructions.RATES
    np.testing.assert_allclose(rate[1:] / rate[:-1], 2, rtol=0.3)


def test_the_batch_changes_nothing(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path / "a"), n=7)
    one = reconstructions.measure(job)
    two = reconstructions.measure(ask(replace(job, work=tmp_path / "b"), batch=3))
    grids = (found.grids["reconstructions"].images.astype(int) for found in (one, two))
    assert np.abs(np.subtract(*grids)).max() <= 1
    np.testing.assert_allclose(frames(one)["rmse"], frames(two)["rmse"], rtol=1e-6)


def test_a_killed_measurement_goes_on_and_processes_share_it(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path / "a", batch=50), n=200)
    job = replace(job, images=lambda _split: jobs.pictures(200))
    resumes(reconstructions.measure, job, stops=[100])
    shared(reconstructions.measure, replace(job, work=tmp_path / "b"))


def test_more_images_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match="has 30 images"):
        reconstructions.measure(ask(jobs.job(tmp_path), n=31))
