"""Networks that turn images into the features that quality is measured in.

    extractor = open_extractor("inception-v3", path=None, device=torch.device("cpu"))
    extractor(pixels).pool

``ddpm_eval.extractors`` is the list of them: a new one is a file beside this one and a line there.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from ddpm_eval.extractors import PLACES, unknown
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


def _entry(place: str) -> Entry:
    """Look up an extractor by its place below this package."""
    module, _, size = place.partition(".")
    item: Any = import_module(f"{__name__}.{module}")
    if not size:
        return Entry(item.DESCRIPTION, item.load, getattr(item, "WEIGHTS", None))
    of_size = getattr(item, size)
    return Entry(of_size.description, of_size.load, of_size.weights)


EXTRACTORS: dict[str, Entry] = {name: _entry(place) for name, place in PLACES.items()}
"""By their names; more may be added from Python."""


def find(name: str) -> Entry:
    """The entry of this name, or of the short one (``inception``).

    Raises:
        FixableError: There is none.
    """
    for entry in EXTRACTORS.values():
        if name and name in (entry.description.name, entry.description.short):
            return entry
    raise unknown(f"extractor={name}", EXTRACTORS)


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
