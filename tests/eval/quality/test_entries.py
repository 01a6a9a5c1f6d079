"""A metric is one entry of its registry, and so is an extractor."""

from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.measure.quality.reference import Reference
from ddpm_eval.metrics import registry
from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.registry import Metric
from ddpm_train.errors import FixableError
from tests.eval.quality.comparisons import (
    TEST,
    TRAIN,
    blurred,
    compare,
    compare_all,
    install_toy,
    value,
)


def test_a_metric_is_one_entry(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Metric(
        title="Mean step",
        better="lower",
        needs=frozenset({"moments"}),
        compute=lambda evidence: Estimate(
            value=float(np.linalg.norm(evidence.samples.pool.mean - evidence.reference.pool.mean)),
            n=evidence.n,
            error=Error(size=0.5, over="samples"),
        ),
    )
    monkeypatch.setitem(registry._METRICS, "toy", toy)
    result = compare(blurred(TEST), TRAIN, features)
    score = value(result, "toy")
    assert score.label == "Mean step(digits-cnn)" and score.value > 0
    only = compare(blurred(TEST), TRAIN, features, metrics=("mean step",))
    assert [score.metric for score in only.scores] == ["toy"]
    assert "Mean step(digits-cnn)" in str(only)


def test_an_extractor_without_logits_is_one_entry(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(monkeypatch)
    measurements = compare_all(
        blurred(TEST), TRAIN, features, held_out=TEST, extractors=("digits-cnn", "toy")
    )
    digits_, toy, mean = measurements  # side by side, and the mean of their ratios
    assert len({item.key for item in measurements}) == 3
    assert toy.score("inception_score") is None
    assert value(toy, "fid", whose="samples").label == "FD(toy)"
    assert toy.protocol.extractor is not None and toy.protocol.extractor.name == "toy"
    ratios = [value(item, "relative_fd") for item in (digits_, toy)]
    score = value(mean, "relative_fd")
    assert score.value == pytest.approx(np.mean([ratio.value for ratio in ratios]))
    assert score.label == "FDr(mean of 2)"
    with pytest.raises(FixableError, match="metrics=IS: toy gives no logits"):
        compare(TEST, TRAIN, features, extractors=("toy",), metrics=("IS",))


def test_ways_of_resizing_stand_side_by_side(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(monkeypatch)
    pair = compare_all(
        blurred(TEST), TRAIN, features, extractors=("toy",), protocols=("tf1", "antialias")
    )
    labels = [value(item, "fid").label for item in pair]
    assert labels == ["FD(toy)", "FD(toy)[antialias]"]
    assert pair[0].key != pair[1].key
    assert value(pair[0], "fid").value != value(pair[1], "fid").value
    with pytest.raises(FixableError, match="protocols=clean: not a way of resizing for toy"):
        compare(TEST, TRAIN, features, extractors=("toy",), protocols=("clean",))
    with pytest.raises(FixableError, match="2 extractors or protocols, one file"):
        compare_all(
            TEST, TRAIN, features, extractors=("toy",), protocols=("tf1", "antialias"), save="a"
        )


def test_statistics_of_another_resizing_are_refused(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(monkeypatch)
    file = tmp_path / "s.npz"
    compare(TEST, TRAIN, features, extractors=("toy",), save=str(file))
    with pytest.raises(FixableError, match="prepared otherwise"):
        compare(TEST, Reference(file=file), features, extractors=("toy",), protocols=("antialias",))
