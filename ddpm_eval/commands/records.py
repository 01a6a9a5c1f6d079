"""Commands about records: ``training`` fills one from a log, ``report`` writes them up."""

from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.commands.options import Changes, Checkpoint, common
from ddpm_eval.commands.task import Task
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train.errors import FixableError
from ddpm_train.reading import expanded
from ddpm_train.terminal import escape, output, say

MEASURE_FIRST = "measure first: ddpm-eval nll"


def training(
    checkpoint: Checkpoint = None,
    changes: Changes = None,
) -> None:
    """Put the training curves of the checkpoint's run into the record."""
    settings, of_model = changed(EvalSettings(), changes or [], uses=())
    task = Task(
        measure="training",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        needs_float64=False,
    )
    with task.opened() as work:
        import ddpm_eval as de

        work.finish(de.training(work.model, runtime=work.runtime))


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Records, by their names or folders; all if left out."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One page, with the runs side by side.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Two runs: what differs, and is it chance?")
    ] = False,
) -> None:
    """Write tables, figures and a page from records alone, without the model.

    Each record's page lies in its own folder; that of several in reports/A-and-B or A-vs-B.
    """
    from ddpm_eval.record.disk import RECORD

    reports = common().reports
    every = sorted(path.parent for path in reports.glob(f"*/{RECORD}"))
    records = [_record(name, reports, every) for name in names or []] or every
    if not records:
        raise FixableError(f"no record in {reports}/", MEASURE_FIRST)
    if compare and together:
        raise FixableError("--compare and --together: two kinds of page", "give one of them")
    from ddpm_eval.door.reports import report as write

    if compare or together:
        pages = [write(records, _folder_of(records, reports, compare=compare), compare=compare)]
    else:
        pages = [write(folder, folder) for folder in records]
    for page in pages:
        say(f"wrote {escape(str(page))}", to=output)


def _record(name: str, reports: Path, every: list[Path]) -> Path:
    """Find the folder of the record that is meant: by its name, or else by its path."""
    from ddpm_eval.record import disk

    for folder in (reports / name, expanded(name)):
        if disk.exists(folder):
            return folder
    names = ", ".join(folder.name for folder in every)
    fix = f"{reports}/ has {names}" if every else MEASURE_FIRST
    raise FixableError(f"{name}: there is no record", fix)


def _folder_of(records: list[Path], reports: Path, *, compare: bool) -> Path:
    """Choose where a page of several records goes: never into a record's own folder."""
    from ddpm_eval.record import disk

    names = [folder.resolve().name for folder in records]
    if compare and len(records) != 2:
        raise FixableError(f"--compare: {len(records)} records", "name two: --compare A B")
    if len(set(names)) != len(names) or len(names) < 2:
        raise FixableError(
            f"{', '.join(names)}: not several records of different names", "name them: A B"
        )
    folder = reports / ("-vs-" if compare else "-and-").join(names)
    if disk.exists(folder):
        raise FixableError(f"{folder}: a record lies there", "rename that folder")
    return folder
