"""The command line ``ddpm-eval``. torch is imported inside the commands: ``--help`` is instant."""

import contextlib
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape

from ddpm_eval.config import EvalConfig
from ddpm_train.errors import FixableError
from ddpm_train.terminal import Group, console, is_first_process, output, say, tracker

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    typer.Argument(
        help="A checkpoint, a run's folder, or another system's checkpoint; the newest run in "
        "runs/ if left out."
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="What a foreign file does not tell: --set unet.heads=4."),
]
Name = Annotated[str | None, typer.Option("--name", help="The record, reports/NAME; the run's.")]
Reports = Annotated[Path, typer.Option("--reports", help="The folder of all records.")]
Data = Annotated[
    Path | None, typer.Option("--data", "--archive", help="Where the images lie, if moved.")
]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", help="cifar10, digits, folder, npz or lmdb, if not trained here."),
]
Split = Annotated[str, typer.Option("--split", help="test or train.")]
Count = Annotated[int, typer.Option("-n", "--n", min=0, help="Images; 0: all, or 64 samples.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The seed of all noise.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images at once; changes no result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Raw = Annotated[bool, typer.Option("--raw", help="The weights as trained, not their average.")]
NoClip = Annotated[bool, typer.Option("--no-clip", help="Do not keep x_0_hat inside [-1, 1].")]
Target = Annotated[
    float,
    typer.Option("--target-stderr", min=0, help="Estimate to this error, bits/dim: 0.01, say."),
]
Budget = Annotated[
    int, typer.Option("--budget", min=0, help="Estimate with so many evaluations of the network.")
]
Calibrate = Annotated[
    int,
    typer.Option("--calibrate", min=0, help="Training images to learn the best variance from."),
]
Remainder = Annotated[
    int,
    typer.Option("--drop-remainder", min=0, help="Whole batches only; 256 as the original did."),
]
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
    target_stderr: Target = 0.0,
    budget: Budget = 0,
    against: Annotated[
        Path | None, typer.Option("--against", help="A second checkpoint, on the same noise.")
    ] = None,
    calibrate: Calibrate = 0,
    drop_remainder: Remainder = 0,
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Bits/dim: the full variational bound, or an estimate from chosen terms."""
    config = EvalConfig(
        split=_split(split),
        n=n,
        drop_remainder=drop_remainder,
        seed=seed,
        batch=batch,
        clip=not no_clip,
        calibrate=calibrate,
        **_goal(target_stderr, budget),
    )
    images = _Images(data, dataset)
    place = _Place(checkpoint, name, reports, images, device=device, raw=raw, quiet=quiet)
    measure = "nll-estimate" if config.fast else "nll"
    _measure("comparison" if against else measure, config, place, against=against)


@app.command()
def rate_distortion(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Count = 0,
    target_stderr: Target = 0.0,
    budget: Budget = 0,
    calibrate: Calibrate = 0,
    drop_remainder: Remainder = 0,
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Rate and distortion over the reverse steps: Table 4 and Figure 5 of the paper."""
    config = EvalConfig(
        split=_split(split),
        n=n,
        drop_remainder=drop_remainder,
        seed=seed,
        batch=batch,
        clip=not no_clip,
        calibrate=calibrate,
        **_goal(target_stderr, budget),
    )
    images = _Images(data, dataset)
    place = _Place(checkpoint, name, reports, images, device=device, raw=raw, quiet=quiet)
    _measure("rate_distortion", config, place)


@app.command()
def baselines(
    checkpoint: Checkpoint = None,
    n: Count = 0,
    seed: Seed = 0,
    batch: Batch = 64,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Bits/dim of an untrained network and of independent-pixel histograms."""
    config = EvalConfig(n=n, seed=seed, batch=batch)
    place = _Place(checkpoint, name, reports, _Images(data, dataset), device=device, quiet=quiet)
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


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Another system's file or folder.")],
    target: Annotated[Path, typer.Argument(help="The file to write, OUT.pt.")],
    changes: Changes = None,
) -> None:
    """Make a checkpoint of ours from another system's, every name and shape checked."""
    from ddpm_eval import inspection
    from ddpm_train import checkpoint, formats

    if target.suffix != ".pt" or target.exists():
        raise FixableError(f"{target}: exists, or does not end in .pt", "name a new file OUT.pt")
    found = formats.load_any(_find(source), changes=changes or [])
    checkpoint.save(target, found)
    _tell(inspection.describe(found))
    say(f"wrote {escape(str(target))}", to=output)


@app.command()
def inspect(
    checkpoint: Checkpoint = None,
    changes: Changes = None,
) -> None:
    """Say what a checkpoint is: format, weights, schedule, variance, network, fingerprint."""
    from ddpm_eval import inspection
    from ddpm_train import formats

    found = formats.load_any(_find(checkpoint), changes=changes or [])
    _tell([*inspection.describe(found), *inspection.measure(found)])


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of any known format.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    kind: Annotated[str, typer.Option("--format", help="diffusers.")] = "diffusers",
    raw: Raw = False,
) -> None:
    """Write a checkpoint for another system: DDPMPipeline.from_pretrained(FOLDER)."""
    from ddpm_train import formats
    from ddpm_train.formats import to_diffusers

    if kind != "diffusers":
        raise FixableError(f"--format {kind}: cannot be written", "choose diffusers")
    to_diffusers.write(formats.load_any(_find(checkpoint)), folder, ema=not raw)
    say(f"wrote {escape(str(folder))}", to=output)


def _tell(facts: "Iterable[tuple[str, str]]") -> None:
    for name, text in facts:
        if name == "warning":
            say(f"[yellow]warning:[/] {escape(text)}")
        else:
            say(f"{name:12} {escape(text)}", to=output)


class _Images(NamedTuple):
    """What the user says of the images; the checkpoint says the rest."""

    data: Path | None = None
    dataset: str | None = None

    def load(self, run: Any, unet: Any, split: Any) -> Any:
        """The images that the checkpoint was trained on, or their test split."""
        from ddpm_train import data as sources
        from ddpm_train.config import DataConfig, from_dict

        if self.dataset is not None:
            config = from_dict(DataConfig, {"source": self.dataset}, "data.")
        elif run is not None:
            config = run.data
        else:
            raise FixableError(
                "the checkpoint does not say what it was trained on",
                "name the images: --dataset cifar10, or --dataset npz --data FILE",
            )
        if self.data is not None:
            config = replace(config, path=str(self.data))
        return sources.load(config, image_size=unet.image_size, channels=unet.channels, split=split)


class _Place:
    """Where a measurement is made: on which checkpoint, data and device, and in which record."""

    def __init__(
        self,
        checkpoint: Path | None,
        name: str | None,
        reports: Path,
        images: "_Images | None" = None,
        *,
        device: str = "auto",
        raw: bool = False,
        quiet: bool = False,
    ) -> None:
        self.images = images or _Images()
        self.checkpoint = _find(checkpoint)
        folder = self.checkpoint.parent
        self.run = folder.parent if folder.name == "checkpoints" else None
        path = self.run or self.checkpoint
        self.name = name or (path.stem if path.is_file() else path.resolve().name)
        self.folder = reports / self.name
        self.device, self.raw, self.quiet = device, raw, quiet
        data = self.images.data
        if data is not None and not data.exists():
            raise FixableError(f"{data}: no such file or folder", "check --data")


def _measure(
    measure: str, config: EvalConfig, place: _Place, *, against: Path | None = None
) -> None:
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
    for warning in [] if place.quiet else subject.identity["facts"].get("warnings", []):
        _note(warning)
    if subject.run is not None and subject.run.compute.threads:
        torch.set_num_threads(subject.run.compute.threads)  # as many as the network is worth
    work = place.folder / "unfinished" / f"{measure}-{config.split}"
    job = Job(
        subject=subject,
        config=config,
        images=lambda split: place.images.load(subject.run, subject.model.unet, split),
        world=here,
        work=work,
        log=place.run / "log.jsonl" if place.run else None,
        against=None
        if against is None
        else open_checkpoint(_find(against), device=here.device, ema=not place.raw),
        recorded=lambda measure: _recorded(place.folder, subject.identity, measure),
        track=tracker(quiet=place.quiet),
        notify=lambda text: None if place.quiet else _note(text),
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
        with contextlib.suppress(OSError):
            work.parent.rmdir()  # unless other work is unfinished
        if not place.quiet:
            _show(found, place.folder)
    world.leave()


def _recorded(folder: Path, identity: Any, measure: str) -> "Measurement | None":
    """What the record says of this checkpoint."""
    from ddpm_eval import results

    if not (folder / results.RECORD).exists():
        return None
    report = results.load(folder)
    if report.subject.get("checkpoint") != identity["checkpoint"]:
        return None
    return report.measurements.get(measure)


def _note(text: str) -> None:
    if is_first_process():
        say(f"[yellow]note:[/] {escape(text)}")


def _goal(target_stderr: float, budget: int) -> dict[str, Any]:
    """The goal of an estimate; none asks for every term."""
    if target_stderr and budget:
        raise FixableError("--target-stderr and --budget: two goals", "give one of them")
    return {"target_stderr": target_stderr, "budget": budget}


def _find(path: Path | None) -> Path:
    """The checkpoint that is meant: ours or one that another system wrote."""
    from ddpm_train import formats, runs

    if path is not None and not runs.checkpoints(path) and formats.lies_in_folder(path):
        return path
    return runs.find(path)


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
