"""Quality over the reverse steps, and neighbours in features, through the digits' own network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from ddpm_eval.features import Extractor, Outputs, open_extractor
from ddpm_eval.measure.pictures import neighbours, progressive, samples
from ddpm_eval.measure.pictures import quality_over_steps as along
from ddpm_eval.measure.pictures.neighbours import Real
from ddpm_eval.measure.pictures.quality_over_steps import Column, Frames, Judge
from ddpm_eval.measure.pictures.settings import (
    NeighbourSettings,
    ProgressiveSettings,
    SamplingSettings,
)
from ddpm_eval.metrics import frechet_distance
from ddpm_eval.model import Model
from ddpm_eval.record.fill import InMemory
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from tests.eval import jobs
from tests.eval.pieces import Stopped, assert_resumes, assert_same, assert_shared, counting, images


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def judge() -> Judge:
    extractor = open_extractor("digits-cnn", path=None, device=jobs.CPU)
    return Judge(extractor, images(split="train"))


def measure(model: Model, runtime: Runtime) -> Measurement:
    return progressive.measure(model, ProgressiveSettings(n=12), runtime, judge())


def test_the_end_of_the_curves_is_the_quality_of_the_samples() -> None:
    model, runtime = jobs.subject(), Runtime(batch=7)
    result = progressive.measure(model, ProgressiveSettings(n=21), runtime, judge())
    drawn = samples.draw(model, SamplingSettings(n=21), runtime).read(range(21))
    real = images(split="train").read(range(60))
    ours, train = (judge().extractor(pixels) for pixels in (drawn, real))
    rmse, distance, score = result.curves
    assert (distance.metric, score.metric) == ("fid", "inception_score")
    assert distance.y[-1] == pytest.approx(frechet_distance(ours.pool, train.pool).value, rel=1e-6)
    p = np.exp(ours.logits.astype(float))
    p /= p.sum(1, keepdims=True)
    order = np.random.RandomState(2020).permutation(21)
    parts = [p[order[i * 21 // 10 : (i + 1) * 21 // 10]] for i in range(10)]
    scores = [np.exp((q * np.log(q / q.mean(0))).sum(1).mean()) for q in parts]
    assert score.y[-1] == pytest.approx(np.mean(scores), rel=1e-6)
    assert score.error is not None and score.error[-1] == pytest.approx(np.std(scores), rel=1e-5)
    assert score.error_kind == "spread" and distance.error_kind == "standard error"
    assert distance.x.tolist() == score.x.tolist() == rmse.x.tolist()
    assert len(set(distance.y)) == 20  # every step has its own
    assert distance.n == 21 and distance.of.extractor == "(digits-cnn)"
    protocol = result.protocol
    assert protocol.reference is not None and protocol.reference.n == 60
    assert protocol.extractor is not None and protocol.extractor.name == "digits-cnn"


def test_quality_goes_on_after_a_kill_and_is_shared(tmp_path: Path) -> None:
    model = jobs.subject()
    assert_resumes(measure, model, Runtime(cache=tmp_path / "a", batch=6), stops=[50])
    assert_shared(measure, model, Runtime(cache=tmp_path / "b", batch=6))


def test_a_time_that_is_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, columns = along._numbers, []

    def fifth_time_fatal(*arguments: Any) -> Any:
        columns.append(1)
        if len(columns) == 5:
            raise Stopped
        return numbers(*arguments)

    monkeypatch.setattr(along, "_numbers", fifth_time_fatal)
    model, runtime = jobs.subject(), Runtime(cache=tmp_path / "a", batch=6)
    with pytest.raises(Stopped):
        measure(model, runtime)
    result = measure(model, runtime)
    assert len(columns) == 5 + progressive.RECORDED - 4
    assert_same(result, measure(model, replace(runtime, cache=tmp_path / "b")))


def doubled(extractor: Extractor) -> Extractor:
    """Another network: its digest and its features differ."""

    def network(levels: Tensor) -> Outputs:
        outputs = extractor.network(levels)
        return outputs._replace(pool=2 * outputs.pool)

    return replace(extractor, network=network, digest="0" * 64)


def test_numbers_through_another_network_are_others(tmp_path: Path) -> None:
    model, runtime = jobs.subject(), Runtime(cache=tmp_path / "a", batch=6)
    one = measure(model, runtime)
    other = replace(judge(), extractor=doubled(judge().extractor))
    two = progressive.measure(model, ProgressiveSettings(n=12), runtime, other)
    np.testing.assert_allclose(two.curves[1].y, 4 * one.curves[1].y, rtol=1e-6)
    assert one.protocol.key != two.protocol.key


def test_what_is_not_finite_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, calls = judge(), []

    class Nan:
        def __getattr__(self, name: str) -> Any:
            return getattr(broken.extractor, name)

        def __call__(self, pixels: np.ndarray) -> Any:
            calls.append(len(pixels))
            features = broken.extractor(pixels)
            return features._replace(pool=features.pool * np.nan) if len(calls) > 1 else features

    with pytest.raises(FixableError, match="hold NaN or infinity"):
        progressive.measure(
            jobs.subject(), ProgressiveSettings(n=12), Runtime(), replace(broken, extractor=Nan())
        )


@pytest.mark.parametrize(
    ("n", "model", "problem"),
    [(9, jobs.subject(), "9 images"), (12, replace(jobs.subject(), shape=(3, 32, 32)), "32x32")],
)
def test_what_cannot_be_measured_is_refused_before_samples_are_drawn(
    n: int, model: Model, problem: str
) -> None:
    calls: list[int] = []
    with pytest.raises(FixableError, match=problem):
        progressive.measure(counting(model, calls), ProgressiveSettings(n=n), Runtime(), judge())
    assert not calls


def test_a_column_gives_the_images_that_are_asked_for() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (10, 3, 2, 2, 1), np.uint8)
    parts = [range(0, 4), range(4, 8), range(8, 10)]
    pieces = InMemory({part: {"frames": frames[part.start : part.stop]} for part in parts})
    columns = [Column(Frames(pieces, np.array([1, 2, 3]), {}), i) for i in range(3)]
    for i, column in enumerate(columns):
        np.testing.assert_array_equal(column.read([9, 0, 5, 5, 3]), frames[[9, 0, 5, 5, 3], i])
        assert len(column) == 10
    assert len({column.digest for column in columns}) == 3


def test_neighbours_in_features_agree_with_brute_force() -> None:
    model, extractor = jobs.subject(), judge().extractor
    settings = NeighbourSettings(sampling=SamplingSettings(n=5), k=3, rows=5)
    real = Real(train=images(split="train"), held_out=images())
    result = neighbours.measure(model, real, settings, Runtime(), extractor)
    assert set(result.grids) == {"pixels", "features"} == set(result.facts["verdicts"])
    drawn = samples.draw(model, settings.sampling, Runtime()).read(range(5))
    train = images(split="train").read(range(60))
    ours, theirs = (extractor(pixels).pool.astype(float) for pixels in (drawn, train))
    grid = result.grids["features"]
    rows = grid.images.reshape(5, 4, 8, 8, 1)
    first = []
    for row, labels in zip(rows, np.array(grid.labels).reshape(5, 4), strict=True):
        i = int(labels[0])
        np.testing.assert_array_equal(row[0], drawn[i])
        apart = np.linalg.norm(theirs - ours[i], axis=1)
        np.testing.assert_array_equal(row[1:], train[apart.argsort()[:3]])
        assert labels[1:].tolist() == [f"{x:.2f}" for x in sorted(apart)[:3]]
        first.append(apart.min())
    median = result.score("median_distance", whose="samples", space="features")
    assert median is not None and median.value == pytest.approx(np.median(first), rel=1e-6)
