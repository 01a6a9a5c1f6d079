"""What is measured: torch in, ``Measurement`` out. The registry, read from top to bottom."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = {"quality": "quality.quality"}
"""Where each measure's ``measure(job)`` stands; imported when it is asked for."""

IN_FLOAT64: frozenset[str] = frozenset()
"""Those that compute in float64 on the device."""


def measure_of(name: str) -> Callable[[Any], Any]:
    """The function of a measure, by its name."""
    measure: Callable[[Any], Any] = import_module(f"{__name__}.{MODULES[name]}").measure
    return measure
