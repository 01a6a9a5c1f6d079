"""Reference statistics: ours round trip and notice damage, others' are read, pickles never."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ddpm_eval.measure.quality import statistics
from ddpm_eval.measure.quality.statistics import Statistics
from ddpm_eval.metrics.frechet import Gaussian
from ddpm_train.errors import FixableError
from tests.eval.test_frechet import features, of

EXTRACTOR: Any = SimpleNamespace(
    name="inception-v3", digest="f" * 64, sizes=(6, 10, 4), preprocessing="tf1"
)


def some(**about: Any) -> Statistics:
    pool, spatial = of(features(50, 6, 1)), of(features(50, 4, 2))
    covariates = {"extractor": "inception-v3", "weights": "f" * 64, **about}
    pixels = np.arange(50)
    return Statistics(Gaussian.of(pool), Gaussian.of(spatial), covariates, pixels)


def test_ours_come_back_whole(tmp_path: Path) -> None:
    written, file = some(dataset="CIFAR-10 train"), tmp_path / "s.npz"
    statistics.write(file, written)
    content = statistics.read(file, EXTRACTOR)
    for a, b in ((content.pool, written.pool), (content.spatial, written.spatial)):
        assert a is not None
        assert b is not None
        np.testing.assert_array_equal(a.mean, b.mean)
        np.testing.assert_array_equal(a.covariance, b.covariance)
        assert a.n == 50
    assert content.about["dataset"] == "CIFAR-10 train"
    np.testing.assert_array_equal(content.pixels, written.pixels)
    again = tmp_path / "t.npz"
    statistics.write(again, written)
    assert file.read_bytes() == again.read_bytes()


def test_damage_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "s.npz"
    statistics.write(file, some())
    whole = file.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 60)
    changed = 0
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        try:
            content = statistics.read(file, EXTRACTOR)
        except FixableError:
            changed += 1
        else:  # a byte of the zip's own that nothing depends on
            np.testing.assert_array_equal(content.pool.mean, some().pool.mean)
            np.testing.assert_array_equal(content.pool.covariance, some().pool.covariance)
    assert changed > 50
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with pytest.raises(FixableError):
            statistics.read(file, EXTRACTOR)


@pytest.mark.parametrize("spatial", [False, True])
def test_those_of_ttur_edm_and_adm_are_read(tmp_path: Path, spatial: bool) -> None:
    model, file = some(), tmp_path / "theirs.npz"
    assert model.spatial is not None
    arrays = {"mu": model.pool.mean, "sigma": model.pool.covariance}
    if spatial:
        arrays |= {"mu_s": model.spatial.mean, "sigma_s": model.spatial.covariance}
    np.savez(file, **arrays)
    assert statistics.holds_statistics(file)
    content = statistics.read(file, EXTRACTOR)
    assert content.pool.distance(model.pool) == pytest.approx(0, abs=1e-12)
    assert (content.spatial is not None) == spatial
    assert content.pool.n == 0  # nobody says
    assert content.about == {}


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickles_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    named = tmp_path / "cifar10-32x32.pkl"
    named.write_bytes(pickle.dumps(Evil(mark)))
    inside = tmp_path / "inside.npz"
    np.savez(inside, mu=np.array([Evil(mark)], dtype=object), sigma=np.zeros((6, 6)))
    for file, message in ((named, "statistics in a pickle"), (inside, "never executed")):
        with pytest.raises(FixableError, match=message):
            statistics.read(file, EXTRACTOR)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": np.zeros(5)}, "are not a mean"),
        ({"sigma": np.zeros((6, 5))}, "are not a mean"),
        ({"mu": np.zeros(6, int)}, "are not a mean"),
        ({"mu": np.full(6, np.nan)}, "holds NaN"),
        ({"sigma": np.triu(np.ones((6, 6)))}, "not symmetric"),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "statistics of 3 features"),
    ],
)
def test_what_is_no_mean_and_covariance_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "s.npz", **({"mu": np.zeros(6), "sigma": np.eye(6)} | change))
    with pytest.raises(FixableError, match=message):
        statistics.read(tmp_path / "s.npz", EXTRACTOR)


def test_a_matrix_that_is_no_covariance_is_refused(tmp_path: Path) -> None:
    """With eigenvalues below zero a Frechet distance below zero would come out."""
    noise = np.random.default_rng(0).standard_normal((6, 6))
    for sigma in ((noise + noise.T) / 2, -(noise @ noise.T)):
        np.savez(tmp_path / "s.npz", mu=np.zeros(6), sigma=sigma)
        with pytest.raises(FixableError, match="no covariance: its least eigenvalue is -"):
            statistics.read(tmp_path / "s.npz", EXTRACTOR)
    singular = np.float32(noise[:, :3] @ noise[:, :3].T)  # below zero by rounding alone
    np.savez(tmp_path / "s.npz", mu=np.zeros(6), sigma=singular)
    assert statistics.read(tmp_path / "s.npz", EXTRACTOR).pool.mean.size == 6


def test_other_keys_other_weights_and_newer_versions_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.npz"
    np.savez(file, fid=np.zeros(3))
    with pytest.raises(FixableError, match="holds fid; not mu and sigma"):
        statistics.read(file, EXTRACTOR)
    statistics.write(file, some(weights="e" * 64))
    with pytest.raises(FixableError, match="of weights eeeeeeee; inception-v3 of weights ffffffff"):
        statistics.read(file, EXTRACTOR)
    statistics.write(file, some(version=3))
    with pytest.raises(FixableError, match="version 3, newer"):
        statistics.read(file, EXTRACTOR)
    statistics.write(file, some(preprocessing="clean"))
    with pytest.raises(FixableError, match=r"prepared otherwise \(clean\)"):
        statistics.read(file, EXTRACTOR)
    with pytest.raises(FixableError, match="no such file"):
        statistics.read(tmp_path / "none.npz", EXTRACTOR)


def test_spatial_statistics_of_the_old_order_are_refused_with_the_fix(tmp_path: Path) -> None:
    """Channel by channel, as version 1 had them; those of pool features alone are as ever."""
    file = tmp_path / "s.npz"
    statistics.write(file, some(version=1))
    with pytest.raises(FixableError, match="channel by channel") as caught:
        statistics.read(file, EXTRACTOR)
    assert "name the images as the reference" in caught.value.fix
    statistics.write(file, Statistics(some().pool, None, some(version=1).about))
    assert statistics.read(file, EXTRACTOR).spatial is None
