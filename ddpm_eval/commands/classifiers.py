"""The classifier that guides samples, as the command line names it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddpm_eval.commands.recording import note
from ddpm_eval.measure.pictures.settings import Scale
from ddpm_train import leaves
from ddpm_train.architectures import ClassifierConfig
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing, expanded
from ddpm_train.settings import override

if TYPE_CHECKING:
    from ddpm_eval.model import Model
    from ddpm_train.formats.classifiers import ClassifierFile


def check(
    path: Path | None, changes: Iterable[str], scale: float = 1.0
) -> tuple[list[str], list[str]]:
    """Split ``--set`` into settings of the classifier's encoder, and the others.

    Raises:
        FixableError: There is no such file, or settings or a scale of none.

    >>> check(Path(__file__), ["encoder.heads=4", "samples.seed=1"])
    (['encoder.heads=4'], ['samples.seed=1'])
    """
    changes = list(changes)
    of_encoder = [change for change in changes if change.startswith("encoder.")]
    if path is not None:
        existing(str(path), "a classifier of noisy images")
        override(ClassifierConfig(), of_encoder)
        leaves.read(Scale, scale, "scale")
    elif of_encoder or scale != 1:
        what = of_encoder[0] if of_encoder else f"scale={scale:g}"
        raise FixableError(f"{what}: there is no classifier", "name one: --classifier FILE")
    return of_encoder, [change for change in changes if change not in of_encoder]


def opened(path: Path, settings: Sequence[str]) -> "ClassifierFile":
    """Open a classifier, and say what its file does not tell."""
    from ddpm_train.formats import classifiers

    file = classifiers.load(expanded(path), changes=settings)
    for warning in file.warnings:
        note(warning)
    return file


def guided(model: "Model", path: Path | None, scale: float, settings: Sequence[str]) -> "Model":
    """Guide a model's samples by a classifier, if one is named.

    Raises:
        FixableError: The classifier does not fit.
    """
    if path is None:
        return model
    from ddpm_eval.door.guidance import guide

    return guide(model, opened(path, settings), scale=scale)
