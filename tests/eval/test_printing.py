"""Scores are printed to the known digit; curves and grids that cannot be drawn are refused."""

from collections.abc import Callable

import numpy as np
import pytest

from ddpm_eval.record.arrays import Array
from ddpm_eval.record.scores import Curve, Error, Grid, Score, number_texts


def test_a_curve_of_one_image_has_no_error() -> None:
    x = np.arange(3.0)
    one, two = (Curve(metric="rate", over="t", x=x, y=x, n=n, error=0 * x) for n in (1, 2))
    assert one.error is None and two.error is not None
    covariates = Curve(metric="rate", over="t", x=x, y=x, n=1, error=x)
    assert covariates.error is not None and covariates.error[2] == 2


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (("bits_per_dim", 3.7512, 10_000, 0.0041), "3.751 ± 0.004 bits/dim (n=10,000)"),
        (("bits_per_dim", 3.75, 96, 0.056), "3.750 ± 0.056 bits/dim (n=96)"),
        (("bits_per_dim", 3.7512349, 7, 0.00013), "3.75123 ± 0.00013 bits/dim (n=7)"),
        (("inception_score", 9.4612, 50_000, 0.112), "9.46 ± 0.11 (n=50,000)"),  # as in the paper
        (("fid", 13.5112, 50_000, None), "13.51 (n=50,000)"),
        (("kid", 0.0004123, 5, None), "0.000412 (n=5)"),
        (("copies", 0, 1, None), "0 samples (n=1)"),
        (("bits_per_dim", -1e-6, 3, 0.02), "0.000 ± 0.020 bits/dim (n=3)"),
        (("kid", 0.0, 3, 0.0), "0.00 ± 0.00 (n=3)"),
        (("bits_per_dim", 1e-5, 9, None), "1.00e-05 bits/dim (n=9)"),
    ],
)
def test_numbers_are_printed_to_the_digit_that_is_known(
    score: tuple[str, float, int, float | None], text: str
) -> None:
    metric, value, n, size = score
    error = None if size is None else Error(size=size)
    assert str(Score(metric=metric, value=value, n=n, error=error)) == text


def test_printing_loses_less_than_the_error() -> None:
    draws = np.random.default_rng(0)
    for value, error in zip(
        draws.normal(0, 100, 500), 10 ** draws.uniform(-7, 2, 500), strict=True
    ):
        number, spread = number_texts(float(value), float(error))
        assert abs(float(number.replace(",", "")) - value) <= error / 1.9
        assert abs(float(spread.replace(",", "")) - error) <= error / 3.8  # 1.95 is said as 2
        assert len(number.partition(".")[2]) == len(spread.partition(".")[2])


def curve(x: Array, y: Array, error: Array | None = None) -> Curve:
    return Curve(metric="rate", over="t", x=x, y=y, n=1, error=error)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: curve(np.ones(3), np.ones(2)),
        lambda: curve(np.ones(3), np.ones(3), np.ones(2)),
        lambda: curve(np.ones((3, 1)), np.ones((3, 1))),
        lambda: curve(np.ones(0), np.ones(0)),
        lambda: Grid(np.ones((2, 4, 4, 3)), 2),
        lambda: Grid(np.ones((2, 3, 4, 4), np.uint8), 2),
        lambda: Grid(np.ones((2, 4, 4, 3), np.uint8), 2, ("one",)),
        lambda: Grid(np.ones((0, 4, 4, 3), np.uint8), 2),
    ],
)
def test_shapes_that_cannot_be_drawn_are_refused(broken: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"grid|curve|errors|labels"):
        broken()
