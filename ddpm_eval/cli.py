"""The command line ``ddpm-eval``. torch is imported inside the commands: ``--help`` is instant."""

from pathlib import Path

import typer

from ddpm_eval.commands import (
    archives,
    bench,
    bound,
    checkpoints,
    codec,
    guiding,
    listing,
    pictures,
    quality,
    records,
    samples,
    watching,
)
from ddpm_eval.commands.checks import check_weights
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
from ddpm_train.config import check_device
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory
from ddpm_train.reading import expanded
from ddpm_train.terminal import Group, console, forgive_encodings, is_first_process


class Commands(Group):
    """The commands; errors name options, where the functions behind them name settings."""

    def explain(self, error: FixableError) -> tuple[str, str]:
        """Say what is wrong and the fix, in the words of the command line."""
        return in_options(error.problem), in_options(error.fix)


RECORD_NOTHING = ("report", "store", "fetch", "import", "inspect", "export", "bench", "settings")
"""Commands that add nothing to a record."""
EVERYWHERE = (
    "Options of every command, anywhere on the line: --weights, --device, --threads, --reports, "
    "--name, --replace, --quiet, --debug. See ddpm-eval --help."
)

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
    check_device(device)
    check_weights(weights)
    set_common(
        Common(
            weights=weights,
            device=device,
            threads=threads,
            reports=expanded(reports),
            name=name,
            replace=replace,
            quiet=quiet,
            own=_options(context),
        )
    )
    memory.keep_freed()


def _options(context: typer.Context) -> frozenset[str]:
    """The options that the command has itself; none of a group of commands."""
    commands = getattr(context.command, "commands", {})
    params = getattr(commands.get(context.invoked_subcommand), "params", ())
    return frozenset(option for param in params for option in param.opts)


app.command("nll", epilog=EVERYWHERE)(bound.nll)
app.command("rate-distortion", epilog=EVERYWHERE)(bound.rate_distortion)
app.command("baselines", epilog=EVERYWHERE)(bound.baselines)
app.command("sample", epilog=EVERYWHERE)(samples.sample)
app.add_typer(samples.app, name="store")
app.command("fid", epilog=EVERYWHERE)(quality.fid)
app.command("guidance", epilog=EVERYWHERE)(guiding.guidance)
app.command("fetch", epilog=EVERYWHERE)(quality.fetch)
app.command("progressive", epilog=EVERYWHERE)(pictures.progressive)
app.command("reconstruct", epilog=EVERYWHERE)(pictures.reconstruct)
app.command("interpolate", epilog=EVERYWHERE)(pictures.interpolate)
app.command("neighbours", epilog=EVERYWHERE)(pictures.neighbours)
app.command("watch", epilog=EVERYWHERE)(watching.watch)
app.command("calibrate", epilog=EVERYWHERE)(codec.calibrate)
app.command("compress", epilog=EVERYWHERE)(codec.compress)
app.command("decompress", epilog=EVERYWHERE)(codec.decompress)
app.command("archive", epilog=EVERYWHERE)(archives.archive)
app.command("training", epilog=EVERYWHERE)(records.training)
app.command("report", epilog=EVERYWHERE)(records.report)
app.command("import", epilog=EVERYWHERE)(checkpoints.import_)
app.command("inspect", epilog=EVERYWHERE)(checkpoints.inspect)
app.command("export", epilog=EVERYWHERE)(checkpoints.export)
app.command("settings", epilog=EVERYWHERE)(listing.settings)
app.command("bench", epilog=EVERYWHERE)(bench.bench)


def main() -> None:
    """Run ``ddpm-eval``."""
    forgive_encodings()
    try:
        app()
    except KeyboardInterrupt:
        if is_first_process():
            console.print("stopped; rerun the same command to go on")
        raise SystemExit(130) from None
