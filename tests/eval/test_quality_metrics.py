"""IS, KID, precision and recall, and FID over n: definitions, and torch-fidelity's numbers."""

import itertools

import numpy as np
import pytest
import torch
from torch_fidelity import metric_isc, metric_kid, metric_prc

from ddpm_eval.metrics import extrapolation, neighbourhoods, precision_recall
from ddpm_eval.metrics.frechet import Gaussian
from ddpm_eval.metrics.inception import InceptionScore
from ddpm_eval.metrics.kernel import kernel_distance, over_subsets, squared_mmd
from ddpm_train.errors import FixableError
from tests.eval.test_frechet import features, of

CPU = torch.device("cpu")


class Rows:
    """Features in memory."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self.rows[indices]


# ------------------------------------------------------------------------------- Inception score


def scored(logits: np.ndarray, parts: list[range]) -> tuple[float, float]:
    score = InceptionScore(len(logits), logits.shape[1])
    for part in parts:
        score.update(part, logits[part.start : part.stop])
    return score.result()


@pytest.mark.parametrize("n", [10, 97, 250])
def test_the_inception_score_is_torch_fidelity_s(n: int) -> None:
    logits = np.random.default_rng(0).normal(size=(n, 12)).astype(np.float32) * 3
    theirs = metric_isc.isc_features_to_metric(torch.from_numpy(logits))
    result = scored(logits, [range(0, 7), range(7, n)])
    assert result[0] == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_MEAN], rel=1e-10)
    assert result[1] == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_STD], rel=1e-6)


def test_the_inception_score_of_sure_and_even_guesses_is_the_number_of_classes() -> None:
    logits = np.tile(np.eye(5) * 1000, (200, 1))
    alike = np.zeros((1000, 5))
    assert scored(logits, [range(1000)])[0] == pytest.approx(5, rel=0.03)
    assert scored(alike, [range(1000)]) == (1, 0)


def test_sums_of_two_processes_make_the_score_of_both() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4))
    pair = [InceptionScore(50, 4) for _ in range(2)]
    pair[0].update(range(20), logits[:20])
    pair[1].update(range(20, 50), logits[20:])
    pair[0].sums += pair[1].sums
    assert pair[0].result() == pytest.approx(scored(logits, [range(50)]), rel=1e-12)


def test_a_part_needs_an_image() -> None:
    with pytest.raises(FixableError, match="9 images do not make 10 parts"):
        InceptionScore(9, 4)


# --------------------------------------------------------------------------------------- kernel


def test_the_kernel_distance_is_the_mean_over_pairs() -> None:
    x, y = features(7, 3, 1).astype(float), features(7, 3, 2).astype(float)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = [np.mean([k(a, b) for a, b in itertools.permutations(z, 2)]) for z in (x, y)]
    across = np.mean([k(a, b) for a in x for b in y])
    assert squared_mmd(x, y) == pytest.approx(sum(within) - 2 * across, rel=1e-9)


def test_the_kernel_distance_is_torch_fidelity_s_on_the_same_subsets() -> None:
    x, y = features(1100, 48, 1, shift=0.4), features(1250, 48, 2, scale=1.2, shift=0.4)
    theirs = metric_kid.kid_features_to_metric(
        *(torch.from_numpy(z).double() for z in (x, y)), kid_subsets=4, verbose=False
    )
    subsets = over_subsets(Rows(x), Rows(y), subsets=4)
    assert subsets.size == 1000
    assert subsets.values.std() == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_STD], rel=1e-4)
    value = kernel_distance(x, y, subsets=4).value
    assert value == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-6)


def test_it_is_unbiased() -> None:
    """Two sets of one kind: zero on average, unlike FID; and half of few images make a subset."""
    values = [
        kernel_distance(features(80, 6, 2 * i), features(90, 6, 2 * i + 1), subsets=20).value
        for i in range(60)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 60**0.5
    assert over_subsets(Rows(features(80, 6, 0)), Rows(features(90, 6, 1)), subsets=1).size == 40


# ----------------------------------------------------------------------- precision and recall


def pair(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    precision, recall = precision_recall(Rows(x), Rows(y), device=CPU)
    return precision.value, recall.value


def test_precision_and_recall_are_torch_fidelity_s(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(700, 16, 1), features(600, 16, 2, scale=0.7, shift=0.3)
    theirs = metric_prc.prc_features_to_metric(*map(torch.from_numpy, (x, y)), verbose=False)
    wanted = (theirs[metric_prc.KEY_METRIC_PRECISION], theirs[metric_prc.KEY_METRIC_RECALL])
    for block in (1024, 256):  # a block border must not lose a neighbour
        monkeypatch.setattr(neighbourhoods, "BLOCK", block)
        assert pair(x, y) == pytest.approx(wanted, abs=1e-6)
    assert wanted[0] != pytest.approx(wanted[1], abs=0.01)  # so that a swap is seen


def test_copies_of_the_reference_are_all_inside() -> None:
    y = features(200, 16, 1)
    assert pair(y[:150], y)[0] == 1
    assert pair(y + 100, y) == (0, 0)


def test_equal_images_lie_on_each_other_even_where_balls_have_no_width() -> None:
    y = np.repeat(features(20, 300, 1, scale=30), 5, axis=0)
    assert neighbourhoods.squared_to_nearest(Rows(y), 3).abs().max() == 0
    assert pair(y[::5], y)[0] == 1


def test_images_on_the_edge_of_a_ball_are_decided_exactly() -> None:
    """Where float32's distances, which torch-fidelity takes, let some in and keep others out."""
    y = features(60, 64, 1, shift=5)
    exact = torch.cdist(*[torch.from_numpy(y).double()] * 2)
    radius, centre = exact.kthvalue(4).values, int(exact.sum(1).argmin())
    direction = features(4000, 64, 3)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    edge = 1 + np.linspace(-1e-6, 1e-6, 4000)[:, None]
    x = (y[centre] + radius[centre].item() * edge * direction).astype(np.float32)

    def inside(distances: torch.Tensor, radii: torch.Tensor) -> float:
        return (distances <= radii).any(1).double().mean().item()

    difference = torch.from_numpy(x).double()[:, None] - torch.from_numpy(y).double()
    wanted = inside(difference.norm(dim=2), radius)
    short = torch.cdist(*[torch.from_numpy(y)] * 2).kthvalue(4).values
    rounded = inside(torch.cdist(torch.from_numpy(x), torch.from_numpy(y)), short)
    assert pair(x, y)[0] == wanted
    assert 0.1 < wanted < 0.9 and abs(rounded - wanted) > 0.01


# ------------------------------------------------------------------------------------ growth


def test_the_curve_ends_at_the_whole_set_and_falls() -> None:
    x, y = features(4000, 16, 1), Gaussian.of(of(features(3000, 16, 2)))
    sizes = np.array([100, 400, 4000])
    result = extrapolation.growth(Rows(x), y, sizes).distances
    assert result[-1] == pytest.approx(y.distance(Gaussian.of(of(x))), rel=1e-9)
    assert result[0] > result[1] > result[2]


def test_the_line_meets_the_axis_where_linear_regression_does() -> None:
    rng = np.random.default_rng(0)
    n = np.linspace(5000, 50_000, 15)
    y = 2.5 + 30_000 / n + rng.normal(size=15) * 0.02
    fit = np.polyfit(1 / n, y, 1)
    assert extrapolation.intercept_weights(n) @ y == pytest.approx(fit[1], rel=1e-9)


def test_there_is_no_limit_below_ten_thousand_images() -> None:
    assert extrapolation.sizes(10_000, 2048)[0] == 5000
    assert len(extrapolation.sizes(10_000, 2048)) == 15
    assert extrapolation.sizes(9_999, 2048) == [2499, 4999, 9999]
