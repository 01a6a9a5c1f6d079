"""What a command refuses before torch is imported: paths, names and options that do not fit."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_type_hints

from ddpm_eval import extractors
from ddpm_train.config import DataConfig
from ddpm_train.errors import FixableError
from ddpm_train.reading import expanded, list_folder


def plain_name(name: str) -> str:
    """Check the name of a record, if one is given: below the folder of all records, not elsewhere.

    Raises:
        FixableError: It is a path.
    """
    if name and (Path(name).name != name or name == ".."):
        raise FixableError(
            f"--name {name}: not a plain name", "write a name, and its folder as --reports"
        )
    return name


def check_checkpoint(path: Path | None) -> None:
    """Refuse a checkpoint that is nowhere; a TensorFlow one is named by the prefix of its files.

    Raises:
        FixableError: Nothing is there.
    """
    if path is None:
        if not any(Path("runs").glob("*/checkpoints/step-*.pt")):
            raise FixableError(
                "no run with a checkpoint in runs/", "name a checkpoint, or ddpm-train digits"
            )
        return
    if not is_there(path):
        raise FixableError(f"{path}: no such checkpoint", "name a .pt file or a run's folder")


def is_there(path: Path) -> bool:
    """Whether something has this name, or it is the prefix of the files of a TensorFlow one."""
    place = expanded(path)
    return place.exists() or (place.parent.is_dir() and any(_parts(place)))


def _parts(prefix: Path) -> Iterator[Path]:
    return (path for path in list_folder(prefix.parent) if path.name.startswith(f"{prefix.name}."))


def check_images(dataset: str | None, data: Path | None, *, option: str = "dataset") -> None:
    """Refuse images that are nowhere.

    Raises:
        FixableError: Names the option.
    """
    names = get_type_hints(DataConfig)["source"].__args__
    if data is not None and not expanded(data).exists():
        raise FixableError(f"{data}: no such file or folder", "check --data")
    if dataset is not None and dataset not in names and not expanded(dataset).exists():
        raise FixableError(
            f"{option}={dataset}: no data set and no path", f"choose {', '.join(names)}, or a path"
        )


def check_extractor(names: Sequence[str], weights: Path | None, accept: str) -> None:
    """Refuse names of no extractor, and a file of weights or their digest where none reads one.

    Raises:
        FixableError: Names the option.
    """
    extractors.check(names)
    options = {"extractor_weights": weights, "accept_weights": accept}
    for name, value in options.items():
        if value and not any(name != "digits-cnn" for name in names):
            extractor = f"with --extractor {names[0]}" if names else "without --extractor"
            raise FixableError(
                f"{name}={value}: of no effect {extractor}",
                f"add --extractor inception, or leave {name} out",
            )
    if weights is not None and not expanded(weights).exists():
        raise FixableError(f"extractor_weights={weights}: no such file", "check the path")
    if accept and not re.fullmatch(r"[0-9a-fA-F]{8,64}", accept):
        raise FixableError(
            f"accept_weights={accept}: no SHA-256", "write eight of its digits, or all 64"
        )


def check_weights(weights: str) -> None:
    """Refuse what is no kind of weights.

    Raises:
        FixableError: Names the choices.
    """
    if weights not in ("", "ema", "raw"):
        raise FixableError(f"weights={weights}: not a choice", "choose ema or raw")


def check_split(split: str) -> str:
    """Refuse what is no split.

    Raises:
        FixableError: Names the choices.
    """
    if split not in ("test", "train"):
        raise FixableError(f"split={split}: not a split", "choose test or train")
    return split
