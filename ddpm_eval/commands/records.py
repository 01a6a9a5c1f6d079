"""Commands about records: ``training`` fills one from a log, ``report`` writes them up."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.commands.options import Changes, Checkpoint, Name, Replace, common
from ddpm_eval.commands.task import Task
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train.errors import FixableError
from ddpm_train.terminal import escape, output, say

MEASURE_FIRST = "measure first: ddpm-eval nll"


def training(
    checkpoint: Checkpoint = None,
    changes: Changes = None,
    name: Name = None,
    again: Replace = False,
) -> None:
    """Put the training curves of the checkpoint's run into the record."""
    settings, of_model = changed(EvalSettings(), changes or [])
    task = Task(
        measure="training",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        name=name,
        replace=again,
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
    from ddpm_eval import present
    from ddpm_eval.record import disk as results

    reports = common().reports
    there = sorted(path.parent for path in reports.glob(f"*/{results.RECORD}"))
    found = [_record(name, reports, there) for name in names or []] or there
    if not found:
        raise FixableError(f"no record in {reports}/", MEASURE_FIRST)
    if compare and together:
        raise FixableError("--compare and --together: two kinds of page", "give one of them")
    if compare or together:
        folder = _folder_of(found, reports, compare=compare)
        loaded = [replace(results.load(each), name=each.resolve().name) for each in found]
        _say(present.render(loaded, folder, compare=compare))
        return
    for folder in found:
        _say(present.render([results.load(folder)], folder))


def _record(name: str, reports: Path, there: list[Path]) -> Path:
    """The folder of the record that is meant: by its name, or else by its path."""
    from ddpm_eval.record.disk import RECORD

    for folder in (reports / name, Path(name)):
        if (folder / RECORD).is_file():
            return folder
    known = ", ".join(each.name for each in there)
    fix = f"{reports}/ has {known}" if there else MEASURE_FIRST
    raise FixableError(f"{name}: there is no record", fix)


def _folder_of(found: list[Path], reports: Path, *, compare: bool) -> Path:
    """Where a page of several records goes: never into a record's own folder."""
    from ddpm_eval.record.disk import RECORD

    names = [folder.resolve().name for folder in found]
    if compare and len(found) != 2:
        raise FixableError(f"--compare: {len(found)} records", "name two: --compare A B")
    if len(set(names)) != len(names) or len(names) < 2:
        raise FixableError(
            f"{', '.join(names)}: not several records of different names", "name them: A B"
        )
    folder = reports / ("-vs-" if compare else "-and-").join(names)
    if (folder / RECORD).exists():
        raise FixableError(f"{folder}: a record lies there", "rename that folder")
    return folder


def _say(written: list[Path]) -> None:
    say(f"wrote {escape(str(written[0]))}", to=output)
