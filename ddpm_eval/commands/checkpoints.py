"""Commands about checkpoint files: ``import``, ``inspect``, ``export``."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.commands.checks import check_checkpoint
from ddpm_eval.commands.options import (
    Changes,
    Checkpoint,
    common,
)
from ddpm_eval.settings import check_model
from ddpm_train.errors import FixableError
from ddpm_train.terminal import escape, output, say


def import_(
    source: Annotated[Path, typer.Argument(help="Another system's file or folder.")],
    target: Annotated[Path, typer.Argument(help="The file to write, OUT.pt.")],
    changes: Changes = None,
) -> None:
    """Make a checkpoint of ours from another system's, every name and shape checked."""
    if target.suffix != ".pt" or os.path.lexists(target):
        raise FixableError(f"{target}: exists, or does not end in .pt", "name a new file OUT.pt")
    check_checkpoint(source)
    check_model(changes or [])
    from ddpm_eval import inspection
    from ddpm_eval.loading import locate
    from ddpm_train import checkpoint, formats

    path = locate(source)
    content = formats.load_any(path, changes=changes or [])
    content = formats.label(content, common().weights, path)
    checkpoint.save(target, content)
    _tell(inspection.describe(content))
    say(f"wrote {escape(str(target))}", to=output)


def inspect(
    checkpoint: Checkpoint = None,
    changes: Changes = None,
) -> None:
    """Say what a checkpoint is: format, weights, schedule, variance, network, fingerprint."""
    check_checkpoint(checkpoint)
    check_model(changes or [])
    from ddpm_eval import inspection
    from ddpm_eval.loading import locate
    from ddpm_train import formats

    path = locate(checkpoint)
    content = formats.load_any(path, changes=changes or [])
    if common().weights:
        content = formats.label(content, common().weights, path)
    _tell([*inspection.describe(content), *inspection.measure(content)])


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of any known format.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    kind: Annotated[str, typer.Option("--format", help="diffusers.")] = "diffusers",
    changes: Changes = None,
) -> None:
    """Write a checkpoint for another system: DDPMPipeline.from_pretrained(FOLDER)."""
    if kind != "diffusers":
        raise FixableError(f"--format {kind}: cannot be written", "choose diffusers")
    check_checkpoint(checkpoint)
    check_model(changes or [])
    from ddpm_eval.loading import locate
    from ddpm_train import formats
    from ddpm_train.formats import to_diffusers

    path, weights = locate(checkpoint), common().weights
    content = formats.label(formats.load_any(path, changes=changes or []), weights, path)
    to_diffusers.write(content, folder, ema=weights != "raw")
    say(f"wrote {escape(str(folder))}", to=output)


def _tell(facts: Iterable[tuple[str, str]]) -> None:
    for name, text in facts:
        if name == "warning":
            say(f"[yellow]warning:[/] {escape(text)}")
        else:
            say(f"{name:12} {escape(text)}", to=output)
