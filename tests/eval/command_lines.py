"""Command lines of ``ddpm-eval`` for tests, and the record that they write."""

from pathlib import Path

from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.record import disk
from ddpm_eval.record.record import Record

runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})


def run(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


def record(folder: Path) -> Record:
    return disk.load(folder / "tiny")
