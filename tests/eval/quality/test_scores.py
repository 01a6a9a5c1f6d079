"""Which scores a comparison gives, what they are called, and of how many images they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ddpm_eval as de
from ddpm_eval.features import (
    open_extractor,
)
from ddpm_eval.measure.quality.reference import Reference
from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_train.data.images import Stack
from ddpm_train.errors import FixableError
from tests.eval.quality.comparisons import CPU, FD, TEST, TRAIN, blurred, compare, value
from tests.eval.test_frechet import distance_between, of

ALL = {
    *("inception_score", "fid", "kid", "precision", "recall", "density", "coverage", "mind"),
    *("memorised_share", "authenticity", "vendi_score"),
}


def test_every_figure_has_its_name_and_its_n(features: Path) -> None:
    result = compare(blurred(TEST), TRAIN, features, held_out=TEST)
    assert result.measure == "quality"
    whose = {(score.metric, score.of.whose) for score in result.scores}
    assert whose == {
        *((metric, "samples") for metric in ALL),
        *(("fid", "held-out images"), ("relative_fd", "samples")),
    }
    assert {score.of.extractor for score in result.scores} == {"(digits-cnn)"}
    assert value(result, "fid").label == FD
    counts = {score.metric: score.n for score in result.scores}
    assert counts.pop("recall") == counts.pop("coverage") == 1500  # shares of these
    assert {*counts.values()} == {297}
    assert result.facts["label"] == f"{FD}-297 against digits train (1,500 images)"
    protocol = result.protocol
    assert protocol.reference is not None and protocol.extractor is not None
    assert protocol.reference.digest == TRAIN.digest
    assert (protocol.reference.dataset, protocol.reference.split) == ("digits", "train")
    assert protocol.extractor.name == "digits-cnn"
    extractor = open_extractor("digits-cnn", device=CPU)
    x, y = (of(extractor(item.pixels).pool) for item in (blurred(TEST), TRAIN))
    distance = value(result, "fid", whose="samples")
    assert distance.value == pytest.approx(distance_between(x, y), rel=1e-5)
    real = value(result, "fid", whose="held-out images")
    assert real.value < distance.value
    ratio = value(result, "relative_fd")
    assert ratio.value == pytest.approx(distance.value / real.value)
    pool = extractor(blurred(TEST).pixels).pool
    error = distance_stderr(Gaussian.of(x), Gaussian.of(y), [pool])
    assert distance.error is not None
    assert distance.error.size == pytest.approx(error, rel=1e-4)
    curve = result.curve("fid")
    assert curve is not None
    assert curve.x.tolist() == [74, 148, 297]
    assert curve.y[-1] == pytest.approx(distance.value, rel=1e-9)


def test_the_terms_of_the_distance_add_up_to_it(features: Path) -> None:
    result = compare(blurred(TEST), TRAIN, features, held_out=TEST)
    terms: Any = result.facts["terms"]
    for whose in ("samples", "held-out images"):
        four = terms[whose]
        total = four["mean"] + four["trace"] + four["reference_trace"] - four["cross"]
        assert total == pytest.approx(value(result, "fid", whose=whose).value, rel=1e-9)


def test_fewer_held_out_images_than_samples_are_compared_at_equal_n(features: Path) -> None:
    few = Stack("digits test", TEST.pixels[:100])
    result = compare(blurred(TEST), TRAIN, features, held_out=few, metrics=("fid",))
    ratio, whole = value(result, "relative_fd"), value(result, "fid", whose="samples")
    real = value(result, "fid", whose="held-out images")
    assert (ratio.n, real.n, whole.n) == (100, 100, 297)
    assert ratio.value > whole.value / real.value  # 100 samples score more than 297 do


def test_only_wanted_figures_are_taken(features: Path) -> None:
    result = compare(blurred(TEST), TRAIN, features, metrics=("fid", "Precision"))
    assert {score.metric for score in result.scores} == {"fid", "precision"}
    for metric, message in (
        ("LPIPS", "not a metric"),
        ("sFID", "no spatial"),
        ("FID-infinity", "it takes 10,000 images, and there are 297"),
        ("CMMD", "defined through clip-l14-336"),
    ):
        with pytest.raises(FixableError, match=message):
            compare(TEST, TRAIN, features, metrics=(metric,))


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_few_images_are_measured_by_what_can_be_said_of_them(features: Path, n: int) -> None:
    few = Stack("few", TEST.pixels[:n])
    if n == 1:
        with pytest.raises(FixableError, match="n=1: no metric works on so few images"):
            compare(few, TRAIN, features)
        with pytest.raises(FixableError, match="metrics=FID: it takes 2 images, and there are 1"):
            compare(few, TRAIN, features, metrics=("FID",))
        return
    result = compare(few, TRAIN, features)
    assert result.score("inception_score") is None
    for score in result.scores:
        assert score.error is None or score.error.size > 0


def test_some_of_a_folder_are_drawn_and_not_the_first(features: Path) -> None:
    """Of an ordered set the first are no sample."""
    order = np.argsort(TRAIN.pixels.reshape(1500, -1).sum(1))
    ordered = Stack("ordered", TRAIN.pixels[order])
    drawn = compare(ordered, TRAIN, features, n=150, metrics=("fid",))
    first = compare(ordered, TRAIN, features, n=150, metrics=("fid",), first=True)
    facts = drawn.protocol.images
    assert facts is not None and (facts.choice, facts.n, facts.seed) == ("drawn", 150, 0)
    assert value(first, "fid").value > 3 * value(drawn, "fid").value
    assert drawn.key != first.key


def test_statistics_of_a_file_stand_for_the_images(features: Path, tmp_path: Path) -> None:
    file = tmp_path / "statistics.npz"
    result = compare(blurred(TEST), TRAIN, features, save=str(file))
    again = compare(blurred(TEST), Reference(file=file), features)
    assert value(again, "fid") == value(result, "fid")
    assert again.protocol.reference == result.protocol.reference  # known by content
    assert again.score("kid") is None
    assert any("statistics only" in text for text in again.warnings)
    with pytest.raises(FixableError, match="metrics=KID: the reference has statistics only"):
        compare(blurred(TEST), Reference(file=file), features, metrics=("KID",))


def test_a_file_with_statistics_and_images_gives_both(features: Path, tmp_path: Path) -> None:
    """As ADM's reference batches: FID against all images, recall against those in the file."""
    pool = of(open_extractor("digits-cnn", device=CPU)(TRAIN.pixels).pool)
    file = tmp_path / "adm.npz"
    np.savez(file, mu=pool.mean, sigma=pool.covariance, arr_0=TEST.pixels)
    result = de.quality(blurred(TEST).pixels, file, extractor="digits-cnn")
    whole, part = (compare(blurred(TEST), item, features) for item in (TRAIN, TEST))
    assert value(result, "fid").value == pytest.approx(value(whole, "fid").value, rel=1e-6)
    for metric in ("kid", "recall", "density"):
        assert value(result, metric) == value(part, metric)
    assert any("does not say which network" in text for text in result.warnings)


def test_images_of_another_size_or_too_few_are_refused(features: Path) -> None:
    big = Stack("big", np.zeros((20, 16, 16, 1), np.uint8))
    with pytest.raises(FixableError, match="big train has images of 16x16, the samples are 8x8"):
        compare(TEST, big, features)
    with pytest.raises(FixableError, match="digits test has 297 images"):
        compare(TEST, TRAIN, features, n=298)
