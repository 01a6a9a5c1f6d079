"""Run folders, read: where training leaves its files and what of them can be trusted.

RUN/config.json               the settings, whole
RUN/log.jsonl                 one line of JSON for each logged step, each step once
RUN/checkpoints/step-N.pt     checkpoint.py's format; the newest that verifies is resumed
RUN/samples/step-N.png        grids of the averaged weights, always the same images
RUN/lock                      held by the process that writes here, released on its death
"""

import re
from pathlib import Path

from ddpm_train import checkpoint
from ddpm_train.checkpoint import Checkpoint, NewerVersionError
from ddpm_train.errors import FixableError
from ddpm_train.reading import list_folder, reading

_NAME = re.compile(r"step-(\d{8}|[1-9]\d{8,17})\.pt", re.ASCII)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run by their names, newest step first; what they hold is not looked at.

    Raises:
        FixableError: The folder may not be read.
    """
    place = folder / "checkpoints"
    with reading(place):
        is_run = place.is_dir()
    paths = [path for path in list_folder(place) if _NAME.fullmatch(path.name)] if is_run else []
    return sorted(paths, key=step_in, reverse=True)


def step_in(path: Path) -> int:
    """The step in a checkpoint's name.

    >>> step_in(Path("checkpoints/step-00000020.pt"))
    20
    """
    return int(path.stem.removeprefix("step-"))


def load_numbered(path: Path) -> Checkpoint:
    """Load a checkpoint of a run that is what its name says.

    Raises:
        FixableError: It is damaged, or of another step than its name says.
    """
    content = checkpoint.load(path)
    require_step(path, content.step)
    return content


def require_step(path: Path, step: int) -> None:
    """Refuse a checkpoint of another step than its name says.

    Raises:
        FixableError: It is one.
    """
    if step != step_in(path):
        raise FixableError(
            f"{path}: holds step {step}, not that of its name",
            f"rename it to step-{step:08d}.pt, or move it elsewhere",
        )


def newest(folder: Path) -> tuple[Checkpoint | None, Path, list[str]]:
    """The newest checkpoint that verifies, where it lies, and a warning for each that does not.

    Raises:
        FixableError: There are checkpoints and every one is damaged, or the newest is of a later
            version of this program.
    """
    warnings: list[str] = []
    paths = checkpoints(folder)
    for path in paths:
        try:
            return load_numbered(path), path, warnings
        except NewerVersionError:
            raise
        except FixableError as error:
            warnings.append(f"{error.problem}; trying the one before")
    if paths:
        raise FixableError(
            f"{folder}: no checkpoint can be read ({warnings[0].split(';')[0]})",
            "copy them again from where they were made, or start anew with another --out",
        )
    return None, folder, warnings


def find(path: Path | None, *, root: Path = Path("runs")) -> Path:
    """The checkpoint file that is meant by a file, a run folder, or nothing (the newest run).

    Raises:
        FixableError: There is none.
    """
    if path is None:
        with reading(root):
            runs = {run: checkpoints(run) for run in root.glob("*/")}
            dates = {run: paths[0].stat().st_mtime for run, paths in runs.items() if paths}
        if not dates:
            raise FixableError(
                f"no run with a checkpoint in {root}/", "name a checkpoint, or ddpm-train digits"
            )
        path = max(dates, key=lambda run: dates[run])
    with reading(path):
        exists, is_folder = path.exists(), path.is_dir()
    if not exists:
        raise FixableError(f"{path}: no such checkpoint", "name a .pt file or a run's folder")
    if not is_folder:
        return path
    paths = checkpoints(path)
    if not paths:
        raise FixableError(f"{path}: holds no checkpoint", "name a .pt file or a run's folder")
    return paths[0]
