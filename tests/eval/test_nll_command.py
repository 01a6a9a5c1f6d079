"""``ddpm-eval nll`` and ``rate-distortion``: what they offer, and what they refuse."""

import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app

runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.mark.parametrize("command", ["nll", "rate-distortion"])
def test_two_goals_are_refused_before_anything_is_opened(command: str) -> None:
    result = runner.invoke(app, [command, "x.pt", "--target-stderr", "0.1", "--budget", "300"])
    assert result.exit_code == 2
    assert "two goals" in result.output
    assert "give one of them" in result.output


@pytest.mark.parametrize("option", ["--target-stderr", "--budget", "--calibrate"])
def test_negative_amounts_are_refused(option: str) -> None:
    assert runner.invoke(app, ["nll", "x.pt", option, "-1"]).exit_code == 2


def test_the_help_names_what_takes_minutes() -> None:
    text = runner.invoke(app, ["nll", "--help"]).output
    for option in ("--target-stderr", "--budget", "--against", "--calibrate", "--drop-remainder"):
        assert option in text
