"""Errors are true: 95% intervals cover 90 to 98%, and a wrong one is seen (docs/errors.md)."""

import numpy as np
import pytest

from ddpm_eval.metrics.estimate import Error, Estimate
from tests.eval.error_cases import CASES, Case
from tests.eval.error_simulations import simulate, summed


def mean_of(rng: np.random.Generator, n: int, *, share: float) -> dict[str, Estimate]:
    """The mean of n heavy-tailed numbers, with a share of its error."""
    drawn = rng.standard_t(5, size=n)
    error = Error(size=share * float(drawn.std(ddof=1)) / n**0.5)
    return {"mean": Estimate(value=float(drawn.mean()), n=n, error=error)}


@pytest.mark.parametrize(("share", "is_right"), [(1.0, True), (0.5, False), (2.0, False)])
def test_an_error_of_half_or_double_the_size_is_seen(share: float, is_right: bool) -> None:
    case = Case(draw=lambda rng, n: mean_of(rng, n, share=share), repeats={256: 400})
    (row,) = simulate(case, 256)
    assert row.is_right == is_right, row
    assert row.error == pytest.approx(share * row.spread, rel=0.1)


def test_a_number_without_an_error_is_named() -> None:
    with pytest.raises(ValueError, match="Vendi: no error at n=9"):
        summed("Vendi", [Estimate(value=1.0, n=9)], 9)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_95_percent_intervals_cover(name: str) -> None:
    case = CASES[name]
    wrong = [row for n in case.repeats for row in simulate(case, n) if not row.is_right]
    assert not wrong, "\n".join(map(str, wrong))
