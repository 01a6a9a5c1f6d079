"""Commands about records: ``training`` fills one from a log, ``report`` writes them up."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ddpm_eval.commands.options import (
    Checkpoint,
    Name,
    Quiet,
    Reports,
)
from ddpm_eval.commands.running import Place, run
from ddpm_eval.config import EvalConfig
from ddpm_train.errors import FixableError
from ddpm_train.terminal import output, say


def training(
    checkpoint: Checkpoint = None,
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Put the training curves of the checkpoint's run into the record."""
    run("training", EvalConfig(), Place(checkpoint, name, reports, device="cpu", quiet=quiet))


def report(
    names: Annotated[list[str] | None, typer.Argument(help="Records; all if left out.")] = None,
    reports: Reports = Path("reports"),
) -> None:
    """Write tables, figures and a page from records alone, without the model."""
    from ddpm_eval import present, results

    found = [reports / name for name in names or []] or sorted(
        path.parent for path in reports.glob("*/results.json")
    )
    if not found:
        raise FixableError(f"no record in {reports}/", "measure first: ddpm-eval nll")
    for folder in found:
        present.render([results.load(folder)], folder)
        say(f"wrote {escape(str(folder / 'report.html'))}", to=output)
