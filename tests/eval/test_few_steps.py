"""The bound of fewer steps as a measurement: with all of them it is the bound itself."""

import numpy as np
import pytest

import ddpm_eval as de
from ddpm_eval.measure.bound import few_steps
from ddpm_eval.measure.bound.settings import BoundSettings, StrideSettings
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train import spacing
from ddpm_train.errors import FixableError
from tests.eval import jobs


def few(*counts: int, model: Model | None = None, **settings: object) -> Measurement:
    return few_steps.measure(
        model or jobs.subject(),
        jobs.held_out_images(),
        BoundSettings(**settings),  # type: ignore[arg-type]
        settings=StrideSettings(counts=counts),
        runtime=Runtime(),
        training=jobs.training_images(),
    )


def bits(result: Measurement, whose: str, count: int) -> float:
    score = result.score("bits_per_dim", whose=whose, at=("steps", float(count)))
    assert score is not None
    return score.value


def test_all_steps_are_the_bound_with_that_variance() -> None:
    result = few(5, 40, calibrate=50)
    whole = jobs.nll(calibrate=50).score("bits_per_dim", part="total", variance="optimal")
    assert whole is not None
    for whose in ("all steps", "best steps", "even steps", "quadratic steps"):
        assert bits(result, whose, 40) == pytest.approx(whole.value, abs=1e-6)
    assert result.facts["variance fitted to"] == "training images"


def test_the_best_steps_cost_least_and_drive_a_sampler() -> None:
    result = few(5, 10, 20)
    for count in (5, 10, 20):
        best = bits(result, "best steps", count)
        assert best <= min(bits(result, f"{name} steps", count) for name in ("even", "quadratic"))
        spacings = result.facts["spacings"]
        assert isinstance(spacings, dict)
        times = spacing.choose(spacings[str(count)], 40)
        assert len(times) == count and (times[0], times[-1]) == (1, 40)
        samples = de.sample(jobs.subject(), 2, spacing=spacings[str(count)])
        assert samples.shape == (2, 8, 8, 1)
    curve = result.curve("bits_per_dim", whose="best steps")
    assert curve is not None and (np.diff(curve.y) < 0).all()


def test_a_walk_that_does_not_exist_is_named() -> None:
    for counts in ((), (1,), (41,)):
        with pytest.raises(FixableError, match="2 to 40 steps"):
            few(*counts)
