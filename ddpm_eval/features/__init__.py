"""Networks that turn images into the features that quality is measured in.

    extractor = open_extractor("inception-v3", path=None, device=torch.device("cpu"))
    extractor(pixels).pool

The registry below is the list of them; torch-fidelity's CLIP and DINOv2 would be two lines more.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from ddpm_eval.features import digits_cnn, inception
from ddpm_eval.features.extractor import Extractor, Features
from ddpm_train.errors import FixableError

__all__ = ["DIGITS", "EXTRACTORS", "INCEPTION", "Extractor", "Features", "open_extractor"]

INCEPTION, DIGITS = "inception-v3", "digits-cnn"


class Weights(NamedTuple):
    """Where the user says an extractor's weights are, and which digest other ones may have."""

    path: Path | None = None
    accept: str = ""


def _inception(weights: Weights, device: torch.device) -> Extractor:
    return inception.load(weights.path, device, accept=weights.accept)


def _digits(weights: Weights, device: torch.device) -> Extractor:
    if weights.path is not None:
        raise FixableError(
            f"{DIGITS} has its weights in the package", f"leave --inception {weights.path} out"
        )
    return digits_cnn.load(device)


EXTRACTORS: dict[str, Callable[[Weights, torch.device], Extractor]] = {
    INCEPTION: _inception,
    DIGITS: _digits,
}


def open_extractor(
    name: str, *, path: Path | None, device: torch.device, accept: str = ""
) -> Extractor:
    """Load an extractor by its name.

    Args:
        name: ``inception-v3`` (or ``inception``) or ``digits-cnn``.
        path: The file of its weights; ``None`` looks where they usually are.
        device: Where it computes.
        accept: The SHA-256, or its first eight digits or more, of other Inception weights that are
            meant. What they measure is never called FID.

    Raises:
        FixableError: There is no such extractor, or its weights are missing, damaged or others.
    """
    name = INCEPTION if name == "inception" else name
    if name not in EXTRACTORS:
        raise FixableError(
            f"--extractor {name}: not an extractor", f"choose {' or '.join(EXTRACTORS)}"
        )
    return EXTRACTORS[name](Weights(path, accept), device)
