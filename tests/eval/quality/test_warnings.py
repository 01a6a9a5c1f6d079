"""What a reader of a score is warned of, and what stops a comparison."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_eval.measure.quality import sanity
from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.record.protocol import SamplingFacts
from ddpm_train.data.images import Stack
from ddpm_train.errors import FixableError
from tests.eval.quality.comparisons import (
    TEST,
    TRAIN,
    Counting,
    blurred,
    compare,
    value,
)


def test_nan_features_stop_everything(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Counting(bad=True).install(monkeypatch)
    with pytest.raises(FixableError, match=r"images 0\.\.31 hold NaN"):
        compare(TEST, TRAIN, features)


def test_samples_that_are_the_reference_are_named(features: Path) -> None:
    result = compare(TRAIN, TRAIN, features, metrics=("FID",))
    assert value(result, "fid").value == pytest.approx(0, abs=1e-6)
    text = " ".join(result.warnings)
    assert "next to zero" in text
    assert "1,500 of 1,500 samples are exact copies of reference images" in text


def test_memorised_samples_are_flagged(features: Path) -> None:
    """Training images, one grey level off: nothing equals them to the last bit."""
    noise = np.random.default_rng(0).integers(-1, 2, TRAIN.pixels.shape)
    near = np.clip(TRAIN.pixels.astype(int) + noise, 0, 255).astype(np.uint8)
    result = compare(Stack("near", near), TRAIN, features, held_out=TEST)
    text = " ".join(result.warnings)
    assert "exact copies" not in text
    assert "even fresh images of the same kind would score" in text
    assert "three times nearer to one reference image" in text
    assert value(result, "authenticity").value < 20
    fresh = compare(TEST, TRAIN, features, held_out=Stack("b", blurred(TEST).pixels))
    text = " ".join(fresh.warnings)
    assert "three times nearer" not in text and "fresh images" not in text


def test_copies_among_samples_are_counted(features: Path) -> None:
    pixels = blurred(TEST).pixels.copy()
    pixels[:5] = pixels[5]
    text = " ".join(compare(Stack("s", pixels), TRAIN, features).warnings)
    assert "5 of 297 samples are exact copies of other samples" in text


def test_the_score_of_few_images_is_warned_of(features: Path) -> None:
    few = Stack("few", TRAIN.pixels[:30])
    text = " ".join(compare(few, TEST, features, metrics=("IS",)).warnings)
    assert "IS rises as n grows: its ten parts have 3 images each" in text
    many = compare(TRAIN, TEST, features, metrics=("IS",))
    assert "IS rises" not in " ".join(many.warnings)


PAPER = SamplingFacts(sampler="ancestral", steps=1000, T=1000, seed=0, n=50_000)


def facts(**changes: Any) -> sanity.Facts:
    fine: dict[str, Any] = {
        "n": 50_000,
        "dim": 2048,
        "name": "FID",
        "suffix": "",
        "split": "train",
        "samples_pixels": np.arange(50_000),
        "reference_pixels": np.arange(60_000, 61_000),
        "distance": 3.0,
        "bias": 0.7,
        "ratio": Estimate(value=1.2, n=10_000, error=Error(size=0.1)),
        "memorised": Estimate(value=0.01, n=50_000, error=Error(size=0.001)),
        "origin": Origin(weights="ema", step=800_000, ema_decay=0.9999, sampling=PAPER),
    }
    return sanity.Facts(**(fine | changes))


def test_the_paper_s_protocol_needs_no_warning() -> None:
    assert sanity.warnings(facts()) == ()


SCORE = Estimate(value=2.4, n=50_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"n": 5000, "samples_pixels": np.arange(5000), "bias": 7.1, "distance": 9},
            "would score about 7.1",
        ),
        ({"dim": 60_000}, "fewer images (50,000) than features (60,000)"),
        ({"suffix": "(x)", "name": "FD(x)"}, "x is not the published Inception"),
        ({"suffix": "[clean]", "name": "FID[clean]"}, "resizes images otherwise"),
        ({"distance": 1e-9}, "next to zero"),
        ({"distance": 0.3}, "only 0.3"),
        ({"split": "test"}, "test split"),
        ({"reference_pixels": np.arange(3)}, "3 of 50,000 samples are exact copies of reference"),
        ({"ratio": Estimate(value=0.2, n=9, error=Error(size=0.1))}, "of what held-out real"),
        ({"memorised": Estimate(value=0.2, n=9, error=Error(size=0.05))}, "20.0% of the samples"),
        ({"score": SCORE, "score_limit": 6.8}, "it would be about 6.8, not 2.4"),
        ({"lossy": 4}, "4 images are JPEG"),
        ({"origin": Origin(weights="raw")}, "raw weights"),
        ({"origin": Origin(weights="ema", step=6931, ema_decay=0.9999)}, "younger than"),
        ({"origin": Origin(sampling=replace(PAPER, steps=50))}, "50 of 1,000 steps"),
        ({"origin": Origin(precision="bf16")}, "bf16"),
        ({"origin": Origin(precision="tf32")}, "tf32"),
    ],
)
def test_each_departure_has_its_own_sentence(change: dict[str, Any], message: str) -> None:
    texts = sanity.warnings(facts(**change))
    assert len(texts) == 1
    assert message in texts[0]


def test_an_average_is_old_enough_after_its_half_life() -> None:
    assert math.isclose(sanity._half_life(0.9999), 6931.1, abs_tol=0.1)
    origin = Origin(weights="ema", ema_decay=0.9999, step=6932)
    assert sanity.warnings(facts(origin=origin)) == ()
