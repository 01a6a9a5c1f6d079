"""The command line ``ddpm-eval``. torch is imported inside the commands: ``--help`` is instant."""

from typing import Annotated

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
from ddpm_train.terminal import Group, console, forgive_encodings, is_first_process

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Measure a trained diffusion model and write it up: [bold]ddpm-eval nll ckpt.pt[/].",
)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Hold the options of all commands."""


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
