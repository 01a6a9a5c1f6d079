"""The Fréchet distance against closed forms, scipy's matrix root and torch-fidelity."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity import metric_fid

from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_eval.metrics.moments import Moments, moments
from ddpm_train.errors import FixableError


def features(n: int, dim: int, seed: int, *, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Correlated and skewed, as a network's are."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, dim)) @ np.random.default_rng(0).normal(size=(dim, dim)) / dim**0.5
    return (np.maximum(mixed, -0.3) * scale + shift).astype(np.float32)


def of(rows: np.ndarray) -> Moments:
    return moments([rows], rows.shape[1])


def distance_between(a: Moments, b: Moments) -> float:
    return Gaussian.of(a).distance(Gaussian.of(b))


def formula(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, by other means: numpy's covariance and scipy's matrix root."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b)
    step = x.mean(0) - y.mean(0)
    return float(step @ step + np.trace(a + b - 2 * root.real))


def test_diagonal_gaussians_have_a_closed_form() -> None:
    rng = np.random.default_rng(1)
    m, n, a, b = rng.normal(size=(4, 20))
    a, b = np.abs(a), np.abs(b)
    expected = np.square(m - n).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    result = Gaussian(m, np.diag(a)).distance(Gaussian(n, np.diag(b)))
    assert result == pytest.approx(expected, rel=1e-12)


def test_it_is_symmetric_and_blind_to_rotation() -> None:
    x, y = of(features(300, 24, 1)), of(features(200, 24, 2, scale=1.3, shift=0.2))
    other = distance_between(x, y)
    assert distance_between(y, x) == pytest.approx(other, rel=1e-10)
    turn = scipy.linalg.qr(np.random.default_rng(3).normal(size=(24, 24)))[0]
    turned = [Moments(m.n, turn @ m.mean, turn @ m.scatter @ turn.T) for m in (x, y)]
    assert distance_between(*turned) == pytest.approx(other, rel=1e-10)


@pytest.mark.parametrize("n", [500, 20])
def test_a_set_has_no_distance_to_itself(n: int) -> None:
    x = of(features(n, 40, 1))
    assert abs(distance_between(x, x)) < 1e-9 * np.trace(x.covariance)


def test_it_is_the_definition() -> None:
    x, y = features(400, 30, 1), features(300, 30, 2, scale=1.2)
    assert distance_between(of(x), of(y)) == pytest.approx(formula(x, y), rel=1e-9)


def test_it_is_exact_with_fewer_images_than_features() -> None:
    """The root's trace is then the nuclear norm of the product of the centred features."""
    x, y = features(20, 60, 1).astype(float), features(30, 60, 2, scale=1.4).astype(float)
    u, v = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    step = x.mean(0) - y.mean(0)
    norm = np.linalg.svd(u @ v.T, compute_uv=False).sum()
    expected = step @ step + np.square(u).sum() + np.square(v).sum() - 2 * norm
    assert distance_between(of(x), of(y)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("kind", "digits"), [("float64", 1e-9), ("float32", 1e-5)])
def test_torch_fidelity_agrees_on_the_same_features(kind: str, digits: float) -> None:
    """It takes the mean of float32 features in float32, which costs it digits that we keep."""
    x, y = features(1500, 64, 1).astype(kind), features(1300, 64, 2, scale=1.3).astype(kind)
    theirs = metric_fid.fid_statistics_to_metric(
        *(metric_fid.fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)), False
    )
    ours = distance_between(of(x), of(y))
    assert ours == pytest.approx(theirs[metric_fid.KEY_METRIC_FID], rel=digits)


def test_streaming_loses_nothing_to_two_passes() -> None:
    """A mean 1e6 times the spread: sums of squares would keep four digits of the covariance."""
    rows = features(1000, 8, 1).astype(np.float64) + 1e6
    batches = np.split(rows, [1, 3, 400, 401, 950])
    result = moments(batches, 8)
    assert result.n == 1000
    np.testing.assert_allclose(result.mean, rows.mean(0), rtol=3e-14)
    np.testing.assert_allclose(result.covariance, np.cov(rows, rowvar=False), rtol=1e-8, atol=1e-10)


def test_parts_of_the_images_merge_in_any_order() -> None:
    rows = features(90, 6, 1)
    a, b, c = (of(part) for part in np.split(rows, [10, 40]))
    for merged in (
        a.merge(b).merge(c),
        c.merge(a.merge(b)),
        Moments.empty(6).merge(b).merge(c).merge(a),
    ):
        assert merged.n == 90
        np.testing.assert_allclose(merged.mean, rows.mean(0), rtol=1e-6)
        np.testing.assert_allclose(merged.covariance, of(rows).covariance, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_no_numbers_stop_everything(bad: float) -> None:
    rows = features(5, 4, 1)
    rows[3, 2] = bad
    with pytest.raises(FixableError, match="NaN or infinity"):
        of(rows)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(FixableError, match="no covariance"):
        distance_between(of(features(1, 4, 1)), of(features(9, 4, 1)))


def test_the_bias_is_what_a_perfect_generator_scores() -> None:
    rng = np.random.default_rng(5)
    spectrum = 2.0 ** -np.arange(10)
    n, others, repeats = 400, 1000, 200

    def draw(count: int) -> Moments:
        return of(rng.normal(size=(count, 10)) * spectrum**0.5)

    scores = [distance_between(draw(n), draw(others)) for _ in range(repeats)]
    limit = Gaussian(np.zeros(10), np.diag(spectrum), others).bias(n)
    assert np.mean(scores) == pytest.approx(limit, rel=0.05)


# ------------------------------------------------------------------------------ its error


def test_the_error_of_one_feature_is_in_closed_form() -> None:
    """FD = (m - m_r)^2 + (s - s_r)^2; for normal features Var h = 4 step^2 s^2 + 2 c^2 s^4."""
    x = np.random.default_rng(0).normal(1.0, 2.0, (200_000, 1))
    reference = Gaussian(np.array([0.25]), np.array([[9.0]]), 1)
    step, stretch = 1.0 - 0.25, 1 - 3.0 / 2.0
    expected = np.sqrt((4 * step**2 * 4 + 2 * stretch**2 * 16) / len(x))
    samples = Gaussian.of(moments([x], 1))
    result = distance_stderr(samples, reference, np.array_split(x, 7))
    assert result == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("n", "shift"), [(400, 0.3), (400, 0.0), (60, 0.3)])
def test_the_error_is_that_of_drawing_again(n: int, shift: float) -> None:
    """Skewed, correlated features of 24 dimensions, against 300 fresh sets of samples."""
    rng, d = np.random.default_rng(1), 24
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    reference = Gaussian(np.zeros(d), np.eye(d), 1)
    distances, errors = [], []
    for _ in range(300):
        x = np.maximum(rng.normal(size=(n, d)) @ mix + shift, 0)
        samples = Gaussian.of(moments([x], d))
        distances.append(reference.distance(samples))
        errors.append(distance_stderr(samples, reference, [x]))
    assert np.mean(errors) == pytest.approx(np.std(distances, ddof=1), rel=0.15)


def test_the_error_does_not_depend_on_how_features_come() -> None:
    x = np.random.default_rng(2).normal(size=(300, 5)) * [1, 2, 3, 4, 5]
    reference, samples = Gaussian(np.ones(5), np.eye(5), 9), Gaussian.of(moments([x], 5))
    one = distance_stderr(samples, reference, [x])
    assert distance_stderr(samples, reference, np.array_split(x, 9)) == pytest.approx(one, 1e-12)


def test_a_reference_of_equal_images_has_distances_and_errors() -> None:
    x, y = features(50, 4, 1), np.ones((20, 4), np.float32)
    samples, point = Gaussian.of(of(x)), Gaussian.of(of(y))
    expected = np.square(x.astype(float) - 1).sum(1)  # the distance of each image from the point
    assert distance_stderr(samples, point, [x]) == pytest.approx(expected.std(ddof=1) / 50**0.5)
    assert distance_stderr(point, samples, [y]) == 0
    assert point.distance(samples) == pytest.approx(samples.distance(point), rel=1e-12)
