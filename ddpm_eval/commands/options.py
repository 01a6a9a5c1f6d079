"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
Count = Annotated[int, typer.Option("-n", "--n", min=0, help="Images; 0: all.")]
Samples = Annotated[int, typer.Option("-n", "--n", min=0, help="Samples; 0: 64.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The seed of all noise.")]
Batch = Annotated[
    int, typer.Option("--batch", min=1, help="Images at once; changes results by rounding alone.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="float32 (exact), bf16 (faster; the record says so), or tf32 on GPUs."
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the network first, which takes minutes.")
]
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
Steps = Annotated[
    int, typer.Option("--steps", min=0, help="Of the reverse process, spread evenly; 0: all.")
]
Inception = Annotated[
    Path | None, typer.Option("--inception", help="The file of Inception's weights.")
]
Accept = Annotated[
    str, typer.Option("--accept-weights", help="SHA-256 of other weights: FD(inception-...).")
]
Sampler = Annotated[str, typer.Option("--sampler", help="ancestral, as in the paper, or ddim.")]
Eta = Annotated[float, typer.Option("--eta", help="The noise of ddim: 0 is none, 1 as ancestral.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
