"""Networks that turn images into the features that quality is measured in.

    extractor = open_extractor("inception-v3", path=None, device=torch.device("cpu"))
    extractor(pixels).pool

``EXTRACTORS`` is the list of them: a new one is a file beside this one and an entry.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from ddpm_eval.features import clip, digits_cnn, dinov2, inception
from ddpm_eval.features.extractor import Description, Extractor, Features, Outputs
from ddpm_eval.features.weights import WeightsFile
from ddpm_train.errors import FixableError

__all__ = [
    "DIGITS",
    "EXTRACTORS",
    "INCEPTION",
    "Description",
    "Entry",
    "Extractor",
    "Features",
    "Outputs",
    "describe",
    "open_extractor",
]

INCEPTION, DIGITS = "inception-v3", "digits-cnn"


class Load(Protocol):
    """Finds, verifies and loads the weights of an extractor."""

    def __call__(
        self, path: Path | None, resize: str, device: torch.device, *, accept: str = ""
    ) -> Extractor:
        """Load them from a file, or from where they usually are."""


class Entry(NamedTuple):
    """An extractor: what it is, how it is loaded, and its file, if the package does not hold it."""

    description: Description
    load: Load
    weights: WeightsFile | None = None


def _sized(size: dinov2.Size | clip.Size) -> Entry:
    return Entry(size.description, size.load, size.weights)


EXTRACTORS: dict[str, Entry] = {
    INCEPTION: Entry(inception.DESCRIPTION, inception.load, inception.WEIGHTS),
    "dinov2-l14": _sized(dinov2.L14),
    "dinov2-b14": _sized(dinov2.B14),
    "clip-l14-336": _sized(clip.L14_336),
    "clip-b32": _sized(clip.B32),
    DIGITS: Entry(digits_cnn.DESCRIPTION, digits_cnn.load),
}


def find(name: str) -> Entry:
    """The entry of this name, or of the short one (``inception``).

    Raises:
        FixableError: There is none.
    """
    for entry in EXTRACTORS.values():
        if name and name in (entry.description.name, entry.description.short):
            return entry
    raise FixableError(f"extractor={name}: not an extractor", f"choose {', '.join(EXTRACTORS)}")


def describe(name: str) -> Description:
    """What the extractor of this name is, before its weights are loaded."""
    return find(name).description


def open_extractor(
    name: str,
    *,
    path: Path | None = None,
    device: torch.device,
    accept: str = "",
    resize: str = "",
) -> Extractor:
    """Load an extractor by its name.

    Args:
        name: A key of ``EXTRACTORS``; ``inception`` for ``inception-v3``.
        path: The file of its weights; ``None`` looks where they usually are.
        device: Where it computes.
        accept: The SHA-256, or its first eight digits or more, of other weights that are meant.
            What they measure is named after them.
        resize: The way of resizing; empty: the extractor's default.

    Raises:
        FixableError: There is no such extractor or resizing, or its weights are missing, damaged
            or others.
    """
    entry = find(name)
    ways = entry.description.resizes
    if resize and resize not in ways:
        choices = ", ".join(way for way in ways if way)
        raise FixableError(
            f"protocols={resize}: not a way of resizing for {entry.description.name}",
            f"choose {choices}" if choices else "leave it out: it takes images as they are",
        )
    return entry.load(path, resize or ways[0], device, accept=accept)
