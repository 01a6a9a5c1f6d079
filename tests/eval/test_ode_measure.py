"""The ODE as a measurement: beside the bound, resumed, and refused by name."""

import math
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import ode
from ddpm_eval.measure.bound.settings import BoundSettings, OdeSettings
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.data.images import Stack, to_model
from ddpm_train.errors import FixableError
from ddpm_train.settings import check
from tests.eval.test_ode import gaussian

VARIANCE = 0.2


def pictures(n: int) -> ImageSet:
    """Pixels of N(0, 0.2), in levels."""
    draws = np.random.default_rng(3).normal(size=(n, 4, 4, 1)) * math.sqrt(VARIANCE)
    levels = np.clip(np.round((draws + 1) * 127.5), 0, 255)
    return ImageSet.of(Stack("pictures", levels.astype(np.uint8)))


def run(images: ImageSet, settings: OdeSettings, **runtime: object) -> Measurement:
    bound = BoundSettings(clip=False)
    return ode.measure(gaussian(VARIANCE), images, bound, settings, Runtime(**runtime))  # type: ignore[arg-type]


def value(result: Measurement, metric: str, **of: object) -> float:
    score = result.score(metric, **of)
    assert score is not None
    return score.value


def test_the_ode_is_the_density_and_the_bound_costs_more() -> None:
    images = pictures(60)
    result = run(images, OdeSettings(tolerance=1e-5, draws=2))
    x_0 = to_model(images.read(range(60))).double()
    exact = 0.5 * (x_0.square() / VARIANCE + math.log(2 * math.pi * VARIANCE)).mean().item()
    assert value(result, "ode_bits_per_dim") == pytest.approx(exact / math.log(2), abs=0.002)
    gap = result.score("ode_gap", variance="best for these images")
    assert gap is not None and gap.error is not None
    assert abs(gap.value) < 3.5 * gap.error.size < 0.2  # the exact model needs no more
    assert value(result, "ode_gap", variance="") > gap.value  # beta_t costs more
    assert abs(value(result, "ode_change")) < 1e-4
    curve = result.curve("ode_bits_per_dim")
    assert curve is not None and list(curve.x) == [1, 2]


def test_unfinished_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, settings = pictures(9), OdeSettings(paired=False, probes=1)
    whole = run(images, settings)
    right, calls = ode.log_density, 0

    def doomed(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return right(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ode, "log_density", doomed)
    with pytest.raises(KeyboardInterrupt):
        run(images, settings, cache=tmp_path)
    again = run(images, settings, cache=tmp_path)
    assert calls < 6 + 4
    np.testing.assert_array_equal(again.arrays["weights"], whole.arrays["weights"])


def test_other_settings_are_other_measurements() -> None:
    images = pictures(4)
    one, two = (
        run(images, OdeSettings(paired=False, levels=levels))  # type: ignore[arg-type]
        for levels in ("decoder", "uniform")
    )
    assert one.key != two.key
    assert value(one, "ode_bits_per_dim") != value(two, "ode_bits_per_dim")


@pytest.mark.parametrize("name", ["draws", "probes", "most"])
def test_none_of_something_is_named(name: str) -> None:
    with pytest.raises(FixableError, match=f"ode.{name}=0"):
        check(OdeSettings(**{name: 0}), "ode.")
