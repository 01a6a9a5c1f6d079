"""What is measured: torch in, ``Measurement`` out. The registry, read from top to bottom."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = {
    "samples": "pictures.jobs:samples",
    "quality": "quality.quality",
    "progressive": "pictures.jobs:progressive",
    "reconstructions": "pictures.reconstructions",
    "interpolation": "pictures.jobs:interpolation",
    "neighbours": "pictures.jobs:neighbours",
}
"""Where each measure's ``measure(job)`` (or another function) stands; imported when needed."""

IN_FLOAT64 = frozenset(("progressive", "reconstructions"))
"""Those that compute the errors of x_0_hat in float64 on the device."""


def measure_of(name: str) -> Callable[[Any], Any]:
    """The function of a measure, by its name."""
    module, _, function = MODULES[name].partition(":")
    measure: Callable[[Any], Any] = getattr(
        import_module(f"{__name__}.{module}"), function or "measure"
    )
    return measure
