"""The command line ``ddpm-eval``. torch is imported inside the commands: ``--help`` is instant."""

from pathlib import Path

import typer

from ddpm_eval.commands import (
    bench,
    bound,
    checkpoints,
    pictures,
    quality,
    records,
    samples,
    watching,
)
from ddpm_eval.commands.options import (
    Again,
    Common,
    Debug,
    Everywhere,
    Record,
    Records,
    Silence,
    Threads,
    Weights,
    in_options,
    set_common,
)
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory
from ddpm_train.terminal import Group, console, forgive_encodings, is_first_process


class Commands(Group):
    """The commands; errors name options, where the functions behind them name settings."""

    def explain(self, error: FixableError) -> tuple[str, str]:
        """Say what is wrong and the fix, in the words of the command line."""
        return in_options(error.problem), in_options(error.fix)


RECORD_NOTHING = ("report", "store", "fetch", "import", "inspect", "export", "bench", "settings")
"""Commands that add nothing to a record."""

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Measure a trained diffusion model and write it up: [bold]ddpm-eval nll ckpt.pt[/].",
)


@app.callback()
def root(
    context: typer.Context,
    weights: Weights = "",
    device: Everywhere = "auto",
    threads: Threads = 0,
    reports: Records = Path("reports"),
    name: Record = "",
    replace: Again = False,
    quiet: Silence = False,
    debug: Debug = False,
) -> None:
    """Hold the options of every command, and set this process up for them."""
    if context.invoked_subcommand in RECORD_NOTHING and (name or replace):
        option = "--name" if name else "--replace"
        raise FixableError(
            f"{option}: of no effect on {context.invoked_subcommand}", "leave it out"
        )
    set_common(
        Common(
            weights=weights,
            device=device,
            threads=threads,
            reports=reports,
            name=name,
            replace=replace,
            quiet=quiet,
        )
    )
    memory.keep_freed()


app.command("nll")(bound.nll)
app.command("rate-distortion")(bound.rate_distortion)
app.command("baselines")(bound.baselines)
app.command("sample")(samples.sample)
app.add_typer(samples.app, name="store")
app.command("fid")(quality.fid)
app.command("fetch")(quality.fetch)
app.command("progressive")(pictures.progressive)
app.command("reconstruct")(pictures.reconstruct)
app.command("interpolate")(pictures.interpolate)
app.command("neighbours")(pictures.neighbours)
app.command("watch")(watching.watch)
app.command("training")(records.training)
app.command("report")(records.report)
app.command("import")(checkpoints.import_)
app.command("inspect")(checkpoints.inspect)
app.command("export")(checkpoints.export)
app.command("bench")(bench.bench)


def main() -> None:
    """Run ``ddpm-eval``."""
    forgive_encodings()
    try:
        app()
    except KeyboardInterrupt:
        if is_first_process():
            console.print("stopped; rerun the same command to go on")
        raise SystemExit(130) from None
