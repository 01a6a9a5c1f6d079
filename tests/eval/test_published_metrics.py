"""Metrics in blocks, on few images and on strange ones; their twins are in ``test_twins``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

import ddpm_eval.metrics
from ddpm_eval import metrics
from ddpm_eval.metrics import neighbourhoods
from ddpm_eval.metrics.evidence import Evidence, FeatureSet
from ddpm_eval.metrics.inception import InceptionScore
from ddpm_eval.metrics.registry import METRICS
from ddpm_train.errors import FixableError
from tests.eval.test_frechet import features

X = features(700, 24, 1, scale=1.1, shift=0.1)
Y = features(900, 24, 2)


def prdc(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """Naeem et al. 2020, from all distances at once."""
    across = pairwise_distances(real, fake)
    radii = [np.sort(pairwise_distances(x, x), axis=1)[:, k] for x in (real, fake)]
    inside = across < radii[0][:, None]
    return {
        "precision": inside.any(0).mean(),
        "recall": (across < radii[1]).any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": (across.min(1) < radii[0]).mean(),
    }


@pytest.mark.parametrize("block", [1024, 100])
def test_density_and_coverage_are_prdc_s(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(neighbourhoods, "BLOCK", block)
    x, y = X.astype(np.float64), Y.astype(np.float64)
    for k in (3, 5):
        theirs = prdc(y, x, k)
        density, coverage = metrics.density_coverage(X, Y, k=k)
        precision, recall = metrics.precision_recall(X, Y, k=k)
        assert density.value == pytest.approx(theirs["density"], rel=1e-9)
        assert coverage.value == pytest.approx(theirs["coverage"], rel=1e-9)
        assert precision.value == pytest.approx(theirs["precision"], rel=1e-9)
        assert recall.value == pytest.approx(theirs["recall"], rel=1e-9)
        assert (coverage.n, precision.n, recall.n) == (900, 700, 900)


def test_relative_distance_divides_by_that_of_real_images() -> None:
    held_out = features(700, 24, 5)
    distances = [metrics.frechet_distance(z, Y) for z in (X, held_out)]
    ratio = metrics.relative_distance(*distances)
    assert ratio.value == distances[0].value / distances[1].value
    assert ratio.error is not None and ratio.error.over == "samples and held-out images"


def test_the_score_of_few_images_shows_how_far_it_would_rise() -> None:
    logits = 3 * np.random.default_rng(0).normal(size=(20_000, 30))
    few, many = (InceptionScore(n, 30) for n in (200, 20_000))
    few.update(range(200), logits[:200])
    many.update(range(20_000), logits)
    assert few.result()[0] < 0.93 * many.result()[0]
    assert few.limit == pytest.approx(many.limit, rel=0.04)
    assert many.limit == pytest.approx(many.result()[0], rel=0.005)


# ----------------------------------------------------------------------------- small and strange


@pytest.mark.parametrize(
    ("name", "n"),
    [
        *(("frechet_distance", 1), ("kernel_distance", 3), ("precision_recall", 5)),
        *(("density_coverage", 5), ("mind", 1), ("cmmd", 1), ("fid_infinity", 9999)),
        *(("memorised_share", 5), ("authenticity", 5)),
    ],
)
def test_too_few_images_are_named_with_how_many_it_takes(name: str, n: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, 2))
    with pytest.raises(FixableError, match=f"n={n:,}: .* needs {n + 1:,} images"):
        getattr(metrics, name)(x, x)


@pytest.mark.parametrize("n", [6, 7, 12])
def test_few_images_never_have_an_error_of_nothing(n: int) -> None:
    x, y = X[:n], Y[:200]
    pairs = [*metrics.precision_recall(x, y), *metrics.density_coverage(x, y)]
    pairs += [metrics.kernel_distance(x, y), metrics.frechet_distance(x, y), metrics.mind(x, y)]
    pairs += [metrics.memorised_share(x, y), metrics.authenticity(x, y), metrics.cmmd(x, y)]
    assert all(pair.error is None or pair.error.size > 0 for pair in pairs)


def test_a_share_of_all_or_none_has_an_error() -> None:
    precision, recall = metrics.precision_recall(Y[:200], Y)
    assert precision.value == 1
    assert precision.error is not None and precision.error.size > 0
    _, recall = metrics.precision_recall(X + 100, Y)
    assert recall.value == 0 and recall.error is not None and recall.error.size > 0


@pytest.mark.parametrize(
    "features_", [np.zeros((3, 4, 5)), np.full((9, 2), np.nan), np.array([["a", "b"]])]
)
def test_what_is_no_table_of_numbers_is_refused(features_: np.ndarray) -> None:
    with pytest.raises(FixableError, match="features"):
        metrics.frechet_distance(features_, Y)


def test_every_public_name_is_there_and_needs_no_torch_to_be_named() -> None:
    for name in metrics.__all__:
        assert callable(getattr(ddpm_eval.metrics, name))
    code = "import ddpm_eval.metrics.registry as r, sys; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_the_registry_computes_what_the_functions_do() -> None:
    evidence = Evidence(samples=FeatureSet.of(X), reference=FeatureSet.of(Y))
    wanted = {
        "fid": metrics.frechet_distance(X, Y),
        "kid": metrics.kernel_distance(X, Y),
        "precision": metrics.precision_recall(X, Y)[0],
        "recall": metrics.precision_recall(X, Y)[1],
        "density": metrics.density_coverage(X, Y)[0],
        "coverage": metrics.density_coverage(X, Y)[1],
        "mind": metrics.mind(X, Y),
        "cmmd": metrics.cmmd(X, Y),
        "memorised_share": metrics.memorised_share(X, Y),
        "authenticity": metrics.authenticity(X, Y),
        "vendi_score": metrics.vendi_score(X),
    }
    for key, estimate in wanted.items():
        compute = METRICS[key].compute
        assert compute is not None and compute(evidence) == estimate, key
