"""Every metric of quality beside its published twin: the formula written anew, the same arrays.

The twins are those of torch-fidelity and TTUR (FID, IS, KID, precision, recall, MIND), torchmetrics
and clean-fid (FID), prdc (density, coverage), CMMD's authors, and dgm-eval (AuthPct, Vendi).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.special import log_softmax
from sklearn.metrics import pairwise_distances
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

from ddpm_eval import metrics
from ddpm_eval.metrics.evidence import Evidence, FeatureSet
from ddpm_eval.metrics.extrapolation import SEED, sizes
from ddpm_eval.metrics.inception import InceptionScore
from ddpm_eval.metrics.registry import METRICS
from tests.eval.test_frechet import features

CLOSE = 1e-6
N, M, DIM, CLASSES = 700, 900, 24, 12
MANY = 10_000  # the fewest samples of FID-infinity
X = features(N, DIM, 1, scale=1.1, shift=0.1).astype(np.float64)
Y = features(M, DIM, 2).astype(np.float64)
SPATIAL = features(N, 35, 3).astype(np.float64), features(M, 35, 4).astype(np.float64)
LOGITS = 3 * np.random.default_rng(0).normal(size=(N, CLASSES))


def evidence(x: np.ndarray) -> Evidence:
    score = InceptionScore(N, CLASSES)
    score.update(range(N), LOGITS)
    spatial = [FeatureSet.of(item).pool for item in SPATIAL]
    return Evidence(
        samples=replace(FeatureSet.of(x), spatial=spatial[0], score=score),
        reference=replace(FeatureSet.of(Y), spatial=spatial[1]),
    )


# ------------------------------------------------------------------------- twins, written anew


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """TTUR's and clean-fid's: numpy's covariance, scipy's matrix root."""
    step, (a, b) = x.mean(0) - y.mean(0), (np.cov(z, rowvar=False) for z in (x, y))
    root = scipy.linalg.sqrtm(a @ b).real
    return float(step @ step + np.trace(a) + np.trace(b) - 2 * np.trace(root))


def torchmetrics_frechet(x: np.ndarray, y: np.ndarray) -> float:
    """torchmetrics': sums of outer products, and the eigenvalues of the product."""
    means, covariances = [], []
    for z in (x, y):
        outer, mean = z.T @ z, z.mean(0)
        means.append(mean)
        covariances.append((outer - len(z) * np.outer(mean, mean)) / (len(z) - 1))
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real.sum()
    step = means[0] - means[1]
    return float(step @ step + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * roots)


def torch_fidelity_frechet(x: np.ndarray, y: np.ndarray) -> float:
    pair = (metric_fid.fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y))
    result = metric_fid.fid_statistics_to_metric(*pair, False)
    return float(result[metric_fid.KEY_METRIC_FID])


def inception_score(_x: np.ndarray, _y: np.ndarray) -> float:
    """The mean over ten shuffled parts of exp E KL(p(y | x) || p(y)), as OpenAI's code has it."""
    log_p = log_softmax(LOGITS, axis=1)[np.random.RandomState(2020).permutation(N)]
    scores = []
    for i in range(10):
        part = log_p[i * N // 10 : (i + 1) * N // 10]
        marginal = np.log(np.exp(part).mean(0))
        scores.append(np.exp((np.exp(part) * (part - marginal)).sum(1).mean()))
    return float(np.mean(scores))


def torch_fidelity_score(_x: np.ndarray, _y: np.ndarray) -> float:
    result = metric_isc.isc_features_to_metric(torch.from_numpy(LOGITS))
    return float(result[metric_isc.KEY_METRIC_ISC_MEAN])


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """torch-fidelity's, in float64, on subsets of half of the smaller set."""
    result = metric_kid.kid_features_to_metric(
        *map(torch.from_numpy, (x, y)), kid_subset_size=N // 2, verbose=False
    )
    return float(result[metric_kid.KEY_METRIC_KID_MEAN])


def precision(x: np.ndarray, y: np.ndarray) -> float:
    result = metric_prc.prc_features_to_metric(*map(torch.from_numpy, (x, y)), verbose=False)
    return float(result[metric_prc.KEY_METRIC_PRECISION])


def recall(x: np.ndarray, y: np.ndarray) -> float:
    result = metric_prc.prc_features_to_metric(*map(torch.from_numpy, (x, y)), verbose=False)
    return float(result[metric_prc.KEY_METRIC_RECALL])


def density(x: np.ndarray, y: np.ndarray) -> float:
    radii = np.sort(pairwise_distances(y), axis=1)[:, 5]
    return float((pairwise_distances(y, x) < radii[:, None]).sum(0).mean() / 5)


def coverage(x: np.ndarray, y: np.ndarray) -> float:
    radii = np.sort(pairwise_distances(y), axis=1)[:, 5]
    return float((pairwise_distances(y, x).min(1) < radii).mean())


def mind(x: np.ndarray, y: np.ndarray) -> float:
    """torch-fidelity 0.5's, in float64."""
    generator = torch.Generator().manual_seed(2020)
    chosen = y[torch.randperm(M, generator=generator)[:N].numpy()]
    units = torch.randn(1000, DIM, generator=generator)
    units = (units / units.norm(dim=1, keepdim=True)).double().numpy()
    a, b = (np.sort(z @ units.T, axis=0) for z in (x, chosen))
    return float(3 * DIM * np.square(a - b).mean())


def cmmd(x: np.ndarray, y: np.ndarray) -> float:
    """Its authors': sigma 10, all pairs, times 1,000, embeddings of length 1."""
    u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    means = [
        np.exp(-pairwise_distances(a, b, metric="sqeuclidean") / 200).mean()
        for a, b in ((u, u), (v, v), (u, v))
    ]
    return float(1000 * (means[0] + means[1] - 2 * means[2]))


def memorised_share(x: np.ndarray, y: np.ndarray) -> float:
    near = np.sort(pairwise_distances(x, y), axis=1)
    return float((near[:, 0] / near[:, 1] < 1 / 3).mean())


def authenticity(x: np.ndarray, y: np.ndarray) -> float:
    """dgm-eval's authpct."""
    real, across = pairwise_distances(y), pairwise_distances(y, x)
    np.fill_diagonal(real, np.inf)
    return float(100 * (real.min(1)[across.argmin(0)] < across.min(0)).mean())


def vendi_score(x: np.ndarray, _y: np.ndarray) -> float:
    """dgm-eval's: the eigenvalues of all similarities."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = scipy.linalg.eigvalsh(unit @ unit.T / len(unit))
    values = values[values > 1e-14]
    return float(np.exp(-(values * np.log(values)).sum()))


def fid_infinity(x: np.ndarray, y: np.ndarray) -> float:
    """Chong and Forsyth's line through FID over 1/n, by numpy's fit."""
    rng, at = np.random.default_rng(SEED), sizes(len(x), DIM)
    distances = [frechet(x[rng.choice(len(x), size, replace=False)], y) for size in at]
    return float(np.polyfit(1 / np.array(at), distances, 1)[1])


Twin = Callable[[np.ndarray, np.ndarray], float]
TWINS: dict[str, tuple[Twin, ...]] = {
    "inception_score": (inception_score, torch_fidelity_score),
    "fid": (frechet, torchmetrics_frechet, torch_fidelity_frechet),
    "sfid": (lambda _x, _y: frechet(*SPATIAL),),
    "kid": (kid,),
    "precision": (precision,),
    "recall": (recall,),
    "density": (density,),
    "coverage": (coverage,),
    "mind": (mind,),
    "cmmd": (cmmd,),
    "memorised_share": (memorised_share,),
    "authenticity": (authenticity,),
    "vendi_score": (vendi_score,),
    "fid_infinity": (fid_infinity,),
}


@pytest.mark.parametrize("key", TWINS)
def test_a_metric_is_its_published_twin_on_the_same_arrays(key: str) -> None:
    x = features(MANY, DIM, 1, scale=1.1, shift=0.1).astype(np.float64)
    if key != "fid_infinity":
        x = X.copy()
        x[:50] = Y[:50] + 1e-3  # some are memorised
    compute = METRICS[key].compute
    assert compute is not None
    ours = compute(evidence(x)).value
    for twin in TWINS[key]:
        assert ours == pytest.approx(twin(x, Y), rel=CLOSE), twin
    assert ours > 0


def test_every_metric_of_quality_has_a_twin() -> None:
    ours = {"recognised_share"}  # a proportion of conditional samples, which nobody publishes so
    computed = {key for key, metric in METRICS.items() if metric.compute is not None}
    assert computed - ours == {*TWINS}


def test_fdr_is_a_quotient_of_two_twins() -> None:
    real = features(N, DIM, 5).astype(np.float64)
    ours = metrics.relative_distance(*(metrics.frechet_distance(z, Y) for z in (X, real)))
    assert ours.value == pytest.approx(frechet(X, Y) / frechet(real, Y), rel=CLOSE)
