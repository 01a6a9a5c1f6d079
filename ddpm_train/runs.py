"""Run folders, read: where training leaves its files and what of them can be trusted.

RUN/config.json               the settings, whole
RUN/log.jsonl                 one line of JSON for each logged step, each step once
RUN/checkpoints/step-N.pt     checkpoint.py's format; the newest that verifies is resumed
RUN/samples/step-N.png        grids of the averaged weights, always the same images
RUN/lock                      held by the process that writes here, released on its death
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from ddpm_train import checkpoint
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.errors import FixableError


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest step first."""
    found = {}
    for path in (folder / "checkpoints").glob("step-*.pt"):
        with contextlib.suppress(ValueError):
            found[int(path.stem.removeprefix("step-"))] = path
    return [found[step] for step in sorted(found, reverse=True)]


def newest(folder: Path) -> tuple[Checkpoint | None, Path, list[str]]:
    """The newest checkpoint that verifies, where it lies, and a warning for each that does not.

    Raises:
        FixableError: There are checkpoints and every one is damaged.
    """
    warnings: list[str] = []
    paths = checkpoints(folder)
    for path in paths:
        try:
            return checkpoint.load(path), path, warnings
        except FixableError as error:
            warnings.append(f"{error.problem}; trying the one before")
    if paths:
        raise FixableError(
            f"{folder}: no checkpoint can be read ({warnings[0].split(';')[0]})",
            "copy them again from where they were made, or start anew with another --out",
        )
    return None, folder, warnings


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line that was cut off by a crash is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def find(path: Path | None, *, root: Path = Path("runs")) -> Path:
    """The checkpoint file that is meant by a file, a run folder, or nothing (the newest run).

    Raises:
        FixableError: There is none.
    """
    if path is None:
        runs = [run for run in root.glob("*/") if checkpoints(run)]
        if not runs:
            raise FixableError(
                f"no run with a checkpoint in {root}/", "name a checkpoint, or ddpm-train digits"
            )
        path = max(runs, key=lambda run: checkpoints(run)[0].stat().st_mtime)
    if not path.exists():
        raise FixableError(f"{path}: no such checkpoint", "name a .pt file or a run's folder")
    if not path.is_dir():
        return path
    found = checkpoints(path)
    if not found:
        raise FixableError(f"{path}: holds no checkpoint", "name a .pt file or a run's folder")
    return found[0]
