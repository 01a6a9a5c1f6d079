"""The metrics of quality by the names that a user writes. Imports no torch."""

from collections.abc import Sequence

from ddpm_eval.metrics.registry import METRICS, Metric
from ddpm_train.errors import FixableError


def quality_metrics() -> dict[str, Metric]:
    """The metrics of the registry that are computed from features, in its order."""
    return {key: metric for key, metric in METRICS.items() if metric.compute is not None}


def named(names: Sequence[str]) -> tuple[str, ...]:
    """The keys of metrics that are named by key or by title; upper and lower case are one.

    Raises:
        FixableError: One is no metric of quality.

    >>> named(["FID", "kid", "fid-infinity"])
    ('fid', 'kid', 'fid_infinity')
    """
    metrics = quality_metrics()
    titles = {metric.title.lower(): key for key, metric in metrics.items()}
    keys = []
    for name in names:
        key = titles.get(name.lower(), name.lower())
        if key not in metrics:
            choices = ", ".join(metric.title for metric in metrics.values())
            raise FixableError(f"metrics={name}: not a metric", f"choose from {choices}")
        keys.append(key)
    return tuple(keys)
