"""Options: those of every command, those that several share, and which setting each one is."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

# ------------------------------------------------------------------- options of every command

Weights = Annotated[
    str, typer.Option("--weights", help="ema: averaged (the default); raw: as trained.")
]
Everywhere = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Of the CPU; 0: as many as torch takes.")
]
Records = Annotated[Path, typer.Option("--reports", help="The folder of all records.")]
Record = Annotated[
    str, typer.Option("--name", help="The record, REPORTS/NAME; by default as the run.")
]
Again = Annotated[
    bool, typer.Option("--replace", help="Measure again, in place of what the record has.")
]
Silence = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The options of every command; they may stand anywhere on the command line."""

    weights: str = ""
    device: str = "auto"
    threads: int = 0
    reports: Path = Path("reports")
    name: str = ""
    replace: bool = False
    quiet: bool = False
    own: frozenset[str] = frozenset()  # the options that the command has itself


_COMMON: ContextVar[Common] = ContextVar("common", default=Common())  # noqa: B039


def set_common(options: Common) -> None:
    """Keep the options of every command for the command that runs next."""
    _COMMON.set(options)


def common() -> Common:
    """Give the options of every command, as this command line has them."""
    return _COMMON.get()


# ------------------------------------------------------------------- settings in options' words

OPTIONS: Mapping[str, str] = {
    **{name: f"--{name}" for name in ("weights", "device", "split", "dataset", "data", "against")},
    **{"n": "-n", "first": "--first", "target_stderr": "--target-stderr", "budget": "--budget"},
    **{"strides": "--strides", "ode": "--ode"},
    **{"calibrate": "--calibrate", "drop_remainder": "--set bound.drop_remainder"},
    **{"precision": "--set compute.precision", "compile": "--set compute.compile"},
    **{"batch": "--set compute.batch", "clip": "--set bound.clip"},
    **{"sampler": "--sampler", "steps": "--steps", "eta": "--eta"},
    **{"extractor": "--extractor", "reference": "--reference", "metrics": "--metrics"},
    **{"extractor_weights": "--extractor-weights", "accept_weights": "--accept-weights"},
    **{"protocols": "--protocols", "save": "--set quality.save"},
    **{"path": "--data", "images": "--dataset", "resize": "--resize"},
    **{"out": "--out", "indices": "--indices", "classes": "--classes"},
    **{"classifier": "--classifier", "scale": "--scale"},
}
"""Which option gives a setting that an error names; what is in no option is a ``--set``."""

_OF_SAMPLES = ("--sampler", "--steps", "--eta")
"""Options that some commands have; in the others they are settings of ``samples``."""


def in_options(text: str) -> str:
    """Write ``setting=value`` as the option that gives it.

    >>> in_options("eta=2: not between 0 and 1"), in_options("use device=cpu")
    ('--eta 2: not between 0 and 1', 'use --device cpu')
    >>> in_options("leave target_stderr out"), in_options("set unet.heads=4")
    ('leave --target-stderr out', 'set unet.heads=4')
    """

    def option(match: re.Match[str]) -> str:
        words = OPTIONS.get(match["name"])
        if words is None or not (match["equals"] or "_" in match["name"]):
            return match[0]
        if words in _OF_SAMPLES and common().own and words not in common().own:
            words = f"--set samples.{match['name']}"
        joined = "=" if words.startswith("--set ") else " "
        return words + (joined if match["equals"] else "")

    return re.sub(r"(?<![\w.\-])(?P<name>[a-z_]+)(?P<equals>=)?(?![\w.]*\()", option, text)


def classes_changes(classes: str, group: str) -> list[str]:
    """Write the option ``--classes`` as the settings that it gives, a list of integers."""
    return [f"{group}.classes={classes}"] if classes else []


# ------------------------------------------------------------------- options that several share

Checkpoint = Annotated[
    Path | None,
    typer.Argument(
        help="A checkpoint, a run's folder, or another system's checkpoint; the newest run in "
        "runs/ if left out."
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a setting, bound.seed=1, say; ddpm-eval settings lists all."
    ),
]
First = Annotated[
    bool, typer.Option("--first", help="The first n, as the original; else n that a seed draws.")
]
Data = Annotated[
    Path | None, typer.Option("--data", "--archive", help="Where the images lie, if moved.")
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="cifar10, digits, folder, npz, lmdb, or a path; the run's if left out."
    ),
]
Split = Annotated[str, typer.Option("--split", help="test or train.")]
Count = Annotated[int, typer.Option("-n", "--n", min=0, help="Images; 0: all.")]
Samples = Annotated[int, typer.Option("-n", "--n", min=0, help="Samples; 0: 64.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The seed of all noise.")]
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
Steps = Annotated[
    int, typer.Option("--steps", min=0, help="Of the reverse process, spread evenly; 0: all.")
]
Inception = Annotated[
    Path | None,
    typer.Option("--extractor-weights", "--inception", help="The file of the extractor's weights."),
]
Accept = Annotated[
    str,
    typer.Option(
        "--accept-weights", help="SHA-256 of weights other than the published: FD(NAME-...)."
    ),
]
Classes = Annotated[
    str,
    typer.Option("--classes", help="Of the samples, in turn: 0,3,7; the seed draws them if empty."),
]
Guiding = Annotated[
    Path | None,
    typer.Option("--classifier", help="A classifier of noisy images that guides the samples."),
]
Scale = Annotated[float, typer.Option("--scale", help="Of the classifier's gradient: 0 is none.")]
Sampler = Annotated[
    str, typer.Option("--sampler", help="ancestral, as in the paper, ddim, or langevin (NCSN).")
]
Eta = Annotated[float, typer.Option("--eta", help="The noise of ddim: 0 is none, 1 as ancestral.")]
