"""Quality over the reverse steps, and neighbours in features, through the digits' own network."""

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_eval.features import open_extractor
from ddpm_eval.measure.pictures import neighbours, progressive, samples
from ddpm_eval.measure.pictures import quality_over_steps as along
from ddpm_eval.measure.pictures.quality_over_steps import Column
from ddpm_eval.metrics.frechet import Moments
from ddpm_eval.record.shards import open_shards
from ddpm_train.errors import FixableError
from tests import oracle
from tests.eval import jobs
from tests.eval.interrupted import Stopped, ask, resumes, same, shared
from tests.eval.test_frechet import distance_between


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_end_of_the_curves_is_the_quality_of_the_samples(tmp_path: Path, cache: Path) -> None:
    job = ask(jobs.job(tmp_path / "a", batch=7), n=21, extractor="digits-cnn")
    found = progressive.measure(job)
    extractor = open_extractor("digits-cnn", path=None, device=jobs.CPU)
    drawn = samples.ensure(replace(job, work=tmp_path / "b"), 21).read(range(21))
    ours, train = (extractor(each) for each in (drawn, job.images("train").read(range(60))))
    moments = [Moments.empty(64).update(each.pool) for each in (ours, train)]
    distance, score = found.curves["FD(digits-cnn)"], found.curves["IS(digits-cnn)"]
    assert distance.y[-1] == pytest.approx(distance_between(*moments), rel=1e-6)
    p = np.exp(ours.logits.astype(float))
    p /= p.sum(1, keepdims=True)
    order = np.random.RandomState(2020).permutation(21)
    parts = [p[order[i * 21 // 10 : (i + 1) * 21 // 10]] for i in range(10)]
    each = [np.exp((q * np.log(q / q.mean(0))).sum(1).mean()) for q in parts]
    assert score.y[-1] == pytest.approx(np.mean(each), rel=1e-6)
    assert score.stderr is not None and score.stderr[-1] == pytest.approx(np.std(each), rel=1e-5)
    assert distance.x.tolist() == score.x.tolist() == found.curves["RMSE"].x.tolist()
    assert len(set(distance.y)) == 20  # every step has its own
    assert (distance.n, found.settings["reference_n"]) == (21, 60)
    assert len(list((cache / "features").iterdir())) == 1  # of the training images alone


def test_quality_goes_on_after_a_kill_and_is_shared(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path / "a", batch=6), n=12, extractor="digits-cnn")
    resumes(progressive.measure, job, stops=[50])
    shared(progressive.measure, replace(job, work=tmp_path / "b"))


def test_features_stay_until_the_slowest_process_has_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, columns = along.scan, itertools.count(1)

    def slow(found: Any, extractor: Any, world: Any) -> Any:
        if world.rank and next(columns) == 1:
            time.sleep(1)
        return scan(found, extractor, world)

    monkeypatch.setattr(along, "scan", slow)
    shared(progressive.measure, ask(jobs.job(tmp_path, batch=6), n=12, extractor="digits-cnn"))


def test_features_at_one_time_go_before_the_next_and_are_not_asked_for_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, banks = along.scan, []

    def fifth_time_fatal(found: Any, extractor: Any, world: Any) -> Any:
        banks.append(len(list((cache / "features").iterdir())))
        if len(banks) == 5:
            raise Stopped
        return scan(found, extractor, world)

    monkeypatch.setattr(along, "scan", fifth_time_fatal)
    job = ask(jobs.job(tmp_path / "a", batch=6), n=12, extractor="digits-cnn")
    with pytest.raises(Stopped):
        progressive.measure(job)
    found = progressive.measure(job)
    assert len(banks) == 5 + progressive.RECORDED - 4
    same(found, progressive.measure(replace(job, work=tmp_path / "b")))
    assert {*banks} == {2}  # the training images' and one more
    assert len(list((cache / "features").iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"extractor": "resnet"}, "resnet"),
        ({"extractor": "digits-cnn", "n": 9}, "9 images"),
        ({"extractor": "digits-cnn", "made": oracle.subject(oracle.Exact(oracle.process(4)))}, "8"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_samples_are_made(
    tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    job = jobs.job(tmp_path / "work", made=options.pop("made", None))
    with pytest.raises(FixableError, match=problem):
        progressive.measure(ask(job, **options))
    assert not (tmp_path / "work").exists()


def test_a_column_gives_the_images_that_are_asked_for(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (10, 3, 2, 2, 1), np.uint8)
    shards = open_shards(tmp_path, {}, n=10, size=4)
    for part in shards.parts():
        shards.write(part, {"frames": frames[part.start : part.stop]})
    columns = [Column(shards, i, "x") for i in range(3)]
    for i, column in enumerate(columns):
        np.testing.assert_array_equal(column.read([9, 0, 5, 5, 3]), frames[[9, 0, 5, 5, 3], i])
    assert len({column.digest for column in columns}) == 3


def test_neighbours_in_features_agree_with_brute_force(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path), n=5, k=3, extractor="digits-cnn", rows=5)
    found = neighbours.measure(job)
    assert set(found.grids) == {"pixels", "features"}
    assert {"verdict", "verdict (features)"} < set(found.settings)
    extractor = open_extractor("digits-cnn", path=None, device=jobs.CPU)
    drawn = samples.ensure(job, 5).read(range(5))
    train = job.images("train").read(range(60))
    ours, theirs = (extractor(each).pool.astype(float) for each in (drawn, train))
    grid = found.grids["features"]
    rows = grid.images.reshape(5, 4, 8, 8, 1)
    first = []
    for row, labels in zip(rows, np.array(grid.labels).reshape(5, 4), strict=True):
        i = int(labels[0])
        np.testing.assert_array_equal(row[0], drawn[i])
        apart = np.linalg.norm(theirs - ours[i], axis=1)
        np.testing.assert_array_equal(row[1:], train[apart.argsort()[:3]])
        assert labels[1:].tolist() == [f"{x:.2f}" for x in sorted(apart)[:3]]
        first.append(apart.min())
    median = found.quantities["median distance of samples (features)"]
    assert median.value == pytest.approx(np.median(first), rel=1e-6)
