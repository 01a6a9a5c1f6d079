"""Commands about bits/dim: ``nll``, ``rate-distortion``, ``baselines``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ddpm_eval.commands.options import (
    Batch,
    Budget,
    Calibrate,
    Checkpoint,
    Compile,
    Count,
    Data,
    Dataset,
    Device,
    Name,
    NoClip,
    Precision,
    Quiet,
    Raw,
    Remainder,
    Reports,
    Seed,
    Split,
    Target,
)
from ddpm_eval.commands.running import ImagesAt, Place, run, split_named
from ddpm_eval.config import ComputeConfig, EvalConfig
from ddpm_train.errors import FixableError


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
    precision: Precision = "float32",
    compile: Compile = False,
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Bits/dim: the full variational bound, or an estimate from chosen terms."""
    config = EvalConfig(
        split=split_named(split),
        n=n,
        drop_remainder=drop_remainder,
        seed=seed,
        batch=batch,
        clip=not no_clip,
        calibrate=calibrate,
        compute=ComputeConfig(precision=precision, compile=compile),
        **_goal(target_stderr, budget),
    )
    images = ImagesAt(data, dataset)
    place = Place(checkpoint, name, reports, images, device=device, raw=raw, quiet=quiet)
    measure = "nll-estimate" if config.fast else "nll"
    run("comparison" if against else measure, config, place, against=against)


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
    precision: Precision = "float32",
    compile: Compile = False,
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Rate and distortion over the reverse steps: Table 4 and Figure 5 of the paper."""
    config = EvalConfig(
        split=split_named(split),
        n=n,
        drop_remainder=drop_remainder,
        seed=seed,
        batch=batch,
        clip=not no_clip,
        calibrate=calibrate,
        compute=ComputeConfig(precision=precision, compile=compile),
        **_goal(target_stderr, budget),
    )
    images = ImagesAt(data, dataset)
    place = Place(checkpoint, name, reports, images, device=device, raw=raw, quiet=quiet)
    run("rate_distortion", config, place)


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
    place = Place(checkpoint, name, reports, ImagesAt(data, dataset), device=device, quiet=quiet)
    run("baselines", config, place)


def _goal(target_stderr: float, budget: int) -> dict[str, Any]:
    """The goal of an estimate; none asks for every term."""
    if target_stderr and budget:
        raise FixableError("--target-stderr and --budget: two goals", "give one of them")
    return {"target_stderr": target_stderr, "budget": budget}
