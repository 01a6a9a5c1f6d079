"""What is measured: torch in, ``Measurement`` out. The registry, read from top to bottom."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = {
    "nll": "bound.likelihood",
    "nll-estimate": "bound.estimate",
    "comparison": "bound.compare",
    "rate_distortion": "bound.rate_distortion",
    "baselines": "bound.baselines",
    "samples": "pictures.jobs:samples",
    "quality": "quality.quality",
    "progressive": "pictures.jobs:progressive",
    "reconstructions": "pictures.reconstructions",
    "interpolation": "pictures.jobs:interpolation",
    "neighbours": "pictures.jobs:neighbours",
    "training": "training",
}
"""Where each measure's ``measure(job)`` (or another function) stands; imported when needed."""

IN_FLOAT64 = frozenset(
    (
        *("nll", "nll-estimate", "comparison", "rate_distortion", "baselines"),
        *("progressive", "reconstructions"),
    )
)
"""Those that compute in float64 on the device: the sweep, and the errors of x_0_hat."""


def measure_of(name: str) -> Callable[[Any], Any]:
    """The function of a measure, by its name."""
    module, _, function = MODULES[name].partition(":")
    measure: Callable[[Any], Any] = getattr(
        import_module(f"{__name__}.{module}"), function or "measure"
    )
    return measure
