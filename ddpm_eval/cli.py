"""The command line ``ddpm-eval``. torch is imported inside the commands: ``--help`` is instant."""

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ddpm_eval.config import EvalConfig
from ddpm_train.errors import FixableError
from ddpm_train.terminal import Group, console, is_first_process, output, say, tracker

if TYPE_CHECKING:
    from ddpm_eval.results import Measurement

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Measure a trained diffusion model and write it up: [bold]ddpm-eval nll ckpt.pt[/].",
)

Checkpoint = Annotated[
    Path | None,
    typer.Argument(help="A checkpoint or a run's folder; the newest run in runs/ if left out."),
]
Name = Annotated[str | None, typer.Option("--name", help="The record, reports/NAME; the run's.")]
Reports = Annotated[Path, typer.Option("--reports", help="The folder of all records.")]
Data = Annotated[
    Path | None, typer.Option("--data", "--archive", help="Where the images lie, if moved.")
]
Split = Annotated[str, typer.Option("--split", help="test or train.")]
Count = Annotated[int, typer.Option("-n", "--n", min=0, help="Images; 0: all, or 64 samples.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The seed of all noise.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images at once; changes no result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Raw = Annotated[bool, typer.Option("--raw", help="The weights as trained, not their average.")]
NoClip = Annotated[bool, typer.Option("--no-clip", help="Do not keep x_0_hat inside [-1, 1].")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Hold the options of all commands."""


@app.command()
def nll(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Count = 0,
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    data: Data = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Bits/dim: the full variational bound, every term of every image."""
    config = EvalConfig(split=_split(split), n=n, seed=seed, batch=batch, clip=not no_clip)
    place = _Place(checkpoint, name, reports, data=data, device=device, raw=raw, quiet=quiet)
    _measure("nll", config, place)


@app.command()
def baselines(
    checkpoint: Checkpoint = None,
    n: Count = 0,
    seed: Seed = 0,
    batch: Batch = 64,
    data: Data = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Bits/dim of an untrained network and of independent-pixel histograms."""
    config = EvalConfig(n=n, seed=seed, batch=batch)
    place = _Place(checkpoint, name, reports, data=data, device=device, quiet=quiet)
    _measure("baselines", config, place)


@app.command()
def sample(
    checkpoint: Checkpoint = None,
    n: Count = 64,
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Draw samples 0..n-1 of a seed into the record."""
    config = EvalConfig(n=n, seed=seed, batch=batch)
    _measure(
        "samples", config, _Place(checkpoint, name, reports, device=device, raw=raw, quiet=quiet)
    )


@app.command()
def training(
    checkpoint: Checkpoint = None,
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Put the training curves of the checkpoint's run into the record."""
    _measure("training", EvalConfig(), _Place(checkpoint, name, reports, device="cpu", quiet=quiet))


@app.command()
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


class _Place:
    """Where a measurement is made: on which checkpoint, data and device, and in which record."""

    def __init__(
        self,
        checkpoint: Path | None,
        name: str | None,
        reports: Path,
        *,
        data: Path | None = None,
        device: str = "auto",
        raw: bool = False,
        quiet: bool = False,
    ) -> None:
        from ddpm_train import runs

        self.checkpoint = runs.find(checkpoint)
        folder = self.checkpoint.parent
        self.run = folder.parent if folder.name == "checkpoints" else None
        self.name = name or (self.run.resolve().name if self.run else self.checkpoint.stem)
        self.folder = reports / self.name
        self.data, self.device, self.raw, self.quiet = data, device, raw, quiet
        if self.data is not None and not self.data.exists():
            raise FixableError(f"{self.data}: no such file or folder", "check --data")


def _measure(measure: str, config: EvalConfig, place: _Place) -> None:
    """Make one measurement and add it to the record."""
    import torch

    from ddpm_eval import provenance, results
    from ddpm_eval.job import Job
    from ddpm_eval.measure import MEASURES
    from ddpm_eval.subject import open_checkpoint
    from ddpm_train import world

    here = world.join(place.device)
    began = time.monotonic()
    subject = open_checkpoint(place.checkpoint, device=here.device, ema=not place.raw)
    if subject.run is not None and subject.run.compute.threads:
        torch.set_num_threads(subject.run.compute.threads)  # as many as the network is worth
    work = place.folder / "unfinished" / f"{measure}-{config.split}"
    job = Job(
        subject=subject,
        config=config,
        images=lambda split: _images(subject.run, place.data, split),
        world=here,
        work=work,
        log=place.run / "log.jsonl" if place.run else None,
        track=tracker(quiet=place.quiet),
    )
    found = MEASURES[measure](job)
    if here.rank == 0:
        origin = provenance.gather(
            sys.argv, seconds=time.monotonic() - began, device=here.device, size=here.size
        )
        found = replace(found, provenance=origin)
        for warning in results.add(place.folder, place.name, dict(subject.identity), found):
            say(f"[yellow]warning:[/] {escape(warning)}")
        shutil.rmtree(work, ignore_errors=True)
        if not place.quiet:
            _show(found, place.folder)
    world.leave()


def _images(run: Any, data: Path | None, split: Any) -> Any:
    """The images that the checkpoint was trained on, or their test split."""
    from ddpm_train import data as sources

    if run is None:
        raise FixableError("the checkpoint does not say what it was trained on", "name it: --data")
    config = run.data if data is None else replace(run.data, path=str(data))
    unet = run.unet
    return sources.load(config, image_size=unet.image_size, channels=unet.channels, split=split)


def _show(found: "Measurement", folder: Path) -> None:
    for name, quantity in found.quantities.items():
        say(f"{name:32} {quantity}", to=output)
    for warning in found.warnings:
        say(f"[yellow]warning:[/] {escape(warning)}")
    say(f"recorded in {escape(str(folder))}; write it up with: ddpm-eval report")


def _split(text: str) -> Any:
    if text not in ("test", "train"):
        raise FixableError(f"--split {text}: not a split", "choose test or train")
    return text


def main() -> None:
    """Run ``ddpm-eval``."""
    try:
        app()
    except KeyboardInterrupt:
        if is_first_process():
            console.print("stopped; rerun the same command to go on")
        raise SystemExit(130) from None
