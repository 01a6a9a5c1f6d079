"""The command line ``ddpm-train``. torch is imported inside the commands: ``--help`` is instant."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ddpm_train import settings
from ddpm_train.classifier_run import digits_classifier, refuse_unused
from ddpm_train.config import RunConfig, check_device
from ddpm_train.display import Display
from ddpm_train.errors import FixableError
from ddpm_train.files import require_folder
from ddpm_train.meter import Meter, download_meter
from ddpm_train.presets import PRESETS
from ddpm_train.reading import existing, read_json, reading
from ddpm_train.terminal import (
    Group,
    Stop,
    console,
    escape,
    forgive_encodings,
    output,
    say,
)

if TYPE_CHECKING:
    from ddpm_train.events import Event
    from ddpm_train.session import Session

LOOKED_AT = 50_000
"""So many pictures are decoded before a run begins; of more, evenly spaced ones."""


class Commands(Group):
    """The commands; errors name options, where the functions behind them name settings."""

    def explain(self, error: FixableError) -> tuple[str, str]:
        """Say what is wrong and the fix, in the words of the command line."""
        problem, fix = (
            re.sub(r"(?<![.\w])device=", "--device ", text) for text in (error.problem, error.fix)
        )
        return problem, fix


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train denoising diffusion models: [bold]ddpm-train cifar10[/].",
)

Data = Annotated[
    Path | None,
    typer.Option("--data", "--archive", help="Where the images lie: archive, folder, zip, npz."),
]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder; runs/PRESET.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: --set optim.lr=1e-4.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Events as lines of JSON on standard output.")]
Accept = Annotated[
    bool, typer.Option("--accept-changes", help="Go on though settings, data or program changed.")
]


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Hold the options of all commands."""


def _command(preset: str, make: Callable[[], RunConfig]) -> None:
    """Add the command that trains a preset."""

    def train(
        data: Data = None,
        out: Out = None,
        changes: Changes = None,
        device: Device = "auto",
        quiet: Quiet = False,
        json_lines: Json = False,
        accept_changes: Accept = False,
    ) -> None:
        config = make()
        if data is not None:
            source = "npz" if data.suffix.lower() == ".npz" else config.data.source
            config = replace(config, data=replace(config.data, path=str(data), source=source))
        config = replace(config, compute=replace(config.compute, device=device))
        config = settings.override(config, changes or [])
        check_device(config.compute.device)
        show = Display(config, quiet=quiet, json_lines=json_lines)
        _train(config, out or Path("runs") / preset, show, accept_changes=accept_changes)

    summary = (make.__doc__ or "").split("\n")[0]
    app.command(preset, help=f"{summary} Rerun the same command to resume.")(train)


for _preset, _make in PRESETS.items():
    _command(_preset, _make)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    changes: Changes = None,
    quiet: Quiet = False,
    json_lines: Json = False,
    accept_changes: Accept = False,
) -> None:
    """Go on with a run from its newest checkpoint that verifies."""
    path = run / "config.json"
    with reading(path):
        is_run = path.is_file()
    if not is_run:
        raise FixableError(f"{run}: not a run (no config.json)", "name a folder like runs/cifar10")
    plain = read_json(path, fix="rerun the command that began the run, with the same --out")
    config = settings.override(settings.from_dict(RunConfig, plain), changes or [])
    show = Display(config, quiet=quiet, json_lines=json_lines)
    _train(config, run, show, accept_changes=accept_changes)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="One preset: lists every setting.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every setting of every preset.")] = False,
) -> None:
    """List the presets, or every setting of them."""
    if name is not None and name not in PRESETS:
        raise FixableError(f"there is no preset {name}", f"choose one of {', '.join(PRESETS)}")
    names = [name] if name else list(PRESETS)
    if not (name or every):
        table = Table("preset", "what", box=None, header_style="bold")
        for n in names:
            table.add_row(n, Text((PRESETS[n].__doc__ or "").split("\n")[0]))
    else:
        table = Table("setting", *names, box=None, header_style="bold")
        columns = [settings.flatten(settings.to_dict(PRESETS[n]())) for n in names]
        for key in columns[0]:
            table.add_row(key, *(Text(str(column[key])) for column in columns))
    output.print(table)


@app.command()
def classifier(
    data: Data = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path(
        "runs/classifier/classifier.pt"
    ),
    changes: Changes = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json_lines: Json = False,
    accept_changes: Accept = False,
) -> None:
    """Train a classifier of noisy images, to guide samples. Rerun the same command to resume.

    Of digits, unless --set says else. OUT.pt has the averaged weights; the folder OUT the run.
    """
    if os.path.lexists(out):
        raise FixableError(f"{out}: exists already", "name a new file: --out")
    require_folder(out.parent)
    if out.suffix != ".pt":
        raise FixableError(f"{out}: does not end in .pt", "name a file: --out NAME.pt")
    run = digits_classifier()
    if data is not None:
        source: Any = "npz" if data.suffix.lower() == ".npz" else "folder"
        run = replace(run, data=replace(run.data, path=str(data), source=source))
    refuse_unused(changes or [])
    run = replace(run, compute=replace(run.compute, device=device))
    run = settings.override(run, changes or [])
    check_device(run.compute.device)
    show = Display(run, quiet=quiet, json_lines=json_lines)
    trainer = _train(run, out.with_suffix(""), show, accept_changes=accept_changes)
    from ddpm_train import classifying
    from ddpm_train.formats import classifiers

    file = trainer.file()
    classifiers.save(out, file)
    if not show.silent:
        say(f"saved {escape(str(out))}", to=output)
        for t, share in classifying.accuracy(file, trainer.images, run.seed).items():
            say(f"names {share:.1%} of {escape(trainer.images.name)} at t = {t}", to=output)


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A checkpoint of ddpm-train.")],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    half: Annotated[
        bool, typer.Option("--half", help="Round them to 16 bits (float16): half the size again.")
    ] = False,
) -> None:
    """Write the averaged (EMA) weights alone: a quarter of the size, all that evaluation needs."""
    if os.path.lexists(target):
        raise FixableError(f"{target}: exists already", "name a new file")
    existing(str(source), "a checkpoint")  # before torch is imported, which takes seconds
    from ddpm_train import checkpoint

    full = checkpoint.load(source)
    if not full.ema:
        raise FixableError(f"{source}: holds no averaged weights", "export a training checkpoint")
    ema = {name: value.half() for name, value in full.ema.items()} if half else full.ema
    checkpoint.save(target, replace(full, weights={}, optimizer={}, ema=ema))
    rounded = ", rounded to 16 bits" if half else ""
    say(f"wrote {escape(str(target))} (step {full.step:,}, EMA weights{rounded})", to=output)


def _train(config: Any, folder: Path, show: Display, *, accept_changes: bool) -> Any:
    """Train in a folder until done or told to stop; give what was trained."""
    if config.data.path:
        existing(config.data.path, "the images")  # before torch is imported, which takes seconds
    from ddpm_train import classifying, data, events, loop, runs, session, world
    from ddpm_train.fast import memory

    memory.keep_freed()
    with Stop().listening() as stop:
        member = world.join(config.compute.device, threads=config.compute.threads)
        with session.lock(folder, member):
            unet = config.net
            with download_meter(quiet=show.silent) as track:
                images = data.load(
                    config.data, image_size=unet.image_size, channels=unet.channels, track=track
                )
            old, source, warnings = runs.newest(folder)
            if old is None:
                member.once(lambda: _look_through(images, stop, quiet=show.silent))
            else:
                facts = loop.facts(images)
                warnings += session.check_same(config, facts, old, accept_changes=accept_changes)
            for warning in [*data.notes(images), *warnings]:
                show(events.Warned(warning))
            kind: Any = loop.Trainer if isinstance(config, RunConfig) else classifying.Training
            trainer = kind(config, images, member, resume=old)
            begun = None if old is None else session.Begun(source, old.step, old.facts)
            _follow(session.Session(trainer, folder, stop, begun), show)
        world.leave()
    if stop():
        raise typer.Exit(stop.status)
    return trainer


def _follow(session: "Session", show: Display) -> None:
    """Run a session, with everyone who wants to know."""
    from ddpm_train import tracking
    from ddpm_train.events import Resumed

    trainer, begun = session.trainer, session.begun
    if begun is not None:
        show(Resumed(begun.step, begun.path))
    followers: list[Callable[[Event], None]] = [show]
    if trainer.config.log.tensorboard and trainer.world.rank == 0:
        followers.append(tracking.tensorboard(session.folder / "tensorboard", step=trainer.step))
    with show, contextlib.closing(trainer):
        for event in session.run():
            for follow in followers:
                follow(event)


def _look_through(images: Any, stop: Stop, *, quiet: bool) -> None:
    """Decode pictures before training, lest a broken one ends it after hours."""
    from ddpm_train.data import Pictures, without_labels

    pictures = without_labels(images)
    if isinstance(pictures, Pictures):
        with Meter("look at pictures", min(len(pictures), LOOKED_AT), quiet=quiet) as meter:
            for done in pictures.check(LOOKED_AT):
                meter.move(done)
                if stop():
                    break


def main() -> None:
    """Run ``ddpm-train``."""
    forgive_encodings()
    try:
        app()
    except KeyboardInterrupt:
        console.print("aborted; the last checkpoint is safe")
        raise SystemExit(130) from None
