"""Apple's GPUs have no float64: what takes it is refused as it is started, the rest goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import ddpm_eval as de
from ddpm_eval.cli import app
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests.eval import jobs
from tests.eval.pieces import counting as counting_model
from tests.eval.quality.comparisons import TEST, TRAIN, Counting, blurred, compare, pictures

MPS = torch.device("mps")
NO_FLOAT64 = "device=mps: Apple's GPUs have no float64 for "


@pytest.fixture(autouse=True)
def apple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a machine, as far as it can be asked; what computes on it would fail here."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("x.pt").write_bytes(b"")
    Path("run").mkdir()
    Path("run/config.json").write_text("{}")


def message(command: str) -> str:
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    what = "run" if command == "watch" else "x.pt"
    result = runner.invoke(app, [*command.split(), what, "--device", "mps"])
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
    problem, fix = message(command).splitlines()
    assert NO_FLOAT64.replace("device=mps", "--device mps") in problem
    assert fix.strip() == "fix: use --device cpu"


@pytest.mark.parametrize("command", ["sample", "interpolate", "neighbours"])
def test_what_takes_none_goes_on_to_the_checkpoint(command: str) -> None:
    assert "x.pt" in message(command)
    assert "float64" not in message(command)


EXACT = "Precision and Recall and Density and Coverage and Memorised share and AuthPct"


def test_distances_in_float64_are_refused_before_features_are_extracted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(changes={"device": torch.device("cpu")}).install(monkeypatch)
    with pytest.raises(FixableError, match=f"{NO_FLOAT64}{EXACT}") as caught:
        compare(blurred(TEST), TRAIN, tmp_path, world=World(MPS))
    assert counting.seen == 0
    _, others = caught.value.fix.split("metrics=")
    metrics = tuple(others.split(","))
    result = compare(blurred(TEST), TRAIN, tmp_path, world=World(MPS), metrics=metrics)
    assert {"inception_score", "fid", "kid"} <= {score.metric for score in result.scores}


def test_distances_in_float64_are_refused_before_samples_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Counting(changes={"device": torch.device("cpu")}).install(monkeypatch)
    calls: list[int] = []
    model = replace(counting_model(jobs.subject(), calls), device=MPS)
    options: Any = {"extractor": "digits-cnn", "metrics": ["recall"]}
    with pytest.raises(FixableError, match=f"{NO_FLOAT64}Recall") as caught:
        de.quality(model, pictures("train"), n=20, **options)
    assert caught.value.fix == "use device=cpu"
    assert not calls
