"""Apple's GPUs have no float64: what takes it is refused as it is started, the rest goes on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.config import QualityConfig
from ddpm_eval.measure.quality import quality
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests.eval import jobs
from tests.eval.test_quality import FD, TEST, TRAIN, Counting, blurred, compare

MPS = torch.device("mps")
NO_FLOAT64 = "device=mps: Apple's GPUs have no float64 for "


@pytest.fixture(autouse=True)
def apple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a machine, as far as it can be asked; what computes on it would fail here."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("x.pt").write_bytes(b"")


def said(command: str) -> str:
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    result = runner.invoke(app, [*command.split(), "x.pt", "--device", "mps"])
    assert result.exit_code == 2, result.output
    assert not Path("reports").exists()
    return result.output


@pytest.mark.parametrize(
    "command",
    [
        *("nll", "nll --budget 300", "nll --against x.pt", "rate-distortion", "baselines"),
        *("progressive", "reconstruct", "watch"),
    ],
)
def test_what_takes_float64_is_refused_before_the_checkpoint_is_opened(command: str) -> None:
    problem, fix = said(command).splitlines()
    assert NO_FLOAT64.replace("device=mps", "--device mps") in problem
    assert fix.strip() == "fix: use --device cpu"


@pytest.mark.parametrize("command", ["sample", "interpolate", "neighbours"])
def test_what_takes_none_goes_on_to_the_checkpoint(command: str) -> None:
    assert "x.pt" in said(command)
    assert "float64" not in said(command)


def test_precision_and_recall_are_refused_before_features_are_extracted(tmp_path: Path) -> None:
    extractor = Counting()
    with pytest.raises(FixableError, match=f"{NO_FLOAT64}precision and recall") as caught:
        compare(blurred(TEST), TRAIN, tmp_path, world=World(MPS), extractor=extractor)
    assert extractor.seen == 0
    _, others = caught.value.fix.split("--metrics ")
    metrics = tuple(others.split(","))
    found = compare(blurred(TEST), TRAIN, tmp_path, world=World(MPS), metrics=metrics)
    assert {"IS(digits-cnn)", FD, "KD(digits-cnn)"} == {*found.quantities}


def test_precision_and_recall_are_refused_before_samples_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "extractor_of", lambda *_: Counting())
    job = jobs.job(tmp_path / "work", world=World(MPS), quality=QualityConfig(metrics=("recall",)))
    with pytest.raises(FixableError, match=f"{NO_FLOAT64}recall") as caught:
        quality.measure(replace(job, config=replace(job.config, n=20)))
    assert caught.value.fix == "use --device cpu"
    assert not (tmp_path / "work").exists()
