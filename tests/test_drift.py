"""No number moves unless somebody says so: training, bound and quality against a committed file.

A number that moves on purpose is written into drift.json anew, into CHANGELOG.md under Numbers, and
into the measure's version.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app as evaluate
from ddpm_eval.record import disk
from ddpm_eval.record.record import Measurement, Record
from ddpm_train.cli import app as train
from ddpm_train.log import read_log

DRIFT = json.loads(Path(__file__).with_name("drift.json").read_text(encoding="utf-8"))
EXACT = 1e-6  # relative
SAMPLED = 1e-3  # a sample's pixel may round the other way on another processor
SETTINGS = (
    *("optim.steps=30", "optim.warmup_steps=5", "schedule.T=20", "schedule.beta_start=0.005"),
    *("schedule.beta_end=0.5", "compute.precision=float64", "log.every=10", "log.sample_every=0"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty steps of training in float64, measured."""
    folder = tmp_path_factory.mktemp("drift")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DDPM_CACHE", str(folder / "cache"))
    lines = [
        (train, ["digits", "--out", "run", *(w for s in SETTINGS for w in ("--set", s))]),
        (evaluate, ["nll", "run"]),
        (evaluate, ["rate-distortion", "run"]),
        (evaluate, ["fid", "run", "-n", "256", "--extractor", "digits-cnn"]),
    ]
    for app, words in lines:
        outcome = CliRunner().invoke(app, [*words, "--quiet"])
        assert outcome.exit_code == 0, outcome.output
    monkeypatch.undo()
    return folder


@pytest.fixture(scope="module")
def record(folder: Path) -> Record:
    return disk.load(folder / "reports" / "run")


def strongest(record: Record, measure: str) -> Measurement:
    measurement = record.strongest(measure)
    assert measurement is not None
    return measurement


def value(measurement: Measurement, metric: str, **of: str) -> float:
    score = measurement.score(metric, **of)
    assert score is not None, (metric, of)
    return score.value


def test_the_loss(folder: Path) -> None:
    logged = {str(line["step"]): line["loss"] for line in read_log(folder / "run/log.jsonl")}
    assert logged == pytest.approx(DRIFT["loss"], rel=EXACT)


def test_the_bound(record: Record) -> None:
    bound = strongest(record, "bound")
    values = {
        part: value(bound, "bits_per_dim", part=part, variance="")
        for part in ("total", "prior", "steps", "decoder")
    }
    values["total, fixedsmall"] = value(bound, "bits_per_dim", part="total", variance="fixedsmall")
    values["mismatch, fixedlarge"] = value(bound, "variance_mismatch", variance="fixedlarge")
    assert values == pytest.approx(DRIFT["bound"], rel=EXACT)
    for part, size in DRIFT["bound errors"].items():
        score = bound.score("bits_per_dim", part=part, variance="")
        assert score is not None and score.error is not None
        assert score.error.size == pytest.approx(size, rel=EXACT)


def test_rate_and_distortion(record: Record) -> None:
    measured = strongest(record, "rate_distortion")
    values = {"rmse": value(measured, "rmse"), "rate": value(measured, "rate", variance="")}
    assert values == pytest.approx(DRIFT["rate_distortion"], rel=EXACT)


def test_quality(record: Record) -> None:
    measured = strongest(record, "quality")
    values = {
        metric: value(measured, metric, whose="samples")
        for metric in ("fid", "inception_score", "kid", "precision", "recall")
    }
    assert values == pytest.approx(
        {name: DRIFT["quality"][name] for name in values}, rel=SAMPLED, abs=1e-9
    )
    held_out = value(measured, "fid", whose="held-out images")
    assert held_out == pytest.approx(DRIFT["quality"]["fid, held-out images"], rel=EXACT)
