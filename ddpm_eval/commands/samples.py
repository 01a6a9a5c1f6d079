"""Commands about samples: ``sample``."""

from pathlib import Path

from ddpm_eval.commands.options import (
    Batch,
    Checkpoint,
    Count,
    Device,
    Name,
    Quiet,
    Raw,
    Reports,
    Seed,
)
from ddpm_eval.commands.running import Place, run
from ddpm_eval.config import EvalConfig


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
    run("samples", config, Place(checkpoint, name, reports, device=device, raw=raw, quiet=quiet))
