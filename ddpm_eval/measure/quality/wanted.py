"""Which metrics are taken: those that were asked for, or all that can be had."""

from collections.abc import Sequence

import torch

from ddpm_eval.features import Description
from ddpm_eval.metrics.registry import METRICS, Metric, Need
from ddpm_train.errors import FixableError
from ddpm_train.world import require_float64

_LACKS: dict[Need, tuple[str, str]] = {  # what is lacking, and what to do beside leaving it out
    "logits": ("{extractor} gives no logits", "choose extractor=inception"),
    "labels": (
        "the samples have no classes that {extractor} knows",
        "draw samples of classes, and choose an extractor of these classes",
    ),
    "spatial": (
        "the extractor or the reference has no spatial features",
        "choose extractor=inception, and images or ADM's statistics as the reference",
    ),
    "reference": (
        "the reference has statistics only, no images",
        "name the images themselves as the reference",
    ),
}


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


def choose(
    names: Sequence[str],
    extractor: Description,
    counts: Sequence[int],
    lacking: set[Need],
    *,
    strict: bool = True,
) -> list[str]:
    """Choose the metrics to take, in the registry's order.

    Args:
        names: What was asked for; empty: all that can be had.
        extractor: The network.
        counts: How many samples there are, and reference images where that is known.
        lacking: What the reference does not have.
        strict: Refuse a metric that was asked for and cannot be had; else leave it out, as where
            another of several extractors has it.

    Raises:
        FixableError: One that was asked for cannot be had; the reason is named.
    """
    lacking = lacking | ({"logits"} if not extractor.logits else set())
    lacking = lacking | ({"spatial"} if not extractor.spatial else set())
    wanted = named(names)
    chosen = []
    for key, metric in quality_metrics().items():
        problem = _problem(metric, extractor, counts, lacking)
        if strict and key in wanted and problem:
            text, fix = problem
            raise FixableError(f"metrics={metric.title}: {text}", f"{fix}, or leave it out")
        if not problem and (key in wanted or not wanted):
            chosen.append(key)
    return chosen


def _problem(
    metric: Metric, extractor: Description, counts: Sequence[int], lacking: set[Need]
) -> tuple[str, str] | None:
    """Say why a metric cannot be had, and what to do about it."""
    if metric.only and extractor.name not in metric.only:
        names = " or ".join(sorted(metric.only))
        return f"it is defined through {names}", f"choose extractor={names}"
    for need in sorted(metric.needs & lacking):
        text, fix = _LACKS[need]
        return text.format(extractor=extractor.name), fix
    if min(counts) < metric.least:
        text = f"it takes {metric.least:,} images, and there are {min(counts):,}"
        return text, f"take {metric.least:,} or more"
    return None


def require_device(wanted: Sequence[str], device: torch.device) -> None:
    """Refuse a device that cannot take distances in float64.

    Raises:
        FixableError: It is one of Apple's GPUs; the metrics are named.
    """
    exact = [METRICS[key].title for key in wanted if "float64" in METRICS[key].needs]
    if exact:
        rest = ",".join(METRICS[key].title for key in wanted if METRICS[key].title not in exact)
        fix = "use device=cpu" + f", or leave them out: metrics={rest}" * bool(rest)
        require_float64(device, " and ".join(exact), fix=fix)
