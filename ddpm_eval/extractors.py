"""The names of the extractors: a command refuses another one before it imports torch."""

import sys
from collections.abc import Iterable

from ddpm_train.errors import FixableError

PLACES = {
    "inception-v3": "inception",
    "dinov2-l14": "dinov2.L14",
    "dinov2-b14": "dinov2.B14",
    "clip-l14-336": "clip.L14_336",
    "clip-b32": "clip.B32",
    "digits-cnn": "digits_cnn",
}
"""Where each of them is, below ``ddpm_eval.features``: a module, or what a module holds."""

SHORT = {"inception": "inception-v3"}
"""Other names on the command line."""


def check(names: Iterable[str], setting: str = "extractor=") -> None:
    """Refuse names of no extractor that is in the package or was added from Python.

    Args:
        names: Of extractors.
        setting: What stands before a name in the message.

    Raises:
        FixableError: Names the first; the names that exist are listed.

    >>> check(["inception", "vgg"])
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: extractor=vgg: not an extractor
      fix: choose inception-v3, dinov2-l14, dinov2-b14, clip-l14-336, clip-b32, digits-cnn
    """
    features = sys.modules.get("ddpm_eval.features")  # whoever adds one has imported it
    choices = {*PLACES, *SHORT, *getattr(features, "EXTRACTORS", ())}
    for name in names:
        if name not in choices:
            raise unknown(f"{setting}{name}", PLACES)


def unknown(text: str, names: Iterable[str]) -> FixableError:
    """The error of a name that no extractor has."""
    return FixableError(f"{text}: not an extractor", f"choose {', '.join(names)}")
