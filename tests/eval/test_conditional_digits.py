"""What classes are worth, on digits: fewer bits, and samples that a classifier recognises."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import ddpm_eval as de
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_train.cli import app

pytestmark = pytest.mark.slow
STEPS = 500


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of digits with classes and without, of the same steps, and a noisy classifier."""
    folder = tmp_path_factory.mktemp("digits")
    short = ["--set", f"optim.steps={STEPS}", "--set", "log.sample_every=0", "--quiet"]
    lines = [
        ["digits-conditional", "--out", str(folder / "digits-conditional"), *short],
        ["digits", "--out", str(folder / "digits"), *short],
        ["classifier", "--out", str(folder / "classifier.pt"), "--quiet"],
    ]
    for line in lines:
        outcome = CliRunner().invoke(app, line)
        assert outcome.exit_code == 0, outcome.output
    return folder


def test_the_class_saves_bits(trained: Path) -> None:
    """The same steps, test images and noise: the difference is beyond twice its error."""
    model, other = de.load(trained / "digits-conditional"), de.load(trained / "digits")
    images = de.images("digits", split="test", labels=True)
    difference = de.bits_per_dim(model, images, against=other, budget=6000).scores[2]
    assert difference.error is not None
    assert difference.value < -2 * difference.error.size


def test_guidance_makes_digits_more_recognisable_with_the_scale(trained: Path) -> None:
    model, train = de.load(trained / "digits"), de.images("digits", split="train")
    shares = []
    for scale in (0.0, 1.0, 3.0, 10.0):
        guided = de.guide(model, trained / "classifier.pt", scale=scale)
        result = de.quality(
            guided,
            train,
            n=128,
            extractor="digits-cnn",
            metrics=["recognised_share"],
            sampling=SamplingSettings(steps=50),
        )
        shares.append(result.scores[0].value)
    assert shares == sorted(set(shares)) and shares[-1] > 2 * shares[0]
